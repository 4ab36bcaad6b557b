/**
 * The Job controller: runs pods until enough have succeeded or too many have failed. Every pod carries a finalizer until it has
 * been counted in the status, so that none is counted twice or lost (KEP-2307). It watches jobs and their pods.
 */
import { ioNow } from '../../base/io-time.ts';
import { controllerOf, sameOwnerReference } from '../../api/helpers/owner-references.ts';
import { deepEqual } from '../../api/helpers/deep-equal.ts';
import type { OwnerReference } from '../../api/object.ts';
import { compileLabelSelector } from '../../api/selector.ts';
import type { Job, Pod } from '../../api/types/index.gen.ts';
import { Controller } from '../../client/controller.ts';
import { isNamespaceTerminating, isNotFound } from '../../client/errors.ts';
import type { EventRecorder } from '../../client/event-recorder.ts';
import { Expectations } from '../../client/expectations.ts';
import type { Informer } from '../../client/informer.ts';
import { keyOf, splitKey } from '../../client/lister.ts';
import { resources } from '../../client/resources.ts';
import { slowStartBatch } from '../../client/slow-start.ts';
import type { TypedClient } from '../../client/typed-client.ts';
import type { ControllerContext, ControllerDescriptor, RunningController } from '../context.ts';
import { LastWritten } from '../util/last-written.ts';
import { OwnedPods } from '../util/owned-pods.ts';
import { PodControl } from '../util/pods.ts';
import type { JobSyncAction } from '../metrics.ts';
import { isJobFinished } from './finished.ts';
import { hasTrackingFinalizer, JobPods, podsToRemove, trackingFinalizer } from './pods.ts';
import { onlyReplaceFailed } from './policies.ts';
import type { BackoffRecord } from './sync.ts';
import { JobSync, maxPodsPerSync } from './sync.ts';

/** Changes of the pods of larger jobs are gathered for so long. */
const batchPeriodMs = 1000;
const largeJob = 50;
const jobControllerName = 'kubernetes.io/job-controller';

const ref = resources.batch.jobs;

class JobController implements RunningController {
  readonly #c: ControllerContext;
  readonly #jobs: Informer<Job>;
  readonly #pods: Informer<Pod>;
  readonly #client: TypedClient;
  readonly #recorder: EventRecorder;
  readonly #control: PodControl;
  readonly #controller: Controller;
  /** Takes the finalizer from pods that no job will count any more. */
  readonly #orphans: Controller;
  readonly #expectations: Expectations;
  /** By job: uids of pods whose finalizer has been removed, until that is seen. */
  readonly #removing = new Map<string, Set<string>>();
  readonly #backoff = new Map<string, BackoffRecord>();
  /** Uids of jobs whose end has been written but not yet seen. */
  readonly #finished = new Set<string>();
  readonly #written = new LastWritten<Job>();
  readonly #owned: OwnedPods<Job>;

  constructor(context: ControllerContext) {
    this.#c = context;
    this.#client = context.clientFor('job-controller');
    this.#recorder = context.recorder('job-controller', this.#client);
    this.#control = new PodControl(this.#client, this.#recorder);
    this.#expectations = new Expectations(context.clock);
    this.#jobs = context.informers.informer(ref);
    this.#pods = context.informers.informer(resources.core.pods);
    this.#owned = new OwnedPods({
      pods: this.#pods,
      podClient: this.#client.core.pods,
      ref,
      ownerClient: this.#client.batch.jobs,
      finalizers: [trackingFinalizer],
    });
    const queueOptions = { clock: context.clock, logger: context.logger, baseDelayMs: 1000, maxDelayMs: 60_000 };
    this.#controller = new Controller({
      queueMetrics: context.queueMetrics,
      ...queueOptions,
      name: 'job',
      workers: context.options.concurrency?.['job'],
      reconcile: (key) => this.#reconcile(key),
    });
    this.#orphans = new Controller({
      queueMetrics: context.queueMetrics,
      ...queueOptions,
      name: 'job_orphan_pod',
      workers: 20,
      reconcile: (key) => this.#releaseOrphan(key),
    });
    this.#jobs.addHandler({
      onAdd: (job) => this.#jobChanged(undefined, job),
      onUpdate: (old, job) => this.#jobChanged(old, job),
      onDelete: (job) => {
        const key = keyOf(job);
        this.#forget(key, job.metadata.uid!);
        this.#controller.queue.add(key);
        this.#orphanPodsOf(job);
      },
    });
    this.#pods.addHandler({
      onAdd: (pod) => this.#podChanged(undefined, pod),
      onUpdate: (old, pod) => this.#podChanged(old, pod),
      onDelete: (pod, previous) => this.#podGone(pod, previous),
    });
    this.#controller.start(this.#jobs.synced, this.#pods.synced);
    this.#orphans.start(this.#jobs.synced, this.#pods.synced);
  }

  async stop(): Promise<void> {
    await Promise.all([this.#controller.stop(), this.#orphans.stop()]);
  }

  #forget(key: string, uid: string): void {
    this.#expectations.delete(key);
    this.#removing.delete(key);
    this.#backoff.delete(key);
    this.#finished.delete(uid);
    this.#written.forget(uid);
    this.#owned.forget(key);
  }

  #jobChanged(old: Job | undefined, job: Job): void {
    const key = keyOf(job);
    if (isJobFinished(job)) {
      this.#orphanPodsOf(job);
      if (old !== undefined) {
        this.#forget(key, job.metadata.uid!);
        return;
      }
    }
    if (old === undefined || old.metadata.generation !== job.metadata.generation) {
      this.#owned.lookForOrphans(key);
      this.#controller.queue.add(key);
    } else this.#soon(job);
  }

  /** The finalizers of these pods are of no more use to a job. */
  #orphanPodsOf(job: Job): void {
    for (const pod of this.#owned.cached(job)) {
      if (hasTrackingFinalizer(pod)) this.#orphans.queue.add(keyOf(pod));
    }
  }

  #soon(job: Job): void {
    const size = Math.max(job.spec?.parallelism ?? 1, job.spec?.completions ?? 1);
    if (this.#c.clock.virtual || size <= largeJob) this.#controller.queue.add(keyOf(job));
    else this.#controller.queue.addAfter(keyOf(job), batchPeriodMs);
  }

  #resolve(namespace: string | undefined, owner: OwnerReference | undefined): Job | undefined {
    if (owner === undefined || owner.kind !== ref.kind) return undefined;
    const job = this.#jobs.lister.get(owner.name, namespace);
    return job?.metadata.uid === owner.uid ? job : undefined;
  }

  #wakeMatching(pod: Pod): void {
    if (pod.metadata.labels === undefined) return;
    for (const job of this.#jobs.lister.list(pod.metadata.namespace)) {
      if (job.spec?.selector === undefined || isJobFinished(job)) continue;
      const selector = compileLabelSelector(job.spec.selector);
      if (selector.empty || !selector.matches(pod.metadata.labels)) continue;
      this.#owned.lookForOrphans(keyOf(job));
      this.#soon(job);
    }
  }

  #podChanged(old: Pod | undefined, pod: Pod): void {
    if (pod.metadata.deletionTimestamp !== undefined) {
      this.#podLeaving(pod, false);
      return;
    }
    const before = old === undefined ? undefined : controllerOf(old);
    const owner = controllerOf(pod);
    const moved = old !== undefined && !sameOwnerReference(before, owner);
    if (moved) {
      const job = this.#resolve(old.metadata.namespace, before);
      if (job !== undefined) {
        if (!hasTrackingFinalizer(pod)) this.#finalizerRemoved(keyOf(job), pod);
        this.#soon(job);
      }
    }
    if (owner !== undefined) {
      const job = this.#resolve(pod.metadata.namespace, owner);
      if (job === undefined) return;
      if (old === undefined) this.#expectations.creationObserved(keyOf(job));
      else if (!hasTrackingFinalizer(pod)) this.#finalizerRemoved(keyOf(job), pod);
      this.#soon(job);
      return;
    }
    if (hasTrackingFinalizer(pod)) this.#orphans.queue.add(keyOf(pod));
    if (old === undefined || moved || !deepEqual(old.metadata.labels, pod.metadata.labels)) this.#wakeMatching(pod);
  }

  #podGone(pod: Pod, previous: Pod): void {
    this.#podLeaving(controllerOf(pod) === undefined ? previous : pod, true);
  }

  #podLeaving(pod: Pod, final: boolean): void {
    const owner = controllerOf(pod);
    const tracked = hasTrackingFinalizer(pod);
    const job = this.#resolve(pod.metadata.namespace, owner);
    if (owner !== undefined && owner.kind !== ref.kind) return;
    if (job === undefined || isJobFinished(job)) {
      if (tracked && !final) this.#orphans.queue.add(keyOf(pod));
      return;
    }
    const key = keyOf(job);
    this.#expectations.deletionObserved(key, keyOf(pod));
    if (final || !tracked) this.#finalizerRemoved(key, pod);
    this.#soon(job);
  }

  #finalizerRemoved(key: string, pod: Pod): void {
    const removing = this.#removing.get(key);
    if (removing === undefined) return;
    removing.delete(pod.metadata.uid!);
    if (removing.size === 0) this.#removing.delete(key);
  }

  async #releaseOrphan(key: string): Promise<void> {
    const pod = this.#pods.lister.getByKey(key);
    if (pod === undefined || !hasTrackingFinalizer(pod)) return;
    const owner = controllerOf(pod);
    if (owner !== undefined) {
      if (owner.kind !== ref.kind || owner.apiVersion !== 'batch/v1') return;
      const job = this.#resolve(pod.metadata.namespace, owner);
      if (job !== undefined && (isManagedElsewhere(job) || !isJobFinished(job))) return;
    }
    await this.#removeFinalizer(pod);
  }

  /** A pod that is gone has no finalizer. */
  async #removeFinalizer(pod: Pod): Promise<void> {
    if (!hasTrackingFinalizer(pod)) return;
    try {
      await this.#client.core.pods.patch(pod.metadata.name!, pod.metadata.namespace, 'strategic', {
        metadata: { '$deleteFromPrimitiveList/finalizers': [trackingFinalizer] },
      });
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }

  async #reconcile(key: string): Promise<void> {
    const { namespace, name } = splitKey(key);
    const cached = this.#jobs.lister.get(name, namespace);
    if (cached === undefined) return;
    const uid = cached.metadata.uid!;
    const job = this.#written.newest(cached);
    if (isManagedElsewhere(job)) return;
    if (isJobFinished(job)) {
      this.#backoff.delete(key);
      if (isJobFinished(cached)) this.#finished.delete(uid);
      return;
    }
    if (this.#finished.has(uid)) return;
    const mode = job.spec?.completionMode ?? 'NonIndexed';
    if (mode !== 'NonIndexed' && mode !== 'Indexed') {
      this.#recorder.event(
        ref,
        job,
        'Warning',
        'UnknownCompletionMode',
        'Skipped Job sync because completion mode is unknown',
      );
      return;
    }
    const pass: { action: JobSyncAction } = { action: 'reconciling' };
    const began = ioNow();
    const told = (ok: boolean): void => this.#c.metrics?.jobSynced(mode, ok, pass.action, (ioNow() - began) / 1000);
    try {
      await this.#syncJob(key, job, pass);
      told(true);
    } catch (error) {
      told(false);
      throw error;
    }
  }

  async #syncJob(key: string, job: Job, pass: { action: JobSyncAction }): Promise<void> {
    const satisfied = this.#expectations.satisfied(key);
    const pods = await this.#owned.of(job, compileLabelSelector(job.spec?.selector));
    const sync = new JobSync({
      job,
      pods,
      now: this.#c.clock.now(),
      backoff: this.#backoff.get(key),
      removing: this.#removing.get(key),
    });

    let failure: unknown;
    sync.decideEnd();
    if (sync.activeDeadlineLeft !== undefined) this.#controller.queue.addAfter(key, sync.activeDeadlineLeft);
    if (sync.finished !== undefined) {
      const wanted = sync.active.length;
      const { deleted, error } = await this.#deleteActive(job, sync.active);
      // Pods that still have to be deleted, or that are not in the cache yet, may yet change the counts.
      if (deleted.length !== wanted || !satisfied) sync.finished = undefined;
      sync.podsDeleted(deleted);
      failure = error;
    } else {
      const manage = satisfied && job.metadata.deletionTimestamp === undefined;
      if (manage) failure = await this.#manage(sync, key, pass);
      const suspended = sync.concludeCompletions(manage);
      if (suspended !== undefined) {
        this.#recorder.event(
          ref,
          job,
          'Normal',
          suspended ? 'Suspended' : 'Resumed',
          suspended ? 'Job suspended' : 'Job resumed',
        );
      }
    }
    await this.#track(sync, key);
    if (failure !== undefined) throw failure;
  }

  async #deleteActive(job: Job, pods: readonly Pod[]): Promise<{ deleted: Pod[]; error: unknown }> {
    const deleted: Pod[] = [];
    let failure: unknown;
    await Promise.all(
      pods.map(async (pod) => {
        try {
          await this.#control.delete(pod, job, ref);
          deleted.push(pod);
        } catch (error) {
          if (isNotFound(error)) deleted.push(pod);
          else failure ??= error;
        }
      }),
    );
    return { deleted, error: failure };
  }

  /** Deletes pods that are not to be counted: their finalizer goes first. */
  async #discard(sync: JobSync, key: string, pods: readonly Pod[]): Promise<unknown> {
    this.#expectations.expectDeletions(key, pods.map(keyOf));
    const deleted: Pod[] = [];
    let failure: unknown;
    await Promise.all(
      pods.map(async (pod) => {
        try {
          await this.#removeFinalizer(pod);
          await this.#control.delete(pod, sync.job, ref);
          deleted.push(pod);
        } catch (error) {
          this.#expectations.deletionObserved(key, keyOf(pod));
          if (isNotFound(error)) deleted.push(pod);
          else failure ??= error;
        }
      }),
    );
    sync.podsDeleted(deleted);
    return failure;
  }

  /** Creates and deletes pods towards the wanted number. Returns the first error. */
  async #manage(sync: JobSync, key: string, pass: { action: JobSyncAction }): Promise<unknown> {
    const { job, now } = sync;
    if (job.spec?.suspend === true) {
      pass.action = 'pods_deleted';
      return this.#discard(sync, key, podsToRemove(job, sync.active, sync.active.length, now));
    }
    const wanted = sync.wantedActive();
    const surplus = podsToRemove(job, sync.active, Math.max(0, sync.active.length - wanted), now);
    pass.action = surplus.length > 0 ? 'pods_deleted' : 'tracking';
    if (surplus.length > 0) return this.#discard(sync, key, surplus.slice(0, maxPodsPerSync));
    const missing = wanted - sync.active.length - (onlyReplaceFailed(job) ? sync.terminating : 0);
    if (missing <= 0) return undefined;
    pass.action = 'pods_created';
    const plan = sync.planCreations(Math.min(missing, maxPodsPerSync));
    if (plan.waitMs > 0) {
      this.#controller.queue.addAfter(key, Math.max(plan.waitMs, batchPeriodMs));
      return undefined;
    }
    if (plan.count === 0) return undefined;
    this.#expectations.expectCreations(key, plan.count);
    const template = new JobPods(job, ref);
    const { successes, error } = await slowStartBatch(plan.count, 1, async (i) => {
      const index = plan.indexes?.[i];
      const pod = index === undefined ? template.plain() : template.indexed(index, sync.replacedBy(index));
      try {
        await this.#control.create(pod, job, ref);
      } catch (e) {
        // Every creation in a namespace that is going away fails; nothing can be done about it.
        if (!isNamespaceTerminating(e)) throw e;
        this.#expectations.creationObserved(key);
      }
    });
    if (plan.count > successes) this.#expectations.creationObserved(key, plan.count - successes);
    sync.podsCreated(successes);
    return error;
  }

  /**
   * Counts ended pods in three steps, each of which may be the last before a crash: their uids into the status, their finalizers
   * off, the uids out of the status and into the counters.
   */
  async #track(sync: JobSync, key: string): Promise<void> {
    const toRelease = sync.countEnded();
    if (sync.dirty) {
      await this.#writeStatus(sync);
      this.#backoff.set(key, sync.backoff);
    }
    let failure: unknown;
    if (toRelease.length > 0) {
      let removing = this.#removing.get(key);
      if (removing === undefined) {
        removing = new Set();
        this.#removing.set(key, removing);
      }
      for (const pod of toRelease) removing.add(pod.metadata.uid!);
      await Promise.all(
        toRelease.map(async (pod) => {
          try {
            await this.#removeFinalizer(pod);
            sync.released(pod);
          } catch (error) {
            this.#finalizerRemoved(key, pod);
            failure ??= error;
          }
        }),
      );
      sync.countReleased();
    }
    const finished = failure === undefined && sync.enactEnd();
    if (sync.dirty) {
      await this.#writeStatus(sync);
      if (finished) this.#announceEnd(sync);
    }
    if (failure !== undefined) throw failure;
  }

  async #writeStatus(sync: JobSync): Promise<void> {
    const before = sync.job.status;
    const job = await this.#client.batch.jobs.updateStatus({ ...sync.job, status: sync.takeStatus() });
    const mode = job.spec?.completionMode ?? 'NonIndexed';
    for (const result of ['succeeded', 'failed'] as const)
      this.#c.metrics?.jobPodsFinished(mode, result, (job.status?.[result] ?? 0) - (before?.[result] ?? 0));
    sync.job = job;
    this.#written.wrote(job);
  }

  #announceEnd(sync: JobSync): void {
    const { job } = sync;
    const seen = this.#jobs.lister.getByKey(keyOf(job));
    if (seen?.metadata.uid === job.metadata.uid && !isJobFinished(seen!)) this.#finished.add(job.metadata.uid!);
    const end = sync.finished!;
    const mode = job.spec?.completionMode ?? 'NonIndexed';
    this.#c.metrics?.jobFinished(mode, end.type === 'Complete', end.reason ?? '');
    if (end.type !== 'Complete') {
      this.#recorder.event(ref, job, 'Warning', end.reason ?? '', end.message ?? '');
      return;
    }
    if (job.spec?.completions !== undefined && (job.status?.succeeded ?? 0) > job.spec.completions) {
      const message = 'Too many succeeded pods running after completion count reached';
      this.#recorder.event(ref, job, 'Warning', 'TooManySucceededPods', message);
    }
    this.#recorder.event(ref, job, 'Normal', 'Completed', 'Job completed');
  }
}

/** Another controller has taken the job over (KEP-4368). */
function isManagedElsewhere(job: Job): boolean {
  const manager = job.spec?.managedBy;
  return manager !== undefined && manager !== jobControllerName;
}

export const jobController: ControllerDescriptor = {
  name: 'job-controller',
  aliases: ['job'],
  start: (context) => new JobController(context),
};
