/** Nodes that fall silent: conditions, taints, pods marked and evicted after what they tolerate, and stops when all nodes fail. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatMicroTime, formatTime } from '../../api/time.ts';
import type { Node, Pod } from '../../api/types/index.gen.ts';
import type { Timer } from '../../base/clock.ts';
import { isNotFound } from '../../client/errors.ts';
import { resources } from '../../client/resources.ts';
import type { World } from '../testing.ts';
import { createWorld } from '../testing.ts';

const controllers = ['node-lifecycle-controller', 'taint-eviction-controller'];

/** A node whose lease is renewed every 10 s as long as `alive` says so. */
async function addNode(w: World, name: string): Promise<{ alive: boolean; timer: Timer }> {
  const time = formatTime(w.clock.now());
  await w.client.core.nodes.create({
    metadata: { name, labels: { 'kubernetes.io/os': 'linux' } },
    status: {
      conditions: [
        { type: 'Ready', status: 'True', lastHeartbeatTime: time, lastTransitionTime: time },
        { type: 'MemoryPressure', status: 'False', lastHeartbeatTime: time, lastTransitionTime: time },
      ],
    },
  });
  const leases = w.client.coordination.leases;
  const renewTime = () => formatMicroTime(w.clock.now());
  await leases.create({ metadata: { name, namespace: 'kube-node-lease' }, spec: { renewTime: renewTime() } });
  const node = {
    alive: true,
    timer: w.clock.setTicker(10_000, () => {
      if (node.alive) void leases.patch(name, 'kube-node-lease', 'merge', { spec: { renewTime: renewTime() } });
    }),
  };
  return node;
}

async function addPod(w: World, name: string, nodeName: string, tolerationSeconds?: number | null): Promise<void> {
  const pod: Pod = {
    metadata: { name, namespace: 'default' },
    spec: {
      nodeName,
      containers: [{ name: 'c', image: 'i' }],
      tolerations:
        tolerationSeconds === null
          ? [{ operator: 'Exists' }]
          : [
              {
                key: 'node.kubernetes.io/unreachable',
                operator: 'Exists',
                effect: 'NoExecute',
                tolerationSeconds: tolerationSeconds ?? 300,
              },
            ],
    },
    status: { phase: 'Running', conditions: [{ type: 'Ready', status: 'True' }] },
  };
  await w.client.core.pods.create(pod);
}

const getNode = (w: World, name: string): Promise<Node> => w.client.core.nodes.get(name);
const ready = (n: Node) => n.status?.conditions?.find((c) => c.type === 'Ready');
const taints = (n: Node): string[] =>
  (n.spec?.taints ?? []).map((t) => `${t.key.split('/')[1]}:${t.effect}`).toSorted();

test('a silent node becomes Unknown, its pods not ready, and after five minutes they go', async () => {
  await using w = await createWorld(controllers);
  const a = await addNode(w, 'a');
  const b = await addNode(w, 'b');
  await addPod(w, 'p', 'a');
  await addPod(w, 'daemon', 'a', null);
  await addPod(w, 'short', 'a', 10);
  await w.clock.advance(3_600_000);
  assert.equal(ready(await getNode(w, 'a'))?.status, 'True', 'a healthy node stays ready for an hour');
  assert.equal((await getNode(w, 'a')).metadata.labels?.['beta.kubernetes.io/os'], 'linux');
  a.alive = false;
  await w.clock.advance(45_000);
  assert.equal(ready(await getNode(w, 'a'))?.status, 'True');
  await w.clock.advance(20_000);
  let node = await getNode(w, 'a');
  assert.equal(ready(node)?.status, 'Unknown');
  assert.equal(ready(node)?.reason, 'NodeStatusUnknown');
  assert.equal(ready(node)?.message, 'Kubelet stopped posting node status.');
  assert.deepEqual(taints(node), ['unreachable:NoExecute', 'unreachable:NoSchedule']);
  assert.equal((await w.client.core.pods.get('p', 'default')).status?.conditions?.[0]?.status, 'False');
  await w.clock.advance(15_000);
  await assert.rejects(w.client.core.pods.get('short', 'default'), isNotFound);
  await w.clock.advance(240_000);
  await w.client.core.pods.get('p', 'default');
  await w.clock.advance(60_000);
  await assert.rejects(w.client.core.pods.get('p', 'default'), isNotFound);
  await w.client.core.pods.get('daemon', 'default');
  const events = w.api.all(resources.core.events).map((e) => `${e['reason']}: ${e['message']}`);
  assert.ok(events.includes('RegisteredNode: Node a event: Registered Node a in Controller'));
  assert.ok(events.includes('NodeNotReady: Node a status is now: NodeNotReady'));
  assert.ok(events.includes('TaintManagerEviction: Marking for deletion Pod default/p'));

  a.alive = true;
  const time = formatTime(w.clock.now());
  await w.client.core.nodes.updateStatus({
    ...(await getNode(w, 'a')),
    status: { conditions: [{ type: 'Ready', status: 'True', lastHeartbeatTime: time, lastTransitionTime: time }] },
  });
  await w.clock.advance(10_000);
  node = await getNode(w, 'a');
  assert.deepEqual(taints(node), []);
  a.timer.cancel();
  b.timer.cancel();
});

test('a toleration that outlasts the failure: the eviction is called off', async () => {
  await using w = await createWorld(controllers);
  const a = await addNode(w, 'a');
  const b = await addNode(w, 'b');
  await addPod(w, 'p', 'a');
  a.alive = false;
  await w.clock.advance(120_000);
  assert.ok(taints(await getNode(w, 'a')).includes('unreachable:NoExecute'));
  a.alive = true;
  const time = formatTime(w.clock.now());
  await w.client.core.nodes.updateStatus({
    ...(await getNode(w, 'a')),
    status: { conditions: [{ type: 'Ready', status: 'True', lastHeartbeatTime: time, lastTransitionTime: time }] },
  });
  await w.clock.advance(600_000);
  await w.client.core.pods.get('p', 'default');
  const events = w.api.all(resources.core.events).map((e) => e['message']);
  assert.ok(events.includes('Cancelling deletion of Pod default/p'));
  a.timer.cancel();
  b.timer.cancel();
});

test('when every node is silent nothing is evicted; cordoning taints', async () => {
  await using w = await createWorld(controllers);
  const nodes = [await addNode(w, 'a'), await addNode(w, 'b')];
  await addPod(w, 'p', 'a');
  await w.client.core.nodes.patch('b', undefined, 'merge', { spec: { unschedulable: true } });
  await w.settle();
  assert.deepEqual(taints(await getNode(w, 'b')), ['unschedulable:NoSchedule']);
  for (const n of nodes) n.alive = false;
  await w.clock.advance(3_600_000);
  assert.equal(ready(await getNode(w, 'a'))?.status, 'Unknown');
  await w.client.core.pods.get('p', 'default');
  for (const n of nodes) n.timer.cancel();
});
