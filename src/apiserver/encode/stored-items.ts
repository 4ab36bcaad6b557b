/**
 * Rows of tables and metadata of objects as JSON, made of stored bytes: metadata is copied with the resource version put in, and
 * of the rest is read what the cells show. An object that lies in the store in another shape than it is asked for in is not for
 * them.
 */
import type { ResourceInfo } from '../../api/catalog/resource.ts';
import { parseTrustedJson, stringifyJson } from '../../api/codec/json.ts';
import type { Committed, KubeObjectLike } from '../request.ts';
import { resourceVersionRoom, StoredObject } from '../storage/codec.ts';
import type { MetadataSpan } from '../storage/stored-json.ts';
import type { RowMaker } from '../tables/table.ts';
import type { ObjectCodec } from './codec.ts';
import { mayHideMetadata } from './metadata.ts';

/** Writes the items of one list: `prepare` one, make room for it, `write` it. */
export interface ItemWriter {
  /** The most bytes that `write` will take for this object; undefined where it has to be parsed. */
  prepare(committed: Committed): number | undefined;
  /** Writes what was prepared last, and returns the offset behind it. */
  write(target: Buffer, at: number): number;
}

/** Items of a PartialObjectMetadataList. */
export class MetadataItems implements ItemWriter {
  readonly #codec: ObjectCodec;
  readonly #resource: ResourceInfo;
  readonly #head: Buffer;
  readonly span: MetadataSpan = { end: -1, fields: -1 };
  /** The object that was prepared last, and where its metadata begins. */
  stored: StoredObject | undefined;
  start = -1;

  constructor(codec: ObjectCodec, resource: ResourceInfo, version: string) {
    this.#codec = codec;
    this.#resource = resource;
    this.#head = Buffer.from(`{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/${version}","metadata":`);
  }

  prepare(committed: Committed): number | undefined {
    this.stored = undefined;
    if (!(committed instanceof StoredObject)) return undefined;
    if (this.#codec.size(committed, this.#resource, true) === undefined) return undefined;
    const start = committed.metadataStart(this.span);
    if (start < 0) return undefined;
    if (mayHideMetadata(committed)) return undefined;
    const { end } = this.span;
    this.stored = committed;
    this.start = start;
    return this.#head.length + end - start + resourceVersionRoom;
  }

  write(target: Buffer, at: number): number {
    let to = at + this.#head.copy(target, at);
    to = this.stored!.writeMetadata(target, to, this.start, this.span.end);
    target[to++] = closeBrace;
    return to;
  }
}

/** Rows of a Table. */
export class RowItems implements ItemWriter {
  readonly #codec: ObjectCodec;
  readonly #resource: ResourceInfo;
  readonly #rows: RowMaker;
  readonly #metadata: MetadataItems;
  #cells = '';

  constructor(codec: ObjectCodec, resource: ResourceInfo, rows: RowMaker, version: string) {
    this.#codec = codec;
    this.#resource = resource;
    this.#rows = rows;
    this.#metadata = new MetadataItems(codec, resource, version);
  }

  prepare(committed: Committed): number | undefined {
    let size = this.#metadata.prepare(committed);
    const { stored } = this.#metadata;
    if (size === undefined || stored === undefined) return undefined;
    const { include } = this.#rows;
    if (include === 'None') size = 4;
    else if (include === 'Object') size = this.#codec.size(stored, this.#resource, true)!;
    const hub = stored.peek() ?? this.#picked(stored);
    if (hub === undefined) return undefined;
    const { cells, conditions } = this.#rows.print(hub as KubeObjectLike);
    this.#cells = `{"cells":${stringifyJson(cells)}${conditions === undefined ? '' : `,"conditions":${stringifyJson(conditions)}`},"object":`;
    return this.#cells.length * 3 + size + 1;
  }

  /** What the printer looks at; undefined where it may look anywhere. */
  #picked(stored: StoredObject): unknown {
    const { picker } = this.#rows;
    if (picker === undefined) return undefined;
    const { bytes } = stored;
    const { end, fields } = this.#metadata.span;
    try {
      // Of the metadata the closing brace is left.
      if (picker !== 'all but managed fields') return picker.read(bytes, 0, fields, end - 1);
      if (fields < 0) return parseTrustedJson(bytes);
      return parseTrustedJson(bytes.toString('utf8', 0, fields) + bytes.toString('utf8', end - 1));
    } catch (error) {
      // Other servers of the same store may write it with spaces.
      if (error instanceof SyntaxError) return undefined;
      throw error;
    }
  }

  write(target: Buffer, at: number): number {
    const text = this.#cells;
    let to = at + target.write(text, at, 'utf8');
    switch (this.#rows.include) {
      case 'None':
        to += target.write('null', to, 'latin1');
        break;
      case 'Object':
        to = this.#codec.writeInto(this.#metadata.stored!, this.#resource, true, target, to);
        break;
      case 'Metadata':
        to = this.#metadata.write(target, to);
    }
    target[to++] = closeBrace;
    return to;
  }
}

const closeBrace = 0x7d;
