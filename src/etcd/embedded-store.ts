/** The store inside this process: `Mvcc` over an engine, behind the `KeyValueStore` interface. The default of a cluster. */
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import { SystemRandom } from '../base/random.ts';
import type { Random } from '../base/random.ts';
import { macrotask } from '../base/yield.ts';
import type { Engine } from './engine.ts';
import { keysEnd } from './key-index.ts';
import { MemoryEngine } from './memory-engine.ts';
import { Mvcc } from './mvcc.ts';
import type {
  CommitRequest,
  CommitResult,
  KeyValueStore,
  RangeRequest,
  RangeResult,
  StoreWatch,
  StoreWatchRequest,
  StoreWatchSink,
} from './store.ts';

export interface EmbeddedStoreOptions {
  /** `lmdb` needs `dir`. */
  readonly engine: 'memory' | 'lmdb' | Engine;
  readonly dir?: string;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly random?: Random;
  /** See `MvccOptions`. */
  readonly historyAgeMs?: number;
  readonly historyBytes?: number;
  readonly cacheBytes?: number;
}

export class EmbeddedStore implements KeyValueStore {
  /** The whole data model, for the etcd server. */
  readonly mvcc: Mvcc;

  constructor(mvcc: Mvcc) {
    this.mvcc = mvcc;
  }

  range(request: RangeRequest): Promise<RangeResult> {
    return this.mvcc.range({ ...request, end: openEnd(request.end) });
  }

  commit(request: CommitRequest): Promise<CommitResult> {
    return this.mvcc.commit(request);
  }

  watch(request: StoreWatchRequest, sink: StoreWatchSink): StoreWatch {
    return this.mvcc.watch({ ...request, end: openEnd(request.end) }, sink);
  }

  async currentRevision(): Promise<number> {
    return this.mvcc.progress();
  }

  async grantLease(ttlSeconds: number): Promise<string> {
    return (await this.mvcc.grantLease(ttlSeconds)).id;
  }

  revokeLease(id: string): Promise<void> {
    return this.mvcc.revokeLease(id);
  }

  async keepAliveLease(id: string): Promise<number> {
    return this.mvcc.keepAliveLease(id);
  }

  compact(revision: number): Promise<void> {
    return this.mvcc.compact(revision);
  }

  async size(): Promise<number> {
    return this.mvcc.size();
  }

  close(): Promise<void> {
    return this.mvcc.close();
  }
}

/** etcd's `\0` as the end of a range means: open above. */
function openEnd(end: string | undefined): string | undefined {
  return end === '\0' ? keysEnd : end;
}

/** Opens the embedded store. Rejects with `DataDirInUseError` when another store holds `dir`. */
export async function openEmbeddedStore(options: EmbeddedStoreOptions): Promise<EmbeddedStore> {
  const random = options.random ?? new SystemRandom();
  let engine: Engine;
  let onDisk = false;
  if (options.engine === 'memory') engine = new MemoryEngine();
  else if (options.engine === 'lmdb') {
    if (options.dir === undefined) throw new TypeError('the lmdb engine needs a data directory');
    // Loaded here: a cluster in memory does not pay for the native library.
    const { openLoggedEngine } = await import('./logged-engine.ts');
    engine = await openLoggedEngine(options.dir, { random, logger: options.logger });
    onDisk = true;
  } else engine = options.engine;
  try {
    const mvcc = await Mvcc.open({
      engine,
      clock: options.clock,
      random,
      logger: options.logger,
      historyAgeMs: options.historyAgeMs,
      historyBytes: options.historyBytes,
      cacheBytes: options.cacheBytes,
      // A flush to disk costs more than a turn of the event loop: everything this turn brings shares it.
      gather: onDisk ? macrotask : undefined,
    });
    return new EmbeddedStore(mvcc);
  } catch (error) {
    await engine.close();
    throw error;
  }
}
