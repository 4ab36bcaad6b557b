/**
 * An eventful life of a cluster in virtual time, with every authorization decision written down: nothing is refused to our own
 * components, each of them is somebody whom upstream has too, and none but the API server itself is a master.
 * `KNARR_LIST_DECISIONS=1` prints the list.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AuthorizationObserver } from '../../src/apiserver/filters/authorization.ts';
import { VirtualClock, createCluster, createLogger, resources } from '../../src/index.ts';
import type { Cluster, KubeObject } from '../../src/index.ts';
import { waitForNone, waitForOne } from '../support/wait.ts';

/** Users of upstream's components (kubeadm's certificates) and of its add-ons. */
const users = [
  'system:apiserver',
  'system:kube-scheduler',
  'system:kube-controller-manager',
  'system:kube-proxy',
  'system:serviceaccount:kube-system:cloud-controller-manager',
  // Of the installer, as other distributions have one of their own: the provisioner of the default StorageClass.
  'system:serviceaccount:kube-system:local-path-provisioner',
  'system:serviceaccount:kube-system:coredns',
];

/** The service accounts for which upstream's bootstrap policy has a `system:controller:` role. */
const controllers = new Set(
  `attachdetach-controller certificate-controller clusterrole-aggregation-controller cronjob-controller
  daemon-set-controller deployment-controller device-taint-eviction-controller disruption-controller endpoint-controller
  endpointslice-controller endpointslicemirroring-controller ephemeral-volume-controller expand-controller
  generic-garbage-collector horizontal-pod-autoscaler job-controller
  kube-apiserver-serving-clustertrustbundle-publisher legacy-service-account-token-cleaner namespace-controller
  node-controller persistent-volume-binder pod-garbage-collector podcertificaterequestcleaner pv-protection-controller
  pvc-protection-controller replicaset-controller replication-controller resource-claim-controller
  resourcequota-controller root-ca-cert-publisher route-controller selinux-warning-controller service-account-controller
  service-cidrs-controller service-controller statefulset-controller storage-version-garbage-collector
  storage-version-migrator-controller ttl-after-finished-controller ttl-controller
  validatingadmissionpolicy-status-controller volumeattributesclass-protection-controller`.split(/\s+/),
);

const known = (name: string): boolean =>
  users.includes(name) ||
  /^system:node:node-\d+$/.test(name) ||
  controllers.has(/^system:serviceaccount:kube-system:(.+)$/.exec(name)?.[1] ?? '');

const ns = 'busy';
type Json = Readonly<Record<string, unknown>>;

/** Creates by kind, wherever the kind lives. */
async function create(cluster: Cluster, object: Json): Promise<void> {
  const { apiVersion, kind } = object as { apiVersion: string; kind: string };
  for (const group of Object.values(resources))
    for (const ref of Object.values(group)) {
      if (ref.kind !== kind || (ref.group === '' ? ref.version : `${ref.group}/${ref.version}`) !== apiVersion)
        continue;
      const metadata = { ...(ref.namespaced ? { namespace: ns } : {}), ...(object['metadata'] as Json) };
      await cluster.client.resource(ref).create({ ...object, metadata } as KubeObject);
      return;
    }
  throw new Error(`no resource for ${apiVersion} ${kind}`);
}

const container = { name: 'c', image: 'busybox', command: ['sleep', '1000000'] };
const template = (app: string, spec: Json = {}): Json => ({
  metadata: { labels: { app } },
  spec: {
    containers: [{ ...container, resources: { requests: { cpu: '1m' } } }],
    // Not 0: such a pod is gone at once, and a kubelet that is just starting it has lost its right to what the pod refers to.
    terminationGracePeriodSeconds: 1,
    ...spec,
  },
});
const selector = (app: string): Json => ({ matchLabels: { app } });

async function life(cluster: Cluster, clock: VirtualClock): Promise<void> {
  const { core, apps, batch } = cluster.client;
  await core.namespaces.create({ metadata: { name: ns } });
  await clock.advance(1000);

  // Workloads with all that pods can refer to.
  const put = (object: Json): Promise<void> => create(cluster, object);
  await put({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'settings' }, data: { a: 'b' } });
  await put({ apiVersion: 'v1', kind: 'Secret', metadata: { name: 'word' }, stringData: { a: 'b' } });
  await put({ apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'worker' } });
  await put({
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: 'old-token', annotations: { 'kubernetes.io/service-account.name': 'worker' } },
    type: 'kubernetes.io/service-account-token',
  });
  await put({
    apiVersion: 'v1',
    kind: 'PersistentVolume',
    metadata: { name: 'disk' },
    spec: {
      capacity: { storage: '1Gi' },
      accessModes: ['ReadWriteOnce'],
      hostPath: { path: '/disk' },
      storageClassName: 'by-hand',
    },
  });
  await put({
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name: 'claim' },
    spec: { accessModes: ['ReadWriteOnce'], storageClassName: 'by-hand', resources: { requests: { storage: '1Gi' } } },
  });
  await put({
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: 'web' },
    spec: {
      replicas: 3,
      selector: selector('web'),
      template: template('web', {
        serviceAccountName: 'worker',
        containers: [
          { ...container, envFrom: [{ configMapRef: { name: 'settings' } }, { secretRef: { name: 'word' } }] },
        ],
        volumes: [
          { name: 'v', configMap: { name: 'settings' } },
          { name: 'w', secret: { secretName: 'word' } },
          { name: 'x', persistentVolumeClaim: { claimName: 'claim' } },
        ],
      }),
    },
  });
  await put({
    apiVersion: 'apps/v1',
    kind: 'StatefulSet',
    metadata: { name: 'db' },
    spec: { replicas: 2, serviceName: 'db', selector: selector('db'), template: template('db') },
  });
  await put({
    apiVersion: 'apps/v1',
    kind: 'DaemonSet',
    metadata: { name: 'agent' },
    spec: { selector: selector('agent'), template: template('agent') },
  });
  await put({
    apiVersion: 'v1',
    kind: 'ReplicationController',
    metadata: { name: 'old' },
    spec: { replicas: 1, selector: { app: 'old' }, template: template('old') },
  });
  const once = (spec: Json = {}): Json => ({
    template: { spec: { restartPolicy: 'Never', containers: [{ name: 'c', image: 'busybox', command: ['true'] }] } },
    ...spec,
  });
  await put({
    apiVersion: 'batch/v1',
    kind: 'Job',
    metadata: { name: 'once' },
    spec: once({ completions: 2, parallelism: 2, completionMode: 'Indexed', ttlSecondsAfterFinished: 30 }),
  });
  await put({
    apiVersion: 'batch/v1',
    kind: 'CronJob',
    metadata: { name: 'often' },
    spec: { schedule: '* * * * *', jobTemplate: { spec: once() }, successfulJobsHistoryLimit: 1 },
  });
  await put({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'scratch' },
    spec: {
      containers: [container],
      volumes: [
        {
          name: 'e',
          ephemeral: {
            volumeClaimTemplate: {
              spec: {
                accessModes: ['ReadWriteOnce'],
                storageClassName: 'none',
                resources: { requests: { storage: '1' } },
              },
            },
          },
        },
      ],
    },
  });
  // Services of all types, and one with endpoints made by hand.
  const ports = [{ port: 80 }];
  await put({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'web' },
    spec: { selector: { app: 'web' }, ports },
  });
  await put({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'outside' },
    spec: { type: 'LoadBalancer', selector: { app: 'web' }, ports },
  });
  await put({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'db' },
    spec: { clusterIP: 'None', selector: { app: 'db' }, ports },
  });
  await put({ apiVersion: 'v1', kind: 'Service', metadata: { name: 'elsewhere' }, spec: { ports } });
  await put({
    apiVersion: 'v1',
    kind: 'Endpoints',
    metadata: { name: 'elsewhere' },
    subsets: [{ addresses: [{ ip: '203.0.113.5' }], ports }],
  });
  // Policies.
  await put({
    apiVersion: 'policy/v1',
    kind: 'PodDisruptionBudget',
    metadata: { name: 'web' },
    spec: { maxUnavailable: 1, selector: selector('web') },
  });
  await put({
    apiVersion: 'v1',
    kind: 'ResourceQuota',
    metadata: { name: 'all' },
    spec: { hard: { pods: '100', 'count/jobs.batch': '50' } },
  });
  await put({
    apiVersion: 'autoscaling/v2',
    kind: 'HorizontalPodAutoscaler',
    metadata: { name: 'web' },
    spec: {
      scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: 'web' },
      minReplicas: 3,
      maxReplicas: 5,
    },
  });
  await put({
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'ClusterRole',
    metadata: { name: 'more-to-view', labels: { 'rbac.authorization.k8s.io/aggregate-to-view': 'true' } },
    rules: [{ apiGroups: ['example.com'], resources: ['widgets'], verbs: ['get'] }],
  });
  await put({
    apiVersion: 'networking.k8s.io/v1',
    kind: 'ServiceCIDR',
    metadata: { name: 'more' },
    spec: { cidrs: ['10.200.0.0/24'] },
  });
  await clock.advance(60_000);
  await waitForOne(apps.deployments, 'web', ns, (d) => d.status?.readyReplicas === 3);
  await waitForOne(apps.statefulsets, 'db', ns, (s) => s.status?.readyReplicas === 2);
  await waitForOne(apps.daemonsets, 'agent', ns, (s) => s.status?.numberReady === 2);
  await waitForOne(core.services, 'outside', ns, (s) => (s.status?.loadBalancer?.ingress ?? []).length > 0);

  // A custom kind, and objects that own others.
  await put({
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: 'widgets.example.com' },
    spec: {
      group: 'example.com',
      scope: 'Namespaced',
      names: { plural: 'widgets', singular: 'widget', kind: 'Widget' },
      versions: [{ name: 'v1', served: true, storage: true, schema: { openAPIV3Schema: { type: 'object' } } }],
    },
  });
  await clock.advance(1000);
  const widgets = cluster.client.resource({
    group: 'example.com',
    version: 'v1',
    resource: 'widgets',
    namespaced: true,
  });
  const owner = await widgets.create({
    apiVersion: 'example.com/v1',
    kind: 'Widget',
    metadata: { name: 'w', namespace: ns },
  } as KubeObject);
  await core.configmaps.create({
    metadata: {
      name: 'owned',
      namespace: ns,
      ownerReferences: [
        { apiVersion: 'example.com/v1', kind: 'Widget', name: 'w', uid: owner.metadata.uid!, blockOwnerDeletion: true },
      ],
    },
  });
  // The garbage collector looks for new kinds every half a minute.
  await clock.advance(60_000);
  await widgets.delete('w', ns, { propagationPolicy: 'Foreground' });
  await clock.advance(5000);
  await waitForNone(core.configmaps, 'owned', ns);

  // A rollout, a rollback's worth of it, scaling, eviction, orphans.
  await apps.deployments.patch('web', ns, 'strategic', {
    spec: { template: { spec: { containers: [{ name: 'c', image: 'busybox:2' }] } } },
  });
  await apps.deployments.patch('web', ns, 'merge', { spec: { replicas: 4 } }, { subresource: 'scale' });
  await apps.statefulsets.patch('db', ns, 'merge', { spec: { replicas: 1 } });
  await clock.advance(60_000);
  const { items } = await core.pods.list({ namespace: ns, labelSelector: 'app=web' });
  const name = items[0]!.metadata.name!;
  await core.pods.createSubresource(name, ns, 'eviction', {
    apiVersion: 'policy/v1',
    kind: 'Eviction',
    metadata: { name, namespace: ns },
  });
  await core.replicationcontrollers.delete('old', ns, { propagationPolicy: 'Orphan' });
  await clock.advance(60_000);

  // A node dies and comes back; another leaves for good.
  await cluster.nodes[1]!.stop();
  await clock.advance(7 * 60_000);
  await waitForOne(
    core.nodes,
    'node-2',
    undefined,
    (n) => n.spec?.taints?.some((t) => t.effect === 'NoExecute') === true,
  );
  await cluster.nodes[1]!.start();
  await clock.advance(60_000);
  await waitForOne(core.nodes, 'node-2', undefined, (n) => (n.spec?.taints ?? []).length === 0);
  await cluster.nodes[1]!.stop();
  await core.nodes.delete('node-2');
  await clock.advance(3 * 60_000);

  // Things end.
  assert.ok((await batch.jobs.list({ namespace: ns })).items.some((j) => j.metadata.name!.startsWith('often-')));
  await waitForNone(batch.jobs, 'once', ns);
  await core.services.delete('outside', ns);
  await core.serviceaccounts.delete('worker', ns);
  await core.persistentvolumeclaims.delete('claim', ns);
  await core.persistentvolumes.delete('disk');
  await cluster.client.apiextensions.customresourcedefinitions.delete('widgets.example.com');
  await core.namespaces.delete(ns);
  await clock.advance(5 * 60_000);
  await waitForNone(core.namespaces, ns, undefined);
}

test('nothing is refused to our own components, and they are who they are upstream', async (t) => {
  const clock = new VirtualClock();
  const decisions = new Map<string, Map<string, number>>();
  const refused: string[] = [];
  const masters = new Set<string>();
  const onAuthorization: AuthorizationObserver = (a, decision, reason) => {
    const { name, groups } = a.user;
    if (name === 'kubernetes-admin') return;
    if (groups.includes('system:masters')) masters.add(name);
    const resource = a.subresource === '' ? a.resource : `${a.resource}/${a.subresource}`;
    const what = a.isResourceRequest
      ? `${a.verb} ${resource}${a.group === '' ? '' : `.${a.group}`}`
      : `${a.verb} ${a.path}`;
    let own = decisions.get(name);
    if (own === undefined) decisions.set(name, (own = new Map<string, number>()));
    own.set(what, (own.get(what) ?? 0) + 1);
    if (decision !== 'allow') refused.push(`${name}: ${what} ${a.namespace}/${a.name}: ${decision} ${reason}`);
  };
  const errors: string[] = [];
  const logger = createLogger({
    level: 'error',
    now: () => clock.now(),
    sink: (r) =>
      errors.push(`${r.message} ${JSON.stringify(r.fields)} ${(r.fields['error'] as Error | undefined)?.stack}`),
  });
  await using cluster = await createCluster({
    nodes: 2,
    clock,
    https: { port: 0 },
    freeze: true,
    logger,
    onAuthorization,
  });
  await life(cluster, clock);

  if (process.env['KNARR_LIST_DECISIONS'] !== undefined)
    for (const [name, own] of [...decisions].sort())
      for (const [what, count] of [...own].sort()) console.log(`${name}\t${what}\t${count}`);
  t.diagnostic(
    `${decisions.size} users, ${[...decisions.values()].reduce((n, own) => n + own.size, 0)} kinds of request`,
  );
  assert.deepEqual([...new Set(refused)], []);
  assert.deepEqual([...masters], ['system:apiserver']);
  assert.deepEqual(
    [...decisions.keys()].filter((name) => !known(name)),
    [],
  );
  // It was eventful: all these had something to do.
  const busy = [
    ...users,
    'system:node:node-1',
    'system:node:node-2',
    ...`clusterrole-aggregation-controller cronjob-controller daemon-set-controller deployment-controller
    disruption-controller endpoint-controller endpointslice-controller endpointslicemirroring-controller
    ephemeral-volume-controller generic-garbage-collector horizontal-pod-autoscaler job-controller namespace-controller
    node-controller persistent-volume-binder pod-garbage-collector pv-protection-controller pvc-protection-controller
    replicaset-controller replication-controller resourcequota-controller root-ca-cert-publisher
    service-account-controller service-cidrs-controller service-controller statefulset-controller ttl-after-finished-controller`
      .split(/\s+/)
      .map((name) => `system:serviceaccount:kube-system:${name}`),
  ];
  assert.deepEqual(
    busy.filter((name) => !decisions.has(name)),
    [],
  );
  assert.deepEqual(errors, []);
});
