import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cronScheduleError, nextRun, parseCron, timeZoneError } from './cron.ts';

const at = (text: string): number => Date.parse(text);
const next = (schedule: string, after: string, zone?: string): string | undefined => {
  const t = nextRun(parseCron(schedule), at(after), zone);
  return t === undefined ? undefined : new Date(t).toISOString();
};

test('fires when upstream fires', () => {
  assert.equal(next('*/15 * * * *', '2026-03-01T10:07:30Z'), '2026-03-01T10:15:00.000Z');
  assert.equal(next('0 0 29 2 *', '2026-03-01T00:00:00Z'), '2028-02-29T00:00:00.000Z');
  assert.equal(next('0 0 30 2 *', '2026-03-01T00:00:00Z'), undefined);
  assert.equal(next('@daily', '2026-03-01T00:00:00Z'), '2026-03-02T00:00:00.000Z');
  assert.equal(next('@every 1h30m', '2026-03-01T00:00:10Z'), '2026-03-01T01:30:10.000Z');
  // Day of month or day of week, when both are restricted.
  assert.equal(next('0 0 13 * fri', '2026-03-01T00:00:00Z'), '2026-03-06T00:00:00.000Z');
  assert.equal(next('0 9 * jan mon-fri', '2026-03-01T00:00:00Z'), '2027-01-01T09:00:00.000Z');
});

test('follows the zone through summer time', () => {
  assert.equal(next('30 9 * * *', '2026-03-28T10:00:00Z', 'Europe/Berlin'), '2026-03-29T07:30:00.000Z');
  // 02:30 does not exist on the 29th of March.
  assert.equal(next('30 2 * * *', '2026-03-28T12:00:00Z', 'Europe/Berlin'), '2026-03-30T00:30:00.000Z');
  assert.equal(next('CRON_TZ=Asia/Tokyo 0 0 * * *', '2026-03-01T00:00:00Z'), '2026-03-01T15:00:00.000Z');
});

test('refuses in the words of upstream', () => {
  const cases: readonly [string, string][] = [
    ['* * *', 'expected exactly 5 fields, found 3: [* * *]'],
    ['60 * * * *', 'end of range (60) above maximum (59): 60'],
    ['5-3 * * * *', 'beginning of range (5) beyond end of range (3): 5-3'],
    ['* * 0 * *', 'beginning of range (0) below minimum (1): 0'],
    ['*/0 * * * *', 'step of range should be a positive number: */0'],
    ['x * * * *', 'failed to parse int from x: strconv.Atoi: parsing "x": invalid syntax'],
    ['1/2/3 * * * *', 'too many slashes: 1/2/3'],
    ['@sometimes', 'unrecognized descriptor: @sometimes'],
    ['0 0 L * *', 'failed to parse int from L: strconv.Atoi: parsing "L": invalid syntax'],
  ];
  for (const [schedule, message] of cases) assert.equal(cronScheduleError(schedule), message);
  assert.equal(cronScheduleError('0 12 * * MON-FRI'), undefined);
  assert.equal(timeZoneError('Mars/Olympus'), 'unknown time zone Mars/Olympus');
  assert.equal(timeZoneError('America/New_York'), undefined);
});
