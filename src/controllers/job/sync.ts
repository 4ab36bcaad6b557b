/**
 * `JobSync`: one look at a Job and its pods: what is counted, whether the job has ended and why, how many pods it wants, and the
 * status that follows. It computes alone; the controller makes the requests.
 */
import { isPodActive, isPodReady, isPodTerminating } from '../../api/helpers/pod-status.ts';
import { formatTime, timeMs } from '../../api/time.ts';
import type { Job, JobCondition, JobStatus, Pod } from '../../api/types/index.gen.ts';
import { findCondition } from '../util/conditions.ts';
import type { Intervals } from './intervals.ts';
import { countIndexes, formatIntervals, hasIndex, mergeIntervals, parseIntervals, withIndexes } from './intervals.ts';
import {
  allIndexFailures,
  backoffLeft,
  completionIndex,
  finishTime,
  hasTrackingFinalizer,
  indexFailures,
  isIndexed,
} from './pods.ts';
import { failureVerdict, isJobPodFailed, onlyReplaceFailed, successPolicyMet } from './policies.ts';

/** Pods made or deleted in one go. */
export const maxPodsPerSync = 500;
/** Uids in status.uncountedTerminatedPods, to bound its size. */
const maxUncounted = 500;

export interface BackoffRecord {
  readonly failures: number;
  readonly lastFailure: number | undefined;
}

interface JobSyncInput {
  readonly job: Job;
  readonly pods: readonly Pod[];
  readonly now: number;
  readonly backoff: BackoffRecord | undefined;
  /** Uids of pods whose finalizer is gone though the cache still shows it. */
  readonly removing: ReadonlySet<string> | undefined;
}

export class JobSync {
  /** The newest version written. */
  job: Job;
  readonly now: number;
  /** Neither ended nor being deleted, as of the cache. */
  readonly active: readonly Pod[];
  terminating: number;
  readonly backoff: BackoffRecord;
  /** Why the job ends, when it does. */
  finished: JobCondition | undefined;
  /** Milliseconds to the active deadline, when there is one ahead. */
  activeDeadlineLeft: number | undefined;
  /** The status differs from what was written last. */
  dirty = false;

  readonly #pods: readonly Pod[];
  readonly #removing: ReadonlySet<string>;
  readonly #indexed: boolean;
  readonly #completions: number;
  #status: JobStatus;
  #uncountedSucceeded: string[];
  #uncountedFailed: string[];
  readonly #wasUncountedFailed: ReadonlySet<string>;
  #activeCount: number;
  #ready: number;
  #succeeded: number;
  readonly #failed: number;
  #previousIndexes: Intervals = [];
  #succeededIndexes: Intervals = [];
  #failedIndexes: Intervals | undefined;
  #delayed = new Map<number, Pod>();
  /** Uids of pods that still carry the finalizer. */
  #tracked = new Set<string>();
  #more = false;

  constructor(input: JobSyncInput) {
    const { job, pods, now } = input;
    this.job = job;
    this.now = now;
    this.#pods = pods;
    // Copied: the snapshot of pods must be judged by what was known when it was taken.
    this.#removing = new Set(input.removing);
    this.#indexed = isIndexed(job);
    this.#completions = job.spec?.completions ?? 0;
    this.#status = { ...job.status };
    const uncounted = job.status?.uncountedTerminatedPods;
    this.#uncountedSucceeded = [...(uncounted?.succeeded ?? [])];
    this.#uncountedFailed = [...(uncounted?.failed ?? [])];
    this.#wasUncountedFailed = new Set(this.#uncountedFailed);
    this.active = pods.filter(isPodActive);
    this.#activeCount = this.active.length;
    this.#ready = this.active.filter(isPodReady).length;
    this.terminating = pods.filter(isPodTerminating).length;

    const wasSucceeded = new Set(this.#uncountedSucceeded);
    const newSucceeded: Pod[] = [];
    const newFailed: Pod[] = [];
    for (const pod of pods) {
      if (!this.#isTracked(pod)) continue;
      if (this.#indexed && !this.#isValidIndex(completionIndex(pod))) continue;
      const uid = pod.metadata.uid!;
      if (pod.status?.phase === 'Succeeded') {
        if (!wasSucceeded.has(uid)) newSucceeded.push(pod);
      } else if (isJobPodFailed(pod, job) && !this.#wasUncountedFailed.has(uid)) newFailed.push(pod);
    }
    const policy = job.spec?.podFailurePolicy;
    const counting =
      policy === undefined ? newFailed.length : newFailed.filter((p) => failureVerdict(policy, p).counts).length;
    this.#succeeded = (job.status?.succeeded ?? 0) + newSucceeded.length + this.#uncountedSucceeded.length;
    this.#failed = (job.status?.failed ?? 0) + counting + this.#uncountedFailed.length;
    this.backoff = nextBackoff(input.backoff, newSucceeded, newFailed);
    if (this.#status.startTime === undefined && !this.#suspended) this.#status.startTime = formatTime(now);
  }

  get #suspended(): boolean {
    return this.job.spec?.suspend === true;
  }

  /** Carries the finalizer and has not been let go by us. */
  #isTracked(pod: Pod): boolean {
    return hasTrackingFinalizer(pod) && !this.#removing.has(pod.metadata.uid!);
  }

  #isValidIndex(index: number | undefined): index is number {
    return index !== undefined && index < this.#completions;
  }

  #condition(type: string, reason: string, message: string, status = 'True'): JobCondition {
    const time = formatTime(this.now);
    return { type, status, lastProbeTime: time, lastTransitionTime: time, reason, message };
  }

  #hasCondition(type: string): JobCondition | undefined {
    const c = findCondition(this.#status.conditions, type);
    return c?.status === 'True' ? c : undefined;
  }

  /** Has the job failed, or succeeded by its policy? What an earlier look decided stands. */
  decideEnd(): void {
    const { spec } = this.job;
    const target = this.#hasCondition('FailureTarget');
    this.finished = this.#hasCondition('SuccessCriteriaMet');
    if (this.finished === undefined && target !== undefined)
      this.finished = this.#condition('Failed', target.reason ?? '', target.message ?? '');
    if (this.finished === undefined && spec?.podFailurePolicy !== undefined) {
      for (const pod of this.#pods) {
        if (!isJobPodFailed(pod, this.job)) continue;
        const message = failureVerdict(spec.podFailurePolicy, pod).failJob;
        if (message === undefined) continue;
        this.finished = this.#condition('FailureTarget', 'PodFailurePolicy', message);
        break;
      }
    }
    if (this.finished === undefined) {
      const left = this.#activeTimeLeft();
      if (this.#failed > (spec?.backoffLimit ?? 6) || this.#restartedTooOften()) {
        this.finished = this.#condition(
          'FailureTarget',
          'BackoffLimitExceeded',
          'Job has reached the specified backoff limit',
        );
      } else if (left !== undefined && left <= 0) {
        this.finished = this.#condition(
          'FailureTarget',
          'DeadlineExceeded',
          'Job was active longer than specified deadline',
        );
      } else this.activeDeadlineLeft = left;
    }
    if (this.#indexed) this.#decideByIndex();
  }

  #decideByIndex(): void {
    const { job } = this;
    const spec = job.spec;
    this.#previousIndexes = parseIntervals(job.status?.completedIndexes, this.#completions);
    const now: number[] = [];
    for (const pod of this.#pods) {
      const index = completionIndex(pod);
      if (pod.status?.phase === 'Succeeded' && this.#isValidIndex(index) && hasTrackingFinalizer(pod)) now.push(index);
    }
    this.#succeededIndexes = withIndexes(this.#previousIndexes, now);
    this.#succeeded = countIndexes(this.#succeededIndexes);
    if (spec?.backoffLimitPerIndex !== undefined) {
      this.#failedIndexes = this.#findFailedIndexes(spec.backoffLimitPerIndex);
      const failed = countIndexes(this.#failedIndexes);
      if (this.finished === undefined) {
        if (spec.maxFailedIndexes !== undefined && failed > spec.maxFailedIndexes) {
          this.finished = this.#condition(
            'FailureTarget',
            'MaxFailedIndexesExceeded',
            'Job has exceeded the specified maximal number of failed indexes',
          );
        } else if (failed > 0 && failed + this.#succeeded >= this.#completions)
          this.finished = this.#condition('FailureTarget', 'FailedIndexes', 'Job has failed indexes');
      }
      this.#findDelayed();
    }
    if (this.finished === undefined) {
      const message = successPolicyMet(spec?.successPolicy, this.#completions, this.#succeededIndexes);
      if (message !== undefined) this.finished = this.#condition('SuccessCriteriaMet', 'SuccessPolicy', message);
    }
  }

  #findFailedIndexes(limit: number): Intervals {
    const { job } = this;
    const failed: number[] = [];
    for (const pod of this.#pods) {
      const index = completionIndex(pod);
      if (!this.#isValidIndex(index) || !hasTrackingFinalizer(pod) || !isJobPodFailed(pod, job)) continue;
      const verdict = failureVerdict(job.spec?.podFailurePolicy, pod);
      if (verdict.action === 'FailIndex' || (verdict.counts && indexFailures(pod) >= limit)) failed.push(index);
    }
    return withIndexes(parseIntervals(job.status?.failedIndexes, this.#completions), failed);
  }

  /** The last failed pod of an index waits for its successor, which takes over its count of failures. */
  #findDelayed(): void {
    const active = indexesOf(this.active);
    for (const pod of this.#pods) {
      const index = completionIndex(pod);
      if (!this.#isTracked(pod) || !this.#isValidIndex(index) || !isJobPodFailed(pod, this.job)) continue;
      if (hasIndex(this.#succeededIndexes, index) || hasIndex(this.#failedIndexes ?? [], index) || active.has(index))
        continue;
      const last = this.#delayed.get(index);
      if (
        last === undefined ||
        (allIndexFailures(last) <= allIndexFailures(pod) && finishTime(pod) >= finishTime(last))
      ) {
        this.#delayed.set(index, pod);
      }
    }
  }

  #activeTimeLeft(): number | undefined {
    const seconds = this.job.spec?.activeDeadlineSeconds;
    if (seconds === undefined || this.#suspended || this.#status.startTime === undefined) return undefined;
    return seconds * 1000 - (this.now - timeMs(this.#status.startTime));
  }

  /** Containers restarted in place count towards the limit as well. */
  #restartedTooOften(): boolean {
    const { spec } = this.job;
    if (spec?.template?.spec?.restartPolicy !== 'OnFailure') return false;
    let restarts = 0;
    for (const pod of this.#pods) {
      const status = pod.status;
      if (status?.phase !== 'Running' && status?.phase !== 'Pending') continue;
      for (const c of status.initContainerStatuses ?? []) restarts += c.restartCount;
      for (const c of status.containerStatuses ?? []) restarts += c.restartCount;
    }
    const limit = spec.backoffLimit ?? 6;
    return limit === 0 ? restarts > 0 : restarts >= limit;
  }

  /** How many pods should be active now. */
  wantedActive(): number {
    const { spec } = this.job;
    const parallelism = spec?.parallelism ?? 1;
    if (spec?.completions === undefined) return this.#succeeded > 0 ? this.active.length : parallelism;
    return Math.max(0, Math.min(parallelism, spec.completions - this.#succeeded));
  }

  /** Which of `count` pods may be made now, or how long to wait until one may. */
  planCreations(count: number): { count: number; indexes?: readonly number[]; waitMs: number } {
    const perIndex = this.job.spec?.backoffLimitPerIndex !== undefined;
    if (!perIndex) {
      const waitMs = backoffLeft(this.backoff.failures, this.backoff.lastFailure, this.now);
      if (waitMs > 0) return { count: 0, waitMs };
    }
    if (!this.#indexed) return { count, waitMs: 0 };
    const pending = this.#pendingIndexes(count);
    if (!perIndex) return { count: pending.length, indexes: pending, waitMs: 0 };
    const ready: number[] = [];
    let least = Infinity;
    for (const index of pending) {
      const last = this.#delayed.get(index);
      const left = last === undefined ? 0 : backoffLeft(allIndexFailures(last) + 1, finishTime(last), this.now);
      if (left === 0) ready.push(index);
      else least = Math.min(least, left);
    }
    return { count: ready.length, indexes: ready, waitMs: ready.length > 0 || least === Infinity ? 0 : least };
  }

  #pendingIndexes(count: number): number[] {
    let taken = withIndexes(this.#succeededIndexes, indexesOf(this.active));
    if (onlyReplaceFailed(this.job)) taken = withIndexes(taken, indexesOf(this.#pods.filter(isPodTerminating)));
    if (this.#failedIndexes !== undefined) taken = mergeIntervals(taken, this.#failedIndexes);
    const out: number[] = [];
    let candidate = 0;
    for (const { first, last } of [...taken, { first: this.#completions, last: this.#completions }]) {
      for (; candidate < first && candidate < this.#completions && out.length < count; candidate++) out.push(candidate);
      candidate = Math.max(candidate, last + 1);
    }
    return out;
  }

  /** The failed pod whose place a new one of this index takes, where failures are counted by index. */
  replacedBy(index: number): Pod | undefined {
    return this.#delayed.get(index);
  }

  podsCreated(count: number): void {
    this.#activeCount += count;
  }

  podsDeleted(pods: readonly Pod[]): void {
    this.#activeCount -= pods.length;
    this.terminating += pods.length;
    this.#ready -= pods.filter(isPodReady).length;
  }

  /**
   * Has the job completed? Else, when its pods were managed, whether it has just been suspended (true) or resumed (false);
   * undefined when neither.
   */
  concludeCompletions(managed: boolean): boolean | undefined {
    const wanted = this.job.spec?.completions;
    if (this.#activeCount === 0 && (wanted === undefined ? this.#succeeded > 0 : this.#succeeded >= wanted)) {
      this.finished = this.#condition(
        'SuccessCriteriaMet',
        'CompletionsReached',
        'Reached expected number of succeeded pods',
      );
      return undefined;
    }
    if (!managed) return undefined;
    const suspended = this.#suspended;
    const changed = suspended
      ? this.#ensureCondition(this.#condition('Suspended', 'JobSuspended', 'Job suspended'))
      : this.#ensureCondition(this.#condition('Suspended', 'JobResumed', 'Job resumed', 'False'));
    if (!changed) return undefined;
    this.dirty = true;
    // The deadline counts from here.
    if (suspended) delete this.#status.startTime;
    else this.#status.startTime = formatTime(this.now);
    return suspended;
  }

  /** Sets a condition; one that would begin its life as False is not written. */
  #ensureCondition(condition: JobCondition): boolean {
    const list = this.#status.conditions ?? [];
    const at = list.findIndex((c) => c.type === condition.type);
    if (at === -1) {
      if (condition.status === 'False') return false;
      this.#status.conditions = [...list, condition];
      return true;
    }
    const old = list[at]!;
    if (old.status === condition.status && old.reason === condition.reason && old.message === condition.message)
      return false;
    this.#status.conditions = list.with(at, condition);
    return true;
  }

  /** Puts ended pods on the uncounted lists (or completed indexes); returns those whose finalizer may go. */
  countEnded(): Pod[] {
    const { job } = this;
    const before = job.status;
    if (this.#activeCount !== (before?.active ?? 0)) this.dirty = true;
    if (this.#ready !== before?.ready || this.terminating !== before?.terminating) this.dirty = true;
    this.#status.active = this.#activeCount;
    this.#status.ready = this.#ready;
    this.#status.terminating = this.terminating;

    const pods = this.#indexed
      ? this.#pods.toSorted((a, b) => (completionIndex(a) ?? -1) - (completionIndex(b) ?? -1))
      : this.#pods;
    for (const pod of pods) if (this.#isTracked(pod)) this.#tracked.add(pod.metadata.uid!);
    this.countReleased();

    const succeeded = new Set(this.#uncountedSucceeded);
    const failed = new Set(this.#uncountedFailed);
    const newIndexes = new Set<number>();
    const release: Pod[] = [];
    for (const pod of pods) {
      if (!this.#isTracked(pod)) continue;
      const isFailed = isJobPodFailed(pod, job);
      if (!this.#mayRelease(pod, isFailed)) continue;
      release.push(pod);
      const uid = pod.metadata.uid!;
      const index = completionIndex(pod);
      if (pod.status?.phase === 'Succeeded' && !this.#wasUncountedFailed.has(uid)) {
        if (this.#indexed) {
          if (this.#isValidIndex(index) && !hasIndex(this.#previousIndexes, index)) {
            newIndexes.add(index);
            this.dirty = true;
          }
        } else if (!succeeded.has(uid)) {
          this.#uncountedSucceeded.push(uid);
          this.dirty = true;
        }
      } else if (isFailed || (this.finished !== undefined && this.finished.type !== 'SuccessCriteriaMet')) {
        // Whatever is left of a failed job counts as failed.
        const valid = !this.#indexed || this.#isValidIndex(index);
        if (!failed.has(uid) && valid && failureVerdict(job.spec?.podFailurePolicy, pod).counts) {
          this.#uncountedFailed.push(uid);
          this.dirty = true;
        }
      }
      if (newIndexes.size + this.#uncountedSucceeded.length + this.#uncountedFailed.length >= maxUncounted) {
        // The rest comes with the next look, which our own writes bring about.
        this.#more = true;
        break;
      }
    }
    if (this.#indexed) this.#writeIndexes(newIndexes);
    this.#announceTarget();
    return release;
  }

  #writeIndexes(added: ReadonlySet<number>): void {
    const intervals = withIndexes(this.#succeededIndexes, added);
    const text = formatIntervals(intervals);
    if (text !== (this.#status.completedIndexes ?? '')) this.dirty = true;
    this.#status.succeeded = countIndexes(intervals);
    if (text === '') delete this.#status.completedIndexes;
    else this.#status.completedIndexes = text;
    const failed = this.#failedIndexes === undefined ? undefined : formatIntervals(this.#failedIndexes);
    if (failed !== this.#status.failedIndexes) {
      this.dirty = true;
      if (failed === undefined) delete this.#status.failedIndexes;
      else this.#status.failedIndexes = failed;
    }
  }

  /** The interim condition is written before finalizers go; the final one when all is counted. */
  #announceTarget(): void {
    const end = this.finished;
    if (end?.type === 'FailureTarget') {
      this.#status.conditions = [...(this.#status.conditions ?? []), end];
      this.dirty = true;
      this.finished = this.#condition('Failed', end.reason ?? '', end.message ?? '');
    } else if (end?.type === 'SuccessCriteriaMet') {
      if (this.#hasCondition('SuccessCriteriaMet') === undefined) {
        this.#status.conditions = [...(this.#status.conditions ?? []), end];
        this.dirty = true;
      }
      this.finished = this.#condition('Complete', end.reason ?? '', end.message ?? '');
    }
  }

  #mayRelease(pod: Pod, isFailed: boolean): boolean {
    if (this.job.metadata.deletionTimestamp !== undefined || this.finished !== undefined) return true;
    if (pod.status?.phase === 'Succeeded') return true;
    if (!isFailed) return false;
    const index = completionIndex(pod);
    return index === undefined || this.#delayed.get(index)?.metadata.uid !== pod.metadata.uid;
  }

  /** The finalizer of this pod is gone. */
  released(pod: Pod): void {
    this.#tracked.delete(pod.metadata.uid!);
  }

  /** Moves pods without finalizer from the uncounted lists into the counters. */
  countReleased(): void {
    const succeeded = this.#uncountedSucceeded.filter((uid) => this.#tracked.has(uid));
    const failed = this.#uncountedFailed.filter((uid) => this.#tracked.has(uid));
    const moreSucceeded = this.#uncountedSucceeded.length - succeeded.length;
    const moreFailed = this.#uncountedFailed.length - failed.length;
    if (moreSucceeded + moreFailed === 0) return;
    this.dirty = true;
    if (moreSucceeded > 0) this.#status.succeeded = (this.#status.succeeded ?? 0) + moreSucceeded;
    if (moreFailed > 0) this.#status.failed = (this.#status.failed ?? 0) + moreFailed;
    this.#uncountedSucceeded = succeeded;
    this.#uncountedFailed = failed;
  }

  /** Writes the final condition when nothing is left to count or to wait for. */
  enactEnd(): boolean {
    const end = this.finished;
    if (end === undefined || this.#more || this.terminating > 0) return false;
    if (this.#uncountedSucceeded.length + this.#uncountedFailed.length > 0) return false;
    if (this.#ensureCondition(end)) this.dirty = true;
    if (end.type === 'Complete') this.#status.completionTime = end.lastTransitionTime;
    return true;
  }

  /** The status to write now. */
  takeStatus(): JobStatus {
    this.dirty = false;
    const uncountedTerminatedPods = {
      ...(this.#uncountedSucceeded.length === 0 ? {} : { succeeded: [...this.#uncountedSucceeded] }),
      ...(this.#uncountedFailed.length === 0 ? {} : { failed: [...this.#uncountedFailed] }),
    };
    this.#status = { ...this.#status, uncountedTerminatedPods };
    return { ...this.#status };
  }
}

function indexesOf(pods: Iterable<Pod>): Set<number> {
  const out = new Set<number>();
  for (const pod of pods) {
    const index = completionIndex(pod);
    if (index !== undefined) out.add(index);
  }
  return out;
}

/** Failures in a row since the last success, and when the last was. */
function nextBackoff(old: BackoffRecord | undefined, succeeded: readonly Pod[], failed: readonly Pod[]): BackoffRecord {
  const before = old ?? { failures: 0, lastFailure: undefined };
  if (succeeded.length === 0) {
    if (failed.length === 0) return before;
    return { failures: before.failures + failed.length, lastFailure: Math.max(...failed.map(finishTime)) };
  }
  const lastSuccess = Math.max(...succeeded.map(finishTime));
  const later = failed.map(finishTime).filter((t) => t > lastSuccess);
  return later.length === 0
    ? { failures: 0, lastFailure: undefined }
    : { failures: later.length, lastFailure: Math.max(...later) };
}
