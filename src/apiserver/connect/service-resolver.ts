/**
 * Where a Service leads that the API server itself calls (webhooks, aggregated servers): its cluster IP, as by default
 * upstream, or one of its ready endpoints (`--enable-aggregator-routing`).
 */
import type { EndpointSlice } from '../../api/types/discovery-v1.gen.ts';
import type { Service, ServicePort } from '../../api/types/core-v1.gen.ts';
import { notFound, serviceUnavailable } from '../../api/status.ts';
import type { Random } from '../../base/random.ts';
import type { Registries } from '../registry.ts';

/** An address to dial; a host name for Services of type ExternalName. */
export interface ServiceAddress {
  readonly host: string;
  readonly port: number;
}

export interface ServiceResolver {
  /** @throws with upstream's text when the Service leads nowhere */
  resolve(namespace: string, name: string, port: number): ServiceAddress;
}

export interface ServiceResolverOptions {
  readonly registries: Registries;
  readonly random: Random;
  /** Dial endpoints instead of the cluster IP. */
  readonly endpoints: boolean | (() => boolean);
}

function portOf(service: Service, port: number): ServicePort {
  const found = service.spec?.ports?.find((p) => p.port === port);
  if (found === undefined)
    throw serviceUnavailable(`no service port ${port} found for service ${JSON.stringify(service.metadata?.name)}`);
  return found;
}

const routable: ReadonlySet<string> = new Set(['ClusterIP', 'LoadBalancer', 'NodePort']);

export function createServiceResolver(options: ServiceResolverOptions): ServiceResolver {
  const { registries, random } = options;

  const clusterIP = (service: Service, port: number): ServiceAddress => {
    const type = service.spec?.type ?? 'ClusterIP';
    if (type === 'ExternalName') return { host: service.spec?.externalName ?? '', port };
    if (!routable.has(type)) throw new Error(`unsupported service type ${JSON.stringify(type)}`);
    const address = service.spec?.clusterIP ?? '';
    if (type === 'ClusterIP' && address === 'None') throw new Error('cannot route to service with ClusterIP "None"');
    return { host: address, port: portOf(service, port).port };
  };

  const endpoint = (service: Service, namespace: string, port: number): ServiceAddress => {
    const type = service.spec?.type ?? 'ClusterIP';
    if (!routable.has(type)) throw new Error(`unsupported service type ${JSON.stringify(type)}`);
    const wanted = portOf(service, port).name ?? '';
    const name = service.metadata?.name ?? '';
    const family = service.spec?.ipFamilies?.[0] ?? 'IPv4';
    const ready: { primary: boolean; address: ServiceAddress }[] = [];
    for (const committed of registries.cached('discovery.k8s.io', 'endpointslices', namespace)) {
      const slice = committed.object() as unknown as EndpointSlice;
      if (slice.metadata?.labels?.['kubernetes.io/service-name'] !== name) continue;
      const found = slice.ports?.find((p) => (p.name ?? '') === wanted && p.port !== undefined && p.port !== null);
      if (found === undefined) continue;
      for (const e of slice.endpoints ?? []) {
        if (e.conditions?.ready === false || e.addresses[0] === undefined) continue;
        ready.push({
          primary: slice.addressType === family,
          address: { host: e.addresses[0], port: found.port as number },
        });
      }
    }
    const best = ready.some((e) => e.primary) ? ready.filter((e) => e.primary) : ready;
    if (best.length === 0) throw serviceUnavailable(`no endpoints available for service ${JSON.stringify(name)}`);
    return best[random.int(best.length)]!.address;
  };

  return {
    resolve(namespace, name, port) {
      const service = registries.cachedGet('', 'services', namespace, name)?.object() as unknown as Service | undefined;
      if (service === undefined) throw notFound({ group: '', resource: 'service' }, name);
      const byEndpoints = typeof options.endpoints === 'function' ? options.endpoints() : options.endpoints;
      return byEndpoints ? endpoint(service, namespace, port) : clusterIP(service, port);
    },
  };
}
