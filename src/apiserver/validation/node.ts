/** Validation of Node. */
import { duplicate, forbiddenField, invalid, notSupported, required, type FieldError } from '../../api/field-error.ts';
import { isLabelValue } from '../../api/names.ts';
import type { KubeObject } from '../../api/object.ts';
import { validateLabelName } from '../../api/selector.ts';
import type { NodeSpec, NodeStatus, Taint } from '../../api/types/core-v1.gen.ts';
import { parseRange } from '../allocators/address.ts';
import { specOf, statusOf } from './field.ts';
import { validateCidr } from './ip.ts';
import { validateResourceQuantity } from './resource-names.ts';

const effects = ['NoSchedule', 'PreferNoSchedule', 'NoExecute'];

function validateTaints(taints: readonly Taint[], path: string): FieldError[] {
  const errors: FieldError[] = [];
  const seen = new Set<string>();
  taints.forEach((taint, i) => {
    const at = `${path}[${i}]`;
    errors.push(...validateLabelName(taint.key, `${at}.key`));
    const messages = isLabelValue(taint.value ?? '');
    if (messages.length > 0) errors.push(invalid(`${at}.value`, taint.value, messages.join(';')));
    if ((taint.effect ?? '') === '') errors.push(required(`${at}.effect`));
    else if (!effects.includes(taint.effect)) errors.push(notSupported(`${at}.effect`, taint.effect, effects));
    const id = `${taint.effect}\n${taint.key}`;
    if (seen.has(id)) {
      errors.push({ ...duplicate(at, taint), detail: 'taints must be unique by key and effect pair' });
      return;
    }
    seen.add(id);
  });
  return errors;
}

function validateResources(object: KubeObject): FieldError[] {
  const status = statusOf<NodeStatus>(object);
  return (['capacity', 'allocatable'] as const).flatMap((member) =>
    Object.entries((status[member] ?? {}) as Record<string, string>).flatMap(([name, q]) =>
      validateResourceQuantity(name, q, `status.${member}.${name}`),
    ),
  );
}

const featureName = /^[A-Z][a-zA-Z0-9]*(?:\/[a-zA-Z0-9]+)*$/;

function validateFeatures(object: KubeObject): FieldError[] {
  const features = statusOf<NodeStatus>(object).declaredFeatures ?? [];
  const path = 'status.declaredFeatures';
  return features.flatMap((feature, i) => {
    const errors: FieldError[] = [];
    const quoted = JSON.stringify(feature);
    if (feature.length > 253)
      errors.push(
        invalid(`${path}[${i}]`, feature, `invalid feature name ${quoted}: must be no more than 253 characters`),
      );
    else if (!featureName.test(feature))
      errors.push(
        invalid(
          `${path}[${i}]`,
          feature,
          `invalid feature name ${quoted}: must start with an UpperCamelCase segment, with subsequent segments separated by '/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes`,
        ),
      );
    const next = features[i + 1];
    if (next === feature) errors.push(duplicate(`${path}[${i + 1}]`, next));
    else if (next !== undefined && feature > next)
      errors.push(invalid(`${path}[${i + 1}]`, next, 'list must be sorted alphabetically'));
    return errors;
  });
}

export function validateNode(object: KubeObject): FieldError[] {
  const spec = specOf<NodeSpec>(object);
  const errors = validateTaints(spec.taints ?? [], 'metadata.taints');
  errors.push(...validateResources(object), ...validateFeatures(object));
  const cidrs = spec.podCIDRs ?? [];
  const path = 'spec.podCIDRs';
  cidrs.forEach((cidr, i) => errors.push(...validateCidr(cidr, `${path}[${i}]`)));
  if (cidrs.length > 1) {
    const families = new Set(cidrs.map((c) => parseRange(c)?.family));
    if (families.size < 2 || cidrs.length > 2)
      errors.push(invalid(path, cidrs, 'may specify no more than one CIDR for each IP family'));
  }
  return errors;
}

/** What changed against the old node (also for its status). */
export function validateNodeChange(object: KubeObject, old: KubeObject): FieldError[] {
  const spec = specOf<NodeSpec>(object);
  const before = specOf<NodeSpec>(old);
  const errors = [...validateResources(object), ...validateFeatures(object)];
  const seen = new Set<string>();
  (statusOf<NodeStatus>(object).addresses ?? []).forEach((address, i) => {
    const id = `${address.type}\n${address.address}`;
    if (seen.has(id)) errors.push(duplicate(`status.addresses[${i}]`, address));
    seen.add(id);
  });
  const cidrs = spec.podCIDRs ?? [];
  const oldCidrs = before.podCIDRs ?? [];
  const why = 'node updates may not change podCIDR except from "" to valid';
  if (oldCidrs.length > 0) {
    if (oldCidrs.length !== cidrs.length) errors.push(forbiddenField('spec.podCIDRs', why));
    else oldCidrs.forEach((c, i) => c !== cidrs[i] && errors.push(forbiddenField('spec.podCIDRs', why)));
  }
  if ((before.providerID ?? '') !== '' && before.providerID !== spec.providerID)
    errors.push(forbiddenField('spec.providerID', 'node updates may not change providerID except from "" to valid'));
  errors.push(...validateTaints(spec.taints ?? [], 'metadata.taints'));
  if ((spec.externalID ?? '') !== (before.externalID ?? ''))
    errors.push(forbiddenField('spec.externalID', 'may not be updated'));
  return errors;
}

export function validateNodeUpdate(object: KubeObject, old: KubeObject): FieldError[] {
  return [...validateNode(object), ...validateNodeChange(object, old)];
}

/** Labels and fields that upstream remarks on (deprecated node labels). */
export function nodeWarnings(object: KubeObject): string[] {
  const spec = specOf<NodeSpec>(object);
  const out: string[] = [];
  if (spec.configSource !== undefined) out.push('spec.configSource: the feature is removed in v1.24+');
  if ((spec.externalID ?? '') !== '')
    out.push('spec.externalID: this field is deprecated, and is unused by Kubernetes');
  if ((spec.podCIDRs ?? []).length > 0 && (spec.podCIDR ?? '') === '') return out;
  return out;
}
