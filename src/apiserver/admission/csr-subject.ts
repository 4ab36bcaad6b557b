/** The subject of a PKCS#10 certificate request: just enough DER to read common names and organizations. */

interface Element {
  readonly tag: number;
  readonly content: Buffer;
  readonly next: number;
}

function read(der: Buffer, at: number): Element {
  const tag = der[at];
  let length = der[at + 1];
  if (tag === undefined || length === undefined) throw new Error('asn1: syntax error: data truncated');
  let start = at + 2;
  if (length & 0x80) {
    const n = length & 0x7f;
    if (n === 0 || n > 4 || start + n > der.length) throw new Error('asn1: structure error: invalid length');
    length = der.readUIntBE(start, n);
    start += n;
  }
  if (start + length > der.length) throw new Error('asn1: syntax error: data truncated');
  return { tag, content: der.subarray(start, start + length), next: start + length };
}

function children(content: Buffer): Element[] {
  const out: Element[] = [];
  for (let at = 0; at < content.length;) {
    const e = read(content, at);
    out.push(e);
    at = e.next;
  }
  return out;
}

const commonNameOid = '550403';
const organizationOid = '55040a';

export interface CsrSubject {
  readonly commonName: string;
  readonly organizations: readonly string[];
}

/** Reads base64 of a PEM request, as `spec.request` holds it. Throws when it is none. */
export function csrSubject(request: string): CsrSubject {
  const pem = Buffer.from(request, 'base64').toString('latin1');
  const match = /-----BEGIN (?:NEW )?CERTIFICATE REQUEST-----([\s\S]*?)-----END/.exec(pem);
  if (match === null) throw new Error('PEM block type must be CERTIFICATE REQUEST');
  const der = Buffer.from(match[1]!.replace(/\s+/g, ''), 'base64');
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
