/** Errors of connections worded as Go's: tools and people match on `connect: connection refused` and `x509: …`. */
import { joinHostPort } from '../../base/host-port.ts';

interface SystemError extends Error {
  readonly code?: string;
  readonly address?: string;
  readonly port?: number;
}

const dialing: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connect: connection refused',
  EHOSTUNREACH: 'connect: no route to host',
  ENETUNREACH: 'connect: network is unreachable',
  ETIMEDOUT: 'i/o timeout',
};

const untrusted: ReadonlySet<string> = new Set([
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'CERT_UNTRUSTED',
  'CERT_SIGNATURE_FAILURE',
]);

const unverified = 'tls: failed to verify certificate: x509: ';

/** What Go's client would say of this error. `host` and `port`: whither it went. */
export function goNetworkError(error: unknown, host: string, port: number): string {
  if (!(error instanceof Error)) return String(error);
  const { code, address, port: dialled } = error as SystemError;
  if (code === undefined) return error.message;
  const refusal = dialing[code];
  if (refusal !== undefined) return `dial tcp ${joinHostPort(address ?? host, dialled ?? port)}: ${refusal}`;
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') return `dial tcp: lookup ${host}: no such host`;
  if (untrusted.has(code)) return `${unverified}certificate signed by unknown authority`;
  if (code === 'CERT_HAS_EXPIRED' || code === 'CERT_NOT_YET_VALID')
    return `${unverified}certificate has expired or is not yet valid`;
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') return `${unverified}${error.message}`;
  if (code === 'ECONNRESET' || code === 'EPIPE')
    return error.message === 'socket hang up' ? 'EOF' : 'read: connection reset by peer';
  if (code === 'EPROTO' || code === 'ERR_SSL_WRONG_VERSION_NUMBER' || code === 'ERR_SSL_PACKET_LENGTH_TOO_LONG')
    return /wrong version number|packet length too long/i.test(error.message)
      ? 'http: server gave HTTP response to HTTPS client'
      : `remote error: tls: ${error.message.replace(/\s+$/, '')}`;
  return error.message;
}
