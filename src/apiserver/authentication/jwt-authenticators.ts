/** The authenticators of all trusted issuers, changed as a whole when their configuration is. */
import type { Clock } from '../../base/clock.ts';
import { ioTimer } from '../../base/io-time.ts';
import type { Logger } from '../../base/logger.ts';
import { Retry } from '../config-file.ts';
import { dialHost } from '../connect/secure-agent.ts';
import type { Dialer } from '../dialer.ts';
import type { Dial, EgressName, EgressSelector } from '../egress/selector.ts';
import type { TokenAuthenticator, TokenIdentity } from './authenticator.ts';
import { aggregateFieldErrors, examineJwtAuthenticator } from './config.ts';
import type { JwtAuthenticatorConfiguration } from './config.ts';
import type { TokenMetrics } from './metrics.ts';
import { JwtAuthenticator } from './oidc/jwt-authenticator.ts';

export interface JwtAuthenticatorsOptions {
  readonly jwt: readonly JwtAuthenticatorConfiguration[];
  /** `--oidc-signing-algs`; all with a configuration file. */
  readonly algorithms: readonly string[];
  /** The cluster's own issuers. */
  readonly disallowedIssuers: readonly string[];
  readonly dialer: Dialer;
  readonly egress?: EgressSelector | undefined;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: TokenMetrics;
}

/** Requests that are being answered get this long before the connections of a former configuration are closed. */
const graceMs = 60_000;
/** How often a new configuration's issuers are looked for before it is given up for the time being. */
const attempts = 3;

export class JwtAuthenticators implements TokenAuthenticator {
  readonly #options: JwtAuthenticatorsOptions;
  readonly #timers = new Set<() => void>();
  #current: readonly JwtAuthenticator[];

  constructor(options: JwtAuthenticatorsOptions) {
    this.#options = options;
    this.#current = this.#make(options.jwt);
  }

  #make(jwt: readonly JwtAuthenticatorConfiguration[]): readonly JwtAuthenticator[] {
    const { algorithms, disallowedIssuers, clock, logger, metrics } = this.#options;
    return jwt.map((configuration, i) => {
      const { errors, mappings } = examineJwtAuthenticator(configuration, disallowedIssuers, `jwt[${i}]`);
      if (errors.length > 0) throw new Error(aggregateFieldErrors(errors));
      const dial = this.#dial(configuration.issuer.egressSelectorType ?? '');
      return new JwtAuthenticator({ configuration, mappings, algorithms, dial, clock, logger, metrics });
    });
  }

  #dial(type: string): Dial {
    const { dialer, egress } = this.#options;
    const direct: Dial = (host, port) => dialHost(dialer, host, port);
    if (type === '') return direct;
    if (egress === undefined) throw new Error(`oidc: egress lookup required with egress selector type "${type}"`);
    if (!egress.has(type as EgressName)) throw new Error(`oidc: egress lookup for "${type}" is not configured`);
    return egress.dial(type as EgressName) ?? direct;
  }

  /** Takes a new configuration when all its issuers have been found. @throws {Retry} when one has not */
  async update(jwt: readonly JwtAuthenticatorConfiguration[]): Promise<void> {
    const next = this.#make(jwt);
    const failures = (): string[] => next.map((a) => a.failure?.message).filter((m) => m !== undefined);
    await Promise.all(next.map((a) => a.attempted()));
    for (let i = 1; i < attempts && failures().length > 0; i++) await Promise.all(next.map((a) => a.retry()));
    if (failures().length > 0) {
      for (const a of next) a.close();
      throw new Retry(failures().join(', '));
    }
    const before = this.#current;
    this.#current = next;
    const issuers = new Set(next.map((a) => a.issuer));
    const cancel = ioTimer(graceMs, () => {
      this.#timers.delete(stop);
      this.#end(before, issuers);
    });
    const stop = (): void => {
      cancel();
      this.#end(before, issuers);
    };
    this.#timers.add(stop);
  }

  #end(authenticators: readonly JwtAuthenticator[], kept: ReadonlySet<string>): void {
    for (const a of authenticators) {
      a.close();
      if (!kept.has(a.issuer)) this.#options.metrics.forget(a.issuer);
    }
  }

  async authenticateToken(token: string): Promise<TokenIdentity | undefined> {
    for (const a of this.#current) {
      const identity = await a.authenticateToken(token);
      if (identity !== undefined) return identity;
    }
    return undefined;
  }

  close(): void {
    for (const stop of this.#timers) stop();
    this.#timers.clear();
    for (const a of this.#current) a.close();
  }
}
