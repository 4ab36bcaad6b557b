/** The stored form of upstream's RangeAllocation (`ranges/servicenodeports`): which members of a range are taken, as a bitmap. */
import { ProtobufError, Reader, Writer } from '../../api/protobuf-wire.ts';
import { readEnvelope } from '../../api/protobuf.ts';
import type { StorageMediaType } from '../storage/media-type.ts';

const kind = 'RangeAllocation';
const apiVersion = 'v1';

/** The bitmap of a stored record: a big-endian number whose bit i is the i-th member. @throws {ProtobufError|SyntaxError} */
export function readRangeAllocation(value: Buffer): Buffer {
  const envelope = readEnvelope(value);
  if (envelope === undefined) {
    const record = JSON.parse(value.toString('utf8')) as { data?: string };
    return Buffer.from(record.data ?? '', 'base64');
  }
  if (envelope.kind !== kind) throw new ProtobufError(`a ${envelope.kind} where a ${kind} should be`);
  const r = new Reader(envelope.raw, 0, envelope.raw.length);
  let data: Buffer = Buffer.alloc(0);
  while (r.more) {
    const tag = r.number();
    if (tag === (3 << 3) + 2) data = r.block().bytes();
    else r.skip(tag % 8);
  }
  return data;
}

/** An ObjectMeta with nothing in it: members that are no pointers stand there all the same. */
const emptyMeta = Buffer.from('0a0012001a0022002a0032003800', 'hex');

export function writeRangeAllocation(range: string, data: Buffer, type: StorageMediaType): Buffer {
  if (type === 'application/json')
    return Buffer.from(JSON.stringify({ kind, apiVersion, metadata: {}, range, data: data.toString('base64') }));
  const w = new Writer(data.length + 256);
  w.textField(4, '');
  w.textField(3, '');
  const raw = w.written;
  w.bytesField(3, data);
  w.textField(2, range);
  const meta = w.written;
  // creationTimestamp, the zero time.
  w.textField(8, '');
  w.bytes(emptyMeta);
  w.close(1, meta);
  w.close(2, raw);
  const typeMeta = w.written;
  w.textField(2, kind);
  w.textField(1, apiVersion);
  w.close(1, typeMeta);
  w.bytes(Buffer.from('k8s\0', 'latin1'));
  return w.result();
}
