/** Service account tokens of one pod's volumes: asked for when needed, renewed at 80 % of their life. */
import type { Pod, ServiceAccountTokenProjection, TokenRequest } from '../../api/types/index.gen.ts';
import type { KubeletContext } from '../context.ts';
import { errorText } from '../object-cache.ts';

/** A token is renewed when 80 % of its life, or a day, has passed. */
const renewShare = 0.8;
const maxAgeMs = 24 * 3_600_000;
/** After a renewal that failed. */
const retryMs = 60_000;

export interface BoundToken {
  readonly value: string;
  readonly renewAt: number;
  /** RFC 3339, as the API gave it. */
  readonly expires: string;
}

export class PodTokens {
  readonly #ctx: KubeletContext;
  readonly #tokens = new Map<string, BoundToken>();

  constructor(ctx: KubeletContext) {
    this.#ctx = ctx;
  }

  /** When the first of them is to be renewed; infinite without any. */
  get renewAt(): number {
    let at = Infinity;
    for (const t of this.#tokens.values()) at = Math.min(at, t.renewAt);
    return at;
  }

  /** A token that is good for a while. Rejects when there is none and none can be had. */
  async get(
    pod: Pod,
    source: Pick<ServiceAccountTokenProjection, 'audience' | 'expirationSeconds'>,
  ): Promise<BoundToken> {
    const { clock, client } = this.#ctx;
    const seconds = source.expirationSeconds ?? 3600;
    const key = `${source.audience ?? ''}/${seconds}`;
    const known = this.#tokens.get(key);
    if (known !== undefined && clock.now() < known.renewAt) return known;
    const request = {
      apiVersion: 'authentication.k8s.io/v1',
      kind: 'TokenRequest',
      metadata: {},
      spec: {
        audiences: source.audience === undefined || source.audience === '' ? [] : [source.audience],
        expirationSeconds: seconds,
        boundObjectRef: { apiVersion: 'v1', kind: 'Pod', name: pod.metadata.name, uid: pod.metadata.uid },
      },
    };
    let token: BoundToken;
    try {
      const answer = await client.core.serviceaccounts.createSubresource<TokenRequest>(
        pod.spec?.serviceAccountName ?? 'default',
        pod.metadata.namespace,
        'token',
        request,
      );
      const text = answer.status?.expirationTimestamp ?? '';
      const expires = Date.parse(text);
      const life = Number.isNaN(expires) ? seconds * 1000 : expires - clock.now();
      token = {
        value: answer.status?.token ?? '',
        renewAt: clock.now() + Math.min(life * renewShare, maxAgeMs),
        expires: text,
      };
    } catch (error) {
      // An old token that is still good is better than none.
      if (known === undefined || Date.parse(known.expires) <= clock.now())
        throw new Error(`failed to fetch token: ${errorText(error)}`, { cause: error });
      token = { ...known, renewAt: clock.now() + retryMs };
    }
    this.#tokens.set(key, token);
    return token;
  }
}
