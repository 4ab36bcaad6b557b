/** Jobs and CronJobs (pkg/apis/batch/validation). The schedule's grammar is upstream's cron: five fields, @every and names. */
import type { FeatureGates } from '../../api/features/feature-gates.ts';
import { duplicate, invalid, notSupported, omitted, required, tooLong, tooMany } from '../../api/field-error.ts';
import { isDNS1123Label, isQualifiedName } from '../../api/names.ts';
import { validateLabelSelector } from '../../api/selector.ts';
import type {
  Container,
  CronJob,
  Job,
  JobSpec,
  PodFailurePolicyRule,
  PodSpec,
  PodTemplateSpec,
} from '../../api/types/index.gen.ts';
import { cronScheduleError, timeZoneError } from '../../api/helpers/cron.ts';
import { internalForm } from './internal-form.ts';
import { validatePodTemplate } from './pod.ts';
import { type Errors, compiledSelector, invalidEach, validateImmutable, validateNonnegative } from './field.ts';

const actions = ['Count', 'FailIndex', 'FailJob', 'Ignore'];
const statuses = ['False', 'True', 'Unknown'];

function failureRule(
  spec: JobSpec,
  rule: PodFailurePolicyRule,
  containers: ReadonlySet<string>,
  field: string,
): Errors {
  const errors: Errors = [];
  const quoted = (list: readonly string[]): string => `valid values: [${list.map((v) => JSON.stringify(v)).join(' ')}]`;
  if (!rule.action) errors.push(required(`${field}.action`, quoted(actions)));
  else if (rule.action === 'FailIndex') {
    if (spec.backoffLimitPerIndex === undefined)
      errors.push(invalid(`${field}.action`, rule.action, 'requires the backoffLimitPerIndex to be set'));
  } else if (!actions.includes(rule.action)) errors.push(notSupported(`${field}.action`, rule.action, actions));
  const codes = rule.onExitCodes;
  const conditions = rule.onPodConditions ?? [];
  if (codes !== undefined) {
    const at = `${field}.onExitCodes`;
    if (!codes.operator) errors.push(required(`${at}.operator`, quoted(['In', 'NotIn'])));
    else if (!['In', 'NotIn'].includes(codes.operator))
      errors.push(notSupported(`${at}.operator`, codes.operator, ['In', 'NotIn']));
    if (codes.containerName !== undefined && !containers.has(codes.containerName))
      errors.push(
        invalid(
          `${at}.containerName`,
          codes.containerName,
          'must be one of the container or initContainer names in the pod template',
        ),
      );
    const values = codes.values ?? [];
    if (values.length === 0) errors.push(invalid(`${at}.values`, values, 'at least one value is required'));
    else if (values.length > 255) errors.push(tooMany(`${at}.values`, values.length, 255));
    const seen = new Set<number>();
    let sorted = true;
    values.forEach((v, i) => {
      if (codes.operator === 'In' && v === 0)
        errors.push(invalid(`${at}.values[${i}]`, v, 'must not be 0 for the In operator'));
      if (seen.has(v)) errors.push(duplicate(`${at}.values[${i}]`, v));
      seen.add(v);
      if (i > 0 && v < values[i - 1]!) sorted = false;
    });
    if (!sorted) errors.push(invalid(`${at}.values`, values, 'must be ordered'));
  }
  if (conditions.length > 20) errors.push(tooMany(`${field}.onPodConditions`, conditions.length, 20));
  conditions.forEach((c, i) => {
    const at = `${field}.onPodConditions[${i}]`;
    errors.push(...invalidEach(`${at}.type`, c.type, isQualifiedName(c.type)));
    if (!c.status) errors.push(required(`${at}.status`, quoted(statuses)));
    else if (!statuses.includes(c.status)) errors.push(notSupported(`${at}.status`, c.status, statuses));
  });
  if (codes !== undefined && conditions.length > 0)
    errors.push(invalid(field, omitted, 'specifying both OnExitCodes and OnPodConditions is not supported'));
  if (codes === undefined && conditions.length === 0)
    errors.push(invalid(field, omitted, 'specifying one of OnExitCodes and OnPodConditions is required'));
  return errors;
}

function successPolicy(spec: JobSpec, field: string): Errors {
  const errors: Errors = [];
  const rules = spec.successPolicy!.rules ?? [];
  if (rules.length === 0)
    errors.push(required(`${field}.rules`, 'at least one rules must be specified when the successPolicy is specified'));
  if (rules.length > 20) errors.push(tooMany(`${field}.rules`, rules.length, 20));
  rules.forEach((r, i) => {
    const at = `${field}.rules[${i}]`;
    if (r.succeededCount === undefined && r.succeededIndexes === undefined)
      errors.push(required(at, 'at least one of succeededCount or succeededIndexes must be specified'));
    let total: number | undefined;
    if (r.succeededIndexes !== undefined) {
      const parsed = indexes(r.succeededIndexes, spec.completions ?? 0);
      if (typeof parsed === 'string')
        errors.push(invalid(`${at}.succeededIndexes`, r.succeededIndexes, `error parsing succeededIndexes: ${parsed}`));
      else total = parsed;
    }
    if (r.succeededCount !== undefined) {
      errors.push(...validateNonnegative(r.succeededCount, `${at}.succeededCount`));
      if (r.succeededCount > (spec.completions ?? 0))
        errors.push(
          invalid(
            `${at}.succeededCount`,
            r.succeededCount,
            `must be less than or equal to ${spec.completions ?? 0} (the number of specified completions)`,
          ),
        );
      if (total !== undefined && r.succeededCount > total)
        errors.push(
          invalid(
            `${at}.succeededCount`,
            r.succeededCount,
            `must be less than or equal to ${total} (the number of indexes in the specified succeededIndexes field)`,
          ),
        );
    }
  });
  return errors;
}

/** How many indexes `1,3-5` names, or what is wrong with it. */
function indexes(text: string, completions: number): number | string {
  if (text === '') return 0;
  let total = 0;
  let last = -1;
  for (const part of text.split(',')) {
    const m = /^(\d+)(?:-(\d+))?$/.exec(part);
    if (m === null) return `cannot convert string to integer for index: "${part}"`;
    const low = Number(m[1]);
    const high = m[2] === undefined ? low : Number(m[2]);
    if (low <= last) return `non-increasing order, previous: ${last}, current: ${low}`;
    if (high < low || (m[2] !== undefined && high === low))
      return `non-increasing order, previous: ${low}, current: ${high}`;
    if (high >= completions) return `too large index: "${high}"`;
    total += high - low + 1;
    last = high;
  }
  return total;
}

function jobRules(spec: JobSpec, field: string): Errors {
  const errors: Errors = [];
  for (const n of [
    'parallelism',
    'completions',
    'activeDeadlineSeconds',
    'backoffLimit',
    'ttlSecondsAfterFinished',
    'backoffLimitPerIndex',
    'maxFailedIndexes',
  ] as const)
    errors.push(...validateNonnegative(spec[n], `${field}.${n}`));
  if (spec.maxFailedIndexes !== undefined && spec.backoffLimitPerIndex === undefined)
    errors.push(required(`${field}.backoffLimitPerIndex`, 'when maxFailedIndexes is specified'));
  if (spec.managedBy !== undefined) {
    if (spec.managedBy === '') errors.push(required(`${field}.managedBy`));
    else if (!/^[^/]+\/.+$/.test(spec.managedBy))
      errors.push(
        invalid(`${field}.managedBy`, spec.managedBy, 'must be a domain-prefixed path (such as "acme.io/foo")'),
      );
    if (spec.managedBy.length > 63) errors.push(tooLong(`${field}.managedBy`, 63));
  }
  const mode = spec.completionMode ?? 'NonIndexed';
  if (mode !== 'NonIndexed' && mode !== 'Indexed')
    errors.push(notSupported(`${field}.completionMode`, mode, ['NonIndexed', 'Indexed']));
  if (mode === 'Indexed') {
    const { completions, parallelism, maxFailedIndexes } = spec;
    if (completions === undefined) errors.push(required(`${field}.completions`, 'when completion mode is Indexed'));
    if (parallelism !== undefined && parallelism > 100_000)
      errors.push(
        invalid(
          `${field}.parallelism`,
          parallelism,
          'must be less than or equal to 100000 when completion mode is Indexed',
        ),
      );
    if (completions !== undefined && maxFailedIndexes !== undefined && maxFailedIndexes > completions)
      errors.push(invalid(`${field}.maxFailedIndexes`, maxFailedIndexes, 'must be less than or equal to completions'));
    if (maxFailedIndexes !== undefined && maxFailedIndexes > 100_000)
      errors.push(invalid(`${field}.maxFailedIndexes`, maxFailedIndexes, 'must be less than or equal to 100000'));
    if (completions !== undefined && completions > 100_000 && spec.backoffLimitPerIndex !== undefined) {
      const high =
        'must be less than or equal to 10000 when completions are above 100000 and used with backoff limit per index';
      if (maxFailedIndexes === undefined)
        errors.push(required(`${field}.maxFailedIndexes`, 'must be specified when completions is above 100000'));
      if (parallelism !== undefined && parallelism > 10_000)
        errors.push(invalid(`${field}.parallelism`, parallelism, high));
      if (maxFailedIndexes !== undefined && maxFailedIndexes > 10_000)
        errors.push(invalid(`${field}.maxFailedIndexes`, maxFailedIndexes, high));
    }
  } else
    for (const n of ['backoffLimitPerIndex', 'maxFailedIndexes'] as const)
      if (spec[n] !== undefined) errors.push(invalid(`${field}.${n}`, spec[n], 'requires indexed completion mode'));
  const t = spec.template?.spec;
  if (spec.podFailurePolicy !== undefined) {
    const rules = spec.podFailurePolicy.rules ?? [];
    if (rules.length > 20) errors.push(tooMany(`${field}.podFailurePolicy.rules`, rules.length, 20));
    const names = new Set([...(t?.containers ?? []), ...(t?.initContainers ?? [])].map((c) => c.name));
    rules.forEach((r, i) => errors.push(...failureRule(spec, r, names, `${field}.podFailurePolicy.rules[${i}]`)));
  }
  if (spec.successPolicy !== undefined) {
    if (mode !== 'Indexed')
      errors.push(
        invalid(
          `${field}.successPolicy`,
          internalForm('*batch.SuccessPolicy', spec.successPolicy),
          'requires indexed completion mode',
        ),
      );
    else errors.push(...successPolicy(spec, `${field}.successPolicy`));
  }
  const replacement = spec.podReplacementPolicy;
  if (replacement !== undefined) {
    const allowed = spec.podFailurePolicy === undefined ? ['Failed', 'TerminatingOrFailed'] : ['Failed'];
    if (!allowed.includes(replacement))
      errors.push(notSupported(`${field}.podReplacementPolicy`, replacement, allowed));
  }
  errors.push(...validatePodTemplate(spec.template ?? { spec: { containers: [] } }, `${field}.template`));
  const restart = t?.restartPolicy ?? '';
  const at = `${field}.template.spec.restartPolicy`;
  if (restart === 'Always' || restart === '') errors.push(required(at, 'valid values: "OnFailure", "Never"'));
  else if (restart !== 'OnFailure' && restart !== 'Never')
    errors.push(notSupported(at, restart, ['OnFailure', 'Never']));
  else if (spec.podFailurePolicy !== undefined && restart !== 'Never')
    errors.push(invalid(at, restart, 'only "Never" is supported when podFailurePolicy is specified'));
  return errors;
}

function jobSpec(spec: JobSpec, field: string): Errors {
  const errors = jobRules(spec, field);
  if (spec.selector === undefined) errors.push(required(`${field}.selector`));
  else errors.push(...validateLabelSelector(spec.selector, `${field}.selector`));
  // No selector selects nothing.
  const labels = spec.template?.metadata?.labels;
  const matches = spec.selector === undefined ? false : compiledSelector(spec.selector)?.matches(labels);
  if (matches === false) {
    const at = `${field}.template.metadata.labels`;
    errors.push(invalid(at, labels ?? null, '`selector` does not match template `labels`'));
  }
  return errors;
}

const noJob = { template: { spec: { containers: [] } } } as JobSpec;

function generatedSelector(job: Job): Errors {
  const spec = job.spec ?? noJob;
  if (spec.manualSelector === true || spec.selector === undefined) return [];
  const errors: Errors = [];
  const uid = job.metadata.uid ?? '';
  const name = job.metadata.name ?? '';
  if (uid === '') errors.push(required('metadata.uid'));
  const expected: Record<string, string> = {
    'batch.kubernetes.io/controller-uid': uid,
    'batch.kubernetes.io/job-name': name,
    'controller-uid': uid,
    'job-name': name,
  };
  const labels = spec.template?.metadata?.labels ?? {};
  for (const key of [
    'controller-uid',
    'job-name',
    'batch.kubernetes.io/controller-uid',
    'batch.kubernetes.io/job-name',
  ]) {
    const at = `spec.template.metadata.labels[${key}]`;
    if (labels[key] === undefined) errors.push(required(at, `must be '${expected[key]}'`));
    else if (labels[key] !== expected[key]) errors.push(invalid(at, labels, `must be '${expected[key]}'`));
  }
  if (compiledSelector(spec.selector)?.matches(expected) === false)
    errors.push(
      invalid('spec.selector', internalForm('LabelSelector', spec.selector), '`selector` not auto-generated'),
    );
  return errors;
}

export function validateJob(job: Job): Errors {
  const spec = job.spec ?? noJob;
  const errors = [...generatedSelector(job), ...jobSpec(spec, 'spec')];
  if (spec.completionMode === 'Indexed' && (spec.completions ?? 0) > 0) {
    const host = `${job.metadata.name}-${spec.completions! - 1}`;
    if (isDNS1123Label(host).length > 0)
      errors.push(
        invalid('metadata.name', job.metadata.name, `will not able to create pod with invalid DNS label: ${host}`),
      );
  }
  return errors;
}

function completions(spec: JobSpec, old: JobSpec): Errors {
  if (spec.completions === old.completions) return [];
  if (spec.completionMode !== 'Indexed')
    return validateImmutable(spec.completions, old.completions, 'spec.completions');
  if (
    old.completions === undefined ||
    spec.completions === undefined ||
    spec.completions !== spec.parallelism ||
    old.completions !== old.parallelism
  )
    return [
      invalid('spec.completions', spec.completions ?? null, 'can only be modified in tandem with spec.parallelism'),
    ];
  return [];
}

/** Containers with the resources of those of the same name in the same place. */
function withResources(old: Container[] | undefined, now: readonly Container[] | undefined): Container[] | undefined {
  if (old === undefined || old.length !== (now ?? []).length) return old;
  return old.map((c, i) => (now![i]!.name === c.name ? { ...c, resources: now![i]!.resources } : c));
}

/** The old template with what says where its pods go (KEP-2926) as it is now. */
function redirected(before: PodTemplateSpec, now: PodTemplateSpec): PodTemplateSpec {
  const { nodeAffinity: _, ...others } = before.spec?.affinity ?? {};
  const nodeAffinity = now.spec?.affinity?.nodeAffinity;
  const affinity = { ...others, ...(nodeAffinity === undefined ? {} : { nodeAffinity }) };
  const none = Object.keys(affinity).length === 0 && now.spec?.affinity === undefined;
  return {
    ...before,
    metadata: { ...before.metadata, annotations: now.metadata?.annotations, labels: now.metadata?.labels },
    spec: {
      ...before.spec!,
      affinity: none ? undefined : affinity,
      nodeSelector: now.spec?.nodeSelector,
      tolerations: now.spec?.tolerations,
      schedulingGates: now.spec?.schedulingGates,
    },
  };
}

/** The template of a suspended job without pods may still change where its pods go, and what they ask for (KEP-5440). */
function templateUpdate(job: Job, old: Job, features: FeatureGates): Errors {
  const was = old.spec!;
  const { status } = old;
  const suspended = was.suspend === true;
  const started = status?.startTime !== undefined;
  const told = status?.conditions?.some((c) => c.type === 'Suspended' && c.status === 'True') === true;
  const open = suspended && (!started || told) && (status?.active ?? 0) === 0;
  const directions = features.enabled('MutableSchedulingDirectivesForSuspendedJobs') ? open : suspended && !started;
  const resources = open && features.enabled('MutablePodResourcesForSuspendedJobs');
  const now = job.spec!.template;
  const before = directions ? redirected(was.template, now) : was.template;
  if (!resources) return validateImmutable(now, before, 'spec.template', 'core.PodTemplateSpec');
  const allowed: PodSpec = {
    ...before.spec!,
    containers: withResources(before.spec!.containers, now.spec?.containers)!,
    initContainers: withResources(before.spec!.initContainers, now.spec?.initContainers),
  };
  return validateImmutable(now.spec, allowed, 'spec.template.spec', 'core.PodSpec');
}

export function validateJobUpdate(job: Job, old: Job, features: FeatureGates): Errors {
  const spec = job.spec!;
  const was = old.spec!;
  return [
    ...jobSpec(spec, 'spec'),
    ...completions(spec, was),
    ...validateImmutable(spec.selector, was.selector, 'spec.selector', '*LabelSelector'),
    ...templateUpdate(job, old, features),
    ...validateImmutable(spec.completionMode, was.completionMode, 'spec.completionMode'),
    ...validateImmutable(
      spec.podFailurePolicy,
      was.podFailurePolicy,
      'spec.podFailurePolicy',
      '*batch.PodFailurePolicy',
    ),
    ...validateImmutable(spec.backoffLimitPerIndex, was.backoffLimitPerIndex, 'spec.backoffLimitPerIndex'),
    ...validateImmutable(spec.managedBy, was.managedBy, 'spec.managedBy'),
    ...validateImmutable(spec.successPolicy, was.successPolicy, 'spec.successPolicy', '*batch.SuccessPolicy'),
  ];
}

function cronJobSpec(job: CronJob, old: CronJob | undefined): Errors {
  const spec = job.spec;
  const errors: Errors = [];
  const schedule = spec?.schedule ?? '';
  if (schedule === '') errors.push(required('spec.schedule'));
  else {
    const wrong = cronScheduleError(schedule);
    if (wrong !== undefined) errors.push(invalid('spec.schedule', schedule, wrong));
    if (schedule.includes('TZ') && !(old?.spec?.schedule ?? '').includes('TZ'))
      errors.push(
        invalid('spec.schedule', schedule, 'cannot use TZ or CRON_TZ in schedule, use timeZone field instead'),
      );
  }
  errors.push(...validateNonnegative(spec?.startingDeadlineSeconds, 'spec.startingDeadlineSeconds'));
  const zone = spec?.timeZone;
  if (zone !== undefined && zone !== old?.spec?.timeZone) {
    const wrong = timeZoneError(zone);
    if (wrong !== undefined) errors.push(invalid('spec.timeZone', zone, wrong));
  }
  const policy = spec?.concurrencyPolicy ?? '';
  if (policy === '') errors.push(required('spec.concurrencyPolicy'));
  else if (!['Allow', 'Forbid', 'Replace'].includes(policy))
    errors.push(notSupported('spec.concurrencyPolicy', policy, ['Allow', 'Forbid', 'Replace']));
  const template = spec?.jobTemplate?.spec ?? noJob;
  errors.push(...jobRules(template, 'spec.jobTemplate.spec'));
  const selector = template.selector ?? undefined;
  if (selector !== undefined)
    errors.push(
      invalid(
        'spec.jobTemplate.spec.selector',
        internalForm('LabelSelector', selector),
        '`selector` will be auto-generated',
      ),
    );
  if (template.manualSelector === true)
    errors.push(notSupported('spec.jobTemplate.spec.manualSelector', true, ['nil', 'false']));
  errors.push(
    ...validateNonnegative(spec?.successfulJobsHistoryLimit, 'spec.successfulJobsHistoryLimit'),
    ...validateNonnegative(spec?.failedJobsHistoryLimit, 'spec.failedJobsHistoryLimit'),
  );
  return errors;
}

export function validateCronJob(job: CronJob): Errors {
  const errors = cronJobSpec(job, undefined);
  if ((job.metadata.name ?? '').length > 52)
    errors.push(invalid('metadata.name', job.metadata.name, 'must be no more than 52 characters'));
  return errors;
}

export function validateCronJobUpdate(job: CronJob, old: CronJob): Errors {
  return cronJobSpec(job, old);
}
