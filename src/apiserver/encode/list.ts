/**
 * Lists: as JSON in chunks whose items are spliced bytes, or as one parsed object. Items of built-in lists carry no type
 * header, items of custom lists do. Tables and metadata lists are made item by item as well.
 */
import type { ResourceInfo } from '../../api/catalog/resource.ts';
import { stringifyJson } from '../../api/codec/json.ts';
import { apiVersionOf } from '../../api/object.ts';
import { Slice } from '../../base/yield.ts';
import type { Scope } from '../filters/scope.ts';
import type { Committed, KubeObjectLike, ResponseBody } from '../request.ts';
import type { Encoder } from './encoder.ts';
import { partialMetadata } from './metadata.ts';
import { MetadataItems, RowItems } from './stored-items.ts';
import type { ItemWriter } from './stored-items.ts';
import { podAddresses } from './pod-addresses.ts';
import type { Negotiated } from './negotiate.ts';

type ListBody = ResponseBody & { kind: 'list' };

/** A chunk is sent once it has grown to this. */
const chunkBytes = 128 * 1024;
const firstBytes = 16 * 1024;
/** Chunks of a list that wait to be filled again. */
const maxSpare = 4;

/** The buffers of one list. Fresh ones cost more than what is copied into them: their pages, and collecting them. */
export class ChunkBuffers {
  readonly #spare: Buffer[] = [];

  take(atLeast: number): Buffer {
    if (atLeast <= chunkBytes) return this.#spare.pop() ?? Buffer.allocUnsafeSlow(chunkBytes);
    return Buffer.allocUnsafeSlow(atLeast);
  }

  give(chunk: Buffer): void {
    if (chunk.buffer.byteLength === chunkBytes && this.#spare.length < maxSpare)
      this.#spare.push(Buffer.from(chunk.buffer, 0, chunkBytes));
  }
}

/** metav1.ListMeta in upstream's order. */
export function listMeta(body: ListBody): Record<string, unknown> {
  const meta: Record<string, unknown> = { resourceVersion: body.resourceVersion };
  if (body.continue !== undefined && body.continue !== '') meta['continue'] = body.continue;
  if (body.remainingItemCount !== undefined) meta['remainingItemCount'] = body.remainingItemCount;
  return meta;
}

/** The type header of a list in its transformed form. */
function listType(output: Negotiated, resource: ResourceInfo): { kind: string; apiVersion: string } {
  switch (output.as) {
    case '':
    case 'PodAddresses':
      return { kind: resource.listKind, apiVersion: apiVersionOf(resource) };
    case 'Table':
      return { kind: 'Table', apiVersion: `meta.k8s.io/${output.asVersion}` };
    default:
      return { kind: 'PartialObjectMetadataList', apiVersion: `meta.k8s.io/${output.asVersion}` };
  }
}

/** An object of which less is shown. */
function reduced(object: KubeObjectLike, output: Negotiated): KubeObjectLike {
  return output.as === 'PodAddresses' ? podAddresses(object) : partialMetadata(object, output.asVersion);
}

/** Whether no items are null: upstream's transformations append to nothing, but its printers and lists begin with an empty list. */
function nullWhenEmpty(output: Negotiated, resource: ResourceInfo): boolean {
  switch (output.as) {
    case '':
    case 'PodAddresses':
      return false;
    case 'Table':
      return !resource.custom && resource.columns.every(({ name }) => name === 'Name' || name === 'Created At');
    default:
      return true;
  }
}

/** The items, in the order of a table's rows where that is not the order of the keys. */
function ordered(encoder: Encoder, resource: ResourceInfo, body: ListBody, table: boolean): Iterable<Committed> {
  const order = table ? encoder.tables.order(resource) : undefined;
  return order === undefined ? body.items : [...body.items].sort((a, b) => order(a.object(), b.object()));
}

/** The list as JSON, in chunks of about 128 KiB. */
export function* listChunks(
  encoder: Encoder,
  scope: Scope,
  output: Negotiated,
  body: ListBody,
  buffers: ChunkBuffers,
): Generator<Buffer> {
  const resource = scope.resource!;
  const codec = encoder.codec;
  const type = listType(output, resource);
  const table = output.as === 'Table' ? encoder.tables.rows(scope, output) : undefined;
  let head = `{"kind":${JSON.stringify(type.kind)},"apiVersion":${JSON.stringify(type.apiVersion)},"metadata":${JSON.stringify(listMeta(body))},`;
  head += table === undefined ? '"items":[' : `"columnDefinitions":${JSON.stringify(table.columns)},"rows":[`;
  let target: Buffer = Buffer.allocUnsafeSlow(firstBytes);
  let at = 0;
  /** Makes room for `n` bytes: a small buffer grows, a full chunk is returned to be sent. */
  const room = (n: number): Buffer | undefined => {
    if (at + n <= target.length) return undefined;
    if (target.length < chunkBytes || at === 0) {
      const wanted = Math.max(at + n, Math.min(target.length * 4, chunkBytes));
      const grown = wanted < chunkBytes ? Buffer.allocUnsafeSlow(wanted) : buffers.take(wanted);
      target.copy(grown, 0, 0, at);
      target = grown;
      return undefined;
    }
    const full = target.subarray(0, at);
    target = buffers.take(n);
    at = 0;
    return full;
  };
  const put = (bytes: Buffer): Buffer | undefined => {
    const full = room(bytes.length);
    at += bytes.copy(target, at);
    return full;
  };
  put(Buffer.from(head));
  const typeHeader = resource.custom;
  let writer: ItemWriter | undefined;
  if (table !== undefined) writer = new RowItems(codec, resource, table, output.asVersion);
  else if (output.as !== '' && output.as !== 'PodAddresses')
    writer = new MetadataItems(codec, resource, output.asVersion);
  let first = true;
  for (const committed of ordered(encoder, resource, body, table !== undefined)) {
    const size = output.as === '' ? codec.size(committed, resource, typeHeader) : writer?.prepare(committed);
    if (size !== undefined) {
      // The common way: straight from the stored bytes into the chunk.
      const full = room(size + 1);
      if (full !== undefined) yield full;
      if (!first) target[at++] = comma;
      at =
        writer === undefined ? codec.writeInto(committed, resource, typeHeader, target, at) : writer.write(target, at);
    } else {
      let item: Buffer;
      if (output.as === '') item = codec.bytes(committed, resource, typeHeader);
      else {
        const [object, hub] = codec.passingPair(committed, resource);
        const made = table === undefined ? reduced(object, output) : table.row(object, hub);
        item = Buffer.from(stringifyJson(made));
      }
      const full = put(first ? item : Buffer.concat([commaBytes, item]));
      if (full !== undefined) yield full;
    }
    first = false;
  }
  // Nothing but the head is there then, which ends with the bracket.
  const none = first && nullWhenEmpty(output, resource);
  if (none) at--;
  const full = put(none ? nullTail : tail);
  if (full !== undefined) yield full;
  yield target.subarray(0, at);
}

const comma = 0x2c;
const commaBytes = Buffer.from(',');
const tail = Buffer.from(']}\n');
const nullTail = Buffer.from('null}\n');

/** The list as one parsed object. */
export async function listObject(
  encoder: Encoder,
  scope: Scope,
  output: Negotiated,
  body: ListBody,
): Promise<KubeObjectLike> {
  const resource = scope.resource!;
  const slice = new Slice();
  const table = output.as === 'Table' ? encoder.tables.rows(scope, output) : undefined;
  const items: unknown[] = [];
  for (const committed of ordered(encoder, resource, body, table !== undefined)) {
    if (slice.spent) await slice.turn();
    const object = encoder.codec.object(committed, resource);
    if (table !== undefined) items.push(table.row(object, committed.object()));
    else items.push(output.as === '' ? object : reduced(object, output));
  }
  const list: KubeObjectLike = { ...listType(output, resource), metadata: listMeta(body) };
  const shown = items.length === 0 && nullWhenEmpty(output, resource) ? null : items;
  if (table === undefined) list['items'] = shown;
  else {
    list['columnDefinitions'] = table.columns;
    list['rows'] = shown;
  }
  return list;
}
