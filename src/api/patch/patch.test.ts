/** The three patch kinds: RFC examples, upstream's texts and directives, identity of what did not change, inputs left alone. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { scale, seed } from '../../base/fuzzing.ts';
import { loadCatalog } from '../catalog/catalog.ts';
import { StatusError } from '../status.ts';
import { applyJsonPatch, jsonPatchStrictErrors } from './json-patch.ts';
import { applyMergePatch } from './merge-patch.ts';
import { applyStrategicMergePatch } from './strategic-merge.ts';
import type { JsonObject } from './values.ts';
import { jsonEqual, printGo } from './values.ts';

const podSchema = loadCatalog().schema('io.k8s.api.core.v1.Pod');

function freeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const v of Object.values(value)) freeze(v);
  }
  return value;
}

function refused(run: () => unknown, code: number, text: string): void {
  assert.throws(run, (e) => {
    assert.ok(e instanceof StatusError, String(e));
    const cause = e.cause instanceof Error ? e.cause.message : '';
    assert.equal(e.code, code);
    assert.equal(code === 422 ? cause : e.message, text);
    return true;
  });
}

test('json patch', () => {
  const document = freeze({ a: { b: [1, 2, 3] }, keep: { x: 1 }, nothing: null, 'a/b': 1, 'm~n': 2 });
  const patched = applyJsonPatch(document, [
    { op: 'test', path: '/a/b/1', value: 2 },
    { op: 'test', path: '/absent', value: null },
    { op: 'add', path: '/a/b/-', value: 4 },
    { op: 'add', path: '/a/b/0', value: 0 },
    { op: 'remove', path: '/a/b/-1' },
    { op: 'replace', path: '/a/new', value: { y: 1 } },
    { op: 'copy', from: '/a/new', path: '/a/copy' },
    { op: 'add', path: '/a/copy/z', value: 2 },
    { op: 'move', from: '/a~1b', path: '/moved' },
    { op: 'remove', path: '/m~0n' },
  ]) as typeof document;
  assert.deepEqual(patched, {
    a: { b: [0, 1, 2, 3], new: { y: 1 }, copy: { y: 1, z: 2 } },
    keep: { x: 1 },
    nothing: null,
    moved: 1,
  });
  assert.equal(patched.keep, document.keep);
  const table: [unknown[], string][] = [
    [
      [{ op: 'add', path: '/x/y', value: 1 }],
      'add operation does not apply: doc is missing path: "/x/y": missing value',
    ],
    [
      [{ op: 'remove', path: '/x' }],
      "error in remove for path: '/x': Unable to remove nonexistent key: x: missing value",
    ],
    [
      [{ op: 'remove', path: '/a/b/9' }],
      "error in remove for path: '/a/b/9': Unable to access invalid index: 9: invalid index referenced",
    ],
    [
      [{ op: 'add', path: '/a/b/x', value: 1 }],
      `error in add for path: '/a/b/x': value was not a proper array index: 'x': strconv.Atoi: parsing "x": invalid syntax`,
    ],
    [
      [{ op: 'replace', path: '/a/b/7', value: 1 }],
      'replace operation does not apply: doc is missing key: /a/b/7: missing value',
    ],
    [[{ op: 'test', path: '/a/b/0', value: 9 }], 'testing value /a/b/0 failed: test failed'],
    [
      [{ op: 'move', from: '/q', path: '/r' }],
      "error in move for path: 'q': Unable to remove nonexistent key: q: missing value",
    ],
    [[{ op: 'frob', path: '/a' }], 'Unexpected kind: frob'],
    [[{ path: '/a' }], 'Unexpected kind: unknown'],
    [[{ op: 'add', value: 1 }], 'add operation failed to decode path: missing value'],
  ];
  for (const [patch, text] of table) refused(() => applyJsonPatch(document, patch), 422, text);
  refused(
    () =>
      applyJsonPatch(
        document,
        Array.from({ length: 10001 }, () => ({ op: 'test', path: '/absent' })),
      ),
    413,
    'Request entity too large: The allowed maximum operations in a JSON patch is 10000, got 10001',
  );
  refused(
    () => applyJsonPatch(document, {}),
    400,
    'error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp',
  );
  const doubling = Array.from({ length: 40 }, (_, i) => ({ op: 'copy', from: '/a', path: `/a/x${i}` }));
  assert.throws(
    () => applyJsonPatch(document, doubling),
    (e: StatusError) => /accumulated size/.test((e.cause as Error).message),
  );
  assert.deepEqual(jsonPatchStrictErrors([{ op: 'add', path: '/a', valeu: 1 }]), ['unknown field "[0].valeu"']);
});

test('merge patch', () => {
  // The table of RFC 7386, where the document is an object.
  const table: [JsonObject, JsonObject, JsonObject][] = [
    [{ a: 'b' }, { a: 'c' }, { a: 'c' }],
    [{ a: 'b' }, { b: 'c' }, { a: 'b', b: 'c' }],
    [{ a: 'b' }, { a: null }, {}],
    [{ a: 'b', b: 'c' }, { a: null }, { b: 'c' }],
    [{ a: ['b'] }, { a: 'c' }, { a: 'c' }],
    [{ a: { b: 'c' } }, { a: { b: 'd', c: null } }, { a: { b: 'd' } }],
    [{ a: [{ b: 'c' }] }, { a: [1] }, { a: [1] }],
    [{ e: null }, { a: 1 }, { e: null, a: 1 }],
    [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
    [{ a: 1 }, { a: { b: null, c: 1 } }, { a: { c: 1 } }],
  ];
  for (const [document, patch, expected] of table) {
    assert.deepEqual(applyMergePatch(freeze(document), freeze(patch)), expected);
  }
  const document = freeze({ a: { b: 1 }, l: [{ x: 1 }], s: 'x' });
  assert.equal(applyMergePatch(document, { a: { b: 1 }, l: [{ x: 1 }], s: 'x', gone: null }), document);
  assert.equal(applyMergePatch(document, { s: 'y' }).l, document.l);
  refused(() => applyMergePatch(document, null), 400, 'Invalid JSON Patch');
  const hostile = JSON.parse('{"__proto__":{"polluted":1}}') as JsonObject;
  assert.equal(({} as { polluted?: number }).polluted, undefined);
  assert.deepEqual(Object.keys(applyMergePatch({}, hostile)), ['__proto__']);
});

test('merge patch does what a naive merge does', () => {
  const object = fc.dictionary(
    fc.constantFrom('a', 'b', 'c', 'd'),
    fc.letrec((tie) => ({
      v: fc.oneof(
        { maxDepth: 3 },
        fc.integer({ min: 0, max: 3 }),
        fc.constant(null),
        fc.array(fc.integer({ min: 0, max: 2 }), { maxLength: 2 }),
        fc.dictionary(fc.constantFrom('a', 'b', 'c'), tie('v'), { maxKeys: 3 }),
      ),
    })).v,
  );
  const naive = (target: unknown, patch: unknown): unknown => {
    if (typeof patch !== 'object' || patch === null || Array.isArray(patch)) return patch;
    const out: JsonObject =
      typeof target === 'object' && target !== null && !Array.isArray(target) ? { ...target } : {};
    for (const [k, v] of Object.entries(patch)) {
      if (v === null) delete out[k];
      else out[k] = naive(out[k], v);
    }
    return out;
  };
  fc.assert(
    fc.property(object, object, (made, madePatch) => {
      const [document, patch] = JSON.parse(JSON.stringify([made, madePatch])) as [JsonObject, JsonObject];
      const before = JSON.stringify([document, patch]);
      const result = applyMergePatch(document, patch);
      assert.deepEqual(result, naive(document, patch));
      assert.equal(result === document, jsonEqual(result, document));
      assert.equal(JSON.stringify([document, patch]), before);
    }),
    { seed, numRuns: 500 * scale },
  );
});

const pod = freeze({
  metadata: { name: 'p', labels: { a: '1' }, finalizers: ['x', 'y'] },
  spec: {
    containers: [
      {
        name: 'one',
        image: 'i1',
        env: [
          { name: 'A', value: '1' },
          { name: 'B', value: '2' },
        ],
        args: ['x'],
      },
      { name: 'two', image: 'i2' },
    ],
    volumes: [{ name: 'v', emptyDir: { medium: 'Memory' } }],
    tolerations: [{ key: 'k' }],
    nodeSelector: { x: 'y' },
  },
}) as JsonObject;

const smp = (patch: unknown, document: JsonObject = pod): JsonObject =>
  applyStrategicMergePatch(document, freeze(patch), podSchema);

interface PodDraft {
  metadata: { finalizers: unknown[] };
  spec: {
    containers: { name: string; image?: string; env?: unknown[]; args?: unknown[] }[];
    volumes: unknown[];
    tolerations?: unknown[];
    nodeSelector?: unknown;
    hostAliases?: unknown[];
  };
}

test('strategic merge patch', () => {
  const table: [JsonObject, (expected: PodDraft) => void][] = [
    [{ spec: { containers: [{ name: 'two', image: 'i3' }] } }, (p) => (p.spec.containers[1]!.image = 'i3')],
    [
      { spec: { containers: [{ name: 'zero', image: 'i0' }] } },
      (p) => p.spec.containers.unshift({ name: 'zero', image: 'i0' }),
    ],
    [
      { spec: { containers: [{ name: 'one', env: [{ name: 'A', $patch: 'delete' }] }] } },
      (p) => p.spec.containers[0]!.env?.shift(),
    ],
    [{ spec: { containers: [{ name: 'one', $patch: 'delete' }] } }, (p) => p.spec.containers.shift()],
    [
      { spec: { containers: [{ $patch: 'replace' }, { name: 'n', image: 'i' }] } },
      (p) => (p.spec.containers = [{ name: 'n', image: 'i' }]),
    ],
    [{ spec: { containers: [{ name: 'one', args: ['y'] }] } }, (p) => (p.spec.containers[0]!.args = ['y'])],
    [{ spec: { tolerations: [{ key: 'z' }] } }, (p) => (p.spec.tolerations = [{ key: 'z' }])],
    [{ spec: { nodeSelector: { $patch: 'replace', q: 'r' } } }, (p) => (p.spec.nodeSelector = { q: 'r' })],
    [{ spec: { nodeSelector: { $patch: 'delete' } } }, (p) => (p.spec.nodeSelector = {})],
    [{ spec: { nodeSelector: { x: null, n: null } } }, (p) => (p.spec.nodeSelector = {})],
    [{ spec: { nodeSelector: null } }, (p) => delete p.spec.nodeSelector],
    [
      { spec: { volumes: [{ name: 'v', $retainKeys: ['name', 'hostPath'], hostPath: { path: '/x' } }] } },
      (p) => (p.spec.volumes[0] = { name: 'v', hostPath: { path: '/x' } }),
    ],
    [{ metadata: { finalizers: ['z'] } }, (p) => (p.metadata.finalizers = ['z', 'x', 'y'])],
    [{ metadata: { '$deleteFromPrimitiveList/finalizers': ['x'] } }, (p) => (p.metadata.finalizers = ['y'])],
    [
      { metadata: { '$setElementOrder/finalizers': ['z', 'y', 'x'], finalizers: ['z'] } },
      (p) => (p.metadata.finalizers = ['z', 'y', 'x']),
    ],
    [
      { spec: { '$setElementOrder/containers': [{ name: 'two' }, { name: 'one' }] } },
      (p) => p.spec.containers.reverse(),
    ],
    [
      {
        spec: {
          '$setElementOrder/containers': [{ name: 'new' }, { name: 'one' }],
          containers: [
            { name: 'new', image: 'n' },
            { name: 'two', $patch: 'delete' },
          ],
        },
      },
      (p) => (p.spec.containers = [{ name: 'new', image: 'n' }, p.spec.containers[0]!]),
    ],
    [{ spec: { hostAliases: [{ ip: '1', hostnames: null }] } }, (p) => (p.spec.hostAliases = [{ ip: '1' }])],
    [{ status: { $patch: 'delete' } }, () => undefined],
  ];
  for (const [patch, change] of table) {
    const expected = structuredClone(pod) as unknown as PodDraft;
    change(expected);
    assert.deepEqual(smp(patch), expected, JSON.stringify(patch));
  }
});

test('strategic merge patch keeps what it does not touch', () => {
  assert.equal(smp({ spec: { containers: [{ name: 'one', image: 'i1' }], nodeSelector: { x: 'y' } } }), pod);
  const changed = smp({ metadata: { labels: { b: '2' } } });
  assert.equal(changed['spec'], pod['spec']);
  const spec = smp({ spec: { containers: [{ name: 'two', image: 'z' }] } })['spec'] as { containers: unknown[] };
  assert.equal(spec.containers[0], (pod['spec'] as { containers: unknown[] }).containers[0]);
});

test('strategic merge patch errors', () => {
  const table: [JsonObject, string][] = [
    [{ spec: { containers: [{ image: 'x' }] } }, 'map: map[image:x] does not contain declared merge key: name'],
    [{ spec: { nodeSelector: { $patch: 'frob' } } }, 'unknown patch type: frob in map: map[$patch:frob]'],
    [{ spec: { $retainKeys: ['volumes'], containers: [] } }, 'invalid patch format of retainKeys'],
    [{ metadata: { $deleteFromPrimitiveListx: ['x'] } }, 'invalid patch format of primitive list'],
    [
      { spec: { containers: ['x'] } },
      `list element types are not identical: ${printGo([(pod['spec'] as { containers: unknown[] }).containers, ['x']])}`,
    ],
    [
      { spec: { '$setElementOrder/containers': {} } },
      'expected a []interface {}, but received a map[string]interface {}',
    ],
  ];
  for (const [patch, text] of table) refused(() => smp(patch), text.startsWith('invalid') ? 400 : 500, text);
  refused(
    () => smp({ bogus: { a: 1 } }, freeze({ ...pod, bogus: { a: 2 } })),
    500,
    'unable to find api field in struct Pod for the json field "bogus"',
  );
});
