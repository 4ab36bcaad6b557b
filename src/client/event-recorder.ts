/**
 * `EventRecorder`: tells the world what a component did, as core/v1 Events: equal ones counted, similar ones combined, floods
 * dropped (client-go tools/record). Recording never blocks and never fails the caller.
 */
import type { Clock } from '../base/clock.ts';
import type { Done } from '../base/activity.ts';
import type { Logger } from '../base/logger.ts';
import type { Random } from '../base/random.ts';
import { isDNS1123Subdomain } from '../api/names.ts';
import type { KubeObject } from '../api/object.ts';
import { apiVersionOf } from '../api/object.ts';
import { StatusError } from '../api/status.ts';
import { formatTime } from '../api/time.ts';
import type { Event, ObjectReference } from '../api/types/index.gen.ts';
import type { ResourceRef } from './client.ts';
import { isAlreadyExists, isNamespaceTerminating, isNotFound } from './errors.ts';
import type { TypedClient } from './typed-client.ts';

export type EventType = 'Normal' | 'Warning';

export interface EventRecorderOptions {
  readonly client: TypedClient;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** `deployment-controller`, `kubelet`, `default-scheduler`. */
  readonly component: string;
  /** Node name, for what runs on a node. */
  readonly host?: string;
  /** Events waiting to be written; more are dropped. Default 1000. */
  readonly queueLength?: number;
  /** Events being written at a time. Default 4. */
  readonly concurrency?: number;
  /** Asked before an event is written: while it answers with a promise, events wait, since other writes are more urgent. */
  readonly hold?: () => Promise<void> | undefined;
}

/** What an event is about; the kind comes from the resource, since items of lists do not carry it. */
export type Regarding = Pick<ResourceRef, 'group' | 'version'> & { readonly kind?: string };

const maxEntries = 4096;
const aggregateMaxEvents = 10;
const aggregateIntervalMs = 600_000;
const spamBurst = 25;
const spamPerMs = 1 / 300_000;
const maxTries = 12;
const retryMs = 10_000;

/** A map that forgets what was used longest ago. */
class Lru<V> {
  readonly #map = new Map<string, V>();
  get(key: string): V | undefined {
    const v = this.#map.get(key);
    if (v !== undefined) {
      this.#map.delete(key);
      this.#map.set(key, v);
    }
    return v;
  }
  set(key: string, value: V): void {
    this.#map.delete(key);
    this.#map.set(key, value);
    if (this.#map.size > maxEntries) this.#map.delete(this.#map.keys().next().value!);
  }
}

interface Observed {
  count: number;
  firstTimestamp: string;
  name: string;
}

/** A reference to an object as events carry it. */
export function objectReference(regarding: Regarding, object: KubeObject, fieldPath?: string): ObjectReference {
  const m = object.metadata;
  return {
    kind: regarding.kind ?? object.kind ?? '',
    ...(m.namespace === undefined ? {} : { namespace: m.namespace }),
    name: m.name ?? '',
    ...(m.uid === undefined ? {} : { uid: m.uid }),
    apiVersion: apiVersionOf(regarding),
    ...(m.resourceVersion === undefined ? {} : { resourceVersion: m.resourceVersion }),
    ...(fieldPath === undefined ? {} : { fieldPath }),
  };
}

export class EventRecorder {
  readonly #o: EventRecorderOptions;
  readonly #spam = new Lru<{ tokens: number; at: number }>();
  readonly #aggregates = new Lru<{ messages: Set<string>; at: number }>();
  readonly #observed = new Lru<Observed>();
  #queue: Event[] = [];
  #active = 0;
  /** Of the active ones those that do not wait for the clock, or behind one that does. */
  #working = 0;
  #held = false;
  #dropped = 0;
  readonly #writing = new Map<string, Promise<void>>();
  readonly #abort = new AbortController();
  #busy: Done | undefined;
  #drained: (() => void)[] = [];
  #lastMillis = 0;
  #below = 0;

  constructor(options: EventRecorderOptions) {
    this.#o = options;
  }

  /** Records that something happened to `object`. */
  event(
    regarding: Regarding,
    object: KubeObject,
    type: EventType,
    reason: string,
    message: string,
    options?: {
      readonly fieldPath?: string;
      readonly annotations?: Record<string, string>;
      /** When it happened, milliseconds; now when left out. */
      readonly at?: number;
    },
  ): void {
    this.eventFor(
      objectReference(regarding, object, options?.fieldPath),
      type,
      reason,
      message,
      options?.annotations,
      options?.at,
    );
  }

  /** Records by reference. */
  eventFor(
    involvedObject: ObjectReference,
    type: EventType,
    reason: string,
    message: string,
    annotations?: Record<string, string>,
    at?: number,
  ): void {
    if (this.#abort.signal.aborted) return;
    if (this.#queue.length >= (this.#o.queueLength ?? 1000)) {
      if (this.#dropped++ === 0) {
        this.#o.logger.error('Unable to record event: too many queued events, dropped event', { reason });
      }
      return;
    }
    this.#dropped = 0;
    const { component, host, clock } = this.#o;
    const now = at ?? clock.now();
    const time = formatTime(now);
    this.#queue.push({
      metadata: {
        name: this.#name(involvedObject.name ?? '', now),
        namespace: involvedObject.namespace ?? 'default',
        ...(annotations === undefined ? {} : { annotations }),
      },
      involvedObject,
      reason,
      message,
      source: { component, ...(host === undefined ? {} : { host }) },
      firstTimestamp: time,
      lastTimestamp: time,
      count: 1,
      type,
      reportingComponent: component,
      reportingInstance: host ?? '',
    });
    this.#pump();
    this.#account();
  }

  /** Resolves when everything recorded so far has been written or given up. */
  flush(): Promise<void> {
    if (this.#queue.length === 0 && this.#active === 0) return Promise.resolve();
    return new Promise((resolve) => this.#drained.push(resolve));
  }

  /** Drops what waits and ends the rest. */
  async stop(): Promise<void> {
    this.#abort.abort(new Error('event recorder stopped'));
    this.#queue = [];
    await Promise.allSettled([...this.#writing.values()]);
    this.#settle();
  }

  /** `name.<hex of nanoseconds>`, or a uuid where the object's name cannot be part of an event's. */
  #name(object: string, now: number): string {
    // The clock gives milliseconds; below them names rise with each event, so that those of one moment list in their order.
    const millis = Math.floor(now);
    const step = 1 + this.#o.random.int(499);
    this.#below = millis > this.#lastMillis ? step : Math.min(this.#below + step, 999_999);
    this.#lastMillis = Math.max(millis, this.#lastMillis);
    const nanos = BigInt(this.#lastMillis) * 1_000_000n + BigInt(this.#below);
    const name = `${object}.${nanos.toString(16)}`;
    return isDNS1123Subdomain(name).length === 0 ? name : this.#o.random.uuid();
  }

  get #concurrency(): number {
    return this.#o.concurrency ?? 4;
  }

  /** Counts as activity what goes on by itself: who waits for the clock must not keep a virtual one from moving. */
  #account(): void {
    if (this.#working > 0 || (this.#queue.length > 0 && (this.#held || this.#active < this.#concurrency))) {
      this.#busy ??= this.#o.clock.activity.begin();
      return;
    }
    const done = this.#busy;
    this.#busy = undefined;
    done?.();
  }

  #settle(): void {
    this.#account();
    if (this.#queue.length > 0 || this.#active > 0) return;
    const drained = this.#drained;
    this.#drained = [];
    for (const d of drained) d();
  }

  #pump(): void {
    if (this.#held) return;
    while (this.#active < this.#concurrency) {
      const held = this.#queue.length === 0 ? undefined : this.#o.hold?.();
      if (held !== undefined) {
        this.#held = true;
        void held.then(() => {
          this.#held = false;
          this.#pump();
        });
        return;
      }
      const event = this.#queue.shift();
      if (event === undefined) return;
      this.#active++;
      // A later patch must not overtake the creation of the event it counts.
      const { event: result, patch } = this.#correlate(event);
      if (result === undefined) {
        this.#active--;
        queueMicrotask(() => this.#settle());
        continue;
      }
      const name = `${result.metadata.namespace}/${result.metadata.name}`;
      const before = this.#writing.get(name);
      if (before === undefined) this.#working++;
      const write = (before ?? Promise.resolve())
        .then(() => {
          if (before !== undefined) this.#working++;
          this.#account();
          return this.#write(result, patch);
        })
        .finally(() => {
          if (this.#writing.get(name) === write) this.#writing.delete(name);
          this.#active--;
          this.#working--;
          this.#pump();
          this.#settle();
        });
      this.#writing.set(name, write);
    }
  }

  /** Combines, counts and filters; undefined for what is to be dropped. */
  #correlate(event: Event): { event: Event | undefined; patch?: Record<string, unknown> } {
    const now = this.#o.clock.now();
    const o = event.involvedObject;
    const source = `${event.source?.component ?? ''}${event.source?.host ?? ''}`;
    const about = `${o.kind}${o.namespace ?? ''}${o.name}${o.uid ?? ''}${o.apiVersion}${event.type}`;
    const full = `${source}${o.fieldPath ?? ''}|${about}|${event.reason}|${event.message}`;
    const group = `${source}|${about}|${event.reason}`;

    let current = event;
    let key = full;
    let aggregate = this.#aggregates.get(group);
    if (aggregate === undefined || now - aggregate.at > aggregateIntervalMs) {
      aggregate = { messages: new Set(), at: now };
      this.#aggregates.set(group, aggregate);
    }
    aggregate.messages.add(event.message ?? '');
    aggregate.at = now;
    if (aggregate.messages.size >= aggregateMaxEvents) {
      aggregate.messages.delete(aggregate.messages.values().next().value!);
      current = { ...event, message: `(combined from similar events): ${event.message ?? ''}` };
      key = group;
    }

    const last = this.#observed.get(key);
    let patch: Record<string, unknown> | undefined;
    if (last !== undefined) {
      const count = last.count + 1;
      current = {
        ...current,
        metadata: { ...current.metadata, name: last.name },
        firstTimestamp: last.firstTimestamp,
        count,
      };
      patch = { count, lastTimestamp: current.lastTimestamp, message: current.message };
    }
    this.#observed.set(key, {
      count: current.count ?? 1,
      firstTimestamp: current.firstTimestamp ?? formatTime(now),
      name: current.metadata.name ?? '',
    });

    const spamKey = `${source}|${about}`;
    let bucket = this.#spam.get(spamKey);
    if (bucket === undefined) {
      bucket = { tokens: spamBurst, at: now };
      this.#spam.set(spamKey, bucket);
    }
    bucket.tokens = Math.min(spamBurst, bucket.tokens + (now - bucket.at) * spamPerMs);
    bucket.at = now;
    if (bucket.tokens < 1) return { event: undefined };
    bucket.tokens--;
    return { event: current, ...(patch === undefined ? {} : { patch }) };
  }

  async #write(event: Event, patch: Record<string, unknown> | undefined): Promise<void> {
    const { client, clock, logger, random } = this.#o;
    const signal = this.#abort.signal;
    const events = client.core.events;
    const { name, namespace } = event.metadata;
    for (let attempt = 1; !signal.aborted; attempt++) {
      try {
        if (patch !== undefined) {
          try {
            await events.patch(name!, namespace, 'strategic', patch, { signal });
            return;
          } catch (error) {
            if (!isNotFound(error)) throw error;
          }
        }
        await events.create(event, { signal });
        return;
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof StatusError) {
          const level = isAlreadyExists(error) || isNamespaceTerminating(error) ? 'debug' : 'warn';
          logger[level]('Server rejected event (will not retry!)', {
            event: `${namespace}/${name}`,
            reason: event.reason,
            error,
          });
          return;
        }
        if (attempt >= maxTries) {
          logger.error('Unable to write event (retry limit exceeded!)', { event: `${namespace}/${name}`, error });
          return;
        }
        if (attempt === 1)
          logger.warn('Unable to write event (may retry after sleeping)', { event: `${namespace}/${name}`, error });
        this.#working--;
        this.#account();
        try {
          await clock.sleep(attempt === 1 ? retryMs * random.float() : retryMs, signal);
        } catch (slept) {
          if (signal.aborted) return;
          throw slept;
        } finally {
          this.#working++;
          this.#account();
        }
      }
    }
  }
}
