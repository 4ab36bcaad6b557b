import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loadCatalog } from '../../api/catalog/catalog.ts';
import { CborObjects } from '../../api/codec/cbor-objects.ts';
import { ProtobufObjects } from '../../api/protobuf.ts';
import { SystemClock } from '../../base/clock.ts';
import type { Committed } from '../request.ts';
import type { KubeObjectLike } from '../request.ts';
import { ParsedCache, StorageLayout, StoredObject } from '../storage/codec.ts';
import { TableMaker } from '../tables/table.ts';
import { Encoder } from './encoder.ts';
import { listForm } from './list-forms.ts';
import type { Negotiated } from './negotiate.ts';

const catalog = loadCatalog();
const encoder = new Encoder({
  tables: new TableMaker(new SystemClock()),
  protobuf: new ProtobufObjects(catalog),
  cbor: new CborObjects(catalog),
});
const resource = catalog.resource('', 'v1', 'configmaps')!;
const layout = new StorageLayout({
  root: '/registry',
  keyPrefix: 'configmaps',
  namespaced: true,
  apiVersion: 'v1',
  kind: 'ConfigMap',
  custom: false,
  parsed: new ParsedCache(1 << 20),
  freeze: true,
});

function stored(i: number, text: string): Committed {
  const name = `c${String(i).padStart(5, '0')}`;
  const metadata = { name, namespace: 'default', uid: `uid-${i}`, labels: { a: 'b' } };
  const object = { kind: 'ConfigMap', apiVersion: 'v1', metadata, data: { text, '\n': 'multi\nline' } };
  return new StoredObject(layout, layout.key('default', name), i + 1, layout.encode(object));
}

async function whole(output: Negotiated, items: readonly Committed[]): Promise<Buffer> {
  const body = { kind: 'list', resourceVersion: '77', continue: 'next', remainingItemCount: 5, items } as const;
  const form = (await listForm(encoder, resource, output, body))!;
  if ('bytes' in form) return form.bytes;
  const chunks: Buffer[] = [];
  for await (const chunk of form.chunks) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** The list as one object, for the encoder of objects. */
function object(output: Negotiated, items: readonly Committed[]): KubeObjectLike {
  const partial = output.as !== '';
  return {
    kind: partial ? 'PartialObjectMetadataList' : 'ConfigMapList',
    apiVersion: partial ? 'meta.k8s.io/v1' : 'v1',
    metadata: { resourceVersion: '77', continue: 'next', remainingItemCount: 5 },
    items: items.map((c) => {
      const { kind: _kind, apiVersion: _apiVersion, ...rest } = c.object();
      return partial ? { kind: 'PartialObjectMetadata', apiVersion: 'meta.k8s.io/v1', metadata: rest.metadata } : rest;
    }),
  };
}

test('a list in pieces is the list as a whole, in every form, short and long', async () => {
  for (const [count, text] of [
    [0, ''],
    [3, 'short "text": with ü'],
    [1200, 'x'.repeat(10_000)],
    // More than is kept.
    [2400, 'y'.repeat(20_000)],
  ] as const) {
    const items = Array.from({ length: count }, (_, i) => stored(i, text));
    for (const as of ['', 'PartialObjectMetadataList'] as const)
      for (const format of ['protobuf', 'cbor', 'yaml', 'json'] as const) {
        if (count > 2000 && format !== 'protobuf') continue;
        const output: Negotiated = { format, pretty: format === 'json', as, asVersion: 'v1' };
        const made = await whole(output, items);
        const wanted = encoder.encodeObject(output, object(output, items));
        assert.ok(
          made.equals(wanted),
          `${format} ${as} of ${count}:\n${made.toString('utf8', 0, 600)}\n${wanted.toString('utf8', 0, 600)}`,
        );
        // What is remembered of a list does not change it.
        if (format === 'protobuf') assert.ok((await whole(output, items)).equals(wanted), `${as} of ${count} again`);
      }
  }
});
