/** Writes JSON values as sigs.k8s.io/yaml does: sorted keys, compact sequences, libyaml's choice of styles, folding at 80 columns. */
import { formatGoFloat, resolvePlain } from './yaml-scalars.ts';

const bestWidth = 80;
const base60Pattern = /^[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?$/;

/** Writes a JSON value as sigs.k8s.io/yaml does. */
export function stringifyYaml(value: unknown): string {
  const emitter = new Emitter();
  emitter.value(value, -2, 'root');
  emitter.out += '\n';
  return emitter.out.startsWith('\n') ? emitter.out.slice(1) : emitter.out;
}

/** go-yaml's order of keys: letters after other characters, runs of digits by their value. */
function compareYamlKeys(a: string, b: string): number {
  const x = [...a];
  const y = [...b];
  for (let i = 0; i < x.length && i < y.length; i++) {
    const p = x[i]!;
    const q = y[i]!;
    if (p === q) continue;
    const letterP = isLetter(p);
    const letterQ = isLetter(q);
    if (letterP && letterQ) return p.codePointAt(0)! - q.codePointAt(0)!;
    if (letterP || letterQ) return letterQ ? -1 : 1;
    let n = 0;
    let m = 0;
    if (p === '0' || q === '0') {
      for (let j = i - 1; j >= 0 && isDigit(x[j]!); j--) {
        if (x[j] !== '0') {
          n = 1;
          m = 1;
          break;
        }
      }
    }
    let ai = i;
    let bi = i;
    for (; ai < x.length && isDigit(x[ai]!); ai++) n = n * 10 + Number(x[ai]);
    for (; bi < y.length && isDigit(y[bi]!); bi++) m = m * 10 + Number(y[bi]);
    if (n !== m) return n - m;
    if (ai !== bi) return ai - bi;
    return p.codePointAt(0)! - q.codePointAt(0)!;
  }
  return x.length - y.length;
}

function isLetter(ch: string): boolean {
  return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch > '\x7f' && /^\p{L}$/u.test(ch));
}

function isDigit(ch: string): boolean {
  return ch >= '0' && ch <= '9';
}

type ScalarStyle = 'plain' | 'single' | 'double' | 'literal';

interface Analysis {
  multiline: boolean;
  plain: boolean;
  single: boolean;
  block: boolean;
}

function isBreak(ch: string | undefined): boolean {
  return ch === '\n' || ch === '\r' || ch === '\u0085' || ch === '\u2028' || ch === '\u2029';
}

function isPrintable(ch: string): boolean {
  const c = ch.codePointAt(0)!;
  if (c === 0x0a) return true;
  if (c < 0x20 || c === 0x7f) return false;
  if (c < 0x7f) return true;
  if (c < 0xa0) return false;
  return c < 0xd800 || (c >= 0xe000 && c < 0xfeff) || (c > 0xfeff && c < 0xfffe);
}

/** libyaml's analysis of what styles a scalar can have in block context. */
function analyze(chars: readonly string[]): Analysis {
  if (chars.length === 0) return { multiline: false, plain: true, single: true, block: false };
  let indicators = false;
  let special = false;
  let lineBreaks = false;
  let leading = false;
  let trailingSpace = false;
  let trailingBreak = false;
  let breakSpace = false;
  let spaceBreak = false;
  let previousSpace = false;
  let previousBreak = false;
  let afterSpace = true;
  const head = chars.slice(0, 3).join('');
  if (head === '---' || head === '...') indicators = true;
  chars.forEach((ch, i) => {
    const next = chars[i + 1];
    const beforeSpace = next === undefined || next === ' ' || next === '\t';
    const last = i === chars.length - 1;
    if (i === 0) {
      if ('#,[]{}&*!|>\'"%@`'.includes(ch)) indicators = true;
      else if ((ch === '?' || ch === ':' || ch === '-') && beforeSpace) indicators = true;
    } else if ((ch === ':' && beforeSpace) || (ch === '#' && afterSpace)) indicators = true;
    if (!isPrintable(ch)) special = true;
    if (ch === ' ') {
      if (i === 0) leading = true;
      if (last) trailingSpace = true;
      if (previousBreak) breakSpace = true;
      previousSpace = true;
      previousBreak = false;
    } else if (isBreak(ch)) {
      lineBreaks = true;
      if (i === 0) leading = true;
      if (last) trailingBreak = true;
      if (previousSpace) spaceBreak = true;
      previousSpace = false;
      previousBreak = true;
    } else {
      previousSpace = false;
      previousBreak = false;
    }
    afterSpace = ch === ' ' || ch === '\t' || isBreak(ch);
  });
  const hard = spaceBreak || special;
  return {
    multiline: lineBreaks,
    plain: !(leading || trailingSpace || trailingBreak || breakSpace || hard || lineBreaks || indicators),
    single: !(breakSpace || hard),
    block: !(trailingSpace || hard),
  };
}

const escapes: ReadonlyMap<string, string> = new Map([
  ['\0', '0'],
  ['\x07', 'a'],
  ['\b', 'b'],
  ['\t', 't'],
  ['\n', 'n'],
  ['\v', 'v'],
  ['\f', 'f'],
  ['\r', 'r'],
  ['\x1b', 'e'],
  ['"', '"'],
  ['\\', '\\'],
  ['\u0085', 'N'],
  ['\u00a0', '_'],
  ['\u2028', 'L'],
  ['\u2029', 'P'],
]);

function escapeOf(ch: string): string {
  const known = escapes.get(ch);
  if (known !== undefined) return `\\${known}`;
  const c = ch.codePointAt(0)!;
  const hex = c.toString(16).toUpperCase();
  if (c <= 0xff) return `\\x${hex.padStart(2, '0')}`;
  return c <= 0xffff ? `\\u${hex.padStart(4, '0')}` : `\\U${hex.padStart(8, '0')}`;
}

class Emitter {
  out = '';
  column = 0;

  write(text: string): void {
    this.out += text;
    this.column += text.length;
  }

  newline(indent: number): void {
    this.out += `\n${' '.repeat(indent)}`;
    this.column = indent;
  }

  /** `indent` is that of the enclosing collection; `inline` says that the position is right behind a `-`. */
  value(value: unknown, indent: number, place: 'root' | 'mapping' | 'sequence'): void {
    if (Array.isArray(value)) {
      if (value.length === 0) {
        this.write(place === 'root' ? '[]' : ' []');
        return;
      }
      // A sequence in a mapping stands at the mapping's own indentation.
      const at = place === 'mapping' ? indent : indent + 2;
      value.forEach((item, i) => {
        if (i === 0 && place === 'sequence') this.write(' ');
        else this.newline(at);
        this.write('-');
        this.value(item, at, 'sequence');
      });
    } else if (typeof value === 'object' && value !== null) {
      const members = value as Record<string, unknown>;
      const keys = Object.keys(members).filter((k) => members[k] !== undefined);
      if (keys.length === 0) {
        this.write(place === 'root' ? '{}' : ' {}');
        return;
      }
      const at = indent + 2;
      keys.sort(compareYamlKeys).forEach((key, i) => {
        if (i === 0 && place === 'sequence') this.write(' ');
        else this.newline(at);
        const chars = [...key];
        if (Buffer.byteLength(key) > 128 || chars.some(isBreak)) {
          this.write('? ');
          this.scalar(key, at + 2, false);
          this.newline(at);
          this.write(':');
        } else {
          this.scalar(key, at + 2, true);
          this.write(':');
        }
        this.value(members[key], at, 'mapping');
      });
    } else {
      if (place !== 'root') this.write(' ');
      this.scalar(value, place === 'root' ? 2 : indent + 2, false);
    }
  }

  scalar(value: unknown, indent: number, simpleKey: boolean): void {
    if (typeof value !== 'string') {
      this.write(scalarText(value));
      return;
    }
    const chars = [...value];
    const analysis = analyze(chars);
    const resolved = resolvePlain(value);
    let style: ScalarStyle;
    if (value.includes('\n')) style = 'literal';
    else style = resolved.tag === '!!str' && !base60Pattern.test(value) ? 'plain' : 'double';
    if (simpleKey && analysis.multiline) style = 'double';
    if (style === 'plain' && (!analysis.plain || (chars.length === 0 && simpleKey))) style = 'single';
    if (style === 'single' && !analysis.single) style = 'double';
    if (style === 'literal' && (!analysis.block || simpleKey)) style = 'double';
    switch (style) {
      case 'plain':
        this.folded(chars, indent, !simpleKey, false);
        break;
      case 'single':
        this.write("'");
        this.folded(chars, indent, !simpleKey, true);
        this.write("'");
        break;
      case 'double':
        this.double(chars, indent, !simpleKey);
        break;
      case 'literal':
        this.literal(value, chars, indent);
    }
  }

  folded(chars: readonly string[], indent: number, allowBreaks: boolean, quoted: boolean): void {
    let spaces = false;
    let breaks = false;
    chars.forEach((ch, i) => {
      if (ch === ' ') {
        const inner = !quoted || (i > 0 && i < chars.length - 1);
        if (allowBreaks && !spaces && this.column > bestWidth && inner && chars[i + 1] !== ' ') this.newline(indent);
        else this.write(ch);
        spaces = true;
      } else if (isBreak(ch)) {
        if (!breaks && ch === '\n') this.newline(0);
        this.out += ch;
        this.column = 0;
        breaks = true;
      } else {
        if (breaks) this.write(' '.repeat(indent));
        this.write(quoted && ch === "'" ? "''" : ch);
        spaces = false;
        breaks = false;
      }
    });
  }

  double(chars: readonly string[], indent: number, allowBreaks: boolean): void {
    this.write('"');
    let spaces = false;
    chars.forEach((ch, i) => {
      if (!isPrintable(ch) || isBreak(ch) || ch === '"' || ch === '\\') {
        this.write(escapeOf(ch));
        spaces = false;
      } else if (ch === ' ') {
        if (allowBreaks && !spaces && this.column > bestWidth && i > 0 && i < chars.length - 1) {
          this.newline(indent);
          if (chars[i + 1] === ' ') this.write('\\');
        } else this.write(ch);
        spaces = true;
      } else {
        this.out += ch;
        this.column++;
        spaces = false;
      }
    });
    this.write('"');
  }

  literal(value: string, chars: readonly string[], indent: number): void {
    let header = '|';
    if (chars[0] === ' ' || isBreak(chars[0])) header += '2';
    if (!isBreak(chars[chars.length - 1])) header += '-';
    else if (chars.length === 1 || isBreak(chars[chars.length - 2])) header += '+';
    this.write(header);
    const body = value.endsWith('\n') ? value.slice(0, -1) : value;
    for (const line of body.split('\n')) {
      if (line === '') {
        this.out += '\n';
        this.column = 0;
      } else {
        this.newline(indent);
        this.write(line);
      }
    }
  }
}

function scalarText(value: unknown): string {
  switch (typeof value) {
    case 'number':
      if (Number.isInteger(value) && Math.abs(value) < 18446744073709552000) return BigInt(value).toString();
      return formatGoFloat(value);
    case 'boolean':
    case 'bigint':
      return String(value);
    default:
      return 'null';
  }
}
