/** Small parts that many printers share: ages, label lists, container lists, empty values, lists cut short. */
import { humanDuration, timeMs } from '../../api/time.ts';
import { labelSelectorAsString } from '../../api/selector.ts';
import type { LabelSelector } from '../../api/selector.ts';
import type { KubeObjectLike } from '../request.ts';
import type { PrintContext } from './table.ts';
import type { Json } from './value.ts';
import { str } from './value.ts';

/** Times of one answer that are remembered. */
const maxAges = 4096;

/** Time since an RFC 3339 stamp, as kubectl shows it. */
export function since(stamp: unknown, context: PrintContext): string {
  if (typeof stamp !== 'string' || stamp === '') return '<unknown>';
  const { ages } = context;
  const known = ages?.get(stamp);
  if (known !== undefined) return known;
  const ms = timeMs(stamp);
  const text = Number.isNaN(ms) ? '<invalid>' : humanDuration(context.now - ms);
  if (ages !== undefined && ages.size < maxAges) ages.set(stamp, text);
  return text;
}

export function age(object: KubeObjectLike, context: PrintContext): string {
  return since(object.metadata['creationTimestamp'], context);
}

/** `a=b,c=d`, sorted; `<none>` when empty. */
export function labels(map: Json): string {
  const keys = Object.keys(map).sort();
  return keys.length === 0 ? '<none>' : keys.map((k) => `${k}=${String(map[k])}`).join(',');
}

/** A label selector as text; `<none>` when it says nothing, `<error>` when malformed. */
export function selectorText(selector: unknown): string {
  return labelSelectorAsString((selector ?? undefined) as LabelSelector | undefined);
}

/** Names and images of containers, comma-separated. */
export function containerCells(containers: readonly Json[]): [names: string, images: string] {
  return [containers.map((c) => str(c, 'name')).join(','), containers.map((c) => str(c, 'image')).join(',')];
}

/** `a,b,c + 2 more...`; `<unset>` when empty. */
export function shortList(items: readonly string[], max = 3): string {
  const text = items.slice(0, max).join(',');
  if (items.length > max) return `${text} + ${items.length - max} more...`;
  return text === '' ? '<unset>' : text;
}

/** `<none>` for an empty text. */
export function orNone(text: string): string {
  return text === '' ? '<none>' : text;
}

export function orUnset(text: string): string {
  return text === '' ? '<unset>' : text;
}
