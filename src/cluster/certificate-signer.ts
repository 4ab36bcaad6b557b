/**
 * Signs certificate requests with the cluster's authority (`--cluster-signing-cert-file`, `--cluster-signing-key-file`), as
 * kube-controller-manager's signer does: subject, key and names of the request; usages, life and authority of ours.
 */
import { createPrivateKey, webcrypto, X509Certificate } from 'node:crypto';
import type { Clock } from '../base/clock.ts';
import type { Random } from '../base/random.ts';
import { loadX509 } from '../base/x509.ts';
import type { ControllerOptions } from '../controllers/options.ts';
import { issuerOf, serialNumber } from './certificate.ts';
import type { Issuer } from './certificate.ts';

/** Certificates are valid from five minutes before they were made. */
const backdateMs = 300_000;
const minSeconds = 600;
const shortMs = 8 * 3_600_000;

export interface CertificateSignerOptions {
  /** PEM of the authority and its key. */
  readonly certificate: string;
  readonly key: string;
  readonly clock: Clock;
  readonly random: Random;
  /** The longest life (`--cluster-signing-duration`); default one year. */
  readonly durationMs?: number;
}

export function certificateSigner(
  options: CertificateSignerOptions,
): NonNullable<ControllerOptions['certificateSigner']> {
  const { clock, random } = options;
  let issuer: Promise<Issuer> | undefined;
  const authorityEnds = new X509Certificate(options.certificate).validToDate.getTime();
  return {
    async sign({ csrPem, usages, expirationSeconds }) {
      const x509 = await loadX509();
      issuer ??= issuerOf(options.certificate, createPrivateKey(options.key));
      const authority = await issuer;
      const request = new x509.Pkcs10CertificateRequest(csrPem);
      const bits: Record<string, number> = {
        'digital signature': x509.KeyUsageFlags.digitalSignature,
        signing: x509.KeyUsageFlags.digitalSignature,
        'content commitment': x509.KeyUsageFlags.nonRepudiation,
        'key encipherment': x509.KeyUsageFlags.keyEncipherment,
        'key agreement': x509.KeyUsageFlags.keyAgreement,
        'data encipherment': x509.KeyUsageFlags.dataEncipherment,
        'cert sign': x509.KeyUsageFlags.keyCertSign,
        'crl sign': x509.KeyUsageFlags.cRLSign,
        'encipher only': x509.KeyUsageFlags.encipherOnly,
        'decipher only': x509.KeyUsageFlags.decipherOnly,
      };
      // In the order in which upstream writes them.
      const extended: Record<string, string> = {
        any: '2.5.29.37.0',
        'server auth': x509.ExtendedKeyUsage.serverAuth,
        'client auth': x509.ExtendedKeyUsage.clientAuth,
        'code signing': x509.ExtendedKeyUsage.codeSigning,
        'email protection': x509.ExtendedKeyUsage.emailProtection,
        's/mime': x509.ExtendedKeyUsage.emailProtection,
        'ipsec end system': '1.3.6.1.5.5.7.3.5',
        'ipsec tunnel': '1.3.6.1.5.5.7.3.6',
        'ipsec user': '1.3.6.1.5.5.7.3.7',
        timestamping: x509.ExtendedKeyUsage.timeStamping,
        'ocsp signing': x509.ExtendedKeyUsage.ocspSigning,
        'microsoft sgc': '1.3.6.1.4.1.311.10.3.3',
        'netscape sgc': '2.16.840.1.113730.4.1',
      };
      const unknown = usages.filter((u) => bits[u] === undefined && extended[u] === undefined);
      if (unknown.length > 0)
        throw new Error(`unrecognized usage values: [${unknown.map((u) => JSON.stringify(u)).join(' ')}]`);
      const flags = usages.reduce((all, usage) => all | (bits[usage] ?? 0), 0);
      const asked = new Set(usages.map((usage) => extended[usage]));
      const purposes = [...new Set(Object.values(extended))].filter((oid) => asked.has(oid));
      const now = clock.now();
      if (now >= authorityEnds)
        throw new Error(
          `refusing to sign a certificate that expired in the past: NotAfter=${new Date(authorityEnds).toISOString()}`,
        );
      const longest = options.durationMs ?? 365 * 86_400_000;
      const wanted = expirationSeconds === undefined ? longest : Math.max(expirationSeconds, minSeconds) * 1000;
      const life = Math.min(wanted, longest);
      // Of a short life nothing is taken away for clocks that are late.
      const ends = life < shortMs ? now + life : now - backdateMs + life;
      const names = request.getExtension('2.5.29.17');
      const certificate = await x509.X509CertificateGenerator.create(
        {
          serialNumber: serialNumber(random),
          subject: request.subjectName,
          issuer: authority.name,
          notBefore: new Date(now - backdateMs),
          notAfter: new Date(Math.min(ends, authorityEnds)),
          publicKey: request.publicKey,
          signingKey: authority.key,
          extensions: [
            ...(flags === 0 ? [] : [new x509.KeyUsagesExtension(flags, true)]),
            ...(purposes.length === 0 ? [] : [new x509.ExtendedKeyUsageExtension(purposes)]),
            new x509.BasicConstraintsExtension(false, undefined, true),
            authority.keyId,
            ...(names === null ? [] : [names]),
          ],
        },
        webcrypto,
      );
      return `${certificate.toString('pem')}\n`;
    },
  };
}
