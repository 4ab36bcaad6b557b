/**
 * Node ports: a bitmap of the ones taken, in one record of the store that every API server changes by compare and commit
 * (upstream's RangeAllocation at `ranges/servicenodeports`). Operations that wait at the same time share one commit.
 */
import type { Random } from '../../base/random.ts';
import type { KeyValue, KeyValueStore } from '../../etcd/store.ts';
import type { AllocatorMetrics } from '../metrics/allocator-metrics.ts';
import type { StorageMediaType } from '../storage/media-type.ts';
import { AllocationError } from './cluster-ip.ts';
import { readRangeAllocation, writeRangeAllocation } from './range-allocation.ts';

/** What an operation may do with the ports; nothing is kept when it throws. */
export interface PortOperation {
  allocate(port: number): void;
  allocateNext(): number;
  release(port: number): void;
}

interface Waiting {
  readonly run: (ports: PortOperation) => unknown;
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

const maxAttempts = 32;

export class NodePortAllocator {
  readonly #store: KeyValueStore;
  readonly #random: Random;
  readonly #key: string;
  readonly #first: number;
  readonly #size: number;
  /** Ports below this offset are left for those who ask for a certain one (KEP-3668). */
  readonly #reserved: number;
  readonly #mediaType: StorageMediaType;
  metrics: AllocatorMetrics | undefined = undefined;
  #queue: Waiting[] = [];
  #running = false;
  /** What the record was when last seen. */
  #known: { readonly revision: number; readonly taken: Uint8Array } | undefined;

  constructor(options: {
    readonly store: KeyValueStore;
    readonly random: Random;
    /** `/registry` */
    readonly root: string;
    /** `--service-node-port-range`; default 30000-32767. */
    readonly first?: number;
    readonly last?: number;
    readonly mediaType?: StorageMediaType | undefined;
  }) {
    this.#mediaType = options.mediaType ?? 'application/json';
    this.#store = options.store;
    this.#random = options.random;
    this.#key = `${options.root}/ranges/servicenodeports`;
    this.#first = options.first ?? 30000;
    this.#size = (options.last ?? 32767) - this.#first + 1;
    const offset = Math.floor(this.#size / 32);
    this.#reserved = this.#size < 16 ? 0 : Math.min(Math.max(offset, 16), 128);
  }

  get #rangeText(): string {
    return `${this.#first}-${this.#first + this.#size - 1}`;
  }

  /** Runs an operation and commits what it did; with `dryRun` nothing is kept. Throws what the operation throws. */
  run<T>(operation: (ports: PortOperation) => T, dryRun = false): Promise<T> {
    if (dryRun) return this.#dryRun(operation);
    return new Promise<T>((resolve, reject) => {
      this.#queue.push({ run: operation, resolve: resolve as (value: unknown) => void, reject });
      if (this.#running) return;
      this.#running = true;
      void this.#drain();
    });
  }

  /** As last seen. */
  use(): { readonly allocated: number; readonly available: number } | undefined {
    if (this.#known === undefined) return undefined;
    const allocated = this.#known.taken.reduce((n, t) => n + t, 0);
    return { allocated, available: this.#size - allocated };
  }

  /** The ports that are taken, as the store has them. */
  async taken(): Promise<number[]> {
    const { taken } = await this.#load();
    const ports: number[] = [];
    for (let i = 0; i < taken.length; i++) if (taken[i] === 1) ports.push(this.#first + i);
    return ports;
  }

  async #dryRun<T>(operation: (ports: PortOperation) => T): Promise<T> {
    const { taken } = this.#known ?? (await this.#load());
    return this.#apply(Uint8Array.from(taken), operation);
  }

  async #drain(): Promise<void> {
    while (this.#queue.length > 0) {
      const batch = this.#queue;
      this.#queue = [];
      try {
        await this.#commit(batch);
      } catch (error) {
        for (const waiting of batch) waiting.reject(error);
      }
    }
    this.#running = false;
  }

  async #load(): Promise<{ revision: number; taken: Uint8Array }> {
    const { kvs } = await this.#store.range({ key: this.#key });
    const known = this.#known;
    return known !== undefined && known.revision === (kvs[0]?.modRevision ?? 0) ? known : this.#remember(kvs[0]);
  }

  #remember(kv: KeyValue | undefined): { revision: number; taken: Uint8Array } {
    const taken = new Uint8Array(this.#size);
    if (kv !== undefined) {
      const bytes = readRangeAllocation(kv.value);
      for (let i = 0; i < this.#size; i++) {
        const byte = bytes[bytes.length - 1 - (i >> 3)];
        if (byte !== undefined && ((byte >> (i & 7)) & 1) === 1) taken[i] = 1;
      }
    }
    this.#known = { revision: kv?.modRevision ?? 0, taken };
    return this.#known;
  }

  #write(taken: Uint8Array): Buffer {
    const bytes = Buffer.alloc((this.#size + 7) >> 3);
    for (let i = 0; i < this.#size; i++) if (taken[i] === 1) bytes[bytes.length - 1 - (i >> 3)]! |= 1 << (i & 7);
    let start = 0;
    while (start < bytes.length && bytes[start] === 0) start++;
    return writeRangeAllocation(this.#rangeText, bytes.subarray(start), this.#mediaType);
  }

  async #commit(batch: readonly Waiting[]): Promise<void> {
    for (let attempt = 0; attempt < maxAttempts; attempt++) {
      const { revision, taken } = this.#known ?? (await this.#load());
      const next = Uint8Array.from(taken);
      const done: { waiting: Waiting; value: unknown }[] = [];
      const failed: { waiting: Waiting; error: unknown }[] = [];
      let unknown = false;
      const notTaken = (): void => {
        unknown = true;
      };
      for (const waiting of batch) {
        const before = Uint8Array.from(next);
        try {
          done.push({ waiting, value: this.#apply(next, waiting.run, notTaken) });
        } catch (error) {
          next.set(before);
          failed.push({ waiting, error });
        }
      }
      if (!next.every((v, i) => v === taken[i])) {
        const result = await this.#store.commit({
          key: this.#key,
          expectModRevision: revision,
          value: this.#write(next),
        });
        if (!result.ok) {
          this.#remember(result.current);
          continue;
        }
        this.#known = { revision: result.revision, taken: next };
      } else if ((failed.length > 0 || unknown) && attempt === 0) {
        // Refused on what we remember, or another server may have taken what is given back: look again before saying so.
        await this.#load();
        continue;
      }
      for (const { waiting, value } of done) waiting.resolve(value);
      for (const { waiting, error } of failed) waiting.reject(error);
      return;
    }
    throw new Error('node port allocation: too many conflicts');
  }

  /** `notTaken`: told of a port that is given back and was not taken. */
  #apply<T>(taken: Uint8Array, operation: (ports: PortOperation) => T, notTaken?: () => void): T {
    const first = this.#first;
    const find = (from: number, to: number): number | undefined => {
      const count = to - from;
      if (count <= 0) return undefined;
      const start = this.#random.int(count);
      for (let i = 0; i < count; i++) {
        const at = from + ((start + i) % count);
        if (taken[at] === 0) return at;
      }
      return undefined;
    };
    return operation({
      allocate: (port) => {
        const at = port - first;
        if (at < 0 || at >= this.#size)
          throw new AllocationError(
            `provided port is not in the valid range. The range of valid ports is ${this.#rangeText}`,
          );
        this.metrics?.port('static', taken[at] !== 1);
        if (taken[at] === 1) throw new AllocationError('provided port is already allocated');
        taken[at] = 1;
      },
      allocateNext: () => {
        const at = find(this.#reserved, this.#size) ?? find(0, this.#reserved);
        this.metrics?.port('dynamic', at !== undefined);
        if (at === undefined) throw new AllocationError('range is full', true);
        taken[at] = 1;
        return first + at;
      },
      release: (port) => {
        const at = port - first;
        if (at < 0 || at >= this.#size) return;
        if (taken[at] === 0) notTaken?.();
        taken[at] = 0;
      },
    });
  }
}
