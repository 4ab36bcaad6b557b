/** Scalars by go-yaml v2: what a plain word means, tags, and floats as Go prints them. */

/** A document that is not YAML (or not JSON-able YAML); the message is go-yaml's (`yaml: line 3: did not find expected key`). */
export class YamlError extends Error {
  constructor(message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'YamlError';
  }
}

type ScalarTag = '!!str' | '!!bool' | '!!int' | '!!float' | '!!null' | '!!timestamp' | '!!merge';

interface Resolved {
  readonly tag: ScalarTag;
  readonly value: unknown;
}

const words: ReadonlyMap<string, Resolved> = new Map<string, Resolved>([
  ...['y', 'Y', 'yes', 'Yes', 'YES', 'true', 'True', 'TRUE', 'on', 'On', 'ON'].map((w): [string, Resolved] => [
    w,
    { tag: '!!bool', value: true },
  ]),
  ...['n', 'N', 'no', 'No', 'NO', 'false', 'False', 'FALSE', 'off', 'Off', 'OFF'].map((w): [string, Resolved] => [
    w,
    { tag: '!!bool', value: false },
  ]),
  ...['', '~', 'null', 'Null', 'NULL'].map((w): [string, Resolved] => [w, { tag: '!!null', value: null }]),
  ...['.nan', '.NaN', '.NAN'].map((w): [string, Resolved] => [w, { tag: '!!float', value: NaN }]),
  ...['.inf', '.Inf', '.INF', '+.inf', '+.Inf', '+.INF'].map((w): [string, Resolved] => [
    w,
    { tag: '!!float', value: Infinity },
  ]),
  ...['-.inf', '-.Inf', '-.INF'].map((w): [string, Resolved] => [w, { tag: '!!float', value: -Infinity }]),
  ['<<', { tag: '!!merge', value: '<<' }],
]);

const floatPattern = /^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$/;
const timestampPattern =
  /^[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt][0-9]{1,2}:[0-9]{1,2}:[0-9]{1,2}(\.[0-9]+)?(Z|[-+][0-9]{2}:[0-9]{2})|( [0-9]{1,2}:[0-9]{1,2}:[0-9]{1,2}(\.[0-9]+)?))?$/;

function narrow(n: bigint): number | bigint {
  return n >= -9007199254740991n && n <= 9007199254740991n ? Number(n) : n;
}

/** Go's ParseInt with base 0 (underscores already gone), as int64 or uint64. */
function parseGoInteger(text: string): number | bigint | undefined {
  const m = /^([-+]?)(0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO][0-7]+|0[0-7]*|[1-9][0-9]*)$/.exec(text);
  if (m === null) return undefined;
  let digits = m[2]!;
  if (digits.length > 70) return undefined;
  if (/^0[0-7]+$/.test(digits)) digits = `0o${digits.slice(1)}`;
  const magnitude = BigInt(digits.toLowerCase());
  if (m[1] === '-') return magnitude > 9223372036854775808n ? undefined : narrow(-magnitude);
  // Only unsigned text may exceed an int64.
  const limit = m[1] === '+' ? 9223372036854775807n : 18446744073709551615n;
  return magnitude > limit ? undefined : narrow(magnitude);
}

/** What a plain scalar means to go-yaml v2. */
export function resolvePlain(text: string): Resolved {
  const c = text.charCodeAt(0);
  const digit = c >= 48 && c <= 57;
  const sign = c === 43 || c === 45;
  if (text === '' || !(digit || sign || c === 46)) {
    if (text === '' || (text.length <= 5 && 'yYnNtTfFoO~<'.includes(text[0]!))) {
      const word = words.get(text);
      if (word !== undefined) return word;
    }
    return { tag: '!!str', value: text };
  }
  const word = words.get(text);
  if (word !== undefined) return word;
  if (c === 46) {
    if (/^\.[0-9][0-9_]*([eE][-+]?[0-9]+)?$/.test(text) && !text.includes('_'))
      return { tag: '!!float', value: Number(text) };
    return { tag: '!!str', value: text };
  }
  if (digit && timestampPattern.test(text)) return { tag: '!!timestamp', value: text };
  const plain = text.includes('_') ? text.replaceAll('_', '') : text;
  const integer = parseGoInteger(plain);
  if (integer !== undefined) return { tag: '!!int', value: integer };
  if (floatPattern.test(plain)) {
    const value = Number(plain.replace(/^\+/, ''));
    if (Number.isFinite(value)) return { tag: '!!float', value };
  }
  return { tag: '!!str', value: text };
}

export function expandTag(raw: string): string {
  if (raw.startsWith('!<tag:yaml.org,2002:')) return `!!${raw.slice(20, -1)}`;
  return raw;
}

export function resolveTagged(tag: string, text: string): unknown {
  switch (tag) {
    case '!!str':
    case '!':
      return text;
    case '!!binary': {
      if (!/^[A-Za-z0-9+/\s]*={0,2}\s*$/.test(text)) fail('!!binary value contains invalid base64 data');
      return Buffer.from(text, 'base64').toString();
    }
    case '!!bool':
    case '!!int':
    case '!!float':
    case '!!null':
    case '!!timestamp': {
      const resolved = resolvePlain(text);
      if (resolved.tag === tag || (tag === '!!float' && resolved.tag === '!!int')) return resolved.value;
      return fail(`cannot decode ${resolved.tag} \`${text}\` as a ${tag}`);
    }
    default:
      return text;
  }
}

export function fail(message: string, cause?: unknown): never {
  throw new YamlError(`yaml: ${message}`, { cause });
}

/** Go's FormatFloat(f, 'g', -1, 64): the shortest digits, an exponent below -4 and from 6 on. */
export function formatGoFloat(f: number): string {
  if (Number.isNaN(f)) return '.nan';
  if (!Number.isFinite(f)) return f > 0 ? '.inf' : '-.inf';
  if (f === 0) return Object.is(f, -0) ? '-0' : '0';
  const [mantissa, exponentText] = f.toExponential().split('e') as [string, string];
  const exponent = Number(exponentText);
  // With the shortest representation Go decides by a precision of 6.
  return exponent < -4 || exponent >= 6 ? scientific(mantissa, exponent) : String(f);
}

/** The shortest text that reads back as the same float32. */
export function shortestFloat32(f: number): number {
  for (let digits = 1; digits < 10; digits++) {
    const candidate = Number(f.toPrecision(digits));
    if (Math.fround(candidate) === Math.fround(f)) return candidate;
  }
  return f;
}

function scientific(mantissa: string, exponent: number): string {
  const sign = exponent < 0 ? '-' : '+';
  return `${mantissa}e${sign}${String(Math.abs(exponent)).padStart(2, '0')}`;
}
