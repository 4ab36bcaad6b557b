/** Validation of RuntimeClass. */
import { duplicate, required, type FieldError } from '../../api/field-error.ts';
import type { KubeObject } from '../../api/object.ts';
import { validateLabels } from '../../api/selector.ts';
import type { Overhead, Scheduling } from '../../api/types/node-v1.gen.ts';
import { validateDnsLabel, validateImmutable } from './field.ts';
import { deprecatedNodeLabels } from './node-labels.ts';
import { validateTolerations } from './pod-scheduling.ts';
import { containerResources } from './resources.ts';

export function validateRuntimeClass(object: KubeObject): FieldError[] {
  const handler = (object['handler'] ?? '') as string;
  const errors = handler === '' ? [required('handler')] : validateDnsLabel(handler, 'handler');
  const overhead = object['overhead'] as Overhead | undefined;
  if (overhead !== undefined)
    errors.push(...containerResources({ limits: overhead.podFixed ?? {} }, new Set(), 'overhead'));
  const scheduling = object['scheduling'] as Scheduling | undefined;
  if (scheduling === undefined) return errors;
  const { nodeSelector, tolerations } = scheduling;
  errors.push(
    ...validateLabels(nodeSelector, 'scheduling.nodeSelector'),
    ...validateTolerations(tolerations, 'scheduling.tolerations'),
  );
  const seen = new Set<string>();
  (tolerations ?? []).forEach((t, i) => {
    const key = JSON.stringify([t.key ?? '', t.operator ?? '', t.value ?? '', t.effect ?? '']);
    if (seen.has(key)) errors.push(duplicate(`scheduling.tolerations[${i}]`, t));
    seen.add(key);
  });
  return errors;
}

export function validateRuntimeClassUpdate(object: KubeObject, old: KubeObject): FieldError[] {
  return [
    ...validateRuntimeClass(object),
    ...validateImmutable(object['handler'] ?? '', old['handler'] ?? '', 'handler'),
  ];
}

export function runtimeClassWarnings(object: KubeObject): string[] {
  const scheduling = object['scheduling'] as Scheduling | undefined;
  return Object.keys(scheduling?.nodeSelector ?? {}).flatMap((key) => {
    const text = deprecatedNodeLabels.get(key);
    return text === undefined ? [] : [`scheduling.nodeSelector: ${text}`];
  });
}
