/** The garbage collector and the namespace controller: background, foreground, orphans, absent owners, emptying namespaces. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { OwnerReference } from '../../api/object.ts';
import type { ConfigMap, Namespace } from '../../api/types/index.gen.ts';
import { resources } from '../../client/resources.ts';
import type { World } from '../testing.ts';
import { createWorld } from '../testing.ts';

const maps = resources.core.configmaps;

async function make(
  w: World,
  name: string,
  owners: ConfigMap[] = [],
  namespace = 'default',
  block = true,
): Promise<ConfigMap> {
  const made = await w.client.core.configmaps.create({
    metadata: {
      name,
      namespace,
      ownerReferences: owners.map((o): OwnerReference => ({
        apiVersion: 'v1',
        kind: 'ConfigMap',
        name: o.metadata.name!,
        uid: o.metadata.uid!,
        blockOwnerDeletion: block,
      })),
    },
  });
  await w.settle();
  return made;
}

const names = (w: World): string[] => w.api.all(maps).map((o) => o.metadata.name!);

test('dependents of a deleted owner go in the background, those with another owner stay', async () => {
  await using w = await createWorld(['garbagecollector']);
  await w.settle();
  const a = await make(w, 'a');
  const b = await make(w, 'b');
  const child = await make(w, 'child', [a]);
  await make(w, 'grandchild', [child]);
  await make(w, 'shared', [a, b]);
  await make(w, 'free');
  await w.client.core.configmaps.delete('a', 'default', { propagationPolicy: 'Background' });
  await w.settle();
  assert.deepEqual(names(w), ['b', 'shared', 'free']);
  const shared = await w.client.core.configmaps.get('shared', 'default');
  assert.deepEqual(
    shared.metadata.ownerReferences?.map((o) => o.name),
    ['b'],
    'the dangling reference is taken out',
  );
});

test('foreground deletion: the owner goes last', async () => {
  await using w = await createWorld(['garbagecollector']);
  await w.settle();
  const a = await make(w, 'a');
  const child = await make(w, 'child', [a]);
  await make(w, 'grandchild', [child]);
  await w.client.core.configmaps.patch('grandchild', 'default', 'merge', { metadata: { finalizers: ['test/hold'] } });
  await w.client.core.configmaps.delete('a', 'default', { propagationPolicy: 'Foreground' });
  await w.settle();
  assert.deepEqual(names(w), ['a', 'child', 'grandchild']);
  assert.ok(w.api.all(maps).every((o) => o.metadata.deletionTimestamp !== undefined));
  await w.client.core.configmaps.patch('grandchild', 'default', 'merge', { metadata: { finalizers: null } });
  await w.settle();
  assert.deepEqual(names(w), []);
  const childless = await make(w, 'childless');
  await w.client.core.configmaps.delete(childless.metadata.name!, 'default', { propagationPolicy: 'Foreground' });
  await w.settle();
  assert.deepEqual(names(w), []);
});

test('orphaned dependents lose their reference and live on', async () => {
  await using w = await createWorld(['garbagecollector']);
  await w.settle();
  const a = await make(w, 'a');
  await make(w, 'child', [a]);
  await w.client.core.configmaps.delete('a', 'default', { propagationPolicy: 'Orphan' });
  await w.settle();
  assert.deepEqual(names(w), ['child']);
  const child = await w.client.core.configmaps.get('child', 'default');
  assert.equal(child.metadata.ownerReferences?.length ?? 0, 0);
});

test('owners that never were, or are elsewhere', async () => {
  await using w = await createWorld(['garbagecollector']);
  await w.settle();
  const a = await make(w, 'a');
  await make(w, 'lost', [{ metadata: { name: 'never', uid: 'no-such-uid' } }]);
  await make(w, 'elsewhere', [a], 'other');
  assert.deepEqual(names(w), ['a']);
  await w.clock.advance(1000);
  const events = w.api.all(resources.core.events, 'other');
  assert.equal(events[0]?.['reason'], 'OwnerRefInvalidNamespace');
  assert.match(
    String(events[0]?.['message']),
    /^ownerRef \[v1\/ConfigMap, namespace: other, name: a, uid: [-0-9a-f]+\] does not exist in namespace "other"$/,
  );
});

test('what was orphaned while nobody looked is found at the start', async () => {
  await using w = await createWorld(['garbagecollector']);
  const a = await w.client.core.configmaps.create({ metadata: { name: 'a', namespace: 'default' } });
  await make(w, 'child', [a]);
  await w.client.core.configmaps.delete('a', 'default');
  await w.clock.advance(5000);
  assert.deepEqual(names(w), []);
});

test('a namespace is emptied, pods first, and tells what holds it up', async () => {
  await using w = await createWorld(['namespace']);
  const ns: Namespace = { metadata: { name: 'gone' }, spec: { finalizers: ['kubernetes'] } };
  await w.client.core.namespaces.create(ns);
  await make(w, 'map', [], 'gone');
  await w.client.core.pods.create({
    metadata: { name: 'p', namespace: 'gone', finalizers: ['test/hold'] },
    spec: { containers: [{ name: 'c', image: 'i' }] },
  });
  await w.client.core.namespaces.delete('gone');
  await w.clock.advance(6000);
  const live = await w.client.core.namespaces.get('gone');
  assert.equal(live.status?.phase, 'Terminating');
  const remaining = live.status?.conditions?.find((c) => c.type === 'NamespaceContentRemaining');
  assert.equal(remaining?.message, 'Some resources are remaining: pods. has 1 resource instances');
  const held = live.status?.conditions?.find((c) => c.type === 'NamespaceFinalizersRemaining');
  assert.equal(
    held?.message,
    'Some content in the namespace has finalizers remaining: test/hold in 1 resource instances',
  );
  assert.deepEqual(names(w), ['map'], 'the rest waits for the pods');
  await w.client.core.pods.patch('p', 'gone', 'merge', { metadata: { finalizers: null } });
  await w.settle();
  assert.deepEqual(names(w), []);
  assert.deepEqual(w.api.all(resources.core.namespaces), []);
});
