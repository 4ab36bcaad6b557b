/** An OpenID Connect issuer of the test's own: its discovery document and keys over TLS, and the tokens that it signs. */
import { constants, generateKeyPairSync, sign } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { startTlsServer } from './tls-server.ts';
import type { TlsServer } from './tls-server.ts';

interface IssuerKey {
  readonly kid: string;
  readonly algorithm: string;
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
}

export interface OidcIssuer extends AsyncDisposable {
  readonly server: TlsServer;
  /** What tokens say in `iss`. */
  readonly url: string;
  /** How often its keys were asked for. */
  readonly keyFetches: number;
  /** A signed token; `iss`, `iat` and `exp` are filled in. `kid` and `algorithm` name a key of `addKey`. */
  token(claims: Readonly<Record<string, unknown>>, key?: string): string;
  /** Publishes another key, and signs with it from now on. */
  addKey(kid: string, algorithm?: string): void;
  /** Takes a key back. */
  removeKey(kid: string): void;
  /** Answers at other paths: `path` to what is sent. */
  readonly pages: Map<string, (headers: Readonly<Record<string, unknown>>) => { status?: number; body: string }>;
}

export interface OidcIssuerOptions {
  /** What it calls itself, where that is not its address. */
  readonly name?: string;
  /** Where its discovery document is; default `/.well-known/openid-configuration`. */
  readonly discoveryPath?: string;
}

function makeKey(kid: string, algorithm: string): IssuerKey {
  const curves: Record<string, string> = { ES256: 'P-256', ES384: 'P-384', ES512: 'P-521' };
  const curve = curves[algorithm];
  const pair =
    curve === undefined
      ? generateKeyPairSync('rsa', { modulusLength: 2048 })
      : generateKeyPairSync('ec', { namedCurve: curve });
  return { kid, algorithm, ...pair };
}

export async function startOidcIssuer(options: OidcIssuerOptions = {}): Promise<OidcIssuer> {
  const keys = new Map<string, IssuerKey>([['first', makeKey('first', 'RS256')]]);
  let current = 'first';
  let keyFetches = 0;
  const pages: OidcIssuer['pages'] = new Map();
  const discovery = options.discoveryPath ?? '/.well-known/openid-configuration';
  const server = await startTlsServer({
    handle(request, response) {
      const path = request.url!;
      const page = pages.get(path);
      if (page !== undefined) {
        const { status = 200, body } = page(request.headers);
        response.writeHead(status, { 'content-type': 'application/jwt' }).end(body);
      } else if (path === discovery) {
        response
          .writeHead(200, { 'content-type': 'application/json' })
          .end(JSON.stringify({ issuer: url(), jwks_uri: `${server.url}/keys` }));
      } else if (path === '/keys') {
        keyFetches++;
        const published = [...keys.values()].map((k) => ({
          ...k.publicKey.export({ format: 'jwk' }),
          kid: k.kid,
          alg: k.algorithm,
          use: 'sig',
        }));
        response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ keys: published }));
      } else response.writeHead(404).end('not found');
    },
  });
  const url = (): string => options.name ?? server.url;
  return {
    server,
    url: url(),
    get keyFetches() {
      return keyFetches;
    },
    pages,
    token(claims, kid = current) {
      const key = keys.get(kid)!;
      const now = Math.floor(Date.now() / 1000);
      const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
      const signed = `${part({ alg: key.algorithm, kid: key.kid, typ: 'JWT' })}.${part({ iss: url(), iat: now, exp: now + 3600, ...claims })}`;
      const digest = `sha${key.algorithm.slice(2)}`;
      const options = key.algorithm.startsWith('ES')
        ? { key: key.privateKey, dsaEncoding: 'ieee-p1363' as const }
        : key.algorithm.startsWith('PS')
          ? {
              key: key.privateKey,
              padding: constants.RSA_PKCS1_PSS_PADDING,
              saltLength: constants.RSA_PSS_SALTLEN_DIGEST,
            }
          : key.privateKey;
      return `${signed}.${sign(digest, Buffer.from(signed), options).toString('base64url')}`;
    },
    addKey(kid, algorithm = 'RS256') {
      keys.set(kid, makeKey(kid, algorithm));
      current = kid;
    },
    removeKey: (kid) => void keys.delete(kid),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}
