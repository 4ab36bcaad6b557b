/** Validation of scheduling.k8s.io/v1alpha2: Workload and PodGroup, whose rules upstream declares on the types. */
import {
  duplicate,
  forbiddenField,
  invalid,
  notSupported,
  required,
  tooMany,
  type FieldError,
} from '../../api/field-error.ts';
import { semanticEqual } from '../../api/helpers/deep-equal.ts';
import { isDNS1123Label, isDNS1123Subdomain, isPathSegmentName } from '../../api/names.ts';
import type { KubeObject } from '../../api/object.ts';
import { validateLabelName } from '../../api/selector.ts';
import { validateConditions, type GivenCondition } from './conditions.ts';
import { invalidEach, specOf, statusOf } from './field.ts';

export interface WorkloadGates {
  readonly topology: boolean;
  readonly claims: boolean;
  readonly preemption: boolean;
}

interface SchedulingPolicy {
  readonly basic?: object;
  readonly gang?: { readonly minCount?: number };
}

interface Claim {
  readonly name?: string;
  readonly resourceClaimName?: string;
  readonly resourceClaimTemplateName?: string;
}

/** What a PodGroup and a template of one have in common. */
export interface GroupSpec {
  readonly schedulingPolicy?: SchedulingPolicy;
  readonly schedulingConstraints?: { readonly topology?: readonly { readonly key?: string }[] } | null;
  readonly resourceClaims?: readonly Claim[];
  readonly disruptionMode?: string;
  readonly priorityClassName?: string;
  readonly priority?: number;
}

interface Template extends GroupSpec {
  readonly name?: string;
}

interface WorkloadSpec {
  readonly controllerRef?: { readonly apiGroup?: string; readonly kind?: string; readonly name?: string };
  readonly podGroupTemplates?: readonly Template[];
}

interface PodGroupSpec extends GroupSpec {
  readonly podGroupTemplateRef?: {
    readonly workload?: { readonly workloadName?: string; readonly podGroupTemplateName?: string } | null;
  } | null;
}

const maxTemplates = 8;
const maxClaims = 4;
const maxTopologies = 1;
const maxPriority = 1_000_000_000;
const minPriority = -2_147_483_648;

const longName = (name: string, path: string): FieldError[] => invalidEach(path, name, isDNS1123Subdomain(name));
const shortName = (name: string, path: string): FieldError[] => invalidEach(path, name, isDNS1123Label(name));

/** Exactly one of the members. */
function validateUnion(value: object, members: readonly string[], path: string): FieldError[] {
  const given = value as Readonly<Record<string, unknown>>;
  const set = members.filter((m) => given[m] !== undefined && given[m] !== null);
  const list = members.map((m) => `\`${m}\``).join(', ');
  if (set.length === 0) return [invalid(path, '', `must specify one of: ${list}`)];
  if (set.length > 1)
    return [invalid(path, `{${set.map((m) => `\`${m}\``).join(', ')}}`, `must specify exactly one of: ${list}`)];
  return [];
}

function validatePolicy(policy: SchedulingPolicy | undefined, path: string): FieldError[] {
  const errors = validateUnion(policy ?? {}, ['basic', 'gang'], path);
  const gang = policy?.gang;
  if (gang === undefined) return errors;
  const at = `${path}.gang.minCount`;
  const count = gang.minCount ?? 0;
  if (count === 0) errors.push(required(at));
  else if (count < 1) errors.push(invalid(at, count, 'must be greater than or equal to 1'));
  return errors;
}

function validateClaims(claims: readonly Claim[], path: string): FieldError[] {
  if (claims.length > maxClaims) return [tooMany(path, claims.length, maxClaims)];
  return claims.flatMap((claim, i) => {
    const at = `${path}[${i}]`;
    const name = claim.name ?? '';
    const first = claims.findIndex((c) => (c.name ?? '') === name);
    return [
      ...(first < i ? [duplicate(at, { name })] : []),
      ...validateUnion(claim, ['resourceClaimName', 'resourceClaimTemplateName'], at),
      ...(name === '' ? [required(`${at}.name`)] : shortName(name, `${at}.name`)),
      ...(claim.resourceClaimName === undefined ? [] : longName(claim.resourceClaimName, `${at}.resourceClaimName`)),
      ...(claim.resourceClaimTemplateName === undefined
        ? []
        : longName(claim.resourceClaimTemplateName, `${at}.resourceClaimTemplateName`)),
    ];
  });
}

function validateGroup(spec: GroupSpec, path: string, gates: WorkloadGates): FieldError[] {
  const errors = validatePolicy(spec.schedulingPolicy, `${path}.schedulingPolicy`);
  const constraints = spec.schedulingConstraints ?? undefined;
  if (constraints !== undefined) {
    const at = `${path}.schedulingConstraints`;
    if (!gates.topology) errors.push(forbiddenField(at, ''));
    else {
      const topology = constraints.topology ?? [];
      if (topology.length > maxTopologies) errors.push(tooMany(`${at}.topology`, topology.length, maxTopologies));
      else
        topology.forEach(({ key = '' }, i) => {
          const keyAt = `${at}.topology[${i}].key`;
          errors.push(...(key === '' ? [required(keyAt)] : validateLabelName(key, keyAt)));
        });
    }
  }
  errors.push(...validateClaims(spec.resourceClaims ?? [], `${path}.resourceClaims`));
  const { disruptionMode, priorityClassName = '', priority } = spec;
  if (!gates.preemption) {
    if (disruptionMode !== undefined) errors.push(forbiddenField(`${path}.disruptionMode`, ''));
    if (priorityClassName !== '') errors.push(forbiddenField(`${path}.priorityClassName`, ''));
    if (priority !== undefined) errors.push(forbiddenField(`${path}.priority`, ''));
    return errors;
  }
  if (disruptionMode !== undefined && !['Pod', 'PodGroup'].includes(disruptionMode))
    errors.push(notSupported(`${path}.disruptionMode`, disruptionMode, ['Pod', 'PodGroup']));
  if (priorityClassName !== '') errors.push(...longName(priorityClassName, `${path}.priorityClassName`));
  if (priority !== undefined && priority > maxPriority)
    errors.push(invalid(`${path}.priority`, priority, `must be less than or equal to ${maxPriority}`));
  if (priority !== undefined && priority < minPriority)
    errors.push(invalid(`${path}.priority`, priority, `must be greater than or equal to ${minPriority}`));
  return errors;
}

/** A member that may not change; its value is not shown. */
function fixed(now: unknown, before: unknown, path: string): FieldError[] {
  return semanticEqual(now ?? undefined, before ?? undefined) ? [] : [invalid(path, null, 'field is immutable')];
}

export function validateWorkload(object: KubeObject, old: KubeObject | undefined, gates: WorkloadGates): FieldError[] {
  const spec = specOf<WorkloadSpec>(object);
  const before = old === undefined ? undefined : specOf<WorkloadSpec>(old);
  const errors: FieldError[] = [];
  const ref = spec.controllerRef;
  const refAt = 'spec.controllerRef';
  if (before?.controllerRef !== undefined) errors.push(...fixed(ref, before.controllerRef, refAt));
  if (ref !== undefined) {
    const { apiGroup = '', kind = '', name = '' } = ref;
    if (apiGroup !== '') errors.push(...longName(apiGroup, `${refAt}.apiGroup`));
    for (const [member, value] of [
      ['kind', kind],
      ['name', name],
    ] as const) {
      const at = `${refAt}.${member}`;
      if (value === '') errors.push(required(at));
      else errors.push(...invalidEach(at, value, isPathSegmentName(value)));
    }
  }
  const path = 'spec.podGroupTemplates';
  const templates = spec.podGroupTemplates ?? [];
  if (before !== undefined) return [...errors, ...fixed(templates, before.podGroupTemplates ?? [], path)];
  if (templates.length === 0) return [...errors, required(path)];
  if (templates.length > maxTemplates) return [...errors, tooMany(path, templates.length, maxTemplates)];
  templates.forEach((template, i) => {
    const at = `${path}[${i}]`;
    const name = template.name ?? '';
    if (templates.findIndex((t) => (t.name ?? '') === name) < i) errors.push(duplicate(at, { name }));
    errors.push(...(name === '' ? [required(`${at}.name`)] : shortName(name, `${at}.name`)));
    errors.push(...validateGroup(template, at, gates));
  });
  return errors;
}

export function validatePodGroup(object: KubeObject, old: KubeObject | undefined, gates: WorkloadGates): FieldError[] {
  const spec = specOf<PodGroupSpec>(object);
  if (old !== undefined) {
    const before = specOf<PodGroupSpec>(old);
    const members = [
      'podGroupTemplateRef',
      'schedulingPolicy',
      'schedulingConstraints',
      'resourceClaims',
      'disruptionMode',
      'priorityClassName',
      'priority',
    ] as const;
    return members.flatMap((m) => fixed(spec[m], before[m], `spec.${m}`));
  }
  const errors: FieldError[] = [];
  const ref = spec.podGroupTemplateRef ?? undefined;
  if (ref !== undefined) {
    const at = 'spec.podGroupTemplateRef';
    errors.push(...validateUnion(ref, ['workload'], at));
    const workload = ref.workload ?? undefined;
    if (workload !== undefined) {
      const { workloadName = '', podGroupTemplateName = '' } = workload;
      const nameAt = `${at}.workload.workloadName`;
      const templateAt = `${at}.workload.podGroupTemplateName`;
      errors.push(...(workloadName === '' ? [required(nameAt)] : longName(workloadName, nameAt)));
      errors.push(
        ...(podGroupTemplateName === '' ? [required(templateAt)] : shortName(podGroupTemplateName, templateAt)),
      );
    }
  }
  return [...errors, ...validateGroup(spec, 'spec', gates)];
}

interface PodGroupStatus {
  readonly conditions?: readonly GivenCondition[];
  readonly resourceClaimStatuses?: readonly { readonly name?: string; readonly resourceClaimName?: string }[];
}

export function validatePodGroupStatus(object: KubeObject): FieldError[] {
  const status = statusOf<PodGroupStatus>(object);
  const names = new Set((specOf<PodGroupSpec>(object).resourceClaims ?? []).map((c) => c.name ?? ''));
  const path = 'status.resourceClaimStatuses';
  const claims = status.resourceClaimStatuses ?? [];
  const errors = validateConditions(status.conditions, 'status.conditions');
  claims.forEach(({ name = '' }, i) => {
    if (!names.has(name))
      errors.push(invalid(`${path}[${i}].name`, name, 'must match the name of an entry in `spec.resourceClaims`'));
  });
  if (claims.length > maxClaims) return [...errors, tooMany(path, claims.length, maxClaims)];
  return [
    ...errors,
    ...claims.flatMap(({ resourceClaimName }, i) =>
      resourceClaimName === undefined ? [] : longName(resourceClaimName, `${path}[${i}].resourceClaimName`),
    ),
  ];
}
