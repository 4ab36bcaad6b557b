/** The client of a real etcd cluster. Loads gRPC: imported by `openRemoteStore` alone. */
import { isIP } from 'node:net';
import { basename } from 'node:path';
import { checkServerIdentity } from 'node:tls';
import * as grpc from '@grpc/grpc-js';
import { ioNow, ioTimer } from '../base/io-time.ts';
import type { Family } from '../base/metric-families.ts';
import { SystemRandom } from '../base/random.ts';
import type { Random } from '../base/random.ts';
import { CallMetrics } from './call-metrics.ts';
import { keysEnd } from './key-index.ts';
import { LeaseNotFoundError } from './lessor.ts';
import { RemoteStoreError } from './remote-store.ts';
import type { RemoteStoreOptions } from './remote-store.ts';
import { RemoteWatch } from './remote-watch.ts';
import type { RemoteChannel } from './remote-watch.ts';
import { CompactedError, FutureRevisionError, RequestTooLargeError, StoreClosedError } from './store.ts';
import type {
  CommitRequest,
  CommitResult,
  KeyValue,
  KeyValueStore,
  RangeRequest,
  RangeResult,
  StoreWatch,
  StoreWatchRequest,
  StoreWatchSink,
} from './store.ts';
import { fromEnd, fromId, fromKey, loadEtcdProto, toId, toKeyValue, toNumber } from './wire.ts';
import type { EtcdProto, LeaseMessage, PutRequestMessage, RangeRequestMessage, TxnRequestMessage } from './wire.ts';

/** Key-values fetched by one call of a long range, so that decoding never holds the event loop for long. */
const pageSize = 500;
const firstBackoffMs = 50;
const maxBackoffMs = 2000;
/** Calls that certainly did not reach a store are tried this often. */
const maxAttempts = 6;
/** How long an acknowledgement waits for this store's own watches before it goes ahead of them. */
const watchLagMs = 2000;

interface Endpoint {
  readonly url: string;
  readonly client: grpc.Client;
}

/** Unix sockets by which endpoints are reached that are not dialled directly. */
export interface Ways {
  readonly paths: ReadonlyMap<string, string>;
  close(): Promise<void>;
}

export class RemoteStore implements KeyValueStore {
  readonly #proto: EtcdProto;
  readonly #endpoints: Endpoint[];
  readonly #random: Random;
  readonly #timeoutMs: number;
  readonly #traceparent: RemoteStoreOptions['traceparent'];
  readonly #channel: RemoteChannel;
  readonly #calls = new CallMetrics();
  readonly families: readonly Family[] = this.#calls.families;
  readonly #ways: Ways | undefined;
  readonly #watches = new Set<RemoteWatch>();
  #current = 0;
  #closed = false;

  constructor(options: RemoteStoreOptions, ways?: Ways) {
    this.#ways = ways;
    // What goes wrong is told by the errors of the calls.
    grpc.setLogVerbosity(grpc.logVerbosity.NONE);
    this.#proto = loadEtcdProto();
    this.#random = options.random ?? new SystemRandom();
    this.#timeoutMs = options.timeoutMs ?? 10_000;
    this.#traceparent = options.traceparent;
    if (options.endpoints.length === 0) throw new TypeError('no etcd endpoint given');
    this.#endpoints = options.endpoints.map((endpoint) => connect(endpoint, options, ways?.paths.get(endpoint)));
    this.#channel = {
      proto: this.#proto,
      calls: this.#calls,
      log: options.logger,
      client: () => this.#endpoints[this.#current]!.client,
      rotate: (bad) => this.#rotate(bad),
      backoff: (attempt) => this.#backoff(attempt),
      translate: (error) => this.#translate(error),
    };
  }

  #rotate(bad: grpc.Client): void {
    if (this.#endpoints[this.#current]!.client !== bad) return;
    this.#current = (this.#current + 1) % this.#endpoints.length;
  }

  #backoff(attempt: number): number {
    const base = Math.min(maxBackoffMs, firstBackoffMs * 2 ** attempt);
    return base * (0.75 + this.#random.float() / 2);
  }

  #translate(error: unknown): Error {
    const e = error as Partial<grpc.ServiceError> & Error;
    const details = e.details ?? e.message;
    switch (details) {
      case 'etcdserver: mvcc: required revision has been compacted':
        // A plain error does not tell which revision is the first that is left.
        return Object.assign(new CompactedError(0), { cause: error });
      case 'etcdserver: mvcc: required revision is a future revision':
        return Object.assign(new FutureRevisionError(), { cause: error });
      case 'etcdserver: request is too large':
        return Object.assign(new RequestTooLargeError(), { cause: error });
      case 'etcdserver: requested lease not found':
        return Object.assign(new LeaseNotFoundError(), { cause: error });
    }
    const { url } = this.#endpoints[this.#current]!;
    const code = typeof e.code === 'number' ? e.code : grpc.status.UNKNOWN;
    return new RemoteStoreError(code === grpc.status.UNAVAILABLE ? `${url}: ${details}` : details, code, error);
  }

  #callOnce<Q, A>(client: grpc.Client, method: grpc.MethodDefinition<Q, A>, request: Q): Promise<A> {
    return new Promise((resolve, reject) => {
      let late = false;
      const metadata = new grpc.Metadata();
      const traceparent = this.#traceparent?.();
      if (traceparent !== undefined) metadata.set('traceparent', traceparent);
      const counted = this.#calls.of(method.path, 'unary');
      counted.started.inc();
      counted.sent.inc();
      const call = client.makeUnaryRequest(
        method.path,
        method.requestSerialize,
        method.responseDeserialize,
        request,
        metadata,
        (error, answer) => {
          cancel();
          if (error === null) counted.received.inc();
          counted.handled(CallMetrics.code(error)).inc();
          if (error === null) resolve(answer!);
          else if (late) {
            reject(
              new RemoteStoreError(
                `etcd has not answered ${method.path} within ${this.#timeoutMs} ms`,
                grpc.status.DEADLINE_EXCEEDED,
                error,
              ),
            );
          } else reject(error);
        },
      );
      const cancel = ioTimer(this.#timeoutMs, () => {
        late = true;
        call.cancel();
      });
    });
  }

  /** True when the failed call cannot have had an effect, or may have it twice. */
  #again(error: Partial<grpc.ServiceError>, idempotent: boolean): boolean {
    const details = error.details ?? '';
    if (error.code !== grpc.status.UNAVAILABLE) return false;
    return idempotent || details.startsWith('No connection established') || details === 'etcdserver: no leader';
  }

  async #call<Q, A>(method: grpc.MethodDefinition<Q, A>, request: Q, idempotent: boolean): Promise<A> {
    const until = ioNow() + this.#timeoutMs;
    for (let attempt = 0; ; attempt++) {
      if (this.#closed) throw new StoreClosedError();
      const { client } = this.#endpoints[this.#current]!;
      try {
        return await this.#callOnce(client, method, request);
      } catch (error) {
        const failure = error as Partial<grpc.ServiceError>;
        const wait = this.#backoff(attempt);
        const over = this.#closed || attempt >= maxAttempts || ioNow() + wait > until;
        if (over || !this.#again(failure, idempotent)) throw this.#translate(error);
        this.#channel.log.debug('etcd is unavailable, trying again', { attempt, error });
        this.#rotate(client);
        await new Promise<void>((resolve) => void ioTimer(wait, resolve));
      }
    }
  }

  async range(request: RangeRequest): Promise<RangeResult> {
    const end = request.end === '\0' ? keysEnd : request.end;
    const wanted = request.limit || Infinity;
    const kvs: KeyValue[] = [];
    let key = request.key;
    let at = request.revision ?? 0;
    let revision = 0;
    let count = 0;
    for (let page = 0; ; page++) {
      const left = wanted - kvs.length;
      const message: RangeRequestMessage = { key: fromKey(key) };
      if (end !== undefined) message.range_end = fromEnd(end);
      if (at > 0) message.revision = at;
      if (end !== undefined && !request.countOnly) message.limit = Math.min(left, pageSize);
      if (request.keysOnly) message.keys_only = true;
      if (request.countOnly) message.count_only = true;
      const answer = await this.#call(this.#proto.kv.Range, message, true);
      if (page === 0) {
        revision = toNumber(answer.header?.revision);
        count = toNumber(answer.count);
        // Later pages are read at the revision of the first.
        at ||= revision;
      }
      for (const kv of answer.kvs ?? []) kvs.push(toKeyValue(kv));
      if (answer.more !== true) return { revision, kvs, count, more: false };
      if (kvs.length >= wanted) return { revision, kvs, count, more: true };
      key = `${kvs.at(-1)!.key}\0`;
    }
  }

  async commit(request: CommitRequest): Promise<CommitResult> {
    const key = fromKey(request.key);
    const put: PutRequestMessage = { key, prev_kv: true };
    if (request.value?.length) put.value = request.value;
    if (request.lease !== undefined) put.lease = fromId(request.lease);
    const expected = request.expectModRevision;
    const message: TxnRequestMessage = {
      // EQUAL to MOD: 0 and 2 on the wire.
      compare: expected === undefined ? [] : [{ result: 0, target: 2, key, mod_revision: expected }],
      success: [request.value === undefined ? { request_delete_range: { key, prev_kv: true } } : { request_put: put }],
      failure: [{ request_range: { key } }],
    };
    const answer = await this.#call(this.#proto.kv.Txn, message, false);
    const revision = toNumber(answer.header?.revision);
    const response = answer.responses?.[0];
    if (answer.succeeded !== true) {
      const current = response?.response_range?.kvs?.[0];
      return { ok: false, revision, current: current && toKeyValue(current) };
    }
    const previous = response?.response_put?.prev_kv ?? response?.response_delete_range?.prev_kvs?.[0];
    await this.#watchesSeen(request.key, revision);
    return { ok: true, revision, previous: previous ? toKeyValue(previous) : undefined };
  }

  /** Waits until this store's own watches of `key` have been handed `revision`: events come before acknowledgements. */
  async #watchesSeen(key: string, revision: number): Promise<void> {
    const behind: Promise<void>[] = [];
    for (const watch of this.#watches) {
      const seen = watch.seen(key, revision);
      if (seen) behind.push(seen);
    }
    if (behind.length === 0) return;
    await new Promise<void>((resolve) => {
      const cancel = ioTimer(watchLagMs, resolve);
      void Promise.all(behind).then(() => {
        cancel();
        resolve();
      });
    });
  }

  watch(request: StoreWatchRequest, sink: StoreWatchSink): StoreWatch {
    const watch: RemoteWatch = new RemoteWatch(
      this.#channel,
      { ...request, end: request.end === '\0' ? keysEnd : request.end },
      sink,
      () => this.#watches.delete(watch),
    );
    this.#watches.add(watch);
    watch.start();
    return watch;
  }

  async currentRevision(): Promise<number> {
    const answer = await this.#call(this.#proto.kv.Range, { key: fromKey('\0'), count_only: true }, true);
    const revision = toNumber(answer.header?.revision);
    for (const watch of this.#watches) watch.askProgress(revision);
    return revision;
  }

  async grantLease(ttlSeconds: number): Promise<string> {
    const answer = await this.#call(this.#proto.lease.LeaseGrant, { TTL: Math.ceil(ttlSeconds) }, false);
    return toId(answer.ID);
  }

  async revokeLease(id: string): Promise<void> {
    await this.#call(this.#proto.lease.LeaseRevoke, { ID: fromId(id) }, false);
  }

  keepAliveLease(id: string): Promise<number> {
    const method = this.#proto.lease.LeaseKeepAlive;
    return new Promise((resolve, reject) => {
      const call = this.#channel
        .client()
        .makeBidiStreamRequest(method.path, method.requestSerialize, method.responseDeserialize);
      const cancel = ioTimer(this.#timeoutMs, () => call.cancel());
      call.on('data', (answer: LeaseMessage) => {
        cancel();
        call.end();
        const ttl = toNumber(answer.TTL);
        if (ttl > 0) resolve(ttl);
        else reject(new LeaseNotFoundError());
      });
      call.on('error', (error: Error) => {
        cancel();
        reject(this.#translate(error));
      });
      call.write({ ID: fromId(id) });
    });
  }

  async compact(revision: number): Promise<void> {
    await this.#call(this.#proto.kv.Compact, { revision }, false);
  }

  async size(): Promise<number> {
    const answer = await this.#call(this.#proto.maintenance.Status, {}, true);
    return toNumber(answer.dbSize);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    for (const watch of [...this.#watches]) watch.close();
    for (const { client } of this.#endpoints) client.close();
    await this.#ways?.close();
  }
}

/** Whither an endpoint leads. `secure`: what one without a scheme is. */
export function endpointUrl(endpoint: string, secure: boolean): { url: URL; host: string; port: number } {
  const url = new URL(endpoint.includes('://') ? endpoint : `${secure ? 'https' : 'http'}://${endpoint}`);
  if (url.protocol !== 'http:' && url.protocol !== 'https:') {
    throw new TypeError(`etcd endpoint ${endpoint}: the scheme must be http, https, unix or unixs`);
  }
  return { url, host: url.hostname.replace(/^\[|\]$/g, ''), port: Number(url.port || '2379') };
}

/** The socket that an endpoint such as `unix:///run/kine.sock` or `unix:kine.sock` names. */
export function endpointSocket(endpoint: string): { path: string; secure: boolean } | undefined {
  const match = /^unix(s?):(?:\/\/)?(.+)$/.exec(endpoint);
  return match === null ? undefined : { path: match[2]!, secure: match[1] === 's' };
}

/** `way`: the socket to connect to instead. */
function connect(endpoint: string, options: RemoteStoreOptions, way: string | undefined): Endpoint {
  const { tls } = options;
  const socket = endpointSocket(endpoint);
  // As etcd's own client has it: on a socket TLS is spoken when there is something to speak it with, and its file is the server's name.
  const secure = socket !== undefined && (socket.secure || tls !== undefined);
  const {
    url,
    host: address,
    port,
  } = socket === undefined
    ? endpointUrl(endpoint, tls !== undefined)
    : endpointUrl(`${secure ? 'https' : 'http'}://${serverName(socket.path)}`, secure);
  const path = way ?? socket?.path;
  const pem = (p: string | Buffer | undefined): Buffer | null =>
    p === undefined ? null : typeof p === 'string' ? Buffer.from(p) : p;
  // gRPC sends the host as the server's name, which TLS does not allow for an address: send another, check the address.
  const byAddress = url.protocol === 'https:' && isIP(address) !== 0;
  const credentials =
    url.protocol === 'http:'
      ? grpc.credentials.createInsecure()
      : grpc.credentials.createSsl(
          pem(tls?.ca),
          pem(tls?.key),
          pem(tls?.cert),
          byAddress ? { checkServerIdentity: (_name, cert) => checkServerIdentity(address, cert) } : {},
        );
  const target = `${url.hostname}:${port}`;
  const client = new grpc.Client(path === undefined ? target : `unix:${path}`, credentials, {
    'grpc.max_receive_message_length': -1,
    'grpc.max_send_message_length': -1,
    'grpc.keepalive_time_ms': 30_000,
    'grpc.keepalive_timeout_ms': 10_000,
    'grpc.initial_reconnect_backoff_ms': firstBackoffMs,
    'grpc.max_reconnect_backoff_ms': maxBackoffMs,
    // Two stores of one process must not share a connection: closing one would be felt by the other.
    'grpc.use_local_subchannel_pool': 1,
    ...(path === undefined ? {} : { 'grpc.default_authority': socket === undefined ? target : address }),
    ...(byAddress ? { 'grpc.ssl_target_name_override': 'localhost' } : {}),
  });
  return { url: socket === undefined ? `${url.protocol}//${target}` : endpoint, client };
}

/** The name of a socket's file; what may not stand in a host's name is left to the default. */
function serverName(path: string): string {
  const name = basename(path);
  return /^[\w.-]+$/.test(name) ? name : 'localhost';
}
