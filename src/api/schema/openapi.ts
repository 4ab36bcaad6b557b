/**
 * OpenAPI definitions (v2 and v3) of built-in types, from their `Schema`, and of custom ones, from the CRD's own schema.
 * Descriptions are not in the catalogue: a lookup function supplies them. Members stand in the order of their names.
 */
import type { Catalog } from '../catalog/catalog.ts';
import type { GroupVersionKind } from '../object.ts';
import type { JSONSchemaProps } from './json-schema.ts';
import type { Field, ListSchema, MapSchema, ObjectSchema, Schema } from './schema.ts';

/** The text of a definition, or of one of its members; undefined when there is none. */
export type Describe = (definition: string, field?: string) => string | undefined;

export interface OpenAPIOptions {
  readonly version: 'v2' | 'v3';
  readonly describe?: Describe;
  /** Kinds that meta types are registered under besides (DeleteOptions in every group). */
  readonly kindsOf?: (definition: string) => readonly GroupVersionKind[];
}

export type OpenAPIObject = Record<string, unknown>;

const meta = 'io.k8s.apimachinery.pkg.apis.meta.v1';
const crd = 'io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1';
const names = {
  quantity: 'io.k8s.apimachinery.pkg.api.resource.Quantity',
  time: `${meta}.Time`,
  microTime: `${meta}.MicroTime`,
  duration: `${meta}.Duration`,
  intOrString: 'io.k8s.apimachinery.pkg.util.intstr.IntOrString',
  rawExtension: 'io.k8s.apimachinery.pkg.runtime.RawExtension',
  fieldsV1: `${meta}.FieldsV1`,
  json: `${crd}.JSON`,
} as const;

/** Definitions of types with an encoding of their own, which are not in the catalogue. */
export function specialDefinition(name: string, version: 'v2' | 'v3'): OpenAPIObject | undefined {
  switch (name) {
    case names.quantity:
      return version === 'v2' ? { type: 'string' } : { oneOf: [{ type: 'string' }, { type: 'number' }] };
    case names.intOrString:
      return version === 'v2'
        ? { format: 'int-or-string', type: 'string' }
        : { format: 'int-or-string', oneOf: [{ type: 'integer' }, { type: 'string' }] };
    case names.time:
    case names.microTime:
      return { format: 'date-time', type: 'string' };
    case names.duration:
      return { type: 'string' };
    case names.rawExtension:
    case names.fieldsV1:
    case `${meta}.Patch`:
      return { type: 'object' };
    case names.json:
    case `${crd}.JSONSchemaPropsOrArray`:
    case `${crd}.JSONSchemaPropsOrBool`:
    case `${crd}.JSONSchemaPropsOrStringArray`:
      return {};
    case 'io.k8s.apimachinery.pkg.version.Info':
      return versionInfo;
    default:
      return undefined;
  }
}

const versionFields = [
  'buildDate',
  'compiler',
  'emulationMajor',
  'emulationMinor',
  'gitCommit',
  'gitTreeState',
  'gitVersion',
  'goVersion',
  'major',
  'minCompatibilityMajor',
  'minCompatibilityMinor',
  'minor',
  'platform',
];
const versionRequired = [
  'major',
  'minor',
  'gitVersion',
  'gitCommit',
  'gitTreeState',
  'buildDate',
  'goVersion',
  'compiler',
  'platform',
];
const versionInfo: OpenAPIObject = {
  properties: Object.fromEntries(versionFields.map((name) => [name, { type: 'string' }])),
  required: versionRequired,
  type: 'object',
};

const refPrefix = { v2: '#/definitions/', v3: '#/components/schemas/' } as const;

/** One definition of a built-in type. */
export function openAPIDefinition(catalog: Catalog, name: string, options: OpenAPIOptions): OpenAPIObject {
  const special = specialDefinition(name, options.version);
  const description = options.describe?.(name);
  if (special !== undefined) {
    const withText = description === undefined ? special : { description, ...special };
    if (name !== 'io.k8s.apimachinery.pkg.version.Info') return withText;
    const properties = Object.fromEntries(
      versionFields.map((field) => {
        const text = options.describe?.(name, field);
        const shown = options.version === 'v3' && versionRequired.includes(field) ? { default: '' } : {};
        return [field, { ...shown, ...(text === undefined ? {} : { description: text }), type: 'string' }];
      }),
    );
    return { ...withText, properties };
  }
  const schema = catalog.schema(name);
  const out: OpenAPIObject = {};
  if (description !== undefined) out['description'] = description;
  if (schema.fields.size > 0) {
    const properties: OpenAPIObject = {};
    for (const key of [...schema.fields.keys()].sort()) {
      properties[key] = propertyOf(schema, schema.fields.get(key)!, options);
    }
    out['properties'] = properties;
  }
  if (schema.required.length > 0) out['required'] = [...schema.required];
  out['type'] = 'object';
  const kinds = options.kindsOf?.(name) ?? [];
  const own = catalog.kindOfDefinition(name);
  const all = kinds.length > 0 ? kinds : own === undefined ? [] : [own];
  if (all.length > 0) {
    out['x-kubernetes-group-version-kind'] = all.map(({ group, kind, version }) => ({ group, kind, version }));
  }
  if (schema.atomic) out['x-kubernetes-map-type'] = 'atomic';
  const unions = catalog.unions(name);
  if (unions !== undefined) out['x-kubernetes-unions'] = unions;
  return out;
}

function propertyOf(owner: ObjectSchema, field: Field, options: OpenAPIOptions): OpenAPIObject {
  const out = typeOf(field.schema, options);
  const text = options.describe?.(owner.name, field.name);
  if (options.version === 'v3') {
    const shown = field.published?.default ?? zeroDefault(field);
    if (shown !== undefined) out['default'] = shown;
  }
  if (text !== undefined) out['description'] = text;
  const published = field.published;
  if (field.schema.kind === 'list' && field.schema.mapKeys.length > 0) {
    out['x-kubernetes-list-map-keys'] = [...field.schema.mapKeys];
  }
  if (published?.listType !== undefined) out['x-kubernetes-list-type'] = published.listType;
  if (published?.mapType !== undefined) out['x-kubernetes-map-type'] = published.mapType;
  if (field.patchMergeKey !== undefined) out['x-kubernetes-patch-merge-key'] = field.patchMergeKey;
  if (field.patchStrategy !== undefined) out['x-kubernetes-patch-strategy'] = field.patchStrategy;
  const ref = out['$ref'];
  // A reference has no siblings in v3.
  if (options.version === 'v3' && ref !== undefined && Object.keys(out).length > 1) {
    delete out['$ref'];
    return sorted({ allOf: [{ $ref: ref }], ...out });
  }
  return sorted(out);
}

/** v3 shows the zero value of members that are always there. */
function zeroDefault(field: Field): unknown {
  if (field.embeddedStruct) return {};
  if (field.presence !== 'always' || field.zero === undefined) return undefined;
  switch (field.schema.kind) {
    case 'scalar':
      return ['quantity', 'time', 'microTime', 'duration', 'intOrString', 'bytes'].includes(field.schema.type)
        ? undefined
        : (field.zero ?? undefined);
    default:
      return undefined;
  }
}

function sorted(o: OpenAPIObject): OpenAPIObject {
  return Object.fromEntries(Object.entries(o).sort(([a], [b]) => (a < b ? -1 : 1)));
}

function typeOf(schema: Schema, options: OpenAPIOptions): OpenAPIObject {
  const ref = (name: string): OpenAPIObject => ({ $ref: refPrefix[options.version] + name });
  switch (schema.kind) {
    case 'object':
      return ref(schema.name);
    case 'list':
      return { items: itemType(schema, options), type: 'array' };
    case 'map':
      return { additionalProperties: itemType(schema, options), type: 'object' };
    case 'any':
      return schema.raw === undefined ? { type: 'object' } : ref(names[schema.raw]);
    case 'either': {
      const other = schema.other;
      if (other.kind === 'scalar') return ref(`${crd}.JSONSchemaPropsOrBool`);
      return ref(
        other.items.kind === 'object' ? `${crd}.JSONSchemaPropsOrArray` : `${crd}.JSONSchemaPropsOrStringArray`,
      );
    }
    case 'scalar':
      switch (schema.type) {
        case 'string':
          return { type: 'string' };
        case 'boolean':
          return { type: 'boolean' };
        case 'int32':
        case 'int64':
          return { format: schema.type, type: 'integer' };
        case 'double':
          return { format: 'double', type: 'number' };
        case 'bytes':
          return { format: 'byte', type: 'string' };
        default:
          return ref(names[schema.type]);
      }
  }
}

/** Items and values: in v3 structs show an empty default, and so are wrapped. */
function itemType(schema: ListSchema | MapSchema, options: OpenAPIOptions): OpenAPIObject {
  const item = schema.kind === 'list' ? schema.items : schema.values;
  return typeOf(item, options);
}

/** Names of all definitions that these parts of a document refer to, directly or through others, in order. */
export function referencedDefinitions(
  parts: unknown,
  definition: (name: string) => OpenAPIObject | undefined,
): string[] {
  const found = new Set<string>();
  const visit = (value: unknown): void => {
    if (typeof value !== 'object' || value === null) return;
    if (Array.isArray(value)) {
      for (const v of value) visit(v);
      return;
    }
    for (const [key, v] of Object.entries(value)) {
      if (key === '$ref' && typeof v === 'string') {
        const name = v.slice(v.lastIndexOf('/') + 1);
        if (!found.has(name)) {
          found.add(name);
          visit(definition(name));
        }
      } else visit(v);
    }
  };
  visit(parts);
  return [...found].sort();
}

/** `com.example.v1.Thing`: the definition of a custom kind. */
export function customDefinitionName(gvk: GroupVersionKind): string {
  return `${gvk.group.split('.').toReversed().join('.')}.${gvk.version}.${gvk.kind}`;
}

/** The definition of a custom resource, and of its list under the name with `List`. */
export function customDefinitions(
  gvk: GroupVersionKind,
  listKind: string,
  schema: JSONSchemaProps | undefined,
  options: OpenAPIOptions,
): Record<string, OpenAPIObject> {
  const prefix = refPrefix[options.version];
  const reference = (name: string): OpenAPIObject =>
    options.version === 'v2' ? { $ref: prefix + name } : { allOf: [{ $ref: prefix + name }] };
  const describe = (field: string): OpenAPIObject => {
    const text = options.describe?.('io.k8s.api.core.v1.Pod', field);
    return text === undefined ? {} : { description: text };
  };
  const name = customDefinitionName(gvk);
  const typed = {
    apiVersion: { ...describe('apiVersion'), type: 'string' },
    kind: { ...describe('kind'), type: 'string' },
  };

  const published = schema === undefined ? { type: 'object' } : publishedSchema(schema, options.version, true);
  const preserving = published['x-kubernetes-preserve-unknown-fields'] === true && schema?.properties === undefined;
  const properties = preserving && options.version === 'v2' ? {} : ((published['properties'] as OpenAPIObject) ?? {});
  const metadata = {
    ...reference(`${meta}.ObjectMeta`),
    ...describe('metadata'),
  };
  const own: OpenAPIObject = {
    ...published,
    type: 'object',
    properties: sorted({ ...properties, ...typed, metadata }),
    'x-kubernetes-group-version-kind': [{ group: gvk.group, kind: gvk.kind, version: gvk.version }],
  };
  const listDescription = `${listKind} is a list of ${gvk.kind}`;
  const list: OpenAPIObject = {
    description: listDescription,
    type: 'object',
    required: ['items'],
    properties: {
      ...typed,
      items: {
        description: `List of ${gvk.kind.toLowerCase()}. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md`,
        type: 'array',
        items: { $ref: prefix + name },
      },
      metadata: { ...reference(`${meta}.ListMeta`), ...describe('metadata') },
    },
    'x-kubernetes-group-version-kind': [{ group: gvk.group, kind: listKind, version: gvk.version }],
  };
  return { [name]: own, [name.slice(0, name.length - gvk.kind.length) + listKind]: list };
}

/** Members of JSON Schema that OpenAPI v2 has no word for. */
const v3Only = ['oneOf', 'anyOf', 'not', 'nullable'] as const;

/** A CRD's schema as documents publish it. */
function publishedSchema(schema: JSONSchemaProps, version: 'v2' | 'v3', root = false): OpenAPIObject {
  const out: OpenAPIObject = {};
  for (const [key, value] of Object.entries(schema)) {
    if (version === 'v2' && (v3Only as readonly string[]).includes(key)) continue;
    // v2 cannot say that nulls are allowed but for leaving the type out.
    if (version === 'v2' && schema.nullable === true && (key === 'type' || key === 'items' || key === 'properties'))
      continue;
    switch (key) {
      case 'properties': {
        if (version === 'v2' && schema['x-kubernetes-preserve-unknown-fields'] === true && !root) break;
        out[key] = Object.fromEntries(
          Object.entries(value as Record<string, JSONSchemaProps>).map(([k, v]) => [k, publishedSchema(v, version)]),
        );
        break;
      }
      case 'items':
      case 'additionalProperties':
      case 'not':
        out[key] = typeof value === 'object' ? publishedSchema(value as JSONSchemaProps, version) : value;
        break;
      case 'allOf':
      case 'anyOf':
      case 'oneOf':
        out[key] = (value as JSONSchemaProps[]).map((v) => publishedSchema(v, version));
        break;
      case 'type':
        // an int-or-string has two types, which v2 cannot say; kept open
        if (version === 'v2' && schema['x-kubernetes-preserve-unknown-fields'] === true && !root) break;
        out[key] = value;
        break;
      default:
        out[key] = value;
    }
  }
  return out;
}
