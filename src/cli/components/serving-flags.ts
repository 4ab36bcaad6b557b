/** Flags of how the API server serves: TLS, what can be looked into, how it ends. */
import type { OperationFlags } from '../../cluster/processes/api-server-extras.ts';
import type { EncryptionFlags } from '../../cluster/processes/encryption.ts';
import type { TlsFlags } from '../../cluster/processes/serving-certificates.ts';
import type { Flag } from '../flags.ts';
import type { Values } from './component.ts';

/** How TLS is spoken, on any port. */
export const tlsFlags: readonly Flag[] = [
  {
    name: 'tls-sni-cert-key',
    kind: 'array',
    value: 'CERT,KEY[:NAME,…]',
    help: 'a certificate for clients that ask for these names; its own names where none are given. Repeated for more',
  },
  { name: 'tls-min-version', kind: 'string', default: '', value: 'VersionTLS12|…', help: 'oldest version of TLS' },
  { name: 'tls-cipher-suites', kind: 'list', value: 'NAME,…', help: 'suites of TLS 1.2, by the names Go has for them' },
  { name: 'tls-curve-preferences', kind: 'list', value: 'ID,…', help: "curves by Go's numbers, such as 29 for X25519" },
];

export const servingFlags: readonly Flag[] = [
  ...tlsFlags,
  {
    name: 'http2-max-streams-per-connection',
    kind: 'int',
    default: 0,
    help: 'requests at a time on a connection; 0: 1000',
  },
  { name: 'disable-http2-serving', kind: 'bool', default: false, help: 'HTTP/1.1 alone' },
  {
    name: 'goaway-chance',
    kind: 'string',
    value: 'n',
    default: '0',
    help: 'part of the requests (0 to 0.02) whose HTTP/2 connection ends, so that clients find other servers',
  },
];

export function tlsValues(v: Values): TlsFlags {
  return {
    minVersion: v.text('tls-min-version'),
    cipherSuites: v.list('tls-cipher-suites'),
    curvePreferences: v.list('tls-curve-preferences'),
    sniCertKeys: v.list('tls-sni-cert-key'),
    disableHttp2: v.bool('disable-http2-serving'),
    goawayChance: Number(v.text('goaway-chance')),
    maxStreams: v.int('http2-max-streams-per-connection'),
  };
}

export const operationFlags: readonly Flag[] = [
  {
    name: 'tracing-config-file',
    kind: 'string',
    value: 'FILE',
    help: 'TracingConfiguration: which requests are traced, and where to',
  },
  { name: 'profiling', kind: 'bool', default: true, help: 'profiles at /debug/pprof/' },
  {
    name: 'livez-grace-period',
    kind: 'duration',
    default: 0,
    help: 'how long a start that is not finished is no failure of /livez',
  },
  {
    name: 'min-request-timeout',
    kind: 'int',
    default: 1800,
    help: 'seconds that watches last at least which say nothing themselves, and at most twice as long',
  },
  { name: 'cors-allowed-origins', kind: 'list', value: 'REGEXP,…', help: 'origins whose pages may ask' },
  {
    name: 'strict-transport-security-directives',
    kind: 'list',
    value: 'max-age=N,…',
    help: 'tells browsers that only TLS will do',
  },
  {
    name: 'shutdown-delay-duration',
    kind: 'duration',
    default: 0,
    help: 'how long it goes on serving after /readyz has begun to fail',
  },
  {
    name: 'shutdown-send-retry-after',
    kind: 'bool',
    default: false,
    help: 'who comes during the end is told to come again (429) instead of refused (503)',
  },
  {
    name: 'shutdown-watch-termination-grace-period',
    kind: 'duration',
    default: 0,
    help: 'within how long watches end, one after the other; 0: at once',
  },
];

export function operationValues(v: Values): OperationFlags {
  return {
    profiling: v.bool('profiling'),
    flags: v.texts(),
    livezGraceMs: v.ms('livez-grace-period'),
    shutdownDelayMs: v.ms('shutdown-delay-duration'),
    shutdownSendRetryAfter: v.bool('shutdown-send-retry-after'),
    shutdownWatchGraceMs: v.ms('shutdown-watch-termination-grace-period'),
    minRequestTimeoutSeconds: v.int('min-request-timeout'),
    corsAllowedOrigins: v.list('cors-allowed-origins'),
    hstsDirectives: v.list('strict-transport-security-directives'),
    logRequests: (v.maybe<number>('v') ?? 0) >= 3,
  };
}

export const encryptionFlags: readonly Flag[] = [
  {
    name: 'encryption-provider-config',
    kind: 'string',
    value: 'FILE',
    help: 'EncryptionConfiguration: how which resources are encrypted in the store',
  },
  {
    name: 'encryption-provider-config-automatic-reload',
    kind: 'bool',
    default: false,
    help: 'take a changed encryption configuration without a restart',
  },
];

export function encryptionValues(v: Values): EncryptionFlags {
  return {
    providerConfig: v.string('encryption-provider-config'),
    automaticReload: v.bool('encryption-provider-config-automatic-reload'),
  };
}
