/**
 * The node lifecycle controller: notices nodes that no longer report (by status and Lease), marks them Unknown and their pods not
 * ready, and taints nodes by their conditions; NoExecute taints at a rate that falls when many nodes fail at once.
 */
import { formatTime, timeMs } from '../../api/time.ts';
import type { Lease, Node, NodeCondition, Pod, Taint } from '../../api/types/index.gen.ts';
import type { Timer } from '../../base/clock.ts';
import { Controller } from '../../client/controller.ts';
import { isNotFound } from '../../client/errors.ts';
import type { EventRecorder } from '../../client/event-recorder.ts';
import type { Informer } from '../../client/informer.ts';
import { keyOf } from '../../client/lister.ts';
import { resources } from '../../client/resources.ts';
import { forEachLimit } from '../../client/slow-start.ts';
import type { TypedClient } from '../../client/typed-client.ts';
import type { ControllerContext, ControllerDescriptor, RunningController } from '../context.ts';
import { hasTaint, nodeCondition, sameTaint, swapTaints, zoneKey } from '../util/nodes.ts';
import { addPodNodeIndex, podNodeIndex } from '../util/pods.ts';
import { TaintQueue } from './taint-queue.ts';

const unreachable: Taint = { key: 'node.kubernetes.io/unreachable', effect: 'NoExecute' };
const notReady: Taint = { key: 'node.kubernetes.io/not-ready', effect: 'NoExecute' };
const unschedulableKey = 'node.kubernetes.io/unschedulable';
const excludeLabel = 'node.kubernetes.io/exclude-disruption';
const leaseNamespace = 'kube-node-lease';
const updateWorkers = 8;
/** Kubelets' default. */
const usualLeaseSeconds = 40;

/** Condition type → status → key of the NoSchedule taint. */
const conditionTaints: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  Ready: { False: notReady.key, Unknown: unreachable.key },
  MemoryPressure: { True: 'node.kubernetes.io/memory-pressure' },
  DiskPressure: { True: 'node.kubernetes.io/disk-pressure' },
  NetworkUnavailable: { True: 'node.kubernetes.io/network-unavailable' },
  PIDPressure: { True: 'node.kubernetes.io/pid-pressure' },
};
const conditionTaintKeys = new Set([
  ...Object.values(conditionTaints).flatMap((m) => Object.values(m)),
  unschedulableKey,
]);

/** Older labels that follow the newer ones. */
const labelPairs = [
  ['kubernetes.io/os', 'beta.kubernetes.io/os'],
  ['kubernetes.io/arch', 'beta.kubernetes.io/arch'],
] as const;

type ZoneState = 'Initial' | 'Normal' | 'FullDisruption' | 'PartialDisruption';

interface Health {
  /** Cluster time of the last sign of life. */
  probe: number;
  ready: NodeCondition | undefined;
  renewed: number;
  /** How long the node may be silent after its last sign of life, in milliseconds. */
  grace: number;
}

class NodeLifecycleController implements RunningController {
  readonly #c: ControllerContext;
  readonly #client: TypedClient;
  readonly #recorder: EventRecorder;
  readonly #nodes: Informer<Node>;
  readonly #pods: Informer<Pod>;
  readonly #leases: Informer<Lease>;
  /** NoSchedule taints and labels, by node name. */
  readonly #taints: Controller;
  /** NoExecute taints whose turn has come, by node name. */
  readonly #evictions: Controller;
  /** Pods that were bound to a node that is not ready. */
  readonly #podUpdates: Controller;
  readonly #health = new Map<string, Health>();
  readonly #known = new Map<string, Node>();
  /** Nodes whose pods still have to be marked not ready. */
  readonly #retry = new Set<string>();
  readonly #zones = new Map<string, ZoneState>();
  readonly #queues = new Map<string, TaintQueue>();
  /** Found in this pass to need a NoExecute taint. */
  #toTaint: Node[] = [];
  #ticker: Timer | undefined;
  #monitoring: Promise<void> | undefined;
  /** The last pass found all nodes healthy, and no Node has changed since. */
  #allWell = false;
  /** With all well and no lease renewed, there is nothing to find out before then; cluster time. */
  #quietUntil = -Infinity;
  #stopped = false;

  constructor(context: ControllerContext) {
    this.#c = context;
    this.#client = context.clientFor('node-controller');
    this.#recorder = context.recorder('node-controller', this.#client);
    const { informers, clock, logger, options } = context;
    this.#nodes = informers.informer(resources.core.nodes);
    this.#pods = informers.informer(resources.core.pods);
    this.#leases = informers.informer<Lease>(resources.coordination.leases, { namespace: leaseNamespace });
    addPodNodeIndex(this.#pods);
    const base = { clock, logger };
    this.#taints = new Controller({
      queueMetrics: context.queueMetrics,
      ...base,
      name: 'node-lifecycle-taints',
      workers: updateWorkers,
      reconcile: async (name) => {
        await this.#taintNoSchedule(name);
        await this.#reconcileLabels(name);
      },
    });
    this.#evictions = new Controller({
      queueMetrics: context.queueMetrics,
      ...base,
      name: 'node-lifecycle-noexecute',
      baseDelayMs: 50,
      reconcile: (name) => this.#taintNoExecute(name),
    });
    this.#podUpdates = new Controller({
      queueMetrics: context.queueMetrics,
      ...base,
      name: 'node-lifecycle-pods',
      workers: 4,
      reconcile: (key) => this.#podBound(key),
    });
    const changed = (): void => {
      this.#allWell = false;
    };
    this.#nodes.addHandler({ onAdd: changed, onUpdate: changed, onDelete: changed });
    const renewed = (): void => {
      this.#quietUntil = -Infinity;
    };
    this.#leases.addHandler({ onAdd: renewed, onUpdate: renewed, onDelete: renewed });
    this.#nodes.addHandler({
      onAdd: (n) => this.#taints.queue.add(n.metadata.name!),
      onUpdate: (old, n) => {
        // Heartbeats change nothing that a taint follows.
        if (taintSignature(old) !== taintSignature(n)) this.#taints.queue.add(n.metadata.name!);
      },
      onDelete: (n) => {
        this.#retry.delete(n.metadata.name!);
        this.#health.delete(n.metadata.name!);
      },
    });
    this.#pods.addHandler({
      onAdd: (pod) => this.#bound(undefined, pod),
      onUpdate: (old, pod) => this.#bound(old, pod),
    });
    const ready = [this.#nodes.synced, this.#pods.synced, this.#leases.synced];
    for (const c of [this.#taints, this.#evictions, this.#podUpdates]) c.start(...ready);
    Promise.all(ready).then(
      () => {
        if (this.#stopped) return;
        this.#monitor();
        this.#ticker = clock.setTicker(options.nodeMonitorPeriodMs ?? 5000, () => this.#monitor());
      },
      () => {},
    );
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#ticker?.cancel();
    for (const q of this.#queues.values()) q.stop();
    await Promise.all([this.#taints.stop(), this.#evictions.stop(), this.#podUpdates.stop(), this.#monitoring]);
  }

  #monitor(): void | 'idle' {
    // A pass that takes longer than the period is not overtaken by the next.
    if (this.#monitoring !== undefined || this.#stopped) return;
    if (this.#allWell && (this.#c.clock.now() < this.#quietUntil || this.#onlyRenewed())) return 'idle';
    this.#monitoring = this.#c.clock.activity
      .track(this.#monitorNodes())
      .catch((error: unknown) => {
        this.#allWell = false;
        this.#c.logger.warn('monitoring node health failed', { error });
      })
      .finally(() => {
        this.#monitoring = undefined;
      });
  }

  async #monitorNodes(): Promise<void> {
    const nodes = [...this.#nodes.lister.list()];
    // What is heard from here on is for the next pass.
    this.#allWell = true;
    this.#quietUntil = Infinity;
    for (const node of nodes) {
      const name = node.metadata.name!;
      const isNew = !this.#known.has(name);
      if (isNew) {
        this.#nodeEvent(node, 'RegisteredNode', `Registered Node ${name} in Controller`);
        this.#known.set(name, node);
      }
      this.#queue(zoneKey(node));
      if (isNew) await this.#markReachable(node);
    }
    if (this.#known.size !== nodes.length) {
      const names = new Set(nodes.map((n) => n.metadata.name!));
      for (const [name, node] of this.#known) {
        if (names.has(name)) continue;
        this.#nodeEvent(node, 'RemovingNode', `Removing Node ${name} from Controller`);
        this.#known.delete(name);
        this.#queues.get(zoneKey(node))?.remove(name);
      }
    }
    const zones = new Map<string, boolean[]>();
    await forEachLimit(nodes, updateWorkers, async (node) => {
      try {
        await this.#monitorNode(node, zones);
      } catch (error) {
        this.#allWell = false;
        if (!isNotFound(error)) {
          this.#c.logger.warn('updating the health of a node failed', { node: node.metadata.name, error });
        }
      }
    });
    await this.#handleDisruption(zones, nodes);
    // Only now is it known whether so many fail at once that nobody is to be evicted.
    const toTaint = this.#toTaint;
    this.#toTaint = [];
    for (const node of toTaint) this.#queue(zoneKey(node)).add(node.metadata.name!, node.metadata.uid!);
    for (const node of nodes) {
      const health = this.#health.get(node.metadata.name!);
      if (health?.ready?.status !== 'True') this.#allWell = false;
      else this.#quietUntil = Math.min(this.#quietUntil, health.probe + health.grace);
    }
  }

  /** A pass where all was well and only leases can have changed: false when a node has been silent for too long all the same. */
  #onlyRenewed(): boolean {
    const now = this.#c.clock.now();
    this.#quietUntil = Infinity;
    for (const [name, health] of this.#health) {
      this.#noteRenewal(name, health);
      this.#quietUntil = Math.min(this.#quietUntil, health.probe + health.grace);
    }
    return now <= this.#quietUntil;
  }

  /** A renewed lease is a sign of life. */
  #noteRenewal(name: string, health: Health): void {
    const spec = this.#leases.lister.get(name, leaseNamespace)?.spec;
    const renewed = timeMs(spec?.renewTime);
    if (Number.isNaN(renewed) || renewed <= health.renewed) return;
    const { clock } = this.#c;
    health.renewed = renewed;
    health.probe = clock.now();
    health.grace = this.#grace;
    // In virtual time a kubelet leaves out heartbeats that nobody could see, and its lease says for how long.
    const leftOut = (spec?.leaseDurationSeconds ?? 0) - usualLeaseSeconds;
    if (clock.virtual && leftOut > 0) health.grace += leftOut * 1000;
  }

  /** How long a node may be silent. */
  get #grace(): number {
    return this.#c.options.nodeMonitorGracePeriodMs ?? 50_000;
  }

  async #monitorNode(node: Node, zones: Map<string, boolean[]>): Promise<void> {
    const name = node.metadata.name!;
    const { observed, current, latest } = await this.#updateHealth(node);
    if (latest.metadata.labels?.[excludeLabel] === undefined) {
      const zone = zoneKey(latest);
      const list = zones.get(zone) ?? [];
      list.push(current?.status === 'True');
      zones.set(zone, list);
    }
    if (current === undefined) return;
    await this.#taintByReadiness(latest, current.status);
    const lost = current.status !== 'True' && observed.status === 'True';
    if (lost) {
      this.#recorder.eventFor(nodeRef(latest), 'Normal', 'NodeNotReady', `Node ${name} status is now: NodeNotReady`);
    }
    if (lost || (this.#retry.has(name) && observed.status !== 'True')) {
      this.#retry.add(name);
      await this.#markPodsNotReady([...this.#pods.lister.byIndex(podNodeIndex, name)]);
    }
    this.#retry.delete(name);
  }

  /** Compares what the node last said with the time; a silent node's conditions become Unknown. */
  async #updateHealth(
    node: Node,
  ): Promise<{ observed: { status: string }; current: NodeCondition | undefined; latest: Node }> {
    const { clock, options } = this.#c;
    const name = node.metadata.name!;
    const now = clock.now();
    const current = nodeCondition(node, 'Ready');
    const created = timeMs(node.metadata.creationTimestamp);
    let health = this.#health.get(name);
    if (current === undefined) {
      health ??= { probe: created, ready: undefined, renewed: NaN, grace: this.#grace };
      if (health.ready !== undefined) health = { ...health, probe: now, ready: undefined };
    } else {
      if (health === undefined) health = { probe: now, ready: current, renewed: NaN, grace: this.#grace };
      else if (health.ready === undefined || health.ready.lastHeartbeatTime !== current.lastHeartbeatTime) {
        health = { ...health, probe: now, ready: current };
      } else health.ready = current;
    }
    this.#health.set(name, health);
    this.#noteRenewal(name, health);
    const grace = current === undefined ? (options.nodeStartupGracePeriodMs ?? 60_000) : health.grace;
    const observed = { status: current?.status ?? 'Unknown' };
    if (now <= health.probe + grace) return { observed, current, latest: node };

    const time = formatTime(now);
    const conditions = [...(node.status?.conditions ?? [])];
    // NetworkUnavailable is the control plane's own and says nothing about the kubelet.
    for (const type of ['Ready', 'MemoryPressure', 'DiskPressure', 'PIDPressure']) {
      const i = conditions.findIndex((c) => c.type === type);
      const c = conditions[i];
      if (c === undefined) {
        conditions.push({
          type,
          status: 'Unknown',
          lastHeartbeatTime: node.metadata.creationTimestamp,
          lastTransitionTime: time,
          reason: 'NodeStatusNeverUpdated',
          message: 'Kubelet never posted node status.',
        });
      } else if (c.status !== 'Unknown') {
        conditions[i] = {
          ...c,
          status: 'Unknown',
          reason: 'NodeStatusUnknown',
          message: 'Kubelet stopped posting node status.',
          lastTransitionTime: time,
        };
      }
    }
    const ready = conditions.find((c) => c.type === 'Ready')!;
    if (current !== undefined && current.status === ready.status) return { observed, current, latest: node };
    const latest = await this.#client.core.nodes.updateStatus({ ...node, status: { ...node.status, conditions } });
    health.ready = ready;
    return { observed, current: ready, latest };
  }

  #queue(zone: string): TaintQueue {
    let queue = this.#queues.get(zone);
    if (queue === undefined) {
      queue = new TaintQueue(this.#c.clock, this.#c.options.nodeEvictionRate ?? 0.1, (name) =>
        this.#evictions.queue.add(name),
      );
      this.#queues.set(zone, queue);
    }
    if (!this.#zones.has(zone)) this.#zones.set(zone, 'Initial');
    return queue;
  }

  async #markReachable(node: Node): Promise<void> {
    this.#queue(zoneKey(node)).remove(node.metadata.name!);
    if (!hasTaint(node, unreachable) && !hasTaint(node, notReady)) return;
    await swapTaints(this.#client, this.#c.clock, node, [], [unreachable, notReady]);
  }

  /** A node that is tainted already gets the right taint at once; one that is not waits for its turn. */
  async #taintByReadiness(node: Node, status: string): Promise<void> {
    if (status === 'True') return this.#markReachable(node);
    const [wanted, other] = status === 'False' ? [notReady, unreachable] : [unreachable, notReady];
    if (hasTaint(node, other)) await swapTaints(this.#client, this.#c.clock, node, [wanted], [other]);
    else if (!hasTaint(node, wanted)) this.#toTaint.push(node);
  }

  async #taintNoExecute(name: string): Promise<void> {
    const node = this.#nodes.lister.get(name);
    if (node === undefined) return;
    const status = nodeCondition(node, 'Ready')?.status;
    if (status !== 'False' && status !== 'Unknown') return;
    const [wanted, other] = status === 'False' ? [notReady, unreachable] : [unreachable, notReady];
    await swapTaints(this.#client, this.#c.clock, node, [wanted], [other]);
    this.#c.metrics?.evicted(zoneKey(node));
  }

  async #taintNoSchedule(name: string): Promise<void> {
    const node = this.#nodes.lister.get(name);
    if (node === undefined) return;
    const wanted: Taint[] = [];
    for (const c of node.status?.conditions ?? []) {
      const key = conditionTaints[c.type]?.[c.status];
      if (key !== undefined) wanted.push({ key, effect: 'NoSchedule' });
    }
    if (node.spec?.unschedulable === true) wanted.push({ key: unschedulableKey, effect: 'NoSchedule' });
    const have = (node.spec?.taints ?? []).filter((t) => t.effect === 'NoSchedule' && conditionTaintKeys.has(t.key));
    const add = wanted.filter((w) => !have.some((h) => sameTaint(h, w)));
    const remove = have.filter((h) => !wanted.some((w) => sameTaint(h, w)));
    if (add.length > 0 || remove.length > 0) await swapTaints(this.#client, this.#c.clock, node, add, remove);
  }

  async #reconcileLabels(name: string): Promise<void> {
    const node = this.#nodes.lister.get(name);
    const labels: Record<string, string> = {};
    for (const [primary, secondary] of labelPairs) {
      const value = node?.metadata.labels?.[primary];
      if (value !== undefined && node!.metadata.labels![secondary] !== value) labels[secondary] = value;
    }
    if (Object.keys(labels).length === 0) return;
    await this.#client.core.nodes.patch(name, undefined, 'strategic', { metadata: { labels } });
  }

  #bound(old: Pod | undefined, pod: Pod): void {
    const name = pod.spec?.nodeName;
    if (name === undefined || name === '' || name === old?.spec?.nodeName) return;
    const ready = this.#health.get(name)?.ready;
    if (ready !== undefined && ready.status !== 'True') this.#podUpdates.queue.add(keyOf(pod));
  }

  async #podBound(key: string): Promise<void> {
    const pod = this.#pods.lister.getByKey(key);
    const name = pod?.spec?.nodeName ?? '';
    const ready = this.#health.get(name)?.ready;
    const node = this.#nodes.lister.get(name);
    // What was seen of the node's health is as old as the last look; a node that got ready since then is ready.
    if (node === undefined || nodeCondition(node, 'Ready')?.status === 'True') return;
    if (pod !== undefined && ready !== undefined && ready.status !== 'True') await this.#markPodsNotReady([pod]);
  }

  async #markPodsNotReady(pods: readonly Pod[]): Promise<void> {
    const time = formatTime(this.#c.clock.now());
    await forEachLimit(pods, updateWorkers, async (pod) => {
      const conditions = pod.status?.conditions ?? [];
      const ready = conditions.find((c) => c.type === 'Ready');
      if (ready === undefined || ready.status === 'False') return;
      const changed = conditions.map((c) => (c === ready ? { ...c, status: 'False', lastTransitionTime: time } : c));
      try {
        await this.#client.core.pods.updateStatus({ ...pod, status: { ...pod.status, conditions: changed } });
      } catch (error) {
        if (isNotFound(error)) return;
        throw error;
      }
      this.#recorder.event(resources.core.pods, pod, 'Warning', 'NodeNotReady', 'Node is not ready');
    });
  }

  /** Slows or stops evictions where so many nodes fail that the fault is likely not theirs. */
  async #handleDisruption(readiness: ReadonlyMap<string, readonly boolean[]>, nodes: readonly Node[]): Promise<void> {
    const health = [...readiness].map(
      ([zone, ready]) => [zone, { nodes: ready.length, unhealthy: ready.filter((r) => !r).length }] as const,
    );
    this.#c.metrics?.zones(new Map(health));
    const states = new Map<string, ZoneState>();
    for (const [zone, ready] of readiness) {
      this.#c.metrics?.evicted(zone, 0);
      states.set(zone, this.#zoneState(ready));
      if (!this.#zones.has(zone)) this.#zones.set(zone, 'Initial');
    }
    let wasFull = true;
    for (const [zone, state] of this.#zones) {
      if (!states.has(zone)) this.#zones.delete(zone);
      else if (state !== 'FullDisruption') wasFull = false;
    }
    const isFull = [...states.values()].every((s) => s === 'FullDisruption');
    if (isFull && wasFull) return;
    if (isFull) {
      this.#c.logger.info('all nodes are not ready: evictions stop');
      for (const node of nodes) await this.#markReachable(node);
      for (const zone of this.#zones.keys()) {
        this.#queue(zone).setRate(0);
        this.#zones.set(zone, 'FullDisruption');
      }
      return;
    }
    if (wasFull) {
      this.#c.logger.info('some nodes are ready again: evictions go on');
      // What happened in between is unknown, so every node gets its whole grace period.
      const now = this.#c.clock.now();
      for (const health of this.#health.values()) health.probe = now;
    }
    for (const [zone, state] of states) {
      if (!wasFull && this.#zones.get(zone) === state) continue;
      this.#queue(zone).setRate(this.#rate(state, readiness.get(zone)!.length));
      this.#zones.set(zone, state);
    }
  }

  #zoneState(ready: readonly boolean[]): ZoneState {
    const good = ready.filter(Boolean).length;
    const bad = ready.length - good;
    if (good === 0 && bad > 0) return 'FullDisruption';
    const threshold = this.#c.options.unhealthyZoneThreshold ?? 0.55;
    return bad > 2 && bad / ready.length >= threshold ? 'PartialDisruption' : 'Normal';
  }

  #rate(state: ZoneState, size: number): number {
    const { nodeEvictionRate, secondaryNodeEvictionRate, largeClusterSizeThreshold } = this.#c.options;
    if (state !== 'PartialDisruption') return nodeEvictionRate ?? 0.1;
    return size > (largeClusterSizeThreshold ?? 50) ? (secondaryNodeEvictionRate ?? 0.01) : 0;
  }

  #nodeEvent(node: Node, reason: string, what: string): void {
    this.#recorder.eventFor(nodeRef(node), 'Normal', reason, `Node ${node.metadata.name} event: ${what}`);
  }
}

function nodeRef(node: Node): { apiVersion: string; kind: string; name: string; uid: string } {
  return { apiVersion: 'v1', kind: 'Node', name: node.metadata.name!, uid: node.metadata.uid! };
}

/** Everything of a node that its taints and labels follow. */
function taintSignature(node: Node): string {
  const conditions = (node.status?.conditions ?? []).map((c) => `${c.type}=${c.status}`).join(',');
  const taints = (node.spec?.taints ?? []).map((t) => `${t.key}:${t.effect}`).join(',');
  const labels = labelPairs.flat().map((l) => node.metadata.labels?.[l] ?? '');
  return `${conditions}|${taints}|${node.spec?.unschedulable === true}|${labels.join(',')}`;
}

export const nodeLifecycleController: ControllerDescriptor = {
  name: 'node-lifecycle-controller',
  aliases: ['nodelifecycle'],
  start: (context) => new NodeLifecycleController(context),
};
