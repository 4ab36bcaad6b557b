/**
 * Client certificates (X.509): the common name is the user, organizations are groups. TLS has verified the chain against
 * the client CA; here the subject is read, once a certificate, and validity is held against cluster time.
 */
import { createHash, X509Certificate } from 'node:crypto';
import type { Clock } from '../../base/clock.ts';
import { unauthorized } from '../../api/status.ts';
import type { Authenticator } from '../context.ts';
import type { IncomingRequest, UserInfo } from '../request.ts';
import { withAuthenticatedGroup } from './authenticator.ts';

interface KnownCertificate {
  /** undefined: the subject names nobody. */
  readonly user: UserInfo | undefined;
  readonly notBefore: number;
  readonly notAfter: number;
}

/** The attribute that carries a user's UID (upstream's AllowParsingUserUIDFromCertAuth). */
const uidOid = '1.3.6.1.4.1.57683.2';
const cacheLimit = 4096;

function list(value: unknown): string[] {
  if (value === undefined) return [];
  return (Array.isArray(value) ? value : [value]).map(String);
}

function readCertificate(der: Buffer): KnownCertificate {
  const certificate = new X509Certificate(der);
  const subject = certificate.toLegacyObject().subject as unknown as Record<string, unknown> | undefined;
  const name = list(subject?.['CN']).at(-1) ?? '';
  const uids = list(subject?.[uidOid]);
  const fingerprint = createHash('sha256').update(certificate.raw).digest('hex');
  return {
    user:
      name === '' || uids.length > 1
        ? undefined
        : Object.freeze(
            withAuthenticatedGroup({
              name,
              ...(uids.length === 1 ? { uid: uids[0]! } : {}),
              groups: Object.freeze(list(subject?.['O'])),
              extra: Object.freeze({ 'authentication.kubernetes.io/credential-id': [`X509SHA256=${fingerprint}`] }),
            }),
          ),
    notBefore: certificate.validFromDate.getTime(),
    notAfter: certificate.validToDate.getTime(),
  };
}

/** Authenticates by the certificate that the TLS connection was opened with. */
export function createClientCertAuthenticator(options: {
  readonly clock: Clock;
  /** Seconds that the certificates shown are still good for. */
  readonly remaining?: { observe(seconds: number): void };
}): Authenticator {
  // One buffer is shared by all requests of a connection; the second level is for many connections of one client.
  const byBuffer = new WeakMap<Buffer, KnownCertificate>();
  const byDigest = new Map<string, KnownCertificate>();
  const known = (der: Buffer): KnownCertificate => {
    const hit = byBuffer.get(der);
    if (hit !== undefined) return hit;
    const digest = createHash('sha256').update(der).digest('base64');
    let certificate = byDigest.get(digest);
    if (certificate === undefined) {
      certificate = readCertificate(der);
      if (byDigest.size >= cacheLimit) byDigest.delete(byDigest.keys().next().value!);
      byDigest.set(digest, certificate);
    }
    byBuffer.set(der, certificate);
    return certificate;
  };
  const valid = (certificate: KnownCertificate): boolean => {
    const now = options.clock.now();
    return now <= certificate.notAfter && now >= certificate.notBefore;
  };
  return {
    async authenticate(request: IncomingRequest): Promise<UserInfo | undefined> {
      if (request.peerCertificate === undefined) return undefined;
      const certificate = known(request.peerCertificate);
      options.remaining?.observe((certificate.notAfter - options.clock.now()) / 1000);
      if (!valid(certificate)) throw unauthorized();
      return certificate.user;
    },
    known(request) {
      const certificate = request.peerCertificate === undefined ? undefined : byBuffer.get(request.peerCertificate);
      return certificate !== undefined && valid(certificate) ? certificate.user : undefined;
    },
  };
}
