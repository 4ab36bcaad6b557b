/** Hashes in names, in an alphabet that spells no words (apimachinery util/rand, util/hash). */
import { goJson } from '../../api/field-error.ts';
import { GoDump, UnprintableError } from '../../api/helpers/go-dump.ts';

const dump = new GoDump();
const alphabet = 'bcdfghjklmnpqrstvwxz2456789';

/** Maps each character into the safe alphabet. */
export function safeEncode(text: string): string {
  let out = '';
  for (let i = 0; i < text.length; i++) out += alphabet[text.charCodeAt(i) % alphabet.length];
  return out;
}

/** FNV-1a, 32 bits, over UTF-8. */
export function fnv32a(text: string | Uint8Array, seed = 0x811c9dc5): number {
  const bytes = typeof text === 'string' ? Buffer.from(text, 'utf8') : text;
  let h = seed;
  for (const b of bytes) h = Math.imul(h ^ b, 0x01000193);
  return h >>> 0;
}

/** FNV-1, 32 bits, over UTF-8. */
export function fnv32(text: string | Uint8Array, seed = 0x811c9dc5): number {
  const bytes = typeof text === 'string' ? Buffer.from(text, 'utf8') : text;
  let h = seed;
  for (const b of bytes) h = Math.imul(h, 0x01000193) ^ b;
  return h >>> 0;
}

/** JSON as Go writes maps, keys sorted, without undefined members: equal values, equal text. */
export function canonicalJson(value: unknown): string {
  if (value === undefined) return 'null';
  if (value === null || typeof value !== 'object') return goJson(value);
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  const o = value as Record<string, unknown>;
  const parts: string[] = [];
  for (const k of Object.keys(o).toSorted()) {
    if (o[k] !== undefined) parts.push(`${goJson(k)}:${canonicalJson(o[k])}`);
  }
  return `{${parts.join(',')}}`;
}

/** The text whose hash a template has: upstream's, so that controllers of either make give the same names. */
function hashedText(template: unknown): string {
  try {
    return dump.print('v1.PodTemplateSpec', template);
  } catch (error) {
    if (error instanceof UnprintableError) return canonicalJson(template);
    throw error;
  }
}

/** The pod-template-hash of a template. `collisionCount` keeps two templates of one hash apart. */
export function computeHash(template: unknown, collisionCount: number | undefined): string {
  let h = fnv32a(hashedText(template));
  if (collisionCount !== undefined) {
    const bytes = Buffer.alloc(8);
    bytes.writeUInt32LE(collisionCount >>> 0);
    h = fnv32a(bytes, h);
  }
  return safeEncode(String(h));
}
