import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { after, before, test } from 'node:test';
import { VirtualClock } from '../base/clock.ts';
import { silentLogger } from '../base/logger.ts';
import { SystemRandom } from '../base/random.ts';
import type { KubeObject } from '../api/object.ts';
import { bootstrap } from './bootstrap/bootstrap.ts';
import { StartWrites } from './bootstrap/start-writes.ts';
import type { AuthorizationAttributes, RequestContext } from './context.ts';
import { loopbackContext } from './loopback.ts';
import type { IncomingRequest, UserInfo } from './request.ts';
import { createSecurity, type Security } from './security.ts';
import { lateStrategies } from './strategies/test-support.ts';
import { startHarness, type Harness, type Json } from './verbs/harness.ts';

let h: Harness;
let security: Security;
const clock = new VirtualClock();

const pem = (type: 'ec' | 'rsa'): string =>
  (type === 'ec'
    ? generateKeyPairSync('ec', { namedCurve: 'prime256v1' })
    : generateKeyPairSync('rsa', { modulusLength: 2048 })
  ).privateKey
    .export({ type: 'pkcs8', format: 'pem' })
    .toString();

function secure(signingKey: string): Security {
  return createSecurity({
    registries: h.registries,
    clock,
    random: new SystemRandom(),
    clientCertificates: false,
    anonymous: true,
    logger: silentLogger,
    authorization: {},
    serviceAccountKeys: { signingKey },
    jwksUri: () => 'https://192.0.2.1:6443/openid/v1/jwks',
    staticTokens: new Map([['letmein', { name: 'jane', groups: ['team'] }]]),
  });
}

before(async () => {
  h = await startHarness({ clock, strategies: lateStrategies(() => h, ['10.96.0.0/16']) });
  await h.registries.warm([
    ['networking.k8s.io', 'ipaddresses'],
    ['networking.k8s.io', 'servicecidrs'],
  ]);
  await bootstrap({
    registries: h.registries,
    logger: silentLogger,
    authentication: {},
    serviceCidrs: ['10.96.0.0/16'],
    advertised: undefined,
    writes: new StartWrites({ clock, logger: silentLogger }),
    now: 0,
  });
  security = secure(pem('ec'));
  await security.start();
});

after(async () => {
  security.close();
  await h.close();
});

function request(headers: Record<string, string> = {}, identity?: UserInfo): IncomingRequest {
  return {
    method: 'GET',
    path: '/',
    query: new URLSearchParams(),
    headers,
    body: { kind: 'none' },
    remoteAddress: '127.0.0.1',
    signal: new AbortController().signal,
    wantsObjects: true,
    ...(identity === undefined ? {} : { identity }),
  };
}

async function may(
  user: UserInfo,
  verb: string,
  resource: string,
  rest: Partial<AuthorizationAttributes> = {},
): Promise<{ decision: string; reason: string }> {
  const slash = resource.indexOf('/');
  return security.authorizer.authorize({
    user,
    verb,
    isResourceRequest: true,
    group: '',
    version: 'v1',
    resource: slash < 0 ? resource : resource.slice(0, slash),
    subresource: slash < 0 ? '' : resource.slice(slash + 1),
    namespace: '',
    name: '',
    path: '',
    ...rest,
  });
}

const create = (url: string, body: Json): Promise<Json> => h.request('POST', url, body, 'application/json');
const admit = async (): Promise<void> => {};

async function tokenFor(namespace: string, name: string, spec: Json = {}): Promise<Json> {
  const registry = h.registries.registry('', 'serviceaccounts')!;
  const base = loopbackContext({
    verb: 'create',
    resource: registry.resource,
    namespace,
    name,
    subresource: 'token',
  });
  const object: KubeObject = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', metadata: {}, spec };
  return security.virtualResources.get('/serviceaccounts/token')!(base as RequestContext, object, admit);
}

test('anonymous, static tokens, in-process identities; bad credentials are 401', async () => {
  const { authenticator } = security;
  assert.deepEqual((await authenticator.authenticate(request()))!.groups, ['system:unauthenticated']);
  assert.deepEqual(await authenticator.authenticate(request({ authorization: 'Bearer letmein' })), {
    name: 'jane',
    groups: ['team', 'system:authenticated'],
  });
  const own = await authenticator.authenticate(request({}, { name: 'system:kube-scheduler', groups: [] }));
  assert.deepEqual(own!.groups, ['system:authenticated']);
  await assert.rejects(authenticator.authenticate(request({ authorization: 'Bearer nonsense' })), {
    code: 401,
    message: 'Unauthorized',
  });
});

test('service account tokens: bound to a pod, verified, expired, invalidated', async () => {
  for (const kind of ['ec', 'rsa'] as const) {
    security.close();
    security = secure(pem(kind));
    await security.start();
    const name = `robot-${kind}`;
    await create('/api/v1/namespaces/default/serviceaccounts', { metadata: { name } });
    const pod = await create('/api/v1/namespaces/default/pods', {
      metadata: { name },
      spec: { serviceAccountName: name, nodeName: 'n1', containers: [{ name: 'c', image: 'i' }] },
    });
    const answer = await tokenFor('default', name, {
      expirationSeconds: 600,
      boundObjectRef: { apiVersion: 'v1', kind: 'Pod', name, uid: pod.body.metadata.uid },
    });
    const token = answer.status.token as string;
    const headers = { authorization: `Bearer ${token}` };
    const user = await security.authenticator.authenticate(request(headers));
    assert.equal(user!.name, `system:serviceaccount:default:${name}`);
    assert.deepEqual(user!.groups, [
      'system:serviceaccounts',
      'system:serviceaccounts:default',
      'system:authenticated',
    ]);
    assert.deepEqual(user!.extra!['authentication.kubernetes.io/pod-name'], [name]);
    assert.deepEqual(user!.extra!['authentication.kubernetes.io/node-name'], ['n1']);
    assert.match(user!.extra!['authentication.kubernetes.io/credential-id']![0]!, /^JTI=/);

    const forged = `${token.slice(0, -4)}AAAA`;
    await assert.rejects(security.authenticator.authenticate(request({ authorization: `Bearer ${forged}` })));
    const elsewhere = await security.tokens.authenticateToken(token, ['vault']).catch((e: Error) => e.message);
    assert.match(String(elsewhere), /is invalid for the target audiences \["vault"\]$/);

    await clock.advance(700_000);
    await assert.rejects(security.tokens.authenticateToken(token, undefined), {
      message: 'service account token has expired',
    });
    const fresh = (await tokenFor('default', name)).status.token as string;
    await security.tokens.authenticateToken(fresh, undefined);
    await h.request('DELETE', `/api/v1/namespaces/default/serviceaccounts/${name}`);
    await assert.rejects(security.tokens.authenticateToken(fresh, undefined), {
      message: `serviceaccounts "${name}" not found`,
    });
  }
  const [, jwks] = security.oidcDocuments;
  assert.equal(JSON.parse(jwks!.body().toString()).keys[0].alg, 'RS256');
  await create('/api/v1/namespaces/default/serviceaccounts', { metadata: { name: 'short' } });
  await assert.rejects(tokenFor('default', 'short', { expirationSeconds: 10 }), {
    code: 422,
    message:
      'TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: Invalid value: 10: may not specify a duration less than 10 minutes',
  });
});

test('RBAC: default roles, bindings as they come and go, reasons, masters', async () => {
  const jane: UserInfo = { name: 'jane', groups: ['system:authenticated'] };
  assert.equal((await may(jane, 'list', 'pods', { namespace: 'default' })).decision, 'noOpinion');
  await create('/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles', {
    metadata: { name: 'reader' },
    rules: [{ verbs: ['get', 'list'], apiGroups: [''], resources: ['pods', '*/log'] }],
  });
  await create('/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings', {
    metadata: { name: 'jane-reads' },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'reader' },
    subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: 'jane' }],
  });
  const listed = await may(jane, 'list', 'pods', { namespace: 'default' });
  assert.deepEqual(listed, {
    decision: 'allow',
    reason: 'RBAC: allowed by RoleBinding "jane-reads/default" of Role "reader" to User "jane"',
  });
  assert.equal((await may(jane, 'get', 'pods/log', { namespace: 'default' })).decision, 'allow');
  assert.equal((await may(jane, 'list', 'pods', { namespace: 'kube-system' })).decision, 'noOpinion');
  await h.request('DELETE', '/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles/reader');
  assert.deepEqual(await may(jane, 'list', 'pods', { namespace: 'default' }), {
    decision: 'noOpinion',
    reason: 'RBAC: role.rbac.authorization.k8s.io "reader" not found',
  });
  const path = { isResourceRequest: false, resource: '', path: '/healthz' };
  assert.equal((await may(jane, 'get', '', path)).decision, 'allow');
  const scheduler: UserInfo = { name: 'system:kube-scheduler', groups: ['system:authenticated'] };
  assert.equal((await may(scheduler, 'create', 'pods/binding', { namespace: 'default' })).decision, 'allow');
  assert.equal((await may(scheduler, 'delete', 'nodes')).decision, 'noOpinion');
  assert.equal((await may({ name: 'root', groups: ['system:masters'] }, 'delete', 'nodes')).decision, 'allow');
});

test('nobody grants what they do not hold', async () => {
  await create('/apis/rbac.authorization.k8s.io/v1/clusterroles', {
    metadata: { name: 'granter' },
    rules: [{ verbs: ['get'], apiGroups: [''], resources: ['pods'] }],
  });
  await create('/apis/rbac.authorization.k8s.io/v1/clusterrolebindings', {
    metadata: { name: 'granter' },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'granter' },
    subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: 'grace' }],
  });
  const { resource } = h.registries.registry('rbac.authorization.k8s.io', 'clusterroles')!;
  const grace: UserInfo = { name: 'grace', groups: ['system:authenticated'] };
  const ctx = loopbackContext({ verb: 'create', resource, user: grace });
  const role = (verbs: string[]): KubeObject => ({
    metadata: { name: 'wide' },
    rules: [{ verbs, apiGroups: [''], resources: ['pods'] }],
  });
  security.escalation.checkRole(ctx, role(['get']), undefined);
  assert.throws(() => security.escalation.checkRole(ctx, role(['get', 'delete', 'list']), undefined), {
    code: 403,
    message:
      'clusterroles.rbac.authorization.k8s.io "wide" is forbidden: user "grace" (groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently held:\n{APIGroups:[""], Resources:["pods"], Verbs:["delete" "list"]}',
  });
});

test('a node reads what its pods refer to, and nothing else', async () => {
  const n1: UserInfo = { name: 'system:node:n1', groups: ['system:nodes', 'system:authenticated'] };
  const n2: UserInfo = { ...n1, name: 'system:node:n2' };
  await create('/api/v1/namespaces/default/pods', {
    metadata: { name: 'web' },
    spec: {
      serviceAccountName: 'short',
      containers: [{ name: 'c', image: 'i', envFrom: [{ secretRef: { name: 'env' } }] }],
      volumes: [
        { name: 'a', configMap: { name: 'cfg' } },
        { name: 'b', persistentVolumeClaim: { claimName: 'data' } },
      ],
    },
  });
  const secret = { namespace: 'default', name: 'env' };
  assert.equal(
    (await may(n1, 'get', 'secrets', secret)).reason,
    "no relationship found between node 'n1' and this object",
  );
  const bound = await create('/api/v1/namespaces/default/pods/web/binding', {
    metadata: { name: 'web' },
    target: { apiVersion: 'v1', kind: 'Node', name: 'n1' },
  });
  assert.equal(bound.status, 201, bound.body.message);
  await create('/api/v1/persistentvolumes', {
    metadata: { name: 'disk' },
    spec: {
      capacity: { storage: '1Gi' },
      accessModes: ['ReadWriteOnce'],
      claimRef: { namespace: 'default', name: 'data' },
      csi: { driver: 'd', volumeHandle: 'h', nodeStageSecretRef: { namespace: 'storage', name: 'key' } },
    },
  });
  for (const [resource, namespace, name] of [
    ['secrets', 'default', 'env'],
    ['configmaps', 'default', 'cfg'],
    ['persistentvolumeclaims', 'default', 'data'],
    ['persistentvolumes', '', 'disk'],
    ['secrets', 'storage', 'key'],
    ['pods', 'default', 'web'],
    ['nodes', '', 'n1'],
  ] as const) {
    assert.equal((await may(n1, 'get', resource, { namespace, name })).decision, 'allow', `n1 ${resource} ${name}`);
    assert.equal((await may(n2, 'get', resource, { namespace, name })).decision, 'noOpinion', `n2 ${resource} ${name}`);
  }
  const token = { namespace: 'default', name: 'short' };
  assert.equal((await may(n1, 'create', 'serviceaccounts/token', token)).decision, 'allow');
  assert.equal((await may(n2, 'create', 'serviceaccounts/token', token)).decision, 'noOpinion');
  assert.equal((await may(n1, 'list', 'pods', { fieldSelector: 'spec.nodeName=n1' })).decision, 'allow');
  assert.equal((await may(n1, 'list', 'pods')).decision, 'noOpinion');
  const lease = { group: 'coordination.k8s.io', namespace: 'kube-node-lease' };
  assert.equal((await may(n1, 'update', 'leases', { ...lease, name: 'n1' })).decision, 'allow');
  assert.equal((await may(n1, 'update', 'leases', { ...lease, name: 'n2' })).decision, 'noOpinion');
  await h.request('DELETE', '/api/v1/namespaces/default/pods/web?gracePeriodSeconds=0');
  assert.equal((await may(n1, 'get', 'secrets', secret)).decision, 'noOpinion');
});
