/**
 * `FakeApi`: a small API in memory behind the `Transport` interface, for tests of what is built on the client: create, read, list,
 * watch with bookmarks, update with conflicts, JSON-merge patches, delete with finalizers. No defaults, no validation.
 */
import type { Readable } from 'node:stream';
import type { Clock } from '../base/clock.ts';
import type { Random } from '../base/random.ts';
import type { KubeObject } from '../api/object.ts';
import { parseLabelSelector } from '../api/selector-parser.ts';
import {
  alreadyExists,
  conflict,
  notFound,
  optimisticLockMessage,
  resourceExpired,
  StatusError,
} from '../api/status.ts';
import { formatTime } from '../api/time.ts';
import type { ResourceRef } from './client.ts';
import { resources } from './resources.ts';
import type { ApiRequest, ApiResponse, MessageChannel, Transport, WatchEvent, WatchStream } from './transport.ts';

interface Target {
  readonly ref: ResourceRef;
  readonly namespace: string | undefined;
  readonly name: string | undefined;
  readonly subresource: string | undefined;
}

interface Change {
  readonly revision: number;
  readonly ref: ResourceRef;
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly object: KubeObject;
}

const allRefs = new Map<string, ResourceRef>();
for (const group of Object.values(resources)) {
  for (const ref of Object.values(group) as ResourceRef[])
    allRefs.set(`${ref.group}/${ref.version}/${ref.resource}`, ref);
}

/** A field of an object by its dotted path, as field selectors name it. */
function fieldOf(object: unknown, path: string): string {
  let v: unknown = object;
  for (const part of path.split('.')) v = (v as Record<string, unknown> | undefined)?.[part];
  return v === undefined || v === null ? '' : String(v);
}

/** Lists of objects are merged by these members in a strategic patch, whatever the type. */
const mergeKeys = ['uid', 'type', 'name', 'key'];

function strategicList(target: unknown[], patch: unknown[]): unknown[] {
  if (patch.every((p) => typeof p === 'string')) return [...new Set([...target, ...patch])];
  const out = [...target] as Record<string, unknown>[];
  for (const item of patch as Record<string, unknown>[]) {
    const key = mergeKeys.find((k) => item[k] !== undefined);
    if (key === undefined) return patch;
    const i = out.findIndex((o) => o[key] === item[key]);
    if (item['$patch'] === 'delete') {
      if (i !== -1) out.splice(i, 1);
    } else if (i === -1) out.push(item);
    else out[i] = strategicPatch(out[i], item) as Record<string, unknown>;
  }
  return out;
}

function strategicPatch(target: unknown, patch: unknown): unknown {
  if (typeof patch !== 'object' || patch === null) return patch;
  if (Array.isArray(patch)) return strategicList(Array.isArray(target) ? target : [], patch);
  const base =
    typeof target === 'object' && target !== null && !Array.isArray(target) ? (target as Record<string, unknown>) : {};
  const out: Record<string, unknown> = { ...base };
  for (const [k, v] of Object.entries(patch)) {
    if (v === null) delete out[k];
    else if (k.startsWith('$setElementOrder/')) continue;
    else if (k.endsWith('Statuses') || k === 'images' || k === 'runtimeHandlers') out[k] = v;
    else if (k.startsWith('$deleteFromPrimitiveList/')) {
      const name = k.slice(k.indexOf('/') + 1);
      out[name] = (out[name] as unknown[] | undefined)?.filter((x) => !(v as unknown[]).includes(x));
    } else out[k] = strategicPatch(out[k], v);
  }
  return out;
}

function mergePatch(target: unknown, patch: unknown): unknown {
  if (typeof patch !== 'object' || patch === null || Array.isArray(patch)) return patch;
  const base =
    typeof target === 'object' && target !== null && !Array.isArray(target) ? (target as Record<string, unknown>) : {};
  const out: Record<string, unknown> = { ...base };
  for (const [k, v] of Object.entries(patch)) {
    if (v === null) delete out[k];
    else out[k] = mergePatch(out[k], v);
  }
  return out;
}

function jsonPatch(target: unknown, operations: { op: string; path: string; value?: unknown }[]): unknown {
  const root = { value: structuredClone(target) };
  for (const { op, path, value } of operations) {
    const parts = [
      'value',
      ...path
        .split('/')
        .slice(1)
        .map((p) => p.replaceAll('~1', '/').replaceAll('~0', '~')),
    ];
    let at: Record<string, unknown> = root;
    for (const p of parts.slice(0, -1)) at = at[p] as Record<string, unknown>;
    const last = parts.at(-1)!;
    if (op === 'remove') {
      if (Array.isArray(at)) at.splice(Number(last), 1);
      else delete at[last];
    } else if (op === 'test') {
      if (JSON.stringify(at[last]) !== JSON.stringify(value)) throw new StatusError(422, 'Invalid', 'test failed');
    } else if (Array.isArray(at)) {
      if (op === 'replace') at[Number(last)] = value;
      else at.splice(last === '-' ? at.length : Number(last), 0, value);
    } else at[last] = value;
  }
  return root.value;
}

class FakeWatch implements WatchStream<never> {
  readonly deliver: (events: readonly WatchEvent[]) => void;
  readonly #queue: (readonly WatchEvent[])[] = [];
  readonly #clock: Clock;
  #wake: (() => void) | undefined;
  #done: (() => void) | undefined;
  #ended = false;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.deliver = (events) => {
      if (this.#ended || events.length === 0) return;
      this.#done ??= this.#clock.activity.begin();
      this.#queue.push(events);
      this.#wake?.();
    };
  }

  close(): void {
    this.#ended = true;
    this.#done?.();
    this.#done = undefined;
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<readonly WatchEvent<never>[]> {
    for (;;) {
      const next = this.#queue.shift();
      if (next !== undefined) {
        yield next as readonly WatchEvent<never>[];
        if (this.#queue.length === 0) {
          this.#done?.();
          this.#done = undefined;
        }
      } else if (this.#ended) return;
      else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
        this.#wake = undefined;
      }
    }
  }
}

export class FakeApi implements Transport {
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #objects = new Map<string, KubeObject>();
  readonly #watches = new Set<{ target: Target; matches: (o: KubeObject) => boolean; stream: FakeWatch }>();
  #log: Change[] = [];
  #revision = 1;
  /** Requests in order, for assertions. */
  readonly requests: { readonly method: string; readonly path: string; readonly body: unknown }[] = [];
  /** Set to make requests fail: what it returns is thrown or answered. */
  fault: ((request: ApiRequest) => Error | undefined) | undefined;
  /** Watchers hear of a change so much later than whoever made it. */
  eventDelayMs = 0;
  /** Answers a request itself when it returns something. */
  answer: ((request: ApiRequest) => unknown) | undefined;
  /** False: `sendInitialEvents` is refused as an old server does. */
  streaming = true;

  constructor(clock: Clock, random: Random) {
    this.#clock = clock;
    this.#random = random;
  }

  /** Ends all watches as a restarting server would. */
  dropWatches(): void {
    for (const w of this.#watches) w.stream.close();
    this.#watches.clear();
  }

  /** Forgets the history: watches from before now get 410. */
  compact(): void {
    this.#log = [];
  }

  /** Objects of a resource as they are now. */
  all<T extends KubeObject = KubeObject>(ref: ResourceRef, namespace?: string): T[] {
    const prefix = `${ref.group}/${ref.resource}/${namespace === undefined ? '' : `${namespace}/`}`;
    return [...this.#objects].filter(([k]) => k.startsWith(prefix)).map(([, o]) => o as T);
  }

  #target(path: string): Target {
    const parts = path.split('/').slice(1).map(decodeURIComponent);
    const group = parts[0] === 'api' ? '' : parts[1]!;
    const version = parts[0] === 'api' ? parts[1]! : parts[2]!;
    let rest = parts.slice(parts[0] === 'api' ? 2 : 3);
    let namespace: string | undefined;
    if (rest[0] === 'namespaces' && rest.length > 2 && rest[2] !== 'finalize' && rest[2] !== 'status') {
      namespace = rest[1];
      rest = rest.slice(2);
    }
    const ref = allRefs.get(`${group}/${version}/${rest[0]}`);
    if (ref === undefined) throw new StatusError(404, 'NotFound', 'the server could not find the requested resource');
    return { ref, namespace, name: rest[1], subresource: rest[2] };
  }

  #key(ref: ResourceRef, namespace: string | undefined, name: string): string {
    return `${ref.group}/${ref.resource}/${namespace === undefined ? '' : `${namespace}/`}${name}`;
  }

  #matcher(request: ApiRequest, target: Target): (o: KubeObject) => boolean {
    const labels = request.query?.['labelSelector'];
    const fields = request.query?.['fieldSelector'];
    const selector = labels === undefined ? undefined : parseLabelSelector(String(labels));
    const terms = fields === undefined ? [] : String(fields).split(',');
    return (o) =>
      (target.namespace === undefined || o.metadata.namespace === target.namespace) &&
      (selector === undefined || selector.matches(o.metadata.labels)) &&
      terms.every((t) => {
        const not = t.includes('!=');
        const [path, value] = t.split(/!?==?/) as [string, string];
        return (fieldOf(o, path) === value) !== not;
      });
  }

  #commit(ref: ResourceRef, type: Change['type'], key: string, object: KubeObject): KubeObject {
    const revision = ++this.#revision;
    const stored: KubeObject = { ...object, metadata: { ...object.metadata, resourceVersion: String(revision) } };
    const old = this.#objects.get(key);
    if (type === 'DELETED') this.#objects.delete(key);
    else this.#objects.set(key, stored);
    this.#log.push({ revision, ref, type, object: stored });
    for (const w of this.#watches) {
      if (w.target.ref !== ref) continue;
      const was = old !== undefined && w.matches(old);
      const is = type !== 'DELETED' && w.matches(stored);
      const event = is ? (was ? 'MODIFIED' : 'ADDED') : was ? 'DELETED' : undefined;
      if (event === undefined) continue;
      const deliver = (): void => w.stream.deliver([{ type: event, object: stored }]);
      if (this.eventDelayMs > 0) this.#clock.setTimer(this.eventDelayMs, deliver);
      else deliver();
    }
    return stored;
  }

  async request(request: ApiRequest): Promise<ApiResponse> {
    const done = this.#clock.activity.begin();
    try {
      await Promise.resolve();
      request.signal?.throwIfAborted();
      this.requests.push({ method: request.method, path: request.path, body: request.body });
      const fault = this.fault?.(request);
      if (fault !== undefined && !(fault instanceof StatusError)) throw fault;
      try {
        if (fault !== undefined) throw fault;
        const body = this.answer?.(request) ?? this.#handle(request);
        return { status: request.method === 'POST' ? 201 : 200, headers: {}, body };
      } catch (error) {
        if (!(error instanceof StatusError)) throw error;
        return { status: error.code, headers: {}, body: error.toStatus() };
      }
    } finally {
      done();
    }
  }

  /** The aggregated discovery document for `/api` or `/apis`. */
  #discovery(legacy: boolean): unknown {
    const groups = new Map<string, Map<string, ResourceRef[]>>();
    for (const ref of allRefs.values()) {
      if ((ref.group === '') !== legacy) continue;
      const versions = groups.get(ref.group) ?? new Map<string, ResourceRef[]>();
      groups.set(ref.group, versions);
      versions.set(ref.version, [...(versions.get(ref.version) ?? []), ref]);
    }
    return {
      items: [...groups].map(([name, versions]) => ({
        metadata: { name },
        versions: [...versions].map(([version, refs]) => ({
          version,
          resources: refs.map((r) => ({
            resource: r.resource,
            responseKind: { kind: r.kind },
            scope: r.namespaced ? 'Namespaced' : 'Cluster',
            verbs:
              /review|bindings$|componentstatuses/.test(r.resource) && r.group !== 'rbac.authorization.k8s.io'
                ? ['create']
                : ['create', 'delete', 'deletecollection', 'get', 'list', 'patch', 'update', 'watch'],
          })),
        })),
      })),
    };
  }

  #handle(request: ApiRequest): unknown {
    if (request.path === '/api' || request.path === '/apis') return this.#discovery(request.path === '/api');
    const target = this.#target(request.path);
    const { ref, namespace, name, subresource } = target;
    const body = request.body === undefined ? undefined : (JSON.parse(JSON.stringify(request.body)) as KubeObject);
    switch (request.method) {
      case 'GET':
        if (name !== undefined) return this.#get(ref, namespace, name);
        return {
          metadata: { resourceVersion: String(this.#revision) },
          items: this.all(ref).filter(this.#matcher(request, target)),
        };
      case 'POST': {
        if (subresource !== undefined && name !== undefined) {
          if (subresource === 'eviction') this.#delete(ref, namespace, name, undefined);
          return body;
        }
        return this.#create(ref, namespace, body!);
      }
      case 'PUT': {
        const current = this.#get(ref, namespace, name!);
        const sent = body!.metadata.resourceVersion;
        if (sent !== undefined && sent !== current.metadata.resourceVersion) {
          throw conflict(ref, name!, optimisticLockMessage);
        }
        return this.#write(ref, namespace, name!, current, body!, subresource);
      }
      case 'PATCH': {
        const current = this.#get(ref, namespace, name!);
        const strategic = request.contentType?.includes('strategic') === true;
        const next = Array.isArray(body)
          ? jsonPatch(current, body as never)
          : strategic
            ? strategicPatch(current, body)
            : mergePatch(current, body);
        const sent = (body as Partial<KubeObject>).metadata;
        if (sent?.resourceVersion !== undefined && sent.resourceVersion !== current.metadata.resourceVersion) {
          throw conflict(ref, name!, optimisticLockMessage);
        }
        if (sent?.uid !== undefined && sent.uid !== current.metadata.uid) {
          throw conflict(ref, name!, `Precondition failed: UID in precondition: ${sent.uid}`);
        }
        return this.#write(ref, namespace, name!, current, next as KubeObject, subresource);
      }
      case 'DELETE':
        if (name !== undefined) return this.#delete(ref, namespace, name, body);
        for (const o of this.all(ref).filter(this.#matcher(request, target))) {
          this.#delete(ref, o.metadata.namespace, o.metadata.name!, undefined);
        }
        return { kind: 'Status', status: 'Success' };
      default:
        throw new StatusError(405, 'MethodNotAllowed', request.method);
    }
  }

  #get(ref: ResourceRef, namespace: string | undefined, name: string): KubeObject {
    const found = this.#objects.get(this.#key(ref, namespace, name));
    if (found === undefined) throw notFound(ref, name);
    return found;
  }

  #create(ref: ResourceRef, namespace: string | undefined, body: KubeObject): KubeObject {
    const name = body.metadata.name ?? `${body.metadata.generateName ?? ''}${this.#random.suffix(5)}`;
    const key = this.#key(ref, namespace, name);
    if (this.#objects.has(key)) throw alreadyExists(ref, name);
    return this.#commit(ref, 'ADDED', key, {
      ...body,
      metadata: {
        ...body.metadata,
        name,
        ...(namespace === undefined ? {} : { namespace }),
        uid: this.#random.uuid(),
        generation: 1,
        creationTimestamp: formatTime(this.#clock.now()),
      },
    });
  }

  #write(
    ref: ResourceRef,
    namespace: string | undefined,
    name: string,
    current: KubeObject,
    next: KubeObject,
    subresource: string | undefined,
  ): KubeObject {
    const key = this.#key(ref, namespace, name);
    let merged: KubeObject;
    if (subresource === 'status') {
      const { annotations, finalizers } = next.metadata;
      merged = { ...current, metadata: { ...current.metadata, annotations, finalizers }, status: next['status'] };
    } else if (subresource === 'finalize') merged = { ...current, spec: next['spec'] };
    else {
      const { uid, creationTimestamp, deletionTimestamp, generation } = current.metadata;
      merged = { ...next, status: ref.resource === 'events' ? undefined : (current['status'] ?? next['status']) };
      if (merged['status'] === undefined) delete merged['status'];
      const specChanged = JSON.stringify(current['spec']) !== JSON.stringify(next['spec']);
      merged.metadata = {
        ...next.metadata,
        uid,
        creationTimestamp,
        deletionTimestamp,
        generation: (generation ?? 1) + (specChanged ? 1 : 0),
      };
    }
    const rest = (o: KubeObject): string => JSON.stringify({ ...o, metadata: { ...o.metadata, resourceVersion: '' } });
    if (rest(merged) === rest(current)) return current;
    const finalizers = (merged.metadata.finalizers ?? []).length;
    const spec = merged['spec'] as { finalizers?: string[] } | undefined;
    const kept = ref.resource === 'namespaces' && (spec?.finalizers ?? []).length > 0;
    if (merged.metadata.deletionTimestamp !== undefined && finalizers === 0 && !kept) {
      return this.#commit(ref, 'DELETED', key, merged);
    }
    return this.#commit(ref, 'MODIFIED', key, merged);
  }

  #delete(ref: ResourceRef, namespace: string | undefined, name: string, body: KubeObject | undefined): KubeObject {
    const current = this.#get(ref, namespace, name);
    const key = this.#key(ref, namespace, name);
    const pre = body?.['preconditions'] as { uid?: string; resourceVersion?: string } | undefined;
    if (pre?.uid !== undefined && pre.uid !== current.metadata.uid) throw conflict(ref, name, 'Precondition failed');
    if (pre?.resourceVersion !== undefined && pre.resourceVersion !== current.metadata.resourceVersion) {
      throw conflict(ref, name, 'Precondition failed');
    }
    const policy = body?.['propagationPolicy'];
    const finalizers = [...(current.metadata.finalizers ?? [])];
    if (policy === 'Foreground' && !finalizers.includes('foregroundDeletion')) finalizers.push('foregroundDeletion');
    if (policy === 'Orphan' && !finalizers.includes('orphan')) finalizers.push('orphan');
    const spec = current['spec'] as { finalizers?: string[] } | undefined;
    const kept = ref.resource === 'namespaces' && (spec?.finalizers ?? []).length > 0;
    if (finalizers.length > 0 || kept) {
      if (current.metadata.deletionTimestamp !== undefined) return current;
      return this.#commit(ref, 'MODIFIED', key, {
        ...current,
        metadata: { ...current.metadata, finalizers, deletionTimestamp: formatTime(this.#clock.now()) },
      });
    }
    return this.#commit(ref, 'DELETED', key, current);
  }

  async watch<T = unknown>(request: ApiRequest): Promise<WatchStream<T>> {
    const done = this.#clock.activity.begin();
    try {
      await Promise.resolve();
      this.requests.push({ method: 'WATCH', path: request.path, body: undefined });
      const fault = this.fault?.(request);
      if (fault !== undefined) throw fault;
      const target = this.#target(request.path);
      const matches = this.#matcher(request, target);
      const stream = new FakeWatch(this.#clock);
      const since = request.query?.['resourceVersion'];
      if (request.query?.['sendInitialEvents'] === true) {
        if (!this.streaming) throw new StatusError(422, 'Invalid', 'sendInitialEvents is forbidden');
        stream.deliver([
          ...this.all(target.ref)
            .filter(matches)
            .map((object) => ({ type: 'ADDED' as const, object })),
          {
            type: 'BOOKMARK',
            object: {
              metadata: {
                resourceVersion: String(this.#revision),
                annotations: { 'k8s.io/initial-events-end': 'true' },
              },
            },
          },
        ]);
      } else if (since !== undefined && since !== '' && since !== '0') {
        const from = Number(since);
        if (from < this.#revision && (this.#log[0]?.revision ?? this.#revision + 1) > from + 1) {
          throw resourceExpired(`too old resource version: ${from} (${this.#revision})`);
        }
        stream.deliver(
          this.#log
            .filter((c) => c.revision > from && c.ref === target.ref && matches(c.object))
            .map((c) => ({ type: c.type, object: c.object })),
        );
      }
      const entry = { target, matches, stream };
      this.#watches.add(entry);
      request.signal?.addEventListener('abort', () => {
        this.#watches.delete(entry);
        stream.close();
      });
      return stream as unknown as WatchStream<T>;
    } finally {
      done();
    }
  }

  stream(): Promise<Readable> {
    return Promise.reject(new StatusError(404, 'NotFound', 'no streams here'));
  }

  connect(): Promise<MessageChannel> {
    return Promise.reject(new StatusError(404, 'NotFound', 'no upgrades here'));
  }

  close(): Promise<void> {
    this.dropWatches();
    return Promise.resolve();
  }
}
