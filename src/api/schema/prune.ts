/**
 * From a parsed body to a custom resource: members that the CRD does not know are left out (and named, for strict field
 * validation), nulls that are not allowed are unset, metadata of the resource and of embedded ones is read as ObjectMeta,
 * defaults are applied, and members are sorted as upstream writes untyped objects. The result shares nothing with the input.
 */
import { goDynamicType } from '../patch/values.ts';
import { goQuote, jsonTypeName } from '../codec/json.ts';
import { type FieldError, formatFieldError, invalid } from '../field-error.ts';
import { canonicalize } from './canonicalize.ts';
import { DecodeError, copyJson, decode, setMember } from './decode.ts';
import { applyCustomDefaults } from './defaults-custom.ts';
import type { ObjectSchema, Schema } from './schema.ts';

export interface DecodeCustomOptions {
  /** Collect unknown members, for fieldValidation Strict and Warn. */
  readonly strict?: boolean;
  /** Nulls that are not allowed stay, where no default takes their place. */
  readonly keepNulls?: boolean | undefined;
  /** False: what is missing stays missing. */
  readonly defaults?: boolean;
  /** Malformed members of metadata, and malformed types of embedded resources, are left out. */
  readonly repair?: boolean;
  /** metav1.ObjectMeta of the catalogue. */
  readonly objectMeta: ObjectSchema;
}

type Members = Record<string, unknown>;

/**
 * Reads a custom resource.
 * @throws {DecodeError} where metadata or type members are malformed; other wrong types are left to validation
 */
export function decodeCustom(
  schema: ObjectSchema,
  input: unknown,
  options: DecodeCustomOptions,
): { object: Members; strictErrors: string[]; unknown: readonly string[] } {
  if (typeof input !== 'object' || input === null || Array.isArray(input)) {
    const type = 'map[string]interface {}';
    throw new DecodeError(`json: cannot unmarshal ${jsonTypeName(input)} into Go value of type ${type}`);
  }
  const pruner = new Pruner(options);
  const object = pruner.root(schema, input as Members);
  if (options.defaults !== false) applyCustomDefaults(schema, object);
  return { object: sortMembers(object), strictErrors: pruner.strictErrors(), unknown: pruner.unknown };
}

/** A default of a CRD without what no object can have: unknown members, also of the metadata of embedded resources. */
export function prunedDefault(schema: Schema, value: unknown, objectMeta: ObjectSchema): unknown {
  return new Pruner({ objectMeta, repair: true, keepNulls: true }).node(schema, value, '');
}

/** An embedded resource whose type or metadata is malformed. */
export class EmbeddedError extends DecodeError {
  readonly error: FieldError;

  constructor(error: FieldError, cause?: unknown) {
    super(formatFieldError(error), { cause });
    this.error = error;
  }
}

/** Members in the order of their names, at every depth; shares what is sorted already. */
export function sortMembers<T>(value: T): T {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) {
    let out: unknown[] | undefined;
    for (let i = 0; i < value.length; i++) {
      const v: unknown = value[i];
      const sorted = sortMembers(v);
      if (sorted !== v && out === undefined) out = value.slice(0, i);
      if (out !== undefined) out.push(sorted);
    }
    return (out ?? value) as T;
  }
  const members = value as Members;
  const keys = Object.keys(members);
  let changed = false;
  for (let i = 1; i < keys.length && !changed; i++) changed = keys[i - 1]! > keys[i]!;
  if (changed) keys.sort();
  const values = keys.map((k) => sortMembers(members[k]));
  if (!changed && values.every((v, i) => v === members[keys[i]!])) return value;
  const out: Members = {};
  keys.forEach((k, i) => setMember(out, k, values[i]));
  return out as T;
}

const isObject = (v: unknown): v is Members => typeof v === 'object' && v !== null && !Array.isArray(v);

class Pruner {
  readonly #strict: boolean;
  readonly #keepNulls: boolean;
  readonly #objectMeta: ObjectSchema;
  readonly #repair: boolean;
  /** Strict errors of the object's own metadata, and of the metadata of embedded resources. */
  readonly #metadata: string[] = [];
  readonly #embedded: string[] = [];
  /** Members that the schema does not know; those of metadata are not among them. */
  readonly unknown: string[] = [];

  constructor(options: DecodeCustomOptions) {
    this.#strict = options.strict === true;
    this.#keepNulls = options.keepNulls === true;
    this.#objectMeta = options.objectMeta;
    this.#repair = options.repair === true;
  }

  strictErrors(): string[] {
    return [
      ...this.#metadata,
      ...this.unknown.toSorted().map((path) => `unknown field ${goQuote(path)}`),
      ...this.#embedded.toSorted(),
    ];
  }

  root(schema: ObjectSchema, input: Members): Members {
    for (const name of ['kind', 'apiVersion']) {
      const v = input[name];
      if (v !== undefined && typeof v !== 'string') {
        const shown = JSON.stringify(v);
        throw new DecodeError(`.${name} accessor error: ${shown} is of the type ${goDynamicType(v)}, expected string`);
      }
    }
    return this.#struct(schema, input, '', true);
  }

  /** An undefined schema knows no members. */
  node(schema: Schema | undefined, value: unknown, path: string): unknown {
    if (typeof value !== 'object' || value === null) return value === undefined ? null : value;
    if (value instanceof Date) return copyJson(value);
    if (schema?.kind === 'any' && schema.closed !== true) return copyJson(value);
    if (Array.isArray(value)) {
      // A list where an object was to be: validation will refuse it, but nothing of it is unknown.
      if (schema?.kind === 'object' && schema.preserveUnknown) return copyJson(value);
      const items = schema?.kind === 'list' ? schema.items : undefined;
      return value.map((v, i) => this.node(items, v, `${path}[${i}]`));
    }
    if (schema?.kind === 'object') return this.#struct(schema, value as Members, path, false);
    const out: Members = {};
    for (const key of Object.keys(value)) {
      const v = (value as Members)[key];
      if (v === undefined) continue;
      if (schema?.kind === 'map') {
        if (v === null && !this.#keepNulls && isRefused(schema.values)) continue;
        setMember(
          out,
          key,
          this.node(
            schema.values.kind === 'any' && schema.values.closed === true ? undefined : schema.values,
            v,
            join(path, key),
          ),
        );
      } else this.#record(path, key);
    }
    return out;
  }

  #struct(schema: ObjectSchema, value: Members, path: string, root: boolean): Members {
    const out: Members = {};
    for (const key of Object.keys(value)) {
      const v = value[key];
      if (v === undefined) continue;
      if (schema.embedded && (key === 'kind' || key === 'apiVersion')) {
        if (typeof v !== 'string') {
          if (this.#repair) continue;
          throw new EmbeddedError(invalid(join(path, key), v, 'must be a string'));
        }
        out[key] = v;
        continue;
      }
      if (schema.embedded && key === 'metadata') {
        out[key] = this.#metadataOf(v, path, root);
        continue;
      }
      const field = schema.fields.get(key);
      if (field !== undefined) {
        if (v === null && !this.#keepNulls && isRefused(field.schema) && field.default === undefined) continue;
        out[key] = this.node(field.schema, v, join(path, key));
      } else if (schema.preserveUnknown) setMember(out, key, copyJson(v));
      else this.#record(path, key);
    }
    return out;
  }

  #metadataOf(value: unknown, path: string, root: boolean): unknown {
    const where = join(path, 'metadata');
    try {
      // In order where unknown members are told; what is only read need not be walked for that.
      const { object, strictErrors } = decode(
        this.#objectMeta,
        this.#strict ? sortMembers(value ?? {}) : (value ?? {}),
        {
          strict: this.#strict,
          path: where,
        },
      );
      (root ? this.#metadata : this.#embedded).push(...strictErrors);
      return canonicalize(this.#objectMeta, object);
    } catch (e) {
      if (!(e instanceof DecodeError)) throw e;
      if (this.#repair && isObject(value)) return this.#repaired(value);
      if (this.#repair && !root) return copyJson(value);
      if (root) throw e;
      throw new EmbeddedError(invalid(where, value, e.message), e);
    }
  }

  /** Those members that can be read, each by itself. */
  #repaired(metadata: Members): Members {
    const out: Members = {};
    for (const key of Object.keys(metadata)) {
      try {
        Object.assign(out, decode(this.#objectMeta, { [key]: metadata[key] }).object);
      } catch (e) {
        if (!(e instanceof DecodeError)) throw e;
      }
    }
    return canonicalize(this.#objectMeta, out);
  }

  #record(path: string, key: string): void {
    if (this.#strict) this.unknown.push(join(path, key));
  }
}

const join = (path: string, key: string): string => (path === '' ? key : `${path}.${key}`);

/** Null is not allowed, and no default takes its place. */
const isRefused = (schema: Schema): boolean =>
  schema.constraints !== undefined && schema.nullable !== true && schema.default === undefined;
