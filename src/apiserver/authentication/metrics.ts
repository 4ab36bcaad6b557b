/** What authentication of tokens measures, with upstream's names: service accounts, JWT authenticators and their key sets, the token cache. */
import { createHash } from 'node:crypto';
import type { Labels, Value } from '../metrics/exposition.ts';
import { computed, HistogramVector, Vector } from '../metrics/exposition.ts';
import type { Family } from '../metrics/exposition.ts';

function hash(text: string): string {
  return text === '' ? '' : `sha256:${createHash('sha256').update(text).digest('hex')}`;
}

const latencyBuckets = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

interface KeySetFetches {
  success: number | undefined;
  failure: number | undefined;
  hash: string | undefined;
}

export class TokenMetrics {
  readonly #server: string;
  readonly #latency = new HistogramVector(
    'apiserver_authentication_jwt_authenticator_latency_seconds',
    'Latency of jwt authentication operations in seconds. This is the time spent authenticating a token for cache miss only (i.e. when the token is not found in the cache).',
    latencyBuckets,
  );
  readonly #requests = new Vector(
    'counter',
    'authentication_token_cache_request_total',
    'Requests of the token cache by outcome.',
  );
  readonly #fetches = new Vector(
    'counter',
    'authentication_token_cache_fetch_total',
    'Tokens that were authenticated for the cache, by outcome.',
  );
  readonly #active = new Vector(
    'gauge',
    'authentication_token_cache_active_fetch_count',
    'Tokens that are being authenticated for the cache, and requests that wait for that.',
  );
  readonly #cacheSeconds = new HistogramVector(
    'authentication_token_cache_request_duration_seconds',
    'How long requests of the token cache took, by outcome.',
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
  );
  /** By the hash of the issuer. */
  readonly #keySets = new Map<string, KeySetFetches>();
  readonly families: readonly Family[];

  constructor(serverId: string) {
    this.#server = hash(serverId);
    this.families = [
      this.#latency,
      this.#requests,
      this.#fetches,
      this.#active,
      this.#cacheSeconds,
      computed(
        'gauge',
        'apiserver_authentication_jwt_authenticator_jwks_fetch_last_timestamp_seconds',
        'Timestamp of the last successful or failed JWKS fetch split by result, api server identity and jwt issuer for the JWT authenticator.',
        () => this.#fetchTimes(),
      ),
      computed(
        'gauge',
        'apiserver_authentication_jwt_authenticator_jwks_fetch_last_key_set_info',
        'Information about the last JWKS fetched by the JWT authenticator with hash as label, split by api server identity and jwt issuer.',
        () => this.#keySetInfos(),
      ),
    ];
  }

  *#fetchTimes(): Iterable<readonly [Labels, number]> {
    for (const [issuer, fetches] of this.#keySets)
      for (const result of ['success', 'failure'] as const) {
        const seconds = fetches[result];
        if (seconds !== undefined)
          yield [{ apiserver_id_hash: this.#server, jwt_issuer_hash: issuer, result }, seconds];
      }
  }

  *#keySetInfos(): Iterable<readonly [Labels, number]> {
    for (const [issuer, { hash: keys }] of this.#keySets)
      if (keys !== undefined) yield [{ apiserver_id_hash: this.#server, hash: keys, jwt_issuer_hash: issuer }, 1];
  }

  /** A token of this issuer was authenticated, or was not. */
  jwt(issuer: string, result: 'success' | 'failure', seconds: number): void {
    const key = hash(issuer);
    this.#latency.series(`${key} ${result}`, () => ({ jwt_issuer_hash: key, result })).observe(seconds);
  }

  /** The keys of an issuer were fetched; undefined: they could not be. */
  keysFetched(issuer: string, keySet: string | undefined, nowMs: number): void {
    const key = hash(issuer);
    let fetches = this.#keySets.get(key);
    if (fetches === undefined)
      this.#keySets.set(key, (fetches = { success: undefined, failure: undefined, hash: undefined }));
    if (keySet === undefined) fetches.failure = nowMs / 1000;
    else {
      fetches.success = nowMs / 1000;
      fetches.hash = hash(keySet);
    }
  }

  /** An issuer that is no longer trusted. */
  forget(issuer: string): void {
    this.#keySets.delete(hash(issuer));
  }

  /** How long a token was looked for, and with what outcome. */
  cacheAsked(status: 'hit' | 'miss', seconds: number): void {
    this.#cacheSeconds.series(status, () => ({ status })).observe(seconds);
  }

  /** `blocked`: it waits for somebody else's. */
  cacheFetching(status: 'in_flight' | 'blocked', by: 1 | -1): void {
    this.#active.series(status, () => ({ status })).inc(by);
  }

  cache(status: 'hit' | 'miss'): void {
    this.#requests.series(status, () => ({ status })).inc();
  }

  cacheFetched(status: 'ok' | 'error'): void {
    this.#fetches.series(status, () => ({ status })).inc();
  }
}

export class ServiceAccountTokenMetrics {
  readonly #families: Vector[] = [];
  readonly legacy: Value = this.#counter('legacy_tokens_total', 'Cumulative legacy service account tokens used');
  readonly stale: Value = this.#counter('stale_tokens_total', 'Cumulative stale projected service account tokens used');
  readonly manual: Value = this.#counter(
    'legacy_manual_token_uses_total',
    'Cumulative manually created legacy tokens used',
  );
  readonly auto: Value = this.#counter('legacy_auto_token_uses_total', 'Cumulative auto-generated legacy tokens used');
  readonly invalidAuto: Value = this.#counter(
    'invalid_legacy_auto_token_uses_total',
    'Cumulative invalid auto-generated legacy tokens used',
  );
  readonly valid: Value = this.#counter('valid_tokens_total', 'Cumulative valid projected service account tokens used');

  get families(): readonly Family[] {
    return this.#families;
  }

  #counter(name: string, help: string): Value {
    const family = new Vector('counter', `serviceaccount_${name}`, help);
    this.#families.push(family);
    return family.series('', () => ({}));
  }
}
