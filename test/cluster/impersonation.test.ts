/** Who speaks for somebody else: limited and unlimited impersonation over TLS. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connectApi } from '../support/api.ts';
import type { Answer, Api, Json } from '../support/api.ts';
import { secureCluster } from '../support/security.ts';
import { selfReview, whoami } from './support/identity.ts';

test('impersonation: limited and unlimited, all headers, upstream’s refusals', async (t) => {
  const cluster = await secureCluster({});
  t.after(() => cluster.close());
  const admin = connectApi(cluster);
  t.after(() => admin.close());
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
    const api = connectApi(cluster, { token: answer.body.status.token });
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
