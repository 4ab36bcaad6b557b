/**
 * The DaemonSet controller: keeps one pod on every node that the template selects and tolerates, pinned to it by node affinity so
 * that the scheduler binds it. It watches sets, their pods and revisions, and the labels and taints of nodes.
 */
import { deepEqual, semanticEqual } from '../../api/helpers/deep-equal.ts';
import { controllerOf, sameOwnerReference } from '../../api/helpers/owner-references.ts';
import { isPodAvailable, isPodReady, isPodTerminal, untilPodAvailable } from '../../api/helpers/pod-status.ts';
import type { OwnerReference } from '../../api/object.ts';
import { compileLabelSelector } from '../../api/selector.ts';
import type { ControllerRevision, DaemonSet, DaemonSetStatus, Node, Pod } from '../../api/types/index.gen.ts';
import { Controller } from '../../client/controller.ts';
import { isConflict, isNamespaceTerminating, isNotFound } from '../../client/errors.ts';
import type { EventRecorder } from '../../client/event-recorder.ts';
import { Expectations } from '../../client/expectations.ts';
import type { Informer } from '../../client/informer.ts';
import { keyOf, splitKey } from '../../client/lister.ts';
import { resources } from '../../client/resources.ts';
import { slowStartBatch } from '../../client/slow-start.ts';
import type { TypedClient } from '../../client/typed-client.ts';
import type { ControllerContext, ControllerDescriptor, RunningController } from '../context.ts';
import { computeHash } from '../util/hash.ts';
import { LastWritten } from '../util/last-written.ts';
import { OwnedPods } from '../util/owned-pods.ts';
import { PodControl } from '../util/pods.ts';
import { podRevisionLabel, RevisionHistory } from '../util/revisions.ts';
import { FailedPodBackoff } from './failed-pods.ts';
import { allowsSurge, byAge, DaemonPlacement, daemonPods, isUpdated, targetNode } from './pods.ts';
import { rollingUpdate } from './rolling-update.ts';

const ref = resources.apps.daemonsets;
/** Creations or deletions in one go. */
const burstReplicas = 250;
/** With more nodes than this, changes of pods are gathered for a moment. */
const manyNodes = 50;
const gatherMs = 50;

class DaemonSetController implements RunningController {
  readonly #c: ControllerContext;
  readonly #sets: Informer<DaemonSet>;
  readonly #pods: Informer<Pod>;
  readonly #nodes: Informer<Node>;
  readonly #client: TypedClient;
  readonly #recorder: EventRecorder;
  readonly #control: PodControl;
  readonly #controller: Controller;
  readonly #expectations: Expectations;
  readonly #owned: OwnedPods<DaemonSet>;
  readonly #history: RevisionHistory<DaemonSet>;
  readonly #written = new LastWritten<DaemonSet>();
  readonly #failed = new FailedPodBackoff();
  /** By template: all versions of a set with one template share it. */
  readonly #placements = new WeakMap<object, DaemonPlacement>();

  constructor(context: ControllerContext) {
    this.#c = context;
    this.#client = context.clientFor('daemon-set-controller');
    this.#recorder = context.recorder('daemonset-controller', this.#client);
    this.#control = new PodControl(this.#client, this.#recorder);
    this.#expectations = new Expectations(context.clock);
    this.#sets = context.informers.informer(ref);
    this.#pods = context.informers.informer(resources.core.pods);
    this.#nodes = context.informers.informer(resources.core.nodes);
    const revisions: Informer<ControllerRevision> = context.informers.informer(resources.apps.controllerrevisions);
    this.#owned = new OwnedPods({
      pods: this.#pods,
      podClient: this.#client.core.pods,
      ref,
      ownerClient: this.#client.apps.daemonsets,
    });
    this.#history = new RevisionHistory({
      revisions,
      client: this.#client.apps.controllerrevisions,
      ref,
      ownerClient: this.#client.apps.daemonsets,
      label: podRevisionLabel,
      hash: (template, count) => computeHash(template, count === 0 ? undefined : count),
    });
    this.#controller = new Controller({
      queueMetrics: context.queueMetrics,
      name: 'daemonset',
      workers: context.options.concurrency?.['daemonset'],
      clock: context.clock,
      logger: context.logger,
      reconcile: (key) => this.#reconcile(key),
    });
    this.#sets.addHandler({
      onAdd: (set) => this.#setChanged(undefined, set),
      onUpdate: (old, set) => this.#setChanged(old, set),
      onDelete: (set) => {
        const key = keyOf(set);
        this.#expectations.delete(key);
        this.#owned.forget(key);
        this.#history.forget(set.metadata.uid);
        this.#written.forget(set.metadata.uid);
        this.#failed.forget(set.metadata.uid);
      },
    });
    this.#pods.addHandler({
      onAdd: (pod) => this.#podChanged(undefined, pod),
      onUpdate: (old, pod) => this.#podChanged(old, pod),
      onDelete: (pod, previous) => this.#podLeaving(controllerOf(pod) === undefined ? previous : pod),
    });
    this.#nodes.addHandler({
      onAdd: (node) => this.#nodeChanged(undefined, node),
      onUpdate: (old, node) => {
        const same =
          semanticEqual(old.metadata.labels, node.metadata.labels) &&
          semanticEqual(old.spec?.taints, node.spec?.taints);
        if (!same) this.#nodeChanged(old, node);
      },
      onDelete: (node) => this.#nodeChanged(node, undefined),
    });
    this.#controller.start(this.#sets.synced, this.#pods.synced, this.#nodes.synced, revisions.synced);
  }

  stop(): Promise<void> {
    return this.#controller.stop();
  }

  #setChanged(old: DaemonSet | undefined, set: DaemonSet): void {
    const key = keyOf(set);
    if (old?.metadata.generation !== set.metadata.generation) this.#owned.lookForOrphans(key);
    this.#controller.queue.add(key);
  }

  #placement(set: DaemonSet): DaemonPlacement {
    const template = set.spec?.template ?? set;
    let placement = this.#placements.get(template);
    if (placement === undefined) {
      placement = new DaemonPlacement(set);
      this.#placements.set(template, placement);
    }
    return placement;
  }

  /** Wakes the sets for which the node means something else now. */
  #nodeChanged(old: Node | undefined, node: Node | undefined): void {
    for (const set of this.#sets.lister.list()) {
      const placement = this.#placement(set);
      const before = old === undefined ? undefined : placement.on(old);
      const after = node === undefined ? undefined : placement.on(node);
      const changed =
        (before?.run ?? false) !== (after?.run ?? false) || (before?.stay ?? false) !== (after?.stay ?? false);
      if (changed || (set.status?.numberMisscheduled ?? 0) > 0) this.#controller.queue.add(keyOf(set));
    }
  }

  #resolve(namespace: string | undefined, owner: OwnerReference | undefined): DaemonSet | undefined {
    if (owner === undefined || owner.kind !== ref.kind) return undefined;
    const set = this.#sets.lister.get(owner.name, namespace);
    return set?.metadata.uid === owner.uid ? set : undefined;
  }

  #soon(key: string): void {
    if (this.#c.clock.virtual || this.#nodes.lister.size <= manyNodes) this.#controller.queue.add(key);
    else this.#controller.queue.addAfter(key, gatherMs);
  }

  #podChanged(old: Pod | undefined, pod: Pod): void {
    if (pod.metadata.deletionTimestamp !== undefined) {
      this.#podLeaving(pod);
      return;
    }
    const before = old === undefined ? undefined : controllerOf(old);
    const owner = controllerOf(pod);
    const moved = old !== undefined && !sameOwnerReference(before, owner);
    if (moved) {
      const set = this.#resolve(old.metadata.namespace, before);
      if (set !== undefined) this.#soon(keyOf(set));
    }
    if (owner !== undefined) {
      const set = this.#resolve(pod.metadata.namespace, owner);
      if (set === undefined) return;
      if (old === undefined) this.#expectations.creationObserved(keyOf(set));
      this.#soon(keyOf(set));
      return;
    }
    if (pod.metadata.labels === undefined) return;
    if (old !== undefined && !moved && deepEqual(old.metadata.labels, pod.metadata.labels)) return;
    for (const set of this.#sets.lister.list(pod.metadata.namespace)) {
      const selector = compileLabelSelector(set.spec?.selector);
      if (selector.empty || !selector.matches(pod.metadata.labels)) continue;
      this.#owned.lookForOrphans(keyOf(set));
      this.#soon(keyOf(set));
    }
  }

  #podLeaving(pod: Pod): void {
    const set = this.#resolve(pod.metadata.namespace, controllerOf(pod));
    if (set === undefined) return;
    this.#expectations.deletionObserved(keyOf(set), keyOf(pod));
    this.#soon(keyOf(set));
  }

  async #reconcile(key: string): Promise<void> {
    const { namespace, name } = splitKey(key);
    const cached = this.#sets.lister.get(name, namespace);
    if (cached === undefined || cached.metadata.deletionTimestamp !== undefined) return;
    const set = this.#written.newest(cached);
    const selector = compileLabelSelector(set.spec?.selector);
    if (selector.empty) {
      const message = 'This daemon set is selecting all pods. A non-empty selector is required.';
      this.#recorder.event(ref, set, 'Warning', 'SelectingAll', message);
      return;
    }
    const revisions = await this.#history.of(set, selector);
    const { revision, collisionCount } = await this.#history.current(set, revisions, set.status?.collisionCount ?? 0);
    const hash = revision.metadata.labels?.[podRevisionLabel] ?? '';
    const satisfied = this.#expectations.satisfied(key);
    let failure: unknown;
    if (satisfied) {
      try {
        const pods = await this.#owned.of(set, selector);
        await this.#manage(set, key, pods, hash);
        if (this.#expectations.satisfied(key) && set.spec?.updateStrategy?.type === 'RollingUpdate')
          await this.#rollOut(set, key, hash);
        const live = new Set(pods.map((p) => p.metadata.labels?.[podRevisionLabel]));
        await this.#history.truncate(
          set,
          revisions,
          (r) => r.metadata.name === revision.metadata.name || live.has(r.metadata.labels?.[podRevisionLabel]),
        );
      } catch (error) {
        failure = error;
      }
    }
    await this.#writeStatus(set, key, hash, collisionCount, satisfied);
    if (failure !== undefined) throw failure;
  }

  /** Pods by the node they run on or are meant for, without those that have ended and are going away. */
  #byNode(pods: Iterable<Pod>): Map<string, Pod[]> {
    const out = new Map<string, Pod[]>();
    for (const pod of pods) {
      if (isPodTerminal(pod) && pod.metadata.deletionTimestamp !== undefined) continue;
      const node = targetNode(pod);
      if (node === undefined) continue;
      const there = out.get(node);
      if (there === undefined) out.set(node, [pod]);
      else there.push(pod);
    }
    return out;
  }

  /** Every node that wants a pod gets one; pods that are too many, have ended, or must not be there go. */
  async #manage(set: DaemonSet, key: string, pods: readonly Pod[], hash: string): Promise<void> {
    const byNode = this.#byNode(pods);
    const placement = this.#placement(set);
    const surge = allowsSurge(set);
    const createOn: string[] = [];
    const remove: Pod[] = [];
    for (const node of this.#nodes.lister.list()) {
      const nodeName = node.metadata.name!;
      const { run, stay } = placement.on(node);
      const there = byNode.get(nodeName);
      if (there === undefined) {
        if (run) createOn.push(nodeName);
        continue;
      }
      const alive = there.filter((p) => p.metadata.deletionTimestamp === undefined);
      if (!stay) {
        remove.push(...alive);
        continue;
      }
      const running: Pod[] = [];
      for (const pod of alive) {
        if (!isPodTerminal(pod)) running.push(pod);
        else if (this.#mayReplace(set, key, pod, nodeName)) remove.push(pod);
      }
      running.sort(byAge);
      if (!surge) remove.push(...running.slice(1));
      else if (running.length === 0 && run) createOn.push(nodeName);
      else if (running.length > 1) remove.push(...this.#surplusOfSurge(set, running, hash));
    }
    // Meant for nodes that are no more.
    for (const [nodeName, there] of byNode)
      if (this.#nodes.lister.getByKey(nodeName) === undefined)
        remove.push(...there.filter((p) => (p.spec?.nodeName ?? '') === ''));
    await this.#apply(set, key, remove, createOn, hash);
  }

  /** Of the running pods of one node, one old and one new may stand beside each other until the new one is available. */
  #surplusOfSurge(set: DaemonSet, running: readonly Pod[], hash: string): Pod[] {
    const isNew = (p: Pod): boolean => p.metadata.labels?.[podRevisionLabel] === hash;
    const oldestNew = running.find(isNew);
    const oldestOld = running.find((p) => !isNew(p));
    const surplus = running.filter((p) => p !== oldestNew && p !== oldestOld);
    if (oldestNew === undefined || oldestOld === undefined) return surplus;
    const minReady = set.spec?.minReadySeconds ?? 0;
    if (!isPodReady(oldestOld) || isPodAvailable(oldestNew, minReady, this.#c.clock.now())) surplus.push(oldestOld);
    return surplus;
  }

  /** An ended pod is deleted to make room for its successor; failed ones ever more slowly. */
  #mayReplace(set: DaemonSet, key: string, pod: Pod, nodeName: string): boolean {
    const where = `daemon pod ${pod.metadata.namespace}/${pod.metadata.name} on node ${nodeName}`;
    if (pod.status?.phase === 'Succeeded') {
      this.#recorder.event(ref, set, 'Normal', 'SucceededDaemonPod', `Found succeeded ${where}, will try to delete it`);
      return true;
    }
    const entry = `${set.status?.observedGeneration ?? 0}/${nodeName}`;
    const wait = this.#failed.next(set.metadata.uid!, entry, this.#c.clock.now());
    if (wait > 0) {
      this.#controller.queue.addAfter(key, wait);
      return false;
    }
    this.#recorder.event(ref, set, 'Warning', 'FailedDaemonPod', `Found failed ${where}, will try to kill it`);
    return true;
  }

  async #rollOut(set: DaemonSet, key: string, hash: string): Promise<void> {
    const byNode = this.#byNode(this.#owned.cached(set));
    const placement = this.#placement(set);
    const desired = new Set<string>();
    for (const node of this.#nodes.lister.list()) {
      if (!placement.on(node).run) continue;
      desired.add(node.metadata.name!);
      if (!byNode.has(node.metadata.name!)) byNode.set(node.metadata.name!, []);
    }
    const { remove, createOn } = rollingUpdate({
      set,
      now: this.#c.clock.now(),
      byNode,
      desired,
      isUpdated: isUpdated(set, hash),
    });
    await this.#apply(set, key, remove, createOn, hash);
  }

  async #apply(
    set: DaemonSet,
    key: string,
    remove: readonly Pod[],
    createOn: readonly string[],
    hash: string,
  ): Promise<void> {
    const nodes = createOn.slice(0, burstReplicas);
    const doomed = remove.slice(0, burstReplicas);
    if (nodes.length === 0 && doomed.length === 0) return;
    this.#expectations.expectCreations(key, nodes.length);
    this.#expectations.expectDeletions(key, doomed.map(keyOf));
    const podFor = daemonPods(set, hash);
    const { successes, error } = await slowStartBatch(nodes.length, 1, async (i) => {
      try {
        await this.#control.create(podFor(nodes[i]!), set, ref);
      } catch (e) {
        if (!isNamespaceTerminating(e)) throw e;
        this.#expectations.creationObserved(key);
      }
    });
    if (nodes.length > successes) this.#expectations.creationObserved(key, nodes.length - successes);
    let failure = error;
    await Promise.all(
      doomed.map(async (pod) => {
        try {
          await this.#control.delete(pod, set, ref);
        } catch (e) {
          this.#expectations.deletionObserved(key, keyOf(pod));
          if (!isNotFound(e)) failure ??= e;
        }
      }),
    );
    if (failure !== undefined) throw failure;
  }

  async #writeStatus(
    set: DaemonSet,
    key: string,
    hash: string,
    collisionCount: number,
    observed: boolean,
  ): Promise<void> {
    const now = this.#c.clock.now();
    const minReady = set.spec?.minReadySeconds ?? 0;
    const byNode = this.#byNode(this.#owned.cached(set));
    const placement = this.#placement(set);
    const updated = isUpdated(set, hash);
    let desired = 0;
    let scheduled = 0;
    let misscheduled = 0;
    let ready = 0;
    let available = 0;
    let current = 0;
    let next = Infinity;
    for (const node of this.#nodes.lister.list()) {
      const pods = byNode.get(node.metadata.name!);
      if (!placement.on(node).run) {
        if (pods !== undefined) misscheduled++;
        continue;
      }
      desired++;
      if (pods === undefined) continue;
      scheduled++;
      for (const p of pods) next = Math.min(next, untilPodAvailable(p, minReady, now) ?? Infinity);
      const pod = pods.sort(byAge)[0]!;
      if (isPodReady(pod)) {
        ready++;
        if (isPodAvailable(pod, minReady, now)) available++;
      }
      if (updated(pod)) current++;
    }
    const old = set.status;
    const status: DaemonSetStatus = {
      currentNumberScheduled: scheduled,
      numberMisscheduled: misscheduled,
      desiredNumberScheduled: desired,
      numberReady: ready,
      ...(current === 0 ? {} : { updatedNumberScheduled: current }),
      ...(available === 0 ? {} : { numberAvailable: available }),
      ...(desired === available ? {} : { numberUnavailable: desired - available }),
      observedGeneration: observed ? (set.metadata.generation ?? 0) : (old?.observedGeneration ?? 0),
      ...(collisionCount === 0 ? {} : { collisionCount }),
      ...(old?.conditions === undefined ? {} : { conditions: old.conditions }),
    };
    if (next !== Infinity) this.#controller.queue.addAfter(key, next);
    if (deepEqual(withoutZeros(old), withoutZeros(status))) return;
    const client = this.#client.apps.daemonsets;
    try {
      this.#written.wrote(await client.updateStatus({ ...set, status }));
    } catch (error) {
      if (isNotFound(error)) return;
      if (!isConflict(error)) throw error;
      const fresh = await client.get(set.metadata.name!, set.metadata.namespace);
      if (fresh.metadata.uid === set.metadata.uid) this.#written.wrote(await client.updateStatus({ ...fresh, status }));
    }
  }
}

function withoutZeros(status: DaemonSetStatus | undefined): Record<string, unknown> {
  return Object.fromEntries(Object.entries(status ?? {}).filter(([, v]) => v !== 0));
}

export const daemonSetController: ControllerDescriptor = {
  name: 'daemonset-controller',
  aliases: ['daemonset'],
  start: (context) => new DaemonSetController(context),
};
