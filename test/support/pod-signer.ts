/** A signer of PodCertificateRequests, as somebody outside the cluster runs one: an authority of its own. */
import { webcrypto } from 'node:crypto';
import type { KubeObject } from '../../src/api/object.ts';
import type { TypedRef } from '../../src/client/resources.ts';
import type { TypedClient } from '../../src/client/typed-client.ts';

export interface PodCertificateRequest extends KubeObject {
  readonly spec: {
    readonly signerName: string;
    readonly podName: string;
    readonly nodeName: string;
    readonly stubPKCS10Request: string;
    readonly maxExpirationSeconds: number;
    readonly unverifiedUserAnnotations?: Readonly<Record<string, string>>;
  };
  readonly status?: { readonly conditions?: readonly { readonly type: string }[] };
}

const ref: TypedRef<PodCertificateRequest> = {
  group: 'certificates.k8s.io',
  version: 'v1beta1',
  resource: 'podcertificaterequests',
  kind: 'PodCertificateRequest',
  namespaced: true,
};

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const iso = (ms: number): string => new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z');

export class PodSigner {
  readonly name: string;
  readonly #client: TypedClient;
  readonly #keys: webcrypto.CryptoKeyPair;
  readonly #now: () => number;
  #serial = 1;

  private constructor(name: string, client: TypedClient, keys: webcrypto.CryptoKeyPair, now: () => number) {
    this.name = name;
    this.#client = client;
    this.#keys = keys;
    this.#now = now;
  }

  static async make(name: string, client: TypedClient, now: () => number): Promise<PodSigner> {
    await import('reflect-metadata');
    return new PodSigner(name, client, await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']), now);
  }

  /** Requests that nobody has answered. */
  async pending(): Promise<PodCertificateRequest[]> {
    const all = (await this.#client.resource(ref).list()).items as unknown as readonly PodCertificateRequest[];
    return all.filter((r) => r.spec.signerName === this.name && (r.status?.conditions ?? []).length === 0);
  }

  async issue(request: PodCertificateRequest): Promise<string> {
    const x509 = await import('@peculiar/x509');
    const stub = new x509.Pkcs10CertificateRequest(Buffer.from(request.spec.stubPKCS10Request, 'base64'));
    if (!(await stub.verify(webcrypto))) throw new Error('the request is not signed by its key');
    const from = Math.floor(this.#now() / 1000) * 1000;
    const to = from + Math.min(request.spec.maxExpirationSeconds, 86_400) * 1000;
    const leaf = await x509.X509CertificateGenerator.create(
      {
        serialNumber: (this.#serial++).toString(16).padStart(4, '0'),
        subject: `CN=${request.spec.podName}`,
        issuer: 'CN=pod signer',
        notBefore: new Date(from),
        notAfter: new Date(to),
        publicKey: await stub.publicKey.export(webcrypto),
        signingKey: this.#keys.privateKey,
        signingAlgorithm: algorithm,
      },
      webcrypto,
    );
    const pem = `${leaf.toString('pem')}\n`;
    await this.#answer(request, 'Issued', 'Test', {
      certificateChain: pem,
      notBefore: iso(from),
      notAfter: iso(to),
      beginRefreshAt: iso(from + 0.5 * (to - from)),
    });
    return pem;
  }

  deny(request: PodCertificateRequest, reason: string, message: string): Promise<void> {
    return this.#answer(request, 'Denied', reason, {}, message);
  }

  async #answer(
    request: PodCertificateRequest,
    type: string,
    reason: string,
    more: object,
    message = 'so it is',
  ): Promise<void> {
    const lastTransitionTime = iso(this.#now());
    const conditions = [{ type, status: 'True', reason, message, lastTransitionTime }];
    await this.#client
      .resource(ref)
      .patch(
        request.metadata.name!,
        request.metadata.namespace,
        'merge',
        { status: { conditions, ...more } },
        { subresource: 'status' },
      );
  }
}
