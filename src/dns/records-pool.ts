/** The cluster's records, shared by the stanzas that want the same and kept from one Corefile to the next. */
import type { ClusterRecordsOptions } from './cluster-records.ts';
import { ClusterRecords, recordsKey } from './cluster-records.ts';

type Wanted = Pick<ClusterRecordsOptions, 'labels' | 'namespaceLabels' | 'pods' | 'endpoints'>;

export class RecordsPool {
  readonly #o: Omit<ClusterRecordsOptions, keyof Wanted>;
  readonly #all = new Map<string, { readonly records: ClusterRecords; users: number }>();

  constructor(options: Omit<ClusterRecordsOptions, keyof Wanted>) {
    this.#o = options;
  }

  /** Begins to follow what nobody has followed yet. */
  take(wanted: Wanted): ClusterRecords {
    const key = recordsKey(wanted);
    let entry = this.#all.get(key);
    if (entry === undefined) {
      entry = { records: new ClusterRecords({ ...this.#o, ...wanted }), users: 0 };
      this.#all.set(key, entry);
      entry.records.start();
    }
    entry.users++;
    return entry.records;
  }

  async give(key: string): Promise<void> {
    const entry = this.#all.get(key);
    if (entry === undefined || --entry.users > 0) return;
    this.#all.delete(key);
    await entry.records.stop();
  }
}
