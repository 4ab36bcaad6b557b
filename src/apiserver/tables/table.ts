/**
 * meta.k8s.io Table: the form that `kubectl get` asks for. Columns come from the catalogue or the CRD; cells from the
 * printer of the kind, or from the columns' JSON paths for custom resources.
 */
import type { ColumnInfo, ResourceInfo } from '../../api/catalog/resource.ts';
import { badRequest } from '../../api/status.ts';
import type { Clock } from '../../base/clock.ts';
import { partialMetadata } from '../encode/metadata.ts';
import type { Negotiated } from '../encode/negotiate.ts';
import type { Scope } from '../filters/scope.ts';
import type { KubeObjectLike } from '../request.ts';
import { age } from './cells.ts';
import { customCells } from './custom.ts';
import { printers } from './printers.ts';

export type IncludeObject = 'None' | 'Metadata' | 'Object';

/** A cell: text, a number or a boolean. */
export type Cell = string | number | boolean | null;

/** What a printer may use besides the object. */
export interface PrintContext {
  /** Cluster time in milliseconds. */
  readonly now: number;
}

/** The cells of one object; `conditions` are set for objects that have come to their end. */
export interface PrintedRow {
  readonly cells: readonly Cell[];
  readonly conditions?: readonly Record<string, string>[];
}

/** Makes the row of one object of its kind. */
export type Printer = (object: KubeObjectLike, context: PrintContext) => PrintedRow | readonly Cell[];

/** Rows of one answer. */
export interface RowMaker {
  readonly columns: readonly Record<string, unknown>[];
  row(object: KubeObjectLike, bookmark?: boolean): Record<string, unknown>;
}

function columnDefinition(c: ColumnInfo): Record<string, unknown> {
  return {
    name: c.name,
    type: c.type,
    format: c.format,
    description: c.description ?? '',
    priority: c.priority,
  };
}

const defaultColumns: readonly ColumnInfo[] = [
  { name: 'Name', type: 'string', format: 'name', priority: 0 },
  { name: 'Created At', type: 'date', format: '', priority: 0 },
];

export class TableMaker {
  readonly #clock: Clock;
  readonly #columns = new WeakMap<ResourceInfo, readonly Record<string, unknown>[]>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The `includeObject` parameter; throws 400 for a value it does not know. */
  includeObject(query: URLSearchParams): IncludeObject {
    const value = query.get('includeObject') ?? '';
    switch (value) {
      case '':
        return 'Metadata';
      case 'None':
      case 'Metadata':
      case 'Object':
        return value;
      default:
        throw badRequest(
          `Unable to convert to Table as requested: includeObject: Invalid value: ${JSON.stringify(value)}: must be 'Metadata', 'Object', 'None', or empty`,
        );
    }
  }

  #definitions(resource: ResourceInfo): readonly Record<string, unknown>[] {
    let made = this.#columns.get(resource);
    if (made === undefined) {
      made = (resource.columns.length === 0 ? defaultColumns : resource.columns).map(columnDefinition);
      this.#columns.set(resource, made);
    }
    return made;
  }

  #printer(resource: ResourceInfo): Printer {
    if (resource.custom) return customCells(resource.columns);
    const printer = printers[`${resource.group}/${resource.kind}`];
    if (printer !== undefined) return printer;
    return (object) => [
      (object.metadata['name'] as string | undefined) ?? '',
      (object.metadata['creationTimestamp'] as string | undefined) ?? '',
    ];
  }

  rows(scope: Scope, output: Negotiated): RowMaker {
    const resource = scope.resource!;
    const query = scope.request.query;
    const include = this.includeObject(query);
    const noHeaders = query.get('noHeaders') === 'true';
    const printer = this.#printer(resource);
    const columns = this.#definitions(resource);
    const context: PrintContext = { now: this.#clock.now() };
    const watching = scope.info.verb === 'watch';
    const header = `${resource.group === '' ? '' : `${resource.group}/`}${resource.version}`;
    return {
      columns: noHeaders ? [] : columns,
      row: (object, bookmark = false) => {
        // The rows of a watch are made over a long time, each with the age of its own moment.
        const printed = bookmark
          ? columns.map(() => '')
          : printer(object, watching ? { now: this.#clock.now() } : context);
        const row: Record<string, unknown> = {};
        if ('cells' in printed) {
          row['cells'] = printed.cells;
          if (printed.conditions !== undefined) row['conditions'] = printed.conditions;
        } else row['cells'] = printed;
        if (include === 'Object')
          row['object'] = object.kind === undefined ? { kind: resource.kind, apiVersion: header, ...object } : object;
        else if (include === 'Metadata' || bookmark) row['object'] = partialMetadata(object, output.asVersion);
        else row['object'] = null;
        return row;
      },
    };
  }

  ofObject(scope: Scope, output: Negotiated, object: KubeObjectLike): KubeObjectLike {
    const rows = this.rows(scope, output);
    return {
      kind: 'Table',
      apiVersion: `meta.k8s.io/${output.asVersion}`,
      metadata: { resourceVersion: (object.metadata['resourceVersion'] as string | undefined) ?? '' },
      columnDefinitions: rows.columns,
      rows: [rows.row(object)],
    };
  }
}

export { age };
