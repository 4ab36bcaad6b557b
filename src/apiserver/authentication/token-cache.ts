/** Keeps what an authenticator said of a token for a while: one that asks others, or calculates, is not asked at each request. */
import { ioNow } from '../../base/io-time.ts';
import { createHash } from 'node:crypto';
import type { Clock } from '../../base/clock.ts';
import type { UserInfo } from '../request.ts';
import { withAuthenticatedGroup } from './authenticator.ts';
import type { TokenAuthenticator, TokenIdentity } from './authenticator.ts';
import type { TokenMetrics } from './metrics.ts';

const cacheSize = 4096;

interface Kept {
  readonly until: number;
  readonly identity: TokenIdentity | undefined;
  /** The same object each time. */
  readonly user: UserInfo | undefined;
}

export interface TokenCacheOptions {
  readonly clock: Clock;
  readonly metrics: TokenMetrics;
  /** Milliseconds; 0: not kept. Errors are never kept. */
  readonly successTtlMs: number;
  readonly failureTtlMs: number;
}

export class TokenCache implements TokenAuthenticator {
  readonly #inner: TokenAuthenticator;
  readonly #options: TokenCacheOptions;
  readonly #kept = new Map<string, Kept>();
  readonly #asked = new Map<string, Promise<TokenIdentity | undefined>>();

  constructor(inner: TokenAuthenticator, options: TokenCacheOptions) {
    this.#inner = inner;
    this.#options = options;
  }

  /** Tokens are not kept as they are. */
  #key(token: string, audiences: readonly string[] | undefined): string {
    const digest = createHash('sha256').update(token).digest('base64');
    return audiences === undefined ? digest : `${digest} ${JSON.stringify(audiences)}`;
  }

  #find(key: string): Kept | undefined {
    const kept = this.#kept.get(key);
    if (kept === undefined) return undefined;
    if (kept.until > this.#options.clock.monotonic()) return kept;
    this.#kept.delete(key);
    return undefined;
  }

  async authenticateToken(token: string, audiences: readonly string[] | undefined): Promise<TokenIdentity | undefined> {
    const { metrics } = this.#options;
    const key = this.#key(token, audiences);
    const kept = this.#find(key);
    if (kept !== undefined) {
      metrics.cache('hit');
      metrics.cacheAsked('hit', 0);
      return kept.identity;
    }
    metrics.cache('miss');
    const began = ioNow();
    let asked = this.#asked.get(key);
    const status = asked === undefined ? 'in_flight' : 'blocked';
    if (asked === undefined) {
      asked = this.#ask(key, token, audiences).finally(() => this.#asked.delete(key));
      this.#asked.set(key, asked);
    }
    metrics.cacheFetching(status, 1);
    try {
      return await asked;
    } finally {
      metrics.cacheFetching(status, -1);
      metrics.cacheAsked('miss', (ioNow() - began) / 1000);
    }
  }

  async #ask(key: string, token: string, audiences: readonly string[] | undefined): Promise<TokenIdentity | undefined> {
    const { clock, metrics, successTtlMs, failureTtlMs } = this.#options;
    let identity: TokenIdentity | undefined;
    try {
      identity = await this.#inner.authenticateToken(token, audiences);
    } catch (error) {
      metrics.cacheFetched('error');
      throw error;
    }
    metrics.cacheFetched('ok');
    const ttl = identity === undefined ? failureTtlMs : successTtlMs;
    if (ttl > 0) {
      if (this.#kept.size >= cacheSize) this.#kept.delete(this.#kept.keys().next().value!);
      this.#kept.set(key, {
        until: clock.monotonic() + ttl,
        identity,
        user: identity === undefined ? undefined : withAuthenticatedGroup(identity.user),
      });
    }
    return identity;
  }

  known(token: string): UserInfo | undefined {
    if (this.#kept.size === 0) return undefined;
    const user = this.#find(this.#key(token, undefined))?.user;
    if (user !== undefined) this.#options.metrics.cache('hit');
    return user;
  }

  /** What was said counts no more. */
  clear(): void {
    this.#kept.clear();
  }
}
