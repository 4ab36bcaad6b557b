/**
 * kube-proxy's configuration from a KubeProxyConfiguration (`--config`, kubeproxy.config.k8s.io/v1alpha1): decoded strictly, checked
 * with upstream's rules and messages. As upstream's, a file takes the place of the flags; only the node's name goes before it.
 */
import { readFile } from 'node:fs/promises';
import { decodeConfig } from '../../apiserver/config-decode.ts';
import type { Shape } from '../../apiserver/config-decode.ts';
import { parseCidr, parseIp } from '../../base/ip.ts';
import type { FieldError } from '../../api/field-error.ts';
import { formatFieldError, invalid, notSupported } from '../../api/field-error.ts';
import { FeatureGates } from '../../api/features/feature-gates.ts';
import type { ConnectionLimits } from '../../proxy/connection-limits.ts';
import { loadYaml } from '../yaml.ts';
import { StartError } from './environment.ts';
import type { ProxyFlags } from './kube-proxy.ts';

const sync = { syncPeriod: 'duration', minSyncPeriod: 'duration' } as const;

const fields: Readonly<Record<string, Shape>> = {
  featureGates: 'any',
  clientConnection: {
    fields: { kubeconfig: 'string', acceptContentTypes: 'string', contentType: 'string', qps: 'any', burst: 'int' },
  },
  logging: 'any',
  hostnameOverride: 'string',
  bindAddress: 'string',
  healthzBindAddress: 'string',
  metricsBindAddress: 'string',
  bindAddressHardFail: 'bool',
  enableProfiling: 'bool',
  showHiddenMetricsForVersion: 'string',
  mode: 'string',
  iptables: { fields: { masqueradeBit: 'int', masqueradeAll: 'bool', localhostNodePorts: 'bool', ...sync } },
  ipvs: {
    fields: {
      ...sync,
      scheduler: 'string',
      excludeCIDRs: { list: 'string' },
      strictARP: 'bool',
      tcpTimeout: 'duration',
      tcpFinTimeout: 'duration',
      udpTimeout: 'duration',
    },
  },
  nftables: { fields: { masqueradeBit: 'int', masqueradeAll: 'bool', ...sync } },
  winkernel: {
    fields: {
      networkName: 'string',
      sourceVip: 'string',
      enableDSR: 'bool',
      rootHnsEndpointName: 'string',
      forwardHealthCheckVip: 'bool',
    },
  },
  detectLocalMode: 'string',
  detectLocal: { fields: { bridgeInterface: 'string', interfaceNamePrefix: 'string' } },
  clusterCIDR: 'string',
  nodePortAddresses: { list: 'string' },
  oomScoreAdj: 'int',
  conntrack: {
    fields: {
      maxPerCore: 'int',
      min: 'int',
      tcpEstablishedTimeout: 'duration',
      tcpCloseWaitTimeout: 'duration',
      tcpBeLiberal: 'bool',
      udpTimeout: 'duration',
      udpStreamTimeout: 'duration',
    },
  },
  configSyncPeriod: 'duration',
  portRange: 'string',
  windowsRunAsService: 'bool',
};

interface Periods {
  readonly syncPeriod?: number;
  readonly minSyncPeriod?: number;
}

/** As decoded: what was left out is undefined, durations are milliseconds. */
interface ProxyConfiguration {
  readonly featureGates?: Readonly<Record<string, unknown>>;
  readonly clientConnection?: { readonly kubeconfig?: string; readonly burst?: number };
  readonly hostnameOverride?: string;
  readonly bindAddress?: string;
  readonly healthzBindAddress?: string;
  readonly metricsBindAddress?: string;
  readonly bindAddressHardFail?: boolean;
  readonly enableProfiling?: boolean;
  readonly mode?: string;
  readonly iptables?: Periods & { readonly masqueradeBit?: number; readonly masqueradeAll?: boolean };
  readonly ipvs?: Readonly<Record<string, unknown>>;
  readonly nftables?: Periods & { readonly masqueradeBit?: number; readonly masqueradeAll?: boolean };
  readonly winkernel?: Readonly<Record<string, unknown>>;
  readonly detectLocalMode?: string;
  readonly detectLocal?: { readonly bridgeInterface?: string; readonly interfaceNamePrefix?: string };
  readonly clusterCIDR?: string;
  readonly nodePortAddresses?: readonly string[];
  readonly oomScoreAdj?: number;
  readonly conntrack?: Partial<ConnectionLimitsInFile>;
  readonly configSyncPeriod?: number;
}

interface ConnectionLimitsInFile {
  readonly maxPerCore: number;
  readonly min: number;
  readonly tcpEstablishedTimeout: number;
  readonly tcpCloseWaitTimeout: number;
  readonly tcpBeLiberal: boolean;
  readonly udpTimeout: number;
  readonly udpStreamTimeout: number;
}

const root = 'KubeProxyConfiguration';
const localModes = ['ClusterCIDR', 'NodeCIDR', 'BridgeInterface', 'InterfaceNamePrefix', ''];

function hostPortErrors(text: string, path: string): FieldError[] {
  const m = /^(?:\[([^\]]*)\]|([^:]*)):([^:]*)$/.exec(text);
  if (m === null) return [invalid(path, text, 'must be IP:port')];
  const errors: FieldError[] = [];
  const host = m[1] ?? m[2]!;
  if (parseIp(host) === undefined) errors.push(invalid(path, host, 'must be a valid IP'));
  const port = Number(m[3]);
  if (!/^\d+$/.test(m[3]!) || port < 1 || port > 65_535) errors.push(invalid(path, m[3]!, 'must be a valid port'));
  return errors;
}

function clusterCidrErrors(text: string, path: string): FieldError[] {
  const cidrs = text.split(',');
  const pair = 'must be a either a single CIDR or dual-stack pair of CIDRs (e.g. [10.100.0.0/16, fde4:8dba:82e1::/48]';
  if (cidrs.length > 2) return [invalid(path, cidrs, pair)];
  const parsed = cidrs.map(parseCidr);
  const errors: FieldError[] = [];
  for (const [i, c] of parsed.entries())
    if (c === undefined)
      errors.push(
        invalid(`${path}[${i}]`, cidrs[i], 'must be a valid CIDR block (e.g. 10.100.0.0/16 or fde4:8dba:82e1::/48)'),
      );
  if (errors.length === 0 && parsed.length === 2 && parsed[0]!.family === parsed[1]!.family)
    errors.push(invalid(path, cidrs, pair));
  return errors;
}

/** Upstream's validation of what has a meaning in our one mode, nftables, and of what it checks in any. */
export function validateProxyConfiguration(c: ProxyConfiguration): FieldError[] {
  const errors: FieldError[] = [];
  const at = (path: string): string => `${root}.${path}`;
  const bit = (value: number | undefined, path: string): void => {
    if (value !== undefined && (value < 0 || value > 31))
      errors.push(invalid(at(path), value, 'must be within the range [0, 31]'));
  };
  const least0 = (value: number | undefined, path: string): void => {
    if (value !== undefined && value < 0) errors.push(invalid(at(path), value, 'must be greater than or equal to 0'));
  };
  const gates = Object.fromEntries(Object.entries(c.featureGates ?? {}).map(([k, v]) => [k, String(v)]));
  try {
    void new FeatureGates(gates);
  } catch (error) {
    errors.push(invalid(at('featureGates'), gates, (error as Error).message));
  }
  bit(c.iptables?.masqueradeBit, 'KubeProxyIPTablesConfiguration.MasqueradeBit');
  bit(c.nftables?.masqueradeBit, 'KubeProxyNFTablesConfiguration.MasqueradeBit');
  const conntrack = 'KubeProxyLinuxConfiguration.KubeProxyConntrackConfiguration';
  least0(c.conntrack?.maxPerCore, `${conntrack}.MaxPerCore`);
  least0(c.conntrack?.min, `${conntrack}.Min`);
  least0(c.conntrack?.tcpEstablishedTimeout, `${conntrack}.TCPEstablishedTimeout`);
  least0(c.conntrack?.tcpCloseWaitTimeout, `${conntrack}.TCPCloseWaitTimeout`);
  least0(c.conntrack?.udpTimeout, `${conntrack}.UDPTimeout`);
  least0(c.conntrack?.udpStreamTimeout, `${conntrack}.UDPStreamTimeout`);
  if (c.oomScoreAdj !== undefined && Math.abs(c.oomScoreAdj) > 1000)
    errors.push(
      invalid(at('KubeProxyLinuxConfiguration.OOMScoreAdj'), c.oomScoreAdj, 'must be within the range [-1000, 1000]'),
    );
  if (c.mode !== undefined && !['', 'iptables', 'ipvs', 'nftables', 'simulated'].includes(c.mode))
    errors.push(
      invalid(
        at('Mode.ProxyMode'),
        c.mode,
        'must be iptables, ipvs, nftables or blank (blank means the best-available proxy [currently iptables])',
      ),
    );
  least0(c.clientConnection?.burst, 'ClientConnection.Burst');
  if (c.configSyncPeriod !== undefined && c.configSyncPeriod < 0)
    errors.push(invalid(at('ConfigSyncPeriod'), c.configSyncPeriod, 'must be greater than 0'));
  const { syncPeriod = 30_000, minSyncPeriod = 1000 } = c.nftables ?? {};
  if (syncPeriod < 0) errors.push(invalid(at('SyncPeriod'), syncPeriod, 'must be greater than 0'));
  least0(minSyncPeriod, 'MinSyncPeriod');
  if (minSyncPeriod > (syncPeriod || 30_000))
    errors.push(invalid(at('SyncPeriod'), minSyncPeriod, `must be greater than or equal to ${at('MinSyncPeriod')}`));
  if (c.bindAddress !== undefined && c.bindAddress !== '' && parseIp(c.bindAddress) === undefined)
    errors.push(invalid(at('BindAddress'), c.bindAddress, 'not a valid textual representation of an IP address'));
  for (const [name, path] of [
    ['healthzBindAddress', 'HealthzBindAddress'],
    ['metricsBindAddress', 'MetricsBindAddress'],
  ] as const) {
    const text = c[name];
    if (text !== undefined && text !== '') errors.push(...hostPortErrors(withPort(text, name), at(path)));
  }
  const addresses = c.nodePortAddresses ?? [];
  for (const [i, a] of addresses.entries()) {
    const path = at(`NodePortAddresses[${i}]`);
    if (a === 'primary') {
      if (addresses.length !== 1) errors.push(invalid(path, a, "can't use both 'primary' and CIDRs"));
      break;
    }
    if (parseCidr(a) === undefined) errors.push(invalid(path, a, 'must be a valid CIDR'));
  }
  const mode = c.detectLocalMode ?? '';
  if (!localModes.includes(mode)) errors.push(notSupported(at('DetectLocalMode'), mode, localModes));
  const local = at('DetectLocalConfiguration');
  if (mode === 'BridgeInterface' && (c.detectLocal?.bridgeInterface ?? '') === '')
    errors.push(invalid(`${local}.InterfaceName`, '', 'must not be empty'));
  if (mode === 'InterfaceNamePrefix' && (c.detectLocal?.interfaceNamePrefix ?? '') === '')
    errors.push(invalid(`${local}.InterfacePrefix`, '', 'must not be empty'));
  if ((c.clusterCIDR ?? '') !== '') errors.push(...clusterCidrErrors(c.clusterCIDR!, `${local}.ClusterCIDRs`));
  return errors;
}

/** An address alone gets the usual port, as upstream's defaulting does. */
function withPort(text: string, name: 'healthzBindAddress' | 'metricsBindAddress'): string {
  const port = name === 'healthzBindAddress' ? 10_256 : 10_249;
  if (parseIp(text) === undefined) return text;
  return text.includes(':') ? `[${text}]:${port}` : `${text}:${port}`;
}

/** What a configuration asks for that has no effect here: one line each. */
export function proxyConfigurationGaps(c: ProxyConfiguration): string[] {
  const gaps: string[] = [];
  // Files of installers name everything, with values that mean the default.
  const says = (value: unknown): boolean =>
    typeof value === 'object' && value !== null
      ? Object.values(value).some(says)
      : value !== undefined && value !== '' && value !== false && value !== 0;
  const set = (value: unknown, line: string): void => {
    if (says(value)) gaps.push(line);
  };
  set(c.iptables, 'iptables: the rules are those of nftables');
  set(c.ipvs, 'ipvs: the rules are those of nftables');
  set(c.winkernel, 'winkernel: this is no Windows');
  set(c.configSyncPeriod !== 900_000 && c.configSyncPeriod, 'configSyncPeriod: Services are watched, not listed again');
  set(c.enableProfiling, 'enableProfiling: there is no /debug/pprof');
  return gaps;
}

/** Decodes and checks the text of a file. @throws Error with upstream's text */
export async function parseProxyConfiguration(text: string): Promise<ProxyConfiguration> {
  const kind = { kind: root, group: 'kubeproxy.config.k8s.io', versions: ['v1alpha1'], fields };
  const { fields: found } = decodeConfig(await loadYaml(text), kind);
  const configuration = found as ProxyConfiguration;
  const errors = validateProxyConfiguration(configuration);
  if (errors.length === 1) throw new Error(formatFieldError(errors[0]!));
  if (errors.length > 1) throw new Error(`[${errors.map(formatFieldError).join(', ')}]`);
  return configuration;
}

/** The flags that a file stands for. `flags`: what holds beside it, and the defaults of what it leaves out. @throws StartError */
export async function flagsOfFile(
  file: string,
  flags: ProxyFlags,
): Promise<{ readonly flags: ProxyFlags; readonly gaps: readonly string[] }> {
  let c: ProxyConfiguration;
  try {
    c = await parseProxyConfiguration(await readFile(file, 'utf8'));
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    const why = code === 'ENOENT' ? 'there is no such file' : (error as Error).message.split('\n')[0]!;
    throw new StartError(`cannot use the configuration ${file} (--config): ${why}`, { cause: error });
  }
  const bind = c.bindAddress ?? '';
  const six = bind.includes(':');
  const conntrack: ConnectionLimits = {
    maxPerCore: c.conntrack?.maxPerCore ?? 32_768,
    min: c.conntrack?.min ?? 131_072,
    tcpEstablishedTimeout: c.conntrack?.tcpEstablishedTimeout ?? 86_400_000,
    tcpCloseWaitTimeout: c.conntrack?.tcpCloseWaitTimeout ?? 3_600_000,
    tcpBeLiberal: c.conntrack?.tcpBeLiberal ?? false,
    udpTimeout: c.conntrack?.udpTimeout ?? 0,
    udpStreamTimeout: c.conntrack?.udpStreamTimeout ?? 0,
  };
  const or = (text: string | undefined): string | undefined => (text === '' ? undefined : text);
  return {
    gaps: proxyConfigurationGaps(c),
    flags: {
      ...flags,
      kubeconfig: or(c.clientConnection?.kubeconfig),
      hostnameOverride: flags.hostnameOverride ?? or(c.hostnameOverride),
      bindAddress: or(c.bindAddress),
      bindAddressHardFail: c.bindAddressHardFail ?? false,
      proxyMode: or(c.mode),
      healthzBindAddress: withPort(or(c.healthzBindAddress) ?? (six ? '::' : '0.0.0.0'), 'healthzBindAddress'),
      metricsBindAddress: withPort(or(c.metricsBindAddress) ?? (six ? '::1' : '127.0.0.1'), 'metricsBindAddress'),
      clusterCidr: c.clusterCIDR ?? '',
      detectLocalMode: or(c.detectLocalMode) ?? 'ClusterCIDR',
      podBridgeInterface: c.detectLocal?.bridgeInterface ?? '',
      podInterfaceNamePrefix: c.detectLocal?.interfaceNamePrefix ?? '',
      masqueradeAll: c.nftables?.masqueradeAll ?? false,
      masqueradeBit: c.nftables?.masqueradeBit ?? 14,
      nodePortAddresses: c.nodePortAddresses ?? [],
      minSyncPeriodMs: c.nftables?.minSyncPeriod ?? 0,
      syncPeriodMs: c.nftables?.syncPeriod || 30_000,
      oomScoreAdj: c.oomScoreAdj,
      conntrack,
    },
  };
}

/** A file with all that it may say, at upstream's defaults (`--write-config-to`). */
export function defaultProxyConfiguration(): Readonly<Record<string, unknown>> {
  const sync30 = { syncPeriod: '30s', minSyncPeriod: '1s' };
  return {
    apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
    kind: root,
    bindAddress: '0.0.0.0',
    bindAddressHardFail: false,
    clientConnection: { acceptContentTypes: '', burst: 10, contentType: '', kubeconfig: '', qps: 5 },
    clusterCIDR: '',
    configSyncPeriod: '15m0s',
    conntrack: {
      maxPerCore: 32_768,
      min: 131_072,
      tcpBeLiberal: false,
      tcpCloseWaitTimeout: '1h0m0s',
      tcpEstablishedTimeout: '24h0m0s',
      udpStreamTimeout: '0s',
      udpTimeout: '0s',
    },
    detectLocal: { bridgeInterface: '', interfaceNamePrefix: '' },
    detectLocalMode: '',
    enableProfiling: false,
    healthzBindAddress: '0.0.0.0:10256',
    hostnameOverride: '',
    metricsBindAddress: '127.0.0.1:10249',
    mode: 'nftables',
    nftables: { masqueradeAll: false, masqueradeBit: 14, ...sync30 },
    nodePortAddresses: null,
    oomScoreAdj: -999,
    portRange: '',
    showHiddenMetricsForVersion: '',
  };
}
