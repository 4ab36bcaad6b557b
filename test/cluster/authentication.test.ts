/** Who asks: tokens of OpenID Connect issuers and webhooks that the test brings, static tokens and nobody at all, over TLS. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { connectApi } from '../support/api.ts';
import type { Json } from '../support/api.ts';
import { startOidcIssuer } from '../support/oidc-issuer.ts';
import type { OidcIssuer } from '../support/oidc-issuer.ts';
import { collectingLogger, eventually, Files, secureCluster, securityOf } from '../support/security.ts';
import { startTlsServer } from '../support/tls-server.ts';
import type { TlsServer } from '../support/tls-server.ts';
import { review, userOf } from './support/identity.ts';

const files = new Files();
after(() => files[Symbol.dispose]());

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
