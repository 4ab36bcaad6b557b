/**
 * The ReplicaSet controller, and with other parameters the ReplicationController's: keeps as many pods as wanted. It watches
 * the sets and their pods; per set it keeps running totals, so that one pod's change costs the same for ten pods and ten
 * thousand.
 */
import { deepEqual } from '../api/helpers/deep-equal.ts';
import { controllerOf, newControllerRef, sameOwnerReference } from '../api/helpers/owner-references.ts';
import {
  isPodActive,
  isPodAvailable,
  isPodReady,
  isPodTerminating,
  untilPodAvailable,
} from '../api/helpers/pod-status.ts';
import type { OwnerReference } from '../api/object.ts';
import type { Labels, Selector } from '../api/selector.ts';
import { compileLabelSelector, selectorFromSet } from '../api/selector.ts';
import { formatTime } from '../api/time.ts';
import type { Pod, ReplicaSet, ReplicaSetCondition, ReplicaSetStatus } from '../api/types/index.gen.ts';
import type { ResourceClient } from '../client/client.ts';
import { Controller } from '../client/controller.ts';
import { isConflict, isNamespaceTerminating, isNotFound } from '../client/errors.ts';
import { Expectations } from '../client/expectations.ts';
import type { Informer } from '../client/informer.ts';
import { keyOf, splitKey } from '../client/lister.ts';
import type { TypedRef } from '../client/resources.ts';
import { resources } from '../client/resources.ts';
import { forEachLimit, slowStartBatch } from '../client/slow-start.ts';
import type { ControllerContext, ControllerDescriptor, RunningController } from './context.ts';
import { behindClaims, claimObjects } from './util/claim.ts';
import { findCondition, setCondition, withoutCondition } from './util/conditions.ts';
import {
  addPodControllerIndex,
  orphanKey,
  PodControl,
  podControllerIndex,
  podFromTemplate,
  rankForDeletion,
} from './util/pods.ts';

/** Creations or deletions in one go; then their events are awaited. */
const burstReplicas = 500;
/** Deletions under way at a time. */
const maxInFlight = 40;
/** Sets of the same controller, for ranking pods by how crowded their node is. */
const ownerIndex = 'controller';
/**
 * Above this size a change of a pod's status alone is put into the set's status after a while: so many milliseconds a pod, at
 * most `maxStatusDelayMs`; at once when the set is complete.
 */
const largeSet = 50;
const statusDelayMsPerPod = 0.05;
const maxStatusDelayMs = 1000;

/** How ReplicaSets and ReplicationControllers differ. */
interface ReplicaKind {
  readonly controllerName: string;
  /** As in --concurrent-…-syncs. */
  readonly flag: 'replicaset' | 'rc';
  /** Source of the events. */
  readonly component: string;
  readonly serviceAccount: string;
  readonly ref: TypedRef<ReplicaSet>;
  readonly selector: (set: ReplicaSet) => Selector;
  readonly terminatingReplicas: boolean;
}

/** Totals of a set's pods, kept up by their events. */
interface Tally {
  /** What the totals were made with. */
  readonly selector: Selector;
  readonly template: Labels | undefined;
  active: number;
  ready: number;
  labeled: number;
  terminating: number;
  /** Controlled but not selected: to be released. */
  foreign: number;
}

function count(t: Tally, pod: Pod, by: 1 | -1): void {
  if (!t.selector.matches(pod.metadata.labels)) {
    t.foreign += by;
    return;
  }
  if (isPodActive(pod)) {
    t.active += by;
    if (isPodReady(pod)) t.ready += by;
    if (hasLabels(pod, t.template)) t.labeled += by;
  } else if (isPodTerminating(pod)) t.terminating += by;
}

function hasLabels(pod: Pod, wanted: Labels | undefined): boolean {
  const labels = pod.metadata.labels;
  for (const k in wanted) if (labels?.[k] !== wanted[k]) return false;
  return true;
}

class ReplicaSetController implements RunningController {
  readonly #kind: ReplicaKind;
  readonly #c: ControllerContext;
  readonly #sets: Informer<ReplicaSet>;
  readonly #pods: Informer<Pod>;
  readonly #client: ResourceClient<ReplicaSet>;
  readonly #podClient: ResourceClient<Pod>;
  readonly #control: PodControl;
  readonly #controller: Controller;
  readonly #expectations: Expectations;
  readonly #tallies = new Map<string, Tally>();
  /** Keys of sets for which orphans have to be looked at. */
  readonly #unclaimed = new Set<string>();
  /** Compiled selectors, by the selector object: all versions of a set share it. */
  readonly #selectors = new WeakMap<object, Selector>();

  constructor(context: ControllerContext, kind: ReplicaKind) {
    this.#kind = kind;
    this.#c = context;
    const client = context.clientFor(kind.serviceAccount);
    this.#client = client.resource<ReplicaSet>(kind.ref);
    this.#podClient = client.core.pods;
    this.#control = new PodControl(client, context.recorder(kind.component, client));
    this.#expectations = new Expectations(context.clock);
    this.#sets = context.informers.informer<ReplicaSet>(kind.ref);
    this.#pods = context.informers.informer(resources.core.pods);
    addPodControllerIndex(this.#pods);
    this.#sets.addIndex(ownerIndex, (set) => {
      const owner = controllerOf(set);
      return owner === undefined ? [] : [owner.uid];
    });
    this.#controller = new Controller({
      queueMetrics: context.queueMetrics,
      name: kind.controllerName,
      workers: context.options.concurrency?.[kind.flag],
      clock: context.clock,
      logger: context.logger,
      reconcile: (key) => this.#reconcile(key),
    });
    this.#sets.addHandler({
      onAdd: (set) => this.#changed(set),
      onUpdate: (old, set) => {
        // The echo of our own status asks for nothing; what has changed meanwhile is looked at when it is due.
        if (isStatusAlone(old, set)) this.#statusSoon(set, keyOf(set));
        else this.#changed(set);
      },
      onDelete: (set) => {
        const key = keyOf(set);
        this.#expectations.delete(key);
        this.#tallies.delete(set.metadata.uid!);
        this.#unclaimed.delete(key);
        this.#controller.queue.add(key);
      },
    });
    this.#pods.addHandler({
      onAdd: (pod) => this.#podAdded(pod),
      onUpdate: (old, pod) => this.#podUpdated(old, pod),
      onDelete: (pod, previous) => this.#podDeleted(pod, previous),
    });
    this.#controller.start(this.#sets.synced, this.#pods.synced);
  }

  stop(): Promise<void> {
    return this.#controller.stop();
  }

  #changed(set: ReplicaSet): void {
    const key = keyOf(set);
    if ((set.status?.observedGeneration ?? 0) !== (set.metadata.generation ?? 0)) this.#unclaimed.add(key);
    this.#controller.queue.add(key);
  }

  #selector(set: ReplicaSet): Selector {
    const source = set.spec?.selector;
    if (source === undefined) return this.#kind.selector(set);
    let selector = this.#selectors.get(source);
    if (selector === undefined) {
      selector = this.#kind.selector(set);
      this.#selectors.set(source, selector);
    }
    return selector;
  }

  /** The set that a reference means, if it is one of ours and still the same. */
  #resolve(namespace: string | undefined, ref: OwnerReference | undefined): ReplicaSet | undefined {
    if (ref === undefined || ref.kind !== this.#kind.ref.kind) return undefined;
    const set = this.#sets.lister.get(ref.name, namespace);
    return set?.metadata.uid === ref.uid ? set : undefined;
  }

  #wakeMatching(pod: Pod): void {
    if (pod.metadata.labels === undefined) return;
    for (const set of this.#sets.lister.list(pod.metadata.namespace)) {
      const selector = this.#selector(set);
      if (selector.empty || !selector.matches(pod.metadata.labels)) continue;
      const key = keyOf(set);
      this.#unclaimed.add(key);
      this.#controller.queue.add(key);
    }
  }

  #podAdded(pod: Pod): void {
    const ref = controllerOf(pod);
    if (ref === undefined) {
      if (pod.metadata.deletionTimestamp === undefined) this.#wakeMatching(pod);
      return;
    }
    const tally = this.#tallies.get(ref.uid);
    if (tally !== undefined) count(tally, pod, 1);
    const set = this.#resolve(pod.metadata.namespace, ref);
    if (set === undefined) return;
    const key = keyOf(set);
    if (pod.metadata.deletionTimestamp !== undefined) this.#expectations.deletionObserved(key, keyOf(pod));
    else this.#expectations.creationObserved(key);
    // While more creations are on their way there is nothing to decide, only a status to bring up to date.
    if (this.#expectations.satisfied(key)) this.#controller.queue.add(key);
    else this.#statusSoon(set, key);
  }

  #podUpdated(old: Pod, pod: Pod): void {
    const before = controllerOf(old);
    const ref = controllerOf(pod);
    if (before !== undefined) {
      const tally = this.#tallies.get(before.uid);
      if (tally !== undefined) count(tally, old, -1);
    }
    if (ref !== undefined) {
      const tally = this.#tallies.get(ref.uid);
      if (tally !== undefined) count(tally, pod, 1);
    }
    const moved = !sameOwnerReference(before, ref);
    if (moved) {
      const set = this.#resolve(old.metadata.namespace, before);
      if (set !== undefined) this.#controller.queue.add(keyOf(set));
    }
    if (ref === undefined) {
      const relabeled = !deepEqual(old.metadata.labels, pod.metadata.labels);
      if ((moved || relabeled) && pod.metadata.deletionTimestamp === undefined) this.#wakeMatching(pod);
      return;
    }
    const set = this.#resolve(pod.metadata.namespace, ref);
    if (set === undefined) return;
    const key = keyOf(set);
    if (pod.metadata.deletionTimestamp !== undefined) this.#expectations.deletionObserved(key, keyOf(pod));
    if (moved || isPodActive(old) !== isPodActive(pod) || !deepEqual(old.metadata.labels, pod.metadata.labels)) {
      this.#controller.queue.add(key);
    } else if (isPodReady(old) !== isPodReady(pod) || isPodTerminating(old) !== isPodTerminating(pod))
      this.#statusSoon(set, key);
  }

  #podDeleted(pod: Pod, previous: Pod): void {
    const before = controllerOf(previous);
    if (before !== undefined) {
      const tally = this.#tallies.get(before.uid);
      if (tally !== undefined) count(tally, previous, -1);
    }
    const set = this.#resolve(pod.metadata.namespace, before ?? controllerOf(pod));
    if (set === undefined) return;
    const key = keyOf(set);
    this.#expectations.deletionObserved(key, keyOf(pod));
    this.#controller.queue.add(key);
  }

  /** Only counts have changed: a large set's status need not follow every single pod. */
  #statusSoon(set: ReplicaSet, key: string): void {
    const replicas = set.spec?.replicas ?? 1;
    const complete = this.#tallies.get(set.metadata.uid!)?.ready === replicas;
    if (complete || replicas <= largeSet || this.#c.clock.virtual) this.#controller.queue.add(key);
    else this.#controller.queue.addAfter(key, Math.min(replicas * statusDelayMsPerPod, maxStatusDelayMs));
  }

  #tally(set: ReplicaSet): Tally {
    const uid = set.metadata.uid!;
    const template = set.spec?.template?.metadata?.labels;
    const existing = this.#tallies.get(uid);
    if (existing !== undefined && deepEqual(existing.template, template)) return existing;
    const tally: Tally = {
      selector: this.#selector(set),
      template,
      active: 0,
      ready: 0,
      labeled: 0,
      terminating: 0,
      foreign: 0,
    };
    for (const pod of this.#pods.lister.byIndex(podControllerIndex, uid)) count(tally, pod, 1);
    this.#tallies.set(uid, tally);
    return tally;
  }

  async #reconcile(key: string): Promise<void> {
    const { namespace, name } = splitKey(key);
    const set = this.#sets.lister.get(name, namespace);
    if (set === undefined) {
      this.#expectations.delete(key);
      return;
    }
    const needsSync = this.#expectations.satisfied(key);
    const before = this.#tally(set);
    // What was just adopted is counted when the informer brings it, which wakes the set: until then there would seem to be too few.
    if ((this.#unclaimed.has(key) || before.foreign > 0) && (await this.#claim(set, key))) return;

    const tally = this.#tally(set);
    const wanted = set.spec?.replicas ?? 1;
    let failure: unknown;
    if (needsSync && set.metadata.deletionTimestamp === undefined)
      failure = await this.#manage(set, key, wanted, tally);
    await this.#updateStatus(set, failure, wanted);
    if (failure !== undefined) throw failure;
  }

  /** True when something was adopted that the cache does not show as the set's yet. */
  async #claim(set: ReplicaSet, key: string): Promise<boolean> {
    const { lister } = this.#pods;
    const tally = this.#tally(set);
    const objects: Pod[] = [...lister.byIndex(podControllerIndex, orphanKey(set.metadata.namespace))].filter(
      isPodActive,
    );
    if (tally.foreign > 0)
      objects.push(...[...lister.byIndex(podControllerIndex, set.metadata.uid!)].filter(isPodActive));
    this.#unclaimed.delete(key);
    try {
      const claimed = await claimObjects({
        owner: set,
        ownerRef: this.#kind.ref,
        fresh: () => this.#client.get(set.metadata.name!, set.metadata.namespace),
        selector: tally.selector,
        client: this.#podClient,
        objects,
      });
      return behindClaims(set, claimed, lister);
    } catch (error) {
      this.#unclaimed.add(key);
      throw error;
    }
  }

  /** Creates what is missing or deletes what is too much. Returns the error that goes into the status. */
  async #manage(set: ReplicaSet, key: string, wanted: number, tally: Tally): Promise<unknown> {
    const { ref } = this.#kind;
    if (tally.active < wanted) {
      const missing = Math.min(wanted - tally.active, burstReplicas);
      this.#expectations.expectCreations(key, missing);
      const pod = podFromTemplate(set.spec?.template ?? {}, set, newControllerRef(set, ref));
      const { successes, error } = await slowStartBatch(missing, 1, async () => {
        try {
          await this.#control.create(pod, set, ref);
        } catch (e) {
          // Every creation in a namespace that is going away fails; nothing can be done about it.
          if (!isNamespaceTerminating(e)) throw e;
          this.#expectations.creationObserved(key);
        }
      });
      if (missing > successes) this.#expectations.creationObserved(key, missing - successes);
      return error;
    }
    if (tally.active > wanted) {
      const surplus = Math.min(tally.active - wanted, burstReplicas);
      const active: Pod[] = [];
      for (const pod of this.#pods.lister.byIndex(podControllerIndex, set.metadata.uid!)) {
        if (isPodActive(pod) && tally.selector.matches(pod.metadata.labels)) active.push(pod);
      }
      const ranked =
        surplus < active.length ? rankForDeletion(active, this.#related(set), this.#c.clock.now()) : active;
      const doomed = ranked.slice(0, surplus);
      this.#expectations.expectDeletions(key, doomed.map(keyOf));
      let failure: unknown;
      await forEachLimit(doomed, maxInFlight, async (pod) => {
        try {
          await this.#control.delete(pod, set, ref);
        } catch (error) {
          this.#expectations.deletionObserved(key, keyOf(pod));
          if (!isNotFound(error)) failure ??= error;
        }
      });
      return failure;
    }
    return undefined;
  }

  /** Pods of all sets that have the same controller as this one. */
  *#related(set: ReplicaSet): Iterable<Pod> {
    const owner = controllerOf(set);
    const sets = owner === undefined ? [set] : this.#sets.lister.byIndex(ownerIndex, owner.uid);
    for (const s of sets) yield* this.#pods.lister.byIndex(podControllerIndex, s.metadata.uid!);
  }

  async #updateStatus(set: ReplicaSet, failure: unknown, wanted: number): Promise<void> {
    const now = this.#c.clock.now();
    const tally = this.#tally(set);
    const minReady = set.spec?.minReadySeconds ?? 0;
    let available = tally.ready;
    let next: number | undefined;
    if (minReady > 0) {
      available = 0;
      for (const pod of this.#pods.lister.byIndex(podControllerIndex, set.metadata.uid!)) {
        if (!isPodActive(pod) || !tally.selector.matches(pod.metadata.labels)) continue;
        if (isPodAvailable(pod, minReady, now)) available++;
        const left = untilPodAvailable(pod, minReady, now);
        if (left !== undefined && (next === undefined || left < next)) next = left;
      }
    }
    let conditions = set.status?.conditions;
    const failed = findCondition(conditions, 'ReplicaFailure');
    if (failure !== undefined && failed === undefined) {
      const condition: ReplicaSetCondition = {
        type: 'ReplicaFailure',
        status: 'True',
        lastTransitionTime: formatTime(now),
        reason: tally.active < wanted ? 'FailedCreate' : tally.active > wanted ? 'FailedDelete' : '',
        message: failure instanceof Error ? failure.message : String(failure),
      };
      conditions = setCondition(conditions, condition);
    } else if (failure === undefined && failed !== undefined)
      conditions = withoutCondition(conditions, 'ReplicaFailure');

    const status: ReplicaSetStatus = {
      replicas: tally.active,
      fullyLabeledReplicas: tally.labeled,
      readyReplicas: tally.ready,
      availableReplicas: available,
      ...(this.#kind.terminatingReplicas ? { terminatingReplicas: tally.terminating } : {}),
      observedGeneration: set.metadata.generation ?? 0,
      ...(conditions === undefined || conditions.length === 0 ? {} : { conditions }),
    };
    if (!sameStatus(set.status, status)) await this.#writeStatus(set, status);
    if (next !== undefined && tally.ready !== available) this.#controller.queue.addAfter(keyOf(set), next);
  }

  /** One more try on the newest version: the status is ours alone. */
  async #writeStatus(set: ReplicaSet, status: ReplicaSetStatus): Promise<void> {
    try {
      await this.#client.updateStatus({ ...set, status });
    } catch (error) {
      if (isNotFound(error)) return;
      if (!isConflict(error)) throw error;
      try {
        const fresh = await this.#client.get(set.metadata.name!, set.metadata.namespace);
        if (fresh.metadata.uid !== set.metadata.uid) return;
        await this.#client.updateStatus({ ...fresh, status });
      } catch (gone) {
        if (!isNotFound(gone)) throw gone;
      }
    }
  }
}

/** Do two states of a set differ in their status at most? */
function isStatusAlone(old: ReplicaSet, set: ReplicaSet): boolean {
  return (
    old.metadata.generation === set.metadata.generation &&
    old.metadata.deletionTimestamp === set.metadata.deletionTimestamp &&
    deepEqual(old.metadata.ownerReferences, set.metadata.ownerReferences)
  );
}

function sameStatus(a: ReplicaSetStatus | undefined, b: ReplicaSetStatus): boolean {
  return (
    (a?.replicas ?? 0) === b.replicas &&
    (a?.fullyLabeledReplicas ?? 0) === (b.fullyLabeledReplicas ?? 0) &&
    (a?.readyReplicas ?? 0) === (b.readyReplicas ?? 0) &&
    (a?.availableReplicas ?? 0) === (b.availableReplicas ?? 0) &&
    a?.terminatingReplicas === b.terminatingReplicas &&
    (a?.observedGeneration ?? 0) === (b.observedGeneration ?? 0) &&
    deepEqual(a?.conditions ?? [], b.conditions ?? [])
  );
}

/** Starts a controller for one of the two kinds of replicated pods. */
function startReplicaController(context: ControllerContext, kind: ReplicaKind): RunningController {
  return new ReplicaSetController(context, kind);
}

export const replicaSetController: ControllerDescriptor = {
  name: 'replicaset-controller',
  aliases: ['replicaset'],
  start: (context) =>
    startReplicaController(context, {
      controllerName: 'replicaset',
      flag: 'replicaset',
      component: 'replicaset-controller',
      serviceAccount: 'replicaset-controller',
      ref: resources.apps.replicasets,
      selector: (set) => compileLabelSelector(set.spec?.selector),
      terminatingReplicas: true,
    }),
};

export const replicationControllerController: ControllerDescriptor = {
  name: 'replicationcontroller-controller',
  aliases: ['replicationcontroller'],
  start: (context) =>
    startReplicaController(context, {
      controllerName: 'replicationcontroller',
      flag: 'rc',
      component: 'replication-controller',
      serviceAccount: 'replication-controller',
      // Same shape but for the selector, which is a plain map.
      ref: resources.core.replicationcontrollers as unknown as TypedRef<ReplicaSet>,
      selector: (set) => selectorFromSet(set.spec?.selector as unknown as Labels | undefined),
      terminatingReplicas: false,
    }),
};
