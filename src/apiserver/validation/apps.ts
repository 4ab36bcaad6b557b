/** The workload kinds of apps/v1 and ReplicationController (pkg/apis/apps/validation, pkg/apis/core/validation). */
import { forbiddenField, invalid, notSupported, required } from '../../api/field-error.ts';

import { canonicalEqual } from '../../api/helpers/deep-equal.ts';
import type { LabelSelector } from '../../api/selector.ts';
import { selectorFromSet, validateLabels, validateLabelSelector } from '../../api/selector.ts';
import type {
  DaemonSet,
  DaemonSetSpec,
  Deployment,
  DeploymentSpec,
  PodTemplateSpec,
  ReplicaSet,
  ReplicaSetSpec,
  ReplicationController,
  StatefulSet,
  StatefulSetSpec,
} from '../../api/types/index.gen.ts';
import { internalForm } from './internal-form.ts';
import { validateClaimSpecTemplate } from './persistent-volume-claim-spec.ts';
import { validatePodTemplate } from './pod.ts';
import { validateAnnotations } from './template-meta.ts';
import {
  type Errors,
  compiledSelector,
  validateDnsLabel,
  validateAtMost100Percent,
  validateImmutable,
  validateNonnegative,
  validatePositiveIntOrPercent,
} from './field.ts';

const noTemplate: PodTemplateSpec = { spec: { containers: [] } };
const mismatch = '`selector` does not match template `labels`';

function selector(s: LabelSelector | undefined | null, kind: string, field: string, requireIt = true): Errors {
  // A selector that was left out is stored as null.
  if (s === undefined || s === null) return requireIt ? [required(field)] : [];
  const errors = validateLabelSelector(s, field);
  if (Object.keys(s.matchLabels ?? {}).length === 0 && (s.matchExpressions ?? []).length === 0)
    errors.push(invalid(field, s, `empty selector is invalid for ${kind}`));
  return errors;
}

/** A template whose pods the controller will recognise; `restartPolicy` Always and no deadline. */
function ownedTemplate(
  template: PodTemplateSpec | undefined,
  s: LabelSelector | undefined | null,
  kind: string,
  field: string,
  replicas = 1,
): Errors {
  const t = template ?? noTemplate;
  const errors: Errors = [];
  const compiled = compiledSelector(s);
  if (compiled === undefined) {
    if (kind !== 'DaemonSet') {
      const why = kind === 'StatefulSet' ? '' : 'invalid label selector';
      return [invalid(field.replace(/\.template$/, '.selector'), s, why)];
    }
    // No selector selects nothing, an empty one everything.
  } else if (s === undefined || s === null || (!compiled.empty && !compiled.matches(t.metadata?.labels)))
    errors.push(invalid(`${field}.metadata.labels`, t.metadata?.labels ?? null, mismatch));
  errors.push(...validatePodTemplate(t, field));
  // Upstream looks at these of a StatefulSet once more, and tells of them twice.
  if (kind === 'StatefulSet')
    errors.push(
      ...validateLabels(t.metadata?.labels, `${field}.labels`),
      ...validateAnnotations(t.metadata?.annotations, `${field}.annotations`),
    );
  if (replicas >= 0) {
    if (t.spec?.restartPolicy !== undefined && t.spec.restartPolicy !== 'Always')
      errors.push(notSupported(`${field}.spec.restartPolicy`, t.spec.restartPolicy, ['Always']));
    if (t.spec?.activeDeadlineSeconds !== undefined)
      errors.push(
        forbiddenField(`${field}.spec.activeDeadlineSeconds`, `activeDeadlineSeconds in ${kind} is not Supported`),
      );
  }
  return errors;
}

function percentOf(value: number | string | undefined): number | undefined {
  const m = /^(\d+)%$/.exec(String(value ?? ''));
  return m === null ? undefined : Number(m[1]);
}

/** 0 for nothing, an integer or the number before the percent sign. */
function amount(value: number | string | undefined): number {
  if (typeof value === 'number') return value;
  return percentOf(value) ?? 0;
}

function deploymentSpec(spec: DeploymentSpec, field: string): Errors {
  const errors = [
    ...validateNonnegative(spec.replicas, `${field}.replicas`),
    ...selector(spec.selector, 'deployment', `${field}.selector`),
  ];
  errors.push(...ownedTemplate(spec.template, spec.selector, 'ReplicaSet', `${field}.template`));
  const strategy = spec.strategy;
  const at = `${field}.strategy`;
  if (strategy?.type === 'Recreate') {
    if (strategy.rollingUpdate !== undefined)
      errors.push(forbiddenField(`${at}.rollingUpdate`, "may not be specified when strategy `type` is 'Recreate'"));
  } else if (strategy?.type === 'RollingUpdate') {
    const r = strategy.rollingUpdate;
    if (r === undefined) errors.push(required(`${at}.rollingUpdate`, 'this should be defaulted and never be nil'));
    else {
      errors.push(
        ...validatePositiveIntOrPercent(r.maxUnavailable, `${at}.rollingUpdate.maxUnavailable`),
        ...validatePositiveIntOrPercent(r.maxSurge, `${at}.rollingUpdate.maxSurge`),
      );
      if (amount(r.maxUnavailable) === 0 && amount(r.maxSurge) === 0)
        errors.push(
          invalid(`${at}.rollingUpdate.maxUnavailable`, r.maxUnavailable ?? 0, 'may not be 0 when `maxSurge` is 0'),
        );
      errors.push(...validateAtMost100Percent(r.maxUnavailable, `${at}.rollingUpdate.maxUnavailable`));
    }
  } else
    errors.push(notSupported(at, internalForm('apps.DeploymentStrategy', strategy), ['Recreate', 'RollingUpdate']));
  errors.push(
    ...validateNonnegative(spec.minReadySeconds, `${field}.minReadySeconds`),
    ...validateNonnegative(spec.revisionHistoryLimit, `${field}.revisionHistoryLimit`),
  );
  if (spec.progressDeadlineSeconds !== undefined) {
    errors.push(...validateNonnegative(spec.progressDeadlineSeconds, `${field}.progressDeadlineSeconds`));
    if (spec.progressDeadlineSeconds <= (spec.minReadySeconds ?? 0))
      errors.push(
        invalid(
          `${field}.progressDeadlineSeconds`,
          spec.progressDeadlineSeconds,
          'must be greater than minReadySeconds',
        ),
      );
  }
  return errors;
}

const noSpec = { selector: undefined, template: undefined } as unknown;

export function validateDeployment(d: Deployment): Errors {
  return deploymentSpec(d.spec ?? (noSpec as DeploymentSpec), 'spec');
}

export function validateDeploymentUpdate(d: Deployment, old: Deployment): Errors {
  return [...validateDeployment(d), ...validateImmutable(d.spec?.selector, old.spec?.selector, 'spec.selector')];
}

/** Numbers of a status that may not exceed each other: `[small, large]` pairs with upstream's wording. */
function counters(
  status: Readonly<Record<string, unknown>>,
  names: readonly string[],
  atMost: readonly (readonly [string, string, string])[],
): Errors {
  const errors: Errors = [];
  const get = (n: string): number => (status[n] as number | undefined) ?? 0;
  for (const n of names) errors.push(...validateNonnegative(get(n), `status.${n}`));
  for (const [small, large, why] of atMost)
    if (get(small) > get(large)) errors.push(invalid(`status.${small}`, get(small), why));
  return errors;
}

function notDecremented(now: number | undefined, old: number | undefined, field: string): Errors {
  return old !== undefined && (now ?? 0) < old ? [invalid(field, now ?? 0, 'cannot be decremented')] : [];
}

const overReplicas = 'cannot be greater than status.replicas';

export function validateDeploymentStatusUpdate(d: Deployment, old: Deployment): Errors {
  return [
    ...counters(
      (d.status ?? {}) as Record<string, unknown>,
      [
        'observedGeneration',
        'replicas',
        'updatedReplicas',
        'readyReplicas',
        'availableReplicas',
        'unavailableReplicas',
        'terminatingReplicas',
        'collisionCount',
      ],
      [
        ['updatedReplicas', 'replicas', overReplicas],
        ['readyReplicas', 'replicas', overReplicas],
        ['availableReplicas', 'replicas', overReplicas],
        ['availableReplicas', 'readyReplicas', 'cannot be greater than readyReplicas'],
      ],
    ),
    ...notDecremented(d.status?.collisionCount, old.status?.collisionCount, 'status.collisionCount'),
  ];
}

function replicaSetSpec(spec: ReplicaSetSpec, field: string): Errors {
  return [
    ...validateNonnegative(spec.replicas, `${field}.replicas`),
    ...validateNonnegative(spec.minReadySeconds, `${field}.minReadySeconds`),
    // Upstream's message really says deployment.
    ...selector(spec.selector, 'deployment', `${field}.selector`),
    ...ownedTemplate(spec.template, spec.selector, 'ReplicaSet', `${field}.template`),
  ];
}

export function validateReplicaSet(rs: ReplicaSet): Errors {
  return replicaSetSpec(rs.spec ?? (noSpec as ReplicaSetSpec), 'spec');
}

export function validateReplicaSetUpdate(rs: ReplicaSet, old: ReplicaSet): Errors {
  return [...validateReplicaSet(rs), ...validateImmutable(rs.spec?.selector, old.spec?.selector, 'spec.selector')];
}

/** ReplicaSets and ReplicationControllers have the same status. */
export function validateReplicaSetStatusUpdate(rs: ReplicaSet | ReplicationController): Errors {
  return counters(
    (rs.status ?? {}) as Record<string, unknown>,
    [
      'replicas',
      'fullyLabeledReplicas',
      'readyReplicas',
      'availableReplicas',
      'observedGeneration',
      'terminatingReplicas',
    ],
    [
      ['fullyLabeledReplicas', 'replicas', overReplicas],
      ['readyReplicas', 'replicas', overReplicas],
      ['availableReplicas', 'replicas', overReplicas],
      ['availableReplicas', 'readyReplicas', 'cannot be greater than readyReplicas'],
    ],
  );
}

export function validateReplicationController(rc: ReplicationController): Errors {
  const spec = rc.spec ?? {};
  const errors = validateNonnegative(spec.minReadySeconds, 'spec.minReadySeconds');
  const labels = spec.selector ?? {};
  if (Object.keys(labels).length === 0) errors.push(required('spec.selector'));
  errors.push(...validateNonnegative(spec.replicas, 'spec.replicas'));
  const t = spec.template;
  if (t === undefined) return [...errors, required('spec.template')];
  if (Object.keys(labels).length > 0 && !selectorFromSet(labels).matches(t.metadata?.labels))
    errors.push(invalid('spec.template.metadata.labels', t.metadata?.labels ?? null, mismatch));
  return [...errors, ...ownedTemplate(t, {}, 'ReplicationController', 'spec.template')];
}

function statefulSetSpec(spec: StatefulSetSpec, field: string, update = false): Errors {
  const errors: Errors = [];
  const policy = spec.podManagementPolicy ?? '';
  if (policy === '') errors.push(required(`${field}.podManagementPolicy`));
  else if (policy !== 'OrderedReady' && policy !== 'Parallel')
    errors.push(invalid(`${field}.podManagementPolicy`, policy, "must be 'OrderedReady' or 'Parallel'"));
  const strategy = spec.updateStrategy;
  const at = `${field}.updateStrategy`;
  if (strategy?.type === undefined || strategy.type === '') errors.push(required(at));
  else if (strategy.type === 'OnDelete') {
    if (strategy.rollingUpdate !== undefined)
      errors.push(
        invalid(`${at}.rollingUpdate`, strategy.rollingUpdate, "only allowed for updateStrategy 'RollingUpdate'"),
      );
  } else if (strategy.type === 'RollingUpdate') {
    const r = strategy.rollingUpdate;
    errors.push(...validateNonnegative(r?.partition, `${at}.rollingUpdate.partition`));
    if (r?.maxUnavailable !== undefined) {
      const un = `${at}.rollingUpdate.maxUnavailable`;
      errors.push(...validatePositiveIntOrPercent(r.maxUnavailable, un));
      if (amount(r.maxUnavailable) === 0) errors.push(invalid(un, r.maxUnavailable, 'cannot be 0'));
      errors.push(...validateAtMost100Percent(r.maxUnavailable, un));
    }
  } else
    errors.push(
      invalid(at, internalForm('apps.StatefulSetUpdateStrategy', strategy), "must be 'RollingUpdate' or 'OnDelete'"),
    );
  const retention = spec.persistentVolumeClaimRetentionPolicy;
  if (retention !== undefined)
    for (const name of ['whenDeleted', 'whenScaled'] as const)
      if (!['Retain', 'Delete'].includes(retention[name] ?? ''))
        errors.push(
          notSupported(`${field}.persistentVolumeClaimRetentionPolicy.${name}`, retention[name] ?? '', [
            'Retain',
            'Delete',
          ]),
        );
  // Neither can change, so what is wrong with stored ones is put up with.
  if (!update)
    (spec.volumeClaimTemplates ?? []).forEach((c, i) =>
      errors.push(...validateClaimSpecTemplate(c.spec, `${field}.volumeClaimTemplates[${i}].spec`)),
    );
  errors.push(
    ...validateNonnegative(spec.replicas, `${field}.replicas`),
    ...validateNonnegative(spec.minReadySeconds, `${field}.minReadySeconds`),
  );
  errors.push(...validateNonnegative(spec.ordinals?.start, `${field}.ordinals.start`));
  if (!update && spec.serviceName) errors.push(...validateDnsLabel(spec.serviceName, `${field}.serviceName`));
  errors.push(...selector(spec.selector, 'statefulset', `${field}.selector`));
  // Claims of the templates may be mounted: the template is judged as if their volumes stood in it.
  const t = spec.template ?? noTemplate;
  const claims = new Set((spec.volumeClaimTemplates ?? []).map((c) => c.metadata?.name ?? ''));
  const volumes = [
    ...[...claims].map((name) => ({ name, persistentVolumeClaim: { claimName: name } })),
    ...(t.spec?.volumes ?? []).filter((v) => !claims.has(v.name)),
  ];
  const full: PodTemplateSpec = {
    ...t,
    // Each pod gets a host name and subdomain of its own.
    spec: {
      ...(t.spec ?? { containers: [] }),
      hostname: undefined,
      subdomain: undefined,
      ...(volumes.length === 0 ? {} : { volumes }),
    },
  };
  errors.push(...ownedTemplate(full, spec.selector, 'StatefulSet', `${field}.template`));
  return errors;
}

export function validateStatefulSet(s: StatefulSet): Errors {
  return statefulSetSpec(s.spec ?? (noSpec as StatefulSetSpec), 'spec');
}

const mutableInStatefulSet = [
  'replicas',
  'ordinals',
  'template',
  'updateStrategy',
  'revisionHistoryLimit',
  'persistentVolumeClaimRetentionPolicy',
  'minReadySeconds',
];

export function validateStatefulSetUpdate(s: StatefulSet, old: StatefulSet): Errors {
  const errors = statefulSetSpec(s.spec ?? (noSpec as StatefulSetSpec), 'spec', true);
  const fixed = (spec: StatefulSetSpec | undefined): unknown =>
    Object.fromEntries(Object.entries(spec ?? {}).filter(([k]) => !mutableInStatefulSet.includes(k)));
  if (!canonicalEqual(fixed(s.spec), fixed(old.spec)))
    errors.push(
      forbiddenField(
        'spec',
        "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
      ),
    );
  return errors;
}

export function validateStatefulSetStatusUpdate(s: StatefulSet, old: StatefulSet): Errors {
  return [
    ...counters(
      (s.status ?? {}) as Record<string, unknown>,
      [
        'replicas',
        'readyReplicas',
        'currentReplicas',
        'updatedReplicas',
        'availableReplicas',
        'observedGeneration',
        'collisionCount',
      ],
      [
        ['readyReplicas', 'replicas', overReplicas],
        ['currentReplicas', 'replicas', overReplicas],
        ['updatedReplicas', 'replicas', overReplicas],
        ['availableReplicas', 'replicas', overReplicas],
        ['availableReplicas', 'readyReplicas', 'cannot be greater than status.readyReplicas'],
      ],
    ),
    ...notDecremented(s.status?.collisionCount, old.status?.collisionCount, 'status.collisionCount'),
  ];
}

function daemonSetSpec(spec: DaemonSetSpec, field: string): Errors {
  const errors = selector(spec.selector, 'daemonset', `${field}.selector`, false);
  if (spec.selector === undefined)
    errors.push(invalid(`${field}.selector`, null, 'empty selector is invalid for daemonset'));
  errors.push(
    ...ownedTemplate(spec.template, spec.selector, 'DaemonSet', `${field}.template`),
    ...validateNonnegative(spec.minReadySeconds, `${field}.minReadySeconds`),
  );
  const strategy = spec.updateStrategy;
  const at = `${field}.updateStrategy`;
  if (strategy?.type === 'RollingUpdate') {
    const r = strategy.rollingUpdate;
    if (r === undefined) errors.push(required(`${at}.rollingUpdate`));
    else {
      const surge = amount(r.maxSurge);
      const unavailable = amount(r.maxUnavailable);
      const path = `${at}.rollingUpdate`;
      errors.push(
        ...validatePositiveIntOrPercent(r.maxUnavailable, `${path}.maxUnavailable`),
        ...validatePositiveIntOrPercent(r.maxSurge, `${path}.maxSurge`),
      );
      errors.push(
        ...validateAtMost100Percent(r.maxUnavailable, `${path}.maxUnavailable`),
        ...validateAtMost100Percent(r.maxSurge, `${path}.maxSurge`),
      );
      if (surge !== 0 && unavailable !== 0)
        errors.push(invalid(`${path}.maxSurge`, r.maxSurge ?? 0, 'may not be set when maxUnavailable is non-zero'));
      else if (surge === 0 && unavailable === 0)
        errors.push(required(`${path}.maxUnavailable`, 'cannot be 0 when maxSurge is 0'));
    }
  } else if (strategy?.type !== 'OnDelete')
    errors.push(
      notSupported(at, internalForm('apps.DaemonSetUpdateStrategy', strategy), ['RollingUpdate', 'OnDelete']),
    );
  errors.push(...validateNonnegative(spec.revisionHistoryLimit, `${field}.revisionHistoryLimit`));
  return errors;
}

export function validateDaemonSet(d: DaemonSet): Errors {
  return daemonSetSpec(d.spec ?? (noSpec as DaemonSetSpec), 'spec');
}

export function validateDaemonSetUpdate(d: DaemonSet, old: DaemonSet): Errors {
  return [...validateImmutable(d.spec?.selector, old.spec?.selector, 'spec.selector'), ...validateDaemonSet(d)];
}

export function validateDaemonSetStatusUpdate(d: DaemonSet, old: DaemonSet): Errors {
  return [
    ...counters(
      (d.status ?? {}) as Record<string, unknown>,
      [
        'currentNumberScheduled',
        'numberMisscheduled',
        'desiredNumberScheduled',
        'numberReady',
        'observedGeneration',
        'updatedNumberScheduled',
        'numberAvailable',
        'numberUnavailable',
        'collisionCount',
      ],
      [],
    ),
    ...notDecremented(d.status?.collisionCount, old.status?.collisionCount, 'status.collisionCount'),
  ];
}
