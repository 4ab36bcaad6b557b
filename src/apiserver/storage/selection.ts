/** Which objects a list or watch is about: a range of keys, and what label and field selectors leave of it. */
import type { Selector } from '../../api/selector.ts';
import type { FieldSelector } from '../../api/field-selector.ts';
import type { StorageLayout, StoredObject } from './codec.ts';
import { prefixEnd } from './keys.ts';

export interface SelectionOptions {
  readonly namespace: string;
  readonly labels: Selector;
  readonly fields: FieldSelector;
}

export class Selection {
  /** Keys from `from` (inclusive) to `end` (exclusive). */
  readonly from: string;
  readonly end: string;
  /** The namespace that the range covers; empty: all. */
  readonly namespace: string;
  /** Set when the selection can only ever be this one key. */
  readonly single: string | undefined;
  /** No selectors: everything in the range. */
  readonly unrestricted: boolean;
  /** The range is the whole resource and nothing is left out. */
  readonly everything: boolean;
  readonly labels: Selector;
  readonly fields: FieldSelector;

  constructor(layout: StorageLayout, options: SelectionOptions) {
    let { namespace } = options;
    // The field selector may narrow the scope, as if it stood in the path.
    const wanted = options.fields.requiresExactMatch('metadata.namespace');
    if (namespace === '' && layout.namespaced && wanted !== undefined && wanted !== '' && !wanted.includes('/')) {
      namespace = wanted;
    }
    const name = options.fields.requiresExactMatch('metadata.name');
    const named = name !== undefined && name !== '' && !name.includes('/') && (!layout.namespaced || namespace !== '');
    this.namespace = layout.namespaced ? namespace : '';
    this.single = named ? layout.key(namespace, name) : undefined;
    const prefix = layout.namespacePrefix(namespace);
    this.from = this.single ?? prefix;
    this.end = this.single === undefined ? prefixEnd(prefix) : `${this.single}\0`;
    this.labels = options.labels;
    this.fields = options.fields;
    this.unrestricted = options.labels.empty && options.fields.empty;
    this.everything = this.unrestricted && prefix === layout.prefix;
  }

  /** Whether an object of the range is selected. */
  matches(object: StoredObject): boolean {
    if (this.unrestricted) return true;
    if (!this.labels.empty && !this.labels.matches(object.labels())) return false;
    return this.fields.empty || this.fields.matches((field) => object.field(field));
  }

  /** Whether an object is in the range and selected. */
  includes(object: StoredObject): boolean {
    return object.key >= this.from && object.key < this.end && this.matches(object);
  }

  /** The one value that the fields demand of `field`. */
  exactField(field: string): string | undefined {
    return this.fields.requiresExactMatch(field);
  }
}
