/**
 * OpenAPI definitions (v2 and v3) of built-in types, from their `Schema`; custom ones have `openapi-custom.ts`.
 * Descriptions are not in the catalogue: a lookup function supplies them. Members stand in the order of their names.
 */
import type { Catalog } from '../catalog/catalog.ts';
import type { GroupVersion, GroupVersionKind } from '../object.ts';
import type { Field, ObjectSchema, Schema } from './schema.ts';

/** The text of a definition, or of one of its members; undefined when there is none. */
export type Describe = (definition: string, field?: string) => string | undefined;

export interface OpenAPIOptions {
  readonly version: 'v2' | 'v3';
  readonly describe?: Describe;
  /** Of a v3 document: options and watch events are then told as this version's (and the core's) alone. */
  readonly groupVersion?: GroupVersion;
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
function specialDefinition(name: string, version: 'v2' | 'v3'): OpenAPIObject | undefined {
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

export const refPrefix = { v2: '#/definitions/', v3: '#/components/schemas/' } as const;

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
  const kinds = kindsOf(catalog, name, options.groupVersion);
  if (kinds.length > 0) {
    out['x-kubernetes-group-version-kind'] = kinds.map(({ group, kind, version }) => ({ group, kind, version }));
  }
  if (schema.atomic) out['x-kubernetes-map-type'] = 'atomic';
  const unions = catalog.unions(name);
  if (unions !== undefined) out['x-kubernetes-unions'] = unions;
  return out;
}

/** Meta kinds belong to the core version, or, as options and events, to every version that is served. */
function kindsOf(catalog: Catalog, name: string, only: GroupVersion | undefined): GroupVersionKind[] {
  const own = catalog.kindOfDefinition(name);
  if (own !== undefined) return [own];
  if (!name.startsWith(`${meta}.`)) return [];
  const kind = name.slice(meta.length + 1);
  switch (kind) {
    case 'APIGroup':
    case 'APIGroupList':
    case 'APIResourceList':
    case 'APIVersions':
    case 'Status':
      return [{ group: '', version: 'v1', kind }];
    case 'DeleteOptions':
    case 'WatchEvent':
      return catalog.groupVersions
        .filter((v) => only === undefined || v.group === '' || (v.group === only.group && v.version === only.version))
        .map(({ group, version }) => ({ group, version, kind }))
        .sort((a, b) => (a.group < b.group ? -1 : a.group > b.group ? 1 : a.version < b.version ? -1 : 1));
    default:
      return [];
  }
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
    return sortedByName({ allOf: [{ $ref: ref }], ...out });
  }
  return sortedByName(out);
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

export function sortedByName(o: OpenAPIObject): OpenAPIObject {
  return Object.fromEntries(Object.entries(o).sort(([a], [b]) => (a < b ? -1 : 1)));
}

function typeOf(schema: Schema, options: OpenAPIOptions): OpenAPIObject {
  const ref = (name: string): OpenAPIObject => ({ $ref: refPrefix[options.version] + name });
  switch (schema.kind) {
    case 'object':
      return ref(schema.name);
    case 'list':
      return { items: typeOf(schema.items, options), type: 'array' };
    case 'map':
      return { additionalProperties: typeOf(schema.values, options), type: 'object' };
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
