/** Holding what is cached of a prefix against the store: which key in which version, without the values. */
import { Slice } from '../../base/yield.ts';
import type { KeyValueStore } from '../../etcd/store.ts';
import { prefixEnd } from './keys.ts';

const pageSize = 1000;

interface Cached {
  readonly key: string;
  readonly revision: number;
}

/** The first key that the two do not have in the same version; undefined: they are the same. `cached`: by key, as of `revision`. */
export async function firstDifference(
  store: KeyValueStore,
  prefix: string,
  revision: number,
  cached: Iterator<Cached>,
): Promise<string | undefined> {
  const end = prefixEnd(prefix);
  const slice = new Slice();
  const next = (): Cached | undefined => {
    const step = cached.next();
    return step.done === true ? undefined : step.value;
  };
  for (let from = prefix; ;) {
    const page = await store.range({ key: from, end, limit: pageSize, revision, keysOnly: true, uncounted: true });
    for (const { key, modRevision } of page.kvs) {
      const object = next();
      if (object?.key !== key || object.revision !== modRevision) return key;
      if (slice.spent) await slice.turn();
    }
    if (!page.more || page.kvs.length === 0) return next()?.key;
    from = `${page.kvs[page.kvs.length - 1]!.key}\0`;
  }
}
