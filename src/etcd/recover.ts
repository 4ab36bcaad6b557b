/** Opening a store: its identity, its leases, and the index of its keys, read from the heads of all records. */
import type { Random } from '../base/random.ts';
import { Slice } from '../base/yield.ts';
import type { Engine } from './engine.ts';
import { Version, keysEnd } from './key-index.ts';
import type { KeyIndex } from './key-index.ts';
import type { Lessor } from './lessor.ts';
import {
  leasesEnd,
  leasesStart,
  metaKey,
  metaOp,
  readHead,
  readLease,
  readMeta,
  recordKey,
  recordsEnd,
} from './record.ts';

/** Records read between two looks at the time. */
const stride = 256;
const format = 1;

export interface Recovered {
  readonly clusterId: string;
  readonly memberId: string;
  /** The newest revision. An empty store is at 1, as etcd's is. */
  readonly revision: number;
  readonly compactRevision: number;
}

/** A positive 63-bit number as a decimal string: ids of clusters, members and leases. */
export function newId(random: Random): string {
  const b = random.bytes(8);
  b[0] = b[0]! & 0x7f;
  const id = b.readBigUInt64BE();
  return id === 0n ? '1' : id.toString();
}

/** Fills `index` and `lessor` from `engine`. Throws `CorruptRecordError` when a record has changed beneath us. */
export async function recover(engine: Engine, index: KeyIndex, lessor: Lessor, random: Random): Promise<Recovered> {
  const identity = engine.get(metaKey('store'));
  const facts = identity ? readMeta('store', identity) : { format, cluster: newId(random), member: newId(random) };
  if (facts['format'] !== format) {
    throw new Error(`the store is of format ${String(facts['format'])}; this version reads ${format}`);
  }
  if (identity === undefined) {
    engine.applyBatch([metaOp('store', facts)]);
    await engine.durable();
  }
  const compact = engine.get(metaKey('compact'));
  const compactRevision = compact === undefined ? 0 : Number(readMeta('compact', compact)['revision']);

  engine.scan(leasesStart, leasesEnd, (key, value) => {
    const { id, ttl } = readLease(key, value);
    lessor.grant(id, ttl);
  });

  let revision = Math.max(1, compactRevision);
  const slice = new Slice();
  for (let from: Uint8Array | undefined = recordKey(0, 0); from !== undefined; await slice.turn()) {
    let n = 0;
    let stopped: Uint8Array | undefined;
    engine.scan(from, recordsEnd, (key, record) => {
      if ((n++ & (stride - 1)) === stride - 1 && slice.spent) {
        stopped = Buffer.from(key);
        return false;
      }
      const h = readHead(key, record);
      const older = index.head(h.key);
      const name = older?.key ?? h.key;
      index.restore(
        new Version(name, h.revision, h.sub, h.createRevision, h.version, h.lease, h.size, older, undefined),
      );
      revision = Math.max(revision, h.revision);
      return true;
    });
    from = stopped;
  }
  index.order();
  index.walk('', keysEnd, (head) => {
    if (head.lease !== undefined && head.version !== 0) lessor.attach(head.lease, head.key);
  });
  return { clusterId: String(facts['cluster']), memberId: String(facts['member']), revision, compactRevision };
}
