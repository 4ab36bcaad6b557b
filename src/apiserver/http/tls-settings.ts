/** How TLS is spoken: versions, cipher suites and curves by upstream's names, and certificates chosen by the name a client asks for. */
import { X509Certificate } from 'node:crypto';
import * as tls from 'node:tls';
import type { SecureContext, SecureContextOptions, SecureVersion } from 'node:tls';

/** A certificate for the names that clients may ask for (SNI). */
export interface NamedCertificate {
  readonly certificate: string;
  readonly key: string;
  /** Also `*.example.com`; those of the certificate where there are none. */
  readonly names: readonly string[];
}

export interface TlsSettings {
  /** TLS 1.2 when left out. */
  readonly minVersion?: SecureVersion;
  /** OpenSSL's names. */
  readonly ciphers?: string;
  readonly curves?: string;
  /** `--disable-http2-serving` is false. */
  readonly http2?: boolean;
  /** `--http2-max-streams-per-connection` */
  readonly maxStreams?: number;
}

const versions: Readonly<Record<string, SecureVersion>> = {
  VersionTLS10: 'TLSv1',
  VersionTLS11: 'TLSv1.1',
  VersionTLS12: 'TLSv1.2',
  VersionTLS13: 'TLSv1.3',
};

/** Those that TLS 1.3 has; they cannot be chosen among, as in Go. */
const modern = ['TLS_AES_128_GCM_SHA256', 'TLS_AES_256_GCM_SHA384', 'TLS_CHACHA20_POLY1305_SHA256'];

const suites: Readonly<Record<string, string>> = {
  TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA: 'ECDHE-ECDSA-AES128-SHA',
  TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA: 'ECDHE-ECDSA-AES256-SHA',
  TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA: 'ECDHE-RSA-AES128-SHA',
  TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA: 'ECDHE-RSA-AES256-SHA',
  TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256: 'ECDHE-ECDSA-AES128-GCM-SHA256',
  TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384: 'ECDHE-ECDSA-AES256-GCM-SHA384',
  TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256: 'ECDHE-RSA-AES128-GCM-SHA256',
  TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384: 'ECDHE-RSA-AES256-GCM-SHA384',
  TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256: 'ECDHE-RSA-CHACHA20-POLY1305',
  TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256: 'ECDHE-ECDSA-CHACHA20-POLY1305',
  TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305: 'ECDHE-RSA-CHACHA20-POLY1305',
  TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305: 'ECDHE-ECDSA-CHACHA20-POLY1305',
  TLS_RSA_WITH_RC4_128_SHA: 'RC4-SHA',
  TLS_RSA_WITH_3DES_EDE_CBC_SHA: 'DES-CBC3-SHA',
  TLS_RSA_WITH_AES_128_CBC_SHA: 'AES128-SHA',
  TLS_RSA_WITH_AES_256_CBC_SHA: 'AES256-SHA',
  TLS_RSA_WITH_AES_128_CBC_SHA256: 'AES128-SHA256',
  TLS_RSA_WITH_AES_128_GCM_SHA256: 'AES128-GCM-SHA256',
  TLS_RSA_WITH_AES_256_GCM_SHA384: 'AES256-GCM-SHA384',
  TLS_ECDHE_ECDSA_WITH_RC4_128_SHA: 'ECDHE-ECDSA-RC4-SHA',
  TLS_ECDHE_RSA_WITH_RC4_128_SHA: 'ECDHE-RSA-RC4-SHA',
  TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA: 'ECDHE-RSA-DES-CBC3-SHA',
  TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256: 'ECDHE-ECDSA-AES128-SHA256',
  TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256: 'ECDHE-RSA-AES128-SHA256',
};

/** Go's numbers of curves. */
const curves: Readonly<Record<string, string>> = {
  23: 'P-256',
  24: 'P-384',
  25: 'P-521',
  29: 'X25519',
  4588: 'X25519MLKEM768',
};

/** @throws {Error} with upstream's message */
export function tlsSettings(options: {
  readonly minVersion: string;
  readonly cipherSuites: readonly string[];
  readonly curves: readonly string[];
  readonly http2: boolean;
}): TlsSettings & { readonly minVersion: SecureVersion } {
  const minVersion = options.minVersion === '' ? 'TLSv1.2' : versions[options.minVersion];
  if (minVersion === undefined) throw new Error(`unknown tls version ${JSON.stringify(options.minVersion)}`);
  for (const name of options.cipherSuites)
    if (suites[name] === undefined && !modern.includes(name))
      throw new Error(`Cipher suite ${name} not supported or doesn't exist`);
  for (const id of options.curves)
    if (curves[id] === undefined) throw new Error(`invalid curve ID ${id}, known are ${Object.keys(curves).join(',')}`);
  const chosen = options.cipherSuites.flatMap((name) => suites[name] ?? []);
  return {
    minVersion,
    ...(options.cipherSuites.length === 0 ? {} : { ciphers: [...modern, ...chosen].join(':') }),
    ...(options.curves.length === 0 ? {} : { curves: options.curves.map((id) => curves[id]!).join(':') }),
    http2: options.http2,
  };
}

/** The names that a certificate is good for: its common name, if it is one, and its DNS names. */
function namesIn(pem: string): string[] {
  const certificate = new X509Certificate(pem);
  const names = [...(certificate.subjectAltName ?? '').matchAll(/(?:^|, )DNS:([^,]+)/g)].map((m) => m[1]!);
  const common = /(?:^|\n)CN=(.*)/.exec(certificate.subject)?.[1];
  if (
    common !== undefined &&
    /^(?:\*|(?:\*\.)?[a-z0-9]([-a-z0-9.]*[a-z0-9])?)$/.test(common) &&
    !/^[\d.]+$/.test(common)
  )
    names.unshift(common);
  return names;
}

/** Contexts by the name asked for: names that were given win over those of certificates, earlier ones over later ones. */
export class NamedContexts {
  readonly #byName = new Map<string, SecureContext>();

  constructor(all: readonly NamedCertificate[], common: SecureContextOptions) {
    const explicit = new Map<string, SecureContext>();
    for (const { certificate, key, names } of all.toReversed()) {
      const context = tls.createSecureContext({ ...common, cert: certificate, key });
      for (const name of names) explicit.set(name.toLowerCase(), context);
      if (names.length === 0) for (const name of namesIn(certificate)) this.#byName.set(name.toLowerCase(), context);
    }
    for (const [name, context] of explicit) this.#byName.set(name, context);
  }

  find(asked: string): SecureContext | undefined {
    const name = asked.toLowerCase().replace(/\.$/, '');
    return this.#byName.get(name) ?? this.#byName.get(name.replace(/^[^.]*/, '*'));
  }
}
