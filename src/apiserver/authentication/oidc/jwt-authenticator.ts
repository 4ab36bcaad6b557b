/**
 * Tokens of one issuer as logins: verified, their claims held against the rules of the configuration, and mapped to a user. The
 * issuer is looked for in the background, so that one that runs in this very cluster can come later.
 */
import type { Clock, Timer } from '../../../base/clock.ts';
import { ioNow } from '../../../base/io-time.ts';
import type { Logger } from '../../../base/logger.ts';
import { jsonTypeName } from '../../../api/codec/json.ts';
import type { Dial } from '../../egress/selector.ts';
import type { UserInfo } from '../../request.ts';
import type { TokenAuthenticator, TokenIdentity } from '../authenticator.ts';
import type { CompiledMappings, JwtAuthenticatorConfiguration } from '../config.ts';
import type { TokenMetrics } from '../metrics.ts';
import { DistributedClaims } from './distributed-claims.ts';
import { claimsValue, evaluate, stringsOf, userValue } from './expressions.ts';
import { IssuerHttp } from './http.ts';
import { discoverKeys, IdTokenVerifier, untrustedIssuer } from './verifier.ts';
import type { Claims } from './verifier.ts';

const retryMs = 10_000;
const credentialId = 'authentication.kubernetes.io/credential-id';

export interface JwtAuthenticatorOptions {
  readonly configuration: JwtAuthenticatorConfiguration;
  readonly mappings: CompiledMappings;
  readonly algorithms: readonly string[];
  /** How its issuer is reached. */
  readonly dial: Dial;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: TokenMetrics;
}

/** A claim as a string. @throws {Error} worded as Go's decoder */
function stringClaim(claims: Claims, name: string): string {
  const value = claims[name];
  if (!Object.hasOwn(claims, name)) throw new Error('claim not present');
  if (value === null) return '';
  if (typeof value !== 'string')
    throw new Error(`json: cannot unmarshal ${jsonTypeName(value)} into Go value of type string`);
  return value;
}

export class JwtAuthenticator implements TokenAuthenticator {
  readonly #options: JwtAuthenticatorOptions;
  readonly #http: IssuerHttp;
  readonly #distributed: DistributedClaims | undefined;
  #verifier: IdTokenVerifier | undefined;
  #failure: Error;
  #timer: Timer | undefined;
  #attempt: Promise<void> | undefined;
  #closed = false;

  constructor(options: JwtAuthenticatorOptions) {
    this.#options = options;
    const { issuer, claimMappings } = options.configuration;
    this.#failure = new Error(`oidc: authenticator for issuer ${JSON.stringify(issuer.url)} is not initialized`);
    const ca = issuer.certificateAuthority ?? '';
    this.#http = new IssuerHttp(options.dial, ca === '' ? undefined : ca);
    const groups = claimMappings.groups?.claim ?? '';
    this.#distributed =
      groups === ''
        ? undefined
        : new DistributedClaims(groups, {
            http: this.#http,
            audiences: issuer.audiences,
            algorithms: options.algorithms,
            clock: options.clock,
            fetched: () => {},
          });
    this.#look();
  }

  get issuer(): string {
    return this.#options.configuration.issuer.url;
  }

  /** Why tokens cannot be verified yet; undefined when they can. */
  get failure(): Error | undefined {
    return this.#verifier === undefined
      ? new Error(
          `oidc: authenticator for issuer ${JSON.stringify(this.issuer)} is not healthy: ${this.#failure.message}`,
          { cause: this.#failure },
        )
      : undefined;
  }

  /** Resolves when the running attempt to find the issuer has ended, one way or the other. */
  async attempted(): Promise<void> {
    await this.#attempt;
  }

  /** Tries to find the issuer again, now. */
  async retry(): Promise<void> {
    if (this.#verifier !== undefined || this.#closed) return;
    this.#timer?.cancel();
    this.#look();
    await this.#attempt;
  }

  #look(): void {
    const { configuration, algorithms, clock, logger, metrics } = this.#options;
    const { url, discoveryURL, audiences } = configuration.issuer;
    const look = async (): Promise<void> => {
      try {
        const jwksUrl = await discoverKeys(this.#http, url, discoveryURL);
        this.#verifier = new IdTokenVerifier({
          http: this.#http,
          issuer: url,
          jwksUrl,
          audiences,
          algorithms,
          clock,
          fetched: (keySet) => {
            if (!this.#closed) metrics.keysFetched(url, keySet, clock.now());
          },
        });
      } catch (error) {
        if (this.#closed) return;
        this.#failure = error instanceof Error ? error : new Error(String(error));
        logger.error('oidc authenticator: initializing plugin', { issuer: url, error });
        this.#timer = clock.setTimer(retryMs, () => this.#look());
      }
    };
    this.#attempt = clock.activity.track(look());
  }

  async authenticateToken(token: string): Promise<TokenIdentity | undefined> {
    if (untrustedIssuer(token) !== this.issuer) return undefined;
    const { metrics } = this.#options;
    const began = ioNow();
    let good = false;
    try {
      const user = await this.#authenticate(token);
      good = true;
      return { user, audiences: undefined };
    } finally {
      metrics.jwt(this.issuer, good ? 'success' : 'failure', (ioNow() - began) / 1000);
    }
  }

  async #authenticate(token: string): Promise<UserInfo> {
    const verifier = this.#verifier;
    if (verifier === undefined) throw new Error('oidc: authenticator not initialized');
    let claims: Claims;
    try {
      claims = await verifier.verify(token);
    } catch (error) {
      throw new Error(`oidc: verify token: ${(error as Error).message}`, { cause: error });
    }
    if (this.#distributed !== undefined)
      try {
        claims = await this.#distributed.expand(claims);
      } catch (error) {
        throw new Error(`oidc: could not expand distributed claims: ${(error as Error).message}`, { cause: error });
      }
    const value = claimsValue(claims);
    const name = this.#username(claims, value);
    const groups = this.#groups(claims, value);
    const uid = this.#uid(claims, value);
    const extra = this.#extra(claims, value);
    const user: UserInfo = {
      name,
      ...(uid === '' ? {} : { uid }),
      groups,
      ...(Object.keys(extra).length === 0 ? {} : { extra }),
    };
    this.#checkClaims(claims, value);
    this.#checkUser(user);
    return user;
  }

  #username(claims: Claims, value: unknown): string {
    const { mappings, configuration } = this.#options;
    const { username } = configuration.claimMappings;
    if (mappings.username !== undefined) {
      const what = 'oidc: error evaluating username claim expression';
      const name = within(what, () => evaluate(mappings.username!, 'claims', value));
      if (typeof name !== 'string') throw new Error(`${what}: username claim expression must return a string`);
      if (name === '') throw new Error('oidc: empty username via CEL expression is not allowed');
      return name;
    }
    const claim = username.claim ?? '';
    const name = within(`oidc: parse username claims ${JSON.stringify(claim)}`, () => stringClaim(claims, claim));
    if (claim === 'email' && Object.hasOwn(claims, 'email_verified')) {
      const verified = claims['email_verified'];
      if (typeof verified !== 'boolean' && verified !== null)
        throw new Error(
          `oidc: parse 'email_verified' claim: json: cannot unmarshal ${jsonTypeName(verified)} into Go value of type bool`,
        );
      if (verified !== true) throw new Error('oidc: email not verified');
    }
    return (username.prefix ?? '') + name;
  }

  #groups(claims: Claims, value: unknown): readonly string[] {
    const { mappings, configuration } = this.#options;
    const { claim = '', prefix = '' } = configuration.claimMappings.groups ?? {};
    if (claim !== '' && Object.hasOwn(claims, claim)) {
      const given = claims[claim];
      const groups = Array.isArray(given) ? given : [given];
      if (given === null) return [];
      return groups.map((group: unknown) => {
        if (typeof group !== 'string')
          throw new Error(
            `oidc: parse groups claim ${JSON.stringify(claim)}: json: cannot unmarshal ${jsonTypeName(given)} into Go value of type string`,
          );
        return prefix + group;
      });
    }
    if (mappings.groups === undefined) return [];
    return within('oidc: error evaluating group claim expression', () =>
      stringsOf(evaluate(mappings.groups!, 'claims', value)),
    );
  }

  #uid(claims: Claims, value: unknown): string {
    const { mappings, configuration } = this.#options;
    const claim = configuration.claimMappings.uid?.claim ?? '';
    if (claim !== '') return within(`oidc: parse uid claim ${JSON.stringify(claim)}`, () => stringClaim(claims, claim));
    if (mappings.uid === undefined) return '';
    return within('oidc: error evaluating uid claim expression', () => {
      const uid = evaluate(mappings.uid!, 'claims', value);
      if (typeof uid !== 'string') throw new Error('uid claim expression must return a string');
      return uid;
    });
  }

  #extra(claims: Claims, value: unknown): Record<string, readonly string[]> {
    const extra: Record<string, readonly string[]> = {};
    const jti = claims['jti'];
    if (typeof jti === 'string' && jti !== '') extra[credentialId] = [`JTI=${jti}`];
    for (const { key, expression } of this.#options.mappings.extra) {
      const found = evaluate(expression, 'claims', value);
      const values = within(`oidc: error evaluating extra claim expression: ${expression.program.source}`, () =>
        stringsOf(found),
      );
      if (values.length > 0) extra[key] = values;
    }
    return extra;
  }

  #checkClaims(claims: Claims, value: unknown): void {
    const { configuration, mappings } = this.#options;
    for (const { claim = '', requiredValue = '' } of configuration.claimValidationRules ?? []) {
      if (claim === '') continue;
      if (!Object.hasOwn(claims, claim)) throw new Error(`oidc: required claim ${claim} not present in ID token`);
      const given = within(`oidc: parse claim ${claim}`, () => stringClaim(claims, claim));
      if (given !== requiredValue)
        throw new Error(`oidc: required claim ${claim} value does not match. Got = ${given}, want = ${requiredValue}`);
    }
    checkRules('oidc: error evaluating claim validation expression', mappings.claimRules, 'claims', value);
  }

  #checkUser(user: UserInfo): void {
    const { userRules } = this.#options.mappings;
    if (userRules.length > 0)
      checkRules('oidc: error evaluating user info validation rule', userRules, 'user', userValue(user));
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    this.#http.close();
  }
}

/** Puts what was being done before the text of an error. */
function within<T>(what: string, run: () => T): T {
  try {
    return run();
  } catch (error) {
    throw new Error(`${what}: ${(error as Error).message}`, { cause: error });
  }
}

function checkRules(
  what: string,
  rules: CompiledMappings['claimRules'],
  variable: 'claims' | 'user',
  value: unknown,
): void {
  within(what, () => {
    // All are evaluated before any of them counts.
    const results = rules.map((rule) => evaluate(rule.expression, variable, value));
    results.forEach((result, i) => {
      const { message, expression } = rules[i]!;
      if (typeof result !== 'boolean') throw new Error('validation expression must return a boolean');
      if (!result) throw new Error(`validation expression '${expression.program.source}' failed: ${message}`);
    });
  });
}
