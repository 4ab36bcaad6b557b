/**
 * `VersionedStore`: the store as one version of a custom resource sees it. Values come out in that version whatever version
 * they were written in, and go in in the storage version. What comes out has the defaults of the version that it lies in, none
 * of the one that is asked for, and members that both know; what goes in has those that the storage version knows. Where the versions differ in more than their name, the conversion
 * webhook is asked, for many objects at once; watches then lag behind the store, as those of a remote one do.
 */
import { decodeCbor, encodeCbor, isCbor } from '../../api/codec/cbor.ts';
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
import { DecodeError } from '../../api/schema/decode.ts';
import { StatusError } from '../../api/status.ts';
import { storedCustomMetadata } from '../storage/codec.ts';
import { DelegatingStore } from '../storage/delegating-store.ts';
import type { TypeSupport } from '../registry/type-support.ts';
import type { ObjectConversion } from './webhook-conversion.ts';

export interface VersionedStoreOptions {
  readonly store: KeyValueStore;
  /** What is read. */
  readonly apiVersion: string;
  /** What is written. */
  readonly storedApiVersion: string;
  /** How each of them reads, by apiVersion. */
  readonly versions: ReadonlyMap<string, TypeSupport>;
  /** CBOR is written (CBORServingAndStorage); both are read, whatever is written. */
  readonly cbor: boolean;
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
  return (isCbor(value) ? decodeCbor(value) : parseTrustedJson(value)) as KubeObject;
}

/** As custom resources are stored: the type first, whatever the order in which the webhook answers. */
function encoded(object: KubeObject): Buffer {
  const { apiVersion, kind, metadata, ...rest } = object;
  return Buffer.from(
    `${stringifyJson({ apiVersion, kind, metadata: storedCustomMetadata(metadata), ...rest })}\n`,
    'utf8',
  );
}

/** What goes into the store. */
function inStore(object: KubeObject, cbor: boolean): Buffer {
  const value = encoded(object);
  return cbor ? encodeCbor(parsed(value)) : value;
}

/** The same bytes under another version. */
function renamed(value: Buffer, from: string, to: string): Buffer {
  if (from === to) return value;
  const rest = value.subarray(typeMark.length + Buffer.byteLength(from, 'latin1'));
  return Buffer.concat([typeMark, Buffer.from(to, 'latin1'), rest]);
}

function lenient(object: KubeObject, read: ((object: KubeObject) => KubeObject) | undefined): KubeObject {
  try {
    return read?.(object) ?? object;
  } catch (error) {
    if (error instanceof DecodeError) return object;
    throw error;
  }
}

/** What lies in the store in a version, as its schema of today has it; what it cannot read stays as it is. */
export function storedIn(types: TypeSupport, object: KubeObject): KubeObject {
  return lenient(object, types.stored?.bind(types));
}

/** What was converted to a version, without what it does not know and without its defaults. */
export function convertedTo(types: TypeSupport, object: KubeObject): KubeObject {
  return lenient({ ...object, apiVersion: types.apiVersion }, types.converted?.bind(types));
}

/** It lies in a version that the definition has given up. */
function unknownVersion(apiVersion: string): StatusError {
  return new StatusError(500, '', `request to convert CR from an invalid group/version: ${apiVersion}`);
}

interface Batch {
  readonly events: readonly StoreEvent[];
  readonly revision: number;
}

export class VersionedStore extends DelegatingStore {
  readonly #o: VersionedStoreOptions;
  /** Keys whose value was last seen in another version than the storage version. */
  readonly #stale = new Set<string>();
  readonly #finished = new WeakSet<Buffer>();
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
    const { apiVersion, storedApiVersion, versions } = this.#o;
    const version = versionIn(kv.value);
    if (version === apiVersion) {
      // Who reads it completes it; what he wrote himself he knows already.
      this.#mark(kv.key, version !== storedApiVersion || this.#o.cbor);
      return kv;
    }
    const object = parsed(kv.value);
    const from = version ?? object.apiVersion ?? '';
    const types = versions.get(from);
    if (types === undefined) throw unknownVersion(from);
    // An update that changes nothing writes what would come to lie otherwise than it does.
    const isOfCbor = isCbor(kv.value);
    const otherForm = (isOfCbor ? from : version) !== storedApiVersion || isOfCbor !== this.#o.cbor;
    if (this.conversion !== undefined && from !== apiVersion) {
      this.#mark(kv.key, otherForm);
      return undefined;
    }
    const read = storedIn(types, object);
    const value = encoded(from === apiVersion ? read : convertedTo(versions.get(apiVersion)!, read));
    const same =
      version === undefined
        ? !otherForm && inStore(read, true).equals(kv.value)
        : value.equals(renamed(kv.value, version, apiVersion));
    this.#mark(kv.key, otherForm || !same);
    return this.#with(kv, value);
  }

  #with(kv: KeyValue, value: Buffer): KeyValue {
    this.#finished.add(value);
    return { ...kv, value };
  }

  /** It was made here, of another version: it has the defaults of that one, and gets none of this one. */
  finished(value: Buffer): boolean {
    return this.#finished.has(value);
  }

  #mark(key: string, stale: boolean): void {
    if (stale) this.#stale.add(key);
    else this.#stale.delete(key);
  }

  /** All of them in this version, in their order. */
  async #all(kvs: readonly KeyValue[]): Promise<readonly KeyValue[]> {
    const { apiVersion, versions } = this.#o;
    const { conversion } = this;
    const types = versions.get(apiVersion)!;
    const out = kvs.map((kv) => this.#here(kv));
    const missing = out.flatMap((kv, i) => (kv === undefined ? [i] : []));
    for (let from = 0; from < missing.length; from += batchSize) {
      const part = missing.slice(from, from + batchSize);
      const converted = await conversion!.convert(
        part.map((i) => {
          const object = parsed(kvs[i]!.value);
          return storedIn(versions.get(object.apiVersion ?? '')!, object);
        }),
        apiVersion,
      );
      part.forEach((i, n) => (out[i] = this.#with(kvs[i]!, encoded(convertedTo(types, converted[n]!)))));
    }
    return out as readonly KeyValue[];
  }

  override async range(request: RangeRequest): Promise<RangeResult> {
    const result = await this.inner.range(request);
    if (request.keysOnly === true || request.countOnly === true || result.kvs.length === 0) return result;
    return { ...result, kvs: await this.#all(result.kvs) };
  }

  override async commit(request: CommitRequest): Promise<CommitResult> {
    const { storedApiVersion, versions, cbor } = this.#o;
    const { conversion } = this;
    let { value } = request;
    if (value !== undefined && versionIn(value) !== storedApiVersion) {
      const object = parsed(value);
      const converted = conversion === undefined ? object : (await conversion.convert([object], storedApiVersion))[0]!;
      const stored = convertedTo(versions.get(storedApiVersion)!, converted);
      value = inStore(stored, cbor);
    } else if (cbor && value !== undefined) value = encodeCbor(parsed(value));
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
          let kvs: (KeyValue | undefined)[];
          try {
            kvs = events.map((e) => this.#here(e.kv));
          } catch (error) {
            fail(error as Error);
            return;
          }
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
