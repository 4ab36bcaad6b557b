/** A serving certificate that a component makes for itself when it is given none: signed by nobody else, for this run alone. */
import { newKeyPair, pkcs8Pem } from '../../base/keys.ts';
import { makeSelfSigned } from '../certificate.ts';
import type { ComponentEnvironment, KeyPair } from './environment.ts';

const day = 86_400_000;

export async function selfSigned(
  env: Pick<ComponentEnvironment, 'clock' | 'random'>,
  hosts: readonly string[],
): Promise<KeyPair> {
  const keys = newKeyPair();
  const now = env.clock.now();
  const names = [...new Set(hosts)];
  const isAddress = (name: string): boolean => /^[\d.]+$|:/.test(name);
  const certificate = await makeSelfSigned(
    {
      subject: { commonName: `${hosts[0]}@${Math.floor(now / 1000)}` },
      notBefore: now - day,
      notAfter: now + 365 * day,
      usages: ['server'],
      dnsNames: names.filter((n) => !isAddress(n)),
      addresses: names.filter(isAddress),
    },
    keys,
    env.random,
  );
  return { certificate, key: pkcs8Pem(keys.privateKey) };
}
