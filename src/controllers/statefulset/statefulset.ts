/**
 * The StatefulSet controller: keeps pods with names, ordinals and storage of their own, one after the other or all at once, and
 * takes them to a new template from the highest ordinal down. It watches sets, their pods, claims and revisions.
 */
import { deepEqual } from '../../api/helpers/deep-equal.ts';
import { controllerOf, sameOwnerReference } from '../../api/helpers/owner-references.ts';
import { isPodAvailable, isPodReady, untilPodAvailable } from '../../api/helpers/pod-status.ts';
import type { OwnerReference } from '../../api/object.ts';
import { compileLabelSelector } from '../../api/selector.ts';
import type {
  ControllerRevision,
  Pod,
  PodTemplateSpec,
  StatefulSet,
  StatefulSetStatus,
} from '../../api/types/index.gen.ts';
import { Controller } from '../../client/controller.ts';
import { isAlreadyExists, isConflict, isNotFound } from '../../client/errors.ts';
import type { EventRecorder } from '../../client/event-recorder.ts';
import type { Informer } from '../../client/informer.ts';
import { keyOf, splitKey } from '../../client/lister.ts';
import { compareResourceVersions } from '../../client/resource-version.ts';
import { resources } from '../../client/resources.ts';
import { slowStartBatch } from '../../client/slow-start.ts';
import type { TypedClient } from '../../client/typed-client.ts';
import type { ControllerContext, ControllerDescriptor, RunningController } from '../context.ts';
import { scaledValue } from '../util/int-or-percent.ts';
import { LastWritten } from '../util/last-written.ts';
import { OwnedPods } from '../util/owned-pods.ts';
import { hashOfPatch, RevisionHistory, templateOf } from '../util/revisions.ts';
import { StatefulClaims } from './claims.ts';
import {
  isInRange,
  isMember,
  newStatefulPod,
  ordinalOf,
  podRevision,
  repairedPod,
  replicasOf,
  startOrdinal,
} from './pods.ts';

const ref = resources.apps.statefulsets;
/** When our own write should have come back and woken us, but has not. */
const recheckMs = 1000;

/** A write to a pod that the cache does not show yet. */
interface OwnWrite {
  readonly uid: string | undefined;
  readonly version: string | undefined;
  readonly deletion: boolean;
}

/** A set in work. */
interface Work {
  readonly set: StatefulSet;
  readonly now: number;
  readonly monotonic: boolean;
  readonly current: ControllerRevision;
  readonly update: ControllerRevision;
  readonly currentTemplate: PodTemplateSpec;
  readonly updateTemplate: PodTemplateSpec;
  /** By ordinal less the first one. A pod without status does not exist yet. */
  readonly replicas: Pod[];
  /** Out of range, highest ordinal first. */
  readonly condemned: Pod[];
  readonly firstUnavailable: Pod | undefined;
  readonly status: StatefulSetStatus;
}

class StatefulSetController implements RunningController {
  readonly #c: ControllerContext;
  readonly #sets: Informer<StatefulSet>;
  readonly #pods: Informer<Pod>;
  readonly #history: RevisionHistory<StatefulSet>;
  readonly #client: TypedClient;
  readonly #recorder: EventRecorder;
  readonly #claims: StatefulClaims;
  readonly #controller: Controller;
  /** By set's uid and pod's key. */
  readonly #ownWrites = new Map<string, Map<string, OwnWrite>>();
  readonly #written = new LastWritten<StatefulSet>();
  readonly #owned: OwnedPods<StatefulSet>;

  constructor(context: ControllerContext) {
    this.#c = context;
    this.#client = context.clientFor('statefulset-controller');
    this.#recorder = context.recorder('statefulset-controller', this.#client);
    this.#sets = context.informers.informer(ref);
    this.#pods = context.informers.informer(resources.core.pods);
    this.#owned = new OwnedPods({
      pods: this.#pods,
      podClient: this.#client.core.pods,
      ref,
      ownerClient: this.#client.apps.statefulsets,
      filter: isMember,
    });
    const revisions = context.informers.informer(resources.apps.controllerrevisions);
    this.#history = new RevisionHistory({
      revisions,
      client: this.#client.apps.controllerrevisions,
      ref,
      ownerClient: this.#client.apps.statefulsets,
      label: 'controller.kubernetes.io/hash',
      hash: hashOfPatch,
    });
    const claims = context.informers.informer(resources.core.persistentvolumeclaims);
    this.#claims = new StatefulClaims(claims, this.#client.core.persistentvolumeclaims, this.#recorder);
    this.#controller = new Controller({
      queueMetrics: context.queueMetrics,
      name: 'statefulset',
      workers: context.options.concurrency?.['statefulset'],
      clock: context.clock,
      logger: context.logger,
      reconcile: (key) => this.#reconcile(key),
    });
    this.#sets.addHandler({
      onAdd: (set) => this.#setChanged(undefined, set),
      onUpdate: (old, set) => this.#setChanged(old, set),
      onDelete: (set) => {
        const uid = set.metadata.uid!;
        this.#ownWrites.delete(uid);
        this.#written.forget(uid);
        this.#history.forget(uid);
        this.#owned.forget(keyOf(set));
      },
    });
    this.#pods.addHandler({
      onAdd: (pod) => this.#podChanged(undefined, pod),
      onUpdate: (old, pod) => this.#podChanged(old, pod),
      onDelete: (pod, previous) => {
        const set = this.#resolve(pod.metadata.namespace, controllerOf(previous) ?? controllerOf(pod));
        if (set !== undefined) this.#controller.queue.add(keyOf(set));
      },
    });
    this.#controller.start(this.#sets.synced, this.#pods.synced, revisions.synced, claims.synced);
  }

  stop(): Promise<void> {
    return this.#controller.stop();
  }

  #setChanged(old: StatefulSet | undefined, set: StatefulSet): void {
    if (old?.metadata.generation !== set.metadata.generation) this.#owned.lookForOrphans(keyOf(set));
    this.#controller.queue.add(keyOf(set));
  }

  #resolve(namespace: string | undefined, owner: OwnerReference | undefined): StatefulSet | undefined {
    if (owner === undefined || owner.kind !== ref.kind) return undefined;
    const set = this.#sets.lister.get(owner.name, namespace);
    return set?.metadata.uid === owner.uid ? set : undefined;
  }

  #podChanged(old: Pod | undefined, pod: Pod): void {
    const before = old === undefined ? undefined : controllerOf(old);
    const owner = controllerOf(pod);
    const moved = old !== undefined && !sameOwnerReference(before, owner);
    if (moved) {
      const set = this.#resolve(old.metadata.namespace, before);
      if (set !== undefined) this.#controller.queue.add(keyOf(set));
    }
    if (owner !== undefined) {
      const set = this.#resolve(pod.metadata.namespace, owner);
      if (set !== undefined) this.#controller.queue.add(keyOf(set));
      return;
    }
    if (pod.metadata.deletionTimestamp !== undefined || pod.metadata.labels === undefined) return;
    if (old !== undefined && !moved && deepEqual(old.metadata.labels, pod.metadata.labels)) return;
    for (const set of this.#sets.lister.list(pod.metadata.namespace)) {
      const selector = compileLabelSelector(set.spec?.selector);
      if (selector.empty || !selector.matches(pod.metadata.labels)) continue;
      this.#owned.lookForOrphans(keyOf(set));
      this.#controller.queue.add(keyOf(set));
    }
  }

  #wrote(set: StatefulSet, pod: Pod, deletion: boolean): void {
    const uid = set.metadata.uid!;
    let writes = this.#ownWrites.get(uid);
    if (writes === undefined) {
      writes = new Map();
      this.#ownWrites.set(uid, writes);
    }
    writes.set(keyOf(pod), { uid: pod.metadata.uid, version: pod.metadata.resourceVersion, deletion });
  }

  /** The cache shows all that we did to the set's pods. */
  #isUpToDate(set: StatefulSet): boolean {
    const uid = set.metadata.uid!;
    const writes = this.#ownWrites.get(uid);
    if (writes === undefined) return true;
    for (const [key, write] of writes) {
      const cached = this.#pods.lister.getByKey(key);
      const seen = write.deletion
        ? cached?.metadata.uid !== write.uid || cached?.metadata.deletionTimestamp !== undefined
        : compareResourceVersions(cached?.metadata.resourceVersion, write.version) >= 0 ||
          compareResourceVersions(this.#pods.resourceVersion, write.version) >= 0;
      if (seen) writes.delete(key);
    }
    if (writes.size > 0) return false;
    this.#ownWrites.delete(uid);
    return true;
  }

  async #reconcile(key: string): Promise<void> {
    const { namespace, name } = splitKey(key);
    const cached = this.#sets.lister.get(name, namespace);
    if (cached === undefined) return;
    if (!this.#isUpToDate(cached)) {
      this.#controller.queue.addAfter(key, recheckMs);
      return;
    }
    const set = this.#written.newest(cached);
    const selector = compileLabelSelector(set.spec?.selector);
    const revisions = await this.#history.of(set, selector);
    const pods = await this.#owned.of(set, selector);
    const now = this.#c.clock.now();
    const newest = await this.#history.current(set, revisions, set.status?.collisionCount ?? 0);
    const update = newest.revision;
    const current = revisions.find((r) => r.metadata.name === set.status?.currentRevision) ?? update;
    const work = begin(set, now, pods, current, update, newest.collisionCount);
    let failure: unknown;
    if (set.metadata.deletionTimestamp === undefined) {
      try {
        await this.#work(work);
      } catch (error) {
        failure = error;
      }
    }
    await this.#writeStatus(work);
    const live = new Set([current.metadata.name, update.metadata.name, ...pods.map(podRevision)]);
    await this.#history.truncate(set, revisions, (r) => live.has(r.metadata.name));
    if (failure !== undefined) throw failure;
    this.#lookAgainWhenAvailable(key, work, pods);
  }

  #lookAgainWhenAvailable(key: string, work: Work, pods: readonly Pod[]): void {
    const minReady = work.set.spec?.minReadySeconds ?? 0;
    if (minReady <= 0 || work.status.readyReplicas === work.status.availableReplicas) return;
    let next = minReady * 1000;
    for (const pod of pods) next = Math.min(next, untilPodAvailable(pod, minReady, work.now) ?? Infinity);
    this.#controller.queue.addAfter(key, next);
  }

  /** Brings the pods nearer to what is wanted; fills in the status. */
  async #work(work: Work): Promise<void> {
    const { set, replicas, condemned, status } = work;
    const blocked =
      (await this.#forAll(work, replicas, (pod, i) => this.#keepReplica(work, pod, i))) ||
      (await this.#forAll(work, condemned, async (pod) => {
        if (!this.#claims.matchPolicy(set, pod)) await this.#claims.enforcePolicy(set, pod);
        return false;
      })) ||
      (await this.#forAll(work, condemned, (pod) => this.#removeCondemned(work, pod)));
    countReplicas(status, work, [...replicas, ...condemned]);
    if (blocked || set.spec?.updateStrategy?.type === 'OnDelete') return;
    await this.#rollOut(work);
  }

  /** In order until one says stop, or all at once. True: stop here. */
  async #forAll(work: Work, pods: readonly Pod[], fn: (pod: Pod, index: number) => Promise<boolean>): Promise<boolean> {
    if (work.monotonic) {
      for (const [i, pod] of pods.entries()) if (await fn(pod, i)) return true;
      return false;
    }
    const { error } = await slowStartBatch(pods.length, 1, (i) => fn(pods[i]!, i));
    if (error !== undefined) throw error;
    return false;
  }

  /** Makes a replica exist and be as it should. True: the following ones have to wait. */
  async #keepReplica(work: Work, pod: Pod, index: number): Promise<boolean> {
    const { set, now, monotonic } = work;
    const phase = pod.status?.phase;
    if (phase === 'Failed' || phase === 'Succeeded') {
      // Its successor is made when it is gone.
      if (pod.metadata.deletionTimestamp === undefined) await this.#delete(set, pod);
      return true;
    }
    if (!exists(pod)) {
      if (this.#claims.isStale(set, pod)) return true;
      await this.#create(set, pod);
      if (monotonic) return true;
    }
    if (phase === 'Pending') {
      await this.#claims.create(set, pod);
      await this.#claims.enforcePolicy(set, pod);
    }
    if (monotonic) {
      if (pod.metadata.deletionTimestamp !== undefined) return true;
      if (!isRunningAndReady(pod) || !isPodAvailable(pod, set.spec?.minReadySeconds ?? 0, now)) return true;
    }
    if (!exists(pod)) return false;
    await this.#repair(work, pod, index);
    return false;
  }

  async #create(set: StatefulSet, pod: Pod): Promise<void> {
    try {
      await this.#claims.create(set, pod);
      const created = await this.#client.core.pods.create(pod);
      this.#wrote(set, created, false);
      await this.#claims.enforcePolicy(set, created);
      this.#podEvent('Create', set, pod);
    } catch (error) {
      if (!isAlreadyExists(error)) this.#podEvent('Create', set, pod, error);
      throw error;
    }
  }

  async #repair(work: Work, pod: Pod, index: number): Promise<void> {
    const { set } = work;
    const repaired = repairedPod(set, pod);
    if (repaired === undefined && this.#claims.matchPolicy(set, pod)) return;
    try {
      if (repaired?.storage === true) await this.#claims.create(set, pod);
      await this.#claims.enforcePolicy(set, pod);
      if (repaired === undefined) return;
      const updated = await this.#client.core.pods.update(repaired.pod);
      this.#wrote(set, updated, false);
      work.replicas[index] = updated;
      this.#podEvent('Update', set, pod);
    } catch (error) {
      if (!isConflict(error)) this.#podEvent('Update', set, pod, error);
      throw error;
    }
  }

  async #delete(set: StatefulSet, pod: Pod): Promise<void> {
    try {
      await this.#client.core.pods.delete(pod.metadata.name!, pod.metadata.namespace);
    } catch (error) {
      if (!isNotFound(error)) {
        this.#podEvent('Delete', set, pod, error);
        throw error;
      }
    }
    this.#wrote(set, pod, true);
    this.#podEvent('Delete', set, pod);
  }

  #podEvent(verb: 'Create' | 'Update' | 'Delete', set: StatefulSet, pod: Pod, error?: unknown): void {
    const what = `${verb} Pod ${pod.metadata.name} in StatefulSet ${set.metadata.name}`;
    if (error === undefined) this.#recorder.event(ref, set, 'Normal', `Successful${verb}`, `${what} successful`);
    else {
      const text = `${what} failed error: ${(error as Error).message}`;
      this.#recorder.event(ref, set, 'Warning', `Failed${verb}`, text);
    }
  }

  /** True: the following ones have to wait. */
  async #removeCondemned(work: Work, pod: Pod): Promise<boolean> {
    const { set, now, monotonic, firstUnavailable } = work;
    if (pod.metadata.deletionTimestamp !== undefined) return monotonic;
    const healthy = isRunningAndReady(pod) && isPodAvailable(pod, set.spec?.minReadySeconds ?? 0, now);
    // An unhealthy one goes only when nothing below it is unhealthy as well.
    if (!healthy && monotonic && pod !== firstUnavailable) return true;
    await this.#delete(set, pod);
    return true;
  }

  /** Deletes pods of an old revision, from the highest ordinal down to the partition. */
  async #rollOut(work: Work): Promise<void> {
    const { set, replicas, update, status, now } = work;
    const rolling = set.spec?.updateStrategy?.rollingUpdate;
    const partition = rolling?.partition ?? 0;
    const isOld = (pod: Pod): boolean =>
      podRevision(pod) !== update.metadata.name && pod.metadata.deletionTimestamp === undefined;
    if (rolling?.maxUnavailable === undefined) {
      for (let i = replicas.length - 1; i >= partition; i--) {
        const pod = replicas[i]!;
        if (isOld(pod)) {
          await this.#delete(set, pod);
          status.currentReplicas = (status.currentReplicas ?? 0) - 1;
          return;
        }
        if (isUnavailable(set, pod, now)) return;
      }
      return;
    }
    const most = Math.max(1, scaledValue(rolling.maxUnavailable, replicasOf(set), false));
    let left = most - replicas.filter((pod) => isUnavailable(set, pod, now)).length;
    for (let i = replicas.length - 1; i >= partition && left > 0; i--) {
      const pod = replicas[i]!;
      if (!isOld(pod)) continue;
      await this.#delete(set, pod);
      status.currentReplicas = (status.currentReplicas ?? 0) - 1;
      left--;
    }
  }

  async #writeStatus(work: Work): Promise<void> {
    const { set, status } = work;
    const wanted = replicasOf(set);
    if (
      set.spec?.updateStrategy?.type === 'RollingUpdate' &&
      status.updatedReplicas === wanted &&
      status.readyReplicas === wanted &&
      status.replicas === wanted
    ) {
      status.currentReplicas = status.updatedReplicas;
      status.currentRevision = status.updateRevision!;
    }
    if (!differs(set.status, status)) return;
    const kept = set.status?.conditions === undefined ? {} : { conditions: set.status.conditions };
    let written: StatefulSet;
    try {
      written = await this.#client.apps.statefulsets.updateStatus({ ...set, status: { ...status, ...kept } });
    } catch (error) {
      if (isNotFound(error)) return;
      if (!isConflict(error)) throw error;
      const fresh = await this.#client.apps.statefulsets.get(set.metadata.name!, set.metadata.namespace);
      if (fresh.metadata.uid !== set.metadata.uid) return;
      written = await this.#client.apps.statefulsets.updateStatus({ ...fresh, status: { ...status, ...kept } });
    }
    this.#written.wrote(written);
  }
}

const exists = (pod: Pod): boolean => (pod.status?.phase ?? '') !== '';
const isRunningAndReady = (pod: Pod): boolean => pod.status?.phase === 'Running' && isPodReady(pod);

function isUnavailable(set: StatefulSet, pod: Pod, now: number): boolean {
  return !isPodAvailable(pod, set.spec?.minReadySeconds ?? 0, now) || pod.metadata.deletionTimestamp !== undefined;
}

function begin(
  set: StatefulSet,
  now: number,
  pods: readonly Pod[],
  current: ControllerRevision,
  update: ControllerRevision,
  collisionCount: number,
): Work {
  const start = startOrdinal(set);
  const wanted = replicasOf(set);
  const currentTemplate = templateOf(current);
  const updateTemplate = templateOf(update);
  const rolling = set.spec?.updateStrategy?.rollingUpdate;
  // New pods below this ordinal are made as the current revision has them.
  const boundary =
    rolling !== undefined
      ? start + (rolling.partition ?? 0)
      : set.spec?.updateStrategy?.type === 'RollingUpdate'
        ? start + (set.status?.currentReplicas ?? 0)
        : 0;
  const byOrdinal = new Map<number, Pod>();
  const condemned: Pod[] = [];
  for (const pod of pods) {
    if (isInRange(set, pod)) byOrdinal.set(ordinalOf(pod), pod);
    else if (ordinalOf(pod) >= 0) condemned.push(pod);
  }
  condemned.sort((a, b) => ordinalOf(b) - ordinalOf(a));
  const replicas: Pod[] = [];
  for (let ordinal = start; ordinal < start + wanted; ordinal++) {
    replicas.push(
      byOrdinal.get(ordinal) ??
        (ordinal < boundary
          ? newStatefulPod(set, currentTemplate, current.metadata.name!, ordinal)
          : newStatefulPod(set, updateTemplate, update.metadata.name!, ordinal)),
    );
  }
  const firstUnavailable =
    replicas.find((p) => isUnavailable(set, p, now)) ?? condemned.findLast((p) => isUnavailable(set, p, now));
  const work: Work = {
    set,
    now,
    monotonic: set.spec?.podManagementPolicy !== 'Parallel',
    current,
    update,
    currentTemplate,
    updateTemplate,
    replicas,
    condemned,
    firstUnavailable,
    status: {
      observedGeneration: set.metadata.generation ?? 0,
      replicas: 0,
      currentRevision: current.metadata.name!,
      updateRevision: update.metadata.name!,
      collisionCount,
    },
  };
  countReplicas(work.status, work, pods);
  return work;
}

function countReplicas(status: StatefulSetStatus, work: Work, pods: readonly Pod[]): void {
  const minReady = work.set.spec?.minReadySeconds ?? 0;
  let replicas = 0;
  let ready = 0;
  let available = 0;
  let current = 0;
  let updated = 0;
  for (const pod of pods) {
    if (!exists(pod)) continue;
    replicas++;
    if (isRunningAndReady(pod)) {
      ready++;
      if (isPodAvailable(pod, minReady, work.now)) available++;
    }
    if (pod.metadata.deletionTimestamp !== undefined) continue;
    const revision = podRevision(pod);
    if (revision === work.current.metadata.name) current++;
    if (revision === work.update.metadata.name) updated++;
  }
  status.replicas = replicas;
  status.readyReplicas = ready;
  status.availableReplicas = available;
  status.currentReplicas = current;
  status.updatedReplicas = updated;
}

function differs(old: StatefulSetStatus | undefined, status: StatefulSetStatus): boolean {
  const counts = ['replicas', 'readyReplicas', 'availableReplicas', 'currentReplicas', 'updatedReplicas'] as const;
  return (
    (status.observedGeneration ?? 0) > (old?.observedGeneration ?? 0) ||
    counts.some((c) => (status[c] ?? 0) !== (old?.[c] ?? 0)) ||
    status.currentRevision !== old?.currentRevision ||
    status.updateRevision !== old?.updateRevision
  );
}

export const statefulSetController: ControllerDescriptor = {
  name: 'statefulset-controller',
  aliases: ['statefulset'],
  start: (context) => new StatefulSetController(context),
};
