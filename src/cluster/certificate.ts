/**
 * X.509 certificates as a cluster makes them for itself: what kubeadm puts into them, and nothing else. Written out because loading
 * and running a library for seven certificates was a fifth of a first start.
 */
import { createHash, createPrivateKey, KeyObject, sign } from 'node:crypto';
import { children, element, flags, objectId, octets, read, sequence, text, time, unsigned } from '../base/der.ts';
import { parseIp } from '../base/ip.ts';
import type { Random } from '../base/random.ts';

export interface CertificateName {
  readonly commonName: string;
  readonly organizations?: readonly string[];
}

/** Whom a certificate is signed by. */
export interface Issuer {
  /** Its subject, byte for byte: there are verifiers that compare bytes. */
  readonly name: Buffer;
  readonly keyId: Buffer;
  readonly key: KeyObject;
}

export interface CertificateContent {
  readonly subject: CertificateName;
  readonly notBefore: number;
  readonly notAfter: number;
  readonly publicKey: KeyObject;
  /** An authority signs others; a leaf is used for these. */
  readonly authority: boolean;
  readonly usages?: readonly ('server' | 'client')[];
  readonly dnsNames?: readonly string[];
  readonly addresses?: readonly string[];
}

/** How keys sign, by their type: always over SHA-256. Authorities that were brought along may have RSA's. */
const algorithms: Readonly<Record<string, Buffer>> = {
  ec: sequence(objectId('1.2.840.10045.4.3.2')),
  rsa: sequence(objectId('1.2.840.113549.1.1.11'), Buffer.from([0x05, 0])),
};

const purposes = { server: objectId('1.3.6.1.5.5.7.3.1'), client: objectId('1.3.6.1.5.5.7.3.2') } as const;
const yes = Buffer.from([0x01, 0x01, 0xff]);
const ids = {
  subjectKey: '2.5.29.14',
  keyUsage: '2.5.29.15',
  alternativeNames: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  authorityKey: '2.5.29.35',
  extendedKeyUsage: '2.5.29.37',
} as const;

function nameOf({ commonName, organizations = [] }: CertificateName): Buffer {
  const part = (id: string, value: string): Buffer => element(0x31, sequence(objectId(id), text(value)));
  return sequence(...organizations.map((o) => part('2.5.4.10', o)), part('2.5.4.3', commonName));
}

function addressBytes(address: string): Buffer {
  const ip = parseIp(address);
  if (ip === undefined) throw new Error(`${address} is no IP address`);
  return Buffer.from(ip.value.toString(16).padStart(ip.family === 4 ? 8 : 32, '0'), 'hex');
}

/** The digest of the key's bits, which names it. */
function keyIdOf(spki: Buffer): Buffer {
  const bits = children(read(spki, 0).content)[1]!.content.subarray(1);
  return createHash('sha1').update(bits).digest();
}

function extension(id: string, critical: boolean, value: Buffer): Buffer {
  return sequence(objectId(id), ...(critical ? [yes] : []), octets(value));
}

/** The certificate as PEM; signed by its own key where there is no issuer. */
export function makeCertificate(content: CertificateContent, issuer: Issuer | KeyObject, random: Random): string {
  const serial = random.bytes(16);
  // Positive, and never shorter.
  serial[0] = (serial[0]! & 0x7f) | 0x40;
  const spki = content.publicKey.export({ type: 'spki', format: 'der' });
  const subject = nameOf(content.subject);
  const by = issuer instanceof KeyObject ? undefined : issuer;
  const key = issuer instanceof KeyObject ? issuer : issuer.key;
  const algorithm = algorithms[key.asymmetricKeyType ?? ''];
  if (algorithm === undefined) throw new Error(`a key of type ${key.asymmetricKeyType} cannot sign certificates`);
  const names = [
    ...(content.dnsNames ?? []).map((n) => element(0x82, Buffer.from(n, 'latin1'))),
    ...(content.addresses ?? []).map((a) => element(0x87, addressBytes(a))),
  ];
  // Digital signature, key encipherment; an authority signs certificates as well.
  const usage = content.authority ? flags(0, 2, 5) : flags(0, 2);
  const extensions = sequence(
    extension(ids.keyUsage, true, usage),
    ...(content.usages === undefined
      ? []
      : [extension(ids.extendedKeyUsage, false, sequence(...content.usages.map((u) => purposes[u])))]),
    extension(ids.basicConstraints, true, content.authority ? sequence(yes) : sequence()),
    ...(content.authority ? [extension(ids.subjectKey, false, octets(keyIdOf(spki)))] : []),
    ...(by === undefined ? [] : [extension(ids.authorityKey, false, sequence(element(0x80, by.keyId)))]),
    ...(names.length === 0 ? [] : [extension(ids.alternativeNames, false, sequence(...names))]),
  );
  const signed = sequence(
    element(0xa0, unsigned(Buffer.from([2]))),
    unsigned(serial),
    algorithm,
    by?.name ?? subject,
    sequence(time(content.notBefore), time(content.notAfter)),
    subject,
    spki,
    element(0xa3, extensions),
  );
  const signature = sign('sha256', signed, key);
  const der = sequence(signed, algorithm, element(0x03, Buffer.from([0]), signature));
  const lines = der.toString('base64').replace(/(.{64})(?=.)/g, '$1\n');
  return `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`;
}

/** What certificates that an authority signs say of it; `certificate` and `key` are PEM. */
export function issuerOf(certificate: string, key: string | KeyObject): Issuer {
  const der = Buffer.from(/-----BEGIN CERTIFICATE-----([^-]*)/.exec(certificate)?.[1] ?? '', 'base64');
  const members = children(children(read(der, 0).content)[0]!.content);
  const [, , , , , subject, spki] = members;
  if (subject === undefined || spki === undefined) throw new Error('an authority is no certificate of version 3');
  const marked = extensionOf(members.find((m) => m.tag === 0xa3)?.content, ids.subjectKey);
  return {
    name: sequence(subject.content),
    keyId: marked === undefined ? keyIdOf(sequence(spki.content)) : read(marked, 0).content,
    key: typeof key === 'string' ? createPrivateKey(key) : key,
  };
}

function extensionOf(extensions: Buffer | undefined, id: string): Buffer | undefined {
  if (extensions === undefined) return undefined;
  const wanted = objectId(id).subarray(2);
  for (const e of children(read(extensions, 0).content)) {
    const parts = children(e.content);
    if (parts[0]!.content.equals(wanted)) return parts.at(-1)!.content;
  }
  return undefined;
}
