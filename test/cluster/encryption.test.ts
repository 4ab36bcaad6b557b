/** Encryption at rest: what lies in the store, who can read it, keys that change, and a key management plugin on its socket. */
import assert from 'node:assert/strict';
import { createCipheriv, createDecipheriv, createHmac, randomBytes } from 'node:crypto';
import { after, before, test } from 'node:test';
import * as grpc from '@grpc/grpc-js';
import protobufjs from 'protobufjs';
import { loadCatalog } from '../../src/api/catalog/catalog.ts';
import { ProtobufObjects } from '../../src/api/protobuf.ts';
import { SystemClock } from '../../src/base/clock.ts';
import { silentLogger } from '../../src/base/logger.ts';
import { SystemRandom } from '../../src/base/random.ts';
import { waitForOne } from '../support/wait.ts';
import { createWorkspace, startApiServer, startStore } from '../support/api-server.ts';
import type { RunningApiServer, TestStore, Workspace } from '../support/api-server.ts';
import type { Api } from '../support/api.ts';

let work: Workspace;
let etcd: TestStore;

before(async () => {
  work = await createWorkspace();
  etcd = await startStore();
});

after(async () => {
  await etcd[Symbol.asyncDispose]();
  work.dispose();
});

const key = (byte: number, size = 32): string => Buffer.alloc(size, byte).toString('base64');
const config = (...resources: object[]): object => ({
  apiVersion: 'apiserver.config.k8s.io/v1',
  kind: 'EncryptionConfiguration',
  resources,
});
const identity = { identity: {} };

async function stored(name: string, from = etcd): Promise<Buffer> {
  const { kvs } = await from.store.range({ key: `/registry/${name}` });
  assert.equal(kvs.length, 1, `${name} is in the store`);
  return kvs[0]!.value;
}

const secret = (name: string): object => ({ metadata: { name, namespace: 'default' }, stringData: { p: 'hush-hush' } });
const secrets = '/api/v1/namespaces/default/secrets';

async function starts(name: string, value: object, ...flags: string[]): Promise<RunningApiServer> {
  return startApiServer(work, etcd, [`--encryption-provider-config=${work.write(name, value)}`, ...flags]);
}

/** What a person does after a rotation: everything replaced by itself. */
async function rewrite(api: Api, path: string): Promise<void> {
  const { body } = await api.get(path);
  const written = await api.request('PUT', path, body);
  assert.equal(written.status, 200);
}

async function until(look: () => boolean | Promise<boolean>): Promise<void> {
  for (let i = 0; i < 500; i++) {
    if (await look()) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error('waited in vain');
}

test('each provider, wildcards, rotation by replacing, and back to plain', async () => {
  await using plain = await startApiServer(work, etcd);
  await plain.api.create(secrets, secret('before'));
  assert.match((await stored('secrets/default/before')).toString(), /^\{"kind":"Secret"/);
  await plain.stop();

  const first = config(
    { resources: ['secrets'], providers: [{ aescbc: { keys: [{ name: 'k1', secret: key(1) }] } }, identity] },
    { resources: ['*.apps', 'configmaps'], providers: [{ secretbox: { keys: [{ name: 's', secret: key(2) }] } }] },
    { resources: ['*.*'], providers: [{ aesgcm: { keys: [{ name: 'rest', secret: key(3, 16) }] } }, identity] },
  );
  {
    // Configuration maps and the like lie there in plain: this provider cannot read them.
    const mended = JSON.parse(JSON.stringify(first).replace('"secret":"' + key(2) + '"}]}}', '$&,{"identity":{}}'));
    await using server = await starts('first.json', mended);
    const { api } = server;
    await api.create(secrets, secret('after'));
    const raw = await stored('secrets/default/after');
    assert.match(raw.toString('latin1'), /^k8s:enc:aescbc:v1:k1:/);
    const d = createDecipheriv('aes-256-cbc', Buffer.alloc(32, 1), raw.subarray(21, 37));
    assert.match(
      Buffer.concat([d.update(raw.subarray(37)), d.final()]).toString(),
      /^\{"kind":"Secret","apiVersion":"v1"/,
    );
    assert.equal((await api.get(`${secrets}/before`)).body.data.p, Buffer.from('hush-hush').toString('base64'));
    await rewrite(api, `${secrets}/before`);
    assert.match((await stored('secrets/default/before')).toString('latin1'), /^k8s:enc:aescbc:v1:k1:/);

    await api.create('/api/v1/namespaces/default/configmaps', { metadata: { name: 'c' } });
    assert.match((await stored('configmaps/default/c')).toString('latin1'), /^k8s:enc:secretbox:v1:s:/);
    await api.create('/apis/apps/v1/namespaces/default/deployments', {
      metadata: { name: 'd' },
      spec: {
        selector: { matchLabels: { a: 'b' } },
        template: { metadata: { labels: { a: 'b' } }, spec: { containers: [{ name: 'c', image: 'i' }] } },
      },
    });
    assert.match((await stored('deployments/default/d')).toString('latin1'), /^k8s:enc:secretbox:v1:s:/);
    await api.create('/api/v1/namespaces/default/services', {
      metadata: { name: 's' },
      spec: { ports: [{ port: 80 }] },
    });
    const service = await stored('services/specs/default/s');
    assert.match(service.toString('latin1'), /^k8s:enc:aesgcm:v1:rest:/);
    // Bound to where it lies, as upstream binds it.
    const sealed = service.subarray('k8s:enc:aesgcm:v1:rest:'.length);
    const g = createDecipheriv('aes-128-gcm', Buffer.alloc(16, 3), sealed.subarray(0, 12));
    g.setAAD(Buffer.from('/registry/services/specs/default/s'));
    g.setAuthTag(sealed.subarray(-16));
    assert.match(Buffer.concat([g.update(sealed.subarray(12, -16)), g.final()]).toString(), /^\{"kind":"Service"/);
    await api.create('/apis/apiextensions.k8s.io/v1/customresourcedefinitions', {
      metadata: { name: 'ships.example.com' },
      spec: {
        group: 'example.com',
        scope: 'Namespaced',
        names: { plural: 'ships', singular: 'ship', kind: 'Ship' },
        versions: [{ name: 'v1', served: true, storage: true, schema: { openAPIV3Schema: { type: 'object' } } }],
      },
    });
    await until(async () => (await api.get('/apis/example.com/v1/namespaces/default/ships')).status === 200);
    await api.create('/apis/example.com/v1/namespaces/default/ships', {
      apiVersion: 'example.com/v1',
      kind: 'Ship',
      metadata: { name: 'knarr' },
    });
    assert.match((await stored('example.com/ships/default/knarr')).toString('latin1'), /^k8s:enc:aesgcm:v1:rest:/);

    // Reads, watches and paging are none the wiser.
    const list = await api.get(`${secrets}?limit=1`);
    assert.equal(list.body.items.length, 1);
    const watch = await api.get(`${secrets}?watch=1&resourceVersion=0&timeoutSeconds=1`);
    assert.match(watch.text, /"name":"after"/);
    await api.delete('/apis/apiextensions.k8s.io/v1/customresourcedefinitions/ships.example.com');
  }

  const rotated = config(
    {
      resources: ['secrets'],
      providers: [
        {
          aesgcm: {
            keys: [
              { name: 'k2', secret: key(4) },
              { name: 'k1', secret: key(1) },
            ],
          },
        },
        { aescbc: { keys: [{ name: 'k1', secret: key(1) }] } },
        identity,
      ],
    },
    {
      resources: ['*.*'],
      providers: [
        identity,
        { aesgcm: { keys: [{ name: 'rest', secret: key(3, 16) }] } },
        { secretbox: { keys: [{ name: 's', secret: key(2) }] } },
      ],
    },
  );
  await using server = await starts('rotated.json', rotated);
  const { api } = server;
  await rewrite(api, `${secrets}/after`);
  assert.match((await stored('secrets/default/after')).toString('latin1'), /^k8s:enc:aesgcm:v1:k2:/);
  const touched = await api.get(`${secrets}/before`);
  const noop = await api.merge(`${secrets}/before`, {});
  assert.notEqual(noop.body.metadata.resourceVersion, touched.body.metadata.resourceVersion);
  assert.match((await stored('secrets/default/before')).toString('latin1'), /^k8s:enc:aesgcm:v1:k2:/);
  const still = await api.merge(`${secrets}/before`, {});
  assert.equal(still.body.metadata.resourceVersion, noop.body.metadata.resourceVersion);
  await rewrite(api, '/api/v1/namespaces/default/configmaps/c');
  assert.match((await stored('configmaps/default/c')).toString(), /^\{"kind":"ConfigMap"/);
  assert.match(
    (await api.get('/metrics')).text,
    /^apiserver_storage_transformation_operations_total\{resource="secrets",status="OK",transformation_type="to_storage",transformer_prefix="k8s:enc:aesgcm:v1:"\} [1-9]/m,
  );
});

test('a changed configuration is taken without a restart; one that does not hold is not', async () => {
  await using own = await startStore();
  const providers = (...keys: [string, number][]): object =>
    config({
      resources: ['secrets'],
      providers: [{ secretbox: { keys: keys.map(([name, k]) => ({ name, secret: key(k) })) } }, identity],
    });
  const file = work.write('reload/config.json', providers(['a', 1]));
  await using server = await startApiServer(work, own, [
    `--encryption-provider-config=${file}`,
    '--encryption-provider-config-automatic-reload',
  ]);
  const { api } = server;
  await api.create(secrets, secret('s'));
  assert.match((await stored('secrets/default/s', own)).toString('latin1'), /^k8s:enc:secretbox:v1:a:/);
  work.write('reload/config.json', providers(['b', 2], ['a', 1]));
  const metric = async (status: string): Promise<boolean> =>
    new RegExp(
      `^apiserver_encryption_config_controller_automatic_reloads_total\\{apiserver_id_hash="sha256:[0-9a-f]{64}",status="${status}"\\} 1$`,
      'm',
    ).test((await api.get('/metrics')).text);
  await until(() => metric('success'));
  await rewrite(api, `${secrets}/s`);
  assert.match((await stored('secrets/default/s', own)).toString('latin1'), /^k8s:enc:secretbox:v1:b:/);
  work.write('reload/config.json', config({ resources: ['secrets'], providers: [] }));
  await until(() => metric('failure'));
  await api.create(secrets, secret('t'));
  assert.match((await stored('secrets/default/t', own)).toString('latin1'), /^k8s:enc:secretbox:v1:b:/);
  assert.equal((await api.get('/healthz/kms-providers')).text, 'ok');
});

/** A plugin that encrypts by XOR, under a key id that can be changed. */
async function startPlugin(file: string): Promise<{
  keyId: string;
  healthz: string;
  decrypts: number;
  stop(): void;
}> {
  const { root } = protobufjs.parse(`syntax = "proto3"; package v2;
    message StatusRequest {} message StatusResponse { string version = 1; string healthz = 2; string key_id = 3; }
    message DecryptRequest { bytes ciphertext = 1; string uid = 2; string key_id = 3; map<string, bytes> annotations = 4; }
    message DecryptResponse { bytes plaintext = 1; }
    message EncryptRequest { bytes plaintext = 1; string uid = 2; }
    message EncryptResponse { bytes ciphertext = 1; string key_id = 2; map<string, bytes> annotations = 3; }`);
  const plugin = { keyId: 'key-1', healthz: 'ok', decrypts: 0, stop: () => server.forceShutdown() };
  const xor = (bytes: Uint8Array): Buffer => Buffer.from(bytes.map((b) => b ^ 0x5a));
  const method = (name: string): grpc.MethodDefinition<object, object> => {
    const ask = root.lookupType(`v2.${name}Request`);
    const answer = root.lookupType(`v2.${name}Response`);
    return {
      path: `/v2.KeyManagementService/${name}`,
      requestStream: false,
      responseStream: false,
      requestSerialize: (m) => Buffer.from(ask.encode(ask.fromObject(m)).finish()),
      requestDeserialize: (b) => ask.decode(b),
      responseSerialize: (m) => Buffer.from(answer.encode(answer.fromObject(m)).finish()),
      responseDeserialize: (b) => answer.decode(b),
    };
  };
  const server = new grpc.Server();
  type Handler = grpc.handleUnaryCall<Record<string, never>, object>;
  const handlers: Record<string, Handler> = {
    Status: (_call, done) => done(null, { version: 'v2', healthz: plugin.healthz, keyId: plugin.keyId }),
    Encrypt: (call, done) =>
      done(null, {
        ciphertext: xor(call.request['plaintext']!),
        keyId: plugin.keyId,
        annotations: { 'version.example.com': Buffer.from('1') },
      }),
    Decrypt: (call, done) => {
      plugin.decrypts++;
      done(null, { plaintext: xor(call.request['ciphertext']!) });
    },
  };
  server.addService(
    { Status: method('Status'), Encrypt: method('Encrypt'), Decrypt: method('Decrypt') } as grpc.ServiceDefinition,
    handlers as unknown as grpc.UntypedServiceImplementation,
  );
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(`unix:${file}`, grpc.ServerCredentials.createInsecure(), (error) =>
      error === null ? resolve() : reject(error),
    );
  });
  return plugin;
}

test('KMS v2: the seed by the plugin, a key for each value, another key id, health', async () => {
  await using own = await startStore();
  const socket = work.path('kms.sock');
  const plugin = await startPlugin(socket);
  after(() => plugin.stop());
  const flags = [
    `--encryption-provider-config=${work.write(
      'kms.json',
      config({
        resources: ['secrets'],
        providers: [{ kms: { apiVersion: 'v2', name: 'plug', endpoint: `unix://${socket}`, timeout: '2s' } }, identity],
      }),
    )}`,
  ];
  const EncryptedObject = protobufjs
    .parse(`syntax = "proto3";
    message EncryptedObject { bytes encryptedData = 1; string keyID = 2; bytes encryptedDEKSource = 3;
      map<string, bytes> annotations = 4; int32 encryptedDEKSourceType = 5; }`)
    .root.lookupType('EncryptedObject');
  const prefix = 'k8s:enc:kms:v2:plug:';
  const decode = async (name: string): Promise<Record<string, never>> => {
    const raw = await stored(name, own);
    assert.equal(raw.toString('latin1', 0, prefix.length), prefix);
    return EncryptedObject.decode(raw.subarray(prefix.length)) as unknown as Record<string, never>;
  };
  {
    await using server = await startApiServer(work, own, flags);
    await server.api.create(secrets, secret('one'));
    const object = await decode('secrets/default/one');
    assert.equal(object['keyID'], 'key-1');
    assert.equal(object['encryptedDEKSourceType'], 1);
    assert.equal(Buffer.from(object['annotations']!['version.example.com']!).toString(), '1');
    // As upstream reads it: HKDF-Expand of the seed with the first 32 bytes, then AES-GCM bound to the key.
    const seed = Buffer.from((object['encryptedDEKSource'] as unknown as Uint8Array).map((b) => b ^ 0x5a));
    const data = Buffer.from(object['encryptedData'] as unknown as Uint8Array);
    const derived = createHmac('sha256', seed).update(data.subarray(0, 32)).update(Buffer.of(1)).digest();
    const d = createDecipheriv('aes-256-gcm', derived, data.subarray(32, 44));
    d.setAAD(Buffer.from('/registry/secrets/default/one'));
    d.setAuthTag(data.subarray(-16));
    assert.match(Buffer.concat([d.update(data.subarray(44, -16)), d.final()]).toString(), /^\{"kind":"Secret"/);
    assert.equal((await server.api.get('/healthz/kms-providers')).text, 'ok');
    assert.match((await server.api.get('/readyz?verbose')).text, /^\[\+\]kms-providers ok$/m);
    assert.equal(plugin.decrypts, 0);
  }
  plugin.keyId = 'key-2';
  {
    await using server = await startApiServer(work, own, flags);
    assert.equal((await server.api.get(`${secrets}/one`)).body.data.p, Buffer.from('hush-hush').toString('base64'));
    assert.equal(plugin.decrypts, 1);
    const metrics = (await server.api.get('/metrics')).text;
    assert.match(metrics, /^apiserver_storage_data_key_generation_duration_seconds_count [1-9]/m);
    assert.match(metrics, /^apiserver_storage_envelope_transformation_cache_misses_total 1$/m);
    assert.match(
      metrics,
      /^apiserver_envelope_encryption_key_id_hash_status_last_timestamp_seconds\{apiserver_id_hash="sha256:\w+",key_id_hash="sha256:\w+",provider_name="plug"\} \d/m,
    );
    assert.match(
      metrics,
      /^apiserver_envelope_encryption_kms_operations_latency_seconds_count\{grpc_status_code="OK",method_name="\/v2\.KeyManagementService\/Decrypt",provider_name="plug"\} 1$/m,
    );
    assert.match(
      metrics,
      /^apiserver_envelope_encryption_key_id_hash_total\{apiserver_id_hash="sha256:\w+",key_id_hash="sha256:\w+",provider_name="plug",transformation_type="from_storage"\} [1-9]/m,
    );
    await rewrite(server.api, `${secrets}/one`);
    assert.equal((await decode('secrets/default/one'))['keyID'], 'key-2');
    // Somebody else's write, with a seed that this server has never seen, comes as an event.
    const seed = randomBytes(32);
    const info = randomBytes(32);
    const nonce = randomBytes(12);
    const c = createCipheriv(
      'aes-256-gcm',
      createHmac('sha256', seed).update(info).update(Buffer.of(1)).digest(),
      nonce,
    );
    c.setAAD(Buffer.from('/registry/secrets/default/foreign'));
    const text = JSON.stringify({
      kind: 'Secret',
      apiVersion: 'v1',
      metadata: { name: 'foreign', namespace: 'default', uid: 'u', creationTimestamp: '2026-01-01T00:00:00Z' },
      type: 'Opaque',
    });
    const sealed = Buffer.concat([info, nonce, c.update(text), c.final(), c.getAuthTag()]);
    const message = EncryptedObject.encode(
      EncryptedObject.fromObject({
        encryptedData: sealed,
        keyID: 'key-0',
        encryptedDEKSource: Buffer.from(seed.map((b) => b ^ 0x5a)),
        encryptedDEKSourceType: 1,
      }),
    ).finish();
    await own.store.commit({
      key: '/registry/secrets/default/foreign',
      expectModRevision: 0,
      value: Buffer.concat([Buffer.from(prefix), message]),
    });
    assert.equal((await server.api.get(`${secrets}/foreign`)).body.metadata.uid, 'u');
    assert.equal(plugin.decrypts, 2);
    assert.equal((await server.api.get(secrets)).body.items.length, 2);
  }
  // Without its provider it is told which value cannot be read, and nothing of it.
  const without = [
    `--encryption-provider-config=${work.write('none.json', config({ resources: ['configmaps'], providers: [identity] }))}`,
  ];
  await assert.rejects(
    startApiServer(work, own, without),
    /unable to transform key "\/registry\/secrets\/default\/\w+": identity transformer tried to read encrypted data/,
  );
});

test('KMS v1: behind its gate, a key for each value by the plugin; refused without the gate', async () => {
  await using own = await startStore();
  const socket = work.path('kms1.sock');
  const abstract = process.platform === 'linux';
  const { root } = protobufjs.parse(`syntax = "proto3"; package v1beta1;
    message VersionRequest { string version = 1; }
    message VersionResponse { string version = 1; string runtime_name = 2; string runtime_version = 3; }
    message DecryptRequest { string version = 1; bytes cipher = 2; } message DecryptResponse { bytes plain = 1; }
    message EncryptRequest { string version = 1; bytes plain = 2; } message EncryptResponse { bytes cipher = 1; }`);
  const asked: string[] = [];
  const keys: Buffer[] = [];
  const xor = (bytes: Uint8Array): Buffer => Buffer.from(bytes.map((b) => b ^ 0x33));
  const answers: Record<string, (request: Record<string, never>) => object> = {
    Version: () => ({ version: 'v1beta1', runtimeName: 'test', runtimeVersion: '1' }),
    Encrypt: (request) => {
      keys.push(Buffer.from(request['plain']!));
      return { cipher: xor(request['plain']!) };
    },
    Decrypt: (request) => ({ plain: xor(request['cipher']!) }),
  };
  const plugin = new grpc.Server();
  after(() => plugin.forceShutdown());
  for (const [name, answer] of Object.entries(answers)) {
    const ask = root.lookupType(`v1beta1.${name}Request`);
    const reply = root.lookupType(`v1beta1.${name}Response`);
    const method = {
      path: `/v1beta1.KeyManagementService/${name}`,
      requestStream: false,
      responseStream: false,
      requestSerialize: () => Buffer.alloc(0),
      requestDeserialize: (b: Buffer) => ask.decode(b),
      responseSerialize: (m: object) => Buffer.from(reply.encode(reply.fromObject(m)).finish()),
      responseDeserialize: (b: Buffer) => b,
    };
    plugin.addService(
      { [name]: method } as grpc.ServiceDefinition,
      {
        [name]: (call: { request: Record<string, never> }, done: grpc.sendUnaryData<object>) => {
          asked.push(name);
          done(null, answer(call.request));
        },
      } as unknown as grpc.UntypedServiceImplementation,
    );
  }
  await new Promise<void>((resolve, reject) => {
    plugin.bindAsync(`unix:${abstract ? `\0${socket}` : socket}`, grpc.ServerCredentials.createInsecure(), (error) =>
      error === null ? resolve() : reject(error),
    );
  });
  const endpoint = abstract ? `unix:///@${socket}` : `unix://${socket}`;
  const provider = { kms: { apiVersion: 'v1', name: 'old', endpoint, timeout: '2s' } };
  const file = work.write('kms1.json', config({ resources: ['secrets'], providers: [provider, identity] }));
  const flag = `--encryption-provider-config=${file}`;
  await assert.rejects(startApiServer(work, own, [flag]), /KMSv1 is deprecated .* Set --feature-gates=KMSv1=true/);
  const flags = [flag, '--feature-gates=KMSv1=true'];
  {
    await using server = await startApiServer(work, own, flags);
    await server.api.create(secrets, secret('old'));
    const raw = await stored('secrets/default/old', own);
    const prefix = 'k8s:enc:kms:v1:old:';
    assert.equal(raw.toString('latin1', 0, prefix.length), prefix);
    // The key's length, the key as the plugin gave it, and AES-GCM bound to where it lies.
    const body = raw.subarray(prefix.length);
    assert.equal(body.readUInt16BE(0), 32);
    const key = xor(body.subarray(2, 34));
    assert.ok(keys.some((k) => k.equals(key)));
    const sealed = body.subarray(34);
    const d = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, 12));
    d.setAAD(Buffer.from('/registry/secrets/default/old'));
    d.setAuthTag(sealed.subarray(-16));
    const text = Buffer.concat([d.update(sealed.subarray(12, -16)), d.final()]).toString();
    assert.match(text, /^\{"kind":"Secret"/);
    assert.equal((await server.api.get('/healthz/kms-providers')).text, 'ok');
    const metrics = (await server.api.get('/metrics')).text;
    assert.match(metrics, /^apiserver_storage_data_key_generation_duration_seconds_count [1-9]/m);
    assert.match(metrics, /^apiserver_envelope_encryption_dek_cache_fill_percent 0\.00\d/m);
    assert.match(
      metrics,
      /^apiserver_envelope_encryption_dek_cache_inter_arrival_time_seconds_count\{transformation_type="to_storage"\} [1-9]/m,
    );
    await server.stop();
  }
  asked.length = 0;
  await using server = await startApiServer(work, own, flags);
  assert.equal((await server.api.get(`${secrets}/old`)).body.data.p, Buffer.from('hush-hush').toString('base64'));
  assert.ok(asked.includes('Decrypt'));
});

test('a configuration that does not hold is told at the start, with upstream words', async () => {
  const bad = config(
    { resources: ['*', 'Secrets', 'events.events.k8s.io', 'pods.*'], providers: [{}] },
    {
      resources: ['secrets', '*.', 'secrets'],
      providers: [{ aesgcm: { keys: [{ name: 'a', secret: 'AAAA' }] } }, { aescbc: { keys: [] } }],
    },
    { resources: ['pods'], providers: [{ secretbox: { keys: [{ secret: '!' }] }, identity: {} }] },
    {
      resources: ['nodes'],
      providers: [
        { kms: { apiVersion: 'v2', name: 'a:b', endpoint: 'http://x', cachesize: 3 } },
        { kms: { apiVersion: 'v2', name: 'a:b', endpoint: '' } },
      ],
    },
  );
  await assert.rejects(starts('bad.json', bad), (error: Error) => {
    for (const part of [
      `resources[0].resources[0]: Invalid value: "*": use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources`,
      'resources[0].resources[1]: Invalid value: "Secrets": resource name should not contain capital letters',
      `resources[0].resources[2]: Invalid value: "events.events.k8s.io": '*.events.k8s.io' objects are stored using the 'events' API group in etcd. Use 'events' instead in the config file`,
      'resources[0].resources[3]: Invalid value: "pods.*": encrypting the same resource across groups is not supported',
      'provider does not contain any of the expected providers: KMS, AESGCM, AESCBC, Secretbox, Identity',
      'the same resource cannot be specified multiple times',
      "using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they will be masked",
      'resources[1].providers[0].aesgcm.keys[0].secret: Invalid value: "REDACTED": secret is not of the expected length, got 3, expected one of [16 24 32]',
      'resources[1].providers[1].aescbc.keys: Required value: at least one keys is required',
      'more than one provider specified in a single element, should split into different list elements',
      'resources[2].providers[0].secretbox.keys[0].name: Required value: name is a mandatory field for a key',
      'resources[2].providers[0].secretbox.keys[0].secret: Invalid value: "REDACTED": secrets must be base64 encoded',
      `invalid KMS provider name a:b, must not contain ':'`,
      'duplicate KMS provider name a:b, names must be unique',
      'unsupported scheme "http" for KMS provider, only unix is supported',
      'cachesize is not supported in v2',
      'endpoint is a mandatory field for a kms',
    ])
      assert.ok(error.message.includes(part), `${part}\n in\n${error.message}`);
    return true;
  });
  const masked = config(
    { resources: ['*.*'], providers: [identity] },
    { resources: ['secrets'], providers: [identity] },
  );
  await assert.rejects(starts('masked.json', masked), /resource "secrets" is masked by earlier rule "\*\.\*"/);
  await assert.rejects(starts('unknown.json', { ...config(), more: 1 }), /strict decoding error: unknown field "more"/);
  await assert.rejects(
    startApiServer(work, etcd, ['--encryption-provider-config-automatic-reload']),
    /must be set with --encryption-provider-config/,
  );
});

test('what another API server has stored as protobuf is read, also encrypted, and written anew as JSON', async () => {
  await using own = await startStore();
  const protobuf = new ProtobufObjects(loadCatalog());
  const put = async (key: string, object: object, wrap = (b: Buffer): Buffer => b): Promise<unknown> =>
    own.store.commit({ key: `/registry/${key}`, expectModRevision: 0, value: wrap(protobuf.encode(object)) });
  const metadata = (name: string): object => ({
    name,
    namespace: 'default',
    uid: `uid-${name}`,
    creationTimestamp: '2026-01-02T03:04:05Z',
  });
  const gcm = (keyText: string) => (plain: Buffer) => {
    const nonce = randomBytes(12);
    const c = createCipheriv('aes-256-gcm', Buffer.alloc(32, 1), nonce);
    c.setAAD(Buffer.from(keyText));
    return Buffer.concat([Buffer.from('k8s:enc:aesgcm:v1:a:'), nonce, c.update(plain), c.final(), c.getAuthTag()]);
  };
  await put(
    'secrets/default/s',
    { kind: 'Secret', apiVersion: 'v1', metadata: metadata('s'), data: { p: 'aHVzaA==' }, type: 'Opaque' },
    gcm('/registry/secrets/default/s'),
  );
  await put('deployments/default/d', {
    kind: 'Deployment',
    apiVersion: 'apps/v1',
    metadata: metadata('d'),
    spec: {
      replicas: 0,
      selector: { matchLabels: { a: 'b' } },
      template: {
        metadata: { labels: { a: 'b' } },
        spec: { terminationGracePeriodSeconds: 0, containers: [{ name: 'c', image: 'i' }] },
      },
    },
    status: { observedGeneration: 3 },
  });
  await using server = await startApiServer(work, own, [
    `--encryption-provider-config=${work.write(
      'pb.json',
      config({ resources: ['secrets'], providers: [{ aesgcm: { keys: [{ name: 'a', secret: key(1) }] } }] }),
    )}`,
  ]);
  const { api } = server;
  const read = (await api.get(`${secrets}/s`)).body;
  assert.deepEqual(read.data, { p: 'aHVzaA==' });
  assert.equal(read.metadata.uid, 'uid-s');
  const path = '/apis/apps/v1/namespaces/default/deployments/d';
  const deployment = (await api.get(path)).body;
  assert.equal(deployment.spec.replicas, 0);
  assert.equal(deployment.spec.template.spec.terminationGracePeriodSeconds, 0);
  assert.equal(deployment.spec.template.spec.containers[0].imagePullPolicy, 'Always');
  assert.equal(deployment.status.observedGeneration, 3);
  const changed = await api.merge(path, { spec: { replicas: 2 } });
  assert.equal(changed.status, 200);
  assert.match((await stored('deployments/default/d', own)).toString(), /^\{"kind":"Deployment"/);
});

test('a cluster in one process: everything encrypted, nobody notices', async () => {
  const { createEncryption } = await import('../../src/cluster/processes/encryption.ts');
  const { createCluster } = await import('../../src/index.ts');
  const clock = new SystemClock();
  const file = work.write(
    'whole.json',
    config({ resources: ['*.*'], providers: [{ aesgcm: { keys: [{ name: 'k', secret: key(9) }] } }, identity] }),
  );
  const encryption = await createEncryption({ providerConfig: file, automaticReload: false }, loadCatalog(), {
    clock,
    random: new SystemRandom(),
    logger: silentLogger,
    signal: new AbortController().signal,
  });
  await using cluster = await createCluster({ nodes: 1, clock, apiServer: { encryption } });
  await cluster.client.apps.deployments.create({
    metadata: { name: 'd', namespace: 'default' },
    spec: {
      replicas: 2,
      selector: { matchLabels: { a: 'b' } },
      template: { metadata: { labels: { a: 'b' } }, spec: { containers: [{ name: 'c', image: 'i' }] } },
    },
  });
  await waitForOne(cluster.client.apps.deployments, 'd', 'default', (d) => d.status?.readyReplicas === 2);
  const { kvs } = await cluster.store.range({ key: '/registry/', end: '/registry0' });
  assert.ok(kvs.length > 100);
  for (const kv of kvs) assert.match(kv.value.toString('latin1', 0, 40), /^k8s:enc:aesgcm:v1:k:/, kv.key);
});
