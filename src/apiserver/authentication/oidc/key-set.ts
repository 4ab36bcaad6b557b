/**
 * The keys of an issuer as it publishes them (RFC 7517), fetched when a signature cannot be verified with those at hand and they
 * are no longer said to be fresh; and the signatures of JSON Web Tokens (RFC 7515, RFC 7518).
 */
import { constants, createPublicKey, verify } from 'node:crypto';
import type { JsonWebKey, KeyObject } from 'node:crypto';
import type { Clock } from '../../../base/clock.ts';
import type { ParsedToken } from '../service-account-keys.ts';
import type { IssuerHttp } from './http.ts';

/** The algorithms that tokens may be signed with. */
export const signingAlgorithms = [
  'ES256',
  'ES384',
  'ES512',
  'PS256',
  'PS384',
  'PS512',
  'RS256',
  'RS384',
  'RS512',
] as const;

interface PublishedKey {
  readonly id: string;
  readonly key: KeyObject;
}

const curves: Readonly<Record<string, string>> = { ES256: 'prime256v1', ES384: 'secp384r1', ES512: 'secp521r1' };
/** Keys are fetched again this much before they are no longer fresh. */
const freshnessMarginMs = 30_000;
const maxKeys = 256;

function signedBy(token: ParsedToken, algorithm: string, key: KeyObject): boolean {
  const digest = `sha${algorithm.slice(2)}`;
  const data = Buffer.from(token.signed);
  switch (algorithm.slice(0, 2)) {
    case 'RS':
      return key.asymmetricKeyType === 'rsa' && verify(digest, data, key, token.signature);
    case 'PS':
      return (
        key.asymmetricKeyType === 'rsa' &&
        verify(
          digest,
          data,
          { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_AUTO },
          token.signature,
        )
      );
    default:
      return (
        key.asymmetricKeyType === 'ec' &&
        key.asymmetricKeyDetails?.namedCurve === curves[algorithm] &&
        verify(digest, data, { key, dsaEncoding: 'ieee-p1363' }, token.signature)
      );
  }
}

/** The keys of a published set; those of kinds that sign no tokens are left out. @throws {Error} when it is no set */
function readKeys(text: string): PublishedKey[] {
  const set = JSON.parse(text) as { keys?: unknown };
  const keys: PublishedKey[] = [];
  for (const jwk of (Array.isArray(set.keys) ? set.keys : []).slice(0, maxKeys) as JsonWebKey[]) {
    if (jwk['use'] !== undefined && jwk['use'] !== 'sig') continue;
    try {
      keys.push({ id: String(jwk['kid'] ?? ''), key: createPublicKey({ key: jwk, format: 'jwk' }) });
    } catch {
      // A key of a kind that is not ours verifies nothing.
    }
  }
  return keys;
}

/** Milliseconds for which an answer says that it is fresh. */
function freshFor(cacheControl: string | undefined): number {
  if (cacheControl === undefined || /no-store|no-cache/.test(cacheControl)) return 0;
  const m = /(?:s-maxage|max-age)=(\d+)/.exec(cacheControl);
  return m === null ? 0 : Number(m[1]) * 1000;
}

export class RemoteKeySet {
  readonly #http: IssuerHttp;
  readonly #url: string;
  readonly #clock: Clock;
  /** Told of each fetch; `keySet`: what was published, undefined for a failure. */
  readonly #fetched: (keySet: string | undefined) => void;
  #keys: readonly PublishedKey[] = [];
  #freshUntil = 0;
  #fetching: Promise<readonly PublishedKey[]> | undefined;

  constructor(options: {
    readonly http: IssuerHttp;
    readonly url: string;
    readonly clock: Clock;
    readonly fetched: (keySet: string | undefined) => void;
  }) {
    this.#http = options.http;
    this.#url = options.url;
    this.#clock = options.clock;
    this.#fetched = options.fetched;
  }

  /** @throws {Error} when no key of the issuer made the signature, or its keys cannot be had */
  async verify(token: ParsedToken, algorithm: string): Promise<void> {
    const kid = token.header['kid'];
    const fits = (keys: readonly PublishedKey[]): boolean =>
      keys.some((k) => (typeof kid !== 'string' || kid === '' || k.id === kid) && signedBy(token, algorithm, k.key));
    if (fits(this.#keys)) return;
    const failure = 'failed to verify id token signature';
    if (this.#clock.now() + freshnessMarginMs <= this.#freshUntil) throw new Error(failure);
    this.#fetching ??= this.#fetch().finally(() => {
      this.#fetching = undefined;
    });
    let keys: readonly PublishedKey[];
    try {
      keys = await this.#fetching;
    } catch (error) {
      throw new Error(`fetching keys ${(error as Error).message}`, { cause: error });
    }
    if (!fits(keys)) throw new Error(failure);
  }

  async #fetch(): Promise<readonly PublishedKey[]> {
    let answer;
    try {
      answer = await this.#http.get(this.#url);
    } catch (error) {
      this.#fetched(undefined);
      throw new Error(`oidc: get keys failed ${(error as Error).message}`, { cause: error });
    }
    if (answer.status !== 200) {
      this.#fetched(undefined);
      throw new Error(`oidc: get keys failed: ${answer.statusText} ${answer.body}`);
    }
    try {
      this.#keys = readKeys(answer.body);
    } catch (error) {
      this.#fetched(undefined);
      throw new Error(`oidc: failed to decode keys: ${(error as Error).message} ${answer.body}`, { cause: error });
    }
    this.#fetched(answer.body);
    this.#freshUntil = this.#clock.now() + freshFor(answer.headers['cache-control']);
    return this.#keys;
  }
}
