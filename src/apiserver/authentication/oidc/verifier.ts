/**
 * ID tokens of one issuer (OpenID Connect Core): signature by the issuer's published keys, issuer, audience, expiry. What the
 * issuer publishes is found by its discovery document.
 */
import type { Clock } from '../../../base/clock.ts';
import { quoteList } from '../../authorization/rule.ts';
import { parseToken } from '../service-account-keys.ts';
import type { IssuerHttp } from './http.ts';
import { RemoteKeySet } from './key-set.ts';

export type Claims = Readonly<Record<string, unknown>>;

/** Clocks may differ by this much where a token is not valid yet. */
const notBeforeLeewayMs = 60_000;
const wellKnown = '/.well-known/openid-configuration';

const googleIssuer = 'https://accounts.google.com';
const googleIssuerWithoutScheme = 'accounts.google.com';

/** Who says to have issued the token; undefined when it is no token of this form. Not to be trusted. */
export function untrustedIssuer(token: string): string | undefined {
  const issuer = parseToken(token)?.claims['iss'];
  if (issuer === googleIssuerWithoutScheme) return googleIssuer;
  return typeof issuer === 'string' ? issuer : undefined;
}

function goTime(ms: number): string {
  const text = new Date(ms).toISOString();
  return `${text.slice(0, 10)} ${text.slice(11, 19)} +0000 UTC`;
}

function seconds(value: unknown): number | undefined {
  return typeof value === 'number' ? Math.trunc(value) : undefined;
}

/**
 * Reads the discovery document of an issuer; the URL of its keys.
 * @throws {Error}
 */
export async function discoverKeys(
  http: IssuerHttp,
  issuer: string,
  discoveryURL: string | undefined,
): Promise<string> {
  const answer = await http.get(
    discoveryURL === undefined || discoveryURL === '' ? issuer.replace(/\/$/, '') + wellKnown : discoveryURL,
  );
  if (answer.status !== 200) throw new Error(`${answer.statusText}: ${answer.body}`);
  let document: { issuer?: unknown; jwks_uri?: unknown };
  try {
    document = JSON.parse(answer.body) as typeof document;
  } catch (error) {
    const type = answer.headers['content-type'] ?? '';
    throw new Error(
      `oidc: failed to decode provider discovery object: expected Content-Type = application/json, got ${JSON.stringify(type)}: ${(error as Error).message}`,
      { cause: error },
    );
  }
  if (document.issuer !== issuer)
    throw new Error(
      `oidc: issuer did not match the issuer returned by provider, expected ${JSON.stringify(issuer)} got ${JSON.stringify(document.issuer ?? '')}`,
    );
  if (typeof document.jwks_uri !== 'string' || document.jwks_uri === '')
    throw new Error('provider did not return JWKS URL');
  return document.jwks_uri;
}

export interface VerifierOptions {
  readonly http: IssuerHttp;
  readonly issuer: string;
  readonly jwksUrl: string;
  readonly audiences: readonly string[];
  readonly algorithms: readonly string[];
  readonly clock: Clock;
  readonly fetched: (keySet: string | undefined) => void;
}

export class IdTokenVerifier {
  readonly #options: VerifierOptions;
  readonly #keys: RemoteKeySet;

  constructor(options: VerifierOptions) {
    this.#options = options;
    const { http, jwksUrl, clock, fetched } = options;
    this.#keys = new RemoteKeySet({ http, url: jwksUrl, clock, fetched });
  }

  /**
   * The claims of a token that is good.
   * @throws {Error} with upstream's text
   */
  async verify(token: string): Promise<Claims> {
    const { issuer, audiences, algorithms, clock } = this.#options;
    const parsed = parseToken(token);
    if (parsed === undefined) throw new Error('oidc: malformed jwt');
    const algorithm = parsed.header['alg'];
    if (typeof algorithm !== 'string' || !algorithms.includes(algorithm))
      throw new Error(
        `oidc: id token signed with unsupported algorithm, expected ${quoteList(algorithms)} got ${JSON.stringify(algorithm ?? '')}`,
      );
    try {
      await this.#keys.verify(parsed, algorithm);
    } catch (error) {
      throw new Error(`failed to verify signature: ${(error as Error).message}`, { cause: error });
    }
    const { claims } = parsed;
    if (claims['iss'] !== issuer && !(issuer === googleIssuer && claims['iss'] === googleIssuerWithoutScheme))
      throw new Error(
        `oidc: id token issued by a different provider, expected ${JSON.stringify(issuer)} got ${JSON.stringify(claims['iss'] ?? '')}`,
      );
    const aud = claims['aud'];
    const given = typeof aud === 'string' ? [aud] : Array.isArray(aud) ? aud.map(String) : [];
    if (!given.some((a) => audiences.includes(a)))
      throw new Error(
        audiences.length === 1
          ? `oidc: expected audience ${JSON.stringify(audiences[0])} got ${quoteList(given)}`
          : `oidc: expected audience in ${quoteList(audiences.toSorted())} got ${quoteList(given)}`,
      );
    const now = clock.now();
    const expires = (seconds(claims['exp']) ?? -62_135_596_800) * 1000;
    if (expires < now) throw new Error(`oidc: token is expired (Token Expiry: ${goTime(expires)})`);
    const notBefore = seconds(claims['nbf']);
    if (notBefore !== undefined && now + notBeforeLeewayMs < notBefore * 1000)
      throw new Error(
        `oidc: current time ${goTime(now)} before the nbf (not before) time: ${goTime(notBefore * 1000)}`,
      );
    return claims;
  }
}
