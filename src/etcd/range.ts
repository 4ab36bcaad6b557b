/** Which versions a range request asks for: filtering, ordering and limiting as etcd does, without the values. */
import type { Slice } from '../base/yield.ts';
import type { KeyIndex, Version } from './key-index.ts';
import type { RangeQuery } from './txn.ts';

export interface Picked {
  /** In the order of the answer, except that an order by value is left to whoever has the values. */
  versions: Version[];
  /** Keys in the range, regardless of limit and filters. */
  count: number;
  more: boolean;
  /** Where to go on; undefined when the range is done. */
  next: string | undefined;
}

/** Keys looked at between two looks at the time. */
const stride = 512;

/**
 * Walks the range at `revision`. With a slice it stops when that is used up, to be called again with its own result; the
 * index may change in between, the state at a pinned revision does not.
 */
export function pickVersions(index: KeyIndex, query: RangeQuery, revision: number, slice?: Slice, so?: Picked): Picked {
  const picked: Picked = so ?? { versions: [], count: 0, more: false, next: undefined };
  const order = query.order ?? 'none';
  const target = query.target ?? 'key';
  const sorted = order !== 'none' && !(target === 'key' && order === 'ascend');
  const filtered =
    !!query.minModRevision || !!query.maxModRevision || !!query.minCreateRevision || !!query.maxCreateRevision;
  const plain = !sorted && !filtered;
  const limit = query.limit || Infinity;
  const uncounted = query.uncounted === true;
  let walked = 0;
  picked.next = index.walk(picked.next ?? query.key, query.end ?? `${query.key}\0`, (head) => {
    if (slice && ++walked % stride === 0 && slice.spent) return false;
    let v: Version | undefined = head;
    while (v !== undefined && v.modRevision > revision) v = v.older;
    if (v === undefined || v.version === 0) return true;
    picked.count++;
    if (query.countOnly) return true;
    if (plain) {
      if (picked.versions.length < limit) picked.versions.push(v);
      else {
        picked.more = true;
        if (uncounted) return false;
      }
    } else if (!filtered || passes(v, query)) {
      picked.versions.push(v);
    }
    return true;
  });
  if (uncounted && picked.more) picked.next = undefined;
  if (picked.next === undefined && !plain) {
    if (sorted && target !== 'value') sortBy(picked.versions, target, order === 'descend');
    if (!(sorted && target === 'value') && picked.versions.length > limit) {
      picked.versions.length = limit;
      picked.more = true;
    }
  }
  return picked;
}

function passes(v: Version, q: RangeQuery): boolean {
  return !(
    (q.minModRevision && v.modRevision < q.minModRevision) ||
    (q.maxModRevision && v.modRevision > q.maxModRevision) ||
    (q.minCreateRevision && v.createRevision < q.minCreateRevision) ||
    (q.maxCreateRevision && v.createRevision > q.maxCreateRevision)
  );
}

function sortBy(versions: Version[], target: 'key' | 'version' | 'create' | 'mod', descend: boolean): void {
  if (target === 'key') {
    if (descend) versions.reverse();
    return;
  }
  const of = (v: Version): number =>
    target === 'version' ? v.version : target === 'create' ? v.createRevision : v.modRevision;
  versions.sort((a, b) => (descend ? of(b) - of(a) : of(a) - of(b)));
}
