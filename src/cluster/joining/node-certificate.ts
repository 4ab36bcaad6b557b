/**
 * A kubelet's client certificate: got with a bootstrap token by a CertificateSigningRequest (TLS bootstrapping), kept as
 * `kubelet-client-current.pem` in upstream's layout, and renewed by the kubelet itself.
 */
import { readFile, rename, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { makeDirectory } from '../../base/directories.ts';
import type { Credentials } from '../../client/kubeconfig.ts';
import type { TypedClient } from '../../client/typed-client.ts';
import { currentFile, loadCurrent, readPair, renewAt, saveCurrent } from './certificate-file.ts';
import type { CertificateEnvironment, CertificatePair } from './certificate-request.ts';
import { requestCertificate } from './certificate-request.ts';

const kind = 'kubelet-client';
/** A renewal that failed is tried again after this. */
const retryMs = 60_000;

function request(client: TypedClient, nodeName: string, env: CertificateEnvironment): Promise<CertificatePair> {
  const signerName = 'kubernetes.io/kube-apiserver-client-kubelet';
  return requestCertificate(client, { nodeName, signerName, usage: 'client auth' }, env);
}

/** The newest certificate in a folder that a `NodeCertificate` of another component keeps. */
export async function currentCredentials(dir: string): Promise<Credentials> {
  const file = currentFile(dir, kind);
  const pair = readPair(await readFile(file, 'utf8'));
  if (pair === undefined) throw new Error(`${file} holds no certificate with its key`);
  return pair;
}

export class NodeCertificate {
  readonly #dir: string;
  readonly #nodeName: string;
  readonly #env: CertificateEnvironment;
  #pair: CertificatePair;

  private constructor(dir: string, nodeName: string, env: CertificateEnvironment, pair: CertificatePair) {
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
    const kept = await loadCurrent(dir, kind, nodeName, env.clock.now());
    if (kept !== undefined) return new NodeCertificate(dir, nodeName, env, kept);
    const client = bootstrap();
    try {
      const made = await request(client, nodeName, env);
      await saveCurrent(dir, kind, made, env.clock.now());
      return new NodeCertificate(dir, nodeName, env, made);
    } finally {
      await client.transport.close();
    }
  }

  get file(): string {
    return currentFile(this.#dir, kind);
  }

  /** For `ConnectionConfig`: always the newest. */
  readonly credentials = (): Promise<Credentials> => Promise.resolve(this.#pair);

  /** Renews the certificate for as long as the signal lets it; `client` speaks as the node. */
  async renew(client: TypedClient): Promise<void> {
    const { clock, logger, signal } = this.#env;
    let at = renewAt(this.#pair, this.#env);
    while (!signal.aborted) {
      try {
        // A timer takes no more than 24 days; longer waits go in steps.
        await clock.sleep(Math.min(Math.max(at - clock.now(), 0), 24 * 3_600_000), signal);
        if (clock.now() < at) continue;
        this.#pair = await request(client, this.#nodeName, this.#env);
        await saveCurrent(this.#dir, kind, this.#pair, clock.now());
        at = renewAt(this.#pair, this.#env);
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
