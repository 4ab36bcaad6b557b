/**
 * The rules of structural schemas (apiextensions.k8s.io/v1): what `fromOpenAPI` relies on. Violations are the
 * field errors of a CRD, and of its NonStructuralSchema condition.
 */
import { RE2JS } from 're2js';
import type { FieldError } from '../field-error.ts';
import { forbiddenField, formatFieldError, invalid, required } from '../field-error.ts';
import { deepEqual } from '../helpers/deep-equal.ts';
import type { JSONSchemaProps } from './json-schema.ts';

type Level = 'root' | 'item' | 'field';

const intOrStringAnyOf = [{ type: 'integer' }, { type: 'string' }];

/** Why a schema is not structural; empty when it is. `path` is where the schema stands in the CRD. */
export function structuralErrors(schema: JSONSchemaProps, path: string): FieldError[] {
  const errors: FieldError[] = [];
  invariants(schema, 'root', path, errors);
  completeness(schema, schema, path, path, errors);
  return errors.sort((a, b) => (formatFieldError(a) < formatFieldError(b) ? -1 : 1));
}

const child = (path: string, name: string): string => (path === '' ? name : `${path}.${name}`);
const key = (path: string, name: string, k: string): string => `${child(path, name)}[${k}]`;
const index = (path: string, name: string, i: number): string => `${child(path, name)}[${i}]`;
const itemsOf = (s: JSONSchemaProps): JSONSchemaProps | undefined => (Array.isArray(s.items) ? undefined : s.items);

function invariants(s: JSONSchemaProps, level: Level, path: string, errors: FieldError[]): void {
  const items = itemsOf(s);
  if (s.type === 'array' && items === undefined) errors.push(required(child(path, 'items'), 'must be specified'));
  if (items !== undefined) invariants(items, 'item', child(path, 'items'), errors);
  for (const [name, property] of Object.entries(s.properties ?? {})) {
    invariants(property, 'field', key(path, 'properties', name), errors);
  }
  const additional = s.additionalProperties;
  if (additional !== undefined) {
    const where = child(path, 'additionalProperties');
    if (level === 'root') errors.push(forbiddenField(where, 'must not be used at the root'));
    if (typeof additional === 'object') invariants(additional, 'field', where, errors);
  }
  extensions(s, path, errors);

  const skipAnyOf = deepEqual(s.anyOf, intOrStringAnyOf);
  const skipFirstAllOf = deepEqual(s.allOf?.[0]?.anyOf, intOrStringAnyOf);
  valueValidation(s, skipAnyOf, skipFirstAllOf, path, errors);

  const embedded = s['x-kubernetes-embedded-resource'] === true;
  const preserve = s['x-kubernetes-preserve-unknown-fields'] === true;
  const type = s.type ?? '';
  const checkMetadata = level === 'root' || embedded;
  if (embedded && type !== 'object') {
    const why = 'must be object if x-kubernetes-embedded-resource is true';
    errors.push(type === '' ? required(child(path, 'type'), why) : invalid(child(path, 'type'), type, why));
  } else if (type === '' && s['x-kubernetes-int-or-string'] !== true && !preserve) {
    const why = {
      root: 'must not be empty at the root',
      item: 'must not be empty for specified array items',
      field: 'must not be empty for specified object fields',
    };
    errors.push(required(child(path, 'type'), why[level]));
  }
  if (embedded && additional !== undefined) {
    const why = 'must not be used if x-kubernetes-embedded-resource is set';
    errors.push(forbiddenField(child(path, 'additionalProperties'), why));
  }
  if (level === 'root' && type !== '' && type !== 'object') {
    errors.push(invalid(child(path, 'type'), type, 'must be object at the root'));
  }
  for (const name of ['kind', 'apiVersion']) {
    const property = s.properties?.[name];
    if (property !== undefined && checkMetadata && property.type !== 'string') {
      errors.push(invalid(child(key(path, 'properties', name), 'type'), property.type ?? '', 'must be string'));
    }
  }
  const metadata = s.properties?.['metadata'];
  if (metadata !== undefined) {
    const where = key(path, 'properties', 'metadata');
    if (checkMetadata && metadata.type !== 'object') {
      errors.push(invalid(child(where, 'type'), metadata.type ?? '', 'must be object'));
    }
    if (level === 'root') {
      const { type: _, default: _d, properties, ...rest } = metadata;
      const names = Object.keys(properties ?? {});
      const restricted = names.every((n) => n === 'name' || n === 'generateName');
      if (!restricted || Object.keys(rest).length > 0) {
        const why = 'must not specify anything other than name and generateName, but metadata is implicitly specified';
        errors.push(forbiddenField(where, why));
      }
    }
  }
  if (embedded && !preserve && Object.keys(s.properties ?? {}).length === 0) {
    const why =
      'must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields';
    errors.push(required(child(path, 'properties'), why));
  }
}

function extensions(s: JSONSchemaProps, path: string, errors: FieldError[]): void {
  if (s['x-kubernetes-int-or-string'] !== true) return;
  for (const name of ['x-kubernetes-preserve-unknown-fields', 'x-kubernetes-embedded-resource'] as const) {
    if (s[name] === true) {
      errors.push(invalid(child(path, name), true, 'must be false if x-kubernetes-int-or-string is true'));
    }
  }
}

function valueValidation(
  s: JSONSchemaProps,
  skipAnyOf: boolean,
  skipFirstAllOfAnyOf: boolean,
  path: string,
  errors: FieldError[],
): void {
  if (!skipAnyOf) s.anyOf?.forEach((v, i) => nested(v, false, index(path, 'anyOf', i), errors));
  s.allOf?.forEach((v, i) => nested(v, skipFirstAllOfAnyOf && i === 0, index(path, 'allOf', i), errors));
  s.oneOf?.forEach((v, i) => nested(v, false, index(path, 'oneOf', i), errors));
  if (s.not !== undefined) nested(s.not, false, child(path, 'not'), errors);
  if (s.pattern !== undefined && s.pattern !== '') {
    try {
      RE2JS.compile(s.pattern);
    } catch (e) {
      const why = `must be a valid regular expression, but isn't: ${(e as Error).message}`;
      errors.push(invalid(child(path, 'pattern'), s.pattern, why));
    }
  }
}

/** Under a logical junctor only values may be restricted, not structure given. */
function nested(s: JSONSchemaProps, skipAnyOf: boolean, path: string, errors: FieldError[]): void {
  valueValidation(s, skipAnyOf, false, path, errors);
  const items = itemsOf(s);
  if (items !== undefined) nested(items, false, child(path, 'items'), errors);
  for (const [name, property] of Object.entries(s.properties ?? {})) {
    nested(property, false, key(path, 'properties', name), errors);
  }
  const forbid = (name: string, set: boolean, why: string): void => {
    if (set) errors.push(forbiddenField(child(path, name), `${why} to be structural`));
  };
  forbid('type', (s.type ?? '') !== '', 'must be empty');
  const additional = s.additionalProperties;
  forbid('additionalProperties', additional !== undefined && additional !== false, 'must be undefined');
  forbid('default', s.default !== undefined && s.default !== null, 'must be undefined');
  forbid('title', (s.title ?? '') !== '', 'must be empty');
  forbid('description', (s.description ?? '') !== '', 'must be empty');
  forbid('nullable', s.nullable === true, 'must be false');
  for (const name of [
    'x-kubernetes-preserve-unknown-fields',
    'x-kubernetes-embedded-resource',
    'x-kubernetes-int-or-string',
  ] as const) {
    forbid(name, s[name] === true, 'must be false');
  }
  forbid('x-kubernetes-list-map-keys', (s['x-kubernetes-list-map-keys'] ?? []).length > 0, 'must be empty');
  forbid('x-kubernetes-list-type', s['x-kubernetes-list-type'] !== undefined, 'must be undefined');
  forbid('x-kubernetes-map-type', s['x-kubernetes-map-type'] !== undefined, 'must be undefined');
  forbid('x-kubernetes-validations', (s['x-kubernetes-validations'] ?? []).length > 0, 'must be empty');
  if (s.properties?.['metadata'] !== undefined) {
    errors.push(forbiddenField(key(path, 'properties', 'metadata'), 'must not be specified in a nested context'));
  }
}

/** Every member that is restricted under a junctor must be given outside of it. */
function completeness(
  v: JSONSchemaProps,
  s: JSONSchemaProps | undefined,
  sPath: string,
  vPath: string,
  errors: FieldError[],
): void {
  if (v.not !== undefined) nestedCompleteness(v.not, s, sPath, child(vPath, 'not'), errors);
  v.allOf?.forEach((n, i) => nestedCompleteness(n, s, sPath, index(vPath, 'allOf', i), errors));
  v.anyOf?.forEach((n, i) => nestedCompleteness(n, s, sPath, index(vPath, 'anyOf', i), errors));
  v.oneOf?.forEach((n, i) => nestedCompleteness(n, s, sPath, index(vPath, 'oneOf', i), errors));
}

function nestedCompleteness(
  v: JSONSchemaProps,
  s: JSONSchemaProps | undefined,
  sPath: string,
  vPath: string,
  errors: FieldError[],
): void {
  if (s === undefined) {
    errors.push(required(sPath, `because it is defined in ${vPath}`));
    return;
  }
  completeness(v, s, sPath, vPath, errors);
  const items = itemsOf(v);
  if (items !== undefined) nestedCompleteness(items, itemsOf(s), child(sPath, 'items'), child(vPath, 'items'), errors);
  for (const [name, property] of Object.entries(v.properties ?? {})) {
    const own = s.properties?.[name];
    const where = key(sPath, 'properties', name);
    const from = key(vPath, 'properties', name);
    if (own === undefined) errors.push(required(where, `because it is defined in ${from}`));
    else nestedCompleteness(property, own, where, from, errors);
  }
}
