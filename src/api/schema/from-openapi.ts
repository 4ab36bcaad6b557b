/**
 * From a CRD's OpenAPI v3 schema to the `Schema` tree, with the value validations beside it. The schema is taken to be
 * structural (`structural.ts` checks that).
 */
import { lazyField, listSchema, mapSchema, objectSchema, scalarSchema } from './build.ts';
import { isKnownFormat } from './formats.ts';
import type { JSONSchemaProps } from './json-schema.ts';
import { prunedDefault } from './prune.ts';
import type { Constraints, Field, ObjectSchema, Schema } from './schema.ts';

export interface FromOpenAPIOptions {
  /** metav1.ObjectMeta of the catalogue: the metadata of the root and of embedded resources. */
  readonly objectMeta: ObjectSchema;
}

/** The schema of a custom resource; without one, everything is kept. */
export function fromOpenAPI(schema: JSONSchemaProps | undefined, options: FromOpenAPIOptions): ObjectSchema {
  if (schema === undefined) {
    const open: JSONSchemaProps = { type: 'object', 'x-kubernetes-preserve-unknown-fields': true };
    return structOf(open, constraintsOf(open), options, true);
  }
  return structOf(schema, constraintsOf(schema), options, true);
}

const typeMeta: JSONSchemaProps = { type: 'string' };

function structOf(
  raw: JSONSchemaProps,
  constraints: Constraints,
  options: FromOpenAPIOptions,
  embedded: boolean,
): ObjectSchema {
  const properties = Object.entries(raw.properties ?? {});
  if (embedded) {
    for (const name of ['kind', 'apiVersion']) {
      if (raw.properties?.[name] === undefined) properties.unshift([name, typeMeta]);
    }
    if (raw.properties?.['metadata'] === undefined) properties.push(['metadata', { type: 'object' }]);
  }
  const required = new Set(raw.required ?? []);
  const fields: Field[] = properties.map(([name, property], index) =>
    lazyField(
      {
        name,
        index,
        required: required.has(name),
        presence: 'pointer',
        default: embedded && name === 'metadata' ? metadataDefault(property, options) : defaultOf(property, options),
      },
      () => {
        if (embedded && name === 'metadata') return options.objectMeta;
        return nodeOf(property, constraints.properties?.get(name) ?? constraintsOf(property), options);
      },
    ),
  );
  return objectSchema(
    {
      name: '',
      atomic: raw['x-kubernetes-map-type'] === 'atomic',
      preserveUnknown: raw['x-kubernetes-preserve-unknown-fields'] === true,
      embedded,
      metadataDefaults: embedded ? metadataDefaults(raw.properties?.['metadata'], options) : undefined,
      nullable: raw.nullable,
      constraints,
      default: defaultOf(raw, options),
    },
    fields,
  );
}

function nodeOf(raw: JSONSchemaProps, constraints: Constraints, options: FromOpenAPIOptions): Schema {
  const common = { nullable: raw.nullable, constraints, default: defaultOf(raw, options) };
  if (raw['x-kubernetes-int-or-string'] === true) return scalarSchema('intOrString', common);
  const preserve = raw['x-kubernetes-preserve-unknown-fields'] === true;
  switch (raw.type) {
    case 'string':
      return scalarSchema('string', common);
    case 'boolean':
      return scalarSchema('boolean', common);
    case 'integer':
      return scalarSchema(raw.format === 'int32' ? 'int32' : 'int64', common);
    case 'number':
      return scalarSchema('double', common);
    case 'array': {
      const items = Array.isArray(raw.items) ? raw.items[0] : raw.items;
      const listType = raw['x-kubernetes-list-type'];
      return listSchema(
        items === undefined ? { kind: 'any' } : nodeOf(items, constraints.items ?? constraintsOf(items), options),
        {
          ...common,
          listType: listType === 'map' || listType === 'set' ? listType : 'atomic',
          mapKeys: raw['x-kubernetes-list-map-keys'] ?? [],
        },
      );
    }
  }
  const embedded = raw['x-kubernetes-embedded-resource'] === true;
  if (raw.type !== 'object' && raw.properties === undefined && raw.additionalProperties === undefined && !embedded) {
    return { kind: 'any', ...common };
  }
  const additional = raw.additionalProperties;
  if (raw.properties === undefined && additional !== undefined && additional !== false) {
    const values: Schema =
      additional === true
        ? { kind: 'any', closed: !preserve }
        : nodeOf(
            additional,
            typeof constraints.additionalProperties === 'object'
              ? constraints.additionalProperties
              : constraintsOf(additional),
            options,
          );
    return mapSchema(values, { ...common, atomic: raw['x-kubernetes-map-type'] === 'atomic' });
  }
  return structOf(raw, constraints, options, embedded);
}

const isStructured = (value: unknown): boolean => typeof value === 'object' && value !== null;

/** It or something below it is a resource of its own. */
function holdsEmbedded(raw: JSONSchemaProps): boolean {
  if (raw['x-kubernetes-embedded-resource'] === true) return true;
  const items = Array.isArray(raw.items) ? raw.items[0] : raw.items;
  const additional = typeof raw.additionalProperties === 'object' ? raw.additionalProperties : undefined;
  return [items, additional, ...Object.values(raw.properties ?? {})].some((s) => s !== undefined && holdsEmbedded(s));
}

/** The default without what is unknown of the metadata of resources in it. */
function defaultOf(raw: JSONSchemaProps, options: FromOpenAPIOptions): unknown {
  if (!isStructured(raw.default) || !holdsEmbedded(raw)) return raw.default;
  const schema = nodeOf({ ...raw, default: undefined }, constraintsOf(raw), options);
  return prunedDefault(schema, raw.default, options.objectMeta);
}

/** The same of the metadata of an embedded resource. */
function metadataDefault(raw: JSONSchemaProps, { objectMeta }: FromOpenAPIOptions): unknown {
  if (!isStructured(raw.default)) return raw.default;
  const embedded = objectSchema({ name: '', embedded: true }, []);
  const { metadata } = prunedDefault(embedded, { metadata: raw.default }, objectMeta) as { metadata: unknown };
  return metadata;
}

function hasDefault(raw: JSONSchemaProps): boolean {
  if (raw.default !== undefined) return true;
  const items = Array.isArray(raw.items) ? raw.items[0] : raw.items;
  return [items, ...Object.values(raw.properties ?? {})].some((s) => s !== undefined && hasDefault(s));
}

/** What of an embedded resource's metadata has defaults, of the members that metadata has. */
function metadataDefaults(raw: JSONSchemaProps | undefined, options: FromOpenAPIOptions): Schema | undefined {
  const known = Object.entries(raw?.properties ?? {}).filter(
    ([name, property]) => options.objectMeta.fields.has(name) && hasDefault(property),
  );
  if (known.length === 0) return undefined;
  const part: JSONSchemaProps = { type: 'object', properties: Object.fromEntries(known) };
  return structOf(part, constraintsOf(part), options, false);
}

/** Value validations of a node and everything below it. */
export function constraintsOf(raw: JSONSchemaProps): Constraints {
  const intOrString = raw['x-kubernetes-int-or-string'] === true;
  const types = intOrString ? ['integer', 'string'] : raw.type !== undefined && raw.type !== '' ? [raw.type] : [];
  const all = (list: JSONSchemaProps[] | undefined): Constraints[] | undefined =>
    list !== undefined && list.length > 0 ? list.map(constraintsOf) : undefined;
  const format = isKnownFormat(raw.format, types) ? raw.format : undefined;
  const items = Array.isArray(raw.items) ? raw.items[0] : raw.items;
  const additional = raw.additionalProperties;
  return {
    types,
    nullable: raw.nullable,
    enum: raw.enum,
    pattern: raw.pattern === '' ? undefined : raw.pattern,
    format,
    minimum: raw.minimum,
    maximum: raw.maximum,
    exclusiveMinimum: raw.exclusiveMinimum,
    exclusiveMaximum: raw.exclusiveMaximum,
    multipleOf: raw.multipleOf,
    minLength: raw.minLength,
    maxLength: raw.maxLength,
    minItems: raw.minItems,
    maxItems: raw.maxItems,
    uniqueItems: raw.uniqueItems,
    minProperties: raw.minProperties,
    maxProperties: raw.maxProperties,
    required: raw.required,
    properties:
      raw.properties === undefined
        ? undefined
        : new Map(Object.entries(raw.properties).map(([name, property]) => [name, constraintsOf(property)])),
    items: items === undefined ? undefined : constraintsOf(items),
    additionalProperties: typeof additional === 'object' ? constraintsOf(additional) : additional,
    allOf: all(raw.allOf),
    anyOf: all(raw.anyOf),
    oneOf: all(raw.oneOf),
    not: raw.not === undefined ? undefined : constraintsOf(raw.not),
    listType: raw['x-kubernetes-list-type'],
    mapKeys: raw['x-kubernetes-list-map-keys'],
    rules: raw['x-kubernetes-validations'],
  };
}
