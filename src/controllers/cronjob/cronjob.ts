/**
 * The CronJob controller: makes a Job whenever a schedule says so, under the concurrency policy, and clears away old ones. It
 * watches CronJobs and their Jobs. The name of a Job is made from its scheduled time, so that no run is started twice.
 */
import type { CronSchedule } from '../../api/helpers/cron.ts';
import { CronError, parseCron, timeZoneError } from '../../api/helpers/cron.ts';
import {
  controllerOf,
  isControlledBy,
  newControllerRef,
  sameOwnerReference,
} from '../../api/helpers/owner-references.ts';
import type { OwnerReference } from '../../api/object.ts';
import { formatTime, timeMs } from '../../api/time.ts';
import type { CronJob, CronJobStatus, Job, ObjectReference } from '../../api/types/index.gen.ts';
import { Controller } from '../../client/controller.ts';
import { isAlreadyExists, isNamespaceTerminating, isNotFound } from '../../client/errors.ts';
import type { EventRecorder, EventType } from '../../client/event-recorder.ts';
import { objectReference } from '../../client/event-recorder.ts';
import type { Informer } from '../../client/informer.ts';
import { keyOf, splitKey } from '../../client/lister.ts';
import { resources } from '../../client/resources.ts';
import type { TypedClient } from '../../client/typed-client.ts';
import type { ControllerContext, ControllerDescriptor, RunningController } from '../context.ts';
import { isJobFinished, jobEnd } from '../job/finished.ts';
import { LastWritten } from '../util/last-written.ts';
import { dueRun, formatInZone, formatRfc1123, manyMissedStarts, ScheduleError, untilNextRun } from './schedule.ts';

const ref = resources.batch.cronjobs;
const jobRef = resources.batch.jobs;
const scheduledAnnotation = 'batch.kubernetes.io/cronjob-scheduled-timestamp';
const ownerIndex = 'cronjob';

/** A CronJob in work: its status as it is to become. */
interface Work {
  cronJob: CronJob;
  active: ObjectReference[];
  lastScheduleTime: string | undefined;
  lastSuccessfulTime: string | undefined;
  changed: boolean;
}

class CronJobController implements RunningController {
  readonly #c: ControllerContext;
  readonly #cronJobs: Informer<CronJob>;
  readonly #jobs: Informer<Job>;
  readonly #client: TypedClient;
  readonly #recorder: EventRecorder;
  readonly #controller: Controller;
  readonly #written = new LastWritten<CronJob>();

  constructor(context: ControllerContext) {
    this.#c = context;
    this.#client = context.clientFor('cronjob-controller');
    this.#recorder = context.recorder('cronjob-controller', this.#client);
    this.#cronJobs = context.informers.informer(ref);
    this.#jobs = context.informers.informer(jobRef);
    this.#jobs.addIndex(ownerIndex, (job) => {
      const owner = controllerOf(job);
      return owner?.kind === ref.kind ? [owner.uid] : [];
    });
    this.#controller = new Controller({
      queueMetrics: context.queueMetrics,
      name: 'cronjob',
      workers: context.options.concurrency?.['cron-job'],
      clock: context.clock,
      logger: context.logger,
      reconcile: (key) => this.#reconcile(key),
    });
    this.#cronJobs.addHandler({
      onAdd: (cronJob) => this.#controller.queue.add(keyOf(cronJob)),
      onUpdate: (old, cronJob) => this.#updated(old, cronJob),
      onDelete: (cronJob) => this.#written.forget(cronJob.metadata.uid),
    });
    this.#jobs.addHandler({
      onAdd: (job) => this.#wakeOwner(job.metadata.namespace, controllerOf(job)),
      onUpdate: (old, job) => {
        const before = controllerOf(old);
        const owner = controllerOf(job);
        if (!sameOwnerReference(before, owner)) this.#wakeOwner(old.metadata.namespace, before);
        this.#wakeOwner(job.metadata.namespace, owner);
      },
      onDelete: (job) => this.#wakeOwner(job.metadata.namespace, controllerOf(job)),
    });
    this.#controller.start(this.#cronJobs.synced, this.#jobs.synced);
  }

  stop(): Promise<void> {
    return this.#controller.stop();
  }

  #wakeOwner(namespace: string | undefined, owner: OwnerReference | undefined): void {
    if (owner === undefined || owner.kind !== ref.kind) return;
    const cronJob = this.#cronJobs.lister.get(owner.name, namespace);
    if (cronJob?.metadata.uid === owner.uid) this.#controller.queue.add(keyOf(cronJob));
  }

  #updated(old: CronJob, cronJob: CronJob): void {
    if (old.spec.schedule === cronJob.spec.schedule && old.spec.timeZone === cronJob.spec.timeZone) {
      this.#controller.queue.add(keyOf(cronJob));
      return;
    }
    // A new schedule does not make up for what it would have done in the past.
    try {
      const wait = untilNextRun(cronJob, this.#c.clock.now(), readSchedule(cronJob));
      this.#controller.queue.addAfter(keyOf(cronJob), wait);
    } catch (error) {
      if (!(error instanceof CronError)) throw error;
      const message = `unparseable schedule for cronjob: ${cronJob.spec.schedule}`;
      this.#event(cronJob, 'Warning', 'UnParseableCronJobSchedule', message);
    }
  }

  #event(cronJob: CronJob, type: EventType, reason: string, message: string): void {
    this.#recorder.event(ref, cronJob, type, reason, message);
  }

  async #reconcile(key: string): Promise<void> {
    const { namespace, name } = splitKey(key);
    const cached = this.#cronJobs.lister.get(name, namespace);
    if (cached === undefined) return;
    const cronJob = this.#written.newest(cached);
    const work = begin(cronJob);
    const jobs = [...this.#jobs.lister.byIndex(ownerIndex, cronJob.metadata.uid!)];
    await this.#clearHistory(work, jobs);
    let again: number | undefined;
    let failure: unknown;
    try {
      again = await this.#sync(work, jobs);
    } catch (error) {
      failure = error;
    }
    if (work.changed) await this.#writeStatus(work);
    if (failure !== undefined) throw failure;
    if (again !== undefined) this.#controller.queue.addAfter(key, again);
  }

  async #writeStatus(work: Work): Promise<void> {
    const status: CronJobStatus = {
      ...(work.active.length === 0 ? {} : { active: work.active }),
      ...(work.lastScheduleTime === undefined ? {} : { lastScheduleTime: work.lastScheduleTime }),
      ...(work.lastSuccessfulTime === undefined ? {} : { lastSuccessfulTime: work.lastSuccessfulTime }),
    };
    this.#written.wrote(await this.#client.batch.cronjobs.updateStatus({ ...work.cronJob, status }));
  }

  /** Brings the list of active jobs up to date, starts what is due. Returns when to look again, ms. */
  async #sync(work: Work, jobs: readonly Job[]): Promise<number | undefined> {
    const now = this.#c.clock.now();
    await this.#followJobs(work, jobs);
    const { cronJob } = work;
    const { spec } = cronJob;
    if (cronJob.metadata.deletionTimestamp !== undefined) return undefined;
    if (spec.timeZone !== undefined) {
      const wrong = timeZoneError(spec.timeZone);
      if (wrong !== undefined) {
        this.#event(
          cronJob,
          'Warning',
          'UnknownTimeZone',
          `invalid timeZone: ${JSON.stringify(spec.timeZone)}: ${wrong}`,
        );
        return undefined;
      }
    }
    if (spec.suspend === true) return undefined;
    const schedule = this.#schedule(cronJob);
    if (schedule === undefined) return undefined;

    // Judged by the status as it is now, with the runs that have just been written down.
    const current: CronJob = { ...cronJob, status: { ...cronJob.status, lastScheduleTime: work.lastScheduleTime } };
    let due: number | undefined;
    try {
      const run = dueRun(current, now, schedule, true);
      due = run.due;
      if (due !== undefined && run.missed > manyMissedStarts) {
        const message =
          'too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew';
        this.#event(cronJob, 'Warning', 'TooManyMissedTimes', message);
      }
    } catch (error) {
      if (!(error instanceof ScheduleError)) throw error;
      this.#event(cronJob, 'Warning', 'InvalidSchedule', `invalid schedule: ${spec.schedule} : ${error.message}`);
      return undefined;
    }
    const next = untilNextRun(current, now, schedule);
    if (due === undefined) return next;
    if (spec.startingDeadlineSeconds !== undefined && due + spec.startingDeadlineSeconds * 1000 < now) {
      this.#event(cronJob, 'Warning', 'MissSchedule', `Missed scheduled time to start a job: ${formatRfc1123(due)}`);
      return next;
    }
    const name = `${cronJob.metadata.name}-${Math.floor(due / 60_000)}`;
    if (work.active.some((a) => a.name === name) || timeMs(work.lastScheduleTime) === due) return next;
    if (spec.concurrencyPolicy === 'Forbid' && work.active.length > 0) {
      const message = 'Not starting job because prior execution is running and concurrency policy is Forbid';
      this.#event(cronJob, 'Normal', 'JobAlreadyActive', message);
      return next;
    }
    if (spec.concurrencyPolicy === 'Replace') await this.#deleteActive(work);
    return (await this.#start(work, name, due))
      ? untilNextRun({ ...current, status: { lastScheduleTime: work.lastScheduleTime } }, now, schedule)
      : undefined;
  }

  #schedule(cronJob: CronJob): CronSchedule | undefined {
    const text = cronJob.spec.schedule;
    if (text.includes('TZ')) {
      const message = `CRON_TZ or TZ used in schedule ${JSON.stringify(text)} is not officially supported, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details`;
      this.#event(cronJob, 'Warning', 'UnsupportedSchedule', message);
    }
    try {
      return readSchedule(cronJob);
    } catch (error) {
      if (!(error instanceof CronError)) throw error;
      const message = `unparseable schedule: ${JSON.stringify(text)} : ${error.message}`;
      this.#event(cronJob, 'Warning', 'UnparseableSchedule', message);
      return undefined;
    }
  }

  async #followJobs(work: Work, jobs: readonly Job[]): Promise<void> {
    const children = new Set<string>();
    for (const job of jobs) {
      const uid = job.metadata.uid!;
      children.add(uid);
      const listed = work.active.some((a) => a.uid === uid);
      const end = jobEnd(job);
      if (end === undefined) {
        if (listed) continue;
        // Our own status may not have come back yet.
        const { name, namespace } = work.cronJob.metadata;
        const fresh = await this.#client.batch.cronjobs.get(name!, namespace);
        if (fresh.status?.active?.some((a) => a.uid === uid) === true) Object.assign(work, begin(fresh));
        else {
          const message = `Saw a job that the controller did not create or forgot: ${job.metadata.name}`;
          this.#event(work.cronJob, 'Warning', 'UnexpectedJob', message);
        }
        continue;
      }
      if (listed) {
        drop(work, uid);
        const message = `Saw completed job: ${job.metadata.name}, condition: ${end.type}`;
        this.#event(work.cronJob, 'Normal', 'SawCompletedJob', message);
      }
      const completed = job.status?.completionTime;
      if (end.type !== 'Complete' || completed === undefined) continue;
      if (work.lastSuccessfulTime === undefined || timeMs(completed) > timeMs(work.lastSuccessfulTime)) {
        work.lastSuccessfulTime = completed;
        work.changed = true;
      }
    }
    for (const { uid, name, namespace } of work.active) {
      if (children.has(uid ?? '')) continue;
      try {
        await this.#client.batch.jobs.get(name!, namespace);
      } catch (error) {
        if (!isNotFound(error)) throw error;
        this.#event(work.cronJob, 'Normal', 'MissingJob', `Active job went missing: ${name}`);
        drop(work, uid);
      }
    }
  }

  async #deleteActive(work: Work): Promise<void> {
    for (const active of work.active) {
      let job: Job;
      try {
        job = await this.#client.batch.jobs.get(active.name!, active.namespace);
      } catch (error) {
        this.#event(work.cronJob, 'Warning', 'FailedGet', `Get job: ${(error as Error).message}`);
        throw error;
      }
      if (!(await this.#deleteJob(work, job))) throw new Error(`could not replace job ${keyOf(job)}`);
      work.changed = true;
    }
  }

  /** Creates the job of a run. False when somebody else has, who then cares for the status. */
  async #start(work: Work, name: string, due: number): Promise<boolean> {
    const { cronJob } = work;
    const { jobTemplate, timeZone } = cronJob.spec;
    const { namespace } = cronJob.metadata;
    let job: Job;
    try {
      job = await this.#client.batch.jobs.create({
        metadata: {
          name,
          ...(namespace === undefined ? {} : { namespace }),
          ...(jobTemplate.metadata?.labels === undefined ? {} : { labels: jobTemplate.metadata.labels }),
          annotations: { ...jobTemplate.metadata?.annotations, [scheduledAnnotation]: formatInZone(due, timeZone) },
          ownerReferences: [newControllerRef(cronJob, ref)],
        },
        ...(jobTemplate.spec === undefined ? {} : { spec: jobTemplate.spec }),
      });
      this.#c.metrics?.cronJobStarted((timeMs(job.metadata.creationTimestamp!) - due) / 1000);
      this.#event(cronJob, 'Normal', 'SuccessfulCreate', `Created job ${name}`);
    } catch (error) {
      if (!isAlreadyExists(error)) {
        if (!isNamespaceTerminating(error))
          this.#event(cronJob, 'Warning', 'FailedCreate', `Error creating job: ${(error as Error).message}`);
        throw error;
      }
      job = await this.#client.batch.jobs.get(name, namespace);
      if (!isControlledBy(job, cronJob) || work.active.some((a) => a.uid === job.metadata.uid)) return false;
    }
    work.active = [...work.active, objectReference(jobRef, job)];
    work.lastScheduleTime = formatTime(due);
    work.changed = true;
    return true;
  }

  async #clearHistory(work: Work, jobs: readonly Job[]): Promise<void> {
    const { successfulJobsHistoryLimit, failedJobsHistoryLimit } = work.cronJob.spec;
    for (const [type, limit] of [
      ['Complete', successfulJobsHistoryLimit],
      ['Failed', failedJobsHistoryLimit],
    ] as const) {
      if (limit === undefined) continue;
      const ended = jobs.filter((j) => jobEnd(j)?.type === type && j.metadata.deletionTimestamp === undefined);
      for (const job of ended.sort(byStart).slice(0, Math.max(0, ended.length - limit))) {
        if (await this.#deleteJob(work, job)) work.changed ||= !isJobFinished(job);
      }
    }
  }

  async #deleteJob(work: Work, job: Job): Promise<boolean> {
    const { name, namespace } = job.metadata;
    try {
      await this.#client.batch.jobs.delete(name!, namespace, { propagationPolicy: 'Background' });
    } catch (error) {
      if (!isNotFound(error)) {
        this.#event(work.cronJob, 'Warning', 'FailedDelete', `Deleted job: ${(error as Error).message}`);
        return false;
      }
    }
    drop(work, job.metadata.uid);
    this.#event(work.cronJob, 'Normal', 'SuccessfulDelete', `Deleted job ${name}`);
    return true;
  }
}

function begin(cronJob: CronJob): Work {
  return {
    cronJob,
    active: cronJob.status?.active ?? [],
    lastScheduleTime: cronJob.status?.lastScheduleTime,
    lastSuccessfulTime: cronJob.status?.lastSuccessfulTime,
    changed: false,
  };
}

function drop(work: Work, uid: string | undefined): void {
  const active = work.active.filter((a) => a.uid !== uid);
  if (active.length === work.active.length) return;
  work.active = active;
  work.changed = true;
}

/** Those that started first come first; those that never did, last. */
function byStart(a: Job, b: Job): number {
  const x = timeMs(a.status?.startTime);
  const y = timeMs(b.status?.startTime);
  if (Number.isNaN(x) !== Number.isNaN(y)) return Number.isNaN(x) ? 1 : -1;
  return x === y || Number.isNaN(x) ? ((a.metadata.name ?? '') < (b.metadata.name ?? '') ? -1 : 1) : x - y;
}

/** A zone in the schedule itself goes before spec.timeZone. Throws `CronError`. */
function readSchedule(cronJob: CronJob): CronSchedule {
  const { schedule, timeZone } = cronJob.spec;
  const own = schedule.includes('TZ') || timeZone === undefined || timeZoneError(timeZone) !== undefined;
  return parseCron(own ? schedule : `TZ=${timeZone} ${schedule}`);
}

export const cronJobController: ControllerDescriptor = {
  name: 'cronjob-controller',
  aliases: ['cronjob'],
  start: (context) => new CronJobController(context),
};
