import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { scale, seed } from '../../base/fuzzing.ts';
import { loadCatalog } from '../catalog/catalog.ts';
import { CborError, decodeCbor, encodeCbor } from './cbor.ts';

const hex = (value: unknown): string => encodeCbor(value).subarray(3).toString('hex');
const read = (text: string): unknown => decodeCbor(Buffer.from(text, 'hex'));

test('what is written is canonical: byte strings, sorted keys, shortest numbers', () => {
  assert.equal(encodeCbor(null).toString('hex'), 'd9d9f7f6');
  assert.equal(hex('abc'), '43616263');
  assert.equal(hex({ bb: 1, c: true, a: null }), 'a34161f64163f542626201');
  assert.equal(
    hex([0, 23, 24, 255, 256, 65536, -1, -25, 2 ** 53 - 1]),
    '890017181818ff1901001a000100002038181b001fffffffffffff',
  );
  assert.equal(
    hex([1.5, 0.1, 100000.5, -0.25, 5.960464477539063e-8]),
    '85f93e00fb3fb999999999999afa47c35040f9b400f90001',
  );
  assert.equal(hex(9223372036854775807n), '1b7fffffffffffffff');
});

test('binary members are bytes with the tag for base64, in built-in types', () => {
  const secret = loadCatalog().schema('io.k8s.api.core.v1.Secret');
  const bytes = encodeCbor({ data: { a: 'aGk=' } }, secret);
  assert.equal(bytes.subarray(3).toString('hex'), 'a14464617461a14161d6426869');
  assert.deepEqual(decodeCbor(bytes), { data: { a: 'aGk=' } });
});

test('what other encoders write is read: text strings, indefinite lengths, tags, wide numbers', () => {
  assert.deepEqual(read('bf6161019f0203ffff'.replace('9f', '61629f')), { a: 1, b: [2, 3] });
  assert.deepEqual(read('9f01027f61616162ffff'), [1, 2, 'ab']);
  assert.equal(read('c074323031332d30332d32315432303a30343a30305a'), '2013-03-21T20:04:00Z');
  assert.equal(read('c11a514b67b0'), '2013-03-21T20:04:00Z');
  assert.equal(read('d74401020304'), '01020304');
  assert.equal(read('fb3ff0000000000000'), 1);
});

test('what JSON has no form for is refused', () => {
  const bad = [
    '',
    'f97e00',
    'f97c00',
    'f7',
    'e0',
    'c249010000000000000000',
    'a2616101616102',
    '61ff',
    '1bffffffffffffffff',
    '5f',
    'ff',
    '0102',
    'a10102',
  ];
  for (const text of bad) assert.throws(() => read(text), CborError, text);
  assert.throws(() => decodeCbor(Buffer.alloc(100_000, 0x81)), CborError);
});

test('any JSON comes back as it went', () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      const plain = (v: unknown): unknown =>
        JSON.parse(JSON.stringify(v, (_key, x: unknown) => (typeof x === 'bigint' ? Number(x) : x)));
      assert.deepEqual(plain(decodeCbor(encodeCbor(value))), plain(value));
    }),
    { seed, numRuns: 500 * scale },
  );
});

test('a float past 2^53 stays one', () => {
  const value = read('fadada0001');
  assert.equal(value, -30680774608945152);
  assert.equal(hex(value), 'fadada0001');
});

test('any bytes are read or refused', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
      try {
        const value = decodeCbor(bytes);
        assert.deepEqual(decodeCbor(encodeCbor(value)), value);
      } catch (error) {
        assert.ok(error instanceof CborError, String(error));
      }
    }),
    { seed, numRuns: 5000 * scale },
  );
});
