/**
 * Cron schedules as upstream reads them (robfig/cron, standard parser): five fields, names, steps, `@daily` and alike,
 * `@every`, a `TZ=` or `CRON_TZ=` prefix; and when they fire next in a time zone.
 */
import { parseDuration } from '../time.ts';

/** The schedule cannot be read; the message is the one upstream's parser gives. */
export class CronError extends Error {}

interface Bounds {
  readonly min: number;
  readonly max: number;
  readonly names?: Readonly<Record<string, number>>;
}

const months = Object.fromEntries(
  'jan feb mar apr may jun jul aug sep oct nov dec'.split(' ').map((n, i) => [n, i + 1]),
);
const days = Object.fromEntries('sun mon tue wed thu fri sat'.split(' ').map((n, i) => [n, i]));
const bounds: readonly Bounds[] = [
  { min: 0, max: 59 },
  { min: 0, max: 23 },
  { min: 1, max: 31 },
  { min: 1, max: 12, names: months },
  { min: 0, max: 6, names: days },
];

const descriptors: Readonly<Record<string, string>> = {
  '@yearly': '0 0 1 1 *',
  '@annually': '0 0 1 1 *',
  '@monthly': '0 0 1 * *',
  '@weekly': '0 0 * * 0',
  '@daily': '0 0 * * *',
  '@midnight': '0 0 * * *',
  '@hourly': '0 * * * *',
};

interface FieldSet {
  readonly values: ReadonlySet<number>;
  /** `*` or `?`: does not restrict. */
  readonly star: boolean;
}

export interface CronSchedule {
  /** Milliseconds between runs, for `@every`. */
  readonly every?: number;
  readonly fields: readonly FieldSet[];
  /** From a TZ prefix. */
  readonly zone?: string;
}

function number(text: string, b: Bounds): number {
  const named = b.names?.[text.toLowerCase()];
  if (named !== undefined) return named;
  if (!/^[+-]?\d+$/.test(text))
    throw new CronError(
      `failed to parse int from ${text}: strconv.Atoi: parsing ${JSON.stringify(text)}: invalid syntax`,
    );
  const n = Number(text);
  if (n < 0) throw new CronError(`negative number (${n}) not allowed: ${text}`);
  return n;
}

function range(expr: string, b: Bounds, into: Set<number>): boolean {
  const stepParts = expr.split('/');
  const ends = stepParts[0]!.split('-');
  let start: number;
  let end: number;
  let star = false;
  if (ends[0] === '*' || ends[0] === '?') {
    start = b.min;
    end = b.max;
    star = true;
  } else {
    start = number(ends[0]!, b);
    if (ends.length === 1) end = start;
    else if (ends.length === 2) end = number(ends[1]!, b);
    else throw new CronError(`too many hyphens: ${expr}`);
  }
  let step = 1;
  if (stepParts.length === 2) {
    step = number(stepParts[1]!, { min: 0, max: Infinity });
    if (ends.length === 1 && !star) end = b.max;
    if (step > 1) star = false;
  } else if (stepParts.length > 2) throw new CronError(`too many slashes: ${expr}`);
  if (start < b.min) throw new CronError(`beginning of range (${start}) below minimum (${b.min}): ${expr}`);
  if (end > b.max) throw new CronError(`end of range (${end}) above maximum (${b.max}): ${expr}`);
  if (start > end) throw new CronError(`beginning of range (${start}) beyond end of range (${end}): ${expr}`);
  if (step === 0) throw new CronError(`step of range should be a positive number: ${expr}`);
  for (let i = start; i <= end; i += step) into.add(i);
  return star;
}

/** Reads a schedule. Throws `CronError`. */
export function parseCron(text: string): CronSchedule {
  let spec = text;
  let zone: string | undefined;
  if (spec === '') throw new CronError('empty spec string');
  const prefix = /^(?:TZ|CRON_TZ)=(\S*)\s*(.*)$/.exec(spec);
  if (prefix !== null) {
    zone = prefix[1]!;
    const wrong = timeZoneError(zone);
    if (wrong !== undefined) throw new CronError(`provided bad location ${zone}: unknown time zone ${zone}`);
    spec = prefix[2]!.trim();
  }
  if (spec.startsWith('@every ')) {
    try {
      return {
        every: Math.max(1000, Math.floor(parseDuration(spec.slice(7)) / 1000) * 1000),
        fields: [],
        ...(zone === undefined ? {} : { zone }),
      };
    } catch (e) {
      throw new CronError(`failed to parse duration ${spec}: ${e instanceof Error ? e.message : String(e)}`, {
        cause: e,
      });
    }
  }
  if (spec.startsWith('@')) {
    const known = descriptors[spec];
    if (known === undefined) throw new CronError(`unrecognized descriptor: ${spec}`);
    spec = known;
  }
  const parts = spec.split(/\s+/).filter((p) => p !== '');
  if (parts.length !== 5) throw new CronError(`expected exactly 5 fields, found ${parts.length}: [${parts.join(' ')}]`);
  const fields = parts.map((part, i) => {
    const values = new Set<number>();
    let star = false;
    for (const expr of part.split(',').filter((e) => e !== '')) if (range(expr, bounds[i]!, values)) star = true;
    return { values, star };
  });
  return { fields, ...(zone === undefined ? {} : { zone }) };
}

/** Why the text is no schedule; undefined when it is one. */
export function cronScheduleError(text: string): string | undefined {
  try {
    parseCron(text);
    return undefined;
  } catch (e) {
    if (e instanceof CronError) return e.message;
    throw e;
  }
}

/** Why the text is no time zone; undefined when it is one. */
export function timeZoneError(zone: string): string | undefined {
  if (zone === '') return 'timeZone must be nil or non-empty string';
  const unknown = `unknown time zone ${zone}`;
  for (const part of zone.split('/'))
    if (part === '.' || part === '..' || part.startsWith('-') || !/^[A-Za-z.\-_0-9+]{1,14}$/.test(part)) return unknown;
  if (zone.toLowerCase() === 'local')
    return 'timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones';
  try {
    return new Intl.DateTimeFormat('en', { timeZone: zone }).resolvedOptions().timeZone === '' ? unknown : undefined;
  } catch {
    return unknown;
  }
}

/** Wall-clock time of one zone. */
class Zone {
  readonly #format: Intl.DateTimeFormat | undefined;

  constructor(zone: string) {
    this.#format =
      zone === 'UTC' || zone === 'Etc/UTC'
        ? undefined
        : new Intl.DateTimeFormat('en-US', {
            timeZone: zone,
            hourCycle: 'h23',
            year: 'numeric',
            month: 'numeric',
            day: 'numeric',
            hour: 'numeric',
            minute: 'numeric',
            second: 'numeric',
          });
  }

  /** Local wall-clock time as if it were UTC, ms. */
  wall(ms: number): number {
    if (this.#format === undefined) return ms;
    const p: Record<string, number> = {};
    for (const part of this.#format.formatToParts(ms)) if (part.type !== 'literal') p[part.type] = Number(part.value);
    return Date.UTC(p['year']!, p['month']! - 1, p['day'], p['hour'], p['minute'], p['second']);
  }

  /** The instant at which the wall shows `wall`; in a gap of summer time, the instant after the gap. */
  instant(wall: number): number {
    let t = wall - (this.wall(wall) - wall);
    t = wall - (this.wall(t) - t);
    return t;
  }
}

const minute = 60_000;
/** A schedule that has not fired within five years never does (February 30). */
const horizon = 5 * 366 * 86_400_000;

/**
 * The first run strictly after `after` (ms since the epoch); undefined when there is none within five years. When both days
 * of month and of week are restricted, either will do, as in every cron.
 */
export function nextRun(schedule: CronSchedule, after: number, zone = 'UTC'): number | undefined {
  if (schedule.every !== undefined) return Math.floor(after / 1000) * 1000 + schedule.every;
  const z = new Zone(schedule.zone ?? zone);
  const [minutes, hours, doms, monthSet, dows] = schedule.fields as [FieldSet, FieldSet, FieldSet, FieldSet, FieldSet];
  let wall = Math.floor(z.wall(after) / minute) * minute + minute;
  const end = wall + horizon;
  while (wall < end) {
    const d = new Date(wall);
    const y = d.getUTCFullYear();
    const m = d.getUTCMonth();
    const day = d.getUTCDate();
    if (!monthSet.values.has(m + 1)) {
      wall = Date.UTC(y, m + 1, 1);
      continue;
    }
    const dom = doms.values.has(day);
    const dow = dows.values.has(d.getUTCDay());
    if (!(doms.star || dows.star ? dom && dow : dom || dow)) {
      wall = Date.UTC(y, m, day + 1);
      continue;
    }
    if (!hours.values.has(d.getUTCHours())) {
      wall = Date.UTC(y, m, day, d.getUTCHours() + 1);
      continue;
    }
    if (!minutes.values.has(d.getUTCMinutes())) {
      wall += minute;
      continue;
    }
    const at = z.instant(wall);
    // An hour that summer time skips does not happen; one that it repeats happens once.
    if (at > after && z.wall(at) === wall) return at;
    wall += minute;
  }
  return undefined;
}
