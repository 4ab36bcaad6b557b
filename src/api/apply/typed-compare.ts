/** What became of a value: which fields came, changed and went. Identical (`===`) subtrees are never walked. */
import type { JsonObject } from '../patch/values.ts';
import { isObject, jsonEqual } from '../patch/values.ts';
import type { ListSchema, Schema } from '../schema/schema.ts';
import type { FieldSet } from './field-set.ts';
import { emptyFieldSet, FieldSetBuilder, memberOfChildren } from './field-set.ts';
import { associative, elementsOf, hasMembers, isAtomicMap, memberElement, memberSchema, shapeOf } from './typed.ts';

export interface Comparison {
  readonly added: FieldSet;
  readonly modified: FieldSet;
  readonly removed: FieldSet;
}

export const noChange: Comparison = Object.freeze({
  added: emptyFieldSet,
  modified: emptyFieldSet,
  removed: emptyFieldSet,
});

/** What became of `before`: no path is in more than one of the sets. @throws {TypedError} */
export function compareValues(schema: Schema, before: unknown, after: unknown): Comparison {
  if (before === after) return noChange;
  const comparer = new Comparer();
  comparer.node(schema, before, after, 0);
  return {
    added: comparer.added.build(),
    modified: comparer.modified.build(),
    removed: comparer.removed.build(),
  };
}

class Comparer {
  readonly added = new FieldSetBuilder();
  readonly modified = new FieldSetBuilder();
  readonly removed = new FieldSetBuilder();
  readonly path: string[] = [];

  /** `undefined` is absent, null is a value. */
  node(schema: Schema, before: unknown, after: unknown, depth: number): void {
    if (before === after) return;
    if (depth > 0 && before === undefined) {
      this.added.graft(this.path, depth, this.whole(schema, after, depth));
      return;
    }
    if (depth > 0 && after === undefined) {
      this.removed.graft(this.path, depth, this.whole(schema, before, depth));
      return;
    }
    const shapeBefore = shapeOf(schema, before);
    const shapeAfter = shapeOf(schema, after);
    const shape = shapeAfter ?? shapeBefore;
    if (shapeBefore !== undefined && shapeAfter !== undefined && shapeBefore !== shapeAfter) {
      // A value without a schema that changed its shape: the map's members come or go, the value itself is modified.
      if (!isAtomicMap(schema)) {
        if (shapeBefore === 'map') this.members(schema, before as JsonObject, undefined, depth);
        if (shapeAfter === 'map') this.members(schema, undefined, after as JsonObject, depth);
      }
      this.modified.insert(this.path, depth);
      return;
    }
    if (shape === 'map') {
      const left = isObject(before) ? before : undefined;
      const right = isObject(after) ? after : undefined;
      const bothEmpty = (left === undefined || !hasMembers(left)) && (right === undefined || !hasMembers(right));
      if (bothEmpty || isAtomicMap(schema)) {
        this.leaf(before, after, depth);
        return;
      }
      this.members(schema, left, right, depth);
      this.self(before, after, depth);
      return;
    }
    if (shape === 'list') {
      const list = associative(schema);
      const left = Array.isArray(before) ? before : undefined;
      const right = Array.isArray(after) ? after : undefined;
      if (list === undefined || ((left?.length ?? 0) === 0 && (right?.length ?? 0) === 0)) {
        this.leaf(before, after, depth);
        return;
      }
      this.items(list, left ?? [], right ?? [], depth);
      this.self(before, after, depth);
      return;
    }
    this.leaf(before, after, depth);
  }

  /** What a value that came or went as a whole owns, below its own path. */
  whole(schema: Schema, value: unknown, depth: number): FieldSet {
    if (typeof value !== 'object' || value === null) return emptyFieldSet;
    const shape = shapeOf(schema, value);
    if (shape === 'map') {
      if (Array.isArray(value) || isAtomicMap(schema)) return emptyFieldSet;
      const elements: string[] = [];
      const children: Record<string, FieldSet> = {};
      for (const key in value) {
        const member = (value as JsonObject)[key];
        if (member === undefined) continue;
        const type = memberSchema(schema, key);
        if (type === undefined) continue;
        const element = memberElement(schema, key);
        this.path[depth] = element;
        children[element] = this.whole(type, member, depth + 1);
        elements.push(element);
      }
      return memberOfChildren(elements, children);
    }
    const list = shape === 'list' ? associative(schema) : undefined;
    if (list === undefined || !Array.isArray(value)) return emptyFieldSet;
    const found = elementsOf(list, value, this.path, depth);
    const elements: string[] = [];
    const children: Record<string, FieldSet> = {};
    for (let i = 0; i < found.length; i++) {
      const element = found[i]!;
      if (children[element] !== undefined) {
        // Items of one key are one leaf: they cannot be told apart.
        children[element] = emptyFieldSet;
        continue;
      }
      this.path[depth] = element;
      children[element] = this.whole(list.items, value[i], depth + 1);
      elements.push(element);
    }
    return memberOfChildren(elements, children);
  }

  leaf(before: unknown, after: unknown, depth: number): void {
    if (before === undefined) this.added.insert(this.path, depth);
    else if (after === undefined) this.removed.insert(this.path, depth);
    else if (!jsonEqual(before, after)) this.modified.insert(this.path, depth);
  }

  self(before: unknown, after: unknown, depth: number): void {
    if (before === undefined) this.added.insert(this.path, depth);
    else if (after === undefined) this.removed.insert(this.path, depth);
  }

  members(schema: Schema, before: JsonObject | undefined, after: JsonObject | undefined, depth: number): void {
    if (before !== undefined) {
      for (const key in before) {
        const left = before[key];
        if (left === undefined) continue;
        const right = after === undefined ? undefined : after[key];
        if (left === right) continue;
        const type = memberSchema(schema, key);
        if (type === undefined) continue;
        this.path[depth] = memberElement(schema, key);
        this.node(type, left, right, depth + 1);
      }
    }
    if (after !== undefined) {
      for (const key in after) {
        const right = after[key];
        if (right === undefined || (before !== undefined && before[key] !== undefined)) continue;
        const type = memberSchema(schema, key);
        if (type === undefined) continue;
        this.path[depth] = memberElement(schema, key);
        this.node(type, undefined, right, depth + 1);
      }
    }
  }

  items(list: ListSchema, before: readonly unknown[], after: readonly unknown[], depth: number): void {
    const left = group(elementsOf(list, before, this.path, depth), before);
    const right = group(elementsOf(list, after, this.path, depth), after);
    for (const [element, lefts] of left) {
      this.path[depth] = element;
      this.item(list, lefts, right.get(element) ?? [], depth + 1);
    }
    for (const [element, rights] of right) {
      if (left.has(element)) continue;
      this.path[depth] = element;
      this.item(list, [], rights, depth + 1);
    }
  }

  /** Items of one key. Several of them are one leaf: they cannot be told apart. */
  item(list: ListSchema, lefts: readonly unknown[], rights: readonly unknown[], depth: number): void {
    if (lefts.length <= 1 && rights.length <= 1) {
      this.node(list.items, lefts[0], rights[0], depth);
    } else if (lefts.length >= 2 && rights.length >= 2) {
      if (!jsonEqual(lefts, rights)) this.modified.insert(this.path, depth);
    } else if (lefts.length >= 2) {
      if (rights.length > 0) this.node(list.items, undefined, rights[0], depth);
      this.removed.insert(this.path, depth);
    } else {
      if (lefts.length > 0) this.node(list.items, lefts[0], undefined, depth);
      this.added.insert(this.path, depth);
    }
  }
}

function group(elements: readonly string[], items: readonly unknown[]): Map<string, unknown[]> {
  const groups = new Map<string, unknown[]>();
  elements.forEach((element, i) => {
    const known = groups.get(element);
    if (known === undefined) groups.set(element, [items[i]]);
    else known.push(items[i]);
  });
  return groups;
}
