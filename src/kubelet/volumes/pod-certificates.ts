/**
 * Certificates of pods (KEP-4317): for each projected `podCertificate` source a key that never leaves the node, a
 * PodCertificateRequest that somebody outside issues, and another one when the issued certificate says that it is time. Nothing is
 * kept over a restart: the new kubelet asks anew.
 */
import { webcrypto, X509Certificate } from 'node:crypto';
import type { Timer } from '../../base/clock.ts';
import { generateKeyOfType, privateKeyPem } from '../../base/keys.ts';
import type { KeyType } from '../../base/keys.ts';
import { loadX509 } from '../../base/x509.ts';
import type { KubeObject } from '../../api/object.ts';
import { timeMs } from '../../api/time.ts';
import type { Condition, Pod, PodCertificateProjection } from '../../api/types/index.gen.ts';
import { Informer } from '../../client/informer.ts';
import type { TypedRef } from '../../client/resources.ts';
import type { KubeletContext } from '../context.ts';

interface PodCertificateRequest extends KubeObject {
  readonly spec?: Readonly<Record<string, unknown>>;
  readonly status?: {
    readonly conditions?: readonly Condition[];
    readonly certificateChain?: string;
    readonly beginRefreshAt?: string;
    readonly notAfter?: string;
  };
}

const requests: TypedRef<PodCertificateRequest> = {
  group: 'certificates.k8s.io',
  version: 'v1beta1',
  resource: 'podcertificaterequests',
  kind: 'PodCertificateRequest',
  namespaced: true,
};

/** So many pods do not ask at the same time. */
const jitterMs = 5 * 60_000;
/** A request that has not been seen for so long after it was made has been deleted. */
const abandonMs = 10 * 60_000;
const overdueMs = 10 * 60_000;
/** How often who waits looks whether it waits in vain. */
const lookMs = 60_000;

export interface CredentialBundle {
  /** PEM, PKCS #8. */
  readonly key: string;
  /** PEM, the leaf first. */
  readonly chain: string;
}

interface Issued extends CredentialBundle {
  readonly refreshAt: number;
  readonly beginRefreshAt: number;
  readonly notAfter: number;
  overdueTold: boolean;
  expiredTold: boolean;
}

/** Of one source of one pod. */
interface Credential {
  pod: Pod;
  readonly changed: () => void;
  issued: Issued | undefined;
  waiting: { readonly name: string; readonly key: string; readonly abandonAt: number } | undefined;
  /** Why there will never be another one. */
  refused: string | undefined;
  asking: Promise<void> | undefined;
  timer: Timer | undefined;
}

/** Certificates alone, without what stands around them. */
function cleaned(chain: string): string {
  return [...chain.matchAll(/-----BEGIN [^-]+-----[\s\S]+?-----END [^-]+-----/g)]
    .map(([block]) => new X509Certificate(block).toString())
    .join('');
}

async function stubRequest(type: string): Promise<{ readonly key: string; readonly der: string }> {
  const { keys, algorithm } = await generateKeyOfType(type as KeyType);
  const x509 = await loadX509();
  const made = await x509.Pkcs10CertificateRequestGenerator.create({ keys, signingAlgorithm: algorithm }, webcrypto);
  return { key: await privateKeyPem(keys.privateKey), der: Buffer.from(made.rawData).toString('base64') };
}

export class PodCertificates {
  readonly #ctx: KubeletContext;
  readonly #credentials = new Map<string, Credential>();
  #informer: Informer<PodCertificateRequest> | undefined;

  constructor(ctx: KubeletContext) {
    this.#ctx = ctx;
  }

  async stop(): Promise<void> {
    for (const c of this.#credentials.values()) c.timer?.cancel();
    this.#credentials.clear();
    await this.#informer?.stop();
    this.#informer = undefined;
  }

  /** The pod is gone from the node. */
  forget(uid: string): void {
    for (const [key, c] of this.#credentials)
      if (key.startsWith(`${uid}/`)) {
        c.timer?.cancel();
        this.#credentials.delete(key);
      }
  }

  /**
   * What is in force for a source of a pod's volume. Rejects with upstream's text while there is nothing, and for good when the
   * signer refuses; `changed` is called when to ask again.
   */
  async bundle(
    pod: Pod,
    volume: string,
    index: number,
    source: PodCertificateProjection,
    changed: () => void,
  ): Promise<CredentialBundle> {
    if (!this.#ctx.features.enabled('PodCertificateRequest')) throw new Error('unimplemented');
    const id = `${pod.metadata.uid}/${volume}/${index}`;
    let c = this.#credentials.get(id);
    if (c === undefined) {
      c = {
        pod,
        changed,
        issued: undefined,
        waiting: undefined,
        refused: undefined,
        asking: undefined,
        timer: undefined,
      };
      this.#credentials.set(id, c);
    }
    c.pod = pod;
    const informer = this.#follow();
    await informer.synced;
    await this.#advance(c, source, informer);
    this.#arm(id, c);
    if (c.refused !== undefined) throw new Error(c.refused);
    if (c.issued === undefined) throw new Error('credential bundle is not issued yet');
    return c.issued;
  }

  #follow(): Informer<PodCertificateRequest> {
    if (this.#informer !== undefined) return this.#informer;
    const { client, clock, random, logger, nodeName } = this.#ctx;
    const informer = new Informer<PodCertificateRequest>({
      client: client.resource(requests),
      clock,
      random,
      logger,
      fieldSelector: `spec.nodeName=${nodeName}`,
    });
    const tell = (r: PodCertificateRequest): void => {
      for (const [id, c] of this.#credentials)
        if (c.waiting?.name === r.metadata.name && id.startsWith(`${String(r.spec?.['podUID'])}/`)) c.changed();
    };
    informer.addHandler({ onAdd: tell, onUpdate: (_, r) => tell(r), onDelete: tell });
    informer.start();
    this.#informer = informer;
    return informer;
  }

  async #advance(
    c: Credential,
    source: PodCertificateProjection,
    informer: Informer<PodCertificateRequest>,
  ): Promise<void> {
    if (c.refused !== undefined) return;
    this.#look(c, informer);
    if (c.refused !== undefined || c.waiting !== undefined) {
      this.#tellAge(c);
      return;
    }
    if (c.issued !== undefined && this.#ctx.clock.now() < c.issued.refreshAt) return;
    this.#tellAge(c);
    c.asking ??= this.#ctx.clock.activity.track(this.#ask(c, source)).finally(() => (c.asking = undefined));
    try {
      await c.asking;
    } catch (error) {
      if (c.issued === undefined) throw error;
      // What is there is good for a while; the next look tries again.
      this.#ctx.logger.warn('a pod certificate could not be asked for anew', { pod: c.pod.metadata.name, error });
    }
    this.#look(c, informer);
  }

  /** What has become of a request. */
  #look(c: Credential, informer: Informer<PodCertificateRequest>): void {
    const { waiting } = c;
    if (waiting === undefined) return;
    const { namespace } = c.pod.metadata;
    const request = informer.lister.get(waiting.name, namespace);
    if (request === undefined) {
      if (this.#ctx.clock.now() >= waiting.abandonAt) c.waiting = undefined;
      return;
    }
    for (const { type, reason = '', message = '' } of request.status?.conditions ?? []) {
      const why = `reason=${JSON.stringify(reason)}, message=${JSON.stringify(message)}`;
      switch (type) {
        case 'Denied':
        case 'Failed': {
          const verb = type === 'Denied' ? 'was denied' : 'failed';
          c.refused = `PodCertificateRequest was permanently ${type.toLowerCase()}: ${why.replace(', ', ' ')}`;
          c.waiting = undefined;
          const text = `PodCertificateRequest ${namespace}/${waiting.name} ${verb}, ${why}`;
          this.#ctx.events.pod(c.pod, 'Warning', type, text);
          return;
        }
        case 'Issued': {
          const { certificateChain = '', beginRefreshAt, notAfter } = request.status!;
          const begin = timeMs(beginRefreshAt ?? '');
          c.issued = {
            key: waiting.key,
            chain: cleaned(certificateChain),
            beginRefreshAt: begin,
            refreshAt: begin + this.#ctx.random.float() * jitterMs,
            notAfter: timeMs(notAfter ?? ''),
            overdueTold: false,
            expiredTold: false,
          };
          c.waiting = undefined;
          return;
        }
        default:
          break;
      }
    }
  }

  async #ask(c: Credential, source: PodCertificateProjection): Promise<void> {
    const { client, clock, nodeName, random } = this.#ctx;
    const { pod } = c;
    const { name, namespace, uid } = pod.metadata;
    const serviceAccountName = pod.spec?.serviceAccountName ?? 'default';
    const wrapped = async <T>(what: string, work: Promise<T>): Promise<T> => {
      try {
        return await work;
      } catch (error) {
        throw new Error(`while ${what}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
      }
    };
    const account = await wrapped(
      'fetching service account',
      client.core.serviceaccounts.get(serviceAccountName, namespace),
    );
    const nodeUID = this.#ctx.node()?.metadata.uid;
    const what = `creating ${c.issued === undefined ? 'initial' : 'refresh'} PodCertificateRequest`;
    const { key, der } = await wrapped(what, wrapped('generating keypair', stubRequest(source.keyType)));
    const made = await wrapped(
      what,
      wrapped(
        'creating on API',
        client.resource(requests).create({
          metadata: {
            namespace,
            generateName: 'req-',
            ownerReferences: [{ apiVersion: 'v1', kind: 'Pod', name: name!, uid: uid! }],
          },
          spec: {
            signerName: source.signerName,
            podName: name,
            podUID: uid,
            serviceAccountName,
            serviceAccountUID: account.metadata.uid,
            nodeName,
            nodeUID,
            ...(source.maxExpirationSeconds === undefined ? {} : { maxExpirationSeconds: source.maxExpirationSeconds }),
            stubPKCS10Request: der,
            ...(source.userAnnotations === undefined ? {} : { unverifiedUserAnnotations: source.userAnnotations }),
          },
        }),
      ),
    );
    c.waiting = {
      name: made.metadata.name!,
      key,
      abandonAt: clock.now() + abandonMs + random.float() * jitterMs,
    };
  }

  /** Says once of a certificate that it should have been replaced long ago, and once that it has expired. */
  #tellAge(c: Credential): void {
    const { issued } = c;
    if (issued === undefined) return;
    const now = this.#ctx.clock.now();
    const tell = (reason: string, message: string): void => this.#ctx.events.pod(c.pod, 'Warning', reason, message);
    if (now >= issued.beginRefreshAt + overdueMs && !issued.overdueTold) {
      issued.overdueTold = true;
      tell('CertificateOverdueForRefresh', 'PodCertificate refresh overdue');
    }
    if (now >= issued.notAfter && !issued.expiredTold) {
      issued.expiredTold = true;
      tell('CertificateExpired', 'PodCertificate expired');
    }
  }

  /** Has the pod looked at again when something is due. */
  #arm(id: string, c: Credential): void {
    c.timer?.cancel();
    c.timer = undefined;
    if (this.#credentials.get(id) !== c || c.refused !== undefined) return;
    const now = this.#ctx.clock.now();
    const wait = c.waiting === undefined && c.issued !== undefined ? Math.max(c.issued.refreshAt - now, 0) : lookMs;
    c.timer = this.#ctx.clock.setTimer(wait === 0 ? lookMs : wait, c.changed);
  }
}
