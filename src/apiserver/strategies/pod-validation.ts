/** Where the pod strategies get their semantic validation from. */
import type { FieldError } from '../../api/field-error.ts';
import type { KubeObject } from '../../api/object.ts';

type OnCreate = (object: KubeObject) => readonly FieldError[];
type OnUpdate = (object: KubeObject, old: KubeObject) => readonly FieldError[];

const none: OnUpdate = () => [];

/** The Warning on each write while pods are stored without semantic validation; undefined once they are validated. */
export const podIncomplete: string | undefined = 'knarr does not validate Pods beyond their structure yet';
export const validatePodCreate: OnCreate = () => [];
export const validatePodUpdate = none;
export const validatePodStatusUpdate = none;
export const validatePodEphemeralContainersUpdate = none;
export const validatePodResize = none;
export const podWarnings = (_object: KubeObject): readonly string[] => [];
