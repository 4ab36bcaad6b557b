/** Times, durations and ages against Go's texts. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  canonicalDuration,
  canonicalMicroTime,
  canonicalTime,
  formatDuration,
  formatMicroTime,
  formatTime,
  humanDuration,
  parseDuration,
  timeMs,
} from './time.ts';

test('times', () => {
  assert.equal(formatTime(1767323045678), '2026-01-02T03:04:05Z');
  assert.equal(formatMicroTime(1767323045678), '2026-01-02T03:04:05.678000Z');
  assert.equal(timeMs('2026-01-02T03:04:05Z'), 1767323045000);
  assert.equal(timeMs('2026-01-02T04:04:05+01:00'), 1767323045000);
  assert.ok(Number.isNaN(timeMs('soon')));
  assert.equal(canonicalTime('2026-01-02T04:04:05.9+01:00'), '2026-01-02T03:04:05Z');
  assert.equal(canonicalTime('0001-01-01T00:00:00Z'), null);
  assert.equal(canonicalTime('0099-01-01T00:00:00Z'), '0099-01-01T00:00:00Z');
  assert.equal(canonicalMicroTime('2026-01-02T03:04:05.678901Z'), '2026-01-02T03:04:05.678901Z');
  const errors: [string, string][] = [
    ['x', 'parsing time "x" as "2006-01-02T15:04:05Z07:00": cannot parse "x" as "2006"'],
    ['2026-01-02', 'parsing time "2026-01-02" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "T"'],
    ['2026-13-02T00:00:00Z', 'parsing time "2026-13-02T00:00:00Z": month out of range'],
    ['2026-02-30T00:00:00Z', 'parsing time "2026-02-30T00:00:00Z": day out of range'],
    [
      '2026-02-03T00:00:00',
      'parsing time "2026-02-03T00:00:00" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "Z07:00"',
    ],
    ['2026-02-03T00:00:00Zz', 'parsing time "2026-02-03T00:00:00Zz": extra text: "z"'],
  ];
  for (const [text, message] of errors) assert.throws(() => canonicalTime(text), { message });
  assert.throws(() => canonicalMicroTime('2026-01-02T03:04:05Z'), {
    message: 'parsing time "2026-01-02T03:04:05Z" as "2006-01-02T15:04:05.000000Z07:00": cannot parse "Z" as ".000000"',
  });
});

test('durations', () => {
  const table: [string, string][] = [
    ['0', '0s'],
    ['5m', '5m0s'],
    ['1h15m30.918s', '1h15m30.918s'],
    ['90s', '1m30s'],
    ['1500ms', '1.5s'],
    ['-1.5h', '-1h30m0s'],
    ['1us', '1µs'],
    ['3ns', '3ns'],
    ['2562047h47m16.854775807s', '2562047h47m16.854775807s'],
  ];
  for (const [text, expected] of table) assert.equal(canonicalDuration(text), expected);
  assert.equal(parseDuration('1m0.5s'), 60500);
  assert.equal(formatDuration(3_600_000), '1h0m0s');
  assert.throws(() => parseDuration('1'), { message: 'time: missing unit in duration "1"' });
  assert.throws(() => parseDuration(''), { message: 'time: invalid duration ""' });
  assert.throws(() => parseDuration('1d'), { message: 'time: unknown unit "d" in duration "1d"' });
});

test('ages', () => {
  const s = 1000;
  const m = 60 * s;
  const h = 60 * m;
  const d = 24 * h;
  const table: [number, string][] = [
    [-5 * s, '<invalid>'],
    [-1 * s, '0s'],
    [0, '0s'],
    [119 * s, '119s'],
    [2 * m, '2m'],
    [5 * m + 3 * s, '5m3s'],
    [10 * m + 3 * s, '10m'],
    [179 * m, '179m'],
    [3 * h, '3h'],
    [7 * h + 59 * m, '7h59m'],
    [47 * h, '47h'],
    [48 * h, '2d'],
    [7 * d + 23 * h, '7d23h'],
    [8 * d + 1 * h, '8d'],
    [729 * d, '729d'],
    [730 * d, '2y'],
    [800 * d, '2y70d'],
    [3000 * d, '8y'],
  ];
  for (const [ms, expected] of table) assert.equal(humanDuration(ms), expected);
});
