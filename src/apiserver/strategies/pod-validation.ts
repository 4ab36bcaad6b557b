/** The pod validations as the strategies call them, over objects of any kind. */
import type { FieldError } from '../../api/field-error.ts';
import type { KubeObject } from '../../api/object.ts';
import type { Pod } from '../../api/types/core-v1.gen.ts';
import { podResizeErrors } from '../validation/pod-resize.ts';
import * as pods from '../validation/pod.ts';
import { validatePodStatusUpdate as validatePodStatus } from '../validation/pod-status.ts';
import { podSpecWarnings } from './pod-warnings.ts';

const pod = (object: KubeObject): Pod => object as unknown as Pod;

type OnUpdate = (object: KubeObject, old: KubeObject) => readonly FieldError[];

export const validatePodCreate = (object: KubeObject): readonly FieldError[] => pods.validatePod(pod(object));
export const validatePodUpdate: OnUpdate = (object, old) => pods.validatePodUpdate(pod(object), pod(old));
export const validatePodStatusUpdate: OnUpdate = (object, old) => validatePodStatus(pod(object), pod(old));
export const validatePodEphemeralContainersUpdate: OnUpdate = (object, old) =>
  pods.validateEphemeralContainersUpdate(pod(object), pod(old));
export const validatePodResize: OnUpdate = (object, old) => podResizeErrors(pod(object), pod(old), pods.podRules);

export function podWarnings(object: KubeObject): readonly string[] {
  const { metadata, spec } = pod(object);
  return spec === undefined ? [] : podSpecWarnings(spec, metadata, 'spec');
}
