/** Cells of custom resources: the name, then each column's JSON path converted to the column's type. */
import { stringifyJson } from '../../api/codec/json.ts';
import { timeMs } from '../../api/time.ts';
import type { ColumnInfo } from '../../api/catalog/resource.ts';
import { since } from './cells.ts';
import type { Wanted } from '../../api/codec/json-pick.ts';
import { wantBoth } from '../../api/codec/json-pick.ts';
import type { JsonPath } from './json-path.ts';
import { membersOfPath, parseJsonPath } from './json-path.ts';
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

/** Members of stored metadata that are not read as they are shown. */
const unlike: ReadonlySet<string> = new Set(['resourceVersion', 'managedFields']);
/** Names as they stand in JSON, without escapes. */
const plainName = /^[\w./-]+$/;

/** What the cells are made of; undefined where a path may lead anywhere, or to what is not stored. */
export function customWanted(columns: readonly ColumnInfo[]): Wanted | undefined {
  let wanted: Wanted = { metadata: { name: 'all' } };
  for (const { jsonPath } of pathColumns(columns)) {
    const [first, second, ...rest] = membersOfPath(jsonPath!);
    if (first === undefined) return undefined;
    // What is not stored, or not read, metadata as a whole has.
    const whole = first === 'metadata' && (second === undefined || unlike.has(second));
    if (whole || first === 'apiVersion' || first === 'kind') return undefined;
    const names = second === undefined ? [first] : [first, second, ...rest];
    if (!names.every((name) => plainName.test(name))) return undefined;
    wanted = wantBoth(
      wanted,
      names.reduceRight<Wanted>((inner, name) => ({ [name]: inner }), 'all'),
    );
  }
  return wanted;
}
