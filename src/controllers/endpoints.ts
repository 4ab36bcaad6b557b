/** The Endpoints controller: the older form of a Service's addresses, one object a Service, at most 1,000 addresses. */
import { isIPv6 } from 'node:net';
import { deepEqual } from '../api/helpers/deep-equal.ts';
import { isPodReady } from '../api/helpers/pod-status.ts';
import type { Endpoints, EndpointAddress, EndpointSubset, Pod, Service } from '../api/types/index.gen.ts';
import { Controller } from '../client/controller.ts';
import { isConflict, isForbidden, isNamespaceTerminating, isNotFound } from '../client/errors.ts';
import { keyOf, splitKey } from '../client/lister.ts';
import { compareResourceVersions } from '../client/resource-version.ts';
import { resources } from '../client/resources.ts';
import type { ControllerContext, ControllerDescriptor, RunningController } from './context.ts';
import { triggerTimeAnnotation } from './endpointslice/endpointslice.ts';
import {
  batchDelayMs,
  findPort,
  hasClusterIP,
  hasEndpoint,
  hasHostname,
  podAddresses,
  selects,
  servicesToUpdate,
  TriggerTimes,
} from './endpointslice/services.ts';
import { headlessLabel } from './endpointslice/reconcile.ts';

const maxCapacity = 1000;
const overCapacityAnnotation = 'endpoints.kubernetes.io/over-capacity';
const managedByLabel = 'endpoints.kubernetes.io/managed-by';
const controllerName = 'endpoint-controller';
const leaderAnnotation = 'control-plane.alpha.kubernetes.io/leader';

type Port = NonNullable<EndpointSubset['ports']>[number];

/** Addresses grouped by the set of ports they have. */
class Subsets {
  readonly #addresses = new Map<string, { address: EndpointAddress; ready: boolean; ports: Map<string, Port> }>();

  add(address: EndpointAddress, ready: boolean, port: Port | undefined): void {
    const key = JSON.stringify([address.ip, address.targetRef?.uid ?? '']);
    let entry = this.#addresses.get(key);
    if (entry === undefined) {
      entry = { address, ready, ports: new Map() };
      this.#addresses.set(key, entry);
    }
    if (port !== undefined) entry.ports.set(JSON.stringify([port.name, port.port, port.protocol]), port);
  }

  build(): EndpointSubset[] {
    const groups = new Map<string, { ports: Port[]; ready: EndpointAddress[]; notReady: EndpointAddress[] }>();
    for (const { address, ready, ports } of this.#addresses.values()) {
      const keys = [...ports.keys()].toSorted();
      const key = keys.join(';');
      let group = groups.get(key);
      if (group === undefined) {
        group = { ports: keys.map((k) => ports.get(k)!), ready: [], notReady: [] };
        groups.set(key, group);
      }
      (ready ? group.ready : group.notReady).push(address);
    }
    return [...groups.entries()]
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([, g]) => ({
        ...(g.ready.length === 0 ? {} : { addresses: g.ready.toSorted(byAddress) }),
        ...(g.notReady.length === 0 ? {} : { notReadyAddresses: g.notReady.toSorted(byAddress) }),
        ...(g.ports.length === 0 ? {} : { ports: g.ports }),
      }));
  }
}

function byAddress(a: EndpointAddress, b: EndpointAddress): number {
  const order = compareIPs(a.ip ?? '', b.ip ?? '');
  if (order !== 0) return order;
  return (a.targetRef?.uid ?? '') < (b.targetRef?.uid ?? '') ? -1 : 1;
}

function compareIPs(a: string, b: string): number {
  const x = a.split('.').map(Number);
  const y = b.split('.').map(Number);
  if (x.length !== 4 || y.length !== 4) return a < b ? -1 : a > b ? 1 : 0;
  for (let i = 0; i < 4; i++) if (x[i] !== y[i]) return x[i]! - y[i]!;
  return 0;
}

/** Ready addresses go first when there are too many, shared out over the subsets. */
function truncate(subsets: EndpointSubset[]): { subsets: EndpointSubset[]; truncated: boolean } {
  const ready = subsets.reduce((n, s) => n + (s.addresses ?? []).length, 0);
  const notReady = subsets.reduce((n, s) => n + (s.notReadyAddresses ?? []).length, 0);
  if (ready + notReady <= maxCapacity) return { subsets, truncated: false };
  const cutReady = ready > maxCapacity;
  const max = cutReady ? maxCapacity : maxCapacity - ready;
  const total = cutReady ? ready : notReady;
  let left = max;
  const out = subsets.map((s) => {
    const list = (cutReady ? s.addresses : s.notReadyAddresses) ?? [];
    const share = list.slice(0, Math.min(Math.ceil((list.length / total) * max), left));
    left -= share.length;
    const { notReadyAddresses, ...rest } = s;
    if (cutReady) return { ...rest, addresses: share };
    return notReadyAddresses === undefined || share.length === 0 ? rest : { ...rest, notReadyAddresses: share };
  });
  return { subsets: out, truncated: true };
}

/** The pod's address in the Service's family. */
function addressOf(service: Service, pod: Pod): EndpointAddress | undefined {
  const ips = podAddresses(pod);
  const { ipFamilies, clusterIP } = service.spec ?? {};
  const family = ipFamilies?.[0] ?? (hasClusterIP(service) && isIPv6(clusterIP!) ? 'IPv6' : undefined);
  const ip = family === undefined ? ips[0] : ips.find((a) => isIPv6(a) === (family === 'IPv6'));
  if (ip === undefined) return undefined;
  const nodeName = pod.spec?.nodeName;
  return {
    ip,
    ...(hasHostname(pod, service) ? { hostname: pod.spec!.hostname! } : {}),
    ...(nodeName === undefined || nodeName === '' ? {} : { nodeName }),
    targetRef: {
      kind: 'Pod',
      namespace: pod.metadata.namespace!,
      name: pod.metadata.name!,
      uid: pod.metadata.uid!,
    },
  };
}

function computeSubsets(service: Service, pods: readonly Pod[]): EndpointSubset[] {
  const subsets = new Subsets();
  const publishAll = service.spec?.publishNotReadyAddresses === true;
  for (const pod of pods) {
    if (!hasEndpoint(pod, publishAll)) continue;
    const address = addressOf(service, pod);
    if (address === undefined) continue;
    const ready = publishAll || isPodReady(pod);
    const ports = service.spec?.ports ?? [];
    if (ports.length === 0 && service.spec?.clusterIP === 'None') subsets.add(address, ready, undefined);
    for (const p of ports) {
      const port = findPort(pod, p);
      if (port === undefined) continue;
      subsets.add(address, ready, {
        ...(p.name === undefined || p.name === '' ? {} : { name: p.name }),
        port,
        protocol: p.protocol ?? 'TCP',
        ...(p.appProtocol === undefined ? {} : { appProtocol: p.appProtocol }),
      });
    }
  }
  return subsets.build();
}

function labelsFit(have: Readonly<Record<string, string>> | undefined, service: Service): boolean {
  const { [managedByLabel]: managedBy, [headlessLabel]: _headless, ...rest } = have ?? {};
  return managedBy === controllerName && deepEqual(rest, service.metadata.labels ?? {});
}

function start(context: ControllerContext): RunningController {
  const client = context.clientFor('endpoint-controller');
  const recorder = context.recorder('endpoint-controller', client);
  const { informers, clock, logger } = context;
  const services = informers.informer(resources.core.services);
  const pods = informers.informer(resources.core.pods);
  const endpoints = informers.informer(resources.core.endpoints);
  const times = new TriggerTimes();
  const sizes = new Map<string, number>();
  /** Version of our last write, until the cache has it. */
  const written = new Map<string, string>();

  const reconcile = async (key: string): Promise<void> => {
    const { namespace, name } = splitKey(key);
    const service = services.lister.get(name, namespace);
    if (service === undefined) {
      times.delete(key);
      sizes.delete(key);
      written.delete(key);
      // Endpoints that belong to no Service serve nobody, whoever made them.
      if (endpoints.lister.get(name, namespace) === undefined) return;
      try {
        await client.core.endpoints.delete(name, namespace);
      } catch (error) {
        if (!isNotFound(error)) throw error;
      }
      return;
    }
    const selector = service.spec?.selector;
    if (service.spec?.type === 'ExternalName' || selector === undefined) return;
    const matching: Pod[] = [];
    for (const pod of pods.lister.list(namespace)) if (selects(selector, pod.metadata.labels)) matching.push(pod);
    sizes.set(key, matching.length);
    const time = times.compute(service, matching);
    const current = endpoints.lister.get(name, namespace);
    const expected = written.get(key);
    if (expected !== undefined) {
      // Our last write has not come back yet; its event wakes us.
      if (compareResourceVersions(current?.metadata.resourceVersion, expected) < 0) return;
      written.delete(key);
    }
    const { subsets, truncated } = truncate(computeSubsets(service, matching));
    const flagged = current?.metadata.annotations?.[overCapacityAnnotation] !== undefined;
    if (
      current !== undefined &&
      deepEqual(current.subsets ?? [], subsets) &&
      labelsFit(current.metadata.labels, service) &&
      flagged === truncated
    ) {
      return;
    }
    const annotations = { ...current?.metadata.annotations };
    if (time === undefined || time === '') delete annotations[triggerTimeAnnotation];
    else annotations[triggerTimeAnnotation] = time;
    if (truncated) annotations[overCapacityAnnotation] = 'truncated';
    else delete annotations[overCapacityAnnotation];
    const labels: Record<string, string> = { ...service.metadata.labels, [managedByLabel]: controllerName };
    if (hasClusterIP(service)) delete labels[headlessLabel];
    else labels[headlessLabel] = '';
    const wanted: Endpoints = {
      ...current,
      metadata: { ...current?.metadata, name, namespace, labels, annotations },
      subsets,
    };
    try {
      const result = await (current === undefined
        ? client.core.endpoints.create(wanted)
        : client.core.endpoints.update(wanted));
      written.set(key, result.metadata.resourceVersion ?? '');
    } catch (error) {
      if (current === undefined && isForbidden(error) && isNamespaceTerminating(error)) return;
      if (!isConflict(error)) {
        const [reason, what] =
          current === undefined
            ? ['FailedToCreateEndpoint', 'create endpoint for service']
            : ['FailedToUpdateEndpoint', 'update endpoint'];
        const message = `Failed to ${what} ${key}: ${(error as Error).message}`;
        recorder.event(resources.core.endpoints, wanted, 'Warning', reason!, message);
      }
      throw error;
    }
  };
  const controller = new Controller({
    queueMetrics: context.queueMetrics,
    name: 'endpoints',
    clock,
    logger,
    workers: context.options.concurrency?.['endpoint'],
    maxRetries: 15,
    reconcile,
  });
  const batchMs = context.options.endpointUpdatesBatchPeriodMs ?? 0;
  const wake = (s: Service): void => controller.queue.add(keyOf(s));
  services.addHandler({ onAdd: wake, onUpdate: (_, s) => wake(s), onDelete: wake });
  const podChanged = (old: Pod | undefined, pod: Pod | undefined): void => {
    for (const key of servicesToUpdate(services.lister, old, pod)) {
      controller.queue.addAfter(key, Math.max(batchMs, clock.virtual ? 0 : batchDelayMs(sizes.get(key) ?? 0)));
    }
  };
  pods.addHandler({
    onAdd: (pod) => podChanged(undefined, pod),
    onUpdate: podChanged,
    onDelete: (pod) => podChanged(pod, undefined),
  });
  const seen = (e: Endpoints): void => {
    const expected = written.get(keyOf(e));
    if (expected !== undefined && compareResourceVersions(e.metadata.resourceVersion, expected) >= 0) {
      controller.queue.add(keyOf(e));
    }
  };
  endpoints.addHandler({
    onAdd: (e, initial) => {
      // Left over from a Service that went away while nobody looked.
      if (initial && e.metadata.annotations?.[leaderAnnotation] === undefined) controller.queue.add(keyOf(e));
      else seen(e);
    },
    onUpdate: (_, e) => seen(e),
    onDelete: (e) => {
      written.delete(keyOf(e));
      controller.queue.add(keyOf(e));
    },
  });
  controller.start(services.synced, pods.synced, endpoints.synced);
  return controller;
}

export const endpointsController: ControllerDescriptor = {
  name: 'endpoints-controller',
  aliases: ['endpoints'],
  start,
};
