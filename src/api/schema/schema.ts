/**
 * The `Schema` tree: the shape of a type, built-in (from the catalogue) or custom (from a CRD's OpenAPI v3 schema). Every
 * behaviour that depends on shape is one visitor over this tree. Children are resolved lazily: types may be recursive, and
 * most are never looked at in the life of a process.
 */

/** How upstream's Go encoder writes a field (KEP-free fact of encoding/json struct tags). */
export type Presence =
  /** written when set, even to its zero value */
  | 'pointer'
  /** dropped when zero or empty (a non-pointer struct is written all the same) */
  | 'omitempty'
  /** always written, with its zero value when unset (see `Field.zero`) */
  | 'always'
  /** dropped when the struct is all zero */
  | 'omitzero';

export interface Field {
  readonly name: string;
  /** Position in the Go struct, which is the order upstream writes members in. */
  readonly index: number;
  /** Resolved on first use. */
  readonly schema: Schema;
  readonly required: boolean;
  readonly presence: Presence;
  /**
   * What the member is written as when unset (`always` fields, and non-pointer structs even with omitempty); undefined
   * when it is then left out. For structs `{}` stands for the zero struct, which has zero members of its own.
   */
  readonly zero?: unknown;
  /** A non-pointer struct: it exists even when unset, so defaults apply inside it. */
  readonly embeddedStruct: boolean;
  /** Go's `omitempty`, or a pointer: an empty value (or, for a pointer, null) is not written. */
  readonly omitEmpty: boolean;
  /** Protobuf field number; 0 for custom resources. */
  readonly number: number;
  /** Field numbers of the inlined messages that hold this member in protobuf, outermost first (Volume's sources: [2]). */
  readonly within?: readonly number[];
  /** Go's names of these inlined structs, which decode errors print. */
  readonly withinNames?: readonly string[];
  /** Constant default (applied when the field is absent or null). Shared: never mutate. */
  readonly default?: unknown;
  readonly enum?: readonly string[];
  readonly patchStrategy?: 'merge' | 'replace' | 'retainKeys' | 'merge,retainKeys';
  readonly patchMergeKey?: string;
  /** Facts that only OpenAPI documents tell. */
  readonly published?: PublishedFacts;
}

export interface PublishedFacts {
  /** The list type, where one is given: an absent one means atomic too. */
  readonly listType?: string;
  /** `granular` overrides a struct that is atomic elsewhere. */
  readonly mapType?: 'atomic' | 'granular';
  /** The default shown by OpenAPI v3, beyond zero values; not all defaults are published. */
  readonly default?: unknown;
}

/**
 * Value validations of one node of a CRD's OpenAPI v3 schema, and of the nodes below it; built-in types are validated by
 * hand-written functions instead. `validate-structural.ts` walks these alone.
 */
export interface Constraints {
  /** JSON Schema types; `integer` and `string` for int-or-string; empty when any will do. */
  readonly types: readonly string[];
  readonly nullable?: boolean;
  readonly enum?: readonly unknown[];
  readonly pattern?: string;
  /** Only formats that are checked; unknown ones are ignored. */
  readonly format?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly exclusiveMinimum?: boolean;
  readonly exclusiveMaximum?: boolean;
  readonly multipleOf?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly uniqueItems?: boolean;
  readonly minProperties?: number;
  readonly maxProperties?: number;
  readonly required?: readonly string[];
  readonly properties?: ReadonlyMap<string, Constraints>;
  readonly items?: Constraints;
  readonly additionalProperties?: Constraints | boolean;
  readonly allOf?: readonly Constraints[];
  readonly anyOf?: readonly Constraints[];
  readonly oneOf?: readonly Constraints[];
  readonly not?: Constraints;
  readonly listType?: string;
  readonly mapKeys?: readonly string[];
  /** `x-kubernetes-validations`. */
  readonly rules?: readonly ValidationRule[];
}

/** One of `x-kubernetes-validations`. */
export interface ValidationRule {
  readonly rule: string;
  readonly message?: string;
  readonly messageExpression?: string;
  readonly reason?: string;
  readonly fieldPath?: string;
  readonly optionalOldSelf?: boolean;
}

interface Base {
  /** Accepts null (CRD `nullable`). */
  readonly nullable?: boolean;
  readonly constraints?: Constraints;
  /** CRD default for this node, where the parent is not a struct (list items, map values). */
  readonly default?: unknown;
  /** The Go type as decode errors print it, where it is a named one: `v1.PullPolicy`, `v1.ResourceList`. */
  readonly goType?: string;
}

export interface ObjectSchema extends Base {
  readonly kind: 'object';
  /** Swagger definition name, e.g. `io.k8s.api.core.v1.PodSpec`; empty for the anonymous structs of a CRD. */
  readonly name: string;
  readonly fields: ReadonlyMap<string, Field>;
  /** Fields that are written even when unset (their `zero` is not undefined), in order. */
  readonly written: readonly Field[];
  /** Names of required fields, in order. */
  readonly required: readonly string[];
  /** `x-kubernetes-map-type: atomic`. */
  readonly atomic: boolean;
  /** `x-kubernetes-preserve-unknown-fields`: unknown members are kept. */
  readonly preserveUnknown: boolean;
  /** `x-kubernetes-embedded-resource`, or a root: has apiVersion, kind and metadata of its own. */
  readonly embedded: boolean;
  /** Where it is embedded: what of its metadata has defaults. */
  readonly metadataDefaults?: Schema | undefined;
  /** What visitors work out about this type once (a default plan, the zero value); follows from the rest. */
  readonly derived: DerivedFacts;
}

export interface DerivedFacts {
  /** `defaults.ts`: what there is to default in a value of this type; null when nothing. */
  defaults?: unknown;
  /** `canonicalize.ts`: the zero struct as it is written. */
  zero?: Readonly<Record<string, unknown>>;
  /** Field names as path elements of field sets. */
  elements?: Map<string, string>;
}

export interface MapSchema extends Base {
  readonly kind: 'map';
  readonly values: Schema;
  readonly atomic: boolean;
}

export interface ListSchema extends Base {
  readonly kind: 'list';
  readonly items: Schema;
  readonly listType: 'atomic' | 'set' | 'map';
  /** For listType map. */
  readonly mapKeys: readonly string[];
  /** In protobuf a message of its own with a repeated `items` (ExtraValue, Verbs). */
  readonly wrapped?: boolean;
}

/** Go's type decides how a scalar is checked, normalized and coded. */
export type ScalarType =
  | 'string'
  | 'boolean'
  | 'int32'
  | 'int64'
  | 'double'
  /** base64 text in JSON */
  | 'bytes'
  | 'quantity'
  /** metav1.Time, RFC 3339 with seconds; null when zero */
  | 'time'
  /** metav1.MicroTime */
  | 'microTime'
  /** metav1.Duration, Go duration text */
  | 'duration'
  | 'intOrString';

export interface ScalarSchema extends Base {
  readonly kind: 'scalar';
  readonly type: ScalarType;
}

/** Any JSON: runtime.RawExtension, FieldsV1, apiextensions JSON, schema-less CRD nodes. */
export interface AnySchema extends Base {
  readonly kind: 'any';
  readonly raw?: 'rawExtension' | 'fieldsV1' | 'json';
  /** Objects inside have no known members and are emptied (`additionalProperties: true` without a schema). */
  readonly closed?: boolean;
}

/**
 * A JSON Schema object or something else: JSONSchemaPropsOrBool, OrArray, OrStringArray of CustomResourceDefinition.
 * Patches and apply treat it as one value.
 */
export interface EitherSchema extends Base {
  readonly kind: 'either';
  readonly object: ObjectSchema;
  readonly other: ScalarSchema | ListSchema;
}

export type Schema = ObjectSchema | MapSchema | ListSchema | ScalarSchema | AnySchema | EitherSchema;
