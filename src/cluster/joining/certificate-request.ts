/** A certificate for a node by a CertificateSigningRequest: a new key, the request, and waiting until it has been approved and signed. */
import { webcrypto } from 'node:crypto';
import type { Clock } from '../../base/clock.ts';
import { ecdsaP256, generateSigningKey, privateKeyPem } from '../../base/keys.ts';
import type { Logger } from '../../base/logger.ts';
import type { Random } from '../../base/random.ts';
import { loadX509 } from '../../base/x509.ts';
import type { TypedClient } from '../../client/typed-client.ts';

/** How often an unanswered request is looked at, and for how long. */
const pollMs = 500;
const slowPollMs = 5000;
const patienceMs = 15 * 60_000;

export interface CertificateEnvironment {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly signal: AbortSignal;
}

/** PEM of a certificate with the chain that was signed along with it, and of its key. */
export interface CertificatePair {
  readonly certificate: string;
  readonly key: string;
}

export interface CertificateWish {
  readonly nodeName: string;
  readonly signerName: 'kubernetes.io/kube-apiserver-client-kubelet' | 'kubernetes.io/kubelet-serving';
  readonly usage: 'client auth' | 'server auth';
  readonly dnsNames?: readonly string[];
  readonly ipAddresses?: readonly string[];
}

/** Asks for a certificate as `system:node:NAME`. Rejects when the request is refused, or not answered for a quarter of an hour. */
export async function requestCertificate(
  client: TypedClient,
  wish: CertificateWish,
  env: CertificateEnvironment,
): Promise<CertificatePair> {
  const x509 = await loadX509();
  const keys = await generateSigningKey();
  const names = [
    ...(wish.dnsNames ?? []).map((value) => ({ type: 'dns' as const, value })),
    ...(wish.ipAddresses ?? []).map((value) => ({ type: 'ip' as const, value })),
  ];
  const request = await x509.Pkcs10CertificateRequestGenerator.create(
    {
      name: [{ O: ['system:nodes'] }, { CN: [`system:node:${wish.nodeName}`] }],
      keys,
      signingAlgorithm: ecdsaP256,
      ...(names.length === 0 ? {} : { extensions: [new x509.SubjectAlternativeNameExtension(names)] }),
    },
    webcrypto,
  );
  const requests = client.certificates.certificatesigningrequests;
  const created = await requests.create({
    metadata: { generateName: 'csr-' },
    spec: {
      request: Buffer.from(request.toString('pem')).toString('base64'),
      signerName: wish.signerName,
      usages: ['digital signature', wish.usage],
    },
  });
  const { name } = created.metadata;
  const began = env.clock.monotonic();
  for (;;) {
    const csr = await requests.get(name!);
    const refused = csr.status?.conditions?.find((c) => c.type === 'Denied' || c.type === 'Failed');
    if (refused !== undefined)
      throw new Error(
        `the certificate request ${name} was refused: ${refused.message ?? refused.reason ?? refused.type}`,
      );
    const text = csr.status?.certificate ?? '';
    if (text !== '')
      return { certificate: Buffer.from(text, 'base64').toString('utf8'), key: await privateKeyPem(keys.privateKey) };
    const waited = env.clock.monotonic() - began;
    if (waited > patienceMs)
      throw new Error(`the certificate request ${name} was not answered: kubectl certificate approve ${name}`);
    await env.clock.sleep(waited < 30_000 ? pollMs : slowPollMs, env.signal);
  }
}
