/**
 * Validates a custom resource against the value validations of its CRD, with the errors of upstream's OpenAPI validator.
 * On an update, errors in parts that did not change are let pass (ratcheting, KEP-4008).
 */
import { RE2JS } from 're2js';
import type { FieldError } from '../field-error.ts';
import { duplicate, invalid, notSupported, required, tooLong, tooMany, typeInvalid } from '../field-error.ts';
import { deepEqual } from '../helpers/deep-equal.ts';
import { Correlated } from './correlation.ts';
import { matchesFormat } from './formats.ts';
import { isDNS1035Label } from '../names.ts';
import { parseApiVersion } from '../object.ts';
import type { Constraints, ObjectSchema, Schema } from './schema.ts';

type Members = Record<string, unknown>;

/**
 * All violations. `old` is the object before an update.
 * Errors that belong to no single member have the field `<nil>`, as upstream's.
 */
export function validateStructural(schema: ObjectSchema, object: unknown, old?: unknown): FieldError[] {
  if (schema.constraints === undefined) return [];
  return validateConstraints(schema.constraints, object, old);
}

export function validateConstraints(constraints: Constraints, value: unknown, old?: unknown): FieldError[] {
  return new Validator(old !== undefined).node(constraints, value, '', old).errors;
}

interface Result {
  readonly errors: FieldError[];
  /** How many checks applied, which decides whose errors are told when no alternative matches. */
  matches: number;
}

function typeOf(value: unknown): string {
  if (value === null || value === undefined) return 'null';
  if (Array.isArray(value)) return 'array';
  switch (typeof value) {
    case 'string':
      return 'string';
    case 'boolean':
      return 'boolean';
    case 'bigint':
      return 'integer';
    case 'number':
      return Number.isInteger(value) && Math.abs(value) < 2 ** 63 ? 'integer' : 'number';
    default:
      return 'object';
  }
}

const fieldOf = (path: string): string => (path.startsWith('.') ? path.slice(1) : path);
/** An error that upstream's validator reports without a member. */
const loose = (message: string): FieldError => invalid('<nil>', '', message);

function quote(text: string): string {
  return JSON.stringify(text);
}

/** Go's %v of a float64. */
function goNumber(n: number): string {
  if (!Number.isFinite(n)) return n > 0 ? '+Inf' : n < 0 ? '-Inf' : 'NaN';
  const exponent = n === 0 ? 0 : Math.floor(Math.log10(Math.abs(n)));
  if (exponent < -4 || exponent >= 21) {
    return n.toExponential().replace(/e([+-])(\d)$/, 'e$10$2');
  }
  return String(n);
}

class Validator {
  readonly #ratchet: boolean;
  readonly #patterns = new Map<string, RE2JS | string>();

  constructor(ratchet: boolean) {
    this.#ratchet = ratchet;
  }

  /** Validates a child; unchanged ones may keep what is wrong with them. */
  child(c: Constraints, value: unknown, path: string, old: unknown): Result {
    const result = this.node(c, value, path, old);
    // Items of `map` lists are what they were in whatever order they stand.
    if (this.#ratchet && result.errors.length > 0 && old !== undefined && new Correlated(value, old, c).unchanged) {
      return { errors: [], matches: result.matches };
    }
    return result;
  }

  node(c: Constraints, value: unknown, path: string, old: unknown): Result {
    const result: Result = { errors: [], matches: 0 };
    const field = fieldOf(path);
    const where = `${path} in body`;
    if (value === null || value === undefined) {
      if (c.types.length > 0 && c.nullable !== true) {
        const message = `${where} must be of type ${c.types.join(',')}: "null"`;
        add(result, typeInvalid(field, 'null', message));
      } else result.matches++;
      if (c.enum !== undefined && c.enum.length > 0) add(result, enumError(field, value, c.enum));
      return result;
    }
    const type = typeOf(value);
    if (c.types.length > 0 || c.format !== undefined) {
      if (typeMatches(c, type)) result.matches++;
      else if (c.format !== undefined && type !== 'string' && type !== 'array') {
        const actual = type === 'integer' ? 'int64' : type === 'number' ? 'float64' : '';
        add(result, typeInvalid(field, actual, `${where} must be of type ${c.format}: ${quote(actual)}`));
      } else add(result, typeInvalid(field, type, `${where} must be of type ${c.types.join(',')}: ${quote(type)}`));
      result.matches++;
    }
    this.#combinations(c, value, path, old, result);
    if (type === 'string') {
      this.#string(c, value as string, path, result);
      if (c.format !== undefined && matchesFormat(c.format, value as string) === false) {
        const message = `${where} must be of type ${c.format}: ${quote(value as string)}`;
        add(result, typeInvalid(field, value, message));
      }
    } else if (type === 'integer' || type === 'number') this.#number(c, Number(value), type, path, result);
    else if (type === 'array') this.#list(c, value as unknown[], path, old, result);
    if (c.enum !== undefined && c.enum.length > 0 && !c.enum.some((e) => deepEqual(e, value))) {
      add(result, enumError(field, value, c.enum));
    }
    result.matches++;
    if (type === 'object') this.#object(c, value as Members, path, old, result);
    result.matches++;
    return result;
  }

  #combinations(c: Constraints, value: unknown, path: string, old: unknown, result: Result): void {
    if (c.anyOf !== undefined) {
      let best: Result | undefined;
      let success: Result | undefined;
      for (const alternative of c.anyOf) {
        const r = this.node(alternative, value, path, old);
        if (r.errors.length === 0) {
          success = r;
          break;
        }
        if (best === undefined || r.matches > best.matches) best = r;
      }
      if (success !== undefined) merge(result, success);
      else {
        add(result, loose(`${quote(path)} must validate at least one schema (anyOf)`));
        if (best !== undefined) merge(result, best);
      }
    }
    if (c.oneOf !== undefined) {
      let best: Result | undefined;
      let success: Result | undefined;
      let valid = 0;
      for (const alternative of c.oneOf) {
        const r = this.node(alternative, value, path, old);
        if (r.errors.length === 0) {
          valid++;
          best = undefined;
          success ??= r;
        } else if (valid === 0 && (best === undefined || r.matches > best.matches)) best = r;
      }
      if (valid === 1) merge(result, success!);
      else {
        const found = valid === 0 ? 'Found none valid' : `Found ${valid} valid alternatives`;
        add(result, loose(`${quote(path)} must validate one and only one schema (oneOf). ${found}`));
        if (best !== undefined) merge(result, best);
      }
    }
    if (c.allOf !== undefined) {
      let valid = 0;
      for (const part of c.allOf) {
        const r = this.node(part, value, path, old);
        if (r.errors.length === 0) valid++;
        merge(result, r);
      }
      if (valid !== c.allOf.length) {
        const none = valid === 0 ? '. None validated' : '';
        add(result, loose(`${quote(path)} must validate all the schemas (allOf)${none}`));
      }
    }
    if (c.not !== undefined && this.node(c.not, value, path, old).errors.length === 0) {
      add(result, loose(`${quote(path)} must not validate the schema (not)`));
    }
    result.matches++;
  }

  /** The first thing wrong with a string. */
  #string(c: Constraints, value: string, path: string, result: Result): void {
    const field = fieldOf(path);
    if (c.maxLength !== undefined || c.minLength !== undefined) {
      let length = 0;
      for (const _ of value) length++;
      if (c.maxLength !== undefined && length > c.maxLength) return add(result, tooLong(field, c.maxLength));
      if (c.minLength !== undefined && length < c.minLength) {
        return add(result, invalid(field, value, `${path} in body should be at least ${c.minLength} chars long`));
      }
    }
    if (c.pattern !== undefined) {
      let pattern = this.#patterns.get(c.pattern);
      if (pattern === undefined) {
        try {
          pattern = RE2JS.compile(c.pattern);
        } catch (e) {
          pattern = (e as Error).message;
        }
        this.#patterns.set(c.pattern, pattern);
      }
      if (typeof pattern === 'string') {
        const text = `${c.pattern}, but pattern is invalid: ${pattern}`;
        add(result, invalid(field, value, `${path} in body should match '${text}'`));
      } else if (!pattern.matcher(value).find()) {
        add(result, invalid(field, value, `${path} in body should match '${c.pattern}'`));
      }
    }
    return undefined;
  }

  #number(c: Constraints, value: number, type: string, path: string, result: Result): void {
    const field = fieldOf(path);
    const fail = (what: string): void => add(result, invalid(field, value, `${path} in body should be ${what}`));
    const integer = c.types.length === 1 && c.types[0] === 'integer';
    if (integer) {
      const limit = c.format === 'int32' ? 2 ** 31 : 2 ** 63;
      if (!Number.isInteger(value) || value < -limit || value >= limit) {
        const format = c.format === undefined ? '(default format)' : `with format ${c.format}`;
        add(result, loose(`Checked value must be of type integer ${format} in ${path}`));
      }
    } else if (c.types.length === 1 && c.format === 'float' && Math.abs(value) > 3.4028234663852886e38) {
      add(result, loose(`Checked value must be of type number with format float in ${path}`));
    }
    if (c.multipleOf !== undefined) {
      // Integers are divided as such, by what is before the point alone.
      const factor = type === 'integer' ? Math.trunc(c.multipleOf) : c.multipleOf;
      if (factor <= 0) {
        const message = `factor MultipleOf declared for ${path} must be positive: ${goNumber(factor)}`;
        add(result, invalid(field, factor, message));
      } else {
        const times = factor < 1 ? (1 / factor) * value : value / factor;
        if (Math.abs(times - Math.round(times)) > 1e-9 * Math.max(1, Math.abs(times))) {
          fail(`a multiple of ${goNumber(factor)}`);
        }
      }
    }
    if (c.minimum !== undefined) {
      if (c.exclusiveMinimum === true ? value <= c.minimum : value < c.minimum) {
        fail(`greater than ${c.exclusiveMinimum === true ? '' : 'or equal to '}${goNumber(c.minimum)}`);
      }
    }
    if (c.maximum !== undefined) {
      if (c.exclusiveMaximum === true ? value >= c.maximum : value > c.maximum) {
        fail(`less than ${c.exclusiveMaximum === true ? '' : 'or equal to '}${goNumber(c.maximum)}`);
      }
    }
    result.matches++;
  }

  #list(c: Constraints, value: unknown[], path: string, old: unknown, result: Result): void {
    const field = fieldOf(path);
    if (c.items !== undefined) {
      const before = this.#ratchet && Array.isArray(old) ? correlate(c, old) : undefined;
      for (let i = 0; i < value.length; i++) {
        merge(result, this.child(c.items, value[i], `${path}[${i}]`, before?.(value[i])));
      }
    }
    if (c.minItems !== undefined && value.length < c.minItems) {
      add(result, invalid(field, value.length, `${path} in body should have at least ${c.minItems} items`));
    }
    if (c.maxItems !== undefined && value.length > c.maxItems) add(result, tooMany(field, value.length, c.maxItems));
    if (c.uniqueItems === true && value.some((v, i) => value.slice(0, i).some((u) => deepEqual(u, v)))) {
      add(result, invalid(field, '', `${path} in body shouldn't contain duplicates`));
    }
    result.matches++;
  }

  #object(c: Constraints, value: Members, path: string, old: unknown, result: Result): void {
    const field = fieldOf(path);
    const keys = Object.keys(value);
    const before =
      this.#ratchet && typeof old === 'object' && old !== null && !Array.isArray(old) ? (old as Members) : {};
    if (c.minProperties !== undefined && keys.length < c.minProperties) {
      const message = `${path} in body should have at least ${c.minProperties} properties`;
      add(result, invalid(field, keys.length, message));
    }
    if (c.maxProperties !== undefined && keys.length > c.maxProperties) {
      add(result, tooMany(field, keys.length, c.maxProperties));
    }
    if (c.additionalProperties === false) {
      for (const key of keys) {
        if (c.properties?.has(key) !== true) {
          add(result, invalid(field, key, `${path}.${key} in body is a forbidden property`));
        }
      }
    } else if (typeof c.additionalProperties === 'object') {
      for (const key of keys) {
        if (c.properties?.has(key) === true) continue;
        merge(result, this.child(c.additionalProperties, value[key], `${path}.${key}`, before[key]));
      }
    }
    for (const [name, property] of c.properties ?? []) {
      if (!Object.hasOwn(value, name) || value[name] === undefined) continue;
      const childPath = path === '' ? name : `${path}.${name}`;
      // The version is not the writer's to keep.
      const untouchable = path === '' && (name === 'kind' || name === 'apiVersion');
      merge(result, this.child(property, value[name], childPath, untouchable ? undefined : before[name]));
    }
    for (const name of c.required ?? []) {
      if (!Object.hasOwn(value, name) || value[name] === undefined) add(result, required(fieldOf(`${path}.${name}`)));
    }
  }
}

function typeMatches(c: Constraints, type: string): boolean {
  const numeric = c.types.includes('number') || c.types.includes('integer');
  // A format on a string or list is left to the format's own check.
  if (!numeric && c.format !== undefined && (type === 'string' || type === 'array')) return true;
  if (c.types.length === 0) return true;
  return c.types.includes(type) || (type === 'integer' && c.types.includes('number'));
}

/** The item before of a list of type map; items of other lists have no identity. */
function correlate(c: Constraints, old: unknown[]): ((item: unknown) => unknown) | undefined {
  if (c.listType !== 'map' || c.mapKeys === undefined) return undefined;
  const keyOf = (item: unknown): string | undefined => {
    if (typeof item !== 'object' || item === null) return undefined;
    return JSON.stringify(c.mapKeys!.map((k) => (item as Members)[k] ?? null));
  };
  const byKey = new Map(old.map((item) => [keyOf(item), item]));
  return (item) => {
    const key = keyOf(item);
    return key === undefined ? undefined : byKey.get(key);
  };
}

function enumError(field: string, value: unknown, allowed: readonly unknown[]): FieldError {
  return notSupported(
    field,
    value,
    allowed.map((v) => (typeof v === 'string' ? v : JSON.stringify(v))),
  );
}

/** An error is told once, however often a schema finds it. */
function add(result: Result, error: FieldError): void {
  for (const e of result.errors) {
    if (e.type === error.type && e.field === error.field && e.detail === error.detail) return;
  }
  result.errors.push(error);
}

function merge(result: Result, other: Result): void {
  for (const e of other.errors) add(result, e);
  result.matches += other.matches;
}

/** Uniqueness in lists of type set and map, by whole items and by their keys. */
export function validateListSetsAndMaps(schema: ObjectSchema, object: unknown): FieldError[] {
  const errors: FieldError[] = [];
  if (schema.constraints !== undefined) listSetsAndMaps(schema.constraints, object, '', errors);
  return errors;
}

function listSetsAndMaps(c: Constraints, value: unknown, path: string, errors: FieldError[]): void {
  if (Array.isArray(value)) {
    if (c.listType === 'set') {
      for (const i of repeated(value)) errors.push(duplicate(`${path}[${i}]`, value[i]));
    } else if (c.listType === 'map') {
      const wrong = value.findIndex((v) => v !== null && (typeof v !== 'object' || Array.isArray(v)));
      if (wrong >= 0) {
        const message = 'must be an object for an array of list-type map';
        errors.push(invalid(`${path}[${wrong}]`, value[wrong], message));
      } else {
        const keys = value.map((item) => {
          const key: Members = {};
          for (const name of c.mapKeys ?? []) {
            const v = (item as Members | null)?.[name];
            if (v !== undefined) key[name] = v;
          }
          return key;
        });
        for (const i of repeated(keys)) errors.push(duplicate(`${path}[${i}]`, keys[i]));
      }
    }
    if (c.items !== undefined) value.forEach((v, i) => listSetsAndMaps(c.items!, v, `${path}[${i}]`, errors));
  } else if (typeof value === 'object' && value !== null) {
    for (const [key, v] of Object.entries(value)) {
      const property = c.properties?.get(key);
      if (property !== undefined) listSetsAndMaps(property, v, path === '' ? key : `${path}.${key}`, errors);
      else if (typeof c.additionalProperties === 'object') {
        listSetsAndMaps(c.additionalProperties, v, `${path}[${key}]`, errors);
      }
    }
  }
}

/** Indexes of the second appearance of each repeated item. */
function repeated(items: readonly unknown[]): number[] {
  const seen = new Map<string, number>();
  const out: number[] = [];
  items.forEach((item, i) => {
    const key = stable(item);
    const times = (seen.get(key) ?? 0) + 1;
    seen.set(key, times);
    if (times === 2) out.push(i);
  });
  return out;
}

function stable(value: unknown): string {
  if (typeof value !== 'object' || value === null)
    return typeof value === 'bigint' ? String(value) : JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(stable).join(',')}]`;
  const members = value as Members;
  return `{${Object.keys(members)
    .sort()
    .map((k) => `${JSON.stringify(k)}:${stable(members[k])}`)
    .join(',')}}`;
}

/** What an ObjectMeta is checked by: the rules of metadata are not the schema's. */
export type ValidateObjectMeta = (metadata: Members, path: string) => FieldError[];

/** Type header and metadata of resources embedded in a custom resource (the root's are checked elsewhere). */
export function validateEmbeddedResources(
  schema: ObjectSchema,
  object: unknown,
  validateObjectMeta: ValidateObjectMeta,
): FieldError[] {
  const errors: FieldError[] = [];
  embedded(schema, object, '', true, validateObjectMeta, errors);
  return errors;
}

function embedded(
  schema: Schema,
  value: unknown,
  path: string,
  root: boolean,
  validateObjectMeta: ValidateObjectMeta,
  errors: FieldError[],
): void {
  if (typeof value !== 'object' || value === null) return;
  if (Array.isArray(value)) {
    if (schema.kind !== 'list') return;
    value.forEach((v, i) => embedded(schema.items, v, `${path}[${i}]`, false, validateObjectMeta, errors));
    return;
  }
  const members = value as Members;
  if (schema.kind === 'map') {
    for (const [key, v] of Object.entries(members)) {
      embedded(schema.values, v, `${path}[${key}]`, false, validateObjectMeta, errors);
    }
  } else if (schema.kind === 'object') {
    const at = (name: string): string => (path === '' ? name : `${path}.${name}`);
    if (schema.embedded && !root) {
      typeHeader(members, at, errors);
      const metadata = members['metadata'];
      if (typeof metadata === 'object' && metadata !== null) {
        errors.push(...validateObjectMeta(metadata as Members, at('metadata')));
      }
    }
    for (const [key, v] of Object.entries(members)) {
      if (schema.embedded && key === 'metadata') continue;
      const field = schema.fields.get(key);
      if (field !== undefined) embedded(field.schema, v, at(key), false, validateObjectMeta, errors);
    }
  }
}

function typeHeader(members: Members, at: (name: string) => string, errors: FieldError[]): void {
  for (const name of ['apiVersion', 'kind']) {
    const v = members[name];
    if (v === undefined) errors.push(required(at(name)));
    else if (typeof v !== 'string') errors.push(invalid(at(name), v, 'must be a string'));
    else if (v === '') errors.push(invalid(at(name), v, 'must not be empty'));
    else if (name === 'apiVersion') {
      if (parseApiVersion(v) === undefined) errors.push(invalid(at(name), v, `unexpected GroupVersion string: ${v}`));
    } else {
      const wrong = isDNS1035Label(v.toLowerCase());
      if (wrong.length > 0) {
        const why = `may have mixed case, but should otherwise match: ${wrong.join(',')}`;
        errors.push(invalid(at(name), v, why));
      }
    }
  }
}
