/** When a CronJob is due: the run it should start now, how many it has missed, and when to look again. */
import type { CronSchedule } from '../../api/helpers/cron.ts';
import { nextRun } from '../../api/helpers/cron.ts';
import { timeMs } from '../../api/time.ts';
import type { CronJob } from '../../api/types/index.gen.ts';

/** Added to the time of the next look, so that a clock that is a little behind does not look too early. */
const lookLateMs = 100;
/** More missed starts than this are worth a warning: most likely a clock is wrong. */
export const manyMissedStarts = 100;

export interface DueRun {
  /** The last run due at or before now, ms; undefined when none is due. */
  readonly due: number | undefined;
  /** From when on runs count. */
  readonly earliest: number;
  readonly missed: number;
}

/** Grammatically right, but there is no such day, or no time between two runs. */
export class ScheduleError extends Error {}

function next(schedule: CronSchedule, after: number): number {
  const t = nextRun(schedule, after);
  if (t === undefined) throw new ScheduleError('time difference between two schedules is less than 1 second');
  return t;
}

/** The run that is due. `withDeadline`: nothing from before the starting deadline counts. Throws `ScheduleError`. */
export function dueRun(cronJob: CronJob, now: number, schedule: CronSchedule, withDeadline: boolean): DueRun {
  const last = timeMs(cronJob.status?.lastScheduleTime);
  let earliest = Number.isNaN(last) ? timeMs(cronJob.metadata.creationTimestamp) : last;
  const deadline = cronJob.spec.startingDeadlineSeconds;
  if (withDeadline && deadline !== undefined) earliest = Math.max(earliest, now - deadline * 1000);
  const first = next(schedule, earliest);
  if (now < first) return { due: undefined, earliest, missed: 0 };
  const second = next(schedule, first);
  if (now < second) return { due: first, earliest, missed: 0 };
  const between = Math.round((second - first) / 1000);
  if (between < 1) throw new ScheduleError('time difference between two schedules is less than 1 second');
  // An estimate, good enough to begin the exact search near its end.
  const missed = Math.floor(Math.floor((now - first) / 1000) / between) + 1;
  let due: number | undefined;
  for (let t = next(schedule, first + (missed - 2) * between * 1000); t <= now; t = next(schedule, t)) due = t;
  return { due, earliest, missed };
}

/** Milliseconds until the next run. */
export function untilNextRun(cronJob: CronJob, now: number, schedule: CronSchedule): number {
  let from = now;
  try {
    const { due, earliest, missed } = dueRun(cronJob, now, schedule, false);
    from = due ?? (missed === 0 ? earliest : now);
  } catch (error) {
    if (!(error instanceof ScheduleError)) throw error;
  }
  const at = nextRun(schedule, from);
  return at === undefined ? 0 : at + lookLateMs - now;
}

const pad = (n: number): string => String(n).padStart(2, '0');

/** RFC 3339 in a time zone: `2026-01-01T02:00:00+01:00`. */
export function formatInZone(ms: number, zone: string | undefined): string {
  const name =
    zone === undefined
      ? 'GMT'
      : (new Intl.DateTimeFormat('en-US', { timeZone: zone, timeZoneName: 'longOffset' })
          .formatToParts(ms)
          .find((p) => p.type === 'timeZoneName')?.value ?? 'GMT');
  const m = /^GMT([+-])(\d{2}):(\d{2})/.exec(name);
  const offset = m === null ? 0 : (m[1] === '-' ? -1 : 1) * (Number(m[2]) * 60 + Number(m[3]));
  const local = new Date(ms + offset * 60_000).toISOString().slice(0, 19);
  return offset === 0 ? `${local}Z` : `${local}${m![1]}${m![2]}:${m![3]}`;
}

/** RFC 1123 with a numeric zone, UTC: `Thu, 01 Jan 2026 00:00:00 +0000`. */
export function formatRfc1123(ms: number): string {
  const d = new Date(ms);
  const [weekday, day, month] = d.toUTCString().split(/,? /);
  const time = `${pad(d.getUTCHours())}:${pad(d.getUTCMinutes())}:${pad(d.getUTCSeconds())}`;
  return `${weekday}, ${day} ${month} ${d.getUTCFullYear()} ${time} +0000`;
}
