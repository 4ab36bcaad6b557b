/** Whether a Job has ended, how, and when. */
import { timeMs } from '../../api/time.ts';
import type { Job, JobCondition } from '../../api/types/index.gen.ts';

/** The Complete or Failed condition that is True. */
export function jobEnd(job: Job): JobCondition | undefined {
  return job.status?.conditions?.find((c) => (c.type === 'Complete' || c.type === 'Failed') && c.status === 'True');
}

export const isJobFinished = (job: Job): boolean => jobEnd(job) !== undefined;

/** When a finished job ended, ms; NaN when it has not or does not say. */
export function jobFinishTime(job: Job): number {
  return timeMs(jobEnd(job)?.lastTransitionTime);
}
