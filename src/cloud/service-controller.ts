/**
 * The service controller: gives Services of type LoadBalancer a load balancer of the cloud, keeps the nodes behind it up to date, and
 * takes it away before the Service goes, by a finalizer. Services with a loadBalancerClass are somebody else's.
 */
import type { LoadBalancerIngress, LoadBalancerStatus, Node, Service, ServicePort } from '../api/types/index.gen.ts';
import { deepEqual } from '../api/helpers/deep-equal.ts';
import { Controller } from '../client/controller.ts';
import { isNotFound } from '../client/errors.ts';
import type { EventRecorder, EventType } from '../client/event-recorder.ts';
import type { Informer } from '../client/informer.ts';
import { keyOf, splitKey } from '../client/lister.ts';
import { resources } from '../client/resources.ts';
import { forEachLimit } from '../client/slow-start.ts';
import type { TypedClient } from '../client/typed-client.ts';
import type { CloudContext, CloudControllerDescriptor, RunningController } from './context.ts';
import type { LoadBalancer } from './provider.ts';
import { ImplementedElsewhere, RetryError } from './provider.ts';

export const loadBalancerFinalizer = 'service.kubernetes.io/load-balancer-cleanup';
const excludeLabel = 'node.kubernetes.io/exclude-from-external-load-balancers';
const toBeDeletedTaint = 'ToBeDeletedByClusterAutoscaler';
const maxNodeNames = 20;

const message = (error: unknown): string => (error instanceof Error ? error.message : String(error));

export function wantsLoadBalancer(service: Service): boolean {
  return service.spec?.type === 'LoadBalancer' && service.spec.loadBalancerClass === undefined;
}

function hasFinalizer(service: Service): boolean {
  return service.metadata.finalizers?.includes(loadBalancerFinalizer) ?? false;
}

/** It still has a load balancer but is going away or of another type. */
function needsCleanup(service: Service): boolean {
  if (!hasFinalizer(service)) return false;
  return service.metadata.deletionTimestamp !== undefined || service.spec?.type !== 'LoadBalancer';
}

const portFacts = (p: ServicePort): unknown[] => [p.name, p.protocol, p.port, p.nodePort, p.targetPort, p.appProtocol];

/** Whether a change is one that load balancers care about. */
function needsUpdate(before: Service, after: Service): boolean {
  const wanted = wantsLoadBalancer(after);
  if (!wanted && !wantsLoadBalancer(before)) return false;
  if (wanted !== wantsLoadBalancer(before)) return true;
  const a = before.spec ?? {};
  const b = after.spec ?? {};
  return !(
    before.metadata.uid === after.metadata.uid &&
    deepEqual(a.loadBalancerSourceRanges, b.loadBalancerSourceRanges) &&
    deepEqual((a.ports ?? []).map(portFacts), (b.ports ?? []).map(portFacts)) &&
    a.sessionAffinity === b.sessionAffinity &&
    deepEqual(a.sessionAffinityConfig, b.sessionAffinityConfig) &&
    a.loadBalancerIP === b.loadBalancerIP &&
    deepEqual(a.externalIPs ?? [], b.externalIPs ?? []) &&
    deepEqual(before.metadata.annotations, after.metadata.annotations) &&
    a.externalTrafficPolicy === b.externalTrafficPolicy &&
    a.healthCheckNodePort === b.healthCheckNodePort &&
    (a.ipFamilies ?? []).length === (b.ipFamilies ?? []).length
  );
}

/** Not labelled for exclusion. */
function isIncluded(node: Node): boolean {
  const value = node.metadata.labels?.[excludeLabel];
  return value === undefined || ['0', 'f', 'F', 'false', 'FALSE', 'False'].includes(value);
}

/** Nodes that stand behind load balancers, whether ready or not: readiness is the balancer's to find out. */
function isBackend(node: Node): boolean {
  return (
    node.metadata.deletionTimestamp === undefined &&
    isIncluded(node) &&
    !(node.spec?.taints?.some((t) => t.key === toBeDeletedTaint) ?? false)
  );
}

/** Name and provider id: what a change of which makes balancers be updated. */
function nodeFacts(nodes: readonly Node[]): Map<string, string> {
  return new Map(nodes.map((n) => [n.metadata.name ?? '', n.spec?.providerID ?? '']));
}

function sameNodes(a: readonly Node[], b: readonly Node[]): boolean {
  if (a.length !== b.length) return false;
  const facts = nodeFacts(b);
  for (const [name, id] of nodeFacts(a)) if (facts.get(name) !== id) return false;
  return true;
}

/** The server writes `VIP` where a status gives an IP without a mode. */
const withMode = (i: LoadBalancerIngress): LoadBalancerIngress =>
  i.ip === undefined || i.ipMode !== undefined ? i : { ...i, ipMode: 'VIP' };

function sameStatus(a: LoadBalancerStatus | undefined, b: LoadBalancerStatus): boolean {
  return deepEqual((a?.ingress ?? []).map(withMode), (b.ingress ?? []).map(withMode));
}

class ServiceController implements RunningController {
  readonly #c: CloudContext;
  readonly #balancer: LoadBalancer;
  readonly #clusterName: string;
  readonly #client: TypedClient;
  readonly #recorder: EventRecorder;
  readonly #services: Informer<Service>;
  readonly #nodes: Informer<Node>;
  readonly #serviceWork: Controller;
  readonly #nodeWork: Controller;
  /** Services that have, or are getting, a load balancer: their last state is needed when they vanish. */
  readonly #known = new Map<string, Service>();
  readonly #lastNodes = new Map<string, readonly Node[]>();

  constructor(context: CloudContext, balancer: LoadBalancer) {
    this.#c = context;
    this.#balancer = balancer;
    this.#clusterName = context.options.clusterName ?? 'kubernetes';
    this.#client = context.clientFor('service-controller');
    this.#recorder = context.recorder('service-controller', this.#client);
    this.#services = context.informers.informer(resources.core.services);
    this.#nodes = context.informers.informer(resources.core.nodes);
    const { clock, logger, options } = context;
    const delays = { baseDelayMs: 5000, maxDelayMs: 300_000 };
    this.#serviceWork = new Controller({
      queueMetrics: context.queueMetrics,
      name: 'service',
      clock,
      logger,
      workers: options.concurrentServiceSyncs ?? 1,
      reconcile: (key, signal) => this.#reconcile(key, signal),
      ...delays,
    });
    this.#nodeWork = new Controller({
      queueMetrics: context.queueMetrics,
      name: 'service-nodes',
      clock,
      logger,
      workers: 1,
      reconcile: (_, signal) => this.#syncNodes(signal),
      ...delays,
    });
    this.#services.addHandler({
      onAdd: (s) => {
        if (wantsLoadBalancer(s) || needsCleanup(s)) this.#serviceWork.queue.add(keyOf(s));
      },
      onUpdate: (old, s) => {
        if (needsUpdate(old, s) || needsCleanup(s)) this.#serviceWork.queue.add(keyOf(s));
      },
      // Without its finalizer (another hand took it off) the balancer still must go.
      onDelete: (s) => {
        if (this.#known.has(keyOf(s))) this.#serviceWork.queue.add(keyOf(s));
      },
    });
    const nodesChanged = (): void => this.#nodeWork.queue.add('nodes');
    this.#nodes.addHandler({
      onAdd: nodesChanged,
      onUpdate: (old, node) => {
        if (isIncluded(old) !== isIncluded(node) || old.spec?.providerID !== node.spec?.providerID) nodesChanged();
      },
      onDelete: nodesChanged,
    });
    this.#serviceWork.start(this.#services.synced, this.#nodes.synced);
    this.#nodeWork.start(this.#services.synced, this.#nodes.synced);
  }

  async stop(): Promise<void> {
    await Promise.all([this.#serviceWork.stop(), this.#nodeWork.stop()]);
  }

  #event(service: Service, type: EventType, reason: string, text: string): void {
    this.#recorder.event(resources.core.services, service, type, reason, text);
  }

  async #reconcile(key: string, signal: AbortSignal): Promise<void> {
    const { namespace, name } = splitKey(key);
    const service = this.#services.lister.get(name, namespace);
    const before = this.#known.get(key);
    if (service === undefined) {
      if (before !== undefined) await this.#deleteVanished(before, signal);
      this.#forget(key);
      return;
    }
    if (before !== undefined && before.metadata.uid !== service.metadata.uid)
      await this.#deleteVanished(before, signal);
    this.#known.set(key, service);
    try {
      const deleted = await this.#syncLoadBalancer(service, key, signal);
      if (deleted) this.#forget(key);
    } catch (error) {
      this.#event(service, 'Warning', 'SyncLoadBalancerFailed', `Error syncing load balancer: ${message(error)}`);
      const cause = (error as Error).cause;
      if (!(cause instanceof RetryError)) throw error;
      this.#c.logger.warn('load balancer is not ready yet', { service: key, retryAfterMs: cause.retryAfterMs });
      this.#serviceWork.queue.addAfter(key, cause.retryAfterMs);
    }
  }

  #forget(key: string): void {
    this.#known.delete(key);
    this.#lastNodes.delete(key);
  }

  async #deleteVanished(service: Service, signal: AbortSignal): Promise<void> {
    if (!wantsLoadBalancer(service)) return;
    this.#event(service, 'Normal', 'DeletingLoadBalancer', 'Deleting load balancer');
    try {
      await this.#balancer.ensureLoadBalancerDeleted(this.#clusterName, service, signal);
    } catch (error) {
      this.#event(service, 'Warning', 'DeleteLoadBalancerFailed', `Error deleting load balancer: ${message(error)}`);
      throw error;
    }
    this.#event(service, 'Normal', 'DeletedLoadBalancer', 'Deleted load balancer');
  }

  /** Makes the cloud and the Service's status agree with its spec. Returns whether the load balancer was taken away. */
  async #syncLoadBalancer(service: Service, key: string, signal: AbortSignal): Promise<boolean> {
    const remove = !wantsLoadBalancer(service) || needsCleanup(service);
    let status: LoadBalancerStatus = {};
    if (remove) await this.#remove(service, key, signal);
    else {
      this.#event(service, 'Normal', 'EnsuringLoadBalancer', 'Ensuring load balancer');
      await this.#step('failed to add load balancer cleanup finalizer', () => this.#addFinalizer(service));
      const nodes = [...this.#nodes.lister.list()].filter(isBackend);
      if (nodes.length === 0)
        this.#event(service, 'Warning', 'UnAvailableLoadBalancer', 'There are no available nodes for LoadBalancer');
      this.#lastNodes.set(key, nodes);
      try {
        status = await this.#balancer.ensureLoadBalancer(this.#clusterName, service, nodes, signal);
      } catch (error) {
        if (error instanceof ImplementedElsewhere) return false;
        throw new Error(`failed to ensure load balancer: ${message(error)}`, { cause: error });
      }
      this.#event(service, 'Normal', 'EnsuredLoadBalancer', 'Ensured load balancer');
    }
    if (!sameStatus(service.status?.loadBalancer, status))
      await this.#step('failed to update load balancer status', () => this.#patchStatus(service, status));
    return remove;
  }

  async #remove(service: Service, key: string, signal: AbortSignal): Promise<void> {
    const existing = await this.#step('failed to check if load balancer exists before cleanup', () =>
      this.#balancer.getLoadBalancer(this.#clusterName, service, signal),
    );
    if (existing !== undefined) {
      this.#event(service, 'Normal', 'DeletingLoadBalancer', 'Deleting load balancer');
      await this.#step('failed to delete load balancer', async () => {
        try {
          await this.#balancer.ensureLoadBalancerDeleted(this.#clusterName, service, signal);
        } catch (error) {
          if (!(error instanceof ImplementedElsewhere)) throw error;
          this.#c.logger.debug('load balancer is implemented by a different controller', { service: key });
        }
      });
    }
    await this.#step('failed to remove load balancer cleanup finalizer', () => this.#removeFinalizer(service));
    this.#event(service, 'Normal', 'DeletedLoadBalancer', 'Deleted load balancer');
  }

  async #step<T>(failure: string, fn: () => Promise<T>): Promise<T> {
    try {
      return await fn();
    } catch (error) {
      throw new Error(`${failure}: ${message(error)}`, { cause: error });
    }
  }

  /** Metadata and status go through the status subresource, which leaves the spec alone. */
  async #patch(service: Service, patch: object): Promise<void> {
    const { name, namespace } = service.metadata;
    await this.#client.core.services.patch(name!, namespace, 'strategic', patch, { subresource: 'status' });
  }

  async #addFinalizer(service: Service): Promise<void> {
    if (!hasFinalizer(service)) await this.#patch(service, { metadata: { finalizers: [loadBalancerFinalizer] } });
  }

  async #removeFinalizer(service: Service): Promise<void> {
    if (hasFinalizer(service))
      await this.#patch(service, { metadata: { '$deleteFromPrimitiveList/finalizers': [loadBalancerFinalizer] } });
  }

  async #patchStatus(service: Service, status: LoadBalancerStatus): Promise<void> {
    try {
      await this.#patch(service, { status: { loadBalancer: { ingress: status.ingress ?? null } } });
    } catch (error) {
      // Right after the finalizer went, the Service may be gone.
      if (!isNotFound(error)) throw error;
    }
  }

  async #syncNodes(signal: AbortSignal): Promise<void> {
    const balanced = [...this.#known].filter(([, service]) => wantsLoadBalancer(service));
    // Thousands of nodes may be starting, with nobody to tell of them.
    if (balanced.length === 0) return;
    const nodes = [...this.#nodes.lister.list()].filter(isBackend);
    await forEachLimit(balanced, this.#c.options.concurrentServiceSyncs ?? 1, async ([key, service]) => {
      const before = (this.#lastNodes.get(key) ?? []).filter(isBackend);
      this.#lastNodes.set(key, nodes);
      if (sameNodes(before, nodes)) return;
      try {
        await this.#updateHosts(service, nodes, signal);
      } catch (error) {
        if (signal.aborted) return;
        this.#c.logger.warn('failed to update load balancer hosts for service', { service: key, error });
        this.#serviceWork.queue.add(key);
      }
    });
  }

  async #updateHosts(service: Service, nodes: readonly Node[], signal: AbortSignal): Promise<void> {
    try {
      const status = await this.#balancer.updateLoadBalancer(this.#clusterName, service, nodes, signal);
      if (status !== undefined) await this.#patchStatus(service, status);
    } catch (error) {
      if (error instanceof ImplementedElsewhere) return;
      // It only matters if the load balancer still exists.
      const still = await this.#balancer.getLoadBalancer(this.#clusterName, service, signal).catch(() => ({}));
      if (still === undefined) return;
      const names = nodes.slice(0, maxNodeNames).map((n) => n.metadata.name ?? '');
      if (nodes.length > maxNodeNames) names.push(`<${nodes.length - maxNodeNames} more>`);
      this.#event(
        service,
        'Warning',
        'UpdateLoadBalancerFailed',
        `Error updating load balancer with new hosts [${names.join(' ')}] [node names limited, total number of nodes: ${nodes.length}], error: ${message(error)}`,
      );
      throw error;
    }
    if (nodes.length === 0)
      this.#event(service, 'Warning', 'UnAvailableLoadBalancer', 'There are no available nodes for LoadBalancer');
    else this.#event(service, 'Normal', 'UpdatedLoadBalancer', 'Updated load balancer with new hosts');
  }
}

export const serviceLBController: CloudControllerDescriptor = {
  name: 'service-lb-controller',
  aliases: ['service'],
  start: (context) => {
    const balancer = context.provider.loadBalancer;
    return balancer === undefined ? undefined : new ServiceController(context, balancer);
  },
};
