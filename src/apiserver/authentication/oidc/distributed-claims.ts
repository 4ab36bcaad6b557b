/**
 * Distributed claims (OpenID Connect Core 5.6.2): a claim that another endpoint knows, given as a token that some issuer signed.
 * The groups of a user may come this way.
 */
import { isObject } from '../../../api/patch/values.ts';
import { discoverKeys, IdTokenVerifier, untrustedIssuer } from './verifier.ts';
import type { Claims, VerifierOptions } from './verifier.ts';

const maxIssuers = 64;

export class DistributedClaims {
  readonly #claim: string;
  readonly #options: Omit<VerifierOptions, 'issuer' | 'jwksUrl'>;
  readonly #verifiers = new Map<string, Promise<IdTokenVerifier>>();

  /** `claim`: the one that may be elsewhere. */
  constructor(claim: string, options: Omit<VerifierOptions, 'issuer' | 'jwksUrl'>) {
    this.#claim = claim;
    this.#options = options;
  }

  /** The claims with the one from elsewhere, where there is any. @throws {Error} with upstream's text */
  async expand(claims: Claims): Promise<Claims> {
    if (claims[this.#claim] !== undefined) return claims;
    const names = claims['_claim_names'];
    if (names === undefined) return claims;
    if (!isObject(names)) throw new Error('oidc: error parsing distributed claim names: not an object');
    const sources = claims['_claim_sources'];
    if (sources === undefined) throw new Error('oidc: no claim sources');
    if (!isObject(sources)) throw new Error('oidc: could not parse claim sources: not an object');
    const source = names[this.#claim];
    if (typeof source !== 'string') return claims;
    const endpoint = sources[source];
    if (!isObject(endpoint))
      throw new Error(`id token _claim_names contained a source ${source} missing in _claims_sources`);
    const url = endpoint['endpoint'];
    if (typeof url !== 'string' || url === '') return claims;
    const token = endpoint['access_token'];
    return { ...claims, [this.#claim]: await this.#resolve(url, typeof token === 'string' ? token : '') };
  }

  async #resolve(url: string, accessToken: string): Promise<unknown> {
    const claim = this.#claim;
    let answer;
    try {
      answer = await this.#options.http.get(url, accessToken === '' ? {} : { authorization: `Bearer ${accessToken}` });
      if (answer.status < 200 || answer.status > 226)
        throw new Error(`error while getting distributed claim JWT: ${answer.statusText}`);
    } catch (error) {
      throw new Error(`while getting distributed claim "${claim}": ${(error as Error).message}`, { cause: error });
    }
    const issuer = untrustedIssuer(answer.body);
    if (issuer === undefined)
      throw new Error(`getting untrusted issuer from endpoint ${url} failed for claim "${claim}": malformed token`);
    let verifier: IdTokenVerifier;
    try {
      verifier = await this.#verifier(issuer);
    } catch (error) {
      throw new Error(`verifying untrusted issuer ${issuer} failed: ${(error as Error).message}`, { cause: error });
    }
    let found: Claims;
    try {
      found = await verifier.verify(answer.body);
    } catch (error) {
      throw new Error(`verify distributed claim token: ${(error as Error).message}`, { cause: error });
    }
    const value = found[claim];
    if (value === undefined)
      throw new Error(
        `jwt returned by distributed claim endpoint ${JSON.stringify(url)} did not contain claim: ${claim}`,
      );
    return value;
  }

  #verifier(issuer: string): Promise<IdTokenVerifier> {
    let verifier = this.#verifiers.get(issuer);
    if (verifier !== undefined) return verifier;
    verifier = (async () => {
      try {
        const jwksUrl = await discoverKeys(this.#options.http, issuer, undefined);
        return new IdTokenVerifier({ ...this.#options, issuer, jwksUrl });
      } catch (error) {
        this.#verifiers.delete(issuer);
        throw new Error(`verifier not initialized for issuer: ${JSON.stringify(issuer)}`, { cause: error });
      }
    })();
    if (this.#verifiers.size >= maxIssuers) this.#verifiers.delete(this.#verifiers.keys().next().value!);
    this.#verifiers.set(issuer, verifier);
    return verifier;
  }
}
