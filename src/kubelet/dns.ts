/** A pod's resolver configuration: servers, search path and options by dnsPolicy and dnsConfig, within what resolvers take. */
import type { Pod } from '../api/types/index.gen.ts';
import type { KubeletContext } from './context.ts';
import { formatPod, isHostNetwork } from './pod-util.ts';
import type { DnsConfig } from './runtime/container-runtime.ts';

const maxServers = 3;
const maxSearches = 32;
const maxSearchChars = 2048;
const maxDomain = 255;

const unique = (list: readonly string[]): readonly string[] => [...new Set(list)];

/** Tells of what is cut off by events of the pod. */
export async function podDns(ctx: KubeletContext, pod: Pod): Promise<DnsConfig> {
  const spec = pod.spec!;
  const policy = spec.dnsPolicy ?? 'ClusterFirst';
  const cluster = policy === 'ClusterFirstWithHostNet' || (policy === 'ClusterFirst' && !isHostNetwork(pod));
  let base: DnsConfig = { servers: [], searches: [], options: [] };
  if (policy !== 'None') {
    base = await ctx.host.resolvConf();
    if (cluster && ctx.clusterDns.length > 0) {
      const d = ctx.clusterDomain;
      const own = d === '' ? [] : [`${pod.metadata.namespace}.svc.${d}`, `svc.${d}`, d];
      base = { servers: ctx.clusterDns, searches: unique([...own, ...base.searches]), options: ['ndots:5'] };
    } else if (cluster) {
      const text =
        'kubelet does not have ClusterDNS IP configured and cannot create Pod using "ClusterFirst" policy. Falling back to "Default" policy.';
      ctx.events.node('Warning', 'MissingClusterDNS', text);
      ctx.events.pod(pod, 'Warning', 'MissingClusterDNS', `pod: "${formatPod(pod)}". ${text}`);
    }
  }
  const own = spec.dnsConfig;
  if (own !== undefined) {
    const options = new Map(base.options.map((o) => [o.split(':')[0]!, o]));
    for (const o of own.options ?? [])
      options.set(o.name ?? '', o.value === undefined || o.value === '' ? (o.name ?? '') : `${o.name}:${o.value}`);
    base = {
      servers: unique([...base.servers, ...(own.nameservers ?? [])]),
      searches: unique([...base.searches, ...(own.searches ?? [])]),
      options: [...options.values()],
    };
  }
  return fit(ctx, pod, base);
}

function fit(ctx: KubeletContext, pod: Pod, config: DnsConfig): DnsConfig {
  let { servers, searches } = config;
  const forming = (message: string): void => ctx.events.pod(pod, 'Warning', 'DNSConfigForming', message);
  if (servers.length > maxServers) {
    servers = servers.slice(0, maxServers);
    forming(
      `Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: ${servers.join(' ')}`,
    );
  }
  const fitting = searches.slice(0, maxSearches).filter((s) => s.length <= maxDomain);
  while (fitting.join(' ').length > maxSearchChars) fitting.pop();
  if (fitting.length < searches.length) {
    searches = fitting;
    forming(
      `Search Line limits were exceeded, some search paths have been omitted, the applied search line is: ${searches.join(' ')}`,
    );
  }
  return servers === config.servers && searches === config.searches ? config : { ...config, servers, searches };
}
