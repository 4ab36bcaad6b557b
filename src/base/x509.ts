/**
 * X.509 by `@peculiar/x509`, loaded by who first makes or reads something with it, which most processes never do; what Node reads by
 * itself (`X509Certificate`) is left to Node.
 */
import type { KeyObject } from 'node:crypto';
import type { CryptoKey } from './keys.ts';

export type X509 = typeof import('@peculiar/x509');

export async function loadX509(): Promise<X509> {
  await import('reflect-metadata');
  return import('@peculiar/x509');
}

const curves: Readonly<Record<string, string>> = { prime256v1: 'P-256', secp384r1: 'P-384', secp521r1: 'P-521' };

/** A private key as one that signs certificates, over SHA-256. @throws for a key of another kind than RSA and ECDSA */
export function signingKey(key: KeyObject): CryptoKey {
  const hash = 'SHA-256';
  const namedCurve = curves[key.asymmetricKeyDetails?.namedCurve ?? ''];
  if (key.asymmetricKeyType === 'rsa') return key.toCryptoKey({ name: 'RSASSA-PKCS1-v1_5', hash }, false, ['sign']);
  if (namedCurve !== undefined) return key.toCryptoKey({ name: 'ECDSA', namedCurve }, false, ['sign']);
  throw new Error(`a key of type ${key.asymmetricKeyType} cannot sign certificates`);
}
