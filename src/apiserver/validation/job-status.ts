/**
 * The status of a Job. What is told of a change is refused only where the change made it so: a status that was odd already,
 * or became so by a change of the spec, can still be brought forward.
 */
import type { FeatureGates } from '../../api/features/feature-gates.ts';
import { duplicate, invalid, omitted, required } from '../../api/field-error.ts';
import { semanticEqual } from '../../api/helpers/deep-equal.ts';
import type { Job } from '../../api/types/index.gen.ts';
import { goQuote } from '../../api/codec/json.ts';
import { type Errors, validateNonnegative } from './field.ts';

type Status = NonNullable<Job['status']>;
type Interval = readonly [from: number, to: number];

function interval(text: string, completions: number): Interval | string {
  const parts = text.split('-');
  if (parts.length > 2)
    return `the fragment ${goQuote(text)} violates the requirement that an index interval can have at most two parts separated by '-'`;
  const numbers: number[] = [];
  for (const part of parts) {
    if (!/^\+?\d+$/.test(part)) return `cannot convert string to integer for index: ${goQuote(part)}`;
    const n = Number(part);
    if (n >= completions) return `too large index: ${goQuote(part)}`;
    numbers.push(n);
  }
  const [from = 0, to = from] = numbers;
  if (parts.length > 1 && from >= to) return `non-increasing order, previous: ${from}, current: ${to}`;
  return [from, to];
}

/** What is wrong with indexes such as `1,3-5`. */
function wrongIndexes(text: string, completions: number): string | undefined {
  if (text === '') return undefined;
  let last: number | undefined;
  for (const part of text.split(',')) {
    const found = interval(part, completions);
    if (typeof found === 'string') return found;
    if (last !== undefined && last >= found[0]) return `non-increasing order, previous: ${last}, current: ${found[0]}`;
    last = found[1];
  }
  return undefined;
}

/** The first index that is in both; what cannot be read is told elsewhere. */
function overlap(a: string, b: string, completions: number): number | undefined {
  const read = (text: string): Interval[] =>
    text === ''
      ? []
      : text.split(',').flatMap((part) => {
          const found = interval(part, completions);
          return typeof found === 'string' ? [] : [found];
        });
  const [left, right] = [read(a), read(b)];
  for (let i = 0, j = 0; i < left.length && j < right.length;) {
    const [x, y] = [left[i]!, right[j]!];
    if (x[0] <= y[1] && y[0] <= x[1]) return Math.max(x[0], y[0]);
    if (x[0] <= y[0]) i++;
    else j++;
  }
  return undefined;
}

function uncounted(status: Status): Errors {
  const errors: Errors = [];
  const seen = new Set<string>();
  for (const list of ['succeeded', 'failed'] as const)
    (status.uncountedTerminatedPods?.[list] ?? []).forEach((uid, i) => {
      const field = `status.uncountedTerminatedPods.${list}[${i}]`;
      if (uid === '') errors.push(invalid(field, uid, 'must not be empty'));
      else if (seen.has(uid)) errors.push(duplicate(field, uid));
      seen.add(uid);
    });
  return errors;
}

const at = 'status.conditions';

/** What never holds of a status, whatever it was before. */
function always(job: Job, is: (type: string) => boolean, extended: boolean): Errors {
  const errors: Errors = [];
  const { spec } = job;
  const met = is('SuccessCriteriaMet');
  const no = (why: string): void => void errors.push(invalid(at, omitted, why));
  if (!extended && met && spec?.completionMode !== 'Indexed') no('cannot set SuccessCriteriaMet to NonIndexed Job');
  if (met && is('Failed')) no('cannot set SuccessCriteriaMet=True and Failed=true conditions');
  if (met && is('FailureTarget')) no('cannot set SuccessCriteriaMet=True and FailureTarget=true conditions');
  if (!extended && met && spec?.successPolicy === undefined)
    no('cannot set SuccessCriteriaMet=True for Job without SuccessPolicy');
  if (spec?.successPolicy !== undefined && !met && is('Complete'))
    no('cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True');
  return errors;
}

export function validateJobStatusUpdate(job: Job, old: Job, features: FeatureGates): Errors {
  const errors: Errors = [];
  const status = job.status ?? {};
  const before = old.status ?? {};
  for (const n of ['active', 'succeeded', 'failed', 'ready', 'terminating'] as const)
    errors.push(...validateNonnegative(status[n], `status.${n}`));
  errors.push(...uncounted(status));
  const state = (s: Status, type: string, value: string): boolean =>
    s.conditions?.some((c) => c.type === type && c.status === value) ?? false;
  const is = (type: string): boolean => state(status, type, 'True');
  const was = (type: string): boolean => state(before, type, 'True');
  const managed = features.enabled('JobManagedBy');
  const extended = managed || features.enabled('JobPodReplacementPolicy') || was('SuccessCriteriaMet');
  if (managed) errors.push(...transition(job, old, status, before, is, was));
  errors.push(...always(job, is, extended));
  if (managed) {
    for (const type of ['Failed', 'Complete', 'FailureTarget'])
      if (was(type) && !is(type))
        errors.push(invalid(at, omitted, `cannot disable the terminal ${type}=True condition`));
    const { spec } = job;
    const elastic = spec?.completionMode === 'Indexed' && spec.completions === spec.parallelism;
    if ((status.failed ?? 0) < (before.failed ?? 0))
      errors.push(invalid('status.failed', status.failed ?? 0, 'cannot decrease the failed counter'));
    if (!elastic && (status.succeeded ?? 0) < (before.succeeded ?? 0))
      errors.push(invalid('status.succeeded', status.succeeded ?? 0, 'cannot decrease the succeeded counter'));
    const { completionTime, startTime } = status;
    if (completionTime !== undefined && before.completionTime !== undefined && completionTime !== before.completionTime)
      errors.push(invalid('status.completionTime', completionTime, 'field is immutable'));
    const resumed = was('Suspended') && state(status, 'Suspended', 'False');
    if (!resumed && before.startTime !== undefined && startTime !== before.startTime && spec?.suspend !== true)
      errors.push(invalid('status.startTime', startTime, 'field is immutable for unsuspended job once set'));
  }
  if (was('SuccessCriteriaMet') && !is('SuccessCriteriaMet'))
    errors.push(invalid(at, omitted, 'cannot disable the SuccessCriteriaMet=True condition'));
  if (was('Complete') && !was('SuccessCriteriaMet') && is('SuccessCriteriaMet'))
    errors.push(
      invalid(at, omitted, 'cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions'),
    );
  return errors;
}

function transition(
  job: Job,
  old: Job,
  status: Status,
  before: Status,
  is: (type: string) => boolean,
  was: (type: string) => boolean,
): Errors {
  const errors: Errors = [];
  const complete = is('Complete');
  const failed = is('Failed');
  const finished = complete || failed;
  const changed = (type: string): boolean => is(type) !== was(type);
  const differs = (member: keyof Status): boolean => !semanticEqual(status[member], before[member]);
  const end = finished !== (was('Complete') || was('Failed'));
  const completeChanged = changed('Complete');
  const failedChanged = changed('Failed');
  const { completionTime, startTime, completedIndexes = '', failedIndexes } = status;
  if ((completeChanged || failedChanged) && complete && failed)
    errors.push(invalid(at, omitted, 'cannot set Complete=True and Failed=true conditions'));
  if ((completeChanged || changed('FailureTarget')) && complete && is('FailureTarget'))
    errors.push(invalid(at, omitted, 'cannot set Complete=True and FailureTarget=true conditions'));
  if (completeChanged || differs('completionTime')) {
    const field = 'status.completionTime';
    if (completionTime !== undefined && !complete)
      errors.push(invalid(field, completionTime, 'cannot set completionTime when there is no Complete=True condition'));
    if (completionTime === undefined && complete)
      errors.push(required(field, 'completionTime is required for Complete jobs'));
  }
  if ((differs('startTime') || differs('completionTime')) && startTime !== undefined && completionTime !== undefined)
    if (completionTime < startTime)
      errors.push(invalid('status.completionTime', completionTime, 'must be equal to or after `startTime`'));
  if ((failedChanged || differs('failedIndexes')) && failed && !is('FailureTarget'))
    errors.push(invalid(at, omitted, 'cannot set Failed=True condition without the FailureTarget=true condition'));
  if ((completeChanged || changed('SuccessCriteriaMet')) && complete && !is('SuccessCriteriaMet'))
    errors.push(
      invalid(at, omitted, 'cannot set Complete=True condition without the SuccessCriteriaMet=true condition'),
    );
  if ((end || (status.active ?? 0) !== (before.active ?? 0)) && finished && (status.active ?? 0) > 0)
    errors.push(invalid('status.active', status.active, 'active>0 is invalid for finished job'));
  const neverStarts = job.spec?.suspend === true && job.spec.completions === 0;
  if ((end || differs('startTime')) && !neverStarts && finished && startTime === undefined)
    errors.push(required('status.startTime', 'startTime is required for finished job'));
  const u = status.uncountedTerminatedPods;
  if ((end || differs('uncountedTerminatedPods')) && finished && u !== undefined)
    if ((u.failed ?? []).length + (u.succeeded ?? []).length > 0)
      errors.push(invalid('status.uncountedTerminatedPods', u, 'must be empty for finished job'));
  errors.push(...indexes(job, old, completedIndexes, failedIndexes));
  if ((end || differs('terminating')) && finished && (status.terminating ?? 0) > 0)
    errors.push(invalid('status.terminating', status.terminating, 'terminating>0 is invalid for finished job'));
  if (differs('ready') || (status.active ?? 0) !== (before.active ?? 0))
    if ((status.ready ?? 0) > (status.active ?? 0))
      errors.push(invalid('status.ready', status.ready, 'cannot set more ready pods than active'));
  return errors;
}

function indexes(job: Job, old: Job, completed: string, failed: string | undefined): Errors {
  const errors: Errors = [];
  const { completions, backoffLimitPerIndex, completionMode } = job.spec ?? {};
  const completedChanged = completed !== (old.status?.completedIndexes ?? '');
  const failedChanged = failed !== old.status?.failedIndexes;
  if (completedChanged && completions !== undefined) {
    const wrong = wrongIndexes(completed, completions);
    if (wrong !== undefined)
      errors.push(invalid('status.completedIndexes', completed, `error parsing completedIndexes: ${wrong}`));
  }
  if (failedChanged && completions !== undefined && backoffLimitPerIndex !== undefined && failed !== undefined) {
    const wrong = wrongIndexes(failed, completions);
    if (wrong !== undefined)
      errors.push(invalid('status.failedIndexes', failed, `error parsing failedIndexes: ${wrong}`));
  }
  if (completedChanged && completed !== '' && completionMode !== 'Indexed') {
    const why = 'cannot set non-empty completedIndexes when non-indexed completion mode';
    errors.push(invalid('status.completedIndexes', completed, why));
  }
  if (failedChanged && failed !== undefined && backoffLimitPerIndex === undefined) {
    const why = 'cannot set non-null failedIndexes when backoffLimitPerIndex is null';
    errors.push(invalid('status.failedIndexes', failed, why));
  }
  if ((completedChanged || failedChanged) && completions !== undefined && failed !== undefined) {
    const index = overlap(completed, failed, completions);
    if (index !== undefined)
      errors.push(
        invalid('status.failedIndexes', failed, `failedIndexes and completedIndexes overlap at index: ${index}`),
      );
  }
  return errors;
}
