/**
 * Requests of an authenticating proxy: whoever shows a certificate of the front-proxy authority speaks for the user that its
 * headers name (`--requestheader-*`).
 */
import { X509Certificate } from 'node:crypto';
import type { Clock } from '../../base/clock.ts';
import type { Authenticator } from '../context.ts';
import { headerValues } from '../http/headers.ts';
import type { IncomingRequest, UserInfo } from '../request.ts';

export interface RequestHeaderOptions {
  /** Common names that may speak for others; empty: every one of the authority. */
  readonly allowedNames: readonly string[];
  readonly usernameHeaders: readonly string[];
  readonly uidHeaders: readonly string[];
  readonly groupHeaders: readonly string[];
  readonly extraHeaderPrefixes: readonly string[];
}

/** kubeadm's. */
export const defaultRequestHeaders: RequestHeaderOptions = Object.freeze({
  allowedNames: ['front-proxy-client'],
  usernameHeaders: ['X-Remote-User'],
  uidHeaders: ['X-Remote-Uid'],
  groupHeaders: ['X-Remote-Group'],
  extraHeaderPrefixes: ['X-Remote-Extra-'],
});

interface Proxy {
  readonly name: string;
  readonly notBefore: number;
  readonly notAfter: number;
}

function firstValue(request: IncomingRequest, names: readonly string[]): string {
  for (const name of names) {
    const value = headerValues(request, name.toLowerCase())[0];
    if (value !== undefined && value !== '') return value;
  }
  return '';
}

function extrasOf(request: IncomingRequest, prefixes: readonly string[]): Record<string, string[]> {
  const extra: Record<string, string[]> = {};
  for (const prefix of prefixes.map((p) => p.toLowerCase()))
    for (const name in request.headers) {
      if (!name.startsWith(prefix)) continue;
      let key = name.slice(prefix.length);
      try {
        key = decodeURIComponent(key);
      } catch {
        // Recorded as it stands, as upstream does with malformed escapes.
      }
      (extra[key] ??= []).push(...headerValues(request, name));
    }
  return extra;
}

export function createRequestHeaderAuthenticator(
  options: RequestHeaderOptions & { readonly clock: Clock },
): Authenticator {
  const { clock, allowedNames } = options;
  // One buffer is shared by all requests of a connection.
  const known = new WeakMap<Buffer, Proxy>();
  const proxyOf = (der: Buffer): Proxy => {
    let proxy = known.get(der);
    if (proxy === undefined) {
      const certificate = new X509Certificate(der);
      proxy = {
        name: /^CN=(.*)$/m.exec(certificate.subject)?.[1] ?? '',
        notBefore: certificate.validFromDate.getTime(),
        notAfter: certificate.validToDate.getTime(),
      };
      known.set(der, proxy);
    }
    return proxy;
  };
  return {
    async authenticate(request): Promise<UserInfo | undefined> {
      const { peerAuthority: authority } = request;
      if ((authority !== 'front-proxy' && authority !== 'both') || request.peerCertificate === undefined)
        return undefined;
      const { name: proxy, notBefore, notAfter } = proxyOf(request.peerCertificate);
      const now = clock.now();
      if (now < notBefore || now > notAfter) throw new Error('x509: certificate has expired or is not yet valid');
      if (allowedNames.length > 0 && !allowedNames.includes(proxy))
        throw new Error(`x509: subject with cn=${proxy} is not in the allowed list`);
      const name = firstValue(request, options.usernameHeaders);
      if (name === '') return undefined;
      const uid = firstValue(request, options.uidHeaders);
      const extra = extrasOf(request, options.extraHeaderPrefixes);
      return {
        name,
        ...(uid === '' ? {} : { uid }),
        groups: options.groupHeaders.flatMap((h) => headerValues(request, h.toLowerCase())).filter((g) => g !== ''),
        ...(Object.keys(extra).length === 0 ? {} : { extra }),
      };
    },
  };
}
