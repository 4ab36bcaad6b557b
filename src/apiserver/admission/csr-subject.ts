/** PKCS#10 certificate requests: their subject, and whether their own key has signed them. */
import { createPublicKey, verify, type KeyObject } from 'node:crypto';
import { children, read } from '../../base/der.ts';

const commonNameOid = '550403';
const organizationOid = '55040a';

export interface CsrSubject {
  readonly commonName: string;
  readonly organizations: readonly string[];
}

/** DER of base64 of a PEM request, as `spec.request` holds it. */
function requestDer(request: string): Buffer {
  const pem = Buffer.from(request, 'base64').toString('latin1');
  const match = /-----BEGIN (?:NEW )?CERTIFICATE REQUEST-----([\s\S]*?)-----END/.exec(pem);
  if (match === null) throw new Error('PEM block type must be CERTIFICATE REQUEST');
  return Buffer.from(match[1]!.replace(/\s+/g, ''), 'base64');
}

/** Digest by the OID of the signature algorithm; null for algorithms that have none of their own. */
const signatureDigests: Readonly<Record<string, string | null>> = {
  '2a864886f70d01010b': 'sha256',
  '2a864886f70d01010c': 'sha384',
  '2a864886f70d01010d': 'sha512',
  '2a8648ce3d040302': 'sha256',
  '2a8648ce3d040303': 'sha384',
  '2a8648ce3d040304': 'sha512',
  '2b6570': null,
};

/** A request taken apart: the key that it is for, and why that key has not signed it; undefined when it has. */
export interface CheckedRequest {
  readonly key: KeyObject;
  readonly error: string | undefined;
}

/** @throws {Error} when the bytes are no request */
export function checkRequest(der: Buffer): CheckedRequest {
  const outer = read(der, 0);
  const [info, algorithm, signature] = children(outer.content);
  if (info === undefined || algorithm === undefined || signature === undefined) throw new Error('asn1: syntax error');
  const spki = children(info.content)[2];
  if (spki === undefined) throw new Error('asn1: syntax error');
  const start = outer.content.byteOffset;
  const signed = outer.content.subarray(0, info.next);
  const at = spki.content.byteOffset - start;
  const before = info.content.byteOffset - start;
  const spkiStart = children(outer.content.subarray(before, info.next)).slice(0, 2).at(-1)!.next + before;
  const key = createPublicKey({
    key: outer.content.subarray(spkiStart, at + spki.content.length),
    format: 'der',
    type: 'spki',
  });
  const oid = children(algorithm.content)[0]?.content.toString('hex') ?? '';
  const digest = signatureDigests[oid];
  if (digest === undefined) return { key, error: 'x509: cannot verify signature: algorithm unimplemented' };
  if (verify(digest, signed, key, signature.content.subarray(1))) return { key, error: undefined };
  const error = key.asymmetricKeyType === 'ec' ? 'x509: ECDSA verification failure' : 'crypto/rsa: verification error';
  return { key, error };
}

/** Why the request is not one that its own key signed; undefined when it is good. */
export function checkCsr(request: string): string | undefined {
  try {
    return checkRequest(requestDer(request)).error;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** Reads the subject. Throws when the text is no request. */
export function csrSubject(request: string): CsrSubject {
  const der = requestDer(request);
  const info = children(read(der, 0).content)[0];
  if (info === undefined || info.tag !== 0x30) throw new Error('asn1: structure error: tags do not match');
  const name = children(info.content)[1];
  if (name === undefined || name.tag !== 0x30) throw new Error('asn1: structure error: tags do not match');
  let commonName = '';
  const organizations: string[] = [];
  for (const set of children(name.content))
    for (const attribute of children(set.content)) {
      const [oid, value] = children(attribute.content);
      if (oid === undefined || value === undefined) continue;
      const text = value.tag === 0x1e ? value.content.swap16().toString('utf16le') : value.content.toString('utf8');
      const id = oid.content.toString('hex');
      if (id === commonNameOid) commonName = text;
      else if (id === organizationOid) organizations.push(text);
    }
  return { commonName, organizations };
}
