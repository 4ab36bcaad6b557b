/** PKCS#10 certificate requests, read: what they ask for, and whether their own key has signed them. */
import { createPublicKey, webcrypto } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import type { Pkcs10CertificateRequest } from '@peculiar/x509';
import { loadX509 } from './x509.ts';

export interface CertificateRequest {
  /** The last one of the subject. */
  readonly commonName: string;
  readonly organizations: readonly string[];
  readonly dnsNames: readonly string[];
  readonly ips: readonly string[];
  readonly emails: readonly string[];
  readonly uris: readonly string[];
}

/** A request whose signature has been looked at: the key that it is for, and why that key has not signed it. */
export interface CheckedRequest {
  readonly key: KeyObject;
  /** Undefined when the signature is good. */
  readonly error: string | undefined;
}

/** DER of the base64 of a PEM request, as `spec.request` of a CertificateSigningRequest holds it. @throws when it is none */
export function requestDer(base64: string): Buffer {
  const pem = Buffer.from(base64, 'base64').toString('latin1');
  const match = /-----BEGIN (?:NEW )?CERTIFICATE REQUEST-----([\s\S]*?)-----END/.exec(pem);
  if (match === null) throw new Error('PEM block type must be CERTIFICATE REQUEST');
  return Buffer.from(match[1]!.replace(/\s+/g, ''), 'base64');
}

async function parse(der: Buffer): Promise<Pkcs10CertificateRequest> {
  const { Pkcs10CertificateRequest } = await loadX509();
  const fault = (what: string, cause?: unknown): Error => new Error(`asn1: ${what}`, { cause });
  const otherTags = 'structure error: tags do not match';
  if (der.length === 0) throw fault('syntax error: data truncated');
  // The library would take other bytes for text that stands for a request.
  if (der[0] !== 0x30) throw fault(otherTags);
  try {
    return new Pkcs10CertificateRequest(der);
  } catch (error) {
    const truncated = error instanceof Error && error.message.startsWith('End of input');
    throw fault(truncated ? 'syntax error: data truncated' : otherTags, error);
  }
}

/** @throws {Error} when the bytes are no request */
export async function readRequest(der: Buffer): Promise<CertificateRequest> {
  const request = await parse(der);
  const { SubjectAlternativeNameExtension } = await loadX509();
  const extension = request.getExtension('2.5.29.17');
  const items = extension === null ? [] : new SubjectAlternativeNameExtension(extension.rawData).names.items;
  const names = (type: string): string[] => items.filter((n) => n.type === type).map((n) => n.value);
  return {
    commonName: request.subjectName.getField('CN').at(-1) ?? '',
    organizations: request.subjectName.getField('O'),
    dnsNames: names('dns'),
    ips: names('ip'),
    emails: names('email'),
    uris: names('url'),
  };
}

/** SHA-1 as well: in requests, which nobody but their own key vouches for, Go takes it still. */
const digests: ReadonlySet<string | undefined> = new Set(['SHA-1', 'SHA-256', 'SHA-384', 'SHA-512']);

/** @throws {Error} when the bytes are no request */
export async function checkRequest(der: Buffer): Promise<CheckedRequest> {
  const request = await parse(der);
  const key = createPublicKey({ key: Buffer.from(request.publicKey.rawData), format: 'der', type: 'spki' });
  const { name, hash } = request.signatureAlgorithm as { readonly name: string; readonly hash?: { name: string } };
  const known = name === 'Ed25519' || ((name === 'ECDSA' || name === 'RSASSA-PKCS1-v1_5') && digests.has(hash?.name));
  if (!known) return { key, error: 'x509: cannot verify signature: algorithm unimplemented' };
  const good = await request.verify(webcrypto).catch(() => false); // what is no signature proves nothing
  if (good) return { key, error: undefined };
  const error = key.asymmetricKeyType === 'ec' ? 'x509: ECDSA verification failure' : 'crypto/rsa: verification error';
  return { key, error };
}
