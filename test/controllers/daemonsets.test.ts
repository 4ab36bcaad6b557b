/** DaemonSets over several nodes in virtual time against the real API server. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { DaemonSet, DaemonSetSpec, Pod } from '../../src/api/types/index.gen.ts';
import { eventsOf, kubelet, listPods, ns, setPhase } from './pods.ts';
import type { PodWorld } from './pods.ts';
import type { RealWorld } from './world.ts';
import type { VirtualClock } from '../../src/base/clock.ts';
import { quiet, virtualWorld } from './world.ts';

/** Without the controllers that would taint nodes which no kubelet keeps alive. */
async function world(): Promise<RealWorld<VirtualClock>> {
  const w = await virtualWorld(['daemonset', 'serviceaccount', 'garbagecollector']);
  await w.clock.advance(1000);
  for (const name of ['n1', 'n2', 'n3', 'n4']) {
    await w.admin.core.nodes.create({ metadata: { name, labels: { 'kubernetes.io/hostname': name, disk: 'ssd' } } });
    // New nodes are tainted as not ready until they say otherwise.
    await w.admin.core.nodes.patch(name, undefined, 'merge', { spec: { taints: null } });
  }
  return w;
}

const template = (image: string, spec: Record<string, unknown> = {}): DaemonSetSpec['template'] => ({
  metadata: { labels: { app: 'log' } },
  spec: { containers: [{ name: 'c', image }], ...spec },
});

async function create(w: PodWorld, spec: Partial<DaemonSetSpec> = {}): Promise<void> {
  await w.admin.apps.daemonsets.create({
    metadata: { name: 'log', namespace: ns },
    spec: { selector: { matchLabels: { app: 'log' } }, template: template('i:1'), ...spec },
  });
  await w.clock.advance(0);
}

const get = (w: PodWorld): Promise<DaemonSet> => w.admin.apps.daemonsets.get('log', ns);
const nodeOf = (p: Pod): string =>
  p.spec!.affinity!.nodeAffinity!.requiredDuringSchedulingIgnoredDuringExecution!.nodeSelectorTerms[0]!.matchFields![0]!
    .values![0]!;
const image = (p: Pod): string => p.spec!.containers[0]!.image!;
const alive = async (w: PodWorld): Promise<Pod[]> =>
  (await listPods(w)).filter((p) => p.metadata.deletionTimestamp === undefined);
const perNode = async (w: PodWorld): Promise<string[]> =>
  (await alive(w)).map((p) => `${nodeOf(p)} ${image(p)}`).toSorted();

test('one pod on every node that the template selects and tolerates, following labels and taints', async () => {
  await using w = await world();
  await w.admin.core.nodes.patch('n4', undefined, 'merge', { metadata: { labels: { disk: 'hdd' } } });
  await w.admin.core.nodes.patch('n3', undefined, 'merge', { spec: { unschedulable: true } });
  await create(w, { template: template('i:1', { nodeSelector: { disk: 'ssd' } }) });
  assert.deepEqual(await perNode(w), ['n1 i:1', 'n2 i:1', 'n3 i:1']);
  const [pod] = await alive(w);
  assert.deepEqual(
    pod!.spec!.tolerations!.map((t) => `${t.key} ${t.operator} ${t.effect}`),
    [
      'node.kubernetes.io/not-ready Exists NoExecute',
      'node.kubernetes.io/unreachable Exists NoExecute',
      'node.kubernetes.io/disk-pressure Exists NoSchedule',
      'node.kubernetes.io/memory-pressure Exists NoSchedule',
      'node.kubernetes.io/pid-pressure Exists NoSchedule',
      'node.kubernetes.io/unschedulable Exists NoSchedule',
    ],
  );
  await kubelet(w);
  const { conditions: _, ...status } = (await get(w)).status!;
  assert.deepEqual(status, {
    currentNumberScheduled: 3,
    numberMisscheduled: 0,
    desiredNumberScheduled: 3,
    numberReady: 3,
    observedGeneration: 1,
    updatedNumberScheduled: 3,
    numberAvailable: 3,
  });
  await w.admin.core.nodes.patch('n4', undefined, 'merge', { metadata: { labels: { disk: 'ssd' } } });
  await w.clock.advance(0);
  assert.deepEqual(await perNode(w), ['n1 i:1', 'n2 i:1', 'n3 i:1', 'n4 i:1']);
  await w.admin.core.nodes.patch('n1', undefined, 'merge', {
    spec: { taints: [{ key: 'a', value: 'b', effect: 'NoSchedule' }] },
  });
  await w.clock.advance(0);
  assert.equal((await alive(w)).length, 4, 'NoSchedule lets it stay');
  assert.equal((await get(w)).status!.numberMisscheduled, 1);
  await w.admin.core.nodes.patch('n1', undefined, 'merge', {
    spec: { taints: [{ key: 'a', value: 'b', effect: 'NoExecute' }] },
  });
  await w.clock.advance(0);
  assert.deepEqual(await perNode(w), ['n2 i:1', 'n3 i:1', 'n4 i:1']);
  assert.equal((await get(w)).status!.numberMisscheduled, 0);
  await w.admin.core.nodes.delete('n2');
  await w.clock.advance(0);
  assert.equal((await get(w)).status!.desiredNumberScheduled, 2);
  quiet(w);
});

test('a rolling update takes away no more than maxUnavailable; rolling back uses the old revision', async () => {
  await using w = await world();
  await create(w, { updateStrategy: { type: 'RollingUpdate', rollingUpdate: { maxUnavailable: 2, maxSurge: 0 } } });
  // Tools compare the bytes with the patch that they make of the DaemonSet: members in the order of their names.
  const [first] = (await w.admin.apps.controllerrevisions.list({ namespace: ns })).items;
  assert.equal(
    JSON.stringify(first!.data),
    '{"spec":{"template":{"$patch":"replace","metadata":{"labels":{"app":"log"}},"spec":{"containers":[{"image":"i:1",' +
      '"imagePullPolicy":"IfNotPresent","name":"c","resources":{},"terminationMessagePath":"/dev/termination-log",' +
      '"terminationMessagePolicy":"File"}],"dnsPolicy":"ClusterFirst","restartPolicy":"Always","schedulerName":"default-scheduler",' +
      '"securityContext":{},"terminationGracePeriodSeconds":30}}}}',
  );
  await kubelet(w);
  const setImage = async (name: string): Promise<void> => {
    await w.admin.apps.daemonsets.patch('log', ns, 'strategic', { spec: { template: template(name) } });
    await w.clock.advance(0);
  };
  await setImage('i:2');
  assert.deepEqual((await alive(w)).map(image).toSorted(), ['i:1', 'i:1', 'i:2', 'i:2']);
  assert.equal((await get(w)).status!.updatedNumberScheduled, 2);
  await w.clock.advance(60_000);
  assert.deepEqual((await alive(w)).map(image).toSorted(), ['i:1', 'i:1', 'i:2', 'i:2']);
  while ((await kubelet(w)) > 0);
  assert.deepEqual(await perNode(w), ['n1 i:2', 'n2 i:2', 'n3 i:2', 'n4 i:2']);
  await setImage('i:1');
  while ((await kubelet(w)) > 0);
  assert.deepEqual(await perNode(w), ['n1 i:1', 'n2 i:1', 'n3 i:1', 'n4 i:1']);
  const revisions = (await w.admin.apps.controllerrevisions.list({ namespace: ns })).items;
  assert.deepEqual(
    revisions.map((r) => r.revision).toSorted((a, b) => a - b),
    [2, 3],
  );
  const newest = revisions.find((r) => r.revision === 3)!;
  assert.equal(newest.metadata.name, `log-${newest.metadata.labels!['controller-revision-hash']}`);
  assert.ok(
    (await alive(w)).every(
      (p) => p.metadata.labels!['controller-revision-hash'] === newest.metadata.labels!['controller-revision-hash'],
    ),
  );
  quiet(w);
});

test('with surge the new pod is available before the old one goes; OnDelete changes nothing', async () => {
  await using w = await world();
  await create(w, {
    minReadySeconds: 5,
    updateStrategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } },
  });
  await kubelet(w);
  await w.clock.advance(5000);
  await w.admin.apps.daemonsets.patch('log', ns, 'strategic', { spec: { template: template('i:2') } });
  await w.clock.advance(0);
  assert.equal((await alive(w)).length, 5);
  await kubelet(w);
  assert.equal((await alive(w)).length, 5);
  await w.clock.advance(6000);
  assert.deepEqual((await alive(w)).map(image).toSorted(), ['i:1', 'i:1', 'i:1', 'i:2', 'i:2'], 'the next node');
  for (let i = 0; i < 4; i++) {
    await kubelet(w);
    await w.clock.advance(6000);
  }
  assert.deepEqual(await perNode(w), ['n1 i:2', 'n2 i:2', 'n3 i:2', 'n4 i:2']);
  await w.admin.apps.daemonsets.patch('log', ns, 'strategic', {
    spec: { updateStrategy: { type: 'OnDelete', rollingUpdate: null }, template: template('i:3') },
  });
  await w.clock.advance(1000);
  assert.deepEqual(await perNode(w), ['n1 i:2', 'n2 i:2', 'n3 i:2', 'n4 i:2']);
  quiet(w);
});

test('failed pods are replaced at once, then ever more slowly', async () => {
  await using w = await world();
  await create(w, { template: template('i:1', { nodeSelector: { 'kubernetes.io/hostname': 'n1' } }) });
  const waits: number[] = [];
  for (let i = 0; i < 4; i++) {
    const [pod] = await alive(w);
    await setPhase(w, pod!, 'Failed');
    await w.clock.advance(0);
    let waited = 0;
    while ((await alive(w))[0]?.metadata.uid === pod!.metadata.uid && waited < 100) {
      await w.clock.advance(500);
      waited += 0.5;
    }
    waits.push(waited);
  }
  assert.deepEqual(waits, [0, 1, 2, 4]);
  const events = await eventsOf(w, 'DaemonSet', 'log');
  assert.match(
    events.find((e) => e.includes('FailedDaemonPod'))!,
    /^Warning FailedDaemonPod Found failed daemon pod default\/log-\w+ on node n1, will try to kill it$/,
  );
  quiet(w);
});
