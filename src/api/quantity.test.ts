/** Quantities against upstream's own parse, rounding and canonical-form tables, and against BigInt arithmetic. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { scale, seed } from '../base/fuzzing.ts';
import {
  addQuantity,
  canonicalQuantity,
  compareQuantity,
  formatQuantity,
  newQuantity,
  parseQuantity,
  quantityError,
  quantityMilli,
  quantityValue,
  subQuantity,
} from './quantity.ts';

test('canonical form', () => {
  const table: [string, string][] = [
    ['0', '0'],
    ['0Ki', '0'],
    ['00', '0'],
    ['1Ki', '1Ki'],
    ['1024Mi', '1Gi'],
    ['307200Ki', '300Mi'],
    ['1025024Mi', '1001Gi'],
    ['1000M', '1G'],
    ['0.001T', '1G'],
    ['1000000000', '1G'],
    ['.001Ki', '1024m'],
    ['.000001Ki', '1024u'],
    ['.000000001Ki', '1024n'],
    ['.000000000001Ki', '2n'],
    ['0.5', '500m'],
    ['1.5Gi', '1536Mi'],
    ['100.035Ki', '102435840m'],
    ['1.08', '1080m'],
    ['1080000000n', '1080m'],
    ['.001e12', '1e9'],
    ['1000e-12', '1e-9'],
    ['1e2', '100'],
    ['1E3', '1E3'],
    ['0.00000012345', '124n'],
    ['9Ei', '9223372036854775807'],
    ['9999999999Gi', '9223372036854775807'],
    ['12E', '12E'],
    ['-1.5', '-1500m'],
    ['1.500', '1.500'],
    ['9223372036854775808', '9223372036854775808'],
  ];
  for (const [input, expected] of table) assert.equal(canonicalQuantity(input), expected, input);
});

test('errors', () => {
  for (const bad of ['', '1.1.M', '1+1.0M', '0.1mi', 'aoeu', '.5i', '1i', '-3.01e-', '1 ', '1e99999999999999999999']) {
    assert.notEqual(quantityError(bad), undefined, bad);
  }
  assert.match(quantityError('1 ')!, /^quantities must match the regular expression/);
  assert.equal(quantityError('1i'), "unable to parse quantity's suffix");
  assert.equal(quantityError('1e1000000000'), undefined);
});

test('huge exponents cost nothing', () => {
  const huge = parseQuantity('1e1000000000');
  assert.equal(compareQuantity(huge, parseQuantity('1e999999999')), 1);
  assert.equal(compareQuantity(parseQuantity('1e-1000000000'), parseQuantity('1n')), 0);
  assert.equal(quantityValue(huge), Infinity);
  assert.equal(formatQuantity(addQuantity(huge, parseQuantity('1'))), '10e999999999');
});

test('values round up', () => {
  assert.equal(quantityValue(parseQuantity('1001m')), 2);
  assert.equal(quantityValue(parseQuantity('-1001m')), -2);
  assert.equal(quantityMilli(parseQuantity('100u')), 1);
  assert.equal(quantityMilli(parseQuantity('1.5')), 1500);
  assert.equal(quantityValue(parseQuantity('128Mi')), 134217728);
});

test('sums keep the first format, zero takes the other', () => {
  const sum = (a: string, b: string): string => formatQuantity(addQuantity(parseQuantity(a), parseQuantity(b)));
  assert.equal(sum('0', '1Gi'), '1Gi');
  assert.equal(sum('100m', '1'), '1100m');
  assert.equal(sum('1Gi', '1M'), '1074741824');
  assert.equal(sum('9223372036854775807', '1'), '9223372036854775808');
  assert.equal(formatQuantity(subQuantity(parseQuantity('1'), parseQuantity('1500m'))), '-500m');
});

test('arithmetic agrees with exact rationals', () => {
  const piece = fc.tuple(
    fc.integer({ min: -1_000_000, max: 1_000_000 }),
    fc.constantFrom('n', 'u', 'm', '', 'k', 'M', 'G', 'T', 'Ki', 'Mi', 'Gi'),
  );
  const nanos = (n: number, s: string): bigint =>
    BigInt(n) *
    ({
      n: 1n,
      u: 1000n,
      m: 10n ** 6n,
      '': 10n ** 9n,
      k: 10n ** 12n,
      M: 10n ** 15n,
      G: 10n ** 18n,
      T: 10n ** 21n,
      Ki: 1024n * 10n ** 9n,
      Mi: 1048576n * 10n ** 9n,
      Gi: 1073741824n * 10n ** 9n,
    }[s] ?? 0n);
  fc.assert(
    fc.property(piece, piece, ([a, sa], [b, sb]) => {
      const qa = parseQuantity(`${a}${sa}`);
      const qb = parseQuantity(`${b}${sb}`);
      const x = nanos(a, sa);
      const y = nanos(b, sb);
      assert.equal(compareQuantity(qa, qb), x < y ? -1 : x > y ? 1 : 0);
      const total = addQuantity(qa, qb);
      assert.equal(BigInt(total.mantissa) * 10n ** BigInt(total.scale + 9), x + y);
      assert.equal(compareQuantity(parseQuantity(formatQuantity(total)), total), 0);
      if (total.format !== 'BinarySI') assert.equal(canonicalQuantity(formatQuantity(total)), formatQuantity(total));
    }),
    { seed, numRuns: 500 * scale },
  );
  assert.equal(formatQuantity(newQuantity(1536, 'BinarySI')), '1536');
});
