import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SeededRandom } from '../base/random.ts';
import { compileLabelSelector } from '../api/selector.ts';
import type { Node, Pod, PodSpec } from '../api/types/index.gen.ts';
import { Evaluator, enoughNodes, explain } from './cycle.ts';
import type { Handle } from './framework.ts';
import { Nominations } from './nominations.ts';
import { NodeTable } from './node-table.ts';
import { defaultPlugins } from './plugins/default-plugins.ts';
import { volumeBinding } from './plugins/volume-binding.ts';
import { podInfo } from './pod-info.ts';
import { preempt } from './preemption.ts';

function node(
  name: string,
  extra: {
    cpu?: string;
    memory?: string;
    labels?: Record<string, string>;
    taints?: { key: string; effect: string; value?: string }[];
    unschedulable?: boolean;
  } = {},
): Node {
  return {
    metadata: { name, labels: { 'kubernetes.io/hostname': name, ...extra.labels } },
    spec: {
      ...(extra.taints === undefined ? {} : { taints: extra.taints }),
      ...(extra.unschedulable === true ? { unschedulable: true } : {}),
    },
    status: { allocatable: { cpu: extra.cpu ?? '4', memory: extra.memory ?? '8Gi', pods: '110' } },
  };
}

let serial = 0;
function pod(spec: Partial<PodSpec> & { cpu?: string; memory?: string; labels?: Record<string, string> } = {}): Pod {
  const { cpu, memory, labels, ...rest } = spec;
  const name = `p${serial++}`;
  const requests: Record<string, string> = {
    ...(cpu === undefined ? {} : { cpu }),
    ...(memory === undefined ? {} : { memory }),
  };
  return {
    metadata: { name, namespace: 'default', uid: name, ...(labels === undefined ? {} : { labels }) },
    spec: { containers: [{ name: 'c', image: 'i', resources: { requests } }], ...rest },
  };
}

function world(nodes: Node[], seed = 1) {
  const table = new NodeTable();
  for (const n of nodes) table.setNode(n);
  const handle: Handle = {
    table,
    namespaceLabels: () => ({}),
    namespaces: () => [],
    defaultSelector: (info) =>
      info.labels['app'] === undefined ? undefined : compileLabelSelector({ matchLabels: { app: info.labels['app'] } }),
    volumes: {
      claim: () => undefined,
      volume: () => undefined,
      volumes: () => [],
      storageClass: () => undefined,
      csiNode: () => undefined,
      attachments: () => [],
    },
  };
  const random = new SeededRandom(seed);
  const plugins = defaultPlugins(volumeBinding(() => Promise.resolve(), handle.volumes));
  const evaluator = new Evaluator(plugins, handle, random, new Nominations());
  const place = (p: Pod): string => {
    const info = podInfo(p);
    const v = evaluator.schedule(info);
    if (v.kind === 'refused') return explain(table.size, v, '');
    const name = table.names[v.row]!;
    table.addPod(info, name);
    return name;
  };
  const preemption = (p: Pod) => {
    const info = podInfo(p);
    const v = evaluator.schedule(info);
    assert.equal(v.kind, 'refused');
    if (v.kind !== 'refused') throw new Error('placed');
    return preempt({ table, evaluator, random, budgets: () => [] }, info, v);
  };
  return { table, place, preemption };
}

test('says per reason how many nodes refuse, as upstream words it', () => {
  const w = world([
    node('a', { cpu: '1' }),
    node('b', { unschedulable: true }),
    node('c', { taints: [{ key: 'dedicated', value: 'x', effect: 'NoSchedule' }] }),
  ]);
  assert.equal(
    w.place(pod({ cpu: '2' })),
    '0/3 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable.',
  );
  assert.equal(w.place(pod({ cpu: '2', tolerations: [{ key: 'dedicated', operator: 'Exists' }] })), 'c');
  assert.equal(
    w.place(pod({ nodeSelector: { disk: 'ssd' } })),
    "0/3 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable.",
  );
});

test('pods of one application are spread over hosts', () => {
  const w = world([node('a'), node('b'), node('c')]);
  const used = [1, 2, 3].map(() => w.place(pod({ cpu: '100m', memory: '100Mi', labels: { app: 'web' } })));
  assert.deepEqual(used.toSorted(), ['a', 'b', 'c']);
});

test('anti-affinity leaves the fourth of three hosts without a place, affinity follows its friend', () => {
  const w = world([node('a'), node('b'), node('c')]);
  const loner = (): Pod =>
    pod({
      labels: { app: 'db' },
      affinity: {
        podAntiAffinity: {
          requiredDuringSchedulingIgnoredDuringExecution: [
            { topologyKey: 'kubernetes.io/hostname', labelSelector: { matchLabels: { app: 'db' } } },
          ],
        },
      },
    });
  assert.deepEqual([loner(), loner(), loner()].map(w.place).toSorted(), ['a', 'b', 'c']);
  assert.equal(w.place(loner()), "0/3 nodes are available: 3 node(s) didn't match pod anti-affinity rules.");
  const cache = w.place(pod({ labels: { app: 'cache' } }));
  const friend = pod({
    affinity: {
      podAffinity: {
        requiredDuringSchedulingIgnoredDuringExecution: [
          { topologyKey: 'kubernetes.io/hostname', labelSelector: { matchLabels: { app: 'cache' } } },
        ],
      },
    },
  });
  assert.equal(w.place(friend), cache);
});

test('hard topology spread keeps the skew within bounds over zones', () => {
  const zone = (z: string) => ({ labels: { 'topology.kubernetes.io/zone': z } });
  const w = world([node('a', zone('x')), node('b', zone('x')), node('c', zone('y'))]);
  const spread = (): Pod =>
    pod({
      labels: { app: 's' },
      topologySpreadConstraints: [
        {
          maxSkew: 1,
          topologyKey: 'topology.kubernetes.io/zone',
          whenUnsatisfiable: 'DoNotSchedule',
          labelSelector: { matchLabels: { app: 's' } },
        },
      ],
    });
  const zones = { x: 0, y: 0 };
  for (let i = 0; i < 6; i++) {
    zones[w.place(spread()) === 'c' ? 'y' : 'x']++;
    assert.ok(Math.abs(zones.x - zones.y) <= 1);
  }
});

test('host ports are exclusive per address and protocol', () => {
  const w = world([node('a')]);
  const port = (hostPort: number, hostIP?: string, protocol = 'TCP'): Pod =>
    pod({
      containers: [
        { name: 'c', ports: [{ containerPort: 80, hostPort, protocol, ...(hostIP === undefined ? {} : { hostIP }) }] },
      ],
    });
  assert.equal(w.place(port(80, '10.0.0.1')), 'a');
  assert.equal(w.place(port(80, '10.0.0.2')), 'a');
  assert.equal(w.place(port(80, '10.0.0.1', 'UDP')), 'a');
  assert.match(w.place(port(80)), /didn't have free ports/);
});

test('sidecars and init containers count as KEP-753 says', () => {
  const c = (name: string, cpu: string, restartPolicy?: string) => ({
    name,
    resources: { requests: { cpu } },
    ...(restartPolicy === undefined ? {} : { restartPolicy }),
  });
  const info = podInfo(
    pod({
      initContainers: [c('side', '1', 'Always'), c('init', '3')],
      containers: [c('main', '2')],
      overhead: { cpu: '100m' },
    }),
  );
  // max(sidecar + main, sidecar + init) + overhead
  assert.equal(info.requests.cpu, 4100);
});

test('preemption evicts the least and explains when it cannot help', () => {
  const w = world([node('a', { cpu: '2' }), node('b', { cpu: '2' })]);
  const low = pod({ cpu: '2', priority: 1 });
  const mid = pod({ cpu: '2', priority: 5 });
  assert.notEqual(w.place(low), w.place(mid));
  const outcome = w.preemption(pod({ cpu: '1', priority: 10 }));
  assert.ok('victims' in outcome);
  assert.deepEqual(
    outcome.victims.pods.map((p) => p.uid),
    [low.metadata.uid],
  );
  assert.deepEqual(w.preemption(pod({ cpu: '1', priority: 0 })), {
    message: '0/2 nodes are available: 2 No preemption victims found for incoming pod.',
  });
  assert.deepEqual(w.preemption(pod({ cpu: '9', priority: 10 })), {
    message: '0/2 nodes are available: 2 Preemption is not helpful for scheduling.',
  });
  // A dry run leaves everything as it was.
  assert.equal(w.table.podCount[w.table.row('a')]! + w.table.podCount[w.table.row('b')]!, 2);
});

test('removing and re-adding nodes keeps the accounts', () => {
  const w = world([node('a'), node('b')]);
  const at = w.place(pod({ cpu: '1' }));
  w.table.removeNode(at);
  w.table.setNode(node(at));
  assert.equal(w.table.cpu[w.table.row(at)], 1000);
});

test('looks at fewer nodes the more there are', () => {
  assert.deepEqual([50, 100, 1000, 5000, 15_000].map(enoughNodes), [50, 100, 420, 500, 750]);
});

test('nodes that are gone leave nothing behind, and those that stay keep their places', () => {
  const taints = (value: string) => [{ key: 'only', value, effect: 'NoSchedule' }];
  const { table, place } = world([node('stays', { taints: taints('stays') })]);
  table.topology('kubernetes.io/hostname');
  for (let i = 0; i < 1000; i++) {
    const { metadata, ...rest } = node(`n${i}`, { taints: taints(`n${i}`) });
    table.setNode({ ...rest, metadata: { ...metadata, labels: { 'kubernetes.io/hostname': `n${i}` } } });
    table.removeNode(`n${i}`);
  }
  assert.ok(table.topology('kubernetes.io/hostname').count < 100);
  assert.ok(table.taintSets.length < 100);
  assert.equal(place(pod({ tolerations: [{ key: 'only', value: 'stays' }] })), 'stays');
  assert.match(place(pod({ tolerations: [{ key: 'only', value: 'n999' }] })), /1 node\(s\) had untolerated taint/);
});
