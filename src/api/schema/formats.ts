/** The string formats that CRD schemas may name, checked as upstream's `strfmt` registry checks them. */
import { isIPv4, isIPv6 } from 'node:net';
import { isDNS1123Label, isDNS1123Subdomain } from '../names.ts';
import { parseDurationNanos, parseInstant } from '../time.ts';

type Check = (text: string) => boolean;

/** True for addresses with leading zeros too, which upstream tolerates. */
const sloppyIPv4: Check = (text) => {
  const parts = text.split('.');
  return parts.length === 4 && parts.every((p) => /^[0-9]{1,}$/.test(p) && p.length <= 10 && Number(p) <= 255);
};

const isEmail: Check = (text) => {
  const angle = /^(?:"(?:[^"\\]|\\.)*"|[^<>@",;:\\]*)\s*<([^<>]+)>$/.exec(text.trim());
  const address = angle?.[1] ?? text.trim();
  return /^(?:[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u0080-\u{10ffff}-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u0080-\u{10ffff}-]+)*|"(?:[^"\\]|\\.)*")@(?:[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u0080-\u{10ffff}-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u0080-\u{10ffff}-]+)*|\[[^\]]*\])$/u.test(
    address,
  );
};

const hostCharacter = String.raw`[a-zA-Z0-9\p{S}\p{L}]`;
const hostLabel = String.raw`${hostCharacter}(?:[a-zA-Z0-9\p{S}\p{L}-]{0,61}${hostCharacter})?`;
/** One label with one hyphen at most, behind its first character; or several, of which the last is of letters. */
const hostPattern = new RegExp(
  String.raw`^(?:${hostCharacter}-?[a-zA-Z0-9\p{S}\p{L}]{0,62}|(?:${hostLabel}\.)+[a-zA-Z\p{L}]{2,63})$`,
  'u',
);
const isHostname: Check = (text) =>
  hostPattern.test(text) &&
  Buffer.byteLength(text) <= 255 &&
  text.split('.').every((label) => Buffer.byteLength(label) <= 63);

/** net/url.ParseRequestURI: an absolute URI or an absolute path. */
const isRequestURI: Check = (text) => {
  if (text === '' || /[\s\x7f]/.test(text) || /%(?![0-9a-fA-F]{2})/.test(text)) return false;
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) < 0x20) return false;
  if (text.startsWith('/') || text === '*') return true;
  const scheme = /^([a-zA-Z][a-zA-Z0-9+.-]*):(.*)$/s.exec(text);
  if (scheme === null) return false;
  const rest = scheme[2]!;
  if (!rest.startsWith('//')) return true;
  const host = rest.slice(2).split(/[/?#]/, 1)[0]!;
  return /^(?:[^@]*@)?(?:\[[0-9a-fA-F:.%a-zA-Z]+\]|[^[\]:@]*)(?::[0-9]*)?$/.test(host);
};

function isbn10(text: string): boolean {
  const digits = text.replace(/[\s-]+/g, '');
  if (!/^(?:[0-9]{9}X|[0-9]{10})$/.test(digits)) return false;
  let sum = 0;
  for (let i = 0; i < 10; i++) sum += (i + 1) * (digits[i] === 'X' ? 10 : Number(digits[i]));
  return sum % 11 === 0;
}

function isbn13(text: string): boolean {
  const digits = text.replace(/[\s-]+/g, '');
  if (!/^[0-9]{13}$/.test(digits)) return false;
  let sum = 0;
  for (let i = 0; i < 12; i++) sum += (i % 2 === 0 ? 1 : 3) * Number(digits[i]);
  return (10 - (sum % 10)) % 10 === Number(digits[12]);
}

function isCreditCard(text: string): boolean {
  const digits = text.replace(/[^0-9]+/g, '');
  if (
    !/^(?:4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|6(?:011|5[0-9][0-9])[0-9]{12}|3[47][0-9]{13}|3(?:0[0-5]|[68][0-9])[0-9]{11}|(?:2131|1800|35\d{3})\d{11})$/.test(
      digits,
    )
  ) {
    return false;
  }
  let sum = 0;
  for (let i = 0; i < digits.length; i++) {
    let d = Number(digits[digits.length - 1 - i]);
    if (i % 2 === 1) d = d * 2 > 9 ? d * 2 - 9 : d * 2;
    sum += d;
  }
  return sum % 10 === 0;
}

const passes =
  (parse: (text: string) => unknown): Check =>
  (text) => {
    try {
      parse(text);
      return true;
    } catch {
      return false;
    }
  };

const isDate: Check = (text) => /^\d{4}-\d{2}-\d{2}$/.test(text) && passes(parseInstant)(`${text}T00:00:00Z`);

/** date-time as the registry reads it: RFC 3339, also with a space, with fractions, or without seconds' zone. */
const isDateTime: Check = (text) => {
  const m = /^(\d{4}-\d{2}-\d{2})[Tt ](\d{2}:\d{2}:\d{2})(?:\.\d+)?([Zz]|[+-]\d{2}:?\d{2})?$/.exec(text);
  return m !== null && isDate(m[1]!) && passes(parseInstant)(`${m[1]}T${m[2]}Z`);
};

const isDuration: Check = (text) =>
  passes(parseDurationNanos)(text) ||
  /(?:^|\s*)\d+\s*(?:ns|nano|us|µs|micro|ms|milli|s|sec|m|min|h|hr|hour|d|day|w|week|wk)/i.test(text);

const isCIDR: Check = (text) => {
  const slash = text.lastIndexOf('/');
  if (slash < 0 || !/^\d{1,3}$/.test(text.slice(slash + 1))) return false;
  const address = text.slice(0, slash);
  const bits = Number(text.slice(slash + 1));
  return (sloppyIPv4(address) && bits <= 32) || (isIPv6(address) && !address.includes('%') && bits <= 128);
};

const uuid = (version: string, variant = '[0-9a-f]'): RegExp =>
  new RegExp(`^[0-9a-f]{8}-?[0-9a-f]{4}-?${version}[0-9a-f]{3}-?${variant}[0-9a-f]{3}-?[0-9a-f]{12}$`, 'i');
const uuidAny = uuid('[0-9a-f]');
const uuid3 = uuid('3');
const uuid4 = uuid('4', '[89ab]');
const uuid5 = uuid('5', '[89ab]');

/** By name without dashes. */
const checks: ReadonlyMap<string, Check> = new Map<string, Check>([
  ['bsonobjectid', (t) => /^[0-9a-fA-F]{24}$/.test(t)],
  ['uri', isRequestURI],
  ['email', isEmail],
  ['hostname', isHostname],
  ['ipv4', (t) => isIPv4(t) || sloppyIPv4(t)],
  ['ipv6', (t) => isIPv6(t) && !t.includes('%')],
  ['cidr', isCIDR],
  [
    'mac',
    (t) =>
      /^(?:[0-9a-f]{2}([:-]))(?:[0-9a-f]{2}\1){4}[0-9a-f]{2}(?:(?:\1[0-9a-f]{2}){2}|(?:\1[0-9a-f]{2}){14})?$/i.test(
        t,
      ) || /^[0-9a-f]{4}\.[0-9a-f]{4}\.[0-9a-f]{4}(?:\.[0-9a-f]{4})?$/i.test(t),
  ],
  ['uuid', (t) => uuidAny.test(t)],
  ['uuid3', (t) => uuid3.test(t)],
  ['uuid4', (t) => uuid4.test(t)],
  ['uuid5', (t) => uuid5.test(t)],
  ['isbn', (t) => isbn10(t) || isbn13(t)],
  ['isbn10', isbn10],
  ['isbn13', isbn13],
  ['creditcard', isCreditCard],
  ['ssn', (t) => /^\d{3}[- ]?\d{2}[- ]?\d{4}$/.test(t)],
  ['hexcolor', (t) => /^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$/.test(t)],
  [
    'rgbcolor',
    (t) =>
      /^rgb\(\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*,\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*,\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*\)$/.test(
        t,
      ),
  ],
  [
    'byte',
    (t) =>
      /^(?:[A-Za-z0-9+/]{4})+(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$|^(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)$/.test(
        t,
      ),
  ],
  ['password', () => true],
  ['date', isDate],
  ['duration', isDuration],
  ['datetime', isDateTime],
  ['k8sshortname', (t) => isDNS1123Label(t).length === 0],
  ['k8slongname', (t) => isDNS1123Subdomain(t).length === 0],
]);

const normalized = (format: string): string => format.replaceAll('-', '');

/** Formats that are checked for these types; others are ignored. */
export function isKnownFormat(format: string | undefined, types: readonly string[]): boolean {
  if (format === undefined || format === '') return false;
  const type = types.length === 1 ? types[0] : '';
  switch (type) {
    case '':
    case 'string':
      return checks.has(normalized(format));
    case 'integer':
      return format === 'int32' || format === 'int64';
    case 'number':
      return format === 'float' || format === 'double';
    default:
      return false;
  }
}

/** Undefined for a format that strings are not checked against. */
export function matchesFormat(format: string, text: string): boolean | undefined {
  return checks.get(normalized(format))?.(text);
}
