/** The strings extension: positions count characters (code points). Kubernetes enables version 2. */
import type { Impl, Library, Overload } from '../declarations.ts';
import { global, member } from '../declarations.ts';
import { fail } from '../errors.ts';
import { printValue } from '../print.ts';
import { dynType, intType, listType, stringType } from '../types.ts';
import { isFlat } from '../values.ts';
import { formatString, localizedStyle, plainStyle } from './format.ts';

/** A text as its characters; a flat one stands for itself. */
const characters = (text: string): string | string[] => (isFlat(text) ? text : [...text]);
const piece = (c: string | string[], from: number, to?: number): string => {
  const s = c.slice(from, to);
  return typeof s === 'string' ? s : s.join('');
};

const outOfRange = (index: unknown): never => fail(`index out of range: ${String(index)}`);

function charAt(text: string, index: Index): string {
  const c = characters(text);
  if (index < 0 || index > c.length) return outOfRange(index);
  return piece(c, Number(index), Number(index) + 1);
}

function indexOf(text: string, part: string, start: Index): Index {
  if (part === '') return start;
  if (start < 0) return outOfRange(start);
  const offset = Number(start);
  const c = characters(text);
  if (typeof c === 'string') return offset >= c.length ? -1 : c.indexOf(part, offset);
  const p = [...part];
  for (let i = offset; i + p.length <= c.length; i++) if (p.every((x, j) => c[i + j] === x)) return i;
  return -1;
}

function lastIndexOf(text: string, part: string, offset?: Index): Index {
  const c = characters(text);
  if (part === '') return offset ?? c.length;
  let from = Number(offset ?? c.length - 1);
  if (offset === undefined && new TextEncoder().encode(text).length < new TextEncoder().encode(part).length) return -1;
  if (from < 0) return outOfRange(offset ?? from);
  if (from >= c.length) return -1;
  const p = [...part];
  from = Math.min(from, c.length - p.length);
  for (let i = from; i >= 0; i--) if (p.every((x, j) => c[i + j] === x)) return i;
  return -1;
}

function substring(text: string, start: Index, end?: Index): string {
  const c = characters(text);
  if (end !== undefined && start > end) fail(`invalid substring range. start: ${start}, end: ${end}`);
  if (start < 0 || start > c.length) return outOfRange(start);
  if (end !== undefined && (end < 0 || end > c.length)) return outOfRange(end);
  return piece(c, Number(start), end === undefined ? undefined : Number(end));
}

function replace(text: string, from: string, to: string, limit: number): string {
  if (limit === 0 || from === to) return text;
  if (limit < 0) {
    if (from !== '') return text.replaceAll(from, () => to);
    return to + [...text].map((c) => c + to).join('');
  }
  if (from === '') {
    const c = [...text];
    let out = '';
    let left = limit;
    for (let i = 0; i <= c.length; i++) {
      if (left-- > 0) out += to;
      out += c[i] ?? '';
    }
    return out;
  }
  const parts = text.split(from);
  const count = Math.min(limit, parts.length - 1);
  return [parts.slice(0, count + 1).join(to), ...parts.slice(count + 1)].join(from);
}

function split(text: string, separator: string, limit: number): string[] {
  if (limit === 0) return [];
  const parts = separator === '' ? [...text] : text.split(separator);
  if (limit < 0 || parts.length <= limit) return parts;
  return [...parts.slice(0, limit - 1), parts.slice(limit - 1).join(separator)];
}

/** The characters that Go's strings.TrimSpace takes for space. */
const space = String.raw`[\t\n\v\f\r \u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+`;
const trimmed = new RegExp(`^${space}|${space}$`, 'g');

const ascii = (text: string, upper: boolean): string =>
  upper ? text.replace(/[a-z]+/g, (s) => s.toUpperCase()) : text.replace(/[A-Z]+/g, (s) => s.toLowerCase());

const escapes: Readonly<Record<string, string>> = {
  '\x07': '\\a',
  '\b': '\\b',
  '\f': '\\f',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
  '\v': '\\v',
  '\\': '\\\\',
  '"': '\\"',
};

const quote = (text: string): string => `"${[...text.toWellFormed()].map((c) => escapes[c] ?? c).join('')}"`;

function join(list: readonly unknown[], separator: string): string {
  for (const e of list) if (typeof e !== 'string') fail(`join: invalid input: ${printValue(e)}`);
  return list.join(separator);
}

const s = (v: unknown): string => v as string;
type Index = number | bigint;
const n = (v: unknown): Index => v as Index;
const str = stringType;
const list = listType(stringType);

function overloads(version: number): Readonly<Record<string, readonly Overload[]>> {
  const style = version >= 4 ? plainStyle : localizedStyle;
  const format: Impl = (a) => formatString(s(a[0]), a[1] as readonly unknown[], style);
  return {
    charAt: [member('string_char_at_int', [str, intType], str, (a) => charAt(s(a[0]), n(a[1])))],
    indexOf: [
      member('string_index_of_string', [str, str], intType, (a) => indexOf(s(a[0]), s(a[1]), 0)),
      member('string_index_of_string_int', [str, str, intType], intType, (a) => indexOf(s(a[0]), s(a[1]), n(a[2]))),
    ],
    lastIndexOf: [
      member('string_last_index_of_string', [str, str], intType, (a) => lastIndexOf(s(a[0]), s(a[1]))),
      member('string_last_index_of_string_int', [str, str, intType], intType, (a) =>
        lastIndexOf(s(a[0]), s(a[1]), n(a[2])),
      ),
    ],
    lowerAscii: [member('string_lower_ascii', [str], str, (a) => ascii(s(a[0]), false))],
    upperAscii: [member('string_upper_ascii', [str], str, (a) => ascii(s(a[0]), true))],
    replace: [
      member('string_replace_string_string', [str, str, str], str, (a) => replace(s(a[0]), s(a[1]), s(a[2]), -1)),
      member('string_replace_string_string_int', [str, str, str, intType], str, (a) =>
        replace(s(a[0]), s(a[1]), s(a[2]), Number(a[3])),
      ),
    ],
    split: [
      member('string_split_string', [str, str], list, (a) => split(s(a[0]), s(a[1]), -1)),
      member('string_split_string_int', [str, str, intType], list, (a) => split(s(a[0]), s(a[1]), Number(a[2]))),
    ],
    substring: [
      member('string_substring_int', [str, intType], str, (a) => substring(s(a[0]), n(a[1]))),
      member('string_substring_int_int', [str, intType, intType], str, (a) => substring(s(a[0]), n(a[1]), n(a[2]))),
    ],
    trim: [member('string_trim', [str], str, (a) => s(a[0]).replace(trimmed, ''))],
    join: [
      member('list_join', [list], str, (a) => join(a[0] as readonly unknown[], '')),
      member('list_join_string', [list, str], str, (a) => join(a[0] as readonly unknown[], s(a[1]))),
    ],
    ...(version >= 1
      ? {
          format: [member('string_format', [str, listType(dynType)], str, format)],
          'strings.quote': [global('strings_quote', [str], str, (a) => quote(s(a[0])))],
        }
      : {}),
    ...(version >= 3
      ? { reverse: [member('string_reverse', [str], str, (a) => [...s(a[0])].reverse().join(''))] }
      : {}),
  };
}

/** The library at one of its versions. */
export const stringsLibrary = (version: number): Library => ({ name: 'strings', functions: overloads(version) });
