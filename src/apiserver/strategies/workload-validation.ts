/** The validations and warnings of workload kinds as the strategies call them, over objects of any kind. */
import type { FieldError } from '../../api/field-error.ts';
import { isDNS1123Label } from '../../api/names.ts';
import type { KubeObject } from '../../api/object.ts';
import type { CronJob, Job } from '../../api/types/batch-v1.gen.ts';
import type { PodTemplate, PodTemplateSpec } from '../../api/types/core-v1.gen.ts';
import { required } from '../../api/field-error.ts';
import * as apps from '../validation/apps.ts';
import type { FeatureGates } from '../../api/features/feature-gates.ts';
import { validateJobStatusUpdate } from '../validation/job-status.ts';
import * as batch from '../validation/batch.ts';
import { metadataAgain, validateImmutable, validateNonnegative } from '../validation/field.ts';
import { validatePodTemplate } from '../validation/pod.ts';
import { podSpecWarnings } from './pod-warnings.ts';

type OnCreate = (object: KubeObject) => readonly FieldError[];
type OnUpdate = (object: KubeObject, old: KubeObject) => readonly FieldError[];
type Warnings = (object: KubeObject, old: KubeObject | undefined) => readonly string[];

/** A typed validation for objects of any kind. */
function create<T>(check: (object: T) => readonly FieldError[]): OnCreate {
  return (object) => check(object as unknown as T);
}

function update<T>(check: (object: T, old: T) => readonly FieldError[]): OnUpdate {
  return (object, old) => check(object as unknown as T, old as unknown as T);
}

function templateAt(object: KubeObject, path: readonly string[]): PodTemplateSpec | undefined {
  let value: unknown = object;
  for (const member of path) value = (value as Record<string, unknown> | undefined)?.[member];
  return value as PodTemplateSpec | undefined;
}

function templateWarnings(object: KubeObject, path: readonly string[]): readonly string[] {
  const template = templateAt(object, path);
  return template?.spec === undefined
    ? []
    : podSpecWarnings(template.spec, template.metadata, `${path.join('.')}.spec`);
}

/** Pods are named after the object, so its name had better be a host name. */
function nameWarnings(object: KubeObject): readonly string[] {
  const messages = isDNS1123Label(object.metadata.name ?? '');
  return messages.length === 0
    ? []
    : [
        `metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [${messages.join(' ')}]`,
      ];
}

function warnings(path: readonly string[], named: boolean): Warnings {
  return (object, old) => {
    if (old !== undefined)
      return object.metadata.generation === old.metadata.generation ? [] : templateWarnings(object, path);
    return [...(named ? nameWarnings(object) : []), ...templateWarnings(object, path)];
  };
}

const template = ['spec', 'template'];

export const podTemplateWarnings = warnings(['template'], false);
export const validateDeployment = create(apps.validateDeployment);
export const validateDeploymentUpdate = update(apps.validateDeploymentUpdate);
export const validateDeploymentStatusUpdate = update(apps.validateDeploymentStatusUpdate);
export const deploymentWarnings = warnings(template, true);
export const validateReplicaSet = create(apps.validateReplicaSet);
export const validateReplicaSetUpdate = update(apps.validateReplicaSetUpdate);
export const validateReplicaSetStatusUpdate = create(apps.validateReplicaSetStatusUpdate);
export const replicaSetWarnings = warnings(template, true);
export const validateReplicationController = create(apps.validateReplicationController);
export const validateReplicationControllerStatusUpdate = create(apps.validateReplicaSetStatusUpdate);
export const replicationControllerWarnings = warnings(template, true);
export const validateStatefulSet = create(apps.validateStatefulSet);
export const validateStatefulSetUpdate = update(apps.validateStatefulSetUpdate);
export const validateStatefulSetStatusUpdate = update(apps.validateStatefulSetStatusUpdate);
export const validateDaemonSet = create(apps.validateDaemonSet);
export const validateDaemonSetUpdate = update(apps.validateDaemonSetUpdate);
export const validateDaemonSetStatusUpdate = update(apps.validateDaemonSetStatusUpdate);
export const daemonSetWarnings = warnings(template, false);

export const statefulSetWarnings: Warnings = (object, old) => {
  const limit = (object['spec'] as { revisionHistoryLimit?: number } | undefined)?.revisionHistoryLimit;
  return [
    ...warnings(template, false)(object, old),
    ...(limit !== undefined && limit < 0
      ? ['spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended']
      : []),
  ];
};

export const validateJob = create<Job>(batch.validateJob);
export const validateJobUpdate = (features: FeatureGates): OnUpdate =>
  update<Job>((job, old) => [...batch.validateJob(job), metadataAgain, ...batch.validateJobUpdate(job, old, features)]);
export const jobStatusUpdate = (features: FeatureGates): OnUpdate =>
  update<Job>((job, old) => validateJobStatusUpdate(job, old, features));
export const jobWarnings = warnings(template, true);

export const validateCronJob = create<CronJob>(batch.validateCronJob);
export const validateCronJobUpdate = update<CronJob>(batch.validateCronJobUpdate);

export const cronJobWarnings: Warnings = (object, old) => {
  const schedule = (object['spec'] as { schedule?: string } | undefined)?.schedule ?? '';
  return [
    ...warnings(['spec', 'jobTemplate', 'spec', 'template'], true)(object, old),
    ...(old !== undefined && schedule.includes('TZ')
      ? [
          'cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details',
        ]
      : []),
  ];
};

const revisionNumber: OnCreate = (object) => validateNonnegative(object['revision'] as number | undefined, 'revision');

export const validateControllerRevision: OnCreate = (object) => {
  const data = object['data'];
  const missing = data === undefined || data === null;
  return [...(missing ? [required('data', 'data is mandatory')] : []), ...revisionNumber(object)];
};

export const validateControllerRevisionUpdate: OnUpdate = (object, old) => [
  ...revisionNumber(object),
  ...validateImmutable(object['data'], old['data'], 'data'),
];

export const validatePodTemplateObject: OnCreate = (object) =>
  validatePodTemplate(((object as unknown as PodTemplate).template ?? {}) as PodTemplateSpec, 'template');
