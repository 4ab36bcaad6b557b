/** A serving certificate that a component makes for itself when it is given none: signed by nobody else, for this run alone. */
import { webcrypto } from 'node:crypto';
import { ecdsaP256, generateSigningKey, privateKeyPem } from '../../base/keys.ts';
import type { ComponentEnvironment, KeyPair } from './environment.ts';

const day = 86_400_000;

export async function selfSigned(
  env: Pick<ComponentEnvironment, 'clock' | 'random'>,
  hosts: readonly string[],
): Promise<KeyPair> {
  await import('reflect-metadata');
  const x509 = await import('@peculiar/x509');
  const keys = await generateSigningKey();
  const serial = env.random.bytes(16);
  serial[0] = serial[0]! & 0x7f;
  const now = env.clock.now();
  const cert = await x509.X509CertificateGenerator.createSelfSigned(
    {
      serialNumber: serial.toString('hex'),
      name: [{ CN: [`${hosts[0]}@${Math.floor(now / 1000)}`] }],
      notBefore: new Date(now - day),
      notAfter: new Date(now + 365 * day),
      keys,
      signingAlgorithm: ecdsaP256,
      extensions: [
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature | x509.KeyUsageFlags.keyEncipherment, true),
        new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.SubjectAlternativeNameExtension(
          [...new Set(hosts)].map((value) => ({
            type: /^[\d.]+$|:/.test(value) ? ('ip' as const) : ('dns' as const),
            value,
          })),
        ),
      ],
    },
    webcrypto,
  );
  return { certificate: `${cert.toString('pem')}\n`, key: await privateKeyPem(keys.privateKey) };
}
