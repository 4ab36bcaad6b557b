/** Service account tokens that somebody else signs, over a Unix socket of the test's own. */
import assert from 'node:assert/strict';
import { createHmac, generateKeyPairSync, sign, type KeyObject } from 'node:crypto';
import { after, before, test } from 'node:test';
import * as grpc from '@grpc/grpc-js';
import protobuf from 'protobufjs';
import { connectApi, type Api, type Json } from '../support/api.ts';
import { createWorkspace, startApiServer, startStore } from '../support/api-server.ts';
import type { TestStore, Workspace } from '../support/api-server.ts';

const { root } = protobuf.parse(`syntax = "proto3"; package v1;
  message Timestamp { int64 seconds = 1; int32 nanos = 2; }
  message SignJWTRequest { string claims = 1; }
  message SignJWTResponse { string header = 1; string signature = 2; }
  message FetchKeysRequest {}
  message FetchKeysResponse { repeated Key keys = 1; Timestamp data_timestamp = 2; int64 refresh_hint_seconds = 3; }
  message Key { string key_id = 1; bytes key = 2; bool exclude_from_oidc_discovery = 3; }
  message MetadataRequest {}
  message MetadataResponse { int64 max_token_expiration_seconds = 1; }`);

interface Pair {
  readonly id: string;
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
  excluded?: boolean;
}

function pair(id: string): Pair {
  return { id, ...generateKeyPairSync('ec', { namedCurve: 'P-256' }) };
}

/** What a signer outside does. */
class Signer {
  keys: Pair[] = [pair('first')];
  refreshSeconds = 3600;
  maxSeconds = 7200;
  header: Record<string, unknown> = {};
  fetches = 0;
  refuses: grpc.ServiceError | undefined;
  readonly #server = new grpc.Server();
  #stamp = 1_700_000_000;

  rotate(): void {
    this.keys = [pair(`key-${this.#stamp}`)];
    this.#stamp++;
  }

  async listen(path: string): Promise<void> {
    const handlers: Record<string, (request: Json) => object> = {
      Sign: ({ claims }) => {
        if (this.refuses !== undefined) throw this.refuses;
        const key = this.keys[0]!;
        const head = { alg: 'ES256', kid: key.id, typ: 'JWT', ...this.header };
        const header = Buffer.from(JSON.stringify(head)).toString('base64url');
        const data = Buffer.from(`${header}.${claims}`);
        const signature = sign('sha256', data, { key: key.privateKey, dsaEncoding: 'ieee-p1363' });
        return { header, signature: signature.toString('base64url') };
      },
      FetchKeys: () => {
        this.fetches++;
        return {
          keys: this.keys.map((k) => ({
            keyId: k.id,
            key: k.publicKey.export({ type: 'spki', format: 'der' }),
            excludeFromOidcDiscovery: k.excluded === true,
          })),
          dataTimestamp: { seconds: this.#stamp, nanos: 0 },
          refreshHintSeconds: this.refreshSeconds,
        };
      },
      Metadata: () => ({ maxTokenExpirationSeconds: this.maxSeconds }),
    };
    for (const [name, handle] of Object.entries(handlers)) {
      const ask = root.lookupType(`v1.${name === 'Sign' ? 'SignJWT' : name}Request`);
      const answer = root.lookupType(`v1.${name === 'Sign' ? 'SignJWT' : name}Response`);
      this.#server.addService(
        {
          [name]: {
            path: `/v1.ExternalJWTSigner/${name}`,
            requestStream: false,
            responseStream: false,
            requestSerialize: () => Buffer.alloc(0),
            requestDeserialize: (b: Buffer) => ask.toObject(ask.decode(b)),
            responseSerialize: (o: object) => Buffer.from(answer.encode(answer.fromObject(o)).finish()),
            responseDeserialize: (b: Buffer) => b,
          },
        } as grpc.ServiceDefinition,
        {
          [name]: (call: { request: Json }, done: grpc.sendUnaryData<object>) => {
            try {
              done(null, handle(call.request));
            } catch (error) {
              done(error as grpc.ServiceError);
            }
          },
        } as unknown as grpc.UntypedServiceImplementation,
      );
    }
    await new Promise<void>((resolve, reject) => {
      this.#server.bindAsync(`unix:${path}`, grpc.ServerCredentials.createInsecure(), (error) =>
        error === null ? resolve() : reject(error),
      );
    });
  }

  close(): void {
    this.#server.forceShutdown();
  }
}

let work: Workspace;
let etcd: TestStore;
const signer = new Signer();
let socket: string;

before(async () => {
  work = await createWorkspace();
  etcd = await startStore();
  socket = work.path('signer.sock');
  await signer.listen(socket);
});

after(async () => {
  signer.close();
  await etcd[Symbol.asyncDispose]();
  work.dispose();
});

const accounts = '/api/v1/namespaces/default/serviceaccounts';
const ask = (api: Api, spec: object = {}): ReturnType<Api['create']> =>
  api.create(`${accounts}/robot/token`, { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec });
const flags = (): string[] => ['--service-account-signing-key-file=', `--service-account-signing-endpoint=${socket}`];

test('tokens are signed and verified by the keys of the signer, which come and go', async () => {
  await using server = await startApiServer(work, etcd, flags());
  const { api, url } = server;
  await api.create(accounts, { metadata: { name: 'robot' } });
  const made = await ask(api, { expirationSeconds: 86_400 });
  assert.equal(made.status, 201);
  assert.deepEqual(made.warnings, ['requested expiration of 86400 seconds shortened to 7200 seconds']);
  const { token } = made.body.status;
  const part = (at: number): Json => JSON.parse(Buffer.from(token.split('.')[at], 'base64url').toString());
  assert.deepEqual(part(0), { alg: 'ES256', kid: 'first', typ: 'JWT' });
  assert.equal(part(1).sub, 'system:serviceaccount:default:robot');
  assert.equal(part(1).exp - part(1).iat, 7200);
  const asRobot = async (bearer: string): Promise<number> => {
    const robot = connectApi(
      { adminCredentials: { server: url, certificateAuthority: work.pki.get('ca.crt')! } } as never,
      { token: bearer },
    );
    const { status } = await robot.get('/api');
    robot.close();
    return status;
  };
  assert.equal(await asRobot(token), 200);
  const [head, claims] = token.split('.');
  const forged = createHmac('sha256', 'x').update(`${head}.${claims}`).digest('base64url');
  assert.equal(await asRobot(`${head}.${claims}.${forged}`), 401);

  const documents = async (): Promise<{ keys: Json[]; cache: string; algorithms: string[] }> => {
    const set = await api.get('/openid/v1/jwks');
    const configuration = await api.get('/.well-known/openid-configuration');
    return {
      keys: set.body.keys.map((k: Json) => k.kid),
      cache: String(set.headers['cache-control']),
      algorithms: configuration.body.id_token_signing_alg_values_supported,
    };
  };
  const before = await documents();
  assert.deepEqual(before.keys, ['first']);
  assert.deepEqual(before.algorithms, ['ES256']);
  assert.match(before.cache, /^public, max-age=3[56]\d\d$/);

  // A key that nobody has heard of: the signer is asked again, and what it no longer has is no longer good.
  const fetches = signer.fetches;
  signer.rotate();
  const second = await ask(api);
  assert.equal(second.status, 201);
  assert.equal(signer.fetches, fetches + 1);
  assert.equal(await asRobot(second.body.status.token), 200);
  assert.equal(await asRobot(token), 401);
  assert.deepEqual((await documents()).keys, [signer.keys[0]!.id]);
  const { text } = await api.get('/metrics');
  assert.match(text, /^apiserver_externaljwt_sign_request_total\{code="OK"\} 2$/m);
  assert.match(text, /^apiserver_externaljwt_fetch_keys_request_total\{code="OK"\} 3$/m);
  assert.match(text, /^apiserver_externaljwt_request_duration_seconds_count\{code="OK",method="Sign"\} 2$/m);
});

test('a signer at an abstract socket, which Linux has', { skip: process.platform !== 'linux' }, async () => {
  const name = `knarr-signer-${process.pid}.sock`;
  const abstract = new Signer();
  await abstract.listen(`\0${name}`);
  try {
    await using server = await startApiServer(work, etcd, [...flags(), `--service-account-signing-endpoint=@${name}`]);
    assert.equal((await ask(server.api)).status, 201);
  } finally {
    abstract.close();
  }
});

test('what a signer says that it should not', async () => {
  await using server = await startApiServer(work, etcd, flags());
  const { api } = server;
  const refused = async (why: RegExp): Promise<void> => {
    const answer = await ask(api);
    assert.equal(answer.status, 500);
    assert.match(answer.body.message, why);
  };
  signer.header = { typ: 'JWS' };
  await refused(/while validating header: bad type/);
  signer.header = { kid: '' };
  await refused(/while validating header: key id missing/);
  signer.header = { alg: 'HS256' };
  await refused(/while validating header: bad signing algorithm "HS256"/);
  signer.header = { jku: 'https://elsewhere' };
  await refused(/while validating header: while parsing header JSON: json: unknown field "jku"/);
  signer.header = {};
  signer.refuses = Object.assign(new Error(), {
    code: grpc.status.INTERNAL,
    details: 'no',
    metadata: new grpc.Metadata(),
  });
  await refused(/while signing jwt: rpc error: code = Internal desc = no/);
  signer.refuses = undefined;
  signer.rotate();
  signer.keys[0]!.excluded = true;
  await refused(/key used for signing JWT \(kid: key-\d+\) is excluded from OIDC discovery docs/);
  signer.keys[0]!.excluded = false;
});

test('flags that do not fit are refused', async () => {
  const starts = (...more: string[]): Promise<unknown> => startApiServer(work, etcd, [...flags(), ...more]);
  await assert.rejects(
    starts(`--service-account-signing-key-file=${work.path('pki/sa.key')}`),
    /service-account-signing-key-file and service-account-signing-endpoint are mutually exclusive/,
  );
  await assert.rejects(starts(`--service-account-key-file=${work.path('pki/sa.pub')}`), /They are mutually exclusive/);
  await assert.rejects(starts('--service-account-signing-endpoint=@a b'), /must be a valid abstract socket name/);
  await assert.rejects(
    starts('--service-account-max-token-expiration=3h'),
    /cannot be set longer than the token expiration supported by service-account-signing-endpoint: 3h0m0s > 2h0m0s/,
  );
  signer.maxSeconds = 300;
  await assert.rejects(
    starts(),
    /max token life supported by external-jwt-signer \(300s\) is less than acceptable \(min 600s\)/,
  );
  signer.maxSeconds = 7200;
  signer.refreshSeconds = 0;
  await assert.rejects(starts(), /while setting up external-jwt-signer: .*found invalid refresh hint \(0s\)/);
});
