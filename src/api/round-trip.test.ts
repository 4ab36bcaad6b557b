/**
 * Random objects of every kind, made of the schemas, through every form and version and back: nothing is lost, nothing changes
 * twice, and broken bytes are refused in an orderly way. `KNARR_SEED=n` draws others, `KNARR_FUZZ_SCALE` more.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { scale, seed } from '../base/fuzzing.ts';
import { SeededRandom } from '../base/random.ts';
import { loadCatalog } from './catalog/catalog.ts';
import type { ResourceInfo } from './catalog/resource.ts';
import { CborObjects } from './codec/cbor-objects.ts';
import { CborError, decodeCbor } from './codec/cbor.ts';
import { JsonSyntaxError, parseJson, stringifyJson } from './codec/json.ts';
import { parseYaml, stringifyYaml, YamlError } from './codec/yaml.ts';
import { convert } from './conversion/convert.ts';
import { apiVersionOf } from './object.ts';
import type { KubeObject } from './object.ts';
import { ProtobufError } from './protobuf-wire.ts';
import { ProtobufObjects } from './protobuf.ts';
import { canonicalize } from './schema/canonicalize.ts';
import { decode, DecodeError } from './schema/decode.ts';
import { applyDefaults } from './schema/defaults.ts';
import type { ObjectSchema, Schema } from './schema/schema.ts';

const runs = 3 * scale;
const random = new SeededRandom(seed);
const catalog = loadCatalog();
const protobuf = new ProtobufObjects(catalog);
const cbor = new CborObjects(catalog);
const kinds = catalog.resources.filter((r) => r.verbs.includes('create'));

function pick<T>(from: readonly T[]): T {
  return from[random.int(from.length)]!;
}

const texts = [
  'a',
  'x-1',
  'ü ✓',
  'multi\nline',
  '"quoted"',
  'true',
  '1',
  ' ',
  '\u2028',
  '-',
  'a: b',
  '{}',
  '0x1F',
  '1e3',
];
const keys = ['a', 'b.example.com/c', '__proto__x', 'ü', 'spec', '1'];

function anything(depth: number): unknown {
  switch (random.int(depth > 2 ? 4 : 6)) {
    case 0:
      return pick(texts);
    case 1:
      return random.int(2000) - 1000;
    case 2:
      return random.int(2) === 0;
    case 3:
      return random.int(1000) / 8 + 0.125;
    case 4:
      return Array.from({ length: random.int(3) }, () => anything(depth + 1));
    default:
      return Object.fromEntries(Array.from({ length: random.int(3) }, () => [pick(keys), anything(depth + 1)]));
  }
}

function value(schema: Schema, depth: number): unknown {
  switch (schema.kind) {
    case 'scalar':
      switch (schema.type) {
        case 'string':
          return pick(texts);
        case 'boolean':
          return random.int(2) === 0;
        case 'int32':
          return pick([0, 1, -1, 2 ** 31 - 1, -(2 ** 31)]);
        case 'int64':
          return pick([0, 7, -7, Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER]);
        case 'double':
          return pick([0, 1, 1.5, -0.1, 1e21]);
        case 'bytes':
          return Buffer.from(pick(texts)).toString('base64');
        case 'quantity':
          return pick(['0', '1', '1500m', '1Gi', '0.5', '1e3', '12E']);
        case 'time':
          return pick(['2026-01-02T03:04:05Z', '1970-01-01T00:00:00Z', '1999-12-31T23:59:59Z']);
        case 'microTime':
          return pick(['2026-01-02T03:04:05.000006Z', '2026-01-02T03:04:05.000000Z']);
        case 'duration':
          return pick(['0s', '1h30m0s', '1.5s']);
        default:
          return pick([1, 0, '80%', 'http']);
      }
    case 'any':
      return schema.raw === undefined || schema.raw === 'json' ? anything(0) : { x: anything(0) };
    case 'list':
      return depth > 7 ? [] : Array.from({ length: 1 + random.int(2) }, () => value(schema.items, depth + 1));
    case 'map':
      return depth > 7
        ? {}
        : Object.fromEntries([pick(keys), pick(keys)].map((k) => [k, value(schema.values, depth + 1)]));
    case 'either': {
      // Neither a schema nor anything in a list is null, here as upstream.
      const { other } = schema;
      if (depth <= 7) return random.int(2) === 0 ? value(other, depth) : value(schema.object, depth + 1);
      return other.kind === 'list' && other.items.kind === 'scalar' ? [value(other.items, depth)] : {};
    }
    case 'object':
      return members(schema, depth);
  }
}

function members(schema: ObjectSchema, depth: number): Record<string, unknown> {
  const out: Record<string, unknown> = {};
  // Deep types are thinned out: pods have some thousand places.
  const share = depth < 3 ? 1 : 3;
  for (const field of schema.fields.values())
    if ((field.required || random.int(share) === 0) && depth < 9) out[field.name] = value(field.schema, depth + 1);
  return out;
}

function object(r: ResourceInfo): KubeObject {
  const schema = catalog.schema(r.definition);
  const made = members(schema, 0);
  made['kind'] = r.kind;
  made['apiVersion'] = apiVersionOf(r);
  const metadata = { ...(made['metadata'] as Record<string, unknown> | undefined), name: 'n' };
  made['metadata'] = metadata;
  return clean(schema, made, r);
}

/** As the server takes an object in. */
function clean(schema: ObjectSchema, input: unknown, r: ResourceInfo): KubeObject {
  const { object: decoded, strictErrors } = decode(schema, input, { strict: true, owned: false });
  assert.deepEqual(
    strictErrors.filter((e) => !e.includes('duplicate')),
    [],
  );
  decoded['kind'] = r.kind;
  decoded['apiVersion'] = apiVersionOf(r);
  applyDefaults(schema, decoded, { now: () => '2026-01-01T00:00:00Z' });
  return canonicalize(schema, decoded as KubeObject) as KubeObject;
}

const plain = (v: unknown): unknown => JSON.parse(stringifyJson(v));
/** Null is nothing in protobuf. */
const withoutNull = (v: unknown): unknown =>
  JSON.parse(stringifyJson(v), (_key, x: unknown) => (x === null ? undefined : x));

test(`decode(encode(x)) is x, for every kind in every form (KNARR_SEED=${seed})`, async () => {
  for (const r of kinds)
    for (let i = 0; i < runs; i++) {
      const schema = catalog.schema(r.definition);
      const x = object(r);
      const what = `${r.group}/${r.version}/${r.kind}`;
      assert.deepEqual(plain(clean(schema, x, r)), plain(x), `${what} is clean once it is clean`);
      const json = parseJson(Buffer.from(stringifyJson(x))).value;
      assert.deepEqual(json, plain(x), `${what} as JSON`);
      assert.deepEqual(decodeCbor(cbor.encode(x)), plain(x), `${what} as CBOR`);
      const yaml = await parseYaml(Buffer.from(stringifyYaml(x)));
      assert.deepEqual(yaml.value, plain(x), `${what} as YAML`);
      const bytes = protobuf.encode(x);
      const back = clean(schema, protobuf.decode(bytes), r);
      assert.deepEqual(withoutNull(back), withoutNull(x), `${what} as protobuf`);
      assert.ok(protobuf.encode(back).equals(bytes), `${what}: protobuf is canonical`);
    }
});

test(`versions convert to each other without loss (KNARR_SEED=${seed})`, () => {
  let pairs = 0;
  for (const r of kinds)
    for (const other of kinds) {
      if (other.group !== r.group || other.kind !== r.kind || other.version === r.version) continue;
      // Autoscaling v1 carries v2's members in annotations, by rules of its own that have their own tests.
      if (r.group === 'autoscaling') continue;
      pairs++;
      for (let i = 0; i < runs; i++) {
        const x = object(r);
        const there = canonicalize(catalog.schema(other.definition), convert(x, apiVersionOf(other)));
        const back = canonicalize(catalog.schema(r.definition), convert(there, apiVersionOf(r)));
        assert.deepEqual(
          plain(back),
          plain(fair(r, other, x)),
          `${r.group} ${r.kind} ${r.version} by way of ${other.version}`,
        );
      }
    }
  assert.ok(pairs >= 20);
});

/** What upstream's conversions do to an object on the way, where v1beta1 has no word for what v1 does not allow anyway. */
function fair(r: ResourceInfo, other: ResourceInfo, x: KubeObject): KubeObject {
  if (r.group !== 'resource.k8s.io' || r.kind !== 'ResourceSlice') return x;
  const spec = { ...(x['spec'] as Record<string, unknown>) };
  if (other.version === 'v1beta1' && spec['allNodes'] === false) delete spec['allNodes'];
  if (r.version === 'v1beta1' && Array.isArray(spec['devices']))
    spec['devices'] = spec['devices'].map((d: object) => ({ basic: {}, ...d }));
  return { ...x, spec };
}

test(`broken bytes are refused in an orderly way (KNARR_SEED=${seed})`, async () => {
  const expected = (error: unknown): boolean =>
    error instanceof ProtobufError ||
    error instanceof CborError ||
    error instanceof JsonSyntaxError ||
    error instanceof YamlError ||
    error instanceof DecodeError;
  const spoil = (bytes: Buffer): Buffer => {
    const out = Buffer.from(bytes);
    for (let n = 1 + random.int(4); n > 0; n--) out[random.int(out.length)] = random.int(256);
    return random.int(4) === 0 ? out.subarray(0, random.int(out.length)) : out;
  };
  for (const r of kinds)
    for (let i = 0; i < runs; i++) {
      const schema = catalog.schema(r.definition);
      const x = object(r);
      const attempts: (() => unknown)[] = [
        () => protobuf.decode(spoil(protobuf.encode(x))),
        () => decodeCbor(spoil(cbor.encode(x))),
        () => parseJson(spoil(Buffer.from(stringifyJson(x)))).value,
      ];
      for (const attempt of attempts)
        try {
          const read = attempt();
          clean(schema, { ...(read as object) }, r);
        } catch (error) {
          const isStrict = error instanceof assert.AssertionError;
          assert.ok(isStrict || expected(error), `${r.kind}: ${String((error as Error).stack)}`);
        }
      try {
        await parseYaml(spoil(Buffer.from(stringifyYaml(x))));
      } catch (error) {
        assert.ok(expected(error), `${r.kind}: ${String((error as Error).stack)}`);
      }
    }
});
