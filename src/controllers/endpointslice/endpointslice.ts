/** The EndpointSlice controller: the addresses of the pods behind each Service with a selector, in slices. */
import type { EndpointSlice, Node, Pod, Service } from '../../api/types/index.gen.ts';
import { Controller } from '../../client/controller.ts';
import { isNamespaceTerminating, isNotFound } from '../../client/errors.ts';
import type { EventRecorder } from '../../client/event-recorder.ts';
import type { Informer } from '../../client/informer.ts';
import { keyOf, splitKey } from '../../client/lister.ts';
import { resources } from '../../client/resources.ts';
import type { TypedClient } from '../../client/typed-client.ts';
import type { ControllerContext, ControllerDescriptor, RunningController } from '../context.ts';
import { EndpointCache, managedByLabel, reconcileSlices, serviceNameLabel } from './reconcile.ts';
import { batchDelayMs, selects, servicesToUpdate, TriggerTimes } from './services.ts';
import { SliceTracker } from './slice-tracker.ts';

const controllerName = 'endpointslice-controller.k8s.io';
export const triggerTimeAnnotation = 'endpoints.kubernetes.io/last-change-trigger-time';
const serviceIndex = 'service';
/** Slices that others change are put right after this delay, several changes at once. */
const sliceChangeDelayMs = 1000;

class EndpointSliceController implements RunningController {
  readonly #c: ControllerContext;
  readonly #client: TypedClient;
  readonly #recorder: EventRecorder;
  readonly #services: Informer<Service>;
  readonly #pods: Informer<Pod>;
  readonly #nodes: Informer<Node>;
  readonly #slices: Informer<EndpointSlice>;
  readonly #controller: Controller;
  readonly #tracker = new SliceTracker();
  readonly #times = new TriggerTimes();
  /** Endpoints made of pods before; a pod that has not changed is not looked at again. */
  readonly #endpoints = new EndpointCache();
  /** How many pods each Service had when it was last looked at. */
  readonly #sizes = new Map<string, number>();
  /** Services that wait for the cache of slices. */
  readonly #waiting = new Set<string>();
  /** Services with pods on nodes that are not known. */
  readonly #missingNodes = new Set<string>();

  constructor(context: ControllerContext) {
    this.#c = context;
    this.#client = context.clientFor('endpointslice-controller');
    this.#recorder = context.recorder('endpoint-slice-controller', this.#client);
    const { informers } = context;
    this.#services = informers.informer(resources.core.services);
    this.#pods = informers.informer(resources.core.pods);
    this.#nodes = informers.informer(resources.core.nodes);
    this.#slices = informers.informer(resources.discovery.endpointslices);
    this.#slices.addIndex(serviceIndex, (s) => [sliceService(s)]);
    this.#controller = new Controller({
      queueMetrics: context.queueMetrics,
      name: 'endpointslice',
      workers: context.options.concurrency?.['service-endpoint'],
      clock: context.clock,
      logger: context.logger,
      maxRetries: 15,
      baseDelayMs: 1000,
      reconcile: (key) => this.#reconcile(key),
    });
    const wake = (s: Service): void => this.#controller.queue.add(keyOf(s));
    this.#services.addHandler({ onAdd: wake, onUpdate: (_, s) => wake(s), onDelete: wake });
    this.#pods.addHandler({
      onAdd: (pod) => this.#podChanged(undefined, pod),
      onUpdate: (old, pod) => this.#podChanged(old, pod),
      onDelete: (pod) => this.#podChanged(pod, undefined),
    });
    this.#slices.addHandler({
      onAdd: (s) => this.#sliceChanged(undefined, s),
      onUpdate: (old, s) => this.#sliceChanged(old, s),
      onDelete: (s) => this.#sliceDeleted(s),
    });
    this.#nodes.addHandler({
      onAdd: () => {
        for (const key of this.#missingNodes) this.#controller.queue.add(key);
        this.#missingNodes.clear();
      },
    });
    this.#controller.start(this.#services.synced, this.#pods.synced, this.#nodes.synced, this.#slices.synced);
  }

  stop(): Promise<void> {
    return this.#controller.stop();
  }

  #podChanged(old: Pod | undefined, pod: Pod | undefined): void {
    for (const key of servicesToUpdate(this.#services.lister, old, pod)) {
      // Held time would never end the wait.
      const delay = this.#c.clock.virtual ? 0 : batchDelayMs(this.#sizes.get(key) ?? 0);
      this.#controller.queue.addAfter(key, Math.max(this.#c.options.endpointSliceUpdatesBatchPeriodMs ?? 0, delay));
    }
  }

  #sliceChanged(old: EndpointSlice | undefined, slice: EndpointSlice): void {
    const key = sliceService(slice);
    if (old !== undefined && sliceService(old) !== key) {
      this.#controller.queue.addAfter(sliceService(old), sliceChangeDelayMs);
      this.#controller.queue.addAfter(key, sliceChangeDelayMs);
      return;
    }
    const managed = isManaged(slice);
    if (managed && this.#tracker.expected(key, slice)) {
      if (this.#waiting.delete(key)) this.#controller.queue.add(key);
      return;
    }
    if (managed || (old !== undefined && isManaged(old))) this.#controller.queue.addAfter(key, sliceChangeDelayMs);
  }

  #sliceDeleted(slice: EndpointSlice): void {
    if (!isManaged(slice)) return;
    const key = sliceService(slice);
    const wanted = this.#tracker.expected(key, slice);
    this.#tracker.gone(key, slice);
    if (this.#waiting.delete(key)) this.#controller.queue.add(key);
    else if (!wanted) this.#controller.queue.addAfter(key, sliceChangeDelayMs);
  }

  async #reconcile(key: string): Promise<void> {
    const { namespace, name } = splitKey(key);
    const service = this.#services.lister.get(name, namespace);
    if (service === undefined) {
      this.#tracker.forget(key);
      this.#times.delete(key);
      this.#sizes.delete(key);
      this.#waiting.delete(key);
      this.#missingNodes.delete(key);
      return;
    }
    const selector = service.spec?.selector;
    if (service.spec?.type === 'ExternalName' || selector === undefined) return;
    if (this.#tracker.stale(key, namespace, this.#slices.lister)) {
      // The slice's own event brings us back; the delay is for one that never comes.
      this.#waiting.add(key);
      this.#controller.queue.addAfter(key, sliceChangeDelayMs);
      return;
    }
    const pods: Pod[] = [];
    for (const pod of this.#pods.lister.list(namespace)) if (selects(selector, pod.metadata.labels)) pods.push(pod);
    this.#sizes.set(key, pods.length);
    const existing: EndpointSlice[] = [];
    for (const s of this.#slices.lister.byIndex(serviceIndex, key)) {
      if (isManaged(s) && s.metadata.deletionTimestamp === undefined) existing.push(s);
    }
    const time = this.#times.compute(service, pods);
    const { missingNodes, ...changes } = reconcileSlices({
      service,
      pods,
      existing,
      node: (n) => this.#nodes.lister.get(n),
      maxEndpoints: this.#c.options.maxEndpointsPerSlice ?? 100,
      controllerName,
      cache: this.#endpoints,
    });
    try {
      await this.#write(service, key, changes, time);
    } catch (error) {
      const message = `Error updating Endpoint Slices for Service ${key}: ${(error as Error).message}`;
      this.#recorder.event(resources.core.services, service, 'Warning', 'FailedToUpdateEndpointSlices', message);
      throw error;
    }
    if (missingNodes.length > 0) {
      this.#missingNodes.add(key);
      throw new Error(missingNodes[0]);
    }
    this.#missingNodes.delete(key);
  }

  async #write(
    service: Service,
    key: string,
    changes: { create: EndpointSlice[]; update: EndpointSlice[]; remove: EndpointSlice[] },
    time: string | undefined,
  ): Promise<void> {
    const client = this.#client.discovery.endpointslices;
    const what = `for Service ${key}`;
    if (service.metadata.deletionTimestamp === undefined) {
      for (const slice of changes.create) {
        try {
          this.#tracker.wrote(key, await client.create(withTime(slice, time)));
        } catch (error) {
          if (isNamespaceTerminating(error)) return;
          throw new Error(`failed to create EndpointSlice ${what}: ${(error as Error).message}`, { cause: error });
        }
      }
    }
    for (const slice of changes.update) {
      try {
        this.#tracker.wrote(key, await client.update(withTime(slice, time)));
      } catch (error) {
        const text = `failed to update ${slice.metadata.name} EndpointSlice ${what}: ${(error as Error).message}`;
        throw new Error(text, { cause: error });
      }
    }
    for (const slice of changes.remove) {
      try {
        await client.delete(slice.metadata.name!, slice.metadata.namespace);
        this.#tracker.deleted(key, slice);
      } catch (error) {
        if (isNotFound(error)) continue;
        const text = `failed to delete ${slice.metadata.name} EndpointSlice ${what}: ${(error as Error).message}`;
        throw new Error(text, { cause: error });
      }
    }
  }
}

const isManaged = (s: EndpointSlice): boolean => s.metadata.labels?.[managedByLabel] === controllerName;

const sliceService = (s: EndpointSlice): string =>
  `${s.metadata.namespace}/${s.metadata.labels?.[serviceNameLabel] ?? ''}`;

function withTime(slice: EndpointSlice, time: string | undefined): EndpointSlice {
  const annotations = { ...slice.metadata.annotations };
  if (time === undefined || time === '') delete annotations[triggerTimeAnnotation];
  else annotations[triggerTimeAnnotation] = time;
  return { ...slice, metadata: { ...slice.metadata, annotations } };
}

export const endpointSliceController: ControllerDescriptor = {
  name: 'endpointslice-controller',
  aliases: ['endpointslice'],
  start: (context) => new EndpointSliceController(context),
};
