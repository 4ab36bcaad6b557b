/**
 * The Deployment controller: one ReplicaSet a pod template, replaced step by step when the template changes. It watches
 * Deployments, ReplicaSets, and the end of pods (for Recreate).
 */
import { deepEqual } from '../../api/helpers/deep-equal.ts';
import {
  controllerOf,
  isControlledBy,
  newControllerRef,
  sameOwnerReference,
} from '../../api/helpers/owner-references.ts';
import { isPodTerminal } from '../../api/helpers/pod-status.ts';
import type { OwnerReference } from '../../api/object.ts';
import { compileLabelSelector } from '../../api/selector.ts';
import { formatTime, timeMs } from '../../api/time.ts';
import type { Deployment, DeploymentStatus, Pod, ReplicaSet } from '../../api/types/index.gen.ts';
import { Controller } from '../../client/controller.ts';
import { isAlreadyExists, isNamespaceTerminating, isNotFound } from '../../client/errors.ts';
import type { EventRecorder } from '../../client/event-recorder.ts';
import type { Informer } from '../../client/informer.ts';
import { keyOf, splitKey } from '../../client/lister.ts';
import { resources } from '../../client/resources.ts';
import type { TypedClient } from '../../client/typed-client.ts';
import type { ControllerContext, ControllerDescriptor, RunningController } from '../context.ts';
import { claimObjects } from '../util/claim.ts';
import { findCondition, setCondition } from '../util/conditions.ts';
import { computeHash } from '../util/hash.ts';
import { addPodControllerIndex, podControllerIndex } from '../util/pods.ts';
import {
  activeSets,
  annotationsAfterRollback,
  byCreation,
  byRevision,
  bySize,
  desiredOf,
  findActiveOrLatest,
  findNewReplicaSet,
  findOldReplicaSets,
  hashLabel,
  hasHistoryLimit,
  hasProgressDeadline,
  isRollingUpdate,
  isSaturated,
  lastRevision,
  maxRevision,
  parseRevision,
  maxSurge,
  maxUnavailable,
  newReplicaCount,
  newSetAnnotations,
  proportionOf,
  replicaSetName,
  replicasOf,
  revisionAnnotation,
  revisionOf,
  rollbackToAnnotation,
  sameTemplate,
  sumReplicas,
  sumStatus,
  wantedOf,
  withoutHash,
  withReplicasAnnotations,
} from './revisions.ts';
import { calculateStatus, isComplete, newCondition, rolloutStatus } from './status.ts';

/** Index of ReplicaSets by their controller's uid, or `orphan/<namespace>`. */
const ownerIndex = 'deployment';
const deployments = resources.apps.deployments;

class DeploymentController implements RunningController {
  readonly #c: ControllerContext;
  readonly #client: TypedClient;
  readonly #recorder: EventRecorder;
  readonly #deployments: Informer<Deployment>;
  readonly #sets: Informer<ReplicaSet>;
  readonly #pods: Informer<Pod>;
  readonly #controller: Controller;

  constructor(context: ControllerContext) {
    this.#c = context;
    this.#client = context.clientFor('deployment-controller');
    this.#recorder = context.recorder('deployment-controller', this.#client);
    this.#deployments = context.informers.informer(deployments);
    this.#sets = context.informers.informer(resources.apps.replicasets);
    this.#pods = context.informers.informer(resources.core.pods);
    addPodControllerIndex(this.#pods);
    this.#sets.addIndex(ownerIndex, (rs) => [controllerOf(rs)?.uid ?? `orphan/${rs.metadata.namespace ?? ''}`]);
    this.#controller = new Controller({
      queueMetrics: context.queueMetrics,
      name: 'deployment',
      workers: context.options.concurrency?.['deployment'],
      clock: context.clock,
      logger: context.logger,
      maxRetries: 15,
      reconcile: (key) => this.#reconcile(key),
    });
    const wake = (d: Deployment): void => this.#controller.queue.add(keyOf(d));
    this.#deployments.addHandler({ onAdd: wake, onUpdate: (_, d) => wake(d), onDelete: wake });
    this.#sets.addHandler({
      onAdd: (rs) => this.#setChanged(undefined, rs),
      onUpdate: (old, rs) => this.#setChanged(old, rs),
      onDelete: (rs) => this.#wakeOwner(rs.metadata.namespace, controllerOf(rs)),
    });
    this.#pods.addHandler({ onDelete: (pod) => this.#podDeleted(pod) });
    this.#controller.start(this.#deployments.synced, this.#sets.synced, this.#pods.synced);
  }

  stop(): Promise<void> {
    return this.#controller.stop();
  }

  #resolve(namespace: string | undefined, ref: OwnerReference | undefined): Deployment | undefined {
    if (ref === undefined || ref.kind !== 'Deployment') return undefined;
    const d = this.#deployments.lister.get(ref.name, namespace);
    return d?.metadata.uid === ref.uid ? d : undefined;
  }

  #wakeOwner(namespace: string | undefined, ref: OwnerReference | undefined): void {
    const d = this.#resolve(namespace, ref);
    if (d !== undefined) this.#controller.queue.add(keyOf(d));
  }

  #setChanged(old: ReplicaSet | undefined, rs: ReplicaSet): void {
    const before = old === undefined ? undefined : controllerOf(old);
    const ref = controllerOf(rs);
    const moved = old !== undefined && !sameOwnerReference(before, ref);
    if (moved) this.#wakeOwner(rs.metadata.namespace, before);
    if (ref !== undefined) {
      this.#wakeOwner(rs.metadata.namespace, ref);
      return;
    }
    if (old !== undefined && !moved && deepEqual(old.metadata.labels, rs.metadata.labels)) return;
    if (rs.metadata.labels === undefined || rs.metadata.deletionTimestamp !== undefined) return;
    for (const d of this.#deployments.lister.list(rs.metadata.namespace)) {
      const selector = compileLabelSelector(d.spec?.selector);
      if (!selector.empty && selector.matches(rs.metadata.labels)) this.#controller.queue.add(keyOf(d));
    }
  }

  /** A Recreate waits for the last old pod. */
  #podDeleted(pod: Pod): void {
    const ref = controllerOf(pod);
    if (ref === undefined || ref.kind !== 'ReplicaSet') return;
    const rs = this.#sets.lister.get(ref.name, pod.metadata.namespace);
    if (rs === undefined || rs.metadata.uid !== ref.uid) return;
    const d = this.#resolve(pod.metadata.namespace, controllerOf(rs));
    if (d?.spec?.strategy?.type !== 'Recreate') return;
    for (const set of this.#sets.lister.byIndex(ownerIndex, d.metadata.uid!)) {
      for (const _ of this.#pods.lister.byIndex(podControllerIndex, set.metadata.uid!)) return;
    }
    this.#controller.queue.add(keyOf(d));
  }

  #now(): string {
    return formatTime(this.#c.clock.now());
  }

  async #reconcile(key: string): Promise<void> {
    const { namespace, name } = splitKey(key);
    const d = this.#deployments.lister.get(name, namespace);
    if (d === undefined) return;
    try {
      await this.#sync(d);
    } catch (error) {
      // Nothing more can be created in a namespace that is going away.
      if (!isNamespaceTerminating(error)) throw error;
    }
  }

  async #sync(found: Deployment): Promise<void> {
    let d = found;
    const selector = d.spec?.selector;
    if (selector === undefined || (!selector.matchLabels && !selector.matchExpressions)) {
      const message = 'This deployment is selecting all pods. A non-empty selector is required.';
      this.#recorder.event(deployments, d, 'Warning', 'SelectingAll', message);
      const generation = d.metadata.generation ?? 0;
      if ((d.status?.observedGeneration ?? 0) < generation) {
        await this.#client.apps.deployments.updateStatus({
          ...d,
          status: { ...d.status, observedGeneration: generation },
        });
      }
      return;
    }
    const sets = await this.#claimSets(d);
    if (d.metadata.deletionTimestamp !== undefined) {
      const old = findOldReplicaSets(d, sets);
      const synced = await this.#newReplicaSet(d, sets, old, false);
      await this.#writeStatus(synced.d, calculateStatus([...old, synced.rs], synced.rs, synced.d, this.#now()));
      return;
    }
    d = await this.#checkPaused(d);
    if (d.spec?.paused === true) return this.#scaleAndSync(d, sets);
    if (rollbackRevision(d) !== undefined) return this.#rollback(d, sets, rollbackRevision(d)!);
    const old = findOldReplicaSets(d, sets);
    const synced = await this.#newReplicaSet(d, sets, old, false);
    d = synced.d;
    const resized = activeSets([...old, synced.rs]).some((rs) => {
      const desired = desiredOf(rs);
      return desired !== undefined && desired !== wantedOf(d);
    });
    if (resized) return this.#scaleAndSync(d, sets);
    switch (d.spec?.strategy?.type) {
      case 'Recreate':
        return this.#rolloutRecreate(d, sets);
      case 'RollingUpdate':
        return this.#rolloutRolling(d, sets);
      default:
        throw new Error(`unexpected deployment strategy type: ${d.spec?.strategy?.type}`);
    }
  }

  #claimSets(d: Deployment): Promise<ReplicaSet[]> {
    const { lister } = this.#sets;
    return claimObjects({
      owner: d,
      ownerRef: deployments,
      fresh: () => this.#client.apps.deployments.get(d.metadata.name!, d.metadata.namespace),
      selector: compileLabelSelector(d.spec?.selector),
      client: this.#client.apps.replicasets,
      objects: [
        ...lister.byIndex(ownerIndex, d.metadata.uid!),
        ...lister.byIndex(ownerIndex, `orphan/${d.metadata.namespace ?? ''}`),
      ],
    });
  }

  /** Pausing and resuming leave a mark in Progressing, so that the time in between counts for no deadline. */
  async #checkPaused(d: Deployment): Promise<Deployment> {
    if (!hasProgressDeadline(d)) return d;
    const current = findCondition(d.status?.conditions, 'Progressing');
    if (current?.reason === 'ProgressDeadlineExceeded') return d;
    const marked = current?.reason === 'DeploymentPaused';
    const paused = d.spec?.paused === true;
    if (paused === marked) return d;
    const condition = paused
      ? newCondition('Progressing', 'Unknown', 'DeploymentPaused', 'Deployment is paused', this.#now())
      : newCondition('Progressing', 'Unknown', 'DeploymentResumed', 'Deployment is resumed', this.#now());
    return this.#client.apps.deployments.updateStatus({
      ...d,
      status: { ...d.status, conditions: setCondition(d.status?.conditions, condition) },
    });
  }

  /**
   * The set with the Deployment's template, annotated with its revision; created when `create`. Also brings the Deployment's own
   * revision up to date; the Deployment comes back as it is then.
   */
  async #newReplicaSet(
    deployment: Deployment,
    sets: readonly ReplicaSet[],
    old: readonly ReplicaSet[],
    create: boolean,
  ): Promise<{ rs: ReplicaSet | undefined; d: Deployment }> {
    const d = deployment;
    const revision = maxRevision(old) + 1n;
    const existing = findNewReplicaSet(d, sets);
    if (existing !== undefined) {
      const annotations = newSetAnnotations(d, existing.metadata.annotations, revision, true);
      const minReadySeconds = d.spec?.minReadySeconds ?? 0;
      if (annotations !== undefined || (existing.spec?.minReadySeconds ?? 0) !== minReadySeconds) {
        const rs = await this.#client.apps.replicasets.update({
          ...existing,
          metadata: { ...existing.metadata, ...(annotations === undefined ? {} : { annotations }) },
          spec: { ...existing.spec!, minReadySeconds },
        });
        return { rs, d };
      }
      const needsCondition = hasProgressDeadline(d) && findCondition(d.status?.conditions, 'Progressing') === undefined;
      const condition = needsCondition
        ? newCondition(
            'Progressing',
            'True',
            'FoundNewReplicaSet',
            `Found new replica set "${existing.metadata.name}"`,
            this.#now(),
          )
        : undefined;
      return {
        rs: existing,
        d: await this.#setRevision(d, existing.metadata.annotations?.[revisionAnnotation] ?? '', condition),
      };
    }
    if (!create) return { rs: undefined, d };
    return this.#createReplicaSet(d, old, revision);
  }

  async #setRevision(
    d: Deployment,
    revision: string,
    condition: ReturnType<typeof newCondition> | undefined,
  ): Promise<Deployment> {
    if (d.metadata.annotations?.[revisionAnnotation] === revision && condition === undefined) return d;
    return this.#client.apps.deployments.updateStatus({
      ...d,
      metadata: { ...d.metadata, annotations: { ...d.metadata.annotations, [revisionAnnotation]: revision } },
      status: {
        ...d.status,
        ...(condition === undefined ? {} : { conditions: setCondition(d.status?.conditions, condition) }),
      },
    });
  }

  async #createReplicaSet(
    d: Deployment,
    old: readonly ReplicaSet[],
    revision: bigint,
  ): Promise<{ rs: ReplicaSet; d: Deployment }> {
    const template = d.spec?.template ?? {};
    const hash = computeHash(template, d.status?.collisionCount);
    const labels = { ...template.metadata?.labels, [hashLabel]: hash };
    const name = replicaSetName(d.metadata.name!, hash);
    const replicas = newReplicaCount(d, old, 0);
    const annotations = newSetAnnotations(d, undefined, revision, false);
    const wanted: ReplicaSet = {
      metadata: {
        name,
        namespace: d.metadata.namespace,
        ownerReferences: [newControllerRef(d, deployments)],
        labels,
        ...(annotations === undefined ? {} : { annotations }),
      },
      spec: {
        replicas,
        minReadySeconds: d.spec?.minReadySeconds ?? 0,
        selector: { ...d.spec?.selector, matchLabels: { ...d.spec?.selector.matchLabels, [hashLabel]: hash } },
        template: { ...template, metadata: { ...template.metadata, labels } },
      },
    };
    let rs: ReplicaSet;
    let found = false;
    try {
      rs = await this.#client.apps.replicasets.create(wanted);
    } catch (error) {
      if (isAlreadyExists(error)) {
        // A slow cache, or two templates of one hash.
        const other = await this.#client.apps.replicasets.get(name, d.metadata.namespace);
        if (!isControlledBy(other, d) || !sameTemplate(other.spec?.template, template)) {
          await this.#client.apps.deployments.updateStatus({
            ...d,
            status: { ...d.status, collisionCount: (d.status?.collisionCount ?? 0) + 1 },
          });
          throw error;
        }
        rs = other;
        found = true;
      } else {
        if (!isNamespaceTerminating(error)) await this.#reportCreateFailure(d, name, error);
        throw error;
      }
    }
    if (!found && replicas > 0) {
      this.#event(d, `Scaled up replica set ${rs.metadata.name} from 0 to ${replicas}`);
    }
    const condition =
      !found && hasProgressDeadline(d)
        ? newCondition(
            'Progressing',
            'True',
            'NewReplicaSetCreated',
            `Created new replica set "${rs.metadata.name}"`,
            this.#now(),
          )
        : undefined;
    return { rs, d: await this.#setRevision(d, String(revision), condition) };
  }

  async #reportCreateFailure(d: Deployment, name: string, error: unknown): Promise<void> {
    const message = `Failed to create new replica set "${name}": ${(error as Error).message}`;
    this.#recorder.event(deployments, d, 'Warning', 'ReplicaSetCreateError', message);
    if (!hasProgressDeadline(d)) return;
    const condition = newCondition('Progressing', 'False', 'ReplicaSetCreateError', message, this.#now());
    try {
      await this.#client.apps.deployments.updateStatus({
        ...d,
        status: { ...d.status, conditions: setCondition(d.status?.conditions, condition) },
      });
    } catch (statusError) {
      // The failed creation is what gets retried and reported.
      this.#c.logger.debug('could not record a failed replica set', { deployment: keyOf(d), error: statusError });
    }
  }

  #event(d: Deployment, message: string): void {
    this.#recorder.event(deployments, d, 'Normal', 'ScalingReplicaSet', message);
  }

  /** Paused, or resized: sizes follow the Deployment, the rollout stands still. */
  async #scaleAndSync(deployment: Deployment, sets: readonly ReplicaSet[]): Promise<void> {
    const old = findOldReplicaSets(deployment, sets);
    const { rs, d } = await this.#newReplicaSet(deployment, sets, old, false);
    await this.#scale(d, rs, old);
    if (d.spec?.paused === true && rollbackRevision(d) === undefined) await this.#cleanup(old, d);
    await this.#writeStatus(d, calculateStatus([...old, rs], rs, d, this.#now()));
  }

  async #scale(d: Deployment, newest: ReplicaSet | undefined, old: readonly ReplicaSet[]): Promise<void> {
    const single = findActiveOrLatest(newest, old);
    if (single !== undefined) {
      if (replicasOf(single) !== wantedOf(d)) await this.#resize(single, wantedOf(d), d, false);
      return;
    }
    if (newest === undefined && old.length === 0) return;
    if (isSaturated(d, newest)) {
      for (const rs of activeSets(old)) await this.#resize(rs, 0, d, false);
      return;
    }
    if (!isRollingUpdate(d)) return;
    const limit = wantedOf(d) > 0 ? wantedOf(d) + maxSurge(d) : 0;
    const active = activeSets([...old, newest]);
    const toAdd = limit - sumReplicas(active);
    active.sort(bySize(toAdd > 0));
    let added = 0;
    const sizes = active.map((rs) => {
      const proportion = toAdd === 0 ? 0 : proportionOf(rs, d, toAdd, added);
      added += proportion;
      return replicasOf(rs) + proportion;
    });
    if (toAdd !== 0 && sizes.length > 0) sizes[0] = Math.max(sizes[0]! + toAdd - added, 0);
    for (const [i, rs] of active.entries()) await this.#resize(rs, sizes[i]!, d, true);
  }

  /** Sets a size. `force`: also when only the annotations are behind. */
  async #resize(
    rs: ReplicaSet,
    size: number,
    d: Deployment,
    force: boolean,
  ): Promise<{ scaled: boolean; rs: ReplicaSet }> {
    const before = replicasOf(rs);
    if (!force && before === size) return { scaled: false, rs };
    const annotations = withReplicasAnnotations(rs.metadata.annotations, d);
    if (before === size && annotations === undefined) return { scaled: false, rs };
    const updated = await this.#client.apps.replicasets.update({
      ...rs,
      metadata: { ...rs.metadata, ...(annotations === undefined ? {} : { annotations }) },
      spec: { ...rs.spec!, replicas: size },
    });
    if (before === size) return { scaled: false, rs: updated };
    this.#event(d, `Scaled ${before < size ? 'up' : 'down'} replica set ${rs.metadata.name} from ${before} to ${size}`);
    return { scaled: true, rs: updated };
  }

  async #rolloutRolling(deployment: Deployment, sets: readonly ReplicaSet[]): Promise<void> {
    const old = findOldReplicaSets(deployment, sets);
    const synced = await this.#newReplicaSet(deployment, sets, old, true);
    const d = synced.d;
    const newest = synced.rs!;
    const all = [...old, newest];
    const current = replicasOf(newest);
    if (current !== wantedOf(d)) {
      const size = current > wantedOf(d) ? wantedOf(d) : newReplicaCount(d, all, current);
      if ((await this.#resize(newest, size, d, false)).scaled) return this.#syncRollout(all, newest, d);
    }
    if (!(await this.#scaleDownOld(all, activeSets(old), newest, d)) && isComplete(d, d.status)) {
      await this.#cleanup(old, d);
    }
    return this.#syncRollout(all, newest, d);
  }

  /** First replicas that are not available anyway, then as many as may be missing. */
  async #scaleDownOld(
    all: readonly ReplicaSet[],
    active: readonly ReplicaSet[],
    newest: ReplicaSet,
    d: Deployment,
  ): Promise<boolean> {
    if (sumReplicas(active) === 0) return false;
    const minAvailable = wantedOf(d) - maxUnavailable(d);
    const newUnavailable = replicasOf(newest) - (newest.status?.availableReplicas ?? 0);
    const limit = sumReplicas(all) - minAvailable - newUnavailable;
    if (limit <= 0) return false;
    const old = active.toSorted(byCreation);
    let cleaned = 0;
    for (const [i, rs] of old.entries()) {
      if (cleaned >= limit) break;
      const available = rs.status?.availableReplicas ?? 0;
      if (replicasOf(rs) === 0 || replicasOf(rs) === available) continue;
      const down = Math.min(limit - cleaned, replicasOf(rs) - available);
      if (down <= 0) continue;
      old[i] = (await this.#resize(rs, replicasOf(rs) - down, d, false)).rs;
      cleaned += down;
    }
    const available = sumStatus([...old, newest], 'availableReplicas');
    let left = available - minAvailable;
    let scaled = 0;
    for (const rs of old) {
      if (left <= 0) break;
      const down = Math.min(replicasOf(rs), left);
      if (down === 0) continue;
      await this.#resize(rs, replicasOf(rs) - down, d, false);
      left -= down;
      scaled += down;
    }
    return cleaned + scaled > 0;
  }

  async #rolloutRecreate(deployment: Deployment, sets: readonly ReplicaSet[]): Promise<void> {
    const old = findOldReplicaSets(deployment, sets);
    let { rs: newest, d } = await this.#newReplicaSet(deployment, sets, old, false);
    let scaledDown = false;
    for (const rs of activeSets(old)) scaledDown = (await this.#resize(rs, 0, d, false)).scaled || scaledDown;
    if (scaledDown || this.#oldPodsRun(newest, old)) return this.#syncRollout([...old, newest], newest, d);
    if (newest === undefined) ({ rs: newest, d } = await this.#newReplicaSet(d, sets, old, true));
    await this.#resize(newest!, wantedOf(d), d, false);
    if (isComplete(d, d.status)) await this.#cleanup(old, d);
    return this.#syncRollout([...old, newest], newest, d);
  }

  #oldPodsRun(newest: ReplicaSet | undefined, old: readonly ReplicaSet[]): boolean {
    if (sumStatus(old, 'replicas') > 0) return true;
    for (const rs of old) {
      if (rs.metadata.uid === newest?.metadata.uid) continue;
      for (const pod of this.#pods.lister.byIndex(podControllerIndex, rs.metadata.uid!)) {
        if (!isPodTerminal(pod)) return true;
      }
    }
    return false;
  }

  /** Keeps the newest `revisionHistoryLimit` empty sets. */
  async #cleanup(old: readonly ReplicaSet[], d: Deployment): Promise<void> {
    if (!hasHistoryLimit(d)) return;
    const alive = old.filter((rs) => rs.metadata.deletionTimestamp === undefined);
    const surplus = alive.length - d.spec!.revisionHistoryLimit!;
    if (surplus <= 0) return;
    for (const rs of alive.toSorted(byRevision).slice(0, surplus)) {
      const busy = (rs.status?.replicas ?? 0) !== 0 || replicasOf(rs) !== 0;
      if (busy || (rs.metadata.generation ?? 0) > (rs.status?.observedGeneration ?? 0)) continue;
      try {
        await this.#client.apps.replicasets.delete(rs.metadata.name!, rs.metadata.namespace);
      } catch (error) {
        if (!isNotFound(error)) throw error;
      }
    }
  }

  async #writeStatus(d: Deployment, status: DeploymentStatus): Promise<boolean> {
    if (deepEqual(withZeros(d.status), withZeros(status))) return false;
    await this.#client.apps.deployments.updateStatus({ ...d, status });
    return true;
  }

  async #syncRollout(
    all: readonly (ReplicaSet | undefined)[],
    newest: ReplicaSet | undefined,
    d: Deployment,
  ): Promise<void> {
    const status = rolloutStatus(all, newest, d, this.#c.clock.now(), this.#now());
    if (await this.#writeStatus(d, status)) return;
    // Nothing moves: look again when the deadline has passed.
    const current = findCondition(d.status?.conditions, 'Progressing');
    if (!hasProgressDeadline(d) || current === undefined) return;
    if (isComplete(d, status) || current.reason === 'ProgressDeadlineExceeded') return;
    const after = timeMs(current.lastUpdateTime) + d.spec!.progressDeadlineSeconds! * 1000 - this.#c.clock.now();
    if (after < 1000) this.#controller.queue.addRateLimited(keyOf(d));
    else this.#controller.queue.addAfter(keyOf(d), after + 1000);
  }

  /** Rollback by the annotation that once was spec.rollbackTo. */
  async #rollback(deployment: Deployment, sets: readonly ReplicaSet[], wanted: bigint): Promise<void> {
    const old = findOldReplicaSets(deployment, sets);
    const { rs: newest, d } = await this.#newReplicaSet(deployment, sets, old, true);
    const all = newest === undefined ? old : [...old, newest];
    const revision = wanted === 0n ? lastRevision(all) : wanted;
    const warn = (reason: string, message: string): void =>
      this.#recorder.event(deployments, d, 'Warning', reason, message);
    let result = d;
    const target = revision === 0n ? undefined : all.find((rs) => revisionOf(rs) === revision);
    if (target === undefined) {
      const what = revision === 0n ? 'Unable to find last revision.' : 'Unable to find the revision to rollback to.';
      warn('DeploymentRollbackRevisionNotFound', what);
    } else if (sameTemplate(d.spec?.template, target.spec?.template)) {
      warn(
        'DeploymentRollbackTemplateUnchanged',
        `The rollback revision contains the same template as current deployment "${d.metadata.name}"`,
      );
    } else {
      result = {
        ...d,
        metadata: { ...d.metadata, annotations: annotationsAfterRollback(d, target) },
        spec: { ...d.spec!, template: withoutHash(target.spec?.template) },
      };
    }
    const annotations = { ...result.metadata.annotations };
    delete annotations[rollbackToAnnotation];
    await this.#client.apps.deployments.update({ ...result, metadata: { ...result.metadata, annotations } });
    if (result !== d) {
      const message = `Rolled back deployment "${d.metadata.name}" to revision ${revision}`;
      this.#recorder.event(deployments, d, 'Normal', 'DeploymentRollback', message);
    }
  }
}

function rollbackRevision(d: Deployment): bigint | undefined {
  const text = d.metadata.annotations?.[rollbackToAnnotation];
  return text === undefined ? undefined : parseRevision(text);
}

/** Counts that are zero are not written; they compare as zero. */
function withZeros(s: DeploymentStatus | undefined): DeploymentStatus {
  return {
    ...s,
    observedGeneration: s?.observedGeneration ?? 0,
    replicas: s?.replicas ?? 0,
    updatedReplicas: s?.updatedReplicas ?? 0,
    readyReplicas: s?.readyReplicas ?? 0,
    availableReplicas: s?.availableReplicas ?? 0,
    unavailableReplicas: s?.unavailableReplicas ?? 0,
    conditions: s?.conditions ?? [],
  };
}

export const deploymentController: ControllerDescriptor = {
  name: 'deployment-controller',
  aliases: ['deployment'],
  start: (context) => new DeploymentController(context),
};
