/** Small checks that validations of many kinds share, worded as upstream's helpers of the same purpose. */
import { invalid, notSupported, required, type FieldError } from '../../api/field-error.ts';
import { canonicalEqual } from '../../api/helpers/deep-equal.ts';
import {
  inclusiveRangeError,
  isDNS1123Label,
  isDNS1123Subdomain,
  isNegativeError,
  isQualifiedName,
  isValidPercent,
  isValidPortName,
  isValidPortNum,
} from '../../api/names.ts';
import type { KubeObject } from '../../api/object.ts';
import { compileLabelSelector, SelectorError, type LabelSelector, type Selector } from '../../api/selector.ts';
import { internalForm } from './internal-form.ts';

export type Errors = FieldError[];

/** No error: it stands where, among the errors of an update, those of the changed metadata come once more. */
export const metadataAgain: FieldError = Object.freeze({ type: 'InternalError', field: '', detail: '' });

/** The spec of an object, typed by the caller. */
export function specOf<T>(object: KubeObject): Partial<T> {
  return (object['spec'] ?? {}) as Partial<T>;
}

export function statusOf<T>(object: KubeObject): Partial<T> {
  return (object['status'] ?? {}) as Partial<T>;
}

/** One `Invalid` error for each message. */
export function invalidEach(path: string, value: unknown, messages: readonly string[]): FieldError[] {
  return messages.map((m) => invalid(path, value, m));
}

export const validateDnsLabel = (value: string, path: string): FieldError[] =>
  invalidEach(path, value, isDNS1123Label(value));
export const validateDnsSubdomain = (value: string, path: string): FieldError[] =>
  invalidEach(path, value, isDNS1123Subdomain(value));
export const validateQualifiedName = (value: string, path: string): FieldError[] =>
  invalidEach(path, value, isQualifiedName(value));

export function validateNonnegative(value: number | undefined, path: string): FieldError[] {
  return (value ?? 0) < 0 ? [invalid(path, value, isNegativeError)] : [];
}

export function validatePositive(value: number, path: string): FieldError[] {
  return value <= 0 ? [invalid(path, value, 'must be greater than 0')] : [];
}

export function validateInRange(value: number | undefined, low: number, high: number, path: string): FieldError[] {
  return value !== undefined && (value < low || value > high)
    ? [invalid(path, value, inclusiveRangeError(low, high))]
    : [];
}

/** @param type of the value in the internal version, where it is not a pointer to a scalar */
export function validateImmutable(next: unknown, old: unknown, path: string, type = '*any'): FieldError[] {
  return canonicalEqual(next, old) ? [] : [invalid(path, internalForm(type, next), 'field is immutable')];
}

/** `supported` in the order that the error lists. */
export function validateEnum(value: string | undefined, supported: readonly string[], path: string): FieldError[] {
  return value === undefined || supported.includes(value) ? [] : [notSupported(path, value, supported)];
}

export function validateRequiredEnum(
  value: string | undefined,
  supported: readonly string[],
  path: string,
): FieldError[] {
  return value === undefined || value === '' ? [required(path)] : validateEnum(value, supported, path);
}

/** The same for a member with a default: empty is as wrong as any other value. */
export function validateDefaultedEnum(
  value: string | undefined,
  supported: readonly string[],
  path: string,
): FieldError[] {
  return value === undefined ? [required(path)] : validateEnum(value, supported, path);
}

/** A port number or a port's name. */
export function validatePortOrName(port: number | string | undefined, path: string): FieldError[] {
  if (typeof port === 'string') return invalidEach(path, port, isValidPortName(port));
  return invalidEach(path, port ?? 0, isValidPortNum(port ?? 0));
}

export function validatePositiveIntOrPercent(value: number | string | undefined, path: string): FieldError[] {
  if (typeof value === 'string') return invalidEach(path, value, isValidPercent(value));
  return validateNonnegative(value, path);
}

export function validateAtMost100Percent(value: number | string | undefined, path: string): FieldError[] {
  if (typeof value !== 'string' || isValidPercent(value).length > 0) return [];
  return Number(value.slice(0, -1)) > 100 ? [invalid(path, value, 'must not be greater than 100%')] : [];
}

const standardFinalizers: ReadonlySet<string> = new Set(['kubernetes', 'orphan', 'foregroundDeletion']);

/** A name without a domain must be one of the few that Kubernetes itself uses. */
export function validateKubeFinalizer(name: string, path: string): FieldError[] {
  if (name.includes('/') || standardFinalizers.has(name)) return [];
  return [invalid(path, name, 'name is neither a standard finalizer name nor is it fully qualified')];
}

export function validateFinalizerName(name: string, path: string): FieldError[] {
  return [...invalidEach(path, name, isQualifiedName(name)), ...validateKubeFinalizer(name, path)];
}

/** The selector ready to match with; undefined for one that cannot be compiled, whose errors are told elsewhere. */
export function compiledSelector(selector: LabelSelector | undefined | null): Selector | undefined {
  try {
    return compileLabelSelector(selector);
  } catch (error) {
    if (error instanceof SelectorError) return undefined;
    throw error;
  }
}
