/**
 * The EndpointSlice mirroring controller: Endpoints that users write for Services without a selector, mirrored into slices, one
 * slice a subset and address family.
 */
import { isIP } from 'node:net';
import { semanticEqual } from '../../api/helpers/deep-equal.ts';
import { newControllerRef } from '../../api/helpers/owner-references.ts';
import type {
  DiscoveryV1EndpointPort,
  Endpoint,
  EndpointAddress,
  EndpointSlice,
  Endpoints,
  EndpointSubset,
} from '../../api/types/index.gen.ts';
import { Controller } from '../../client/controller.ts';
import { isNamespaceTerminating, isNotFound } from '../../client/errors.ts';
import { keyOf, splitKey } from '../../client/lister.ts';
import { resources } from '../../client/resources.ts';
import type { ControllerContext, ControllerDescriptor, RunningController } from '../context.ts';
import { triggerTimeAnnotation } from './endpointslice.ts';
import { managedByLabel, serviceNameLabel } from './reconcile.ts';
import { SliceTracker } from './slice-tracker.ts';

const controllerName = 'endpointslicemirroring-controller.k8s.io';
const skipLabel = 'endpointslice.kubernetes.io/skip-mirror';
const leaderAnnotation = 'control-plane.alpha.kubernetes.io/leader';
const lastAppliedAnnotation = 'kubectl.kubernetes.io/last-applied-configuration';
const mirroredIndex = 'mirrored';

type Family = 'IPv4' | 'IPv6';

interface Wanted {
  readonly family: Family;
  readonly ports: DiscoveryV1EndpointPort[];
  readonly endpoints: Map<string, Endpoint>;
}

const shouldMirror = (e: Endpoints): boolean =>
  e.metadata.labels?.[skipLabel] !== 'true' && e.metadata.annotations?.[leaderAnnotation] === undefined;

const portsKey = (ports: readonly DiscoveryV1EndpointPort[] | null | undefined): string =>
  (ports ?? [])
    .map((p) => JSON.stringify([p.name ?? '', p.protocol ?? 'TCP', p.port ?? null, p.appProtocol ?? null]))
    .toSorted()
    .join(';');

const groupKey = (family: string, ports: readonly DiscoveryV1EndpointPort[] | null | undefined): string =>
  `${family} ${portsKey(ports)}`;

const endpointKey = (e: Endpoint): string =>
  JSON.stringify([e.addresses, e.hostname ?? '', e.targetRef?.namespace, e.targetRef?.name, e.targetRef?.uid]);

const equalEndpoints = (a: Endpoint | undefined, b: Endpoint): boolean =>
  a !== undefined &&
  a.conditions?.ready === b.conditions?.ready &&
  a.nodeName === b.nodeName &&
  semanticEqual({ ...a.targetRef, resourceVersion: undefined }, { ...b.targetRef, resourceVersion: undefined });

function toEndpoint(a: EndpointAddress, ready: boolean): { endpoint: Endpoint; family: Family } | undefined {
  const ip = a.ip ?? '';
  const version = isIP(ip);
  if (version === 0) return undefined;
  return {
    family: version === 6 ? 'IPv6' : 'IPv4',
    endpoint: {
      addresses: [ip],
      conditions: { ready },
      ...(a.hostname === undefined || a.hostname === '' ? {} : { hostname: a.hostname }),
      ...(a.targetRef === undefined ? {} : { targetRef: a.targetRef }),
      ...(a.nodeName === undefined ? {} : { nodeName: a.nodeName }),
    },
  };
}

/** What the slices should hold; counts what cannot be mirrored. */
function desired(
  subsets: readonly EndpointSubset[],
  max: number,
): { groups: Map<string, Wanted>; invalid: number; skipped: number } {
  const groups = new Map<string, Wanted>();
  let invalid = 0;
  let skipped = 0;
  for (const subset of subsets) {
    const ports = (subset.ports ?? []).map((p) => ({
      name: p.name ?? '',
      port: p.port,
      protocol: p.protocol ?? 'TCP',
      ...(p.appProtocol === undefined ? {} : { appProtocol: p.appProtocol }),
    }));
    let added = 0;
    const all = [
      ...(subset.addresses ?? []).map((a) => [a, true] as const),
      ...(subset.notReadyAddresses ?? []).map((a) => [a, false] as const),
    ];
    for (const [address, ready] of all) {
      if (added >= max) break;
      const made = toEndpoint(address, ready);
      if (made === undefined) {
        invalid++;
        continue;
      }
      added++;
      const key = groupKey(made.family, ports);
      let group = groups.get(key);
      if (group === undefined) {
        group = { family: made.family, ports, endpoints: new Map() };
        groups.set(key, group);
      }
      group.endpoints.set(endpointKey(made.endpoint), made.endpoint);
    }
    skipped += all.length - added;
  }
  return { groups, invalid, skipped };
}

function without(map: Readonly<Record<string, string>> | undefined, ...keys: string[]): Record<string, string> {
  return Object.fromEntries(Object.entries(map ?? {}).filter(([k]) => !keys.includes(k)));
}

function newSlice(endpoints: Endpoints, group: Wanted, max: number): EndpointSlice {
  const name = endpoints.metadata.name!;
  return {
    metadata: {
      generateName: name.length > 252 ? name : `${name}-`,
      namespace: endpoints.metadata.namespace,
      labels: { ...endpoints.metadata.labels, [serviceNameLabel]: name, [managedByLabel]: controllerName },
      annotations: without(endpoints.metadata.annotations, triggerTimeAnnotation, lastAppliedAnnotation),
      ownerReferences: [newControllerRef(endpoints, resources.core.endpoints)],
    },
    addressType: group.family,
    endpoints: [...group.endpoints.values()].slice(0, max),
    ports: group.ports,
  };
}

/** The slice shows exactly this already. */
function isCurrent(slice: EndpointSlice, wanted: EndpointSlice, group: Wanted): boolean {
  const have = slice.endpoints ?? [];
  return (
    have.length === (wanted.endpoints ?? []).length &&
    have.every((e) => equalEndpoints(group.endpoints.get(endpointKey(e)), e)) &&
    semanticEqual(slice.metadata.labels, wanted.metadata.labels) &&
    semanticEqual(slice.metadata.annotations, wanted.metadata.annotations) &&
    semanticEqual(slice.metadata.ownerReferences, wanted.metadata.ownerReferences)
  );
}

const isManaged = (s: EndpointSlice): boolean => s.metadata.labels?.[managedByLabel] === controllerName;
const endpointsKey = (s: EndpointSlice): string =>
  `${s.metadata.namespace}/${s.metadata.labels?.[serviceNameLabel] ?? ''}`;

function start(context: ControllerContext): RunningController {
  const { clock, logger, options } = context;
  const client = context.clientFor('endpointslicemirroring-controller');
  const recorder = context.recorder('endpoint-slice-mirroring-controller', client);
  const endpoints = context.informers.informer(resources.core.endpoints);
  const services = context.informers.informer(resources.core.services);
  const slices = context.informers.informer(resources.discovery.endpointslices);
  slices.addIndex(mirroredIndex, (s) => (isManaged(s) ? [endpointsKey(s)] : []));
  const tracker = new SliceTracker();
  const waiting = new Set<string>();
  const max = options.mirroringMaxEndpointsPerSubset ?? 1000;

  const remove = async (key: string, slice: EndpointSlice): Promise<void> => {
    try {
      await client.discovery.endpointslices.delete(slice.metadata.name!, slice.metadata.namespace);
      tracker.deleted(key, slice);
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  };

  const mirror = async (key: string, source: Endpoints, existing: EndpointSlice[]): Promise<void> => {
    const { groups, invalid, skipped } = desired(source.subsets ?? [], max);
    const warn = (reason: string, message: string): void =>
      recorder.event(resources.core.endpoints, source, 'Warning', reason, message);
    if (invalid > 0) {
      warn('InvalidIPAddress', `Skipped ${invalid} invalid IP addresses when mirroring to EndpointSlices`);
    }
    if (skipped > invalid) {
      warn(
        'TooManyAddressesToMirror',
        `A max of ${max} addresses can be mirrored to EndpointSlices per Endpoints subset. ${skipped} addresses were skipped`,
      );
    }
    const create: EndpointSlice[] = [];
    const update: EndpointSlice[] = [];
    const spare: EndpointSlice[] = [];
    const byKey = new Map<string, EndpointSlice[]>();
    for (const s of existing) {
      const k = groupKey(s.addressType, s.ports);
      byKey.set(k, [...(byKey.get(k) ?? []), s]);
    }
    for (const [k, group] of groups) {
      const [first, ...rest] = byKey.get(k) ?? [];
      byKey.delete(k);
      spare.push(...rest);
      const wanted = newSlice(source, group, max);
      if (first === undefined) create.push(wanted);
      else if (!isCurrent(first, wanted, group)) update.push(renamed(wanted, first));
    }
    for (const rest of byKey.values()) spare.push(...rest);
    // What would be deleted is rewritten where another is needed.
    for (let i = 0; i < create.length;) {
      const j = spare.findIndex((s) => s.addressType === create[i]!.addressType);
      if (j === -1) i++;
      else update.push(renamed(create.splice(i, 1)[0]!, spare.splice(j, 1)[0]!));
    }
    if (source.metadata.deletionTimestamp === undefined) {
      for (const s of create) {
        try {
          tracker.wrote(key, await client.discovery.endpointslices.create(s));
        } catch (error) {
          if (isNamespaceTerminating(error)) return;
          throw new Error(`failed to create EndpointSlice for Endpoints ${key}: ${(error as Error).message}`, {
            cause: error,
          });
        }
      }
    }
    for (const s of update) tracker.wrote(key, await client.discovery.endpointslices.update(s));
    for (const s of spare) await remove(key, s);
  };

  const controller = new Controller({
    queueMetrics: context.queueMetrics,
    name: 'endpointslice-mirroring',
    workers: context.options.concurrency?.['mirroring'],
    clock,
    logger,
    maxRetries: 15,
    baseDelayMs: 1000,
    maxDelayMs: 100_000,
    reconcile: async (key) => {
      const { namespace, name } = splitKey(key);
      const source = endpoints.lister.get(name, namespace);
      const service = services.lister.get(name, namespace);
      const existing = [...slices.lister.byIndex(mirroredIndex, key)];
      const wanted = source !== undefined && service !== undefined && shouldMirror(source);
      if (!wanted || service.spec?.selector !== undefined) {
        for (const s of existing) await remove(key, s);
        tracker.forget(key);
        return;
      }
      if (tracker.stale(key, namespace, slices.lister)) {
        waiting.add(key);
        controller.queue.addAfter(key, 1000);
        return;
      }
      await mirror(key, source, existing);
    },
  });
  const batchMs = options.mirroringEndpointSliceUpdatesBatchPeriodMs ?? 0;
  const wake = (e: Endpoints): void => controller.queue.addAfter(keyOf(e), batchMs);
  endpoints.addHandler({
    onAdd: (e) => (shouldMirror(e) ? wake(e) : undefined),
    onUpdate: (old, e) => (shouldMirror(e) || shouldMirror(old) ? wake(e) : undefined),
    onDelete: (e) => (shouldMirror(e) ? wake(e) : undefined),
  });
  services.addHandler({
    onAdd: (s) => (s.spec?.selector === undefined ? controller.queue.add(keyOf(s)) : undefined),
    onUpdate: (old, s) =>
      (s.spec?.selector === undefined) !== (old.spec?.selector === undefined)
        ? controller.queue.add(keyOf(s))
        : undefined,
    onDelete: (s) => (s.spec?.selector === undefined ? controller.queue.add(keyOf(s)) : undefined),
  });
  const sliceChanged = (s: EndpointSlice): void => {
    if (!isManaged(s)) return;
    const key = endpointsKey(s);
    if (waiting.delete(key) || !tracker.expected(key, s)) controller.queue.add(key);
  };
  slices.addHandler({
    onAdd: sliceChanged,
    onUpdate: (old, s) => {
      sliceChanged(s);
      if (isManaged(old) && (!isManaged(s) || endpointsKey(old) !== endpointsKey(s))) {
        controller.queue.add(endpointsKey(old));
      }
    },
    onDelete: (s) => {
      if (!isManaged(s)) return;
      const key = endpointsKey(s);
      const expected = tracker.expected(key, s);
      tracker.gone(key, s);
      if (waiting.delete(key) || !expected) controller.queue.add(key);
    },
  });
  controller.start(endpoints.synced, services.synced, slices.synced);
  return controller;
}

/** The new content under the name of an existing slice. */
function renamed(fresh: EndpointSlice, old: EndpointSlice): EndpointSlice {
  const { generateName: _, ...metadata } = fresh.metadata;
  return { ...fresh, metadata: { ...metadata, name: old.metadata.name, uid: old.metadata.uid } };
}

export const endpointSliceMirroringController: ControllerDescriptor = {
  name: 'endpointslice-mirroring-controller',
  aliases: ['endpointslicemirroring'],
  start,
};
