/**
 * Defaults of custom resources, from `default` in the CRD's schema: for members that are absent, or null where null is not
 * allowed. Works on a fresh draft, in place; outer defaults first, so that inner ones apply inside them.
 */
import { copyJson } from './decode.ts';
import type { ObjectSchema, Schema } from './schema.ts';

type Members = Record<string, unknown>;

export function applyCustomDefaults(schema: ObjectSchema, draft: object): void {
  node(schema, draft);
}

function node(schema: Schema, value: unknown): void {
  if (typeof value !== 'object' || value === null) return;
  if (Array.isArray(value)) {
    if (schema.kind !== 'list') return;
    for (let i = 0; i < value.length; i++) {
      if (value[i] === null && replacesNull(schema.items)) value[i] = copyJson(schema.items.default);
      node(schema.items, value[i]);
    }
    return;
  }
  const members = value as Members;
  if (schema.kind === 'object') {
    for (const field of schema.fields.values()) {
      const v = members[field.name];
      if (field.default !== undefined && (v === undefined || (v === null && field.schema.nullable !== true))) {
        members[field.name] = copyJson(field.default);
      }
    }
    for (const key of Object.keys(members)) {
      // The metadata of the resource is not the CRD's to default; that of embedded ones is.
      const inside = schema.embedded && key === 'metadata' ? schema.metadataDefaults : schema.fields.get(key)?.schema;
      if (inside !== undefined) node(inside, members[key]);
    }
  } else if (schema.kind === 'map') {
    for (const key of Object.keys(members)) {
      if (members[key] === null && replacesNull(schema.values)) members[key] = copyJson(schema.values.default);
      node(schema.values, members[key]);
    }
  }
}

const replacesNull = (schema: Schema): boolean => schema.nullable !== true && schema.default !== undefined;
