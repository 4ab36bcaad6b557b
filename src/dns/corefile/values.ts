/** Values in a Corefile: numbers, durations as Go writes them, zones, addresses, regular expressions; what is none is told with its line. */
import { isIPv6 } from 'node:net';
import { RE2JS } from 're2js';
import { nameToWire, normalize, reverseZones } from '../names.ts';
import type { Line } from './parser.ts';
import type { CorefileError } from './tokens.ts';
import { errorAt } from './tokens.ts';

export type Pattern = RE2JS;

const maxPattern = 10_000;

/** `plugin/NAME: what`, at the line. */
export function wrong(line: Pick<Line, 'file' | 'line'>, what: string, cause?: unknown): CorefileError {
  return errorAt(line, what, cause);
}

export function wrongCount(line: Line): CorefileError {
  return wrong(line, `Wrong argument count or unexpected line ending after '${line.args.at(-1) ?? line.name}'`);
}

export function unknownProperty(line: Line): CorefileError {
  return wrong(line, `unknown property '${line.name}'`);
}

/** The arguments, of which there are so many. */
export function argsOf(line: Line, min: number, max: number = min): readonly string[] {
  if (line.args.length < min || line.args.length > max) throw wrongCount(line);
  return line.args;
}

/** A directive that stands alone. */
export function noArgs(line: Line): void {
  if (line.args.length > 0 || line.block !== undefined) throw wrongCount(line);
}

export function whole(line: Line, text: string | undefined, min: number, max: number, what: string): number {
  if (text === undefined || !/^-?\d+$/.test(text)) throw wrong(line, `${what}: "${text ?? ''}" is no number`);
  const n = Number(text);
  if (n < min || n > max) throw wrong(line, `${what} must be in range [${min}, ${max}]: ${n}`);
  return n;
}

const units: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};

/** Milliseconds of `1.5h`, `300ms`, `2h45m` or `0`; undefined for what is no duration. */
export function milliseconds(text: string): number | undefined {
  if (text === '0') return 0;
  const m = /^([+-]?)((?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|ms|s|m|h))+)$/.exec(text);
  if (m === null) return undefined;
  let total = 0;
  for (const part of m[2]!.matchAll(/(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)/g))
    total += Number(part[1]) * units[part[2]!]!;
  return m[1] === '-' ? -total : total;
}

export function duration(line: Line, text: string | undefined, what: string): number {
  const ms = text === undefined ? undefined : milliseconds(text);
  if (ms === undefined) throw wrong(line, `${what}: time: invalid duration "${text ?? ''}"`);
  if (ms < 0) throw wrong(line, `${what} can't be negative: ${text}`);
  return ms;
}

export interface Address {
  readonly transport: string;
  readonly zones: readonly string[];
  readonly port: number | undefined;
}

/** A server block's key or a zone: `example.org`, `dns://.:53`, `10.0.0.0/8`; undefined for what is none. */
export function parseZone(text: string): Address | undefined {
  const scheme = /^([a-z0-9]+):\/\/(.*)$/i.exec(text);
  const transport = scheme?.[1]?.toLowerCase() ?? 'dns';
  let host = scheme?.[2] ?? text;
  let port: number | undefined;
  const m = /^(.*):(\d+)$/.exec(host);
  if (m !== null && !isIPv6(host)) {
    host = m[1]!;
    port = Number(m[2]);
    if (port > 65_535) return undefined;
  } else if (host.endsWith(':')) return undefined;
  const zones = host.includes('/') ? reverseZones(host) : [host === '' ? '.' : normalize(host)];
  if (zones === undefined || zones.some((z) => nameToWire(z) === undefined)) return undefined;
  return { transport, zones, port };
}

/** The zones that arguments name; without arguments those of the server block. */
export function zonesFrom(line: Line, args: readonly string[], block: readonly string[]): readonly string[] {
  if (args.length === 0) return block;
  return args.flatMap((a) => {
    const zone = parseZone(a);
    if (zone === undefined) throw wrong(line, `zone is not a valid domain name: ${a}`);
    return zone.zones;
  });
}

/** Go's regular expressions. */
export function pattern(line: Line, text: string): Pattern {
  if (text.length > maxPattern) throw wrong(line, `regex pattern too long: ${text.length} > ${maxPattern}`);
  try {
    return RE2JS.compile(text);
  } catch (e) {
    throw wrong(line, `invalid regex matching pattern: ${text}`, e);
  }
}

/** The groups of the first match, the whole first; undefined: none. */
export function groupsOf(p: Pattern, text: string): readonly string[] | undefined {
  const m = p.matcher(text);
  if (!m.find()) return undefined;
  const out: string[] = [];
  for (let i = 0; i <= m.groupCount(); i++) out.push(m.group(i) ?? '');
  return out;
}

/** `host:port` or `:port` to listen on; an empty host means: where names are answered. */
export function listenAddress(line: Line, text: string): { readonly host: string; readonly port: number } {
  const m = /^(?:\[([^\]]*)\]|([^:]*)):(\d{1,5})$/.exec(text);
  if (m === null || Number(m[3]) > 65_535) throw wrong(line, `address ${text}: missing port in address`);
  return { host: m[1] ?? m[2] ?? '', port: Number(m[3]) };
}
