/** What a writer journalled, and whether a store that was opened again keeps to it. */
import type { EmbeddedStore } from '../../src/etcd/embedded-store.ts';

interface Acknowledged {
  readonly revision: number;
  /** Undefined: deleted. Otherwise the writer's count and the length, which make the value. */
  readonly value: Buffer | undefined;
}

export interface Journal {
  /** The last acknowledgement of each key. */
  readonly keys: Map<string, Acknowledged>;
  /** The greatest revision that was acknowledged or seen by the watch. */
  revision: number;
  acks: number;
}

export function emptyJournal(): Journal {
  return { keys: new Map(), revision: 0, acks: 0 };
}

/** Takes one line of the writer; a line that a kill has cut short must not be given. */
export function note(journal: Journal, line: string): void {
  const [kind, first, second, third] = line.split(' ');
  if (kind === 'saw') journal.revision = Math.max(journal.revision, Number(first));
  if (kind !== 'ack' || first === undefined || third === undefined) return;
  const revision = Number(second);
  const [n, length] = third.split(':');
  const value = third === '-' ? undefined : Buffer.alloc(Number(length), `${first}@${n};`);
  journal.keys.set(first, { revision, value });
  journal.revision = Math.max(journal.revision, revision);
  journal.acks++;
}

/** What the reopened store has lost or changed; empty when it has kept every promise. */
export async function violations(journal: Journal, store: EmbeddedStore): Promise<string[]> {
  const wrong: string[] = [];
  const { kvs, revision } = await store.range({ key: '\0', end: '\0' });
  if (revision < journal.revision) wrong.push(`revision ${revision}, but ${journal.revision} had been shown`);
  const found = new Map(kvs.map((kv) => [kv.key, kv]));
  for (const [key, promised] of journal.keys) {
    const kv = found.get(key);
    // A later write that was not acknowledged may have survived as well.
    if (kv !== undefined && kv.modRevision > promised.revision) continue;
    if (promised.value === undefined) {
      if (kv !== undefined) wrong.push(`${key} is back after its deletion at ${promised.revision}`);
      continue;
    }
    if (kv === undefined) {
      // Deleted by a write that was not acknowledged: then a later revision has happened, and the history shows it.
      const event = await deletionAfter(store, key, promised.revision);
      if (!event) wrong.push(`${key} of revision ${promised.revision} is gone`);
    } else if (kv.modRevision < promised.revision) {
      wrong.push(`${key} is at ${kv.modRevision}, acknowledged was ${promised.revision}`);
    } else if (!kv.value.equals(promised.value)) {
      wrong.push(`${key} has another value`);
    }
  }
  return wrong;
}

/** True when `key` was deleted after `revision`, as far as the retained history can tell. */
async function deletionAfter(store: EmbeddedStore, key: string, revision: number): Promise<boolean> {
  const { compactRevision, revision: newest } = store.mvcc;
  if (compactRevision > revision + 1) return true;
  if (newest <= revision) return false;
  return new Promise((resolve, reject) => {
    let deleted = false;
    const told = (to: number): void => {
      if (to < newest) return;
      watch.close();
      resolve(deleted);
    };
    const watch = store.watch(
      { key, fromRevision: revision + 1 },
      {
        events: (events, to) => {
          deleted ||= events.some((e) => e.type === 'delete');
          told(to);
        },
        progress: told,
        closed: reject,
      },
    );
  });
}
