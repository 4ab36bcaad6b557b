/** `kubernetes`: names of the cluster, from what its API says. */
import { parseLabelSelector } from '../../api/selector-parser.ts';
import type { Directive, Line } from '../corefile/parser.ts';
import { argsOf, duration, noArgs, unknownProperty, whole, wrong, wrongCount, zonesFrom } from '../corefile/values.ts';
import type { Handler, Request } from '../message.ts';
import { rcodes, andThen } from '../message.ts';
import { isReverse, zoneOf } from '../names.ts';
import type { BlockContext, Plugin } from '../plugin.ts';
import type { PodMode } from '../zone.ts';
import { ClusterZone } from '../zone.ts';

const defaultTtl = 5;
const defaultStartupMs = 5000;

interface Options {
  zones: readonly string[];
  pods: PodMode;
  namespaces: Set<string>;
  labels: string | undefined;
  namespaceLabels: string | undefined;
  fall: readonly string[];
  ttl: number;
  endpoints: boolean;
  endpointPodNames: boolean;
  ignoreEmptyServices: boolean;
  startupMs: number;
}

function selector(line: Line, what: string): string {
  if (line.args.length === 0) throw wrongCount(line);
  const text = line.args.join(' ');
  try {
    parseLabelSelector(text);
  } catch (e) {
    throw wrong(line, `unable to parse ${what} value: '${text}': ${(e as Error).message}`, e);
  }
  return text;
}

function property(line: Line, o: Options): void {
  switch (line.name) {
    case 'pods': {
      const [mode = ''] = argsOf(line, 1);
      if (mode !== 'disabled' && mode !== 'insecure' && mode !== 'verified')
        throw wrong(line, `wrong value for pods: ${mode},  must be one of: disabled, verified, insecure`);
      o.pods = mode;
      return;
    }
    case 'namespaces':
      for (const a of argsOf(line, 1, Infinity)) o.namespaces.add(a);
      return;
    case 'labels':
      o.labels = selector(line, 'label selector');
      return;
    case 'namespace_labels':
      o.namespaceLabels = selector(line, 'namespace_label selector');
      return;
    case 'fallthrough':
      o.fall = zonesFrom(line, line.args, ['.']);
      return;
    case 'ttl':
      o.ttl = whole(line, argsOf(line, 1)[0], 0, 3600, 'ttl');
      return;
    case 'noendpoints':
      noArgs(line);
      o.endpoints = false;
      return;
    case 'endpoint_pod_names':
      noArgs(line);
      o.endpointPodNames = true;
      return;
    case 'ignore':
      if (argsOf(line, 1)[0] !== 'empty_service') throw wrong(line, `unable to parse ignore value: '${line.args[0]!}'`);
      o.ignoreEmptyServices = true;
      return;
    case 'startup_timeout':
      o.startupMs = duration(line, argsOf(line, 1)[0], 'startup_timeout');
      return;
    case 'endpoint':
    case 'tls':
    case 'kubeconfig':
      throw wrong(
        line,
        `'${line.name}' is not supported: which cluster is answered for is given where knarr is started`,
      );
    case 'multicluster':
    case 'zonal':
      throw wrong(line, `'${line.name}' is not supported by knarr`);
    // Our requests are few; there is nothing to slow down.
    case 'apiserver_qps':
    case 'apiserver_burst':
    case 'apiserver_max_inflight':
      argsOf(line, 1);
      return;
    default:
      throw unknownProperty(line);
  }
}

export function kubernetes(directives: readonly Directive[], context: BlockContext): Plugin {
  const [first, second] = directives;
  if (second !== undefined)
    throw wrong(second, 'plugin/kubernetes: this plugin can only be used once per Server Block');
  const o: Options = {
    zones: zonesFrom(first!, first!.args, context.zones),
    pods: 'disabled',
    namespaces: new Set(),
    labels: undefined,
    namespaceLabels: undefined,
    fall: [],
    ttl: defaultTtl,
    endpoints: true,
    endpointPodNames: false,
    ignoreEmptyServices: false,
    startupMs: defaultStartupMs,
  };
  for (const line of first!.block ?? []) property(line, o);
  const primary = o.zones.find((z) => !isReverse(z));
  if (primary === undefined) throw wrong(first!, 'plugin/kubernetes: non-reverse zone name must be used');
  if (o.namespaces.size > 0 && o.namespaceLabels !== undefined)
    throw wrong(first!, 'namespaces and namespace_labels cannot both be set');
  const records = context.records({
    labels: o.labels,
    namespaceLabels: o.namespaceLabels,
    pods: o.pods === 'verified',
    endpoints: o.endpoints,
  });
  const zone = new ClusterZone({
    records,
    stamps: context.stamps,
    zones: o.zones,
    primary,
    pods: o.pods,
    namespaces: o.namespaces,
    ttl: o.ttl,
    endpointPodNames: o.endpointPodNames,
    ignoreEmptyServices: o.ignoreEmptyServices,
    lookup: (request, name, type) => context.lookup(request, name, type),
  });
  const searchPath = (request: Request): readonly string[] | undefined => {
    if (o.pods !== 'verified') return undefined;
    const inside = zoneOf(o.zones, request.name);
    const [namespace] = inside === undefined ? [] : records.podNamespacesAt(request.client.address);
    if (inside === undefined || namespace === undefined) return undefined;
    return [`${namespace}.svc.${inside}`, `svc.${inside}`, inside];
  };
  return {
    name: 'kubernetes',
    ready: () => records.hasSynced,
    searchPath,
    start: async () => {
      const waiting = new AbortController();
      try {
        await Promise.race([
          records.synced(),
          context.clock.sleep(o.startupMs, waiting.signal).then(() => {
            context.logger.warn('plugin/kubernetes: starting server with unsynced Kubernetes API');
          }),
        ]);
      } finally {
        waiting.abort();
      }
    },
    wrap:
      (next: Handler): Handler =>
      (request) => {
        const inside = zoneOf(o.zones, request.name);
        if (inside === undefined) return next(request);
        return andThen(zone.answer(request, inside), (reply) =>
          (reply.rcode === rcodes.NXDOMAIN || reply.rcode === rcodes.SERVFAIL) &&
          zoneOf(o.fall, request.name) !== undefined
            ? next(request)
            : reply,
        );
      },
  };
}
