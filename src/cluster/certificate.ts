/** X.509 certificates as a cluster makes them for itself: what kubeadm puts into them, and nothing else. */
import { webcrypto } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import type { AuthorityKeyIdentifierExtension, Extension, Name } from '@peculiar/x509';
import type { CryptoKey } from '../base/keys.ts';
import type { Random } from '../base/random.ts';
import { loadX509, signingKey } from '../base/x509.ts';
import type { X509 } from '../base/x509.ts';

export interface CertificateName {
  readonly commonName: string;
  readonly organizations?: readonly string[];
}

/** Whom certificates are signed by. */
export interface Issuer {
  /** Its subject as it stands there, kinds of strings and all: there are verifiers that compare bytes. */
  readonly name: Name;
  readonly key: CryptoKey;
  /** How its own certificate names its key. */
  readonly keyId: AuthorityKeyIdentifierExtension;
}

export interface CertificateContent {
  readonly subject: CertificateName;
  readonly notBefore: number;
  readonly notAfter: number;
  readonly dnsNames?: readonly string[];
  readonly addresses?: readonly string[];
}

export interface LeafContent extends CertificateContent {
  readonly publicKey: KeyObject;
  readonly usages: readonly ('server' | 'client')[];
}

interface KeyPair {
  readonly publicKey: KeyObject;
  readonly privateKey: KeyObject;
}

/** Sixteen random bytes, positive and never shorter, in hexadecimal digits. */
export function serialNumber(random: Random): string {
  const bytes = random.bytes(16);
  bytes[0] = (bytes[0]! & 0x7f) | 0x40;
  return bytes.toString('hex');
}

const spki = (key: KeyObject): Buffer => key.export({ type: 'spki', format: 'der' });

function nameOf(x509: X509, { commonName, organizations = [] }: CertificateName): Name {
  return new x509.Name([...organizations.map((o) => ({ O: [o] })), { CN: [commonName] }]);
}

function alternativeNames(x509: X509, { dnsNames = [], addresses = [] }: CertificateContent): Extension[] {
  const names = [
    ...dnsNames.map((value) => ({ type: 'dns' as const, value })),
    ...addresses.map((value) => ({ type: 'ip' as const, value })),
  ];
  return names.length === 0 ? [] : [new x509.SubjectAlternativeNameExtension(names)];
}

function leafExtensions(x509: X509, content: LeafContent): Extension[] {
  const { digitalSignature, keyEncipherment } = x509.KeyUsageFlags;
  const purposes = { server: x509.ExtendedKeyUsage.serverAuth, client: x509.ExtendedKeyUsage.clientAuth };
  return [
    new x509.KeyUsagesExtension(digitalSignature | keyEncipherment, true),
    new x509.ExtendedKeyUsageExtension(content.usages.map((u) => purposes[u])),
    new x509.BasicConstraintsExtension(false, undefined, true),
    ...alternativeNames(x509, content),
  ];
}

async function signed(
  x509: X509,
  serial: string,
  content: CertificateContent,
  publicKey: KeyObject,
  by: { readonly name: Name; readonly key: CryptoKey },
  extensions: Extension[],
): Promise<string> {
  const certificate = await x509.X509CertificateGenerator.create(
    {
      serialNumber: serial,
      subject: nameOf(x509, content.subject),
      issuer: by.name,
      notBefore: new Date(content.notBefore),
      notAfter: new Date(content.notAfter),
      publicKey: spki(publicKey),
      signingKey: by.key,
      extensions,
    },
    webcrypto,
  );
  return `${certificate.toString('pem')}\n`;
}

/** PEM of a certificate that is used, and signs nothing. */
export async function makeLeaf(content: LeafContent, issuer: Issuer, random: Random): Promise<string> {
  const serial = serialNumber(random);
  const x509 = await loadX509();
  const extensions = [...leafExtensions(x509, content), issuer.keyId];
  return signed(x509, serial, content, content.publicKey, issuer, extensions);
}

/** PEM of a leaf that its own key has signed. */
export async function makeSelfSigned(
  content: Omit<LeafContent, 'publicKey'>,
  { publicKey, privateKey }: KeyPair,
  random: Random,
): Promise<string> {
  const serial = serialNumber(random);
  const x509 = await loadX509();
  const by = { name: nameOf(x509, content.subject), key: signingKey(privateKey) };
  return signed(x509, serial, content, publicKey, by, leafExtensions(x509, { ...content, publicKey }));
}

/** PEM of a certificate that signs others, and what those say of it. */
export async function makeAuthority(
  content: CertificateContent,
  { publicKey, privateKey }: KeyPair,
  random: Random,
): Promise<{ readonly certificate: string; readonly issuer: Issuer }> {
  const serial = serialNumber(random);
  const x509 = await loadX509();
  const { digitalSignature, keyEncipherment, keyCertSign } = x509.KeyUsageFlags;
  const marked = await x509.SubjectKeyIdentifierExtension.create(spki(publicKey), false, webcrypto);
  const name = nameOf(x509, content.subject);
  const issuer = { name, key: signingKey(privateKey), keyId: new x509.AuthorityKeyIdentifierExtension(marked.keyId) };
  const extensions = [
    new x509.KeyUsagesExtension(digitalSignature | keyEncipherment | keyCertSign, true),
    new x509.BasicConstraintsExtension(true, undefined, true),
    marked,
    ...alternativeNames(x509, content),
  ];
  return { certificate: await signed(x509, serial, content, publicKey, issuer, extensions), issuer };
}

/** What certificates that an authority signs say of it; the certificate is PEM. */
export async function issuerOf(certificate: string, key: KeyObject): Promise<Issuer> {
  const x509 = await loadX509();
  const authority = new x509.X509Certificate(certificate);
  const marked = authority.getExtension(x509.SubjectKeyIdentifierExtension)?.keyId;
  const keyId = marked ?? Buffer.from(await authority.publicKey.getKeyIdentifier(webcrypto)).toString('hex');
  return {
    name: authority.subjectName,
    key: signingKey(key),
    keyId: new x509.AuthorityKeyIdentifierExtension(keyId),
  };
}
