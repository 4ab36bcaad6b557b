/** Randomness that is handed in: unpredictable in a real cluster, reproducible from a seed in a simulated one. */
import { randomBytes } from 'node:crypto';

export interface Random {
  /** `n` random bytes. */
  bytes(n: number): Buffer;
  /** A version 4 UUID. */
  uuid(): string;
  /** A number in [0, 1). */
  float(): number;
  /** An integer in [0, n). */
  int(n: number): number;
  /** `n` characters that form no words and are safe in names (what generateName appends). */
  suffix(n: number): string;
}

/** No vowels and no look-alikes, as upstream's name generator (apimachinery util/rand). */
const nameAlphabet = 'bcdfghjklmnpqrstvwxz2456789';

function suffixOf(random: { int(n: number): number }, n: number): string {
  let out = '';
  for (let i = 0; i < n; i++) out += nameAlphabet[random.int(nameAlphabet.length)];
  return out;
}

const dash = 0x2d;
const hexDigits = Buffer.from('0123456789abcdef');

/** Cryptographically strong randomness. */
export class SystemRandom implements Random {
  readonly #uuid = Buffer.alloc(36);
  #pool: Buffer = Buffer.alloc(0);
  #at = 0;

  #u32(): number {
    if (this.#at + 4 > this.#pool.length) {
      this.#pool = randomBytes(4096);
      this.#at = 0;
    }
    const v = this.#pool.readUInt32LE(this.#at);
    this.#at += 4;
    return v;
  }

  bytes(n: number): Buffer {
    return randomBytes(n);
  }

  /** As `crypto.randomUUID`, which makes a rope of twenty strings that whoever reads it first has to join. */
  uuid(): string {
    if (this.#at + 16 > this.#pool.length) {
      this.#pool = randomBytes(4096);
      this.#at = 0;
    }
    const text = this.#uuid;
    let at = 0;
    for (let i = 0; i < 16; i++) {
      let byte = this.#pool[this.#at++]!;
      if (i === 6) byte = (byte & 0x0f) | 0x40;
      else if (i === 8) byte = (byte & 0x3f) | 0x80;
      if (i === 4 || i === 6 || i === 8 || i === 10) text[at++] = dash;
      text[at++] = hexDigits[byte >>> 4]!;
      text[at++] = hexDigits[byte & 15]!;
    }
    return text.toString('latin1', 0, 36);
  }

  float(): number {
    return this.#u32() / 2 ** 32;
  }

  int(n: number): number {
    return Math.floor(this.float() * n);
  }

  suffix(n: number): string {
    return suffixOf(this, n);
  }
}

/** A small reproducible generator (splitmix32). Never for keys. */
export class SeededRandom implements Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 0;
  }

  #u32(): number {
    this.#state = (this.#state + 0x9e3779b9) | 0;
    let t = this.#state ^ (this.#state >>> 16);
    t = Math.imul(t, 0x21f0aaad);
    t ^= t >>> 15;
    t = Math.imul(t, 0x735a2d97);
    return (t ^ (t >>> 15)) >>> 0;
  }

  bytes(n: number): Buffer {
    const out = Buffer.alloc(n);
    for (let i = 0; i < n; i++) out[i] = this.#u32() & 0xff;
    return out;
  }

  uuid(): string {
    const b = this.bytes(16);
    b[6] = (b[6]! & 0x0f) | 0x40;
    b[8] = (b[8]! & 0x3f) | 0x80;
    const h = b.toString('hex');
    return `${h.slice(0, 8)}-${h.slice(8, 12)}-${h.slice(12, 16)}-${h.slice(16, 20)}-${h.slice(20)}`;
  }

  float(): number {
    return this.#u32() / 2 ** 32;
  }

  int(n: number): number {
    return Math.floor(this.float() * n);
  }

  suffix(n: number): string {
    return suffixOf(this, n);
  }
}
