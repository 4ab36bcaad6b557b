/**
 * CEL's types: what the checker computes with, and what `type(x)` is at run time. Types that come from a schema carry, beside
 * CEL's own facts, how big their values can get (for cost estimates) and how their lists compare.
 */

export type Kind =
  | 'any'
  | 'bool'
  | 'bytes'
  | 'double'
  | 'duration'
  | 'dyn'
  | 'error'
  | 'int'
  | 'list'
  | 'map'
  | 'null'
  | 'opaque'
  | 'string'
  | 'struct'
  | 'timestamp'
  | 'type'
  | 'typeParam'
  | 'uint';

/** A member of a declared object type. */
export interface FieldDecl {
  /** As CEL source writes it (escaped where Kubernetes escapes). */
  readonly name: string;
  /** The member of the JSON object. */
  readonly jsonName: string;
  /** Resolved on first use: schemas may be recursive. */
  readonly type: CelType;
  readonly required?: boolean;
}

/** What a schema knows about a type beyond CEL's type system. */
export interface TypeFacts {
  /** Largest number of characters, items or entries a value can have; undefined when nothing is known. */
  readonly maxElements?: number;
  /** The least number of bytes a value takes in JSON. */
  readonly minSize?: number;
  /** How a list of this type compares and adds (`x-kubernetes-list-type`). */
  readonly listType?: 'set' | 'map';
  readonly mapKeys?: readonly string[];
  /** How the JSON text of a scalar reads, where its CEL type alone does not tell (`date`, `date-time`). */
  readonly format?: string;
}

interface TypeOptions {
  readonly params?: readonly CelType[];
  /** A wrapper: null is assignable to it. */
  readonly nullable?: boolean;
  readonly fields?: (name: string) => FieldDecl | undefined;
  /** All members, where they can be told. */
  readonly fieldNames?: () => Iterable<string>;
  readonly facts?: TypeFacts;
}

const noParams: readonly CelType[] = Object.freeze([]);

/** What all values have in common that are neither JSON nor bytes; types are values too. */
export class Boxed {
  /** Keeps structural typing from taking plain objects for values. */
  get boxed(): true {
    return true;
  }
}

export class CelType extends Boxed {
  readonly kind: Kind;
  /** The runtime name (`google.protobuf.Timestamp`, `list`, `selfType.spec`). */
  readonly name: string;
  readonly params: readonly CelType[];
  readonly nullable: boolean;
  readonly facts: TypeFacts | undefined;
  readonly fields: ((name: string) => FieldDecl | undefined) | undefined;
  readonly fieldNames: (() => Iterable<string>) | undefined;
  /** What `convert.ts` works out once. */
  conversion: { readonly fn: ((raw: unknown) => unknown) | undefined } | undefined;
  /** What `typed-equality.ts` works out once. */
  equality: { readonly fn: ((a: unknown, b: unknown) => boolean) | undefined } | undefined;

  constructor(kind: Kind, name: string, options: TypeOptions = {}) {
    super();
    this.kind = kind;
    this.name = name;
    this.params = options.params ?? noParams;
    this.nullable = options.nullable === true;
    this.facts = options.facts;
    this.fields = options.fields;
    this.fieldNames = options.fieldNames;
    this.conversion = undefined;
    this.equality = undefined;
  }

  /** As error messages print it. */
  override toString(): string {
    return formatType(this);
  }
}

export const dynType = new CelType('dyn', 'dyn');
export const boolType = new CelType('bool', 'bool');
export const bytesType = new CelType('bytes', 'bytes');
export const doubleType = new CelType('double', 'double');
export const durationType = new CelType('duration', 'google.protobuf.Duration');
export const errorType = new CelType('error', 'error');
export const intType = new CelType('int', 'int');
export const nullType = new CelType('null', 'null_type');
export const stringType = new CelType('string', 'string');
export const timestampType = new CelType('timestamp', 'google.protobuf.Timestamp');
export const typeType = new CelType('type', 'type');
export const uintType = new CelType('uint', 'uint');
export const anyType = new CelType('any', 'google.protobuf.Any');

export const listType = (element: CelType, facts?: TypeFacts): CelType =>
  new CelType('list', 'list', { params: [element], facts });

export const mapType = (key: CelType, value: CelType, facts?: TypeFacts): CelType =>
  new CelType('map', 'map', { params: [key, value], facts });

export const opaqueType = (name: string, ...params: CelType[]): CelType => new CelType('opaque', name, { params });

export const optionalType = (value: CelType): CelType => opaqueType('optional_type', value);

export const typeParam = (name: string): CelType => new CelType('typeParam', name);

/** `type(x)`, as the checker sees it. */
export const typeOfType = (of: CelType): CelType => new CelType('type', 'type', { params: [of] });

/** A scalar with facts of its schema. */
export const withFacts = (type: CelType, facts: TypeFacts): CelType =>
  new CelType(type.kind, type.name, { params: type.params, nullable: type.nullable, facts });

/** A protobuf wrapper type: null or the wrapped value. */
export const nullableType = (type: CelType): CelType =>
  new CelType(type.kind, type.name, { params: type.params, nullable: true });

/** An object type with a closed set of members, resolved lazily. */
export function structType(
  name: string,
  fields: (name: string) => FieldDecl | undefined,
  facts?: TypeFacts,
  fieldNames?: () => Iterable<string>,
): CelType {
  return new CelType('struct', name, { fields, facts, fieldNames });
}

/** A type without members that libraries implement (`kubernetes.Quantity`, ...): upstream declares them as objects. */
/** Of types that nobody can look into. */
export const noFields = (): undefined => undefined;

export const libraryType = (name: string): CelType => new CelType('struct', name, { fields: noFields });

export const listOfDyn = listType(dynType);
export const mapOfDyn = mapType(dynType, dynType);

export const isDyn = (t: CelType): boolean => t.kind === 'dyn' || t.kind === 'any';
export const isDynOrError = (t: CelType): boolean => t.kind === 'dyn' || t.kind === 'any' || t.kind === 'error';
export const isOptional = (t: CelType): boolean => t.kind === 'opaque' && t.name === 'optional_type';

/** The same type, down to the names of type parameters. */
export function isExactType(a: CelType, b: CelType, typeParamNames = true): boolean {
  if (a === b) return true;
  if (a.kind !== b.kind || a.params.length !== b.params.length) return false;
  if ((typeParamNames || a.kind !== 'typeParam') && a.name !== b.name) return false;
  for (let i = 0; i < a.params.length; i++) {
    if (!isExactType(a.params[i]!, b.params[i]!, typeParamNames)) return false;
  }
  return true;
}

/** Whether a value of `from` may be given where `to` is wanted, when neither holds type variables. */
export function isAssignableType(to: CelType, from: CelType): boolean {
  if (to.nullable && (from.kind === 'null' || (from.kind === to.kind && from.name === to.name))) return true;
  if (to === from || to.kind === 'dyn' || to.kind === 'any' || to.kind === 'typeParam') return true;
  if (to.kind !== from.kind || to.name !== from.name || to.params.length !== from.params.length) return false;
  return to.params.every((p, i) => isAssignableType(p, from.params[i]!));
}

const declaredName = (t: CelType): string => (t.nullable ? `wrapper(${t.name})` : t.name);

/** A type as the checker's messages print it. */
export function formatType(t: CelType): string {
  switch (t.kind) {
    case 'any':
      return 'any';
    case 'duration':
      return 'duration';
    case 'error':
      return '!error!';
    case 'null':
      return 'null';
    case 'timestamp':
      return 'timestamp';
    case 'typeParam':
      return t.name;
  }
  if (t.params.length === 0) return declaredName(t);
  return `${t.name}(${t.params.map(formatType).join(', ')})`;
}

/** `(int, string)`, or `list(int).(string)` of a member call. */
export function formatSignature(args: readonly CelType[], member: boolean): string {
  const [target, ...rest] = args;
  if (member && target !== undefined) return `${formatType(target)}.(${rest.map(formatType).join(', ')})`;
  return `(${args.map(formatType).join(', ')})`;
}
