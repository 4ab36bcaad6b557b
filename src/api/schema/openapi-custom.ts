/**
 * OpenAPI definitions (v2 and v3) of custom resources, from the CRD's own schema. v2 cannot say everything that CRDs can, and
 * kubectl misreads some of it, so parts are left out there as upstream leaves them out.
 */
import type { GroupVersionKind } from '../object.ts';
import type { JSONSchemaProps } from './json-schema.ts';
import { refPrefix, sortedByName } from './openapi.ts';
import type { OpenAPIObject, OpenAPIOptions } from './openapi.ts';

export interface CustomKind extends GroupVersionKind {
  readonly listKind: string;
  readonly plural: string;
  /** Of the CRD's version; undefined when it has none. */
  readonly schema: JSONSchemaProps | undefined;
  /** `spec.preserveUnknownFields` of old CRDs. */
  readonly preserveUnknownFields?: boolean;
  /** JSON paths of `selectableFields`. */
  readonly selectableFields?: readonly string[];
}

const meta = 'io.k8s.apimachinery.pkg.apis.meta.v1';
/** A built-in kind whose members' texts serve for the type header of custom ones. */
const described = 'io.k8s.api.core.v1.ConfigMap';

/** `com.example.v1.Thing`. */
export function customDefinitionName({ group, version, kind }: GroupVersionKind): string {
  return `${group.split('.').toReversed().join('.')}.${version}.${kind}`;
}

/** The definitions of a custom kind and of its list, by name. */
export function customDefinitions(kind: CustomKind, options: OpenAPIOptions): Record<string, OpenAPIObject> {
  const name = customDefinitionName(kind);
  const gvk = (k: string) => [{ group: kind.group, kind: k, version: kind.version }];
  const selectable =
    kind.selectableFields !== undefined && kind.selectableFields.length > 0
      ? {
          'x-kubernetes-selectable-fields': kind.selectableFields.map((path) => ({
            fieldPath: path.replace(/^\./, ''),
          })),
        }
      : {};
  const list: OpenAPIObject = {
    description: `${kind.listKind} is a list of ${kind.kind}`,
    properties: sortedByName({
      ...typeMeta(options),
      items: {
        description: `List of ${kind.plural}. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md`,
        items: { $ref: refPrefix[options.version] + name },
        type: 'array',
      },
      metadata: reference('ListMeta', options),
    }),
    required: ['items'],
    type: 'object',
    'x-kubernetes-group-version-kind': gvk(kind.listKind),
    ...selectable,
  };
  return {
    [name]: { ...own(kind, options), 'x-kubernetes-group-version-kind': gvk(kind.kind), ...selectable },
    [customDefinitionName({ ...kind, kind: kind.listKind })]: list,
  };
}

function own(kind: CustomKind, options: OpenAPIOptions): OpenAPIObject {
  const schema = kind.schema;
  if (schema === undefined) return { type: 'object' };
  const open = schema['x-kubernetes-preserve-unknown-fields'] === true || kind.preserveUnknownFields === true;
  // Any member at all would make kubectl refuse the unknown ones.
  if (options.version === 'v2' && open) return { type: 'object' };
  const published = publish(schema, options);
  const properties = (published['properties'] as OpenAPIObject | undefined) ?? {};
  return sortedByName({
    ...published,
    properties: sortedByName({
      ...properties,
      ...typeMeta(options),
      metadata: reference('ObjectMeta', options),
    }),
  });
}

function textOf(definition: string, field: string, options: OpenAPIOptions): OpenAPIObject {
  const text = options.describe?.(definition, field);
  return text === undefined ? {} : { description: text };
}

function typeMeta(options: OpenAPIOptions): OpenAPIObject {
  return {
    apiVersion: { ...textOf(described, 'apiVersion', options), type: 'string' },
    kind: { ...textOf(described, 'kind', options), type: 'string' },
  };
}

const conventions = 'https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md';
/** What clients look for in the texts of custom kinds (`kubectl explain`). */
const metadataTexts: Readonly<Record<string, string>> = {
  ObjectMeta: `Standard object's metadata. More info: ${conventions}#metadata`,
  ListMeta: `Standard list metadata. More info: ${conventions}#types-kinds`,
};

function reference(name: 'ObjectMeta' | 'ListMeta', options: OpenAPIOptions): OpenAPIObject {
  const ref = { $ref: `${refPrefix[options.version]}${meta}.${name}` };
  const text = options.describe === undefined ? {} : { description: metadataTexts[name]! };
  return options.version === 'v3' && 'description' in text ? { allOf: [ref], ...text } : { ...ref, ...text };
}

const mapValues = (
  map: Record<string, JSONSchemaProps>,
  f: (s: JSONSchemaProps) => OpenAPIObject,
): Record<string, OpenAPIObject> => Object.fromEntries(Object.entries(map).map(([k, v]) => [k, f(v)]));

/** A schema as the documents show it. */
function publish(schema: JSONSchemaProps, options: OpenAPIOptions): OpenAPIObject {
  const child = (s: JSONSchemaProps): OpenAPIObject => publish(s, options);
  const v2 = options.version === 'v2';
  const preserve = schema['x-kubernetes-preserve-unknown-fields'] === true;
  const out: OpenAPIObject = { ...schema };
  if (schema.properties !== undefined) out['properties'] = mapValues(schema.properties, child);
  if (schema.items !== undefined && !Array.isArray(schema.items)) out['items'] = child(schema.items);
  if (typeof schema.additionalProperties === 'object') {
    out['additionalProperties'] = child(schema.additionalProperties);
  }
  if (v2) {
    // Clients of v2 do not expect the server's defaults, and upstream tells none to them.
    for (const name of ['allOf', 'oneOf', 'anyOf', 'not', 'default']) delete out[name];
    if (schema.nullable === true) {
      for (const name of ['type', 'nullable', 'items', 'properties']) delete out[name];
    }
    if (preserve) {
      delete out['items'];
      delete out['properties'];
      if (schema.type === 'object') delete out['type'];
    }
    if (schema.type === 'array' && out['items'] === undefined) delete out['type'];
    const nullable = (name: string): boolean => schema.properties?.[name]?.nullable === true;
    if (schema.required?.some(nullable) === true) out['required'] = schema.required.filter((r) => !nullable(r));
    const values = schema.additionalProperties;
    if (typeof values === 'object' && values.nullable === true) delete out['required'];
    if (Array.isArray(out['required']) && out['required'].length === 0) delete out['required'];
  }
  if (schema['x-kubernetes-embedded-resource'] === true && !(v2 && preserve)) {
    out['properties'] = sortedByName({
      ...(out['properties'] as OpenAPIObject | undefined),
      ...typeMeta(options),
      metadata: reference('ObjectMeta', options),
    });
    out['required'] = [...new Set([...(schema.required ?? []), 'kind', 'apiVersion'])];
  }
  return sortedByName(out);
}
