/**
 * `VersionedStore`: the store as one version of a custom resource sees it. Values come out in that version whatever version
 * they were written in, and go in in the storage version. Where the versions differ in more than their name, the conversion
 * webhook is asked, for many objects at once; watches then lag behind the store, as those of a remote one do.
 */
import { parseTrustedJson, stringifyJson } from '../../api/codec/json.ts';
import type { KubeObject } from '../../api/object.ts';
import type { Activity } from '../../base/activity.ts';
import type {
  CommitRequest,
  CommitResult,
  KeyValue,
  KeyValueStore,
  RangeRequest,
  RangeResult,
  StoreEvent,
  StoreWatch,
  StoreWatchRequest,
  StoreWatchSink,
} from '../../etcd/store.ts';
import { storedCustomMetadata } from '../storage/codec.ts';
import { DelegatingStore } from '../storage/delegating-store.ts';
import type { ObjectConversion } from './webhook-conversion.ts';

export interface VersionedStoreOptions {
  readonly store: KeyValueStore;
  /** What is read. */
  readonly apiVersion: string;
  /** What is written. */
  readonly storedApiVersion: string;
  readonly activity: Activity;
}

/** Objects in one call of the webhook. */
const batchSize = 500;
/** Events that may wait for the webhook before the watch is given up. */
const maxPending = 20_000;

const typeMark = Buffer.from('{"apiVersion":"', 'latin1');
const quote = 0x22;

/** The version a value is in; undefined where it does not begin with it. */
function versionIn(value: Buffer): string | undefined {
  const n = typeMark.length;
  if (value.length <= n || value.compare(typeMark, 0, n, 0, n) !== 0) return undefined;
  const end = value.indexOf(quote, n);
  return end < 0 ? undefined : value.toString('latin1', n, end);
}

function parsed(value: Buffer): KubeObject {
  return parseTrustedJson(value) as KubeObject;
}

/** As custom resources are stored: the type first, whatever the order in which the webhook answers. */
function encoded(object: KubeObject): Buffer {
  const { apiVersion, kind, metadata, ...rest } = object;
  return Buffer.from(
    `${stringifyJson({ apiVersion, kind, metadata: storedCustomMetadata(metadata), ...rest })}\n`,
    'utf8',
  );
}

/** The same bytes under another version. */
function renamed(value: Buffer, from: string | undefined, to: string): Buffer {
  if (from === undefined) return encoded({ ...parsed(value), apiVersion: to });
  const rest = value.subarray(typeMark.length + Buffer.byteLength(from, 'latin1'));
  return Buffer.concat([typeMark, Buffer.from(to, 'latin1'), rest]);
}

interface Batch {
  readonly events: readonly StoreEvent[];
  readonly revision: number;
}

export class VersionedStore extends DelegatingStore {
  readonly #o: VersionedStoreOptions;
  /** Keys whose value was last seen in another version than the storage version. */
  readonly #stale = new Set<string>();
  /** undefined: the versions differ in their name alone. */
  conversion: ObjectConversion | undefined;

  constructor(options: VersionedStoreOptions, conversion: ObjectConversion | undefined) {
    super(options.store);
    this.#o = options;
    this.conversion = conversion;
  }

  stale(key: string): Promise<boolean> {
    if (this.#stale.has(key)) return Promise.resolve(true);
    return this.inner.stale?.(key) ?? Promise.resolve(false);
  }

  /** The value in this version where that can be told at once. */
  #here(kv: KeyValue): KeyValue | undefined {
    if (kv.value.length === 0) return kv;
    const { apiVersion, storedApiVersion } = this.#o;
    const { conversion } = this;
    const version = versionIn(kv.value);
    if (version === storedApiVersion) this.#stale.delete(kv.key);
    else this.#stale.add(kv.key);
    if (version === apiVersion) return kv;
    return conversion === undefined ? { ...kv, value: renamed(kv.value, version, apiVersion) } : undefined;
  }

  /** All of them in this version, in their order. */
  async #all(kvs: readonly KeyValue[]): Promise<readonly KeyValue[]> {
    const { apiVersion } = this.#o;
    const { conversion } = this;
    const out = kvs.map((kv) => this.#here(kv));
    const missing = out.flatMap((kv, i) => (kv === undefined ? [i] : []));
    for (let from = 0; from < missing.length; from += batchSize) {
      const part = missing.slice(from, from + batchSize);
      const converted = await conversion!.convert(
        part.map((i) => parsed(kvs[i]!.value)),
        apiVersion,
      );
      part.forEach((i, n) => (out[i] = { ...kvs[i]!, value: encoded(converted[n]!) }));
    }
    return out as readonly KeyValue[];
  }

  override async range(request: RangeRequest): Promise<RangeResult> {
    const result = await this.inner.range(request);
    if (request.keysOnly === true || request.countOnly === true || result.kvs.length === 0) return result;
    return { ...result, kvs: await this.#all(result.kvs) };
  }

  override async commit(request: CommitRequest): Promise<CommitResult> {
    const { storedApiVersion } = this.#o;
    const { conversion } = this;
    let { value } = request;
    if (value !== undefined) {
      const version = versionIn(value);
      if (version !== storedApiVersion) {
        if (conversion === undefined) value = renamed(value, version, storedApiVersion);
        else value = encoded((await conversion.convert([parsed(value)], storedApiVersion))[0]!);
      }
    }
    const result = await this.inner.commit({ ...request, value });
    if (result.ok || result.current === undefined) return result;
    const [current] = await this.#all([result.current]);
    return { ...result, current };
  }

  override watch(request: StoreWatchRequest, sink: StoreWatchSink): StoreWatch {
    const batches: Batch[] = [];
    let pending = 0;
    let running = false;
    let closed = false;
    const fail = (error: Error): void => {
      if (closed) return;
      closed = true;
      inner.close();
      sink.closed(error);
    };
    const run = async (): Promise<void> => {
      while (!closed && batches.length > 0) {
        // As much at once as one call may hold.
        const taken: StoreEvent[] = [];
        let revision = 0;
        while (batches.length > 0 && (taken.length === 0 || taken.length + batches[0]!.events.length <= batchSize)) {
          const batch = batches.shift()!;
          taken.push(...batch.events);
          revision = batch.revision;
        }
        const kvs = await this.#all(taken.map((e) => e.kv));
        pending -= taken.length;
        if (closed) return;
        if (taken.length === 0) sink.progress(revision);
        else
          sink.events(
            taken.map((e, i) => ({ ...e, kv: kvs[i]!, previous: undefined })),
            revision,
          );
      }
    };
    const later = (batch: Batch): void => {
      batches.push(batch);
      pending += batch.events.length;
      if (pending > maxPending) {
        fail(new Error('the conversion webhook does not keep up with the changes'));
        return;
      }
      if (running) return;
      running = true;
      const done = this.#o.activity.begin();
      run()
        .catch((error: unknown) => fail(error as Error))
        .finally(() => {
          running = false;
          done();
        });
    };
    const inner = this.inner.watch(request, {
      events: (events, revision) => {
        if (closed) return;
        for (const e of events) if (e.type === 'delete') this.#stale.delete(e.kv.key);
        if (!running) {
          const kvs = events.map((e) => this.#here(e.kv));
          if (!kvs.includes(undefined)) {
            sink.events(
              events.map((e, i) => (e.kv === kvs[i] ? e : { ...e, kv: kvs[i]!, previous: undefined })),
              revision,
            );
            return;
          }
        }
        later({ events, revision });
      },
      progress: (revision) => {
        if (closed) return;
        if (running) later({ events: [], revision });
        else sink.progress(revision);
      },
      closed: (error) => {
        if (closed) return;
        closed = true;
        sink.closed(error);
      },
    });
    return {
      close() {
        closed = true;
        inner.close();
      },
    };
  }

  /** The store behind it is somebody else's. */
  override close(): Promise<void> {
    return Promise.resolve();
  }
}
