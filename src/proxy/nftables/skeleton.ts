/**
 * What the table holds whatever Services there are: the base chains on netfilter's hooks, the maps that lead to Services, and the few
 * rules that look things up in them. The same path for a packet as upstream's (pkg/proxy/nftables/README.md), but a Service is
 * elements of maps instead of chains: a chain stands for a number of endpoints, whichever Service has so many.
 */
import { formatIp, parseCidr } from '../../base/ip.ts';
import type { Place, ProxyProtocol } from '../backend.ts';
import type { NftTable } from '../nft/table.ts';
import * as names from './names.ts';
import type { Dialect, NftablesOptions } from './options.ts';

const destination = (d: Dialect): string => `${d.table} daddr . meta l4proto . th dport`;
const nodePort = 'meta l4proto . th dport';

function cidrsOf(d: Dialect, cidrs: readonly string[]): string[] {
  const found: string[] = [];
  for (const text of cidrs) {
    const cidr = parseCidr(text.trim());
    if (cidr?.family === d.family) found.push(`${formatIp({ family: d.family, value: cidr.base })}/${cidr.prefix}`);
  }
  return found;
}

/** Matches traffic of pods of the cluster, and the others; undefined when nobody can tell. */
function localTraffic(d: Dialect, o: NftablesOptions, place: Place): { is: string; isNot: string } | undefined {
  const detect = o.detectLocal ?? { mode: 'none' };
  if (detect.mode === 'ClusterCIDR' || detect.mode === 'NodeCIDR') {
    const cidrs = cidrsOf(d, detect.mode === 'NodeCIDR' ? place.podCIDRs : detect.cidrs);
    if (cidrs.length === 0) return undefined;
    const list = cidrs.length === 1 ? cidrs[0]! : `{ ${cidrs.join(', ')} }`;
    return { is: `${d.table} saddr ${list}`, isNot: `${d.table} saddr != ${list}` };
  }
  if (detect.mode === 'BridgeInterface')
    return { is: `iifname "${detect.name}"`, isNot: `iifname != "${detect.name}"` };
  if (detect.mode === 'InterfaceNamePrefix')
    return { is: `iifname "${detect.prefix}*"`, isNot: `iifname != "${detect.prefix}*"` };
  return undefined;
}

export function markOf(o: NftablesOptions): string {
  return `0x${((1 << (o.masqueradeBit ?? 14)) >>> 0).toString(16).padStart(8, '0')}`;
}

const markRule = (o: NftablesOptions): string => `meta mark set meta mark or ${markOf(o)}`;

/** True when node ports answer at every address of the node. */
export function matchesAll(d: Dialect, o: NftablesOptions): boolean {
  const given = o.nodePortAddresses ?? ['primary'];
  if (given.includes('primary')) return false;
  const own = cidrsOf(d, given);
  return own.length === 0 || own.some((c) => c.endsWith('/0'));
}

function maps(t: NftTable, d: Dialect): void {
  const a = d.address;
  const key = `${a} . inet_proto . inet_service`;
  for (const p of ['tcp', 'udp', 'sctp']) {
    // One a protocol: nft 1.0 cannot make out what `th dport` stands for when it reads the map back.
    const number = `${p} dport . numgen random mod 65536`;
    const endpoint = `${d.table} daddr . ${p} dport`;
    t.container('map', `${names.serviceEndpoints}-${p}`, `typeof ${d.table} daddr . ${number} : ${endpoint} ;`);
    t.container('map', `${names.nodePortEndpoints}-${p}`, `typeof ${number} : ${endpoint} ;`);
    t.container('map', `${names.shortCircuitEndpoints}-${p}`, `typeof ${d.table} daddr . ${number} : ${endpoint} ;`);
    t.container('map', `${names.shortCircuitNodePortEndpoints}-${p}`, `typeof ${number} : ${endpoint} ;`);
  }
  t.container('map', names.serviceIps, `type ${key} : verdict ;`);
  t.container('map', names.serviceNodePorts, 'type inet_proto . inet_service : verdict ;');
  t.container('map', names.shortCircuitIps, `type ${key} : verdict ;`);
  t.container('map', names.shortCircuitNodePorts, 'type inet_proto . inet_service : verdict ;');
  t.container('map', names.localPolicyIps, `type ${key} : verdict ;`);
  t.container('map', names.localPolicyNodePorts, 'type inet_proto . inet_service : verdict ;');
  t.container('map', names.noEndpointServices, `type ${key} : verdict ;`);
  t.container('map', names.noEndpointNodePorts, 'type inet_proto . inet_service : verdict ;');
  t.container('map', names.firewallIps, `type ${key} : verdict ;`);
  t.container('set', names.firewallSources, `type ${key} . ${a} ; flags interval ;`);
  t.container('set', names.clusterIps, `type ${a} ;`);
  t.container('set', names.nodePortIps, `type ${a} ;`);
  t.container('set', names.hairpinConnections, `type ${a} . ${a} . inet_proto . inet_service ;`);
}

/** Writes the skeleton, or what of it is different at another place. */
export function writeSkeleton(t: NftTable, d: Dialect, o: NftablesOptions, place: Place): void {
  maps(t, d);
  const x = d.table;
  const mark = markOf(o);
  const local = localTraffic(d, o, place);
  const fromHere = 'fib saddr type local';

  t.chain(names.rejectChain, ['reject']);
  t.chain('masquerading', [
    `meta mark and ${mark} != 0 meta mark set meta mark xor ${mark} masquerade fully-random`,
    `ct status dnat ${x} saddr . ${x} daddr . meta l4proto . th dport @${names.hairpinConnections} masquerade fully-random`,
  ]);

  // Node ports: at which addresses.
  const loopback = d.family === 4 ? '127.0.0.0/8' : '::1';
  const everywhere = matchesAll(d, o);
  const withLoopback = d.family === 4 && o.localhostNodePorts === true;
  const toNode: string[] = everywhere
    ? [`fib daddr type local${withLoopback ? '' : ` ${x} daddr != ${loopback}`}`]
    : [`${x} daddr @${names.nodePortIps}`, ...(withLoopback ? [`${x} daddr ${loopback}`] : [])];

  const services: string[] = [];
  if (o.masqueradeAll === true) services.push(`${x} daddr @${names.clusterIps} ${markRule(o)}`);
  // Who has a route for the service range to this node may use it: the answers must come back by here.
  else if (local !== undefined) services.push(`${x} daddr @${names.clusterIps} ${local.isNot} ${markRule(o)}`);
  services.push(`${destination(d)} vmap @${names.serviceIps}`);
  for (const match of toNode) services.push(`${match} ${nodePort} vmap @${names.serviceNodePorts}`);
  t.chain('services', services);

  // External addresses of Services with the policy Local.
  const externalLocal = (key: string, shortCircuit: string, policy: string): string[] => [
    // A pod's own traffic goes as if it had been out to a balancer and come in again.
    ...(local === undefined ? [] : [`${local.is} ${key} vmap @${shortCircuit}`]),
    // The node itself may have taken the Service's address for its source.
    `${fromHere} ${markRule(o)}`,
    `${fromHere} ${key} vmap @${shortCircuit}`,
    `${key} vmap @${policy}`,
  ];
  t.chain(names.externalLocalChain, externalLocal(destination(d), names.shortCircuitIps, names.localPolicyIps));
  t.chain(names.nodePortLocalChain, externalLocal(nodePort, names.shortCircuitNodePorts, names.localPolicyNodePorts));

  // Nobody there, or nobody who may.
  t.chain('service-endpoints-check', [`${destination(d)} vmap @${names.noEndpointServices}`]);
  t.chain(
    'nodeport-endpoints-check',
    toNode.map((match) => `${match} ${nodePort} vmap @${names.noEndpointNodePorts}`),
  );
  const unallocated = cidrsOf(d, place.serviceCIDRs);
  t.chain('cluster-ips-check', [
    `${x} daddr @${names.clusterIps} reject comment "ports that the Service does not have"`,
    ...(unallocated.length === 0
      ? []
      : [`${x} daddr { ${unallocated.join(', ')} } drop comment "addresses of no Service"`]),
  ]);
  t.chain(names.firewallChain, [`${destination(d)} . ${x} saddr != @${names.firewallSources} drop`]);
  t.chain('firewall-check', [`${destination(d)} vmap @${names.firewallIps}`]);

  const martians = withLoopback
    ? [`${x} daddr ${loopback} ${x} saddr != ${loopback} ct status != dnat ct state new drop`]
    : [];
  const jump = (chain: string): string => `ct state new jump ${chain}`;
  t.chain('filter-prerouting-pre-dnat', [jump('firewall-check')], 'type filter hook prerouting priority -110');
  t.chain('filter-output-pre-dnat', [jump('firewall-check')], 'type filter hook output priority -110');
  t.chain(
    'filter-input',
    [...martians, jump('nodeport-endpoints-check'), jump('service-endpoints-check')],
    'type filter hook input priority 0',
  );
  t.chain(
    'filter-forward',
    [jump('service-endpoints-check'), jump('cluster-ips-check')],
    'type filter hook forward priority 0',
  );
  t.chain(
    'filter-output',
    [jump('service-endpoints-check'), jump('cluster-ips-check')],
    'type filter hook output priority 0',
  );
  t.chain('nat-prerouting', ['jump services'], 'type nat hook prerouting priority -100');
  t.chain('nat-output', ['jump services'], 'type nat hook output priority -100');
  t.chain('nat-postrouting', ['jump masquerading'], 'type nat hook postrouting priority 100');
}

/** Which lists of endpoints a chain chooses from. */
export type EndpointsMap =
  | typeof names.serviceEndpoints
  | typeof names.nodePortEndpoints
  | typeof names.shortCircuitEndpoints
  | typeof names.shortCircuitNodePortEndpoints;

/** The chain that picks one of `count` endpoints out of a map; made when there is none yet. */
export function pickChain(t: NftTable, d: Dialect, map: EndpointsMap, protocol: ProxyProtocol, count: number): string {
  const p = protocol.toLowerCase();
  const name = `${map}-${p}-${count}`;
  if (t.hasChain(name)) return name;
  const isNodePort = map === names.nodePortEndpoints || map === names.shortCircuitNodePortEndpoints;
  const key = isNodePort ? `${p} dport` : `${d.table} daddr . ${p} dport`;
  t.chain(name, [`dnat ${d.table} to ${key} . numgen random mod ${count} map @${map}-${p}`]);
  return name;
}

/** Name of the chain that marks a packet and goes on to another one. */
export function masqueraded(next: string): string {
  return `mark-${next}`;
}

/** The chain that marks a packet for masquerading and goes on to another one. */
export function masqueradeChain(t: NftTable, o: NftablesOptions, next: string): string {
  const name = masqueraded(next);
  if (!t.hasChain(name)) t.chain(name, [markRule(o), `goto ${next}`]);
  return name;
}
