/**
 * Watch events on the wire: one JSON line each (or one protobuf frame), a batch written as one buffer. The line of an
 * event is encoded once and shared by all watchers of the same form, in a cache that is bounded by bytes.
 */
import { stringifyJson } from '../../api/codec/json.ts';
import { apiVersionOf } from '../../api/object.ts';
import type { Scope } from '../filters/scope.ts';
import type { Committed, CommittedEvent, KubeObjectLike, WatchSource } from '../request.ts';
import type { Encoder } from './encoder.ts';
import { partialMetadata } from './metadata.ts';
import { podAddresses } from './pod-addresses.ts';
import type { Negotiated } from './negotiate.ts';
import type { WireWatch } from './wire.ts';

const cacheBytes = 2 * 1024 * 1024;

interface Shared {
  readonly line: Buffer;
  readonly type: CommittedEvent['type'];
  /** Format and version. */
  readonly form: string;
  /** The same event in another form. */
  readonly other: Shared | undefined;
}

/** Counts what goes out over watches. */
interface Sizes {
  observe(bytes: number): void;
}

export interface WatchObserver {
  watchEvents(scope: Scope): { inc(by: number): void };
  /** Where the sizes of its events go. */
  watchSizes(scope: Scope): Sizes;
  /** The initial events of a watch have been sent. */
  watchListed(scope: Scope): void;
}

interface Batch {
  readonly lines: readonly Buffer[];
  readonly bytes: Buffer;
}

/** A longer one is made again for each watcher rather than kept. */
const sharedBatchBytes = 256 * 1024;

/** The object of a BOOKMARK event: nothing but its type and resource version. */
export function bookmarkObject(scope: Scope, event: CommittedEvent): KubeObjectLike {
  const resource = scope.resource!;
  const mark = event.bookmark!;
  const metadata: Record<string, unknown> = { resourceVersion: mark.resourceVersion };
  if (mark.initialEventsEnd) metadata['annotations'] = { 'k8s.io/initial-events-end': 'true' };
  return { kind: resource.kind, apiVersion: apiVersionOf(resource), metadata };
}

export class WatchEncoder {
  readonly #encoder: Encoder;
  /** Told of what is sent. */
  observer: WatchObserver | undefined = undefined;
  /** Lines of the newest events, oldest first. */
  readonly #shared = new Map<Committed, Shared>();
  #sharedBytes = 0;
  /** The last batch of several lines: those who watch the same are mostly sent the same. */
  #batch: Batch = { lines: [], bytes: Buffer.alloc(0) };

  constructor(encoder: Encoder) {
    this.#encoder = encoder;
  }

  /**
   * A function that makes the object of an event in the form asked for. Tables carry their columns in the first only. `passing`:
   * the objects of initial events are gone once they are encoded, and need not be kept.
   */
  objects(scope: Scope, output: Negotiated, passing = false): (event: CommittedEvent) => KubeObjectLike {
    const codec = this.#encoder.codec;
    const resource = scope.resource!;
    const plain = (event: CommittedEvent): KubeObjectLike => {
      if (event.type === 'BOOKMARK') return bookmarkObject(scope, event);
      if (passing && event.initial === true) return codec.passing(event.committed, resource);
      return codec.object(event.committed, resource);
    };
    switch (output.as) {
      case '':
        return plain;
      case 'Table': {
        const rows = this.#encoder.tables.rows(scope, output);
        let first = true;
        return (event) => {
          const initial = passing && event.initial === true;
          const [object, hub] = initial
            ? codec.passingPair(event.committed, resource)
            : [plain(event), event.type === 'BOOKMARK' ? undefined : event.committed.object()];
          const table: KubeObjectLike = {
            kind: 'Table',
            apiVersion: `meta.k8s.io/${output.asVersion}`,
            metadata: { resourceVersion: (object.metadata['resourceVersion'] as string | undefined) ?? '' },
            columnDefinitions: first ? rows.columns : null,
            rows: [hub === undefined ? rows.bookmark(object) : rows.row(object, hub)],
          };
          first = false;
          return table;
        };
      }
      case 'PodAddresses':
        return (event) => (event.type === 'BOOKMARK' ? plain(event) : podAddresses(plain(event)));
      default:
        return (event) => partialMetadata(plain(event), output.asVersion);
    }
  }

  /** The event in one form, made by the first who asks. */
  #line(event: CommittedEvent, form: string, make: () => Buffer): Buffer {
    const known = this.#shared.get(event.committed);
    for (let cached = known; cached !== undefined; cached = cached.other)
      if (cached.type === event.type && cached.form === form) return cached.line;
    const line = make();
    this.#shared.set(event.committed, { line, type: event.type, form, other: known });
    this.#sharedBytes += line.length;
    if (this.#sharedBytes > cacheBytes) {
      for (const [key, old] of this.#shared) {
        if (this.#sharedBytes <= cacheBytes) break;
        this.#shared.delete(key);
        for (let gone: Shared | undefined = old; gone !== undefined; gone = gone.other)
          this.#sharedBytes -= gone.line.length;
      }
    }
    return line;
  }

  /** Several lines as one buffer, which nobody changes. */
  #join(lines: readonly Buffer[]): Buffer {
    const last = this.#batch;
    if (lines.length === last.lines.length && lines.every((line, i) => line === last.lines[i])) return last.bytes;
    const bytes = Buffer.concat(lines);
    if (bytes.length <= sharedBatchBytes) this.#batch = { lines, bytes };
    return bytes;
  }

  /** The events of a source as buffers, one a batch; a last ERROR event tells why the watch ended, when there is a reason. */
  wire(scope: Scope, output: Negotiated, source: WatchSource): WireWatch {
    const encode = this.#encode(scope, output);
    const sizes = this.observer?.watchSizes(scope);
    const one =
      sizes === undefined
        ? encode
        : (event: CommittedEvent): Buffer => {
            const bytes = encode(event);
            sizes.observe(bytes.length);
            return bytes;
          };
    const plainJson = output.format === 'json' && output.as === '';
    const sent = this.observer?.watchEvents(scope);
    let ended = false;
    return {
      take: (ready, room) => {
        if (ended) return null;
        const batch = source.take(ready);
        if (batch === undefined) return undefined;
        if (batch === null) {
          ended = true;
          return source.error === undefined ? null : this.#error(output, source.error);
        }
        sent?.inc(batch.length);
        if (batch[batch.length - 1]!.bookmark?.initialEventsEnd === true) this.observer?.watchListed(scope);
        if (batch[0]!.initial === true && plainJson) return this.#initial(scope, batch, one, sizes, room);
        if (batch[0]!.initial === true) return joined(batch, one, room);
        if (batch.length === 1) return one(batch[0]!);
        return this.#join(batch.map(one));
      },
      close: () => source.close(),
    };
  }

  /** Initial events as JSON: spliced into one buffer, since their lines are nobody else's. */
  #initial(
    scope: Scope,
    batch: readonly CommittedEvent[],
    one: (event: CommittedEvent) => Buffer,
    sizes: Sizes | undefined,
    room: (bytes: number) => Buffer = (n) => Buffer.allocUnsafeSlow(n),
  ): Buffer {
    const resource = scope.resource!;
    const { codec } = this.#encoder;
    let size = 0;
    for (const { initial, committed } of batch) {
      const most = initial === true ? codec.size(committed, resource, true) : 0;
      if (most === undefined) return Buffer.concat(batch.map(one));
      size += most + heads.ADDED.length + tail.length;
    }
    // A bookmark may be the last.
    const last = batch[batch.length - 1]!;
    const end = last.initial === true ? noLine : one(last);
    const bytes = room(size + end.length);
    let at = 0;
    for (const { initial, committed } of batch) {
      if (initial !== true) continue;
      const start = at;
      at += heads.ADDED.copy(bytes, at);
      at = codec.writeInto(committed, resource, true, bytes, at);
      at += tail.copy(bytes, at);
      sizes?.observe(at - start);
    }
    at += end.copy(bytes, at);
    return bytes.subarray(0, at);
  }

  #encode(scope: Scope, output: Negotiated): (event: CommittedEvent) => Buffer {
    const resource = scope.resource!;
    const { codec } = this.#encoder;
    if (output.format === 'json' && output.as === '') {
      const form = `${resource.group}/${resource.version}`;
      return (event) => {
        if (event.type !== 'BOOKMARK')
          return this.#line(event, form, () => codec.json(event.committed, resource, heads[event.type], tail));
        return Buffer.from(`{"type":"BOOKMARK","object":${JSON.stringify(bookmarkObject(scope, event))}}\n`);
      };
    }
    const make = this.objects(scope, output, true);
    if (output.as === 'Table') return (event) => this.#any(output, event.type, make(event));
    const form = `${output.format} ${output.as} ${output.asVersion} ${resource.group}/${resource.version}`;
    const framed = output.format === 'protobuf' && output.as === '';
    const apiVersion = apiVersionOf(resource);
    const encode = (event: CommittedEvent): Buffer => {
      const stored = framed && event.type !== 'BOOKMARK' ? codec.stored(event.committed, resource) : undefined;
      const { protobuf } = this.#encoder;
      const frame =
        stored === undefined ? undefined : protobuf!.storedFrame(apiVersion, resource.kind, event.type, stored);
      if (frame === undefined) return this.#any(output, event.type, make(event));
      return event.initial === true ? frame : Buffer.from(frame);
    };
    return (event) => {
      return event.type === 'BOOKMARK' || event.initial === true
        ? encode(event)
        : this.#line(event, form, () => encode(event));
    };
  }

  #any(output: Negotiated, type: string, object: KubeObjectLike): Buffer {
    if (output.format === 'protobuf') {
      const protobuf = this.#encoder.protobuf!;
      return protobuf.frame(type, protobuf.encode(object));
    }
    if (output.format === 'cbor') {
      const cbor = this.#encoder.cbor!;
      return cbor.event(type, cbor.encode(object));
    }
    return Buffer.from(`{"type":"${type}","object":${stringifyJson(object)}}\n`);
  }

  #error(output: Negotiated, status: KubeObjectLike): Buffer {
    return this.#any(output, 'ERROR', status);
  }
}

/** What is made for one watch alone, each in memory that the next may take. */
function joined(
  batch: readonly CommittedEvent[],
  one: (event: CommittedEvent) => Buffer,
  room: (bytes: number) => Buffer = (n) => Buffer.allocUnsafeSlow(n),
): Buffer {
  let bytes = room(joinedBytes);
  let at = 0;
  for (const event of batch) {
    const piece = one(event);
    if (at + piece.length > bytes.length) {
      const bigger = room(2 * (at + piece.length));
      bytes.copy(bigger, 0, 0, at);
      bytes = bigger;
    }
    at += piece.copy(bytes, at);
  }
  return bytes.subarray(0, at);
}

/** Mostly enough for a batch. */
const joinedBytes = 64 * 1024;

const tail = Buffer.from('}\n');
const noLine = Buffer.alloc(0);

const heads: Readonly<Record<CommittedEvent['type'], Buffer>> = {
  ADDED: Buffer.from('{"type":"ADDED","object":'),
  MODIFIED: Buffer.from('{"type":"MODIFIED","object":'),
  DELETED: Buffer.from('{"type":"DELETED","object":'),
  BOOKMARK: Buffer.from('{"type":"BOOKMARK","object":'),
};
