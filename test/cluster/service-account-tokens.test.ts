/** Tokens of service accounts over TLS: bound ones, those of Secrets, and keys that change. */
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { after, before, test } from 'node:test';
import { ServiceAccountKeys } from '../../src/apiserver/authentication/service-account-keys.ts';
import type { Cluster } from '../../src/index.ts';
import { connectApi } from '../support/api.ts';
import type { Answer, Api, Json } from '../support/api.ts';
import { Files, secureCluster } from '../support/security.ts';
import { waitForOne } from '../support/wait.ts';
import { review, userOf } from './support/identity.ts';

const files = new Files();

after(() => files[Symbol.dispose]());

let accounts: Cluster;
let admin: Api;
const pem = (type: 'pkcs8' | 'spki'): { pem: string; private: string } => {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const text = (key: { export(o: Json): unknown }, t: string): string => String(key.export({ type: t, format: 'pem' }));
  return {
    pem: type === 'spki' ? text(publicKey, 'spki') : text(privateKey, 'pkcs8'),
    private: text(privateKey, 'pkcs8'),
  };
};
/** The key that signed before the present one. */
const former = pem('spki');

before(async () => {
  accounts = await secureCluster({
    'service-account-issuer': ['https://new.example', 'https://old.example'],
    'service-account-key-file': [files.write('former.pub', former.pem)],
    'service-account-max-token-expiration': 7_200_000,
    'api-audiences': ['api', 'https://old.example'],
    'service-account-jwks-uri': 'https://keys.example/jwks',
  });
  admin = connectApi(accounts);
});

after(async () => {
  admin?.close();
  await accounts?.close();
});

test('service account tokens: audiences, expiry, binding, keys that change, discovery', async () => {
  await waitForOne(accounts.client.core.serviceaccounts, 'default', 'default', () => true);
  const account = (await admin.get('/api/v1/namespaces/default/serviceaccounts/default')).body;
  const path = '/api/v1/namespaces/default/serviceaccounts/default/token';
  const request = (spec: Json, metadata: Json = {}): Promise<Answer> =>
    admin.create(path, { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', metadata, spec });

  const plain = await request({});
  assert.equal(plain.status, 201, plain.text);
  assert.deepEqual(plain.body.spec.audiences, ['api', 'https://old.example']);
  assert.equal(plain.body.spec.expirationSeconds, 3600);
  const claims = JSON.parse(Buffer.from(plain.body.status.token.split('.')[1], 'base64url').toString());
  assert.equal(claims.iss, 'https://new.example');
  assert.equal(
    (await userOf(accounts, plain.body.status.token)).body.status.userInfo.username,
    'system:serviceaccount:default:default',
  );

  const long = await request({ expirationSeconds: 86_400 });
  assert.deepEqual(long.warnings, ['requested expiration of 86400 seconds shortened to 7200 seconds']);
  assert.equal(long.body.spec.expirationSeconds, 7200);

  const vault = await request({ audiences: ['vault'] });
  assert.equal((await userOf(accounts, vault.body.status.token)).status, 401);
  assert.deepEqual((await review(admin, vault.body.status.token, ['vault', 'x'])).audiences, ['vault']);
  assert.equal(
    (await review(admin, vault.body.status.token)).error,
    'token audiences ["vault"] is invalid for the target audiences ["api" "https://old.example"]',
  );

  for (const [spec, metadata, status, message] of [
    [
      { expirationSeconds: 10 },
      {},
      422,
      'TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: Invalid value: 10: may not specify a duration less than 10 minutes',
    ],
    [
      { expirationSeconds: 2 ** 33 },
      {},
      422,
      'TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: Invalid value: 8589934592: may not specify a duration larger than 2^32 seconds',
    ],
    [
      {},
      { name: 'x' },
      422,
      'TokenRequest.authentication.k8s.io "default" is invalid: metadata.name: Invalid value: "x": must match the service account name if specified',
    ],
    [
      {},
      { uid: 'x' },
      409,
      `Operation cannot be fulfilled on TokenRequest.authentication.k8s.io "default": the UID in the token request (x) does not match the UID of the service account (${account.metadata.uid})`,
    ],
    [
      { boundObjectRef: { kind: 'ConfigMap', apiVersion: 'v1', name: 'x' } },
      {},
      400,
      'cannot bind token to object of type /v1, Kind=ConfigMap',
    ],
    [{ boundObjectRef: { kind: 'Secret', apiVersion: 'v1', name: 'none' } }, {}, 404, 'secrets "none" not found'],
  ] as const) {
    const answer = await request(spec, metadata);
    assert.equal(answer.status, status, answer.text);
    assert.equal(answer.body.message, message);
  }

  // Bound to a Secret: it goes with it.
  await admin.create('/api/v1/namespaces/default/secrets', { metadata: { name: 'binding' } });
  const bound = (await request({ boundObjectRef: { kind: 'Secret', apiVersion: 'v1', name: 'binding' } })).body.status
    .token;
  assert.equal((await userOf(accounts, bound)).status, 201);
  await admin.delete('/api/v1/namespaces/default/secrets/binding');
  assert.equal((await userOf(accounts, bound)).status, 401);
  assert.equal((await review(admin, bound)).error, 'service account token has been invalidated');

  // A token of the former key and the former issuer is good as long as they are named.
  const now = Math.floor(Date.now() / 1000);
  const old = new ServiceAccountKeys({ signingKey: former.private }).sign({
    ...claims,
    iss: 'https://old.example',
    aud: ['https://old.example'],
    iat: now,
    exp: now + 600,
  });
  assert.equal((await userOf(accounts, old)).status, 201);
  const stranger = new ServiceAccountKeys({ signingKey: pem('pkcs8').private }).sign({
    ...claims,
    iat: now,
    exp: now + 600,
  });
  assert.equal((await userOf(accounts, stranger)).status, 401);
  assert.match((await review(admin, stranger)).error, /invalid signature, no keys found/);

  const discovery = (await admin.get('/.well-known/openid-configuration')).body;
  assert.equal(discovery.issuer, 'https://new.example');
  assert.equal(discovery.jwks_uri, 'https://keys.example/jwks');
  const jwks = (await admin.get('/openid/v1/jwks')).body;
  assert.equal(jwks.keys.length, 2);
  // Everybody's token is no password: it does not log in by a Service's name of another issuer's.
  const reviewed = await review(admin, old, ['https://old.example']);
  assert.equal(reviewed.user.uid, account.metadata.uid);
});

test('legacy tokens of Secrets: filled in, used, marked, refused when marked invalid', async () => {
  await admin.create('/api/v1/namespaces/default/serviceaccounts', { metadata: { name: 'robot' } });
  await admin.create('/api/v1/namespaces/default/secrets', {
    metadata: { name: 'robot-token', annotations: { 'kubernetes.io/service-account.name': 'robot' } },
    type: 'kubernetes.io/service-account-token',
  });
  const secret = await waitForOne(
    accounts.client.core.secrets,
    'robot-token',
    'default',
    (s) => (s.data?.['token'] ?? '') !== '',
  );
  const token = Buffer.from(secret.data!['token']!, 'base64').toString();
  const manual = await userOf(accounts, token);
  assert.equal(manual.body.status.userInfo.username, 'system:serviceaccount:default:robot');
  assert.deepEqual(manual.warnings, []);
  const today = new Date().toISOString().slice(0, 10);
  await waitForOne(
    accounts.client.core.secrets,
    'robot-token',
    'default',
    (s) => s.metadata.labels?.['kubernetes.io/legacy-token-last-used'] === today,
  );
  await admin.merge('/api/v1/namespaces/default/serviceaccounts/robot', { secrets: [{ name: 'robot-token' }] });
  const auto = await userOf(accounts, token);
  assert.deepEqual(auto.warnings, [
    'Use tokens from the TokenRequest API or manually created secret-based tokens instead of auto-generated secret-based tokens.',
  ]);
  await admin.merge('/api/v1/namespaces/default/secrets/robot-token', {
    metadata: { labels: { 'kubernetes.io/legacy-token-invalid-since': today } },
  });
  assert.equal((await userOf(accounts, token)).status, 401);
  assert.match(
    (await review(admin, token)).error,
    /^the token in secret default\/robot-token .* has been marked invalid/,
  );
  const tracking = await admin.get(
    '/api/v1/namespaces/kube-system/configmaps/kube-apiserver-legacy-service-account-token-tracking',
  );
  assert.equal(tracking.body.data.since, today);
  const metrics = (await admin.get('/metrics')).text;
  assert.match(metrics, /^serviceaccount_legacy_manual_token_uses_total 1$/m);
  assert.match(metrics, /^serviceaccount_legacy_auto_token_uses_total 1$/m);
});
