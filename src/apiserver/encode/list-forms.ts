/**
 * Lists in the forms that are not plain JSON (protobuf, CBOR, YAML, JSON for people), item by item: a long list is never held
 * whole, neither parsed nor as bytes.
 */
import type { ResourceInfo } from '../../api/catalog/resource.ts';
import { encodeCborListHead, encodeCborListTail } from '../../api/codec/cbor.ts';
import { stringifyYaml } from '../../api/codec/yaml.ts';
import { apiVersionOf } from '../../api/object.ts';
import { Slice } from '../../base/yield.ts';
import type { Committed, KubeObjectLike, ResponseBody } from '../request.ts';
import type { StoredObject } from '../storage/codec.ts';
import type { Encoder } from './encoder.ts';
import { keptFormBytes } from './form-cache.ts';
import { ChunkBuffers, listMeta } from './list.ts';
import { mayHideMetadata, partialMetadata } from './metadata.ts';
import type { Negotiated } from './negotiate.ts';

type ListBody = ResponseBody & { kind: 'list' };

/** Chunks are sent once they have grown to this. */
const chunkBytes = 128 * 1024;
/** Encoded items that are kept until the length of all is known; those of a longer list are made when they are sent. */
const keptBytes = 8 * 1024 * 1024;

/** So many items tell how long all will be. */
const sample = 32;

/** What the items of a list become. */
interface Items {
  readonly apiVersion: string;
  readonly listKind: string;
  of(committed: Committed): KubeObjectLike;
  /** Its stored JSON, where that holds the same. */
  stored(committed: Committed): StoredObject | undefined;
}

/** Undefined for tables, which have rows instead, and for what few ask for. */
function itemsOf(encoder: Encoder, resource: ResourceInfo, output: Negotiated): Items | undefined {
  switch (output.as) {
    case '':
      return {
        apiVersion: apiVersionOf(resource),
        listKind: resource.listKind,
        of: (committed) => encoder.codec.passing(committed, resource),
        stored: (committed) => encoder.codec.stored(committed, resource),
      };
    case 'Table':
    case 'PodAddresses':
      return undefined;
    default:
      return {
        apiVersion: `meta.k8s.io/${output.asVersion}`,
        listKind: 'PartialObjectMetadataList',
        of: (committed) => partialMetadata(encoder.codec.passing(committed, resource), output.asVersion),
        stored: (committed) => {
          const stored = encoder.codec.stored(committed, resource);
          return stored === undefined || mayHideMetadata(stored) ? undefined : stored;
        },
      };
  }
}

/** Items of built-in lists carry no type. */
function bare(object: KubeObjectLike): object {
  const { kind: _kind, apiVersion: _apiVersion, ...rest } = object;
  return rest;
}

/** Joins small pieces to chunks, and gives the event loop its turns. A piece may be overwritten once the next is asked for. */
async function* joined(pieces: Iterable<Buffer>, buffers: ChunkBuffers): AsyncGenerator<Buffer> {
  const slice = new Slice();
  let chunk = buffers.take(chunkBytes);
  let at = 0;
  for (const piece of pieces) {
    if (at + piece.length > chunk.length) {
      if (at > 0) yield chunk.subarray(0, at);
      chunk = buffers.take(Math.max(chunkBytes, piece.length));
      at = 0;
      await slice.turn();
    } else if (slice.spent) await slice.turn();
    at += piece.copy(chunk, at);
  }
  if (at > 0) yield chunk.subarray(0, at);
}

/** Whole, where it is short: then its length is known. */
export type ListForm =
  | { readonly bytes: Buffer }
  /** `recycle` takes back what has been sent. */
  | { readonly chunks: AsyncGenerator<Buffer>; readonly recycle: (chunk: Buffer) => void };

function inChunks(pieces: Iterable<Buffer>): ListForm {
  const buffers = new ChunkBuffers();
  return { chunks: joined(pieces, buffers), recycle: (chunk) => buffers.give(chunk) };
}

async function protobuf(encoder: Encoder, items: Items, body: ListBody): Promise<ListForm | undefined> {
  const parts = encoder.protobuf?.listParts(items.apiVersion, items.listKind);
  if (parts === undefined) return undefined;
  const form = `${items.apiVersion} ${items.listKind}`;
  const { forms, formSizes } = encoder;
  const number = formSizes.number(form);
  const length = Array.isArray(body.items) ? body.items.length : body.items.count;
  let total = 0;
  let encoded = 0;
  let encodedBytes = 0;
  /** In memory that the next item takes, unless it is kept. */
  const encode = (committed: Committed): Buffer => {
    const known = forms.get(committed, form);
    if (known !== undefined) return known;
    const stored = items.stored(committed);
    const item = (stored === undefined ? undefined : parts.stored(stored)) ?? parts.item(items.of(committed));
    const again = formSizes.get(committed, number) !== undefined;
    formSizes.set(committed, number, item.length);
    // What is read page by page is mostly read once, and of a list that is longer than what can be kept nothing is.
    if (body.continue !== undefined && !again) return item;
    encoded++;
    encodedBytes += item.length;
    const all = length === undefined ? total : Math.max(total, (encodedBytes / encoded) * length);
    return all > keptFormBytes * 0.8 ? item : forms.add(committed, form, item);
  };
  const slice = new Slice();
  let count = 0;
  let kept: Buffer[] | undefined = [];
  for (const committed of body.items) {
    if (slice.spent) await slice.turn();
    count++;
    const size = kept === undefined ? formSizes.get(committed, number) : undefined;
    if (size !== undefined) {
      total += size;
      continue;
    }
    const item = encode(committed);
    total += item.length;
    // The first ones tell of a long list already.
    const all = count === sample && length !== undefined ? (total / count) * length : total;
    if (all > keptBytes) kept = undefined;
    else kept?.push(forms.get(committed, form) ?? Buffer.from(item));
  }
  const head = parts.head(listMeta(body), total);
  if (kept !== undefined) return { bytes: Buffer.concat([head, ...kept, parts.tail]) };
  return inChunks(
    (function* () {
      yield head;
      let bytes = 0;
      let made = 0;
      for (const committed of body.items) {
        const item = encode(committed);
        bytes += item.length;
        made++;
        yield item;
      }
      // The head has told what would come: a list that became another one meanwhile is worthless.
      if (bytes !== total || made !== count) throw new Error('a list changed while it was sent');
      yield parts.tail;
    })(),
  );
}

function* cbor(encoder: Encoder, items: Items, resource: ResourceInfo, body: ListBody): Generator<Buffer> {
  let count = 0;
  for (const _committed of body.items) count++;
  yield encodeCborListHead(items.listKind, count);
  for (const committed of body.items) {
    const object = items.of(committed);
    yield encoder.cbor!.item(object, resource.custom || items.listKind !== resource.listKind);
  }
  yield encodeCborListTail(listMeta(body), items.apiVersion);
}

function* yaml(items: Items, typed: boolean, body: ListBody): Generator<Buffer> {
  yield Buffer.from(`apiVersion: ${items.apiVersion}\n`);
  let first = true;
  for (const committed of body.items) {
    const object = items.of(committed);
    yield Buffer.from(`${first ? 'items:\n' : ''}${stringifyYaml([typed ? object : bare(object)])}`);
    first = false;
  }
  if (first) yield Buffer.from('items: []\n');
  yield Buffer.from(stringifyYaml({ kind: items.listKind, metadata: listMeta(body) }));
}

/** Indented by two, as `JSON.stringify` does it for the whole. */
function* pretty(items: Items, typed: boolean, body: ListBody): Generator<Buffer> {
  const text = (value: unknown, by: string): string =>
    JSON.stringify(value, (_key, v: unknown) => (typeof v === 'bigint' ? Number(v) : v), 2).replaceAll('\n', `\n${by}`);
  const { listKind, apiVersion } = items;
  yield Buffer.from(
    `{\n  "kind": ${JSON.stringify(listKind)},\n  "apiVersion": ${JSON.stringify(apiVersion)},\n  "metadata": ${text(listMeta(body), '  ')},\n  "items": [`,
  );
  let first = true;
  for (const committed of body.items) {
    const object = items.of(committed);
    yield Buffer.from(`${first ? '' : ','}\n    ${text(typed ? object : bare(object), '    ')}`);
    first = false;
  }
  yield Buffer.from(first ? ']\n}' : '\n  ]\n}');
}

/** The list in the form asked for; undefined where it is no list of objects (tables). */
export async function listForm(
  encoder: Encoder,
  resource: ResourceInfo,
  output: Negotiated,
  body: ListBody,
): Promise<ListForm | undefined> {
  const items = itemsOf(encoder, resource, output);
  if (items === undefined) return undefined;
  const typed = resource.custom || output.as !== '';
  switch (output.format) {
    case 'protobuf':
      return protobuf(encoder, items, body);
    case 'cbor':
      return inChunks(cbor(encoder, items, resource, body));
    case 'yaml':
      return inChunks(yaml(items, typed, body));
    case 'json':
      return inChunks(pretty(items, typed, body));
  }
}
