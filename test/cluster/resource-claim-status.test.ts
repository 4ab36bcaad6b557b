/** Who may write which part of a claim's status: the refusals stand beside whatever else is wrong with it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connectApi } from '../support/api.ts';
import type { Answer, Json } from '../support/api.ts';
import { secureCluster } from '../support/security.ts';

test('claims: the parts of the status need permissions of their own', async (t) => {
  const cluster = await secureCluster({});
  t.after(() => cluster.close());
  const admin = connectApi(cluster);
  t.after(() => admin.close());
  const rbac = '/apis/rbac.authorization.k8s.io/v1';
  const user = 'system:serviceaccount:default:driver';
  const path = '/apis/resource.k8s.io/v1/namespaces/default/resourceclaims';
  const grant = async (scope: string, kind: string, name: string, resource: string, verbs: string[]): Promise<void> => {
    const rules = [{ verbs, apiGroups: ['resource.k8s.io'], resources: [`resourceclaims/${resource}`] }];
    const made = await admin.create(`${scope}/${kind.toLowerCase()}s`, { metadata: { name }, rules });
    assert.equal(made.status, 201, made.text);
    const bound = await admin.create(`${scope}/${kind.toLowerCase()}bindings`, {
      metadata: { name },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind, name },
      subjects: [{ kind: 'ServiceAccount', name: 'driver', namespace: 'default' }],
    });
    assert.equal(bound.status, 201, bound.text);
  };
  const inDefault = `${rbac}/namespaces/default`;
  await grant(inDefault, 'Role', 'status', 'status', ['update']);

  const on = (node: string): Json => ({
    nodeSelector: {
      nodeSelectorTerms: [{ matchFields: [{ key: 'metadata.name', operator: 'In', values: [node] }] }],
    },
    devices: { results: [{ request: 'r', driver: 'driver.example', pool: 'p', device: 'd1' }] },
  });
  const device = (name: string): Json => ({ driver: 'driver.example', pool: 'p', device: name });
  const made = await admin.create(path, {
    metadata: { name: 'claim' },
    spec: { devices: { requests: [{ name: 'r', exactly: { deviceClassName: 'class' } }] } },
  });
  assert.equal(made.status, 201, made.text);
  const claim = made.body as Json;
  const write = (status: Json, headers: Record<string, string> = {}): Promise<Answer> =>
    admin.request(
      'PUT',
      `${path}/claim/status`,
      { ...claim, metadata: { name: 'claim', namespace: 'default' }, status },
      headers,
    );
  const asDriver = (status: Json, node?: string): Promise<Answer> =>
    write(status, {
      'impersonate-user': user,
      ...(node === undefined ? {} : { 'impersonate-extra-authentication.kubernetes.io%2fnode-name': node }),
    });
  const causes = ({ body }: Answer): Json =>
    (body as Json).details?.causes.map((c: Json) => `${c.field}: ${c.message}`);
  const allocated = await write({ allocation: on('n1') });
  assert.equal(allocated.status, 200, allocated.text);

  const binding = `status.allocation: Forbidden: changing status.allocation or status.reservedFor requires resource="resourceclaims/binding", verb="update" permission: resourceclaims.resource.k8s.io is forbidden: User "${user}" cannot update resource "resourceclaims/binding" in API group "resource.k8s.io" at the cluster scope`;
  const driver = (verbs: string, verb: string): string =>
    `status.devices: Forbidden: changing status.devices requires resource="resourceclaims/driver", verb="[${verbs}]" permission: resourceclaims.resource.k8s.io "driver.example" is forbidden: User "${user}" cannot ${verb} resource "resourceclaims/driver" in API group "resource.k8s.io" in the namespace "default"`;
  const arbitrary = 'arbitrary-node:update';
  const associated = 'associated-node:update';

  const neither = await asDriver({ allocation: on('n1'), devices: [device('d1')] });
  assert.equal(neither.status, 422, neither.text);
  assert.deepEqual(causes(neither), [driver(arbitrary, arbitrary)]);
  const local = await asDriver({ allocation: on('n1'), devices: [device('d1')] }, 'n1');
  assert.deepEqual(causes(local), [driver(`${associated} ${arbitrary}`, associated)]);
  const freed = await asDriver({});
  assert.deepEqual(causes(freed), [binding]);

  // Refused, and wrong as well: all of it is told, what is refused first.
  const both = await asDriver({ allocation: on('n2'), devices: [device('d2')] });
  const told = causes(both) as string[];
  assert.deepEqual(told.slice(0, 2), [binding, driver(arbitrary, arbitrary)]);
  assert.equal(
    told[2],
    'status.devices[0]: Invalid value: {"Driver":"driver.example","Pool":"p","Device":"d2","ShareID":""}: must be an allocated device in the claim',
  );
  assert.match(told[3]!, /^status\.allocation: Invalid value: .*: field is immutable$/s);
  assert.equal(told.length, 4);
  assert.ok(((both.body as Json).message as string).includes(binding));

  await grant(inDefault, 'Role', 'near', 'driver', [associated]);
  assert.equal((await asDriver({ allocation: on('n1'), devices: [device('d1')] }, 'n2')).status, 422);
  const near = await asDriver({ allocation: on('n1'), devices: [device('d1')] }, 'n1');
  assert.equal(near.status, 200, near.text);
  await grant(rbac, 'ClusterRole', 'binder', 'binding', ['update']);
  const reserved = await asDriver({
    allocation: on('n1'),
    devices: [device('d1')],
    reservedFor: [{ resource: 'pods', name: 'p', uid: 'u' }],
  });
  assert.equal(reserved.status, 200, reserved.text);
});
