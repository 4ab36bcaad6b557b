/** Cells of custom resources: the name, then each column's JSON path converted to the column's type. */
import { stringifyJson } from '../../api/codec/json.ts';
import { timeMs } from '../../api/time.ts';
import type { ColumnInfo } from '../../api/catalog/resource.ts';
import { since } from './cells.ts';
import type { JsonPath } from './json-path.ts';
import { parseJsonPath } from './json-path.ts';
import type { Cell, PrintContext, Printer } from './table.ts';
import { nameOf } from './value.ts';

/** Shown when a CRD names no columns. */
export const defaultCustomColumns: readonly ColumnInfo[] = [
  { name: 'Age', type: 'date', format: '', priority: 0, jsonPath: '.metadata.creationTimestamp' },
];

function text(value: unknown): string {
  if (value === null) return 'null';
  return typeof value === 'object' ? stringifyJson(value) : String(value);
}

function cell(type: string, value: unknown, context: PrintContext): Cell {
  if (type === 'string') return text(value);
  if (value === null) return null;
  switch (type) {
    case 'integer':
      if (typeof value === 'bigint') return Number(value);
      return typeof value === 'number' ? Math.trunc(value) : null;
    case 'number':
      return typeof value === 'number' ? value : null;
    case 'boolean':
      return typeof value === 'boolean' ? value : null;
    case 'date':
      if (typeof value !== 'string') return null;
      if (value === '' || value === 'null') return '<unknown>';
      return /^\d{4}-\d\d-\d\dT/.test(value) && !Number.isNaN(timeMs(value)) ? since(value, context) : '<invalid>';
    default:
      return null;
  }
}

/** The columns that carry a path; the name column in front of them has none. */
export function pathColumns(columns: readonly ColumnInfo[]): readonly ColumnInfo[] {
  const given = columns.filter((c) => c.jsonPath !== undefined);
  return given.length === 0 ? defaultCustomColumns : given;
}

export function customCells(columns: readonly ColumnInfo[]): Printer {
  const readers = pathColumns(columns).map((c): { type: string; path: JsonPath } => ({
    type: c.type,
    path: parseJsonPath(c.jsonPath!),
  }));
  return (object, context) => [
    nameOf(object),
    ...readers.map(({ type, path }): Cell => {
      const found = path(object);
      return found.length === 0 ? null : cell(type, found[0], context);
    }),
  ];
}
