/**
 * Reads of JSON that this program wrote only the members that somebody wants: the rest is passed over, byte by byte, without being
 * made. What is read is as `parseTrustedJson` would have it.
 */
import { parseTrustedJson } from './json.ts';

/** All of a value; its member names alone (their values become true); or these members of it, of each item where it is a list. */
export type Wanted = 'all' | 'keys' | { readonly [member: string]: Wanted };

interface Member {
  readonly name: string;
  readonly length: number;
  readonly first: number;
  readonly wanted: Plan;
}

type Plan = 'all' | 'keys' | readonly Member[];

function planOf(wanted: Wanted): Plan {
  if (wanted === 'all' || wanted === 'keys') return wanted;
  return Object.entries(wanted).map(([name, inner]) => ({
    name,
    length: name.length,
    first: name.charCodeAt(0),
    wanted: planOf(inner),
  }));
}

/** Both of two wishes. */
export function wantBoth(a: Wanted | undefined, b: Wanted): Wanted {
  if (a === undefined) return b;
  if (a === 'all' || b === 'all') return 'all';
  if (a === 'keys' || b === 'keys') return a === b ? a : 'all';
  const out: Record<string, Wanted> = { ...a };
  for (const name in b) out[name] = wantBoth(out[name], b[name]!);
  return out;
}

const quote = 0x22;
const comma = 0x2c;
const colon = 0x3a;
const openBracket = 0x5b;
const backslash = 0x5c;
const closeBracket = 0x5d;
const openBrace = 0x7b;
const closeBrace = 0x7d;

/** Strings longer than this are looked through by native code. */
const longString = 64;

/** The offset behind the closing quote of a string; `at` is behind the opening one. */
export function endOfString(bytes: Buffer, at: number): number {
  let i = at;
  const near = Math.min(bytes.length, at + longString);
  while (i < near) {
    const c = bytes[i++]!;
    if (c === quote) return i;
    if (c === backslash) i++;
  }
  for (;;) {
    const found = bytes.indexOf(quote, i);
    if (found < 0) throw new SyntaxError('a string in stored JSON does not end');
    let slashes = found;
    while (slashes > i && bytes[slashes - 1] === backslash) slashes--;
    if ((found - slashes) % 2 === 0) return found + 1;
    i = found + 1;
  }
}

/** The offset behind the value at `at`. */
export function endOfValue(bytes: Buffer, at: number): number {
  const first = bytes[at]!;
  if (first === quote) return endOfString(bytes, at + 1);
  let i = at;
  const { length } = bytes;
  if (first !== openBrace && first !== openBracket) {
    for (; i < length; i++) {
      const c = bytes[i]!;
      if (c === comma || c === closeBrace || c === closeBracket) return i;
    }
    return i;
  }
  let depth = 0;
  while (i < length) {
    const c = bytes[i++]!;
    if (c === quote) {
      // Most are short: the loop of `endOfString`, without a call.
      const near = i + longString;
      for (;;) {
        const s = bytes[i++];
        if (s === quote) break;
        if (s === backslash) i++;
        if (i >= near) {
          i = endOfString(bytes, i);
          break;
        }
      }
    } else if (c === openBrace || c === openBracket) depth++;
    else if ((c === closeBrace || c === closeBracket) && --depth === 0) return i;
  }
  throw new SyntaxError('stored JSON does not end');
}

/** Short texts that were read before, by a hash of their bytes: many objects say the same. */
const knownTexts = 512;
const longestKnown = 32;

/** Reads the wanted part of one value after the other. */
export class JsonPicker {
  readonly #plan: Plan;
  readonly #texts: string[] = Array.from({ length: knownTexts }, () => '');
  #bytes: Buffer = Buffer.alloc(0);
  #at = 0;
  #cut = -1;
  #cutEnd = -1;

  constructor(wanted: Wanted) {
    this.#plan = planOf(wanted);
  }

  /** The value at `at`. The comma at `cut`, where there is one, and all behind it up to `cutEnd` is as if it were not there. */
  read(bytes: Buffer, at: number, cut = -1, cutEnd = -1): unknown {
    this.#bytes = bytes;
    this.#at = at;
    this.#cut = cut;
    this.#cutEnd = cutEnd;
    return this.#value(this.#plan);
  }

  #value(plan: Plan): unknown {
    const bytes = this.#bytes;
    const start = this.#at;
    switch (bytes[start]) {
      case quote:
        return this.#string();
      case openBrace:
        if (plan === 'all') return this.#whole();
        return plan === 'keys' ? this.#keys() : this.#object(plan);
      case openBracket:
        return typeof plan === 'string' ? this.#whole() : this.#list(plan);
      case 0x74:
        this.#at = start + 4;
        return true;
      case 0x66:
        this.#at = start + 5;
        return false;
      case 0x6e:
        this.#at = start + 4;
        return null;
    }
    const end = endOfValue(bytes, start);
    this.#at = end;
    const text = bytes.toString('latin1', start, end);
    return text.length < 16 ? Number(text) : (parseTrustedJson(`[${text}]`) as unknown[])[0];
  }

  #whole(): unknown {
    const start = this.#at;
    this.#at = endOfValue(this.#bytes, start);
    return parseTrustedJson(this.#bytes.toString('utf8', start, this.#at));
  }

  #list(plan: Plan): unknown[] {
    const out: unknown[] = [];
    const bytes = this.#bytes;
    this.#at++;
    if (bytes[this.#at] === closeBracket) {
      this.#at++;
      return out;
    }
    for (;;) {
      out.push(this.#value(plan));
      const next = bytes[this.#at++];
      if (next === closeBracket) return out;
      if (next !== comma) throw new SyntaxError('stored JSON has spaces');
    }
  }

  #keys(): Record<string, true> {
    // Any name may be a member's, `__proto__` too.
    const out = Object.create(null) as Record<string, true>;
    const bytes = this.#bytes;
    this.#at++;
    while (bytes[this.#at] === quote) {
      out[this.#string()] = true;
      this.#at = endOfValue(bytes, this.#at + 1);
      if (bytes[this.#at] === comma) this.#at++;
    }
    this.#at++;
    return out;
  }

  #object(plan: readonly Member[]): Record<string, unknown> {
    const out: Record<string, unknown> = {};
    const bytes = this.#bytes;
    const wanted = plan.length;
    if (wanted === 0) {
      this.#at = endOfValue(bytes, this.#at);
      return out;
    }
    let i = this.#at + 1;
    while (bytes[i] === quote) {
      const start = i + 1;
      const end = endOfString(bytes, start);
      const length = end - 1 - start;
      const first = bytes[start];
      let member: Member | undefined;
      for (let m = 0; m < wanted; m++) {
        const candidate = plan[m]!;
        if (candidate.first !== first || candidate.length !== length) continue;
        const { name } = candidate;
        let k = 1;
        while (k < length && name.charCodeAt(k) === bytes[start + k]) k++;
        if (k < length) continue;
        member = candidate;
        break;
      }
      if (bytes[end] !== colon) throw new SyntaxError('stored JSON has spaces');
      if (member === undefined) i = endOfValue(bytes, end + 1);
      else {
        this.#at = end + 1;
        out[member.name] = this.#value(member.wanted);
        i = this.#at;
      }
      if (i === this.#cut) i = this.#cutEnd;
      if (bytes[i] === comma) i++;
    }
    if (bytes[i] !== closeBrace) throw new SyntaxError('stored JSON has spaces');
    this.#at = i + 1;
    return out;
  }

  #string(): string {
    const bytes = this.#bytes;
    const start = this.#at + 1;
    const near = Math.min(bytes.length, start + longestKnown);
    let i = start;
    let hash = 0;
    let plain = 0;
    while (i < near) {
      const c = bytes[i]!;
      if (c === quote) {
        if (plain >= 128) break;
        this.#at = i + 1;
        return this.#known(start, i, hash & (knownTexts - 1));
      }
      if (c === backslash) break;
      plain |= c;
      hash = (Math.imul(hash, 31) + c) | 0;
      i++;
    }
    const end = endOfString(bytes, start);
    this.#at = end;
    const text = bytes.toString('utf8', start, end - 1);
    return text.includes('\\') ? (JSON.parse(`"${text}"`) as string) : text;
  }

  #known(start: number, end: number, slot: number): string {
    const bytes = this.#bytes;
    const known = this.#texts[slot]!;
    const length = end - start;
    if (known.length === length) {
      let k = 0;
      while (k < length && known.charCodeAt(k) === bytes[start + k]) k++;
      if (k === length) return known;
    }
    const text = bytes.toString('latin1', start, end);
    this.#texts[slot] = text;
    return text;
  }
}
