/**
 * From a `Schema` to the type that expressions see: which members there are, under which names, and how big values can get. What
 * has no schema is not visible.
 */
import type { Constraints, ObjectSchema, Schema } from '../schema/schema.ts';
import { escapeName, isReserved } from './escaping.ts';
import type { FieldDecl, TypeFacts } from './types.ts';
import {
  CelType,
  boolType,
  bytesType,
  doubleType,
  durationType,
  dynType,
  intType,
  listType,
  mapType,
  stringType,
  structType,
  timestampType,
  withFacts,
} from './types.ts';

/** The largest request that the API server takes. */
const maxRequestSize = 3 * 1024 * 1024;
const maxString = maxRequestSize - 2;

const characters = (maxLength: number): number => Math.max(0, maxLength) * 4;

const bool = withFacts(boolType, { minSize: 4 });
const int = withFacts(intType, { minSize: 1 });
const double = withFacts(doubleType, { minSize: 1 });

/** Whether a schema node has a type of its own in OpenAPI. */
interface Place {
  /** For the names of object types: where they stand. */
  readonly name: string;
  /** The object types around this one: recursive types end there. */
  readonly within: readonly ObjectSchema[];
}

/**
 * The type of values of this schema; undefined when expressions cannot see them. Objects are named after `name`
 * (`selfType.spec`), as error messages show.
 */
export function schemaType(schema: Schema, name = 'object'): CelType | undefined {
  return typeOf(schema, { name, within: [] });
}

function typeOf(schema: Schema, place: Place): CelType | undefined {
  switch (schema.kind) {
    case 'scalar':
      return scalarType(schema.type, schema.constraints);
    case 'list': {
      const items = typeOf(schema.items, { ...place, name: `${place.name}.@idx` });
      if (items === undefined) return undefined;
      const kind = schema.listType === 'atomic' ? undefined : schema.listType;
      return listOf(items, schema.constraints, { listType: kind, mapKeys: schema.mapKeys });
    }
    case 'map': {
      // `additionalProperties: true` tells nothing about the values: an object without members.
      if (schema.values.kind === 'any' && typeof (schema.constraints?.additionalProperties ?? true) === 'boolean') {
        return structType(
          place.name,
          () => undefined,
          { minSize: 2 },
          () => [],
        );
      }
      const values = typeOf(schema.values, { ...place, name: `${place.name}.@elem` });
      if (values === undefined) return undefined;
      return mapOf(values, schema.constraints);
    }
    case 'object':
      return objectType(schema, place);
    case 'any':
    case 'either':
      return undefined;
  }
}

function scalarType(type: string, constraints: Constraints | undefined): CelType {
  const { maxLength, format } = constraints ?? {};
  switch (type) {
    case 'boolean':
      return bool;
    case 'int32':
    case 'int64':
      return int;
    case 'double':
      return double;
    case 'bytes':
      return withFacts(bytesType, { minSize: 2, maxElements: maxString });
    case 'time':
    case 'microTime':
      return withFacts(timestampType, { minSize: 21, maxElements: 32, format: 'date-time' });
    case 'intOrString':
      return withFacts(dynType, {
        minSize: 1,
        maxElements: maxLength === undefined ? maxString : characters(maxLength),
      });
  }
  switch (format) {
    case 'byte':
      return withFacts(bytesType, {
        minSize: 2,
        maxElements: maxLength === undefined ? maxString : Math.max(0, maxLength),
      });
    case 'duration':
      return withFacts(durationType, { minSize: 3, maxElements: 32 });
    case 'date':
      return withFacts(timestampType, { minSize: 12, maxElements: 12, format });
    case 'date-time':
      return withFacts(timestampType, { minSize: 21, maxElements: 32, format });
  }
  return withFacts(stringType, { minSize: 2, maxElements: maxStringLength(constraints) });
}

function maxStringLength(constraints: Constraints | undefined): number {
  if (constraints?.maxLength !== undefined) return characters(constraints.maxLength);
  const values = constraints?.enum ?? [];
  if (values.length === 0) return maxString;
  const encoder = new TextEncoder();
  return Math.max(0, ...values.map((v) => (typeof v === 'string' ? encoder.encode(v).length : 0)));
}

const plainString = withFacts(stringType, { minSize: 2, maxElements: maxString });

/** A string with these constraints, as kinds and names are. */
const textType = (constraints: Constraints | undefined): CelType =>
  constraints === undefined
    ? plainString
    : withFacts(stringType, { minSize: 2, maxElements: maxStringLength(constraints) });

/** The type that value validations alone tell: of metadata, which has a schema of its own. */
function constraintsType(c: Constraints, name: string): CelType | undefined {
  if (c.types.length !== 1) return undefined;
  switch (c.types[0]) {
    case 'array': {
      const items = c.items === undefined ? undefined : constraintsType(c.items, `${name}.@idx`);
      return items === undefined ? undefined : listOf(items, c);
    }
    case 'object': {
      if (typeof c.additionalProperties === 'object') {
        const values = constraintsType(c.additionalProperties, `${name}.@elem`);
        return values === undefined ? undefined : mapOf(values, c);
      }
      const fields = new Map<string, FieldDecl>();
      for (const [jsonName, property] of c.properties ?? []) {
        const escaped = escapeName(jsonName);
        const type = constraintsType(property, `${name}.${escaped ?? jsonName}`);
        if (escaped !== undefined && type !== undefined) fields.set(escaped, { name: escaped, jsonName, type });
      }
      return declaredType(name, fields, { minSize: 2 });
    }
    case 'boolean':
      return scalarType('boolean', c);
    case 'integer':
      return scalarType('int64', c);
    case 'number':
      return scalarType('double', c);
    default:
      return scalarType('string', c);
  }
}

/** What every resource has: kind, apiVersion, and of its metadata the names. A schema may say more, but only of all of them. */
function resourceFields(constraints: Constraints | undefined, name: string): Map<string, FieldDecl> {
  const properties = constraints?.properties;
  const metadata = properties?.get('metadata');
  const texts = [
    properties?.get('kind'),
    properties?.get('apiVersion'),
    metadata?.properties?.get('name'),
    metadata?.properties?.get('generateName'),
  ];
  const own = texts.every((c) => c?.types.includes('string') === true);
  const field = (jsonName: string, type: CelType): readonly [string, FieldDecl] => [
    jsonName,
    { name: jsonName, jsonName, type },
  ];
  const names = new Map([field('name', plainString), field('generateName', plainString)]);
  const metaName = `${name}.metadata`;
  return new Map([
    field('kind', own ? textType(texts[0]) : plainString),
    field('apiVersion', own ? textType(texts[1]) : plainString),
    field(
      'metadata',
      (own ? constraintsType(metadata!, metaName) : undefined) ?? declaredType(metaName, names, { minSize: 2 }),
    ),
  ]);
}

/** An object type with these members; reserved words may be written escaped or plainly. */
const declaredType = (name: string, fields: ReadonlyMap<string, FieldDecl>, facts: TypeFacts): CelType =>
  structType(
    name,
    (field) => fields.get(field) ?? (isReserved(field) ? fields.get(`__${field}__`) : undefined),
    facts,
    () => fields.keys(),
  );

function listOf(items: CelType, c: Constraints | undefined, facts: TypeFacts = {}): CelType {
  const maxElements =
    c?.maxItems === undefined
      ? Math.trunc((maxRequestSize - 2) / ((items.facts?.minSize ?? 0) + 1))
      : Math.max(0, c.maxItems);
  return listType(items, { ...facts, maxElements, minSize: 2 });
}

function mapOf(values: CelType, c: Constraints | undefined): CelType {
  const maxElements =
    c?.maxProperties === undefined
      ? Math.trunc((maxRequestSize - 2) / ((values.facts?.minSize ?? 0) + 6))
      : Math.max(0, c.maxProperties);
  return mapType(stringType, values, { maxElements, minSize: 2 });
}

function objectType(schema: ObjectSchema, place: Place): CelType {
  const within = [...place.within, schema];
  const custom = schema.constraints !== undefined;
  const resource = schema.embedded && custom ? resourceFields(schema.constraints, place.name) : undefined;
  const typeOfField = (name: string, fieldSchema: () => Schema): CelType | undefined => {
    const inner = fieldSchema();
    // A type within itself: members further down are not needed to know its size.
    if (inner.kind === 'object' && within.includes(inner)) return recursive(inner, place);
    return typeOf(inner, { name: `${place.name}.${escapeName(name) ?? name}`, within });
  };
  const declared = new Map<string, FieldDecl>();
  let minSize = 2;
  for (const field of schema.fields.values()) {
    const given = resource?.get(field.name);
    const type = given?.type ?? typeOfField(field.name, () => field.schema);
    if (type === undefined) continue;
    const escaped = escapeName(field.name);
    if (escaped !== undefined) {
      declared.set(escaped, { name: escaped, jsonName: field.name, type, required: field.required });
    }
    if (field.required && field.default === undefined) minSize += field.name.length + (type.facts?.minSize ?? 0) + 4;
  }
  for (const [name, field] of resource ?? []) if (!declared.has(name)) declared.set(name, field);
  return declaredType(place.name, declared, { minSize });
}

/** A type that stands within itself: made again when it is looked into. */
function recursive(schema: ObjectSchema, place: Place): CelType {
  let made: CelType | undefined;
  const load = (): CelType => (made ??= objectType(schema, { name: place.name, within: [] }));
  return new CelType('struct', `${place.name}.@self`, {
    fields: (name) => load().fields?.(name),
    facts: { minSize: 2 },
  });
}
