/** PodDisruptionBudgets and ResourceQuotas in virtual time against the real API server. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { StatusError } from '../../src/api/status.ts';
import { eventsOf, kubelet, listPods, ns } from './pods.ts';
import { quiet, world } from './world.ts';

const template = {
  metadata: { labels: { app: 'web' } },
  spec: {
    containers: [{ name: 'c', image: 'i', resources: { requests: { cpu: '100m' }, limits: { memory: '1Gi' } } }],
  },
};

test('a budget follows its pods and its owner; evictions stop at its bound', async () => {
  await using w = await world();
  await w.admin.apps.deployments.create({
    metadata: { name: 'web', namespace: ns },
    spec: { replicas: 4, selector: { matchLabels: { app: 'web' } }, template },
  });
  await w.admin.policy.poddisruptionbudgets.create({
    metadata: { name: 'pdb', namespace: ns },
    spec: { maxUnavailable: '25%', selector: { matchLabels: { app: 'web' } } },
  });
  await w.clock.advance(0);
  const status = async () => {
    const pdb = await w.admin.policy.poddisruptionbudgets.get('pdb', ns);
    const { conditions, ...counts } = pdb.status!;
    return { ...counts, condition: conditions?.map((c) => `${c.type}=${c.status} ${c.reason}`).join() };
  };
  assert.deepEqual(await status(), {
    observedGeneration: 1,
    disruptionsAllowed: 0,
    currentHealthy: 0,
    desiredHealthy: 3,
    expectedPods: 4,
    condition: 'DisruptionAllowed=False InsufficientPods',
  });
  await kubelet(w);
  assert.equal((await status()).disruptionsAllowed, 1);
  assert.equal((await status()).condition, 'DisruptionAllowed=True SufficientPods');
  const evict = async (): Promise<void> => {
    const pod = (await listPods(w)).find((p) => p.status?.phase === 'Running')!;
    await w.admin.core.pods.createSubresource(pod.metadata.name!, ns, 'eviction', {
      apiVersion: 'policy/v1',
      kind: 'Eviction',
      metadata: { name: pod.metadata.name, namespace: ns },
    });
  };
  await evict();
  await assert.rejects(evict, (e: unknown) => e instanceof StatusError && e.code === 429);
  await w.clock.advance(0);
  assert.equal((await status()).disruptionsAllowed, 0);
  assert.equal((await status()).currentHealthy, 3);
  await kubelet(w);
  assert.equal((await status()).disruptionsAllowed, 1);
  // The deployment is scaled: what is expected changes with its pods.
  await w.admin.apps.deployments.patch('web', ns, 'merge', { spec: { replicas: 8 } });
  await w.clock.advance(0);
  await kubelet(w);
  assert.deepEqual(
    [(await status()).expectedPods, (await status()).desiredHealthy, (await status()).disruptionsAllowed],
    [8, 6, 2],
  );
  quiet(w);
});

test('pods that nobody owns count only for an absolute minimum; a mark without deletion is taken back', async () => {
  await using w = await world();
  const pod = await w.admin.core.pods.create({
    metadata: { name: 'p', namespace: ns, labels: { app: 'web' } },
    spec: template.spec,
  });
  // Without a pod it would tell of that first.
  await w.clock.advance(0);
  await w.admin.policy.poddisruptionbudgets.create({
    metadata: { name: 'pdb', namespace: ns },
    spec: { minAvailable: '50%', selector: { matchLabels: { app: 'web' } } },
  });
  await w.clock.advance(0);
  assert.ok(
    (await eventsOf(w, 'PodDisruptionBudget', 'pdb'))[0]!.startsWith(
      'Warning UnmanagedPods Pods selected by this PodDisruptionBudget (selector: &LabelSelector{MatchLabels:map[string]string{app: web,},MatchExpressions:[]LabelSelectorRequirement{},})',
    ),
  );
  await w.admin.core.pods.patch(
    'p',
    ns,
    'strategic',
    {
      status: {
        conditions: [
          {
            type: 'DisruptionTarget',
            status: 'True',
            reason: 'EvictionByEvictionAPI',
            lastTransitionTime: pod.metadata.creationTimestamp,
          },
        ],
      },
    },
    { subresource: 'status' },
  );
  await w.clock.advance(119_000);
  const mark = async () =>
    (await w.admin.core.pods.get('p', ns)).status?.conditions?.find((c) => c.type === 'DisruptionTarget');
  assert.equal((await mark())?.status, 'True');
  await w.clock.advance(2000);
  assert.equal((await mark())?.status, 'False');
  quiet(w);
});

test('a quota is counted when it is made and when something goes, by scope and by kind', async () => {
  await using w = await world();
  await w.admin.apps.deployments.create({
    metadata: { name: 'web', namespace: ns },
    spec: { replicas: 2, selector: { matchLabels: { app: 'web' } }, template },
  });
  await w.admin.core.services.create({
    metadata: { name: 's', namespace: ns },
    spec: {
      type: 'NodePort',
      ports: [{ port: 80 }, { port: 81, name: 'b' }, { port: 82, name: 'c' }].map((p, i) => ({ ...p, name: `p${i}` })),
    },
  });
  await w.admin.core.configmaps.create({ metadata: { name: 'cm', namespace: ns }, data: {} });
  await w.admin.core.persistentvolumeclaims.create({
    metadata: { name: 'c', namespace: ns },
    spec: { accessModes: ['ReadWriteOnce'], storageClassName: 'fast', resources: { requests: { storage: '3Gi' } } },
  });
  await w.admin.dra.resourceclaims.create({
    metadata: { name: 'devices', namespace: ns },
    spec: {
      devices: {
        requests: [
          { name: 'a', exactly: { deviceClassName: 'gold', allocationMode: 'ExactCount', count: 2 } },
          {
            name: 'b',
            firstAvailable: [
              { name: 'x', deviceClassName: 'gold', allocationMode: 'ExactCount', count: 3 },
              { name: 'y', deviceClassName: 'gold', allocationMode: 'ExactCount', count: 1 },
            ],
          },
        ],
      },
    },
  });
  await w.clock.advance(0);
  await w.admin.core.resourcequotas.create({
    metadata: { name: 'q', namespace: ns },
    spec: {
      hard: {
        pods: '10',
        'requests.cpu': '1',
        'limits.memory': '10Gi',
        'services.nodeports': '5',
        'requests.storage': '10Gi',
        'fast.storageclass.storage.k8s.io/persistentvolumeclaims': '1',
        'count/replicasets.apps': '5',
        configmaps: '5',
        'count/resourceclaims.resource.k8s.io': '1',
        'gold.deviceclass.resource.k8s.io/devices': '9',
        'lead.deviceclass.resource.k8s.io/devices': '9',
      },
    },
  });
  await w.admin.core.resourcequotas.create({
    metadata: { name: 'best-effort', namespace: ns },
    spec: { hard: { pods: '1' }, scopes: ['BestEffort'] },
  });
  await w.clock.advance(0);
  const used = async (name = 'q') => (await w.admin.core.resourcequotas.get(name, ns)).status?.used;
  assert.deepEqual(await used(), {
    pods: '2',
    'requests.cpu': '200m',
    'limits.memory': '2Gi',
    'services.nodeports': '3',
    'requests.storage': '3Gi',
    'fast.storageclass.storage.k8s.io/persistentvolumeclaims': '1',
    'count/replicasets.apps': '1',
    configmaps: '1',
    'count/resourceclaims.resource.k8s.io': '1',
    'gold.deviceclass.resource.k8s.io/devices': '5',
    'lead.deviceclass.resource.k8s.io/devices': '0',
  });
  await assert.rejects(
    w.admin.dra.resourceclaims.create({ metadata: { name: 'more', namespace: ns }, spec: {} }),
    /exceeded quota: q, requested: count\/resourceclaims.resource.k8s.io=1, used: .*=1, limited: .*=1/,
  );
  assert.deepEqual(await used('best-effort'), { pods: '0' });
  await w.admin.apps.deployments.delete('web', ns, { propagationPolicy: 'Background' });
  await w.admin.core.services.delete('s', ns);
  await w.clock.advance(1000);
  const after = await used();
  assert.deepEqual(
    [after!['pods'], after!['requests.cpu'], after!['services.nodeports'], after!['count/replicasets.apps']],
    ['0', '0', '0', '0'],
  );
  quiet(w);
});
