/**
 * Domain names as text (`web.default.svc.cluster.local.`, always with the dot at the end, `\.` and `\DDD` where a label holds such
 * bytes) and on the wire; which zone a name is in; reverse names of addresses; names of endpoints as the Kubernetes DNS specification
 * has them.
 */
import { formatIp, parseCidr, parseIp } from '../base/ip.ts';

const maxName = 255;
const maxLabel = 63;

/** Lower-case, with the dot at its end: how names are compared. */
export function normalize(name: string): string {
  return fqdn(name).toLowerCase();
}

export function fqdn(name: string): string {
  return name.endsWith('.') && !name.endsWith('\\.') ? name : `${name}.`;
}

/** Without the dot at its end, for people. */
export function plain(name: string): string {
  return name === '.' ? name : name.replace(/\.$/, '');
}

/** The labels of a name, without the root. */
export function labelsOf(name: string): string[] {
  const text = name.endsWith('.') ? name.slice(0, -1) : name;
  if (text === '') return [];
  if (!text.includes('\\')) return text.split('.');
  const out: string[] = [''];
  for (let i = 0; i < text.length; i++) {
    const c = text[i]!;
    if (c === '\\') out[out.length - 1] += c + (text[++i] ?? '');
    else if (c === '.') out.push('');
    else out[out.length - 1] += c;
  }
  return out;
}

/** Whether `name` is `zone` or below it; both normalized. */
export function within(zone: string, name: string): boolean {
  if (zone === '.') return true;
  if (name.length < zone.length || !name.endsWith(zone)) return false;
  if (name.length === zone.length) return true;
  const at = name.length - zone.length - 1;
  return name.charCodeAt(at) === 46 && (at === 0 || name.charCodeAt(at - 1) !== 92);
}

/** The longest of the zones that the name is in; undefined: in none. */
export function zoneOf(zones: readonly string[], name: string): string | undefined {
  let best: string | undefined;
  for (const zone of zones) if ((best === undefined || zone.length > best.length) && within(zone, name)) best = zone;
  return best;
}

function escaped(label: string): string {
  let out = '';
  for (let i = 0; i < label.length; i++) {
    const code = label.charCodeAt(i);
    if (code === 46 || code === 92) out += `\\${label[i]!}`;
    else if (code <= 32 || code >= 127) out += `\\${String(code).padStart(3, '0')}`;
    else out += label[i]!;
  }
  return out;
}

/** Undefined for what is no name: labels that are empty or too long, a name that is too long. */
export function nameToWire(name: string): Buffer | undefined {
  if (name === '.') return Buffer.from([0]);
  const labels = labelsOf(name);
  const parts: Buffer[] = [];
  let length = 1;
  for (const label of labels) {
    const bytes = Buffer.from(
      label.includes('\\')
        ? label.replace(/\\(\d{3}|.)/g, (_, e: string) => (e.length === 3 ? String.fromCharCode(Number(e) & 255) : e))
        : label,
      'latin1',
    );
    if (bytes.length === 0 || bytes.length > maxLabel) return undefined;
    length += 1 + bytes.length;
    parts.push(Buffer.from([bytes.length]), bytes);
  }
  if (length > maxName || labels.length === 0) return undefined;
  parts.push(Buffer.from([0]));
  return Buffer.concat(parts);
}

export interface ReadName {
  readonly name: string;
  /** Where what follows it begins. */
  readonly end: number;
}

/** Bytes of a label that stand for themselves. */
const ordinary = new Uint8Array(256);
for (let c = 33; c < 127; c++) ordinary[c] = c === 46 || c === 92 ? 0 : 1;

/** Reads a name that may be compressed; undefined when it is malformed. Pointers lead backwards alone, so it ends. */
export function readName(message: Buffer, offset: number): ReadName | undefined {
  let at = offset;
  let end = -1;
  let lowest = offset;
  let length = 0;
  const text = Buffer.allocUnsafe(maxName + 1);
  for (;;) {
    const label = message[at];
    if (label === undefined) return undefined;
    if (label === 0) break;
    if (label >= 0xc0) {
      const low = message[at + 1];
      if (low === undefined) return undefined;
      const target = ((label & 0x3f) << 8) | low;
      if (target >= lowest) return undefined;
      if (end < 0) end = at + 2;
      lowest = target;
      at = target;
      continue;
    }
    const stop = at + 1 + label;
    if (label > maxLabel || length + label + 2 > maxName || stop > message.length) return undefined;
    for (let i = at + 1; i < stop; i++) {
      const c = message[i]!;
      if (ordinary[c] === 0) return readEscaped(message, offset);
      text[length++] = c;
    }
    text[length++] = 46;
    at = stop;
  }
  return {
    name: length === 0 ? '.' : text.toString('latin1', 0, length),
    end: end < 0 ? at + 1 : end,
  };
}

/** Calls `label` for each label of a name, its pointers followed; gives where the name ends, undefined when it is malformed. */
export function walkName(
  message: Buffer,
  offset: number,
  label: (at: number, length: number) => void,
): number | undefined {
  let at = offset;
  let end = -1;
  let lowest = offset;
  let total = 1;
  for (;;) {
    const length = message[at];
    if (length === undefined) return undefined;
    if (length === 0) return end < 0 ? at + 1 : end;
    if (length >= 0xc0) {
      const low = message[at + 1];
      if (low === undefined) return undefined;
      const target = ((length & 0x3f) << 8) | low;
      if (target >= lowest) return undefined;
      if (end < 0) end = at + 2;
      lowest = target;
      at = target;
      continue;
    }
    total += length + 1;
    if (length > maxLabel || total > maxName || at + 1 + length > message.length) return undefined;
    label(at, length);
    at += length + 1;
  }
}

/** As `readName`, for names with bytes that are written with a backslash. */
function readEscaped(message: Buffer, offset: number): ReadName | undefined {
  let name = '';
  const end = walkName(message, offset, (at, length) => {
    name += `${escaped(message.toString('latin1', at + 1, at + 1 + length))}.`;
  });
  return end === undefined ? undefined : { name, end };
}

/** The index behind a name without following its pointers; undefined when it is malformed. */
export function skipName(message: Buffer, offset: number): number | undefined {
  let at = offset;
  for (;;) {
    const length = message[at];
    if (length === undefined) return undefined;
    if (length === 0) return at + 1;
    if (length >= 0xc0) return at + 2 <= message.length ? at + 2 : undefined;
    if (length > maxLabel || at + length - offset >= maxName) return undefined;
    at += length + 1;
  }
}

const v4Reverse = 'in-addr.arpa.';
const v6Reverse = 'ip6.arpa.';

export function isReverse(zone: string): boolean {
  return within(v4Reverse, zone) || within(v6Reverse, zone);
}

/** `3.2.1.10.in-addr.arpa.` or the nibbles of `ip6.arpa.` as an address; undefined when it is no full reverse name. */
export function addressOfReverse(name: string): string | undefined {
  const v4 = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.in-addr\.arpa\.$/.exec(name);
  const text =
    v4 !== null
      ? [v4[4], v4[3], v4[2], v4[1]].join('.')
      : /^(?:[0-9a-f]\.){32}ip6\.arpa\.$/.test(name)
        ? name.split('.').slice(0, 32).reverse().join('').match(/.{4}/g)!.join(':')
        : undefined;
  const ip = text === undefined ? undefined : parseIp(text);
  return ip === undefined ? undefined : formatIp(ip);
}

/** The reverse zones that cover a CIDR: one on an octet's (a nibble's) boundary, else those that make it up. */
export function reverseZones(cidr: string): string[] | undefined {
  const range = parseCidr(cidr);
  if (range === undefined) return undefined;
  const step = range.family === 4 ? 8 : 4;
  const total = range.family === 4 ? 32 : 128;
  const units = Math.ceil(range.prefix / step);
  const count = 1 << (units * step - range.prefix);
  const zones: string[] = [];
  for (let i = 0; i < count; i++) {
    const base = range.base + (BigInt(i) << BigInt(total - units * step));
    const labels: string[] = [];
    for (let u = 0; u < units; u++) {
      const part = Number((base >> BigInt(total - (u + 1) * step)) & ((1n << BigInt(step)) - 1n));
      labels.unshift(range.family === 4 ? String(part) : part.toString(16));
    }
    zones.push([...labels, range.family === 4 ? v4Reverse : v6Reverse].join('.'));
  }
  return zones;
}

/** `10.1.2.3` → `10-1-2-3`; IPv6 likewise with its colons. The label that an endpoint without a name of its own has. */
export function dashed(address: string): string {
  const label = address.replace(/[.:]/g, '-');
  return address.includes(':') && label.endsWith('-') ? `${label}0` : label;
}

export function canonical(address: string): string {
  const ip = parseIp(address);
  return ip === undefined ? address : formatIp(ip);
}
