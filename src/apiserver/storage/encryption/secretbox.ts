/**
 * NaCl's secretbox (XSalsa20 and Poly1305) for values at rest; OpenSSL has neither by itself. Salsa20 follows Bernstein's
 * specification, Poly1305 RFC 8439.
 */
import { timingSafeEqual } from 'node:crypto';
import type { Random } from '../../../base/random.ts';
import type { Transformer } from './transformer.ts';

const nonceSize = 24;
const tagSize = 16;
/** "expand 32-byte k" */
const sigma = [0x61707865, 0x3320646e, 0x79622d32, 0x6b206574] as const;

/** Indices of the quarter rounds: columns, then rows. */
const quarters = [
  [0, 4, 8, 12],
  [5, 9, 13, 1],
  [10, 14, 2, 6],
  [15, 3, 7, 11],
  [0, 1, 2, 3],
  [5, 6, 7, 4],
  [10, 11, 8, 9],
  [15, 12, 13, 14],
] as const;

/** The twenty rounds, in place. */
function rounds(x: Uint32Array): void {
  for (let i = 0; i < 10; i++) {
    for (const [a, b, c, d] of quarters) {
      let t = (x[a]! + x[d]!) | 0;
      x[b]! ^= (t << 7) | (t >>> 25);
      t = (x[b]! + x[a]!) | 0;
      x[c]! ^= (t << 9) | (t >>> 23);
      t = (x[c]! + x[b]!) | 0;
      x[d]! ^= (t << 13) | (t >>> 19);
      t = (x[d]! + x[c]!) | 0;
      x[a]! ^= (t << 18) | (t >>> 14);
    }
  }
}

/** The state of a block: constants, key and sixteen bytes of input. */
function stateOf(key: Buffer, input: readonly number[]): Uint32Array {
  const word = (i: number): number => key.readUInt32LE(i * 4);
  return Uint32Array.of(
    ...[sigma[0], word(0), word(1), word(2), word(3), sigma[1], input[0]!, input[1]!],
    ...[input[2]!, input[3]!, sigma[2], word(4), word(5), word(6), word(7), sigma[3]],
  );
}

/** HSalsa20: the key for the second part of a long nonce. */
function subkey(key: Buffer, nonce: Buffer): Buffer {
  const x = stateOf(
    key,
    [0, 4, 8, 12].map((at) => nonce.readUInt32LE(at)),
  );
  rounds(x);
  const out = Buffer.alloc(32);
  for (const [i, from] of [0, 5, 10, 15, 6, 7, 8, 9].entries()) out.writeUInt32LE(x[from]!, i * 4);
  return out;
}

/** XORs `data`, which lies `offset` bytes into the key stream. */
function stream(key: Buffer, nonce: Buffer, data: Buffer, offset: number): Buffer {
  const out = Buffer.allocUnsafe(data.length);
  const tail = [nonce.readUInt32LE(16), nonce.readUInt32LE(20)];
  const bytes = Buffer.allocUnsafe(64);
  for (let at = 0; at < data.length;) {
    const position = offset + at;
    const input = stateOf(key, [...tail, Math.floor(position / 64) >>> 0, 0]);
    const x = Uint32Array.from(input);
    rounds(x);
    for (let i = 0; i < 16; i++) bytes.writeUInt32LE((x[i]! + input[i]!) >>> 0, i * 4);
    const from = position % 64;
    const n = Math.min(64 - from, data.length - at);
    for (let i = 0; i < n; i++) out[at + i] = data[at + i]! ^ bytes[from + i]!;
    at += n;
  }
  return out;
}

const limbs = 10;
const limbBits = 13;
const limb = 1 << limbBits;

/** The first 130 bits of 19 bytes, as ten limbs. */
function split(bytes: Uint8Array): number[] {
  const out: number[] = [];
  for (let i = 0; i < limbs; i++) {
    const bit = i * limbBits;
    const at = bit >> 3;
    out.push(((bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16)) >> (bit & 7)) & (limb - 1));
  }
  return out;
}

function poly1305(key: Buffer, data: Buffer): Buffer {
  const clamped = new Uint8Array(19);
  clamped.set(key.subarray(0, 16));
  for (const i of [3, 7, 11, 15]) clamped[i]! &= 15;
  for (const i of [4, 8, 12]) clamped[i]! &= 252;
  const r = split(clamped);
  let h = new Array<number>(limbs).fill(0);
  const block = new Uint8Array(19);
  for (let at = 0; at < data.length; at += 16) {
    block.fill(0);
    const part = data.subarray(at, at + 16);
    block.set(part);
    block[part.length] = 1;
    const m = split(block);
    for (let i = 0; i < limbs; i++) h[i]! += m[i]!;
    const d = new Array<number>(limbs);
    let carry = 0;
    for (let i = 0; i < limbs; i++) {
      let sum = carry;
      for (let j = 0; j < limbs; j++) sum += h[j]! * (j <= i ? r[i - j]! : 5 * r[i + limbs - j]!);
      carry = Math.floor(sum / limb);
      d[i] = sum - carry * limb;
    }
    d[0]! += carry * 5;
    carry = Math.floor(d[0]! / limb);
    d[0]! -= carry * limb;
    d[1]! += carry;
    h = d;
  }
  let total = 0n;
  for (let i = limbs - 1; i >= 0; i--) total = (total << BigInt(limbBits)) + BigInt(h[i]!);
  total %= (1n << 130n) - 5n;
  let s = 0n;
  for (let i = 31; i >= 16; i--) s = (s << 8n) + BigInt(key[i]!);
  total = (total + s) & ((1n << 128n) - 1n);
  const tag = Buffer.alloc(tagSize);
  for (let i = 0; i < tagSize; i++) {
    tag[i] = Number(total & 255n);
    total >>= 8n;
  }
  return tag;
}

const zeros = Buffer.alloc(32);

export function secretbox(secret: Buffer, random: Random): Transformer {
  return {
    encrypt(value) {
      const nonce = random.bytes(nonceSize);
      const key = subkey(secret, nonce);
      const sealed = stream(key, nonce, value, 32);
      return Buffer.concat([nonce, poly1305(stream(key, nonce, zeros, 0), sealed), sealed]);
    },
    decrypt(data) {
      if (data.length < nonceSize + tagSize) throw new Error('the stored data was shorter than the required size');
      const nonce = data.subarray(0, nonceSize);
      const key = subkey(secret, nonce);
      const sealed = data.subarray(nonceSize + tagSize);
      const tag = poly1305(stream(key, nonce, zeros, 0), sealed);
      // Upstream's words for what does not fit its key.
      if (!timingSafeEqual(tag, data.subarray(nonceSize, nonceSize + tagSize)))
        throw new Error('output array was not large enough for encryption');
      return { value: stream(key, nonce, sealed, 32), stale: false };
    },
  };
}
