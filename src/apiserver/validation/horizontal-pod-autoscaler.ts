/** Validation of HorizontalPodAutoscaler, in its autoscaling/v2 form. */
import { forbiddenField, invalid, notSupported, required, type FieldError } from '../../api/field-error.ts';
import { isPathSegmentName } from '../../api/names.ts';
import type { KubeObject } from '../../api/object.ts';
import { parseQuantity, quantitySign } from '../../api/quantity.ts';
import type {
  CrossVersionObjectReference,
  HorizontalPodAutoscalerSpec,
  HorizontalPodAutoscalerStatus,
  HPAScalingPolicy,
  HPAScalingRules,
  MetricIdentifier,
  MetricSpec,
  MetricTarget,
} from '../../api/types/autoscaling-v2.gen.ts';
import { invalidEach, specOf, statusOf, validateDnsLabel, validateNonnegative } from './field.ts';
import { containerResourceName } from './resources.ts';
import { validateNonnegativeQuantity } from './resource-names.ts';

interface ReferenceOptions {
  readonly anyApiVersion: boolean;
  readonly coreGroup: boolean;
}

/** What is wrong with the apiVersion of a reference. */
function apiVersionError(apiVersion: string, options: ReferenceOptions): string | undefined {
  if (options.anyApiVersion) return undefined;
  const parts = apiVersion.split('/');
  if (parts.length > 2) return `unexpected GroupVersion string: ${apiVersion}`;
  return !options.coreGroup && (parts.length < 2 || parts[0] === '') ? 'apiVersion must specify API group' : undefined;
}

function validateReference(
  ref: CrossVersionObjectReference | undefined,
  path: string,
  options: ReferenceOptions,
): FieldError[] {
  const errors = (['kind', 'name'] as const).flatMap((member) => {
    const value = ref?.[member] ?? '';
    const at = `${path}.${member}`;
    return value === '' ? [required(at)] : invalidEach(at, value, isPathSegmentName(value));
  });
  const apiVersion = ref?.apiVersion ?? '';
  const wrong = apiVersionError(apiVersion, options);
  if (wrong !== undefined) errors.push(invalid(`${path}.apiVersion`, apiVersion, wrong));
  return errors;
}

function validateIdentifier(metric: MetricIdentifier | undefined, path: string): FieldError[] {
  const name = metric?.name ?? '';
  return name === ''
    ? [required(`${path}.name`, 'must specify a metric name')]
    : invalidEach(`${path}.name`, name, isPathSegmentName(name));
}

function validateTarget(target: MetricTarget | undefined, path: string): FieldError[] {
  const type = (target?.type ?? '') as string;
  const errors: FieldError[] = [];
  if (type === '') errors.push(required(`${path}.type`, 'must specify a metric target type'));
  if (type !== 'Utilization' && type !== 'Value' && type !== 'AverageValue')
    errors.push(invalid(`${path}.type`, type, 'must be either Utilization, Value, or AverageValue'));
  for (const member of ['value', 'averageValue'] as const) {
    const text = target?.[member] as string | undefined;
    if (text !== undefined && quantitySign(parseQuantity(text)) <= 0)
      errors.push(invalid(`${path}.${member}`, text, 'must be positive'));
  }
  const utilization = target?.averageUtilization;
  if (utilization !== undefined && utilization < 1)
    errors.push(invalid(`${path}.averageUtilization`, utilization, 'must be greater than 0'));
  return errors;
}

/** A raw value or a utilization, not both. */
function validateRawOrUtilization(target: MetricTarget | undefined, path: string): FieldError[] {
  const utilization = target?.averageUtilization !== undefined;
  const raw = target?.averageValue !== undefined;
  const errors = validateTarget(target, path);
  if (!utilization && !raw)
    errors.push(required(`${path}.averageUtilization`, 'must set either a target raw value or a target utilization'));
  if (utilization && raw)
    errors.push(forbiddenField(`${path}.averageValue`, 'may not set both a target raw value and a target utilization'));
  return errors;
}

const sources = ['object', 'external', 'pods', 'resource', 'containerResource'] as const;
type Source = (typeof sources)[number];

/** Each source's metric type. */
const sourceOfType: Readonly<Record<string, Source>> = {
  ContainerResource: 'containerResource',
  External: 'external',
  Object: 'object',
  Pods: 'pods',
  Resource: 'resource',
};
const metricTypes = Object.keys(sourceOfType);

function validateSource(metric: MetricSpec, source: Source, path: string, options: ReferenceOptions): FieldError[] {
  const target = `${path}.target`;
  switch (source) {
    case 'object': {
      const { describedObject, metric: id, target: wanted } = metric.object!;
      return [
        ...validateReference(describedObject, `${path}.describedObject`, options),
        ...validateIdentifier(id, `${path}.metric`),
        ...validateTarget(wanted, target),
        ...(wanted?.value === undefined && wanted?.averageValue === undefined
          ? [required(`${target}.averageValue`, 'must set either a target value or averageValue')]
          : []),
      ];
    }
    case 'external': {
      const { metric: id, target: wanted } = metric.external!;
      const value = wanted?.value !== undefined;
      const average = wanted?.averageValue !== undefined;
      const errors = [...validateIdentifier(id, `${path}.metric`), ...validateTarget(wanted, target)];
      if (!value && !average)
        errors.push(
          required(`${target}.averageValue`, 'must set either a target value for metric or a per-pod target'),
        );
      if (value && average)
        errors.push(
          forbiddenField(`${target}.value`, 'may not set both a target value for metric and a per-pod target'),
        );
      return errors;
    }
    case 'pods': {
      const { metric: id, target: wanted } = metric.pods!;
      return [
        ...validateIdentifier(id, `${path}.metric`),
        ...validateTarget(wanted, target),
        ...(wanted?.averageValue === undefined
          ? [required(`${target}.averageValue`, 'must specify a positive target averageValue')]
          : []),
      ];
    }
    case 'resource': {
      const { name, target: wanted } = metric.resource!;
      return [
        ...((name ?? '') === '' ? [required(`${path}.name`, 'must specify a resource name')] : []),
        ...validateRawOrUtilization(wanted, target),
      ];
    }
    case 'containerResource': {
      const { name, container, target: wanted } = metric.containerResource!;
      return [
        ...((name ?? '') === ''
          ? [required(`${path}.name`, 'must specify a resource name')]
          : containerResourceName(name, `${path}.name`)),
        ...((container ?? '') === ''
          ? [required(`${path}.container`, 'must specify a container')]
          : validateDnsLabel(container, `${path}.container`)),
        ...validateRawOrUtilization(wanted, target),
      ];
    }
  }
}

function validateMetric(metric: MetricSpec, path: string, options: ReferenceOptions): FieldError[] {
  const type = (metric.type ?? '') as string;
  const errors: FieldError[] = [];
  const wrongType = notSupported(`${path}.type`, type, metricTypes);
  if (type === '') errors.push(required(`${path}.type`, 'must specify a metric source type'));
  if (!metricTypes.includes(type)) errors.push(wrongType);
  const present = sources.filter((s) => metric[s] !== undefined);
  const first = present[0];
  if (first !== undefined) errors.push(...validateSource(metric, first, `${path}.${first}`, options));
  const expected = sourceOfType[type];
  if (expected === undefined) errors.push(wrongType);
  else if (metric[expected] === undefined)
    errors.push(required(`${path}.${expected}`, 'must populate information for the given metric source'));
  if (present.length !== 1)
    for (const other of present)
      if (other !== expected)
        errors.push(forbiddenField(`${path}.${other}`, 'must populate the given metric source only'));
  return errors;
}

function validatePolicy(policy: HPAScalingPolicy, path: string): FieldError[] {
  const { type, value = 0, periodSeconds = 0 } = policy;
  const errors: FieldError[] = [];
  if (type !== 'Pods' && type !== 'Percent') errors.push(notSupported(`${path}.type`, type, ['Percent', 'Pods']));
  if (value <= 0) errors.push(invalid(`${path}.value`, value, 'must be greater than zero'));
  const period = `${path}.periodSeconds`;
  if (periodSeconds <= 0) errors.push(invalid(period, periodSeconds, 'must be greater than zero'));
  if (periodSeconds > 1800) errors.push(invalid(period, periodSeconds, 'must be less than or equal to 1800'));
  return errors;
}

const selections = ['Disabled', 'Max', 'Min'];

function validateRules(rules: HPAScalingRules | undefined, path: string): FieldError[] {
  if (rules === undefined) return [];
  const { stabilizationWindowSeconds: window = 0, selectPolicy, policies, tolerance } = rules;
  const errors: FieldError[] = [];
  const at = `${path}.stabilizationWindowSeconds`;
  if (window < 0) errors.push(invalid(at, window, 'must be greater than or equal to zero'));
  if (window > 3600) errors.push(invalid(at, window, 'must be less than or equal to 3600'));
  if (selectPolicy !== undefined && !selections.includes(selectPolicy))
    errors.push(notSupported(`${path}.selectPolicy`, selectPolicy, selections));
  if ((policies ?? []).length === 0) errors.push(required(`${path}.policies`, 'must specify at least one Policy'));
  (policies ?? []).forEach((policy, i) => errors.push(...validatePolicy(policy, `${path}.policies[${i}]`)));
  if (tolerance !== undefined) errors.push(...validateNonnegativeQuantity(tolerance, `${path}.tolerance`));
  return errors;
}

export function validateHorizontalPodAutoscaler(object: KubeObject, old?: KubeObject): FieldError[] {
  const spec = specOf<HorizontalPodAutoscalerSpec>(object);
  const before = old === undefined ? undefined : specOf<HorizontalPodAutoscalerSpec>(old);
  const target = spec.scaleTargetRef;
  const kept = before?.scaleTargetRef;
  const sameTarget =
    before !== undefined &&
    (kept?.apiVersion ?? '') === (target?.apiVersion ?? '') &&
    (kept?.kind ?? '') === (target?.kind ?? '');
  const objects: ReferenceOptions = { anyApiVersion: false, coreGroup: true };
  const metrics = before?.metrics ?? [];
  const badMetric = metrics.some(
    (m) => m.type === 'Object' && apiVersionError(m.object?.describedObject?.apiVersion ?? '', objects) !== undefined,
  );
  const least = before?.minReplicas === 0 ? 0 : 1;
  const { minReplicas, maxReplicas = 0 } = spec;
  const errors: FieldError[] = [];
  if (minReplicas !== undefined && minReplicas < least)
    errors.push(invalid('spec.minReplicas', minReplicas, `must be greater than or equal to ${least}`));
  const max = 'spec.maxReplicas';
  if (maxReplicas === 0) errors.push(required(max, 'must be set and greater than 0'));
  else if (maxReplicas < 0) errors.push(invalid(max, maxReplicas, 'must be greater than or equal to 1'));
  if (minReplicas !== undefined && maxReplicas < minReplicas)
    errors.push(invalid(max, maxReplicas, 'must be greater than or equal to `minReplicas`'));
  errors.push(
    ...validateReference(target, 'spec.scaleTargetRef', {
      anyApiVersion: sameTarget,
      coreGroup: target?.kind === 'ReplicationController',
    }),
  );
  const given = spec.metrics ?? [];
  given.forEach((metric, i) =>
    errors.push(...validateMetric(metric, `spec.metrics[${i}]`, { ...objects, anyApiVersion: badMetric })),
  );
  if (minReplicas === 0 && !given.some((m) => m.type === 'Object' || m.type === 'External'))
    errors.push(
      forbiddenField(
        'spec.metrics',
        'must specify at least one Object or External metric to support scaling to zero replicas',
      ),
    );
  errors.push(
    ...validateRules(spec.behavior?.scaleUp, 'spec.behavior.scaleUp'),
    ...validateRules(spec.behavior?.scaleDown, 'spec.behavior.scaleDown'),
  );
  return errors;
}

export function validateHorizontalPodAutoscalerStatusUpdate(object: KubeObject): FieldError[] {
  const status = statusOf<HorizontalPodAutoscalerStatus>(object);
  return [
    ...validateNonnegative(status.currentReplicas, 'status.currentReplicas'),
    ...validateNonnegative(status.desiredReplicas, 'status.desiredReplicas'),
  ];
}
