/**
 * A kubelet's client certificate: got with a bootstrap token by a CertificateSigningRequest (TLS bootstrapping), kept as
 * `kubelet-client-current.pem` in upstream's layout, and renewed by the kubelet itself when seven to nine tenths of its life
 * have passed.
 */
import { webcrypto, X509Certificate } from 'node:crypto';
import { readFile, rename, symlink, unlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Clock } from '../../base/clock.ts';
import { ecdsaP256, generateSigningKey, privateKeyPem } from '../../base/keys.ts';
import type { Logger } from '../../base/logger.ts';
import type { Random } from '../../base/random.ts';
import { makeDirectory } from '../../base/directories.ts';
import type { Credentials } from '../../client/kubeconfig.ts';
import type { TypedClient } from '../../client/typed-client.ts';

const signerName = 'kubernetes.io/kube-apiserver-client-kubelet';
const currentFile = 'kubelet-client-current.pem';
/** How often an unanswered request is looked at, and for how long. */
const pollMs = 500;
const patienceMs = 15 * 60_000;
/** A renewal that failed is tried again after this. */
const retryMs = 60_000;

export interface CertificateEnvironment {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly signal: AbortSignal;
}

interface Pair {
  readonly certificate: string;
  readonly key: string;
}

/** Asks for a certificate as `system:node:NAME` and waits until it has been approved and signed. */
export async function requestNodeCertificate(
  client: TypedClient,
  nodeName: string,
  env: CertificateEnvironment,
): Promise<Pair> {
  await import('reflect-metadata');
  const x509 = await import('@peculiar/x509');
  const keys = await generateSigningKey();
  const request = await x509.Pkcs10CertificateRequestGenerator.create(
    {
      name: [{ O: ['system:nodes'] }, { CN: [`system:node:${nodeName}`] }],
      keys,
      signingAlgorithm: ecdsaP256,
    },
    webcrypto,
  );
  const requests = client.certificates.certificatesigningrequests;
  const created = await requests.create({
    metadata: { generateName: 'csr-' },
    spec: {
      request: Buffer.from(request.toString('pem')).toString('base64'),
      signerName,
      usages: ['digital signature', 'client auth'],
    },
  });
  const until = env.clock.monotonic() + patienceMs;
  for (;;) {
    const csr = await requests.get(created.metadata.name!);
    const refused = csr.status?.conditions?.find((c) => c.type === 'Denied' || c.type === 'Failed');
    if (refused !== undefined)
      throw new Error(
        `the certificate request ${created.metadata.name} was refused: ${refused.message ?? refused.reason ?? refused.type}`,
      );
    const text = csr.status?.certificate ?? '';
    if (text !== '')
      return { certificate: Buffer.from(text, 'base64').toString('utf8'), key: await privateKeyPem(keys.privateKey) };
    if (env.clock.monotonic() > until)
      throw new Error(
        `the certificate request ${created.metadata.name} was not answered: kubectl certificate approve ${created.metadata.name}`,
      );
    await env.clock.sleep(pollMs, env.signal);
  }
}

function readPair(text: string): Pair | undefined {
  const certificate = /-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----\n?/.exec(text)?.[0];
  const key = /-----BEGIN (?:EC )?PRIVATE KEY-----[\s\S]+?-----END (?:EC )?PRIVATE KEY-----\n?/.exec(text)?.[0];
  return certificate === undefined || key === undefined ? undefined : { certificate, key };
}

/** The newest certificate in a folder that a `NodeCertificate` of another component keeps. */
export async function currentCredentials(dir: string): Promise<Credentials> {
  const pair = readPair(await readFile(join(dir, currentFile), 'utf8'));
  if (pair === undefined) throw new Error(`${join(dir, currentFile)} holds no certificate with its key`);
  return pair;
}

export class NodeCertificate {
  readonly #dir: string;
  readonly #nodeName: string;
  readonly #env: CertificateEnvironment;
  #pair: Pair;

  private constructor(dir: string, nodeName: string, env: CertificateEnvironment, pair: Pair) {
    this.#dir = dir;
    this.#nodeName = nodeName;
    this.#env = env;
    this.#pair = pair;
  }

  /** The certificate in `dir`, when it is one for this node and has not expired; else one got with `bootstrap`. */
  static async open(
    dir: string,
    nodeName: string,
    env: CertificateEnvironment,
    bootstrap: () => TypedClient,
  ): Promise<NodeCertificate> {
    const kept = await readFile(join(dir, currentFile), 'utf8').then(readPair, (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined;
      throw error;
    });
    if (kept !== undefined) {
      const certificate = new X509Certificate(kept.certificate);
      const ours = certificate.subject.split('\n').includes(`CN=system:node:${nodeName}`);
      if (ours && Date.parse(certificate.validTo) > env.clock.now())
        return new NodeCertificate(dir, nodeName, env, kept);
    }
    const client = bootstrap();
    try {
      const made = new NodeCertificate(dir, nodeName, env, await requestNodeCertificate(client, nodeName, env));
      await made.#write();
      return made;
    } finally {
      await client.transport.close();
    }
  }

  get file(): string {
    return join(this.#dir, currentFile);
  }

  /** For `ConnectionConfig`: always the newest. */
  readonly credentials = (): Promise<Credentials> => Promise.resolve(this.#pair);

  async #write(): Promise<void> {
    makeDirectory(this.#dir, 0o700);
    const stamp = new Date(this.#env.clock.now()).toISOString().slice(0, 19).replaceAll(':', '-').replace('T', '-');
    const name = `kubelet-client-${stamp}.pem`;
    await writeFile(join(this.#dir, name), this.#pair.certificate + this.#pair.key, { mode: 0o600 });
    const link = join(this.#dir, `${currentFile}.new`);
    await unlink(link).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error;
    });
    await symlink(name, link);
    await rename(link, this.file);
  }

  /** When to ask for the next one. */
  #renewAt(): number {
    const certificate = new X509Certificate(this.#pair.certificate);
    const from = Date.parse(certificate.validFrom);
    const life = Date.parse(certificate.validTo) - from;
    return from + life * (0.7 + 0.2 * this.#env.random.float());
  }

  /** Renews the certificate for as long as the signal lets it; `client` speaks as the node. */
  async renew(client: TypedClient): Promise<void> {
    const { clock, logger, signal } = this.#env;
    let at = this.#renewAt();
    while (!signal.aborted) {
      try {
        // A timer takes no more than 24 days; longer waits go in steps.
        await clock.sleep(Math.min(Math.max(at - clock.now(), 0), 24 * 3_600_000), signal);
        if (clock.now() < at) continue;
        this.#pair = await requestNodeCertificate(client, this.#nodeName, this.#env);
        await this.#write();
        at = this.#renewAt();
        logger.info('the client certificate was renewed', { file: this.file });
      } catch (error) {
        if (signal.aborted) return;
        logger.warn('renewing the client certificate failed; trying again', { why: (error as Error).message });
        at = clock.now() + retryMs;
      }
    }
  }
}

/** The kubeconfig of a node: the same certificate file whichever certificate is in it. */
export async function writeNodeKubeconfig(
  file: string,
  entry: { readonly server: string; readonly ca: string | undefined; readonly certificate: string },
): Promise<void> {
  const quote = JSON.stringify;
  const text = `apiVersion: v1
kind: Config
clusters:
- name: default-cluster
  cluster:
    server: ${quote(entry.server)}
${entry.ca === undefined ? '' : `    certificate-authority-data: ${Buffer.from(entry.ca).toString('base64')}\n`}users:
- name: default-auth
  user:
    client-certificate: ${quote(entry.certificate)}
    client-key: ${quote(entry.certificate)}
contexts:
- name: default-context
  context:
    cluster: default-cluster
    namespace: default
    user: default-auth
current-context: default-context
`;
  makeDirectory(dirname(file));
  await writeFile(`${file}.new`, text, { mode: 0o600 });
  await rename(`${file}.new`, file);
}
