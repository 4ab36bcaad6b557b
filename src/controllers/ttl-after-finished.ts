/** The TTL-after-finished controller: deletes Jobs, with their pods, some time after they ended (`ttlSecondsAfterFinished`). */
import type { Job } from '../api/types/index.gen.ts';
import type { ResourceClient } from '../client/client.ts';
import { Controller } from '../client/controller.ts';
import { isNotFound } from '../client/errors.ts';
import type { Informer } from '../client/informer.ts';
import { keyOf, splitKey } from '../client/lister.ts';
import { resources } from '../client/resources.ts';
import type { ControllerContext, ControllerDescriptor, RunningController } from './context.ts';
import { isJobFinished, jobFinishTime } from './job/finished.ts';

class TtlAfterFinishedController implements RunningController {
  readonly #c: ControllerContext;
  readonly #jobs: Informer<Job>;
  readonly #client: ResourceClient<Job>;
  readonly #controller: Controller;

  constructor(context: ControllerContext) {
    this.#c = context;
    this.#client = context.clientFor('ttl-after-finished-controller').batch.jobs;
    this.#jobs = context.informers.informer(resources.batch.jobs);
    this.#controller = new Controller({
      queueMetrics: context.queueMetrics,
      name: 'ttl_jobs_to_delete',
      workers: context.options.concurrency?.['ttl-after-finished'],
      clock: context.clock,
      logger: context.logger,
      reconcile: (key) => this.#reconcile(key),
    });
    const wake = (job: Job): void => {
      if (needsCleanup(job)) this.#controller.queue.add(keyOf(job));
    };
    this.#jobs.addHandler({ onAdd: wake, onUpdate: (_, job) => wake(job) });
    this.#controller.start(this.#jobs.synced);
  }

  stop(): Promise<void> {
    return this.#controller.stop();
  }

  async #reconcile(key: string): Promise<void> {
    const { namespace, name } = splitKey(key);
    const cached = this.#jobs.lister.get(name, namespace);
    if (cached === undefined || !this.#expired(key, cached)) return;
    try {
      // The cache may be behind: somebody may have given the job more time.
      const job = await this.#client.get(name, namespace);
      if (!this.#expired(key, job)) return;
      await this.#client.delete(name, namespace, {
        propagationPolicy: 'Foreground',
        preconditions: { uid: job.metadata.uid! },
      });
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }

  /** A job whose time has not come is looked at again then. */
  #expired(key: string, job: Job): boolean {
    if (!needsCleanup(job)) return false;
    const end = jobFinishTime(job);
    if (Number.isNaN(end)) throw new Error(`unable to find the time when the Job ${key} finished`);
    const left = end + (job.spec?.ttlSecondsAfterFinished ?? 0) * 1000 - this.#c.clock.now();
    if (left <= 0) return true;
    this.#controller.queue.addAfter(key, left);
    return false;
  }
}

function needsCleanup(job: Job): boolean {
  return (
    job.metadata.deletionTimestamp === undefined &&
    job.spec?.ttlSecondsAfterFinished !== undefined &&
    isJobFinished(job)
  );
}

export const ttlAfterFinishedController: ControllerDescriptor = {
  name: 'ttl-after-finished-controller',
  aliases: ['ttl-after-finished'],
  start: (context) => new TtlAfterFinishedController(context),
};
