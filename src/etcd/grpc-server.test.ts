/** The etcd server where the store's contract does not reach: stream details, TLS, errors' codes, resumption, etcdctl. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execFile } from 'node:child_process';
import { webcrypto } from 'node:crypto';
import { once } from 'node:events';
import { describe, it } from 'node:test';
import { promisify } from 'node:util';
import 'reflect-metadata';
import * as grpc from '@grpc/grpc-js';
import * as x509 from '@peculiar/x509';
import { SystemClock } from '../base/clock.ts';
import { silentLogger as logger } from '../base/logger.ts';
import { expose } from '../base/metric-families.ts';
import { openEmbeddedStore } from './embedded-store.ts';
import type { EmbeddedStore } from './embedded-store.ts';
import { serveEtcd } from './grpc-server.ts';
import type { EtcdServer } from './grpc-server.ts';
import { EtcdMetrics } from './server-metrics.ts';
import { openRemoteStore } from './remote-store.ts';
import type { RemoteStoreError } from './remote-store.ts';
import { loadEtcdProto, toId, toKey, toNumber } from './wire.ts';
import type { Int64, WatchRequestMessage, WatchResponseMessage } from './wire.ts';

const clock = new SystemClock();
const run = promisify(execFile);

interface Serving {
  readonly store: EmbeddedStore;
  readonly server: EtcdServer;
  close(): Promise<void>;
}

async function serve(options: { port?: number; store?: EmbeddedStore } = {}): Promise<Serving> {
  const store = options.store ?? (await openEmbeddedStore({ engine: 'memory', clock, logger }));
  const server = await serveEtcd({ mvcc: store.mvcc, logger, port: options.port ?? 0 });
  return {
    store,
    server,
    close: async () => {
      await server.close();
      await store.close();
    },
  };
}

const put = (store: EmbeddedStore, key: string, value: string) =>
  store.commit({ key, value: Buffer.from(value), expectModRevision: undefined });

/** A raw watch stream, read one response after the other. */
class RawWatch {
  readonly #client: grpc.Client;
  readonly #stream: grpc.ClientDuplexStream<WatchRequestMessage, WatchResponseMessage>;
  readonly #iterator: AsyncIterator<WatchResponseMessage>;

  constructor(server: EtcdServer) {
    this.#client = new grpc.Client(`127.0.0.1:${server.port}`, grpc.credentials.createInsecure());
    const method = loadEtcdProto().watch.Watch;
    this.#stream = this.#client.makeBidiStreamRequest(method.path, method.requestSerialize, method.responseDeserialize);
    this.#iterator = this.#stream[Symbol.asyncIterator]() as AsyncIterator<WatchResponseMessage>;
  }

  send(request: WatchRequestMessage): void {
    this.#stream.write(request);
  }

  async next(): Promise<WatchResponseMessage> {
    return (await this.#iterator.next()).value as WatchResponseMessage;
  }

  async close(): Promise<void> {
    this.#stream.end();
    while (!(await this.#iterator.next()).done);
    this.#client.close();
  }
}

const text = (r: WatchResponseMessage): string[] =>
  (r.events ?? []).map((e) => `${e.type === 1 ? 'delete' : 'put'} ${toKey(e.kv?.key)} ${toKey(e.prev_kv?.value)}`);

describe('what is measured', () => {
  it('are calls by method and code, flushes, and what there is', { timeout: 10_000 }, async () => {
    const store = await openEmbeddedStore({ engine: 'memory', clock, logger });
    const measures = new EtcdMetrics(store.mvcc, '3.6.8');
    const metrics = (): string => expose(measures.families);
    const server = await serveEtcd({ mvcc: store.mvcc, logger, port: 0, measures, metrics });
    const remote = await openRemoteStore({ endpoints: [server.url], logger });
    await remote.commit({ key: 'k', value: Buffer.from('v'), expectModRevision: 0 });
    await assert.rejects(remote.range({ key: 'k', revision: 99 }));
    const watch = new RawWatch(server);
    watch.send({ create_request: { key: Buffer.from('a') } });
    await watch.next();
    await watch.close();
    await remote.close();
    const told = await (await fetch(`${server.url}/metrics`)).text();
    const kv = 'grpc_service="etcdserverpb.KV",grpc_type="unary"';
    for (const line of [
      'etcd_server_has_leader 1',
      'etcd_server_proposals_pending 0',
      `etcd_server_proposals_committed_total ${store.mvcc.revision}`,
      'etcd_debugging_mvcc_keys_total 1',
      'etcd_disk_wal_fsync_duration_seconds_count 1',
      `grpc_server_handled_total{grpc_code="OK",grpc_method="Txn",${kv}} 1`,
      `grpc_server_handled_total{grpc_code="OutOfRange",grpc_method="Range",${kv}} 1`,
      `grpc_server_handling_seconds_count{grpc_method="Txn",${kv}} 1`,
      'grpc_server_started_total{grpc_method="Watch",grpc_service="etcdserverpb.Watch",grpc_type="bidi_stream"} 1',
      'grpc_server_handled_total{grpc_code="OK",grpc_method="Watch",grpc_service="etcdserverpb.Watch",grpc_type="bidi_stream"} 1',
    ])
      assert.ok(told.split('\n').includes(line), `${line} is not in\n${told}`);
    await server.close();
    await store.close();
  });
});

describe('the watch service', () => {
  it('carries several watches on a stream, with filters, progress and cancellation', { timeout: 10_000 }, async () => {
    const serving = await serve();
    const { store } = serving;
    const watch = new RawWatch(serving.server);
    const [from, end] = [Buffer.from('a'), Buffer.from('b')];
    watch.send({ create_request: { key: from, range_end: end, prev_kv: true } });
    watch.send({ create_request: { key: from, range_end: end, watch_id: 7, filters: [0] } });
    watch.send({ create_request: { key: from, watch_id: 7 } });
    watch.send({ create_request: { key: end, range_end: from } });
    const ids = [];
    for (let i = 0; i < 4; i++) {
      const r = await watch.next();
      assert.equal(r.created, true);
      ids.push([toNumber(r.watch_id), r.cancel_reason]);
    }
    assert.deepEqual(ids, [
      [0, ''],
      [7, ''],
      [-1, 'mvcc: duplicate watch ID provided on the WatchStream'],
      [-1, 'mvcc: watcher range is empty'],
    ]);
    await put(store, 'a1', 'one');
    assert.deepEqual(text(await watch.next()), ['put a1 ']);
    await store.commit({ key: 'a1', value: undefined, expectModRevision: undefined });
    assert.deepEqual(text(await watch.next()), ['delete a1 one']);
    const filtered = await watch.next();
    assert.deepEqual([toNumber(filtered.watch_id), ...text(filtered)], [7, 'delete a1 ']);
    const other = await put(store, 'z', 'not watched');
    watch.send({ progress_request: {} });
    const progress = await watch.next();
    assert.deepEqual([toNumber(progress.watch_id), toNumber(progress.header?.revision)], [-1, other.revision]);
    watch.send({ cancel_request: { watch_id: 7 } });
    const canceled = await watch.next();
    assert.deepEqual([toNumber(canceled.watch_id), canceled.canceled], [7, true]);
    await watch.close();
    assert.equal(store.mvcc.watchers, 0);
    await serving.close();
  });

  it('splits large answers where asked and tells a compaction', { timeout: 10_000 }, async () => {
    const serving = await serve();
    const { store } = serving;
    const value = Buffer.alloc(900_000, 'x');
    const keys = ['a', 'b', 'c'];
    const first = await store.mvcc.txn({
      compare: [],
      success: keys.map((key) => ({ type: 'put', key, value: key === 'c' ? Buffer.from('x') : value })),
      failure: [],
    });
    const watch = new RawWatch(serving.server);
    const all = { key: Buffer.from('a'), range_end: Buffer.from('z'), start_revision: first.revision, fragment: true };
    watch.send({ create_request: all });
    assert.equal((await watch.next()).created, true);
    const [one, two] = [await watch.next(), await watch.next()];
    assert.deepEqual([one.fragment, one.events?.length, two.fragment, two.events?.length], [true, 1, false, 2]);
    await put(store, 'a', 'y');
    await store.compact(first.revision + 1);
    watch.send({ create_request: all });
    let r = await watch.next();
    while (!r.canceled) r = await watch.next();
    assert.equal(toNumber(r.compact_revision), first.revision + 1);
    await watch.close();
    await serving.close();
  });

  it('puts a client that does not read aside and takes it up again without a gap', { timeout: 20_000 }, async () => {
    const serving = await serve();
    const { store } = serving;
    const watch = new RawWatch(serving.server);
    watch.send({ create_request: { key: Buffer.from('k') } });
    assert.equal((await watch.next()).created, true);
    const value = Buffer.alloc(500_000, 'x');
    const revisions: number[] = [];
    for (let i = 0; i < 60; i++) {
      const r = await store.commit({ key: 'k', value, expectModRevision: undefined });
      revisions.push(r.revision);
    }
    const seen: number[] = [];
    while (seen.length < revisions.length) {
      for (const e of (await watch.next()).events ?? []) seen.push(toNumber(e.kv?.mod_revision));
    }
    assert.deepEqual(seen, revisions);
    await watch.close();
    await serving.close();
  });
});

describe('the etcd server', () => {
  it('answers with etcd’s codes and messages', async () => {
    const serving = await serve();
    await put(serving.store, 'a', '1');
    const client = new grpc.Client(`127.0.0.1:${serving.server.port}`, grpc.credentials.createInsecure());
    const { kv, lease, maintenance, cluster } = loadEtcdProto();
    const call = <Q, A>(method: grpc.MethodDefinition<Q, A>, request: Q): Promise<A> =>
      new Promise((resolve, reject) => {
        client.makeUnaryRequest(method.path, method.requestSerialize, method.responseDeserialize, request, (e, a) =>
          e ? reject(e) : resolve(a!),
        );
      });
    const key = Buffer.from('a');
    const { status } = grpc;
    for (const [request, code, details] of [
      [() => call(kv.Range, {}), status.INVALID_ARGUMENT, 'etcdserver: key is not provided'],
      [
        () => call(kv.Range, { key, revision: 99 }),
        status.OUT_OF_RANGE,
        'etcdserver: mvcc: required revision is a future revision',
      ],
      [() => call(kv.Range, { key, sort_order: 9 }), status.INVALID_ARGUMENT, 'etcdserver: invalid sort option'],
      [
        () => call(kv.Put, { key, value: key, ignore_value: true }),
        status.INVALID_ARGUMENT,
        'etcdserver: value is provided',
      ],
      [
        () => call(kv.Put, { key: Buffer.from('no'), ignore_value: true }),
        status.INVALID_ARGUMENT,
        'etcdserver: key not found',
      ],
      [() => call(kv.Put, { key, lease: 77 }), status.NOT_FOUND, 'etcdserver: requested lease not found'],
      [
        () => call(kv.Txn, { success: [{ request_put: { key } }, { request_put: { key } }] }),
        status.INVALID_ARGUMENT,
        'etcdserver: duplicate key given in txn request',
      ],
      [
        () => call(kv.Txn, { success: Array.from({ length: 129 }, () => ({ request_range: { key } })) }),
        status.INVALID_ARGUMENT,
        'etcdserver: too many operations in txn request',
      ],
      [() => call(lease.LeaseRevoke, { ID: 77 }), status.NOT_FOUND, 'etcdserver: requested lease not found'],
      [
        () => call(lease.LeaseGrant, { ID: 1, TTL: 9_000_000_001 }),
        status.OUT_OF_RANGE,
        'etcdserver: too large lease TTL',
      ],
    ] as const) {
      await assert.rejects(request(), (e: grpc.ServiceError) => {
        assert.deepEqual([e.code, e.details], [code, details]);
        return true;
      });
    }
    const sorted = await call(kv.Range, { key, range_end: Buffer.from('\0'), sort_target: 3, sort_order: 2 });
    assert.equal(toNumber(sorted.count), 1);
    const big: Int64 = { low: -1, high: 0x7fffffff };
    const granted = await call(lease.LeaseGrant, { ID: big, TTL: 1 });
    assert.deepEqual([toId(granted.ID), toNumber(granted.TTL)], ['9223372036854775807', 2]);
    await assert.rejects(call(lease.LeaseGrant, { ID: big, TTL: 1 }), { details: 'etcdserver: lease already exists' });
    assert.match((await call(maintenance.Status, {})).version ?? '', /^3\./);
    assert.deepEqual((await call(cluster.MemberList, {})).members?.[0]?.clientURLs, [serving.server.url]);
    client.close();
    await serving.close();
  });

  it('speaks TLS and asks for client certificates', async () => {
    const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
    x509.cryptoProvider.set(webcrypto as unknown as Parameters<typeof x509.cryptoProvider.set>[0]);
    const make = async (cn: string, issuer?: { cert: x509.X509Certificate; keys: webcrypto.CryptoKeyPair }) => {
      const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
      const cert = await x509.X509CertificateGenerator.create({
        subject: `CN=${cn}`,
        issuer: issuer?.cert.subject ?? `CN=${cn}`,
        publicKey: keys.publicKey,
        signingKey: issuer?.keys.privateKey ?? keys.privateKey,
        signingAlgorithm: algorithm,
        extensions: [
          new x509.BasicConstraintsExtension(issuer === undefined),
          new x509.SubjectAlternativeNameExtension([{ type: 'ip', value: '127.0.0.1' }]),
        ],
      });
      const pkcs8 = await webcrypto.subtle.exportKey('pkcs8', keys.privateKey);
      const key = `-----BEGIN PRIVATE KEY-----\n${Buffer.from(pkcs8).toString('base64')}\n-----END PRIVATE KEY-----\n`;
      return { cert, keys, pem: cert.toString('pem'), key };
    };
    const ca = await make('ca');
    const [serverCert, clientCert] = [await make('server', ca), await make('client', ca)];
    const store = await openEmbeddedStore({ engine: 'memory', clock, logger });
    const server = await serveEtcd({
      mvcc: store.mvcc,
      logger,
      port: 0,
      tls: { cert: serverCert.pem, key: serverCert.key, clientCa: ca.pem },
    });
    const good = await openRemoteStore({
      endpoints: [server.url],
      tls: { ca: ca.pem, cert: clientCert.pem, key: clientCert.key },
      logger,
    });
    const written = await good.commit({ key: 'a', value: Buffer.from('1'), expectModRevision: 0 });
    assert.ok(written.ok);
    const bad = await openRemoteStore({ endpoints: [server.url], tls: { ca: ca.pem }, logger, timeoutMs: 300 });
    await assert.rejects(bad.range({ key: 'a' }), (e: RemoteStoreError) => {
      assert.equal(e.name, 'RemoteStoreError');
      assert.ok(e.cause instanceof Error);
      return true;
    });
    await bad.close();
    await good.close();
    await server.close();
    await store.close();
  });

  it('answers monitors over HTTP/1.1 on the same port', async () => {
    const serving = await serve();
    const { url } = serving.server;
    const ask = async (path: string, method = 'GET'): Promise<[number, string]> => {
      const response = await fetch(`${url}${path}`, { method });
      return [response.status, await response.text()];
    };
    assert.deepEqual(await ask('/health'), [200, '{"health":"true","reason":""}']);
    assert.deepEqual(await ask('/readyz'), [200, 'ok\n']);
    const [status, version] = await ask('/version');
    assert.equal(status, 200);
    assert.match(version, /^\{"etcdserver":"3\.\d+\.\d+","etcdcluster":"3\.\d+\.0"/);
    assert.deepEqual(await ask('/nothing'), [404, '404 page not found\n']);
    assert.equal((await ask('/health', 'POST'))[0], 405);
    // The beginning of HTTP/2 in pieces is still that.
    const socket = connect(serving.server.port, '127.0.0.1');
    const settings = new Promise<Buffer>((resolve, reject) => {
      socket.once('data', resolve);
      socket.once('error', reject);
      socket.once('close', () => reject(new Error('closed')));
    });
    socket.setNoDelay(true);
    const hello = Buffer.concat([
      Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
      Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]),
    ]);
    await new Promise((resolve) => socket.write(hello.subarray(0, 2), resolve));
    socket.write(hello.subarray(2));
    assert.equal((await settings)[3], 4, 'settings');
    socket.destroy();
    await serving.close();
  });

  it('says which address it cannot listen on', async () => {
    const serving = await serve();
    await assert.rejects(
      serveEtcd({ mvcc: serving.store.mvcc, logger, port: serving.server.port }),
      new RegExp(`cannot listen on 127.0.0.1:${serving.server.port}`),
    );
    await serving.close();
  });
});

describe('the remote store', () => {
  it('is reached by a Unix socket', { timeout: 20_000 }, async () => {
    const serving = await serve();
    const directory = await mkdtemp(join(tmpdir(), 'knarr-etcd-test-'));
    const path = join(directory, 'etcd.sock');
    // As a server that listens there, such as kine: the socket leads to the same store.
    const listener = createServer((near) => {
      const far = connect(Number(new URL(serving.server.url).port), '127.0.0.1');
      near.on('error', () => far.destroy());
      far.on('error', () => near.destroy());
      near.pipe(far).pipe(near);
    });
    listener.listen(path);
    await once(listener, 'listening');
    try {
      for (const endpoint of [`unix://${path}`, `unix:${path}`]) {
        const remote = await openRemoteStore({ endpoints: [endpoint], logger });
        await put(serving.store, 'where', endpoint);
        const [kv] = (await remote.range({ key: 'where' })).kvs;
        assert.equal(String(kv?.value), endpoint);
        await remote.close();
      }
    } finally {
      listener.close();
      await serving.close();
      await rm(directory, { recursive: true });
    }
    const gone = await openRemoteStore({ endpoints: [`unix://${path}`], logger, timeoutMs: 300 });
    await assert.rejects(gone.range({ key: 'where' }), (e: RemoteStoreError) =>
      e.message.startsWith(`unix://${path}: `),
    );
    await gone.close();
  });

  it('goes to another endpoint and resumes its watches without a gap', { timeout: 20_000 }, async () => {
    const store = await openEmbeddedStore({ engine: 'memory', clock, logger });
    const [one, two] = [
      await serveEtcd({ mvcc: store.mvcc, logger, port: 0 }),
      await serveEtcd({ mvcc: store.mvcc, logger, port: 0 }),
    ];
    const remote = await openRemoteStore({ endpoints: [one.url, two.url], logger });
    const events = new EventTarget();
    const seen: number[] = [];
    const first = await put(store, 'k', '0');
    remote.watch(
      { key: 'k', fromRevision: first.revision },
      {
        events: (list) => {
          seen.push(...list.map((e) => e.kv.modRevision));
          events.dispatchEvent(new Event('seen'));
        },
        progress: () => {},
        closed: assert.ifError,
      },
    );
    while (seen.length < 1) await once(events, 'seen');
    await one.close();
    for (let i = 0; i < 10; i++) await put(store, 'k', String(i));
    const last = await remote.commit({ key: 'k', value: Buffer.from('last'), expectModRevision: undefined });
    assert.ok(last.ok);
    while (seen.at(-1) !== last.revision) await once(events, 'seen');
    assert.deepEqual(
      seen,
      Array.from({ length: 12 }, (_, i) => first.revision + i),
    );
    await remote.close();
    await two.close();
    await store.close();
  });

  it('gives up on a cluster that is not there, naming it', { timeout: 20_000 }, async () => {
    const remote = await openRemoteStore({ endpoints: ['http://127.0.0.1:1'], logger, timeoutMs: 300 });
    await assert.rejects(remote.range({ key: 'a' }), (e: RemoteStoreError) => {
      assert.match(e.message, /^http:\/\/127\.0\.0\.1:1: .*ECONNREFUSED/);
      assert.equal(e.code, grpc.status.UNAVAILABLE);
      return true;
    });
    await remote.close();
  });
});

it('etcdctl works against the server', { timeout: 30_000 }, async (t) => {
  const serving = await serve();
  try {
    const etcdctl = async (...args: string[]): Promise<string> =>
      (await run('etcdctl', args, { env: { ...process.env, ETCDCTL_API: '3', ETCDCTL_ENDPOINTS: serving.server.url } }))
        .stdout;
    try {
      await etcdctl('version');
    } catch (error) {
      if (process.env['KNARR_REQUIRE_PEERS']) throw error;
      t.skip('etcdctl not found on PATH');
      return;
    }
    assert.equal(await etcdctl('put', 'foo', 'bar'), 'OK\n');
    await etcdctl('put', 'foo1', 'bar1');
    assert.equal(await etcdctl('get', '--prefix', 'foo'), 'foo\nbar\nfoo1\nbar1\n');
    assert.equal(await etcdctl('get', 'foo', '--rev', '2', '--print-value-only'), 'bar\n');
    assert.equal(await etcdctl('del', 'foo'), '1\n');
    assert.match(await etcdctl('endpoint', 'status'), /, 3\.\d+\.\d+, .* true, false/);
    assert.match(await etcdctl('endpoint', 'health', '--dial-timeout', '5s'), /^$|healthy/);
    assert.match(await etcdctl('member', 'list'), /, started, default, /);
    const lease = /lease (\w+) granted with TTL\(100s\)/.exec(await etcdctl('lease', 'grant', '100'))![1]!;
    await etcdctl('put', '--lease', lease, 'leased', 'x');
    assert.match(await etcdctl('lease', 'timetolive', lease, '--keys'), /attached keys\(\[leased\]\)/);
    assert.match(await etcdctl('lease', 'keep-alive', '--once', lease), /keepalived with TTL\(100\)/);
    assert.match(await etcdctl('lease', 'revoke', lease), /revoked/);
    assert.equal(await etcdctl('get', 'leased'), '');
    assert.match(await etcdctl('compaction', '4'), /compacted revision 4/);
    await assert.rejects(etcdctl('get', 'foo', '--rev', '2'), /required revision has been compacted/);
  } finally {
    await serving.close();
  }
});
