/**
 * meta.k8s.io Table: the form that `kubectl get` asks for. Columns come from the catalogue or the CRD; cells from the
 * printer of the kind, or from the columns' JSON paths for custom resources.
 */
import type { ColumnInfo, ResourceInfo } from '../../api/catalog/resource.ts';
import { badRequest } from '../../api/status.ts';
import type { Clock } from '../../base/clock.ts';
import { JsonPicker } from '../../api/codec/json-pick.ts';
import { partialMetadata } from '../encode/metadata.ts';
import type { Negotiated } from '../encode/negotiate.ts';
import type { Scope } from '../filters/scope.ts';
import type { KubeObjectLike } from '../request.ts';
import { customCells, customWanted, pathColumns } from './custom.ts';
import { flowSchemaOrder } from './print-control.ts';
import { printers } from './printers.ts';
import { wantedOf } from './wanted.ts';

export type IncludeObject = 'None' | 'Metadata' | 'Object';

/** A cell: text, a number or a boolean. */
export type Cell = string | number | boolean | null;

/** What a printer may use besides the object. */
export interface PrintContext {
  /** Cluster time in milliseconds. */
  readonly now: number;
  /** Times that were shown at this moment already: many objects were made in the same second. */
  readonly ages?: Map<string, string>;
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
  readonly include: IncludeObject;
  /** Reads of a stored object what `print` looks at: all but the managed fields where it has not said; undefined: anything. */
  readonly picker: JsonPicker | 'all but managed fields' | undefined;
  print(hub: KubeObjectLike): PrintedRow;
  /** `object` in the version of the request; `hub` in the one that printers know. */
  row(object: KubeObjectLike, hub: KubeObjectLike): Record<string, unknown>;
  /** The row of a BOOKMARK: no cells, but the metadata. */
  bookmark(object: KubeObjectLike): Record<string, unknown>;
}

function describe(c: ColumnInfo): string {
  if (c.jsonPath !== undefined) return `Custom resource definition column (in JSONPath format): ${c.jsonPath}`;
  return descriptions[c.name] ?? '';
}

function columnDefinition(c: ColumnInfo): Record<string, unknown> {
  return {
    name: c.name,
    type: c.type,
    format: c.format,
    description: c.description ?? describe(c),
    priority: c.priority,
  };
}

const defaultColumns: readonly ColumnInfo[] = [
  { name: 'Name', type: 'string', format: 'name', priority: 0 },
  { name: 'Created At', type: 'date', format: '', priority: 0 },
];

/** What scale subresources are shown as. */
const scaleColumns: readonly ColumnInfo[] = [
  { name: 'Name', type: 'string', format: '', priority: 0 },
  { name: 'Desired', type: 'integer', format: '', priority: 0 },
  { name: 'Available', type: 'integer', format: '', priority: 0 },
  { name: 'Age', type: 'string', format: '', priority: 0 },
];

/** Columns of every kind that say the same. */
const descriptions: Readonly<Record<string, string>> = {
  Name: 'Name must be unique within a namespace. Is required when creating resources.',
  Age: 'CreationTimestamp is a timestamp representing the server time when this object was created.',
  'Created At': 'CreationTimestamp is a timestamp representing the server time when this object was created.',
};

/** Columns that upstream adds to those it declares at first. */
const addedColumns: Readonly<Record<string, readonly ColumnInfo[]>> = {
  'storage.k8s.io/CSIDriver': [
    { name: 'TokenRequests', type: 'string', format: '', priority: 0 },
    { name: 'RequiresRepublish', type: 'boolean', format: '', priority: 0 },
    { name: 'Modes', type: 'string', format: '', priority: 0 },
    { name: 'Age', type: 'string', format: '', priority: 0 },
  ],
};

function columnsOf(resource: ResourceInfo): readonly ColumnInfo[] {
  if (!resource.custom || resource.computed === true) {
    if (resource.columns.length === 0) return defaultColumns;
    const added = addedColumns[`${resource.group}/${resource.kind}`] ?? [];
    return [...resource.columns, ...added.filter((a) => !resource.columns.some((c) => c.name === a.name))];
  }
  return [defaultColumns[0]!, ...pathColumns(resource.columns)];
}

export class TableMaker {
  readonly #clock: Clock;
  readonly #columns = new WeakMap<ResourceInfo, readonly Record<string, unknown>[]>();
  readonly #printers = new WeakMap<ResourceInfo, Printer>();
  readonly #pickers = new WeakMap<ResourceInfo, { readonly picker: RowMaker['picker'] }>();

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
      made = columnsOf(resource).map(columnDefinition);
      this.#columns.set(resource, made);
    }
    return made;
  }

  #printer(resource: ResourceInfo): Printer {
    let printer = this.#printers.get(resource);
    if (printer === undefined) {
      printer =
        resource.custom && resource.computed !== true
          ? customCells(resource.columns)
          : (printers[`${resource.storageGroup ?? resource.group}/${resource.kind}`] ?? nameAndCreation);
      this.#printers.set(resource, printer);
    }
    return printer;
  }

  #picker(resource: ResourceInfo): RowMaker['picker'] {
    let made = this.#pickers.get(resource);
    if (made === undefined) {
      const custom = resource.custom && resource.computed !== true;
      const wanted = custom
        ? customWanted(resource.columns)
        : wantedOf(`${resource.storageGroup ?? resource.group}/${resource.kind}`);
      if (wanted !== undefined) made = { picker: new JsonPicker(wanted) };
      else made = { picker: custom ? undefined : 'all but managed fields' };
      this.#pickers.set(resource, made);
    }
    return made.picker;
  }

  /** The order of a list's rows, where it is not that of the keys. */
  order(resource: ResourceInfo): ((a: KubeObjectLike, b: KubeObjectLike) => number) | undefined {
    return resource.kind === 'FlowSchema' && !resource.custom ? flowSchemaOrder : undefined;
  }

  rows(scope: Scope, output: Negotiated): RowMaker {
    const resource = scope.resource!;
    const picker = this.#picker(resource);
    return this.#rows(scope, output, this.#definitions(resource), this.#printer(resource), picker);
  }

  #rows(
    scope: Scope,
    output: Negotiated,
    columns: readonly Record<string, unknown>[],
    printer: Printer,
    picker?: RowMaker['picker'],
  ): RowMaker {
    const resource = scope.resource!;
    const include = this.includeObject(scope.request.query);
    const noHeaders = scope.request.query.get('noHeaders') === 'true';
    const context: PrintContext = { now: this.#clock.now(), ages: new Map() };
    const watching = scope.info.verb === 'watch';
    const header = `${resource.group === '' ? '' : `${resource.group}/`}${resource.version}`;
    const included = (object: KubeObjectLike, always: boolean): unknown => {
      if (include === 'Object')
        return object.kind === undefined ? { kind: resource.kind, apiVersion: header, ...object } : object;
      return include === 'Metadata' || always ? partialMetadata(object, output.asVersion) : null;
    };
    const print = (hub: KubeObjectLike): PrintedRow => {
      // The rows of a watch are made over a long time, each with the age of its own moment.
      const printed = printer(hub, watching ? { now: this.#clock.now() } : context);
      return 'cells' in printed ? printed : { cells: printed };
    };
    return {
      columns: noHeaders ? [] : columns,
      include,
      picker,
      print,
      row: (object, hub) => {
        const printed = print(hub);
        return {
          cells: printed.cells,
          ...(printed.conditions === undefined ? {} : { conditions: printed.conditions }),
          object: included(object, false),
        };
      },
      bookmark: (object) => ({ cells: columns.map(() => ''), object: included(object, true) }),
    };
  }

  /** The table of a list that was made at once. */
  ofList(scope: Scope, output: Negotiated, items: readonly KubeObjectLike[]): KubeObjectLike {
    const rows = this.rows(scope, output);
    return {
      kind: 'Table',
      apiVersion: `meta.k8s.io/${output.asVersion}`,
      metadata: {},
      columnDefinitions: rows.columns,
      rows: items.map((o) => rows.row(o, o)),
    };
  }

  /** The table of one object; a Scale has columns of its own. */
  ofObject(scope: Scope, output: Negotiated, object: KubeObjectLike, hub: KubeObjectLike): KubeObjectLike {
    const rows =
      object.kind === 'Scale' && scope.resource!.kind !== 'Scale'
        ? this.#rows(scope, output, scaleColumns.map(columnDefinition), printers['autoscaling/Scale']!)
        : this.rows(scope, output);
    const resourceVersion = (object.metadata['resourceVersion'] as string | undefined) ?? '';
    return {
      kind: 'Table',
      apiVersion: `meta.k8s.io/${output.asVersion}`,
      metadata: resourceVersion === '' ? {} : { resourceVersion },
      columnDefinitions: rows.columns,
      rows: itemsOf(scope, object)?.map((item) => rows.row(item, item)) ?? [rows.row(object, hub)],
    };
  }
}

/** The items of a list that was made instead of read, each with its type; undefined for a single object. */
function itemsOf(scope: Scope, object: KubeObjectLike): readonly KubeObjectLike[] | undefined {
  const { kind, listKind } = scope.resource!;
  const items = object['items'];
  if (object.kind !== listKind || !Array.isArray(items)) return undefined;
  return (items as readonly KubeObjectLike[]).map((item) => ({ kind, apiVersion: object.apiVersion!, ...item }));
}

const nameAndCreation: Printer = (object) => [
  (object.metadata['name'] as string | undefined) ?? '',
  (object.metadata['creationTimestamp'] as string | undefined) ?? '',
];
