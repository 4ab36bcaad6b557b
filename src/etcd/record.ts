/**
 * The bytes of the store's records in an `Engine`. One record a change, keyed by its revision, so that writes append;
 * beside them leases (`l`) and facts about the store (`m`). `l` < `m` < `r`: the newest record has the greatest key.
 *
 *     r revision:u64 sub:u32 → metaCrc:u32 valueCrc:u32 kind:u8 0:u8×3 keyLength:u32 create:f64 version:f64 lease:u64 key value
 *
 * `metaCrc` covers what follows it up to the end of the key, so that opening a store checks every header without reading
 * the values; `valueCrc` is checked when the value is read.
 */
import { crc32c } from './crc32c.ts';
import type { EngineOp } from './engine.ts';

const headerBytes = 40;
const put = 1;
const tombstone = 2;

/** A record whose checksum or form is wrong: the disk or memory beneath the store has changed it. */
export class CorruptRecordError extends Error {
  constructor(what: string) {
    super(`etcdserver: corrupt record: ${what}`);
    this.name = 'CorruptRecordError';
  }
}

/** The head of a record, without the value. */
export interface RecordHead {
  readonly revision: number;
  readonly sub: number;
  readonly key: string;
  readonly deleted: boolean;
  readonly createRevision: number;
  readonly version: number;
  readonly lease: string | undefined;
  /** Bytes of the whole record. */
  readonly size: number;
}

const prefixRecord = 0x72;
const prefixLease = 0x6c;
const prefixMeta = 0x6d;

function writeRevision(target: Buffer, at: number, revision: number, sub: number): void {
  target[at] = prefixRecord;
  target.writeUInt32BE(Math.floor(revision / 2 ** 32), at + 1);
  target.writeUInt32BE(revision >>> 0, at + 5);
  target.writeUInt32BE(sub, at + 9);
}

/** The engine key of the `sub`-th change of `revision`. */
export function recordKey(revision: number, sub: number): Buffer {
  const key = Buffer.allocUnsafe(13);
  writeRevision(key, 0, revision, sub);
  return key;
}

/** All record keys lie in `[recordKey(0, 0), recordsEnd)`. */
export const recordsEnd: Buffer = Buffer.from([prefixRecord + 1]);

/** Encodes records into large shared slabs (or, with `slabBytes` 0, into an allocation of their own). */
export class RecordWriter {
  readonly #slabBytes: number;
  #slab: Buffer = Buffer.alloc(0);
  #at = 0;

  constructor(slabBytes: number) {
    this.#slabBytes = slabBytes;
  }

  #take(bytes: number): Buffer {
    if (this.#slabBytes === 0) return Buffer.allocUnsafe(bytes);
    if (bytes > this.#slabBytes >>> 2) return Buffer.allocUnsafeSlow(bytes);
    if (this.#at + bytes > this.#slab.length) {
      this.#slab = Buffer.allocUnsafeSlow(this.#slabBytes);
      this.#at = 0;
    }
    const out = this.#slab.subarray(this.#at, this.#at + bytes);
    this.#at += (bytes + 7) & ~7;
    return out;
  }

  /** `value` undefined writes a tombstone. */
  write(
    revision: number,
    sub: number,
    key: string,
    createRevision: number,
    version: number,
    lease: string | undefined,
    value: Uint8Array | undefined,
  ): EngineOp {
    const keyLength = key.length;
    const valueAt = 16 + headerBytes + keyLength;
    const total = valueAt + (value?.length ?? 0);
    const b = this.#take(total);
    writeRevision(b, 0, revision, sub);
    const h = 16;
    b[h + 8] = value === undefined ? tombstone : put;
    b[h + 9] = 0;
    b[h + 10] = 0;
    b[h + 11] = 0;
    b.writeUInt32LE(keyLength, h + 12);
    b.writeDoubleLE(createRevision, h + 16);
    b.writeDoubleLE(version, h + 24);
    if (lease === undefined) b.fill(0, h + 32, h + 40);
    else b.writeBigUInt64LE(BigInt(lease), h + 32);
    b.write(key, h + headerBytes, keyLength, 'latin1');
    if (value !== undefined) b.set(value, valueAt);
    b.writeUInt32LE(crc32c(b, valueAt, total), h + 4);
    b.writeUInt32LE(crc32c(b, h + 4, valueAt), h);
    return { key: b.subarray(0, 13), value: b.subarray(h, total) };
  }
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function nameOf(revision: number, sub: number): string {
  return `revision ${revision}/${sub}`;
}

/** Decodes and checks a record's head. */
export function readHead(engineKey: Uint8Array, record: Uint8Array): RecordHead {
  const k = asBuffer(engineKey);
  const b = asBuffer(record);
  if (k.length !== 13) throw new CorruptRecordError(`key of ${k.length} bytes`);
  const revision = k.readUInt32BE(1) * 2 ** 32 + k.readUInt32BE(5);
  const sub = k.readUInt32BE(9);
  const keyLength = b.length < headerBytes ? 0 : b.readUInt32LE(12);
  const valueAt = headerBytes + keyLength;
  if (b.length < headerBytes || valueAt > b.length || b.readUInt32LE(0) !== crc32c(b, 4, valueAt)) {
    throw new CorruptRecordError(nameOf(revision, sub));
  }
  const kind = b[8];
  if (kind !== put && kind !== tombstone) throw new CorruptRecordError(`${nameOf(revision, sub)} is of kind ${kind}`);
  const leased = b.readUInt32LE(32) !== 0 || b.readUInt32LE(36) !== 0;
  return {
    revision,
    sub,
    key: b.toString('latin1', headerBytes, valueAt),
    deleted: kind === tombstone,
    createRevision: b.readDoubleLE(16),
    version: b.readDoubleLE(24),
    lease: leased ? b.readBigUInt64LE(32).toString() : undefined,
    size: b.length,
  };
}

/** The value within a record, checked. Shares memory with `record`. */
export function readValue(record: Uint8Array, revision: number, sub: number): Buffer {
  const b = asBuffer(record);
  const valueAt = b.length < headerBytes ? b.length + 1 : headerBytes + b.readUInt32LE(12);
  if (valueAt > b.length || b.readUInt32LE(4) !== crc32c(b, valueAt, b.length)) {
    throw new CorruptRecordError(`value of ${nameOf(revision, sub)}`);
  }
  return b.subarray(valueAt);
}

export const leasesStart: Buffer = Buffer.from([prefixLease]);
export const leasesEnd: Buffer = Buffer.from([prefixLease + 1]);

export function leaseOp(id: string, ttl: number | undefined): EngineOp {
  const key = Buffer.alloc(9);
  key[0] = prefixLease;
  key.writeBigUInt64BE(BigInt(id), 1);
  return { key, value: ttl === undefined ? undefined : sealed({ ttl }) };
}

export function readLease(key: Uint8Array, value: Uint8Array): { id: string; ttl: number } {
  const id = asBuffer(key).readBigUInt64BE(1).toString();
  const ttl = unsealed(value, `lease ${id}`)['ttl'];
  if (typeof ttl !== 'number') throw new CorruptRecordError(`lease ${id}`);
  return { id, ttl };
}

/** A fact about the store under a name of its own. */
export function metaKey(name: string): Buffer {
  return Buffer.concat([Buffer.from([prefixMeta]), Buffer.from(name, 'latin1')]);
}

export function metaOp(name: string, facts: Record<string, unknown>): EngineOp {
  return { key: metaKey(name), value: sealed(facts) };
}

export function readMeta(name: string, value: Uint8Array): Record<string, unknown> {
  return unsealed(value, name);
}

function sealed(facts: Record<string, unknown>): Buffer {
  const json = Buffer.from(JSON.stringify(facts));
  const out = Buffer.allocUnsafe(4 + json.length);
  out.set(json, 4);
  out.writeUInt32LE(crc32c(out, 4), 0);
  return out;
}

function unsealed(value: Uint8Array, what: string): Record<string, unknown> {
  const b = asBuffer(value);
  if (b.length < 4 || b.readUInt32LE(0) !== crc32c(b, 4)) throw new CorruptRecordError(what);
  return JSON.parse(b.toString('utf8', 4)) as Record<string, unknown>;
}
