/** Flags that scheduler and controller managers share. */
import type { ControlPlaneFlags } from '../../cluster/processes/control-plane-component.ts';
import { UsageError } from '../errors.ts';
import type { Flag } from '../flags.ts';
import type { Values } from './component.ts';
import { metricFlags, metricValues } from './metric-flags.ts';
import { tlsFlags } from './serving-flags.ts';

const headers = (name: string, preset: readonly string[], help: string): Flag => ({
  name: `requestheader-${name}`,
  kind: 'list',
  value: 'HEADER,…',
  help,
  ...(preset.length === 0 ? {} : { default: preset }),
});

/** `port`: the component's secure port; `lease`: the name of its lease; `tolerant`: it starts without looking up authorities. */
export function controlPlaneFlags(port: number, lease: string, tolerant = false): Flag[] {
  return [
    { name: 'kubeconfig', kind: 'string', value: 'FILE', help: 'how to reach the API server, and as whom' },
    { name: 'master', kind: 'string', value: 'URL', help: "the API server's address, instead of the kubeconfig's" },
    {
      name: 'authentication-kubeconfig',
      kind: 'string',
      value: 'FILE',
      help: 'asks the API server who the callers of the secure port are; without it bearer tokens are worth nothing',
    },
    {
      name: 'authorization-kubeconfig',
      kind: 'string',
      value: 'FILE',
      help: 'asks the API server what the callers of the secure port may; without it they may see their health paths',
    },
    {
      name: 'authorization-always-allow-paths',
      kind: 'list',
      default: ['/healthz', '/readyz', '/livez'],
      value: 'path,…',
      help: 'paths of the secure port that everybody may ask',
    },
    {
      name: 'authentication-token-webhook-cache-ttl',
      kind: 'duration',
      default: 10_000,
      help: 'how long it is remembered whose a token is',
    },
    {
      name: 'authorization-webhook-cache-authorized-ttl',
      kind: 'duration',
      default: 10_000,
      help: 'how long it is remembered that somebody may',
    },
    {
      name: 'authorization-webhook-cache-unauthorized-ttl',
      kind: 'duration',
      default: 10_000,
      help: 'how long it is remembered that somebody may not',
    },
    {
      name: 'authentication-skip-lookup',
      kind: 'bool',
      default: false,
      help: 'authorities that are not given are not looked for in the cluster',
    },
    {
      name: 'authentication-tolerate-lookup-failure',
      kind: 'bool',
      default: tolerant,
      help: 'start also when they cannot be looked for',
    },
    { name: 'client-ca-file', kind: 'string', value: 'FILE', help: 'authorities of client certificates' },
    {
      name: 'requestheader-client-ca-file',
      kind: 'string',
      value: 'FILE',
      help: 'authorities of authenticating proxies',
    },
    headers('allowed-names', [], 'names of proxies that may speak for others; all when left out'),
    headers('username-headers', ['x-remote-user'], 'who asks'),
    headers('uid-headers', [], 'their unique id'),
    headers('group-headers', ['x-remote-group'], 'their groups'),
    headers('extra-headers-prefix', ['x-remote-extra-'], 'more about them'),
    {
      name: 'bind-address',
      kind: 'string',
      value: 'ADDRESS',
      default: '0.0.0.0',
      help: 'where the secure port listens',
    },
    { name: 'secure-port', kind: 'int', default: port, help: 'port of health and metrics; 0 serves none' },
    { name: 'tls-cert-file', kind: 'string', value: 'FILE', help: 'serving certificate; self-signed when left out' },
    { name: 'tls-private-key-file', kind: 'string', value: 'FILE', help: 'its key' },
    {
      name: 'cert-dir',
      kind: 'string',
      value: 'DIR',
      default: '',
      help: `where ${lease}.crt and ${lease}.key are, or come to be, signed by itself; empty: in memory`,
    },
    ...tlsFlags,
    {
      name: 'permit-port-sharing',
      kind: 'bool',
      default: false,
      help: 'others may listen on the same address and port (SO_REUSEPORT)',
    },
    ...metricFlags,
    { name: 'leader-elect', kind: 'bool', default: true, help: 'work only as the elected leader' },
    { name: 'leader-elect-lease-duration', kind: 'duration', default: 15_000, help: 'how long a lead is respected' },
    {
      name: 'leader-elect-renew-deadline',
      kind: 'duration',
      default: 10_000,
      help: 'how long a leader tries to renew before it gives up',
    },
    { name: 'leader-elect-retry-period', kind: 'duration', default: 2_000, help: 'time between two tries' },
    {
      name: 'leader-elect-resource-lock',
      kind: 'string',
      value: 'leases',
      default: 'leases',
      help: 'what is held while it leads: leases',
    },
    { name: 'leader-elect-resource-name', kind: 'string', default: lease, help: 'name of the Lease' },
    { name: 'leader-elect-resource-namespace', kind: 'string', default: 'kube-system', help: 'its namespace' },
  ];
}

/** Flags of what runs many controllers. */
export const managerFlags: readonly Flag[] = [
  {
    name: 'controllers',
    kind: 'list',
    default: ['*'],
    help: '* for all that are on by default, NAME for one more, -NAME for one less',
  },
  {
    name: 'use-service-account-credentials',
    kind: 'bool',
    default: false,
    help: 'each controller acts under its own service account',
  },
];

export function controlPlaneOptions(v: Values): ControlPlaneFlags {
  const [lease, renew, retry] = ['lease-duration', 'renew-deadline', 'retry-period'].map((n) =>
    v.ms(`leader-elect-${n}`),
  );
  if (v.bool('leader-elect') && !(lease! > renew! && renew! > retry! * 1.2))
    throw new UsageError(
      '--leader-elect-lease-duration must be longer than --leader-elect-renew-deadline, and that longer than --leader-elect-retry-period',
    );
  if (v.text('leader-elect-resource-lock') !== 'leases')
    throw new UsageError(
      `leaderElection.resourceLock: Invalid value: ${JSON.stringify(v.text('leader-elect-resource-lock'))}: resourceLock value must be "leases"`,
    );
  return {
    kubeconfig: v.string('kubeconfig'),
    master: v.string('master'),
    authenticationKubeconfig: v.string('authentication-kubeconfig'),
    authorizationKubeconfig: v.string('authorization-kubeconfig'),
    authorizationAlwaysAllowPaths: v.list('authorization-always-allow-paths'),
    clientCaFile: v.string('client-ca-file'),
    bindAddress: v.text('bind-address'),
    securePort: v.port('secure-port'),
    tlsCertFile: v.string('tls-cert-file'),
    tlsPrivateKeyFile: v.string('tls-private-key-file'),
    certDir: v.text('cert-dir'),
    tls: {
      minVersion: v.text('tls-min-version'),
      cipherSuites: v.list('tls-cipher-suites'),
      curvePreferences: v.list('tls-curve-preferences'),
      sniCertKeys: v.list('tls-sni-cert-key'),
    },
    permitPortSharing: v.bool('permit-port-sharing'),
    metrics: metricValues(v),
    tokenTtlMs: v.ms('authentication-token-webhook-cache-ttl'),
    authorizedTtlMs: v.ms('authorization-webhook-cache-authorized-ttl'),
    unauthorizedTtlMs: v.ms('authorization-webhook-cache-unauthorized-ttl'),
    skipLookup: v.bool('authentication-skip-lookup'),
    tolerateLookupFailure: v.bool('authentication-tolerate-lookup-failure'),
    requestheaderClientCaFile: v.string('requestheader-client-ca-file'),
    requestHeader: {
      allowedNames: v.list('requestheader-allowed-names'),
      usernameHeaders: v.list('requestheader-username-headers'),
      uidHeaders: v.list('requestheader-uid-headers'),
      groupHeaders: v.list('requestheader-group-headers'),
      extraHeaderPrefixes: v.list('requestheader-extra-headers-prefix'),
    },
    election: {
      leaderElect: v.bool('leader-elect'),
      leaseDurationMs: v.ms('leader-elect-lease-duration'),
      renewDeadlineMs: v.ms('leader-elect-renew-deadline'),
      retryPeriodMs: v.ms('leader-elect-retry-period'),
      resourceName: v.text('leader-elect-resource-name'),
      resourceNamespace: v.text('leader-elect-resource-namespace'),
    },
  };
}
