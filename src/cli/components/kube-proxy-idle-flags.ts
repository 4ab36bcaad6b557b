/** Flags of upstream's kube-proxy that stand for nothing with nftables. */
import type { IdleFlags } from './idle-flags.ts';

const iptables = 'the rules are those of nftables';
const unlimited = 'requests to the API server are not limited by the client';
const cadvisor = 'nothing reads it, in upstream either';

export const idleProxyFlags: IdleFlags = [
  ['iptables-localhost-nodeports', 'bool', 'with nftables that is --localhost-nodeports'],
  ['ipvs-exclude-cidrs', 'list', iptables],
  ['ipvs-min-sync-period', 'duration', iptables],
  ['ipvs-scheduler', 'string', iptables],
  ['ipvs-strict-arp', 'bool', iptables],
  ['ipvs-sync-period', 'duration', iptables],
  ['ipvs-tcp-timeout', 'duration', iptables],
  ['ipvs-tcpfin-timeout', 'duration', iptables],
  ['ipvs-udp-timeout', 'duration', iptables],
  ['config-sync-period', 'duration', 'Services are watched, not listed again'],
  ['kube-api-burst', 'int', unlimited],
  ['kube-api-qps', 'string', unlimited],
  ['kube-api-content-type', 'string', 'requests to the API server are JSON'],
  ['profiling', 'bool', 'there is no /debug/pprof'],
  ['show-hidden-metrics-for-version', 'string', 'there are no hidden metrics'],
  ['machine-id-file', 'string', cadvisor],
  ['boot-id-file', 'string', cadvisor],
];
