/** Who asks: tokens of OpenID Connect issuers and webhooks that the test brings, static and service account tokens, over TLS. */
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { after, before, test } from 'node:test';
import { ServiceAccountKeys } from '../../src/apiserver/authentication/service-account-keys.ts';
import type { Cluster } from '../../src/index.ts';
import { connectApi } from '../support/api.ts';
import type { Answer, Api, Json } from '../support/api.ts';
import { startOidcIssuer } from '../support/oidc-issuer.ts';
import type { OidcIssuer } from '../support/oidc-issuer.ts';
import { collectingLogger, eventually, Files, secureCluster, securityOf } from '../support/security.ts';
import { startTlsServer } from '../support/tls-server.ts';
import type { TlsServer } from '../support/tls-server.ts';
import { waitForOne } from '../support/wait.ts';

const files = new Files();
const reviews = '/apis/authentication.k8s.io/v1/tokenreviews';
const whoami = '/apis/authentication.k8s.io/v1/selfsubjectreviews';
const selfReview = { apiVersion: 'authentication.k8s.io/v1', kind: 'SelfSubjectReview' };

after(() => files[Symbol.dispose]());

async function review(api: Api, token: string, audiences?: readonly string[]): Promise<Json> {
  const answer = await api.create(reviews, {
    apiVersion: 'authentication.k8s.io/v1',
    kind: 'TokenReview',
    spec: { token, ...(audiences === undefined ? {} : { audiences }) },
  });
  assert.equal(answer.status, 201, answer.text);
  return answer.body.status;
}

/** Who the API server takes the holder of this token for. */
async function userOf(cluster: Cluster, token: string | undefined): Promise<Answer> {
  const api = connectApi(cluster, token === undefined ? {} : { token });
  try {
    return await api.create(whoami, selfReview);
  } finally {
    api.close();
  }
}

function config(jwt: readonly Json[], more: Json = {}): Json {
  return { apiVersion: 'apiserver.config.k8s.io/v1', kind: 'AuthenticationConfiguration', jwt, ...more };
}

function authenticator(issuer: OidcIssuer, more: Json = {}): Json {
  const { issuer: issuerMore, ...rest } = more;
  return {
    issuer: { url: issuer.url, audiences: ['knarr'], certificateAuthority: issuer.server.ca, ...issuerMore },
    claimMappings: { username: { claim: 'sub', prefix: '' } },
    ...rest,
  };
}

test('issuers by AuthenticationConfiguration: CEL mappings and rules, audiences, discovery, distributed claims, reloads', async (t) => {
  await using company = await startOidcIssuer();
  await using partner = await startOidcIssuer({ name: 'https://partner.example', discoveryPath: '/elsewhere' });
  const first = authenticator(company, {
    issuer: { audiences: ['knarr', 'tools'], audienceMatchPolicy: 'MatchAny' },
    claimValidationRules: [
      { claim: 'hd', requiredValue: 'example.com' },
      { expression: 'claims.level >= 2', message: 'the level is too low' },
    ],
    claimMappings: {
      username: { expression: "claims.email_verified ? claims.email : 'nobody'" },
      groups: { expression: "claims.roles.split(',').map(r, 'company:' + r)" },
      uid: { claim: 'sub' },
      extra: [
        { key: 'example.com/tenant', valueExpression: 'claims.example__dot__com.tenant' },
        { key: 'example.com/none', valueExpression: "'none' in claims ? claims.none : ''" },
      ],
    },
    userValidationRules: [
      { expression: "!user.username.startsWith('system:')", message: 'names of the system are not for people' },
      {
        expression:
          "user.extra['example.com/tenant'].size() == 1 && user.extra.example__dot__com__slash__tenant[0] != 'x'",
      },
    ],
  });
  const second = authenticator(partner, {
    issuer: { discoveryURL: `${partner.server.url}/elsewhere` },
    claimMappings: { username: { claim: 'sub', prefix: 'partner:' }, groups: { claim: 'groups', prefix: 'p:' } },
  });
  const path = files.write('authentication.yaml', config([first, second]));
  const lines: string[] = [];
  await using cluster = await secureCluster({ 'authentication-config': path }, { logger: collectingLogger(lines) });
  const api = connectApi(cluster);
  t.after(() => api.close());
  const good = {
    aud: 'tools',
    sub: 'u-1',
    jti: 'token-1',
    hd: 'example.com',
    level: 3,
    email: 'jane@example.com',
    email_verified: true,
    roles: 'dev,ops',
    'example.com': { tenant: 'blue' },
  };

  const me = await eventually(async () => {
    const answer = await userOf(cluster, company.token(good));
    return answer.status === 201 ? answer : undefined;
  }, 'the issuer to be found');
  assert.deepEqual(me.body.status.userInfo, {
    username: 'jane@example.com',
    uid: 'u-1',
    groups: ['company:dev', 'company:ops', 'system:authenticated'],
    extra: { 'authentication.kubernetes.io/credential-id': ['JTI=token-1'], 'example.com/tenant': ['blue'] },
  });
  // Known to the API server, unknown to RBAC.
  const people = connectApi(cluster, { token: company.token(good) });
  const forbidden = await people.get('/api/v1/namespaces/default/pods');
  people.close();
  assert.equal(forbidden.status, 403);
  assert.equal(
    forbidden.body.message,
    'pods is forbidden: User "jane@example.com" cannot list resource "pods" in API group "" in the namespace "default"',
  );

  const refused = async (claims: Json, pattern: RegExp | string): Promise<void> => {
    const token = company.token({ ...good, ...claims });
    const status = await review(api, token);
    assert.equal(status.authenticated, undefined);
    if (typeof pattern === 'string') assert.equal(status.error, pattern);
    else assert.match(status.error, pattern);
    assert.equal((await userOf(cluster, token)).status, 401);
  };
  await refused({ aud: 'others' }, 'oidc: verify token: oidc: expected audience in ["knarr" "tools"] got ["others"]');
  await refused({ hd: 'evil.com' }, 'oidc: required claim hd value does not match. Got = evil.com, want = example.com');
  await refused(
    { level: 1 },
    "oidc: error evaluating claim validation expression: validation expression 'claims.level >= 2' failed: the level is too low",
  );
  await refused(
    { roles: 7 },
    /^oidc: error evaluating group claim expression: expression '.*' resulted in error: no such overload/,
  );
  await refused({ email: 'system:admin' }, /failed: names of the system are not for people$/);
  await refused({ email: '' }, 'oidc: empty username via CEL expression is not allowed');
  await refused(
    { exp: 1_700_000_000 },
    'oidc: verify token: oidc: token is expired (Token Expiry: 2023-11-14 22:13:20 +0000 UTC)',
  );
  await refused({ 'example.com': {} }, /resulted in error: no such key: tenant$/);
  const foreign = await startOidcIssuer({ name: company.url });
  const forged = await review(api, foreign.token(good));
  assert.equal(forged.error, 'oidc: verify token: failed to verify signature: failed to verify id token signature');
  await foreign[Symbol.asyncDispose]();

  // Keys of other kinds come by rotation; the old ones go.
  for (const algorithm of ['ES256', 'ES384', 'PS512']) {
    company.addKey(`key-${algorithm}`, algorithm);
    assert.equal((await userOf(cluster, company.token({ ...good, jti: algorithm }))).status, 201, algorithm);
  }

  // The other issuer, found by its discovery URL; groups by way of another endpoint.
  partner.pages.set('/groups', (headers) =>
    headers['authorization'] === 'Bearer s3cret'
      ? { body: company.token({ aud: 'knarr', groups: ['far'] }) }
      : { status: 403, body: 'no' },
  );
  const distributed = {
    aud: 'knarr',
    sub: 'bob',
    _claim_names: { groups: 'there' },
    _claim_sources: { there: { endpoint: `${partner.server.url}/groups`, access_token: 's3cret' } },
  };
  const partnerUser = await userOf(cluster, partner.token({ aud: ['knarr'], sub: 'bob', groups: 'one' }));
  assert.deepEqual(partnerUser.body.status.userInfo.groups, ['p:one', 'system:authenticated']);
  const elsewhere = await review(api, partner.token(distributed));
  assert.match(elsewhere.error, /^oidc: could not expand distributed claims: verifying untrusted issuer https:\/\/127/);

  // A broken file changes nothing; a good one is taken, and the issuer that is gone is no longer trusted.
  files.write('authentication.yaml', config([{ ...second, claimMappings: { username: { claim: 'sub' } } }]));
  const reloads = async (status: string): Promise<string | undefined> => {
    const text = (await api.get('/metrics')).text;
    return new RegExp(
      `^apiserver_authentication_config_controller_automatic_reloads_total\\{apiserver_id_hash="sha256:[0-9a-f]+",status="${status}"\\} 1$`,
      'm',
    ).exec(text)?.[0];
  };
  await eventually(() => reloads('failure'), 'the broken file to be refused');
  assert.ok(
    lines.some((l) =>
      l.includes(
        'jwt[0].claimMappings.username.prefix: Required value: prefix is required when claim is set. It can be set to an empty string to disable prefixing',
      ),
    ),
    lines.join('\n'),
  );
  assert.equal((await userOf(cluster, company.token(good))).status, 201);
  files.write('authentication.yaml', config([second]));
  await eventually(() => reloads('success'), 'the new file to be taken');
  assert.equal((await userOf(cluster, company.token(good))).status, 401);
  assert.equal(
    (await userOf(cluster, partner.token({ aud: 'knarr', sub: 'bob' }))).body.status.userInfo.username,
    'partner:bob',
  );
  const metrics = (await api.get('/metrics')).text;
  assert.match(metrics, /apiserver_authentication_jwt_authenticator_jwks_fetch_last_key_set_info\{.*hash="sha256:/);
  assert.match(metrics, /apiserver_authentication_jwt_authenticator_latency_seconds_count\{.*result="failure"\} \d/);
});

test('an AuthenticationConfiguration that will not do is refused with upstream’s words', async () => {
  const issuer = { url: 'https://issuer.example', audiences: ['a'] };
  const username = { claim: 'sub', prefix: '' };
  const wrong: readonly (readonly [Json, string])[] = [
    [
      [{ issuer: { ...issuer, url: 'http://issuer.example' }, claimMappings: { username } }],
      'jwt[0].issuer.url: Invalid value: "http://issuer.example": URL scheme must be https',
    ],
    [[{ issuer: { url: '', audiences: ['a'] }, claimMappings: { username } }], 'jwt[0].issuer.url: Required value'],
    [
      [{ issuer: { ...issuer, url: 'https://u:p@issuer.example/?q=1#f' }, claimMappings: { username } }],
      '[jwt[0].issuer.url: Invalid value: "https://u:p@issuer.example/?q=1#f": URL must not contain a username or password, jwt[0].issuer.url: Invalid value: "https://u:p@issuer.example/?q=1#f": URL must not contain a query, jwt[0].issuer.url: Invalid value: "https://u:p@issuer.example/?q=1#f": URL must not contain a fragment]',
    ],
    [
      [{ issuer: { ...issuer, audiences: ['a', 'b'] }, claimMappings: { username } }],
      'jwt[0].issuer.audienceMatchPolicy: Invalid value: "": audienceMatchPolicy must be MatchAny for multiple audiences',
    ],
    [
      [{ issuer: { url: issuer.url }, claimMappings: { username } }],
      'jwt[0].issuer.audiences: Required value: at least one jwt[0].issuer.audiences is required',
    ],
    [
      [{ issuer: { ...issuer, discoveryURL: 'https://issuer.example/' }, claimMappings: { username } }],
      'jwt[0].issuer.discoveryURL: Invalid value: "https://issuer.example/": discoveryURL must be different from URL',
    ],
    [
      [{ issuer: { ...issuer, certificateAuthority: 'x' }, claimMappings: { username } }],
      'jwt[0].issuer.certificateAuthority: Invalid value: "<omitted>": data does not contain any valid RSA or ECDSA certificates',
    ],
    [
      [{ issuer, claimMappings: { username: {} } }],
      'jwt[0].claimMappings.username: Required value: claim or expression is required',
    ],
    [
      [{ issuer, claimMappings: { username: { claim: 'a', expression: 'claims.a' } } }],
      'jwt[0].claimMappings.username: Invalid value: "": claim and expression can\'t both be set',
    ],
    [
      [{ issuer, claimMappings: { username: { expression: 'claims.email' } } }],
      'jwt[0].claimMappings.username.expression: Invalid value: "claims.email": claims.email_verified must be used in claimMappings.username.expression or claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email is used in claimMappings.username.expression',
    ],
    [
      [{ issuer, claimMappings: { username, extra: [{ key: 'Foo', valueExpression: 'claims.a' }] } }],
      '[jwt[0].claimMappings.extra[0].key: Invalid value: "Foo": must be a domain-prefixed path (such as "acme.io/foo"), jwt[0].claimMappings.extra[0].key: Invalid value: "Foo": must be lowercase]',
    ],
    [
      [{ issuer, claimMappings: { username, extra: [{ key: 'a.k8s.io/foo', valueExpression: 'claims.a' }] } }],
      'jwt[0].claimMappings.extra[0].key: Invalid value: "a.k8s.io/foo": k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use',
    ],
    [
      [{ issuer, claimMappings: { username }, claimValidationRules: [{ expression: 'claims.a' }] }],
      'jwt[0].claimValidationRules[0].expression: Invalid value: "claims.a": must evaluate to bool',
    ],
    [
      [
        {
          issuer,
          claimMappings: { username },
          claimValidationRules: [{ claim: 'a', message: 'b' }, { claim: 'a' }, {}],
        },
      ],
      '[jwt[0].claimValidationRules[0].message: Invalid value: "b": may not be specified when claim is set, jwt[0].claimValidationRules[1].claim: Duplicate value: "a", jwt[0].claimValidationRules[2]: Required value: claim or expression is required]',
    ],
    [
      [{ issuer, claimMappings: { username }, userValidationRules: [{ expression: 'user.name == 1' }] }],
      'jwt[0].userValidationRules[0].expression: Invalid value: "user.name == 1": compilation failed: ERROR: <input>:1:5: undefined field \'name\'\n | user.name == 1\n | ....^',
    ],
    [
      [
        { issuer, claimMappings: { username } },
        { issuer, claimMappings: { username } },
      ],
      'jwt[1].issuer.url: Duplicate value: "https://issuer.example"',
    ],
    [
      [{ issuer: { ...issuer, egressSelectorType: 'etcd' }, claimMappings: { username } }],
      'jwt[0].issuer.egressSelectorType: Invalid value: "etcd": egress selector must be either controlplane or cluster',
    ],
  ];
  for (const [jwt, message] of wrong)
    await assert.rejects(securityOf({ 'authentication-config': files.write('wrong.yaml', config(jwt)) }), {
      name: 'StartError',
      message: `invalid authentication configuration: ${message}`,
    });
  const path = files.path('wrong.yaml');
  const unreadable: readonly (readonly [Json, string])[] = [
    [
      config([], { foo: 1, anonymous: { enabled: true, path: [] } }),
      'strict decoding error: unknown field "foo", unknown field "anonymous.path"',
    ],
    [
      { ...config([]), apiVersion: 'apiserver.config.k8s.io/v2' },
      'no kind "AuthenticationConfiguration" is registered for version "apiserver.config.k8s.io/v2"',
    ],
    [
      config([{ issuer: 7 }]),
      'json: cannot unmarshal number into Go struct field AuthenticationConfiguration.jwt.issuer of type struct',
    ],
  ];
  for (const [content, message] of unreadable) {
    files.write('wrong.yaml', content);
    await assert.rejects(securityOf({ 'authentication-config': path }), {
      message: `failed to load authentication configuration from file "${path}": ${message}`,
    });
  }
  await assert.rejects(
    securityOf({
      'authentication-config': files.write('wrong.yaml', config([], { anonymous: { enabled: true } })),
      'anonymous-auth': false,
    }),
    /--anonymous-auth flag cannot be set when anonymous field is configured/,
  );
  await assert.rejects(securityOf({ 'oidc-issuer-url': 'https://a' }), /must be specified together/);
  await assert.rejects(
    securityOf({ 'authentication-config': path, 'oidc-issuer-url': 'https://a', 'oidc-client-id': 'b' }),
    /authentication-config file and oidc-\* flags are mutually exclusive/,
  );
});

test('an issuer by --oidc flags', async () => {
  await using issuer = await startOidcIssuer();
  await using cluster = await secureCluster({
    'oidc-issuer-url': issuer.url,
    'oidc-client-id': 'knarr',
    'oidc-ca-file': files.write('oidc-ca.pem', issuer.server.ca),
    'oidc-groups-claim': 'groups',
    'oidc-groups-prefix': 'oidc:',
    'oidc-required-claim': { tenant: 'a,b' },
  });
  const claims = { aud: 'knarr', sub: 'jane', groups: ['x', 'y'], tenant: 'a,b' };
  const me = await eventually(async () => {
    const answer = await userOf(cluster, issuer.token(claims));
    return answer.status === 201 ? answer : undefined;
  }, 'the issuer to be found');
  assert.deepEqual(me.body.status.userInfo, {
    username: `${issuer.url}#jane`,
    groups: ['oidc:x', 'oidc:y', 'system:authenticated'],
  });
  issuer.addKey('other', 'ES256');
  const api = connectApi(cluster);
  const status = await review(api, issuer.token(claims));
  api.close();
  assert.equal(
    status.error,
    'oidc: verify token: oidc: id token signed with unsupported algorithm, expected ["RS256"] got "ES256"',
  );
});

test('a webhook that knows tokens, static tokens, anonymous by path', async (t) => {
  let asked: Json[] = [];
  let answer: (review: Json) => Json = () => ({ authenticated: false });
  await using hook: TlsServer = await startTlsServer({
    handle(request, response, body) {
      const review = JSON.parse(body.toString()) as Json;
      asked.push({ ...review, authorization: request.headers.authorization });
      response
        .writeHead(200, { 'content-type': 'application/json' })
        .end(JSON.stringify({ apiVersion: review.apiVersion, kind: 'TokenReview', status: answer(review) }));
    },
  });
  await using cluster = await secureCluster({
    'authentication-token-webhook-config-file': files.kubeconfig('token-hook', hook, '/review', {
      token: 'api-server',
    }),
    'authentication-token-webhook-version': 'v1',
    'authentication-token-webhook-cache-ttl': 60_000,
    'token-auth-file': files.write('tokens.csv', 'static-token,joe,17,"dev,ops"\nother,ann,18\n'),
    'authentication-config': files.write(
      'anonymous.yaml',
      config([], { anonymous: { enabled: true, conditions: [{ path: '/livez' }, { path: '/healthz' }] } }),
    ),
  });
  const api = connectApi(cluster);
  t.after(() => api.close());
  answer = ({ spec }) =>
    spec.token === 'good'
      ? {
          authenticated: true,
          user: { username: 'hook-user', uid: '42', groups: ['g'], extra: { 'example.com/x': ['1'] } },
          audiences: spec.audiences,
        }
      : { authenticated: false, error: 'I do not know you' };
  const me = await userOf(cluster, 'good');
  assert.deepEqual(me.body.status.userInfo, {
    username: 'hook-user',
    uid: '42',
    groups: ['g', 'system:authenticated'],
    extra: { 'example.com/x': ['1'] },
  });
  assert.equal(asked.length, 1);
  assert.equal(asked[0]!.apiVersion, 'authentication.k8s.io/v1');
  assert.equal(asked[0]!.authorization, 'Bearer api-server');
  assert.deepEqual(asked[0]!.spec, { token: 'good', audiences: ['https://kubernetes.default.svc.cluster.local'] });
  assert.equal((await userOf(cluster, 'good')).status, 201);
  assert.equal(asked.length, 1, 'the answer is kept');
  assert.equal((await userOf(cluster, 'bad')).status, 401);
  assert.equal((await review(api, 'bad')).error, 'I do not know you');
  // Tokens that we know ourselves do not leave the house.
  asked = [];
  const joe = await userOf(cluster, 'static-token');
  assert.deepEqual(joe.body.status.userInfo, {
    username: 'joe',
    uid: '17',
    groups: ['dev', 'ops', 'system:authenticated'],
  });
  assert.equal(asked.length, 0);
  assert.deepEqual(await review(api, 'static-token', ['others', 'https://kubernetes.default.svc.cluster.local']), {
    authenticated: true,
    audiences: ['https://kubernetes.default.svc.cluster.local'],
    user: { username: 'joe', uid: '17', groups: ['dev', 'ops', 'system:authenticated'] },
  });
  const nobody = connectApi(cluster, {});
  t.after(() => nobody.close());
  assert.equal((await nobody.get('/livez')).status, 200);
  const refused = await nobody.get('/version');
  assert.equal(refused.status, 401);
  assert.equal(refused.body.message, 'Unauthorized');
});

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

test('impersonation: limited and unlimited, all headers, upstream’s refusals', async (t) => {
  const can = async (name: string, rules: Json): Promise<void> => {
    await admin.create('/apis/rbac.authorization.k8s.io/v1/clusterroles', { metadata: { name }, rules });
    await admin.create('/apis/rbac.authorization.k8s.io/v1/clusterrolebindings', {
      metadata: { name },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name },
      subjects: [{ kind: 'ServiceAccount', name, namespace: 'default' }],
    });
    await admin.create('/api/v1/namespaces/default/serviceaccounts', { metadata: { name } });
  };
  const callerOf = async (name: string): Promise<Api> => {
    const answer = await admin.create(`/api/v1/namespaces/default/serviceaccounts/${name}/token`, { spec: {} });
    const api = connectApi(accounts, { token: answer.body.status.token });
    t.after(() => api.close());
    return api;
  };
  const authentication = 'authentication.k8s.io';
  await can('limited', [
    { verbs: ['impersonate:user-info'], apiGroups: [authentication], resources: ['users'], resourceNames: ['jane'] },
    { verbs: ['impersonate:user-info'], apiGroups: [authentication], resources: ['groups'], resourceNames: ['dev'] },
    { verbs: ['impersonate-on:user-info:create'], apiGroups: [authentication], resources: ['selfsubjectreviews'] },
    { verbs: ['impersonate:arbitrary-node'], apiGroups: [authentication], resources: ['nodes'], resourceNames: ['n1'] },
    { verbs: ['impersonate-on:arbitrary-node:create'], apiGroups: [authentication], resources: ['selfsubjectreviews'] },
  ]);
  await can('unlimited', [
    { verbs: ['impersonate'], apiGroups: [''], resources: ['users', 'groups', 'serviceaccounts'] },
    { verbs: ['impersonate'], apiGroups: [authentication], resources: ['uids', 'userextras/scopes'] },
  ]);
  const limited = await callerOf('limited');
  const unlimited = await callerOf('unlimited');
  const as = async (api: Api, headers: Record<string, string>): Promise<Answer> =>
    api.request('POST', whoami, selfReview, headers);
  const me = 'system:serviceaccount:default:limited';

  const jane = await as(limited, { 'impersonate-user': 'jane', 'impersonate-group': 'dev' });
  assert.deepEqual(jane.body.status.userInfo, { username: 'jane', groups: ['dev', 'system:authenticated'] });
  const node = await as(limited, { 'impersonate-user': 'system:node:n1' });
  assert.deepEqual(node.body.status.userInfo, {
    username: 'system:node:n1',
    groups: ['system:nodes', 'system:authenticated'],
  });
  const listing = await limited.request('GET', '/api/v1/namespaces/default/pods', undefined, {
    'impersonate-user': 'jane',
  });
  assert.equal(
    listing.body.message,
    `pods is forbidden: User "${me}" cannot impersonate-on:user-info:list resource "pods" in API group "" in the namespace "default"`,
  );
  const bob = await as(limited, { 'impersonate-user': 'bob' });
  assert.equal(
    bob.body.message,
    `users.authentication.k8s.io "bob" is forbidden: User "${me}" cannot impersonate:user-info resource "users" in API group "authentication.k8s.io" at the cluster scope`,
  );

  const everything = await as(unlimited, {
    'impersonate-user': 'jane',
    'impersonate-group': 'system:masters',
    'impersonate-uid': 'u1',
    'impersonate-extra-scopes': 'view',
  });
  assert.deepEqual(everything.body.status.userInfo, {
    username: 'jane',
    uid: 'u1',
    groups: ['system:masters', 'system:authenticated'],
    extra: { scopes: ['view'] },
  });
  const robot = await as(unlimited, { 'impersonate-user': 'system:serviceaccount:kube-system:builder' });
  assert.deepEqual(robot.body.status.userInfo.groups, [
    'system:serviceaccounts',
    'system:serviceaccounts:kube-system',
    'system:authenticated',
  ]);
  const anonymous = await as(unlimited, { 'impersonate-user': 'system:anonymous' });
  assert.equal(anonymous.status, 403, 'anonymous may not ask who it is');
  const extra = await as(unlimited, { 'impersonate-user': 'jane', 'impersonate-extra-other': 'x' });
  assert.equal(extra.status, 403);
  const nameless = await as(unlimited, { 'impersonate-group': 'dev' });
  assert.equal(nameless.status, 400);
  assert.equal(
    nameless.body.message,
    'requested &user.DefaultInfo{Name:"", UID:"", Groups:[]string{"dev"}, Extra:map[string][]string(nil)} without impersonating a user name',
  );
  const metrics = (await admin.get('/metrics')).text;
  assert.match(metrics, /^apiserver_impersonation_attempts_total\{decision="allowed",mode="user-info"\} 1$/m);
  assert.match(metrics, /^apiserver_impersonation_attempts_total\{decision="allowed",mode="legacy"\} [1-9]/m);
});
