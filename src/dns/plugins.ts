/** The plugins there are, in the order in which they take part: CoreDNS' own, whatever a Corefile's order is. */
import type { Setup } from './plugin.ts';
import { autopath } from './plugins/autopath.ts';
import { cache } from './plugins/cache.ts';
import { errors } from './plugins/errors.ts';
import { forward } from './plugins/forward.ts';
import { hosts } from './plugins/hosts.ts';
import { kubernetes } from './plugins/kubernetes.ts';
import { loadbalance } from './plugins/loadbalance.ts';
import { log } from './plugins/log.ts';
import { loop } from './plugins/loop.ts';
import { rewrite } from './plugins/rewrite.ts';
import { any, bufsize, health, local, minimal, prometheus, ready, reload, settled, whoami } from './plugins/small.ts';
import { template } from './plugins/template.ts';

export const plugins: ReadonlyMap<string, Setup> = new Map<string, Setup>([
  ['root', settled],
  ['metadata', settled],
  ['cancel', settled],
  ['timeouts', settled],
  ['multisocket', settled],
  ['reload', reload],
  ['bufsize', bufsize],
  ['bind', settled],
  ['debug', settled],
  ['ready', ready],
  ['health', health],
  ['prometheus', prometheus],
  ['errors', errors],
  ['log', log],
  ['local', local],
  ['any', any],
  ['loadbalance', loadbalance],
  ['rewrite', rewrite],
  ['autopath', autopath],
  ['cache', cache],
  ['minimal', minimal],
  ['template', template],
  ['hosts', hosts],
  ['kubernetes', kubernetes],
  ['loop', loop],
  ['forward', forward],
  ['whoami', whoami],
]);

/** CoreDNS' other plugins: told apart from a slip of the pen. */
export const unsupported: ReadonlySet<string> = new Set([
  'acl',
  'auto',
  'azure',
  'chaos',
  'clouddns',
  'dns64',
  'dnssec',
  'dnstap',
  'erratic',
  'etcd',
  'file',
  'geoip',
  'grpc',
  'grpc_server',
  'header',
  'https',
  'https3',
  'k8s_external',
  'nomad',
  'nsid',
  'on',
  'pprof',
  'proxyproto',
  'quic',
  'route53',
  'secondary',
  'shed',
  'sign',
  'tls',
  'trace',
  'transfer',
  'tsig',
  'view',
]);
