/** Certificate signing requests: reading them, and upstream's rules for the well-known signers (pkg/apis/certificates helpers). */
import type { CertificateSigningRequest } from '../../api/types/index.gen.ts';

export const kubeletClientSigner = 'kubernetes.io/kube-apiserver-client-kubelet';
export const apiServerClientSigner = 'kubernetes.io/kube-apiserver-client';
export const kubeletServingSigner = 'kubernetes.io/kubelet-serving';
export const legacyUnknownSigner = 'kubernetes.io/legacy-unknown';

const subjectAltNameOid = '2.5.29.17';

/** What the rules look at. */
export interface ParsedRequest {
  readonly pem: string;
  readonly commonName: string;
  readonly organizations: readonly string[];
  readonly dnsNames: readonly string[];
  readonly ips: readonly string[];
  readonly emails: readonly string[];
  readonly uris: readonly string[];
}

/** Parses the base64 of a PEM PKCS #10 request. Throws for what is none. */
export async function parseRequest(base64: string): Promise<ParsedRequest> {
  const pem = Buffer.from(base64, 'base64').toString('utf8');
  if (!pem.includes('-----BEGIN CERTIFICATE REQUEST-----')) {
    throw new Error('PEM block type must be CERTIFICATE REQUEST');
  }
  await import('reflect-metadata');
  const { Pkcs10CertificateRequest, SubjectAlternativeNameExtension } = await import('@peculiar/x509');
  const request = new Pkcs10CertificateRequest(pem);
  const extension = request.getExtension(subjectAltNameOid);
  const items = extension === null ? [] : new SubjectAlternativeNameExtension(extension.rawData).names.items;
  const names = (type: string): string[] => items.filter((n) => n.type === type).map((n) => n.value);
  return {
    pem,
    commonName: request.subjectName.getField('CN')[0] ?? '',
    organizations: request.subjectName.getField('O'),
    dnsNames: names('dns'),
    ips: names('ip'),
    emails: names('email'),
    uris: names('url'),
  };
}

export function hasCondition(csr: CertificateSigningRequest, type: string): boolean {
  return (csr.status?.conditions ?? []).some((c) => c.type === type);
}

/** Approved and not denied. */
export function isApproved(csr: CertificateSigningRequest): boolean {
  return hasCondition(csr, 'Approved') && !hasCondition(csr, 'Denied');
}

function usagesAre(usages: readonly string[], last: string): boolean {
  const have = [...new Set(usages)].toSorted().join();
  const without = ['digital signature', last].toSorted().join();
  const withRSA = ['digital signature', 'key encipherment', last].toSorted().join();
  return have === without || have === withRSA;
}

const usageError = (last: string): string =>
  `usages did not match [${['digital signature', 'key encipherment', last].toSorted().join(' ')}]`;

/** Why this is no request for a kubelet's client certificate; undefined when it is one. */
export function kubeletClientError(r: ParsedRequest, usages: readonly string[]): string | undefined {
  if (r.organizations.length !== 1 || r.organizations[0] !== 'system:nodes') {
    return 'subject organization is not system:nodes';
  }
  if (r.dnsNames.length > 0) return 'DNS subjectAltNames are not allowed';
  if (r.emails.length > 0) return 'Email subjectAltNames are not allowed';
  if (r.ips.length > 0) return 'IP subjectAltNames are not allowed';
  if (r.uris.length > 0) return 'URI subjectAltNames are not allowed';
  if (!r.commonName.startsWith('system:node:')) return 'subject common name does not begin with system:node:';
  return usagesAre(usages, 'client auth') ? undefined : usageError('client auth');
}

/** Why this is no request for a kubelet's serving certificate; undefined when it is one. */
export function kubeletServingError(r: ParsedRequest, usages: readonly string[]): string | undefined {
  if (r.organizations.length !== 1 || r.organizations[0] !== 'system:nodes') {
    return 'subject organization is not system:nodes';
  }
  if (r.dnsNames.length === 0 && r.ips.length === 0) return 'DNS or IP subjectAltName is required';
  if (r.emails.length > 0) return 'Email subjectAltNames are not allowed';
  if (r.uris.length > 0) return 'URI subjectAltNames are not allowed';
  if (!usagesAre(usages, 'server auth')) return usageError('server auth');
  return r.commonName.startsWith('system:node:') ? undefined : 'subject common name does not begin with system:node:';
}

/** Why the usages do not fit a client certificate for the API server; undefined when they do. */
export function apiServerClientError(usages: readonly string[]): string | undefined {
  for (const u of usages) {
    if (u !== 'digital signature' && u !== 'key encipherment' && u !== 'client auth') {
      return `invalid usage for client certificate: ${u}`;
    }
  }
  return usages.includes('client auth') ? undefined : 'missing required usage for client certificate: client auth';
}
