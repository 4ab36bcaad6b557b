/** Certificate signing requests: upstream's rules for the well-known signers (pkg/apis/certificates helpers). */
import type { CertificateRequest } from '../../base/certificate-request.ts';
import type { CertificateSigningRequest } from '../../api/types/index.gen.ts';

export const kubeletClientSigner = 'kubernetes.io/kube-apiserver-client-kubelet';
export const apiServerClientSigner = 'kubernetes.io/kube-apiserver-client';
export const kubeletServingSigner = 'kubernetes.io/kubelet-serving';
export const legacyUnknownSigner = 'kubernetes.io/legacy-unknown';

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
export function kubeletClientError(r: CertificateRequest, usages: readonly string[]): string | undefined {
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
export function kubeletServingError(r: CertificateRequest, usages: readonly string[]): string | undefined {
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
