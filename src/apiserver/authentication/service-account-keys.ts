/**
 * The keys that sign and verify service account tokens (`--service-account-signing-key-file`,
 * `--service-account-key-file`), their key ids and JSON Web Keys, and the compact form of a signed token.
 */
import { createHash, createPrivateKey, createPublicKey, sign, verify, type KeyObject } from 'node:crypto';

export const tokenAlgorithms = ['RS256', 'ES256', 'ES384', 'ES512'] as const;

export type TokenAlgorithm = (typeof tokenAlgorithms)[number];

const digests: Readonly<Record<TokenAlgorithm, string>> = {
  RS256: 'sha256',
  ES256: 'sha256',
  ES384: 'sha384',
  ES512: 'sha512',
};

export interface VerifyKey {
  readonly id: string;
  readonly algorithm: TokenAlgorithm;
  readonly key: KeyObject;
}

/** A token taken apart; its signature is not checked yet. */
export interface ParsedToken {
  readonly header: Readonly<Record<string, unknown>>;
  readonly claims: Readonly<Record<string, unknown>>;
  readonly signed: string;
  readonly signature: Buffer;
}

/** What signs and verifies service account tokens: keys of our own, or a signer outside. */
export interface TokenKeys {
  /** A signed compact JWT over `claims`. */
  sign(claims: Readonly<Record<string, unknown>>): string | Promise<string>;
  /** Throws when no key of ours made the signature. */
  verify(token: ParsedToken): void | Promise<void>;
  /** The public keys that are told, as JSON Web Keys, and the algorithms they are for. */
  jwks(): { readonly keys: readonly Record<string, unknown>[]; readonly algorithms: readonly TokenAlgorithm[] };
  /** For how long others may keep what `jwks` says. */
  maxAgeSeconds(): number;
  /** Changes with the keys. */
  readonly generation: number;
}

export function algorithmOf(key: KeyObject): TokenAlgorithm {
  if (key.asymmetricKeyType === 'rsa') return 'RS256';
  if (key.asymmetricKeyType === 'ec') {
    switch (key.asymmetricKeyDetails?.namedCurve) {
      case 'prime256v1':
        return 'ES256';
      case 'secp384r1':
        return 'ES384';
      case 'secp521r1':
        return 'ES512';
    }
    throw new Error('unknown private key curve, must be 256, 384, or 521');
  }
  throw new Error(`unknown public key type ${key.asymmetricKeyType}, must be RSA or ECDSA`);
}

/** base64url of the SHA-256 of the key's SubjectPublicKeyInfo, as upstream names its keys. */
function keyId(key: KeyObject): string {
  return createHash('sha256')
    .update(key.export({ type: 'spki', format: 'der' }))
    .digest('base64url');
}

function pemBlocks(pem: string): string[] {
  return pem.match(/-----BEGIN [A-Z ]+-----[\s\S]+?-----END [A-Z ]+-----/g) ?? [];
}

/**
 * The keys that a file verifies with: public keys, those of private keys and of certificates; other blocks are passed over.
 * @throws {Error} when there is none
 */
export function publicKeysOf(pem: string): KeyObject[] {
  const keys: KeyObject[] = [];
  for (const block of pemBlocks(pem))
    try {
      const key = block.includes('PRIVATE KEY') ? createPublicKey(createPrivateKey(block)) : createPublicKey(block);
      if (key.asymmetricKeyType === 'rsa' || key.asymmetricKeyType === 'ec') keys.push(key);
    } catch {
      continue;
    }
  if (keys.length === 0) throw new Error('data does not contain any valid RSA or ECDSA public keys');
  return keys;
}

/** Takes a compact JWT apart; undefined when it is none. */
export function parseToken(token: string): ParsedToken | undefined {
  const parts = token.split('.');
  if (parts.length !== 3) return undefined;
  try {
    const header: unknown = JSON.parse(Buffer.from(parts[0]!, 'base64url').toString('utf8'));
    const claims: unknown = JSON.parse(Buffer.from(parts[1]!, 'base64url').toString('utf8'));
    if (typeof header !== 'object' || header === null || typeof claims !== 'object' || claims === null)
      return undefined;
    return {
      header: header as Record<string, unknown>,
      claims: claims as Record<string, unknown>,
      signed: `${parts[0]}.${parts[1]}`,
      signature: Buffer.from(parts[2]!, 'base64url'),
    };
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/** @throws {Error} when none of the keys made the signature */
export function verifyWith(keys: readonly VerifyKey[], token: ParsedToken): void {
  if (keys.length === 0) throw new Error('invalid signature, no keys found');
  const alg = token.header['alg'];
  const data = Buffer.from(token.signed);
  for (const k of keys) {
    if (k.algorithm !== alg) continue;
    if (verify(digests[k.algorithm], data, { key: k.key, dsaEncoding: 'ieee-p1363' }, token.signature)) return;
  }
  throw new Error('go-jose/go-jose: error in cryptographic primitive');
}

export function jsonWebKeys(all: readonly VerifyKey[]): ReturnType<TokenKeys['jwks']> {
  const keys = all.map((k) => {
    const jwk = k.key.export({ format: 'jwk' }) as Record<string, unknown>;
    return { use: 'sig', kty: jwk['kty'], kid: k.id, ...omit(jwk, 'kty', k.algorithm) };
  });
  const algorithms = [...new Set(all.map((k) => k.algorithm))].toSorted();
  return { keys, algorithms };
}

export interface ServiceAccountKeyOptions {
  readonly signingKey?: string;
  readonly verifyKeys?: readonly string[];
  /** Who signs and verifies in our place. */
  readonly external?: TokenKeys;
}

export class ServiceAccountKeys implements TokenKeys {
  readonly generation = 0;
  readonly #signing: (VerifyKey & { header: string }) | undefined;
  readonly #verify: VerifyKey[] = [];

  /** PEM texts: one private key that signs, and any number of public (or private) keys that verify. */
  constructor(options: Omit<ServiceAccountKeyOptions, 'external'>) {
    const add = (key: KeyObject): VerifyKey => {
      const publicKey = key.type === 'private' ? createPublicKey(key) : key;
      const id = keyId(publicKey);
      const known = this.#verify.find((k) => k.id === id);
      if (known !== undefined) return known;
      const entry = { id, algorithm: algorithmOf(publicKey), key: publicKey };
      this.#verify.push(entry);
      return entry;
    };
    for (const pem of options.verifyKeys ?? []) for (const key of publicKeysOf(pem)) add(key);
    if (options.signingKey !== undefined) {
      const key = createPrivateKey(options.signingKey);
      const { id, algorithm } = add(key);
      const header = Buffer.from(JSON.stringify({ alg: algorithm, kid: id })).toString('base64url');
      this.#signing = { id, algorithm, key, header };
    }
  }

  /** A signed compact JWT over `claims`. */
  sign(claims: Readonly<Record<string, unknown>>): string {
    const key = this.#signing;
    if (key === undefined) throw new Error('no service account signing key');
    const signed = `${key.header}.${Buffer.from(JSON.stringify(claims)).toString('base64url')}`;
    const signature = sign(digests[key.algorithm], Buffer.from(signed), { key: key.key, dsaEncoding: 'ieee-p1363' });
    return `${signed}.${signature.toString('base64url')}`;
  }

  /** Throws when no key of ours made the signature. */
  verify(token: ParsedToken): void {
    const kid = token.header['kid'];
    const keys = typeof kid === 'string' && kid !== '' ? this.#verify.filter((k) => k.id === kid) : this.#verify;
    verifyWith(keys, token);
  }

  jwks(): ReturnType<TokenKeys['jwks']> {
    return jsonWebKeys(this.#verify);
  }

  maxAgeSeconds(): number {
    return 3600;
  }
}

/** Members in the order go-jose writes them: kty, kid, crv, alg, then the numbers. */
function omit(jwk: Record<string, unknown>, member: string, alg: string): Record<string, unknown> {
  const out: Record<string, unknown> = {};
  if (jwk['crv'] !== undefined) out['crv'] = jwk['crv'];
  out['alg'] = alg;
  for (const [name, value] of Object.entries(jwk)) if (name !== member && name !== 'crv') out[name] = value;
  return out;
}
