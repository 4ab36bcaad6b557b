/** X.509 certificates as a cluster makes them for itself: what kubeadm puts into them, and nothing else. */
import { KeyObject, webcrypto } from 'node:crypto';
import type { Name, X509Certificate } from '@peculiar/x509';
import type { CryptoKey } from '../base/keys.ts';
import type { Random } from '../base/random.ts';
import { loadX509, signingKey } from '../base/x509.ts';
import type { X509 } from '../base/x509.ts';

export interface CertificateName {
  readonly commonName: string;
  readonly organizations?: readonly string[];
}

/** Whom a certificate is signed by. */
export interface Issuer {
  /** Its subject as it stands there, kinds of strings and all: there are verifiers that compare bytes. */
  readonly name: Name;
  /** How its certificate names its key, in hexadecimal digits. */
  readonly keyId: string;
  readonly key: CryptoKey;
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

/** Sixteen random bytes, positive and never shorter, in hexadecimal digits. */
export function serialNumber(random: Random): string {
  const bytes = random.bytes(16);
  bytes[0] = (bytes[0]! & 0x7f) | 0x40;
  return bytes.toString('hex');
}

function extensionsOf(x509: X509, content: CertificateContent): InstanceType<X509['Extension']>[] {
  const { authority, usages, dnsNames = [], addresses = [] } = content;
  const { digitalSignature, keyEncipherment, keyCertSign } = x509.KeyUsageFlags;
  const purposes = { server: x509.ExtendedKeyUsage.serverAuth, client: x509.ExtendedKeyUsage.clientAuth };
  const names = [
    ...dnsNames.map((value) => ({ type: 'dns' as const, value })),
    ...addresses.map((value) => ({ type: 'ip' as const, value })),
  ];
  return [
    new x509.KeyUsagesExtension(digitalSignature | keyEncipherment | (authority ? keyCertSign : 0), true),
    ...(usages === undefined ? [] : [new x509.ExtendedKeyUsageExtension(usages.map((u) => purposes[u]))]),
    new x509.BasicConstraintsExtension(authority, undefined, true),
    ...(names.length === 0 ? [] : [new x509.SubjectAlternativeNameExtension(names)]),
  ];
}

/** Signed by its own key where there is no issuer. */
export async function makeCertificate(
  content: CertificateContent,
  issuer: Issuer | KeyObject,
  random: Random,
): Promise<X509Certificate> {
  const serial = serialNumber(random);
  const x509 = await loadX509();
  const by = issuer instanceof KeyObject ? undefined : issuer;
  const { commonName, organizations = [] } = content.subject;
  const subject = new x509.Name([...organizations.map((o) => ({ O: [o] })), { CN: [commonName] }]);
  const publicKey = content.publicKey.export({ type: 'spki', format: 'der' });
  return x509.X509CertificateGenerator.create(
    {
      serialNumber: serial,
      subject,
      issuer: by?.name ?? subject,
      notBefore: new Date(content.notBefore),
      notAfter: new Date(content.notAfter),
      publicKey,
      signingKey: issuer instanceof KeyObject ? signingKey(issuer) : issuer.key,
      extensions: [
        ...extensionsOf(x509, content),
        ...(content.authority ? [await x509.SubjectKeyIdentifierExtension.create(publicKey, false, webcrypto)] : []),
        ...(by === undefined ? [] : [new x509.AuthorityKeyIdentifierExtension(by.keyId)]),
      ],
    },
    webcrypto,
  );
}

/** As files have it: with a line's end behind it. */
export function certificatePem(certificate: X509Certificate): string {
  return `${certificate.toString('pem')}\n`;
}

/** What certificates that an authority signs say of it; the certificate may be PEM. */
export async function issuerOf(certificate: X509Certificate | string, key: KeyObject): Promise<Issuer> {
  const x509 = await loadX509();
  const authority = typeof certificate === 'string' ? new x509.X509Certificate(certificate) : certificate;
  const marked = authority.getExtension(x509.SubjectKeyIdentifierExtension)?.keyId;
  const keyId = marked ?? Buffer.from(await authority.publicKey.getKeyIdentifier(webcrypto)).toString('hex');
  return { name: authority.subjectName, keyId, key: signingKey(key) };
}
