/**
 * The Huffman code of HPACK (RFC 7541, appendix B), decoded eight bits a step. The code is canonical: the lengths of the symbols
 * say everything. Nothing is encoded with it here: what it would save of a response is not worth the time.
 */

/** Bits of each byte's code; at the end those of the end-of-string symbol, which never stands in a string. */
const lengths: readonly number[] = [
  13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28,
  28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
  13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6,
  5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23,
  22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22,
  23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26,
  20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27,
  27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27,
  27, 27, 27, 26, 30,
];
const endOfString = 256;

/**
 * Tables of 256 entries, one behind the other, by the next eight bits: a symbol and how many of the bits were its own
 * (`symbol | bits << 9`), or the negative number of the table to go on with.
 */
function buildTables(): Int32Array {
  const tables: Int32Array[] = [new Int32Array(256)];
  const symbols = lengths.map((_, symbol) => symbol).toSorted((a, b) => lengths[a]! - lengths[b]! || a - b);
  let code = 0;
  let length = lengths[symbols[0]!]!;
  for (const symbol of symbols) {
    code <<= lengths[symbol]! - length;
    length = lengths[symbol]!;
    let table = tables[0]!;
    let left = length;
    for (; left > 8; left -= 8) {
      const byte = (code >>> (left - 8)) & 255;
      if (table[byte] === 0) {
        table[byte] = -tables.length;
        tables.push(new Int32Array(256));
      }
      table = tables[-table[byte]!]!;
    }
    const first = (code << (8 - left)) & 255;
    table.fill(symbol | (left << 9), first, first + (1 << (8 - left)));
    code++;
  }
  const all = new Int32Array(256 * tables.length);
  tables.forEach((table, i) => all.set(table, 256 * i));
  return all;
}

const tables = buildTables();

/** Decodes `bytes` from `start` to `end` into `out`, which has room for 8/5 of that; how much it was, or -1 for what is no string. */
export function decodeHuffman(bytes: Buffer, start: number, end: number, out: Buffer): number {
  let n = 0;
  let pending = 0;
  let bits = 0;
  let table = 0;
  for (let i = start; i < end; i++) {
    pending = ((pending << 8) | bytes[i]!) & 0xffff;
    bits += 8;
    while (bits >= 8) {
      const entry = tables[table + ((pending >>> (bits - 8)) & 255)]!;
      if (entry < 0) {
        table = -entry * 256;
        bits -= 8;
        continue;
      }
      const symbol = entry & 511;
      if (symbol === endOfString) return -1;
      out[n++] = symbol;
      bits -= entry >>> 9;
      table = 0;
    }
  }
  while (bits > 0) {
    const entry = tables[table + ((pending << (8 - bits)) & 255)]!;
    if (entry < 0 || entry >>> 9 > bits) break;
    out[n++] = entry & 511;
    bits -= entry >>> 9;
    table = 0;
  }
  // What is left is the beginning of the end-of-string symbol: ones, and less than a byte of them.
  const rest = (1 << bits) - 1;
  return table === 0 && bits < 8 && (pending & rest) === rest ? n : -1;
}
