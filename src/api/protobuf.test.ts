/** The protobuf codec against upstream's golden files, byte for byte both ways, and against broken input. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import fc from 'fast-check';
import { scale, seed } from '../base/fuzzing.ts';
import { loadCatalog } from './catalog/catalog.ts';
import type { KubeObject } from './object.ts';
import { parseApiVersion } from './object.ts';
import { ProtobufError } from './protobuf-wire.ts';
import { ProtobufObjects, readEnvelope } from './protobuf.ts';
import { canonicalize } from './schema/canonicalize.ts';

const catalog = loadCatalog();
const protobuf = new ProtobufObjects(catalog);

function unzip<T>(path: string): Record<string, T> {
  return JSON.parse(gunzipSync(readFileSync(new URL(path, import.meta.url))).toString()) as Record<string, T>;
}

const messages = unzip<string>('testdata/golden-protobuf.json.gz');
const objects = unzip<KubeObject>('schema/testdata/golden.json.gz');

test('golden files', () => {
  assert.ok(Object.keys(messages).length > 110);
  let compared = 0;
  for (const [name, text] of Object.entries(messages)) {
    const bytes = Buffer.from(text, 'latin1');
    const decoded = protobuf.decode(bytes);
    assert.ok(decoded !== undefined, name);
    assert.deepEqual(protobuf.encode(decoded), bytes, `${name} round trip`);
    const object = objects[name];
    if (object === undefined) continue;
    compared++;
    assert.deepEqual(protobuf.encode(object), bytes, `${name} from JSON`);
    const schema = catalog.schemaForKind({ ...parseApiVersion(object.apiVersion!)!, kind: object.kind! })!;
    assert.deepEqual(canonicalize(schema, decoded), canonicalize(schema, object), `${name} to JSON`);
  }
  assert.ok(compared > 90);
});

test('zero values', () => {
  const pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'p' },
    spec: { containers: [{ name: 'c', resources: {} }] },
  };
  const decoded = protobuf.decode(protobuf.encode(pod))!;
  const schema = catalog.schema('io.k8s.api.core.v1.Pod');
  assert.deepEqual(
    canonicalize(schema, decoded),
    canonicalize(schema, { ...pod, spec: { containers: [{ name: 'c', resources: {} }] }, status: {} }),
  );
  const explicit = { ...pod, spec: { ...pod.spec, terminationGracePeriodSeconds: 0, hostNetwork: false } };
  const back = protobuf.decode(protobuf.encode(explicit)) as unknown as { spec: Record<string, unknown> };
  assert.equal(back.spec['terminationGracePeriodSeconds'], 0);
  assert.equal('hostNetwork' in back.spec, false);
});

test('numbers, times and alternatives', () => {
  const cases: KubeObject[] = [
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: {
        name: 's',
        generation: 9007199254740993n as unknown as number,
        creationTimestamp: '1969-12-31T23:59:58Z',
      },
      spec: {
        ports: [
          { port: -1, targetPort: 'http' },
          { port: 2147483647, targetPort: 8080 },
        ],
        sessionAffinity: 'None',
      },
    },
    {
      apiVersion: 'coordination.k8s.io/v1',
      kind: 'Lease',
      metadata: { name: 'l' },
      spec: { renewTime: '2026-01-02T03:04:05.678901Z', leaseDurationSeconds: 40 },
    },
  ];
  for (const object of cases) {
    const schema = catalog.schemaForKind({ ...parseApiVersion(object.apiVersion!)!, kind: object.kind! })!;
    const decoded = protobuf.decode(protobuf.encode(object))!;
    assert.deepEqual(canonicalize(schema, decoded), canonicalize(schema, object));
  }
  assert.equal(protobuf.supports('v1', 'Pod'), true);
  assert.equal(protobuf.supports('example.com/v1', 'Widget'), false);
});

test('watch frames', () => {
  const object = protobuf.encode({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'c' } } as KubeObject);
  const frame = protobuf.frame('ADDED', object);
  assert.equal(frame.readUInt32BE(0), frame.length - 4);
  const schema = catalog.schema('io.k8s.apimachinery.pkg.apis.meta.v1.WatchEvent');
  assert.throws(() => protobuf.decodeMessage(schema, frame.subarray(4)), { message: 'field object holds no JSON' });
  assert.ok(frame.subarray(4).includes(object));
  assert.equal(readEnvelope(object)?.kind, 'ConfigMap');
});

test('broken bytes do no harm', () => {
  const bytes = protobuf.encode(protobuf.decode(Buffer.from(messages['apps.v1.Deployment']!, 'latin1'))!);
  assert.throws(() => protobuf.decode(Buffer.from('{}')), {
    message: 'provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]',
  });
  fc.assert(
    fc.property(fc.nat(bytes.length - 1), fc.integer({ min: 0, max: 255 }), fc.nat(bytes.length), (at, byte, cut) => {
      const broken = Buffer.from(bytes);
      broken[at] = byte;
      // An object that the bytes still describe, or an error of its own.
      for (const input of [broken, bytes.subarray(0, cut)])
        try {
          protobuf.decode(input);
        } catch (e) {
          if (!(e instanceof ProtobufError)) throw e;
        }
    }),
    { seed, numRuns: 500 * scale },
  );
});
