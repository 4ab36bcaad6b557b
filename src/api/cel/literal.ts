/** The values of string and bytes literals. */

export class LiteralError extends Error {}

const simple: Readonly<Record<string, string>> = {
  a: '\x07',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
  v: '\v',
  '\\': '\\',
  "'": "'",
  '"': '"',
  '`': '`',
  '?': '?',
};

const validRune = (code: number): boolean => code <= 0x10ffff && (code < 0xd800 || code > 0xdfff);

function body(text: string): { readonly raw: boolean; readonly inner: string } {
  let value = text.replaceAll('\r\n', '\n').replaceAll('\r', '\n');
  let raw = false;
  if (value[0] === 'r' || value[0] === 'R') {
    raw = true;
    value = value.slice(1);
  }
  const three = value.length >= 6 && (value.startsWith('"""') || value.startsWith("'''"));
  return { raw, inner: three ? value.slice(3, -3) : value.slice(1, -1) };
}

/** The escape sequence at `i` (a backslash): its code, and how long it is. */
function escapeAt(text: string, i: number, bytes: boolean): { readonly code: number; readonly length: number } {
  const c = text[i + 1] ?? '';
  const known = simple[c];
  if (known !== undefined) return { code: known.charCodeAt(0), length: 2 };
  const digits = c === 'x' || c === 'X' ? 2 : c === 'u' ? 4 : c === 'U' ? 8 : 0;
  if (digits > 0) {
    const hex = text.slice(i + 2, i + 2 + digits);
    if ((bytes && digits > 2) || hex.length < digits || !/^[0-9a-fA-F]+$/.test(hex)) {
      throw new LiteralError('unable to unescape string');
    }
    const code = Number.parseInt(hex, 16);
    if (!bytes && !validRune(code)) throw new LiteralError('invalid unicode code point');
    return { code, length: 2 + digits };
  }
  if (c >= '0' && c <= '3' && c !== '') {
    const octal = text.slice(i + 1, i + 4);
    if (!/^[0-3][0-7][0-7]$/.test(octal)) throw new LiteralError('unable to unescape octal sequence in string');
    return { code: Number.parseInt(octal, 8), length: 4 };
  }
  throw new LiteralError('unable to unescape string');
}

/** What a string literal (with its quotes and prefix) stands for. */
export function unquoteString(text: string): string {
  const { raw, inner } = body(text);
  if (raw || !inner.includes('\\')) return inner;
  let out = '';
  for (let i = 0; i < inner.length;) {
    if (inner[i] !== '\\') {
      out += inner[i++]!;
      continue;
    }
    const { code, length } = escapeAt(inner, i, false);
    out += String.fromCodePoint(code);
    i += length;
  }
  return out;
}

/** What a bytes literal stands for, without its `b`. */
export function unquoteBytes(text: string): Uint8Array {
  const { raw, inner } = body(text);
  const encoder = new TextEncoder();
  if (raw || !inner.includes('\\')) return encoder.encode(inner);
  const out: number[] = [];
  for (let i = 0; i < inner.length;) {
    if (inner[i] !== '\\') {
      const character = String.fromCodePoint(inner.codePointAt(i)!);
      out.push(...encoder.encode(character));
      i += character.length;
      continue;
    }
    const { code, length } = escapeAt(inner, i, true);
    out.push(code);
    i += length;
  }
  return Uint8Array.from(out);
}
