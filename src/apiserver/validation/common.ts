/** Small rules that many kinds share (pkg/apis/core/validation): names, signs, paths, immutability. */
import { compileLabelSelector, SelectorError } from '../../api/selector.ts';
import type { LabelSelector, Selector } from '../../api/selector.ts';
import { canonicalEqual } from '../../api/helpers/deep-equal.ts';
import type { FieldError } from '../../api/field-error.ts';
import { internalForm } from './internal-form.ts';
import { invalid, required } from '../../api/field-error.ts';
import {
  inclusiveRangeError,
  isDNS1123Label,
  isDNS1123Subdomain,
  isNegativeError,
  isQualifiedName,
  isValidPortName,
  isValidPortNum,
} from '../../api/names.ts';

export type Errors = FieldError[];

/** Each message as `Invalid value`. */
export function invalids(messages: readonly string[], field: string, value: unknown): Errors {
  return messages.map((m) => invalid(field, value, m));
}

export const dns1123Label = (value: string, field: string): Errors => invalids(isDNS1123Label(value), field, value);
export const dns1123Subdomain = (value: string, field: string): Errors =>
  invalids(isDNS1123Subdomain(value), field, value);
export const qualifiedName = (value: string, field: string): Errors => invalids(isQualifiedName(value), field, value);

export function nonNegative(value: number | undefined, field: string): Errors {
  return value !== undefined && value < 0 ? [invalid(field, value, isNegativeError)] : [];
}

export function positive(value: number, field: string): Errors {
  return value <= 0 ? [invalid(field, value, 'must be greater than 0')] : [];
}

export function inRange(value: number | undefined, low: number, high: number, field: string): Errors {
  return value !== undefined && (value < low || value > high)
    ? [invalid(field, value, inclusiveRangeError(low, high))]
    : [];
}

export const immutableMessage = 'field is immutable';

/** @param type of the value in the internal version, where it is not a pointer to a scalar */
export function immutable(value: unknown, old: unknown, field: string, type = '*any'): Errors {
  return canonicalEqual(value, old) ? [] : [invalid(field, internalForm(type, value), immutableMessage)];
}

export function portNumOrName(port: unknown, field: string): Errors {
  return typeof port === 'number'
    ? invalids(isValidPortNum(port), field, port)
    : invalids(isValidPortName(String(port ?? '')), field, port);
}

export function noBacksteps(path: string, field: string): Errors {
  return path.split('/').includes('..') ? [invalid(field, path, "must not contain '..'")] : [];
}

export function localDescendingPath(path: string, field: string): Errors {
  return [
    ...(path.startsWith('/') ? [invalid(field, path, 'must be a relative path')] : []),
    ...noBacksteps(path, field),
  ];
}

export function localNonReservedPath(path: string, field: string): Errors {
  const errors = localDescendingPath(path, field);
  if (path.startsWith('..') && !path.startsWith('../')) errors.push(invalid(field, path, "must not start with '..'"));
  return errors;
}

/** Required, or a list of supported values. */
export function oneOf(
  value: string | undefined,
  supported: readonly string[],
  field: string,
  emptyAllowed = false,
): Errors {
  if (value === undefined || value === '') return emptyAllowed ? [] : [required(field)];
  return supported.includes(value)
    ? []
    : [
        {
          type: 'FieldValueNotSupported',
          field,
          badValue: value,
          detail: `supported values: ${supported.map((s) => JSON.stringify(s)).join(', ')}`,
        },
      ];
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

/** What a hostPath volume may ask its path to be. */
export const hostPathTypes = [
  '',
  'BlockDevice',
  'CharDevice',
  'Directory',
  'DirectoryOrCreate',
  'File',
  'FileOrCreate',
  'Socket',
];
