/** Field sets under a schema: that of a value, and what a set becomes with the fields' names and after a change of the schema. */
import { isObject } from '../patch/values.ts';
import type { Schema } from '../schema/schema.ts';
import type { FieldSet } from './field-set.ts';
import { emptyFieldSet, fieldElement, FieldSetBuilder, isEmptySet } from './field-set.ts';
import { associative, elementsOf, hasMembers, isAtomicMap, memberSchema, shapeOf } from './typed.ts';

/** Every leaf and item that a value mentions. */
export function toFieldSet(schema: Schema, value: unknown): FieldSet {
  const builder = new FieldSetBuilder();
  collect(builder, schema, value, [], 0);
  return builder.build();
}

function collect(builder: FieldSetBuilder, schema: Schema, value: unknown, path: string[], depth: number): void {
  const shape = shapeOf(schema, value);
  if (shape === 'map') {
    if (isAtomicMap(schema)) {
      builder.insert(path, depth);
      return;
    }
    if (!isObject(value)) return;
    for (const key in value) {
      const member = value[key];
      if (member === undefined) continue;
      const memberType = memberSchema(schema, key);
      path[depth] = fieldElement(key);
      if (memberType !== undefined) collect(builder, memberType, member, path, depth + 1);
      const declared = schema.kind === 'object' && schema.fields.has(key);
      if (member === null || !declared || (isObject(member) && !hasMembers(member))) builder.insert(path, depth + 1);
    }
    return;
  }
  if (shape === 'list') {
    const list = associative(schema);
    if (list === undefined) {
      builder.insert(path, depth);
      return;
    }
    if (!Array.isArray(value)) return;
    const elements = elementsOf(list, value, path, depth);
    const seen = new Set<string>();
    const duplicates = new Set<string>();
    for (const element of elements) {
      if (seen.has(element)) duplicates.add(element);
      else seen.add(element);
    }
    elements.forEach((element, i) => {
      path[depth] = element;
      if (!duplicates.has(element)) collect(builder, list.items, value[i], path, depth + 1);
      builder.insert(path, depth + 1);
    });
    return;
  }
  builder.insert(path, depth);
}

/** The set with every declared field on the way to its members made a member as well. */
export function withNamedFields(set: FieldSet, schema: Schema | undefined): FieldSet {
  if (isEmptySet(set)) return set;
  const out: Record<string, FieldSet> = {};
  for (const element in set) {
    const node = set[element]!;
    if (element === '.' || isEmptySet(node)) {
      out[element] = node;
      continue;
    }
    let type: Schema | undefined;
    let declared = false;
    if (element.startsWith('f:')) {
      const name = element.slice(2);
      if (schema !== undefined && schema.kind !== 'list' && schema.kind !== 'scalar') {
        type = memberSchema(schema, name);
        declared = schema.kind === 'object' && schema.fields.has(name);
      }
    } else if (element.startsWith('k:') && schema?.kind === 'list') type = schema.items;
    const inner = withNamedFields(node, type);
    out[element] = declared && inner['.'] === undefined ? { '.': emptyFieldSet, ...inner } : inner;
  }
  return out;
}

/**
 * The set after a change of the schema: what has become atomic is owned as a whole. Upstream's other direction, from atomic
 * to granular, needs nothing. Returns the same set where nothing changed.
 */
export function reconcileWithSchema(set: FieldSet, schema: Schema): FieldSet {
  return reconcile(set, schema, true);
}

function reconcile(node: FieldSet, schema: Schema, root: boolean): FieldSet {
  if (isEmptySet(node)) return node;
  if (schema.kind === 'scalar' || schema.kind === 'any' || schema.kind === 'either') return node;
  const atomic = schema.kind === 'list' ? schema.listType === 'atomic' : schema.atomic;
  if (atomic && !root) return emptyFieldSet;
  let out: Record<string, FieldSet> | undefined;
  for (const element in node) {
    const child = node[element]!;
    if (element === '.' || isEmptySet(child)) continue;
    const type =
      schema.kind === 'list'
        ? schema.items
        : element.startsWith('f:')
          ? memberSchema(schema, element.slice(2))
          : undefined;
    if (type === undefined) continue;
    const next = reconcile(child, type, false);
    if (next !== child) (out ??= { ...node })[element] = next;
  }
  return out ?? node;
}
