/**
 * Building blocks of `Schema` trees: fields that resolve their schema on first use, and the shared scalars. Used for
 * built-in types (from the catalogue) and custom ones (from OpenAPI v3) alike, so that visitors see one shape of object.
 */
import type {
  Field,
  ListSchema,
  MapSchema,
  ObjectSchema,
  Presence,
  ScalarSchema,
  ScalarType,
  Schema,
} from './schema.ts';

export interface FieldFacts {
  readonly name: string;
  readonly index: number;
  readonly required?: boolean;
  readonly presence: Presence;
  readonly zero?: unknown;
  readonly embeddedStruct?: boolean;
  readonly omitEmpty?: boolean;
  readonly number?: number;
  readonly within?: readonly number[];
  readonly withinNames?: readonly string[];
  readonly default?: unknown;
  readonly enum?: readonly string[];
  readonly patchStrategy?: Field['patchStrategy'];
  readonly patchMergeKey?: string;
  readonly published?: Field['published'];
}

class LazyField implements Field {
  readonly name: string;
  readonly index: number;
  readonly required: boolean;
  readonly presence: Presence;
  readonly zero: unknown;
  readonly embeddedStruct: boolean;
  readonly omitEmpty: boolean;
  readonly number: number;
  readonly within: readonly number[] | undefined;
  readonly withinNames: readonly string[] | undefined;
  readonly default: unknown;
  readonly enum: readonly string[] | undefined;
  readonly patchStrategy: Field['patchStrategy'];
  readonly patchMergeKey: string | undefined;
  readonly published: Field['published'];
  #schema: Schema | undefined;
  #resolve: (() => Schema) | undefined;

  constructor(facts: FieldFacts, resolve: () => Schema) {
    this.name = facts.name;
    this.index = facts.index;
    this.required = facts.required ?? false;
    this.presence = facts.presence;
    this.zero = facts.zero;
    this.embeddedStruct = facts.embeddedStruct ?? false;
    this.omitEmpty = facts.omitEmpty ?? false;
    this.number = facts.number ?? 0;
    this.within = facts.within;
    this.withinNames = facts.withinNames;
    this.default = facts.default;
    this.enum = facts.enum;
    this.patchStrategy = facts.patchStrategy;
    this.patchMergeKey = facts.patchMergeKey;
    this.published = facts.published;
    this.#resolve = resolve;
  }

  get schema(): Schema {
    if (this.#schema === undefined) {
      this.#schema = this.#resolve!();
      this.#resolve = undefined;
    }
    return this.#schema;
  }
}

export function lazyField(facts: FieldFacts, resolve: () => Schema): Field {
  return new LazyField(facts, resolve);
}

export interface ObjectFacts {
  readonly name: string;
  readonly atomic?: boolean;
  readonly preserveUnknown?: boolean;
  readonly embedded?: boolean;
  readonly metadataDefaults?: ObjectSchema['metadataDefaults'];
  readonly nullable?: boolean;
  readonly constraints?: ObjectSchema['constraints'];
  readonly default?: unknown;
}

export function objectSchema(facts: ObjectFacts, fields: readonly Field[]): ObjectSchema {
  return {
    kind: 'object',
    name: facts.name,
    fields: new Map(fields.map((f) => [f.name, f])),
    written: fields.filter((f) => f.zero !== undefined),
    required: fields.filter((f) => f.required).map((f) => f.name),
    atomic: facts.atomic ?? false,
    preserveUnknown: facts.preserveUnknown ?? false,
    embedded: facts.embedded ?? false,
    metadataDefaults: facts.metadataDefaults,
    nullable: facts.nullable,
    constraints: facts.constraints,
    default: facts.default,
    derived: {},
  };
}

export const listSchema = (items: Schema, facts: Partial<Omit<ListSchema, 'kind' | 'items'>> = {}): ListSchema => ({
  kind: 'list',
  items,
  listType: 'atomic',
  mapKeys: [],
  ...facts,
});

export const mapSchema = (values: Schema, facts: Partial<Omit<MapSchema, 'kind' | 'values'>> = {}): MapSchema => ({
  kind: 'map',
  values,
  atomic: false,
  ...facts,
});

export const scalarSchema = (
  type: ScalarType,
  facts: Partial<Omit<ScalarSchema, 'kind' | 'type'>> = {},
): ScalarSchema => ({ kind: 'scalar', type, ...facts });
