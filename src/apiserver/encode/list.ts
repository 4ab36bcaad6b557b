/**
 * Lists: as JSON in chunks whose items are spliced bytes, or as one parsed object. Items of built-in lists carry no type
 * header, items of custom lists do. Tables and metadata lists are made item by item as well.
 */
import type { ResourceInfo } from '../../api/catalog/resource.ts';
import { apiVersionOf } from '../../api/object.ts';
import { Slice } from '../../base/yield.ts';
import type { Scope } from '../filters/scope.ts';
import type { KubeObjectLike, ResponseBody } from '../request.ts';
import type { Encoder } from './encoder.ts';
import { partialMetadata } from './metadata.ts';
import type { Negotiated } from './negotiate.ts';

type ListBody = ResponseBody & { kind: 'list' };

/** A chunk is sent once it has grown to this. */
const chunkBytes = 128 * 1024;

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
      return { kind: resource.listKind, apiVersion: apiVersionOf(resource) };
    case 'Table':
      return { kind: 'Table', apiVersion: `meta.k8s.io/${output.asVersion}` };
    default:
      return { kind: 'PartialObjectMetadataList', apiVersion: `meta.k8s.io/${output.asVersion}` };
  }
}

/** The list as JSON, in chunks of about 128 KiB. */
export function* listChunks(encoder: Encoder, scope: Scope, output: Negotiated, body: ListBody): Generator<Buffer> {
  const resource = scope.resource!;
  const codec = encoder.codec;
  const type = listType(output, resource);
  const table = output.as === 'Table' ? encoder.tables.rows(scope, output) : undefined;
  let head = `{"kind":${JSON.stringify(type.kind)},"apiVersion":${JSON.stringify(type.apiVersion)},"metadata":${JSON.stringify(listMeta(body))},`;
  head += table === undefined ? '"items":[' : `"columnDefinitions":${JSON.stringify(table.columns)},"rows":[`;
  let parts: Buffer[] = [];
  let size = 0;
  const add = (part: Buffer): void => {
    parts.push(part);
    size += part.length;
  };
  add(Buffer.from(head));
  const typeHeader = resource.custom;
  let first = true;
  for (const committed of body.items) {
    if (!first) add(comma);
    first = false;
    if (output.as === '') add(codec.json(committed, resource, typeHeader, ''));
    else {
      const object = codec.object(committed, resource);
      const item = table === undefined ? partialMetadata(object, output.asVersion) : table.row(object);
      add(Buffer.from(JSON.stringify(item)));
    }
    if (size >= chunkBytes) {
      yield Buffer.concat(parts, size);
      parts = [];
      size = 0;
    }
  }
  add(tail);
  yield Buffer.concat(parts, size);
}

const comma = Buffer.from(',');
const tail = Buffer.from(']}\n');

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
  for (const committed of body.items) {
    if (slice.spent) await slice.turn();
    const object = encoder.codec.object(committed, resource);
    if (table !== undefined) items.push(table.row(object));
    else items.push(output.as === '' ? object : partialMetadata(object, output.asVersion));
  }
  const list: KubeObjectLike = { ...listType(output, resource), metadata: listMeta(body) };
  if (table === undefined) list['items'] = items;
  else {
    list['columnDefinitions'] = table.columns;
    list['rows'] = items;
  }
  return list;
}
