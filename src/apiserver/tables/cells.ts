/** Small parts that many printers share: ages, label lists, empty values. */
import { humanDuration, timeMs } from '../../api/time.ts';
import type { PrintContext } from './table.ts';

/** Time since an RFC 3339 stamp, as kubectl shows it. */
export function age(stamp: unknown, context: PrintContext): string {
  if (typeof stamp !== 'string' || stamp === '') return '<unknown>';
  const ms = timeMs(stamp);
  return Number.isNaN(ms) ? '<invalid>' : humanDuration(context.now - ms);
}
