/** PodSecurity over the wire: levels, versions, modes, exemptions, and what is said of namespaces that get stricter. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { createCluster } from '../../src/index.ts';
import type { Cluster } from '../../src/index.ts';
import { connectApi } from '../support/api.ts';
import type { Answer, Api, Json } from '../support/api.ts';

let cluster: Cluster;
let api: Api;

before(async () => {
  cluster = await createCluster({
    nodes: 0,
    https: { port: 0 },
    disable: ['cloud-controller-manager', 'dns', 'kube-scheduler', 'kube-proxy'],
    admission: {
      enable: ['NodeRestriction'],
      configuration: { PodSecurity: { exemptions: { namespaces: ['free'], runtimeClasses: ['sandbox'] } } },
    },
  });
  api = connectApi(cluster);
});

after(async () => {
  api?.close();
  await cluster?.close();
});

const prefix = 'pod-security.kubernetes.io/';

async function namespace(name: string, labels: Json): Promise<Answer> {
  const full = Object.fromEntries(Object.entries(labels).map(([k, v]) => [`${prefix}${k}`, v]));
  const made = await api.create('/api/v1/namespaces', { metadata: { name, labels: full } });
  // Pods want their service account.
  for (let i = 0; i < 100 && made.status === 201; i++)
    if ((await api.get(`/api/v1/namespaces/${name}/serviceaccounts/default`)).status === 200) break;
  return made;
}

const pod = (spec: Json = {}, container: Json = {}, metadata: Json = {}): Json => ({
  metadata: { name: 'p', ...metadata },
  spec: { containers: [{ name: 'c', image: 'i', ...container }], ...spec },
});
const create = (ns: string, body: Json, query = '?dryRun=All'): Promise<Answer> =>
  api.create(`/api/v1/namespaces/${ns}/pods${query}`, body);

const hardened = {
  allowPrivilegeEscalation: false,
  capabilities: { drop: ['ALL'] },
  runAsNonRoot: true,
  seccompProfile: { type: 'RuntimeDefault' },
};

test("restricted: every rule that a plain pod breaks, in upstream's words", async () => {
  await namespace('strict', { enforce: 'restricted' });
  const refused = await create('strict', pod());
  assert.equal(refused.status, 403);
  assert.equal(
    refused.body.message,
    'pods "p" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container "c" must set securityContext.capabilities.drop=["ALL"]), runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true), seccompProfile (pod or container "c" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")',
  );
  assert.equal((await create('strict', pod({}, { securityContext: hardened }))).status, 201);
  const others: [Json, Json, string][] = [
    [
      {
        volumes: [
          { name: 'v', hostPath: { path: '/' } },
          { name: 'w', nfs: { server: 's', path: '/' } },
        ],
      },
      {},
      'restricted volume types (volumes "v", "w" use restricted volume types "hostPath", "nfs")',
    ],
    [
      { securityContext: { runAsUser: 0 } },
      { securityContext: { ...hardened, runAsNonRoot: false } },
      'runAsNonRoot != true (container "c" must not set securityContext.runAsNonRoot=false), runAsUser=0 (pod must not set runAsUser=0)',
    ],
    [
      {},
      { securityContext: { ...hardened, capabilities: { drop: ['ALL'], add: ['SYS_ADMIN', 'NET_BIND_SERVICE'] } } },
      'unrestricted capabilities (container "c" must not include "SYS_ADMIN" in securityContext.capabilities.add)',
    ],
  ];
  for (const [spec, container, expected] of others) {
    const { body } = await create('strict', pod(spec, { securityContext: hardened, ...container }));
    assert.equal(body.message, `pods "p" is forbidden: violates PodSecurity "restricted:latest": ${expected}`);
  }
  // Inside of a user namespace root is nobody (since 1.35), and Windows has no such settings (since 1.25).
  const { runAsNonRoot: _, ...rootful } = hardened;
  assert.equal((await create('strict', pod({ hostUsers: false }, { securityContext: rootful }))).status, 201);
  const windows = pod({ os: { name: 'windows' }, securityContext: { runAsNonRoot: true } });
  assert.equal((await create('strict', windows)).status, 201);
});

test('baseline: what it refuses, and versions that knew less', async () => {
  await namespace('base', { enforce: 'baseline' });
  await namespace('base-old', { enforce: 'baseline', 'enforce-version': 'v1.26' });
  const cases: [Json, Json, Json, string][] = [
    [{ hostNetwork: true, hostPID: true }, {}, {}, 'host namespaces (hostNetwork=true, hostPID=true)'],
    [
      {},
      {
        ports: [
          { containerPort: 80, hostPort: 80 },
          { containerPort: 9, hostPort: 9 },
        ],
      },
      {},
      'hostPort (container "c" uses hostPorts 80, 9)',
    ],
    [
      {},
      { securityContext: { privileged: true, capabilities: { add: ['NET_ADMIN'] } } },
      {},
      'non-default capabilities (container "c" must not include "NET_ADMIN" in securityContext.capabilities.add), privileged (container "c" must not set securityContext.privileged=true)',
    ],
    [
      {
        securityContext: {
          seLinuxOptions: { type: 'spc_t', user: 'u' },
          sysctls: [{ name: 'kernel.msgmax', value: '1' }],
        },
      },
      {},
      {},
      'seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type "spc_t"; user may not be set), forbidden sysctls (kernel.msgmax)',
    ],
    [
      { securityContext: { seccompProfile: { type: 'Unconfined' } } },
      { livenessProbe: { httpGet: { host: 'example.com', port: 80 } } },
      {},
      'probe or lifecycle host (container "c" uses probe or lifecycle host "example.com"), seccompProfile (pod must not set securityContext.seccompProfile.type to "Unconfined")',
    ],
    [
      { securityContext: { appArmorProfile: { type: 'Unconfined' } } },
      {},
      {},
      'forbidden AppArmor profile (pod must not set AppArmor profile type to "Unconfined")',
    ],
  ];
  for (const [spec, container, metadata, expected] of cases) {
    const { status, body } = await create('base', pod(spec, container, metadata));
    assert.deepEqual(
      [status, body.message],
      [403, `pods "p" is forbidden: violates PodSecurity "baseline:latest": ${expected}`],
    );
  }
  const sysctl = pod({ securityContext: { sysctls: [{ name: 'net.ipv4.tcp_rmem', value: '1' }] } });
  assert.equal((await create('base', sysctl)).status, 201);
  assert.match(
    (await create('base-old', sysctl)).body.message,
    /"baseline:v1\.26": forbidden sysctls \(net\.ipv4\.tcp_rmem\)$/,
  );
  const probe = pod({}, { livenessProbe: { tcpSocket: { host: 'h', port: 80 } } });
  assert.equal((await create('base-old', probe)).status, 201);
});

test('warnings for pods and workloads, and exemptions', async () => {
  await namespace('warned', { warn: 'restricted', 'warn-version': 'v1.30' });
  const made = await create('warned', pod());
  assert.equal(made.status, 201);
  assert.match(
    made.warnings[0]!,
    /^would violate PodSecurity "restricted:v1\.30": allowPrivilegeEscalation != false \(/,
  );
  const template = { metadata: { labels: { a: 'b' } }, spec: pod({ hostIPC: true }).spec };
  const deployment = await api.create('/apis/apps/v1/namespaces/strict/deployments?dryRun=All', {
    metadata: { name: 'd' },
    spec: { selector: { matchLabels: { a: 'b' } }, template },
  });
  assert.equal(deployment.status, 201, deployment.text);
  assert.match(
    deployment.warnings[0]!,
    /^would violate PodSecurity "restricted:latest": host namespaces \(hostIPC=true\), /,
  );
  const cron = await api.create('/apis/batch/v1/namespaces/strict/cronjobs?dryRun=All', {
    metadata: { name: 'j' },
    spec: {
      schedule: '* * * * *',
      jobTemplate: { spec: { template: { spec: { ...template.spec, restartPolicy: 'Never' } } } },
    },
  });
  assert.match(cron.warnings[0] ?? cron.text, /^would violate PodSecurity "restricted:latest"/);
  const exempt = await namespace('free', { enforce: 'restricted' });
  assert.deepEqual(exempt.warnings, [
    'namespace "free" is exempt from Pod Security, and the policy (enforce=restricted:latest) will be ignored',
  ]);
  assert.equal((await create('free', pod({ hostPID: true }))).status, 201);
  await api.create('/apis/node.k8s.io/v1/runtimeclasses', { metadata: { name: 'sandbox' }, handler: 'h' });
  assert.equal((await create('strict', pod({ runtimeClassName: 'sandbox' }))).status, 201);
});

test('labels are checked, and pods that are there are named when a namespace gets stricter', async () => {
  const wrong = await namespace('wrong', { enforce: 'tight', 'warn-version': '1.2' });
  assert.deepEqual(
    [wrong.status, wrong.body.message],
    [
      422,
      'Namespace "wrong" is invalid: [metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: "tight": must be one of privileged, baseline, restricted, metadata.labels[pod-security.kubernetes.io/warn-version]: Invalid value: "1.2": must be "latest" or "v1.x"]',
    ],
  );
  await namespace('grown', {});
  for (const name of ['b', 'a', 'c']) assert.equal((await create('grown', pod({}, {}, { name }), '')).status, 201);
  assert.equal((await create('grown', pod({ hostPID: true }, {}, { name: 'h' }), '')).status, 201);
  const stricter = await api.merge('/api/v1/namespaces/grown', {
    metadata: { labels: { [`${prefix}enforce`]: 'restricted' } },
  });
  assert.equal(stricter.status, 200);
  const rules = 'allowPrivilegeEscalation != false, unrestricted capabilities, runAsNonRoot != true, seccompProfile';
  assert.deepEqual(stricter.warnings, [
    'existing pods in namespace "grown" violate the new PodSecurity enforce level "restricted:latest"',
    `a (and 2 other pods): ${rules}`,
    `h: host namespaces, ${rules}`,
  ]);
  // Running pods may still be written to; new containers are judged.
  assert.equal((await api.merge('/api/v1/namespaces/grown/pods/a', { metadata: { labels: { x: 'y' } } })).status, 200);
  const ephemeral = await api.request(
    'PATCH',
    '/api/v1/namespaces/grown/pods/a/ephemeralcontainers',
    { spec: { ephemeralContainers: [{ name: 'e', image: 'i' }] } },
    { 'content-type': 'application/strategic-merge-patch+json' },
  );
  assert.equal(ephemeral.status, 403, ephemeral.text);
  const { text } = await api.get('/metrics');
  // Nobody is exempt here: it is told of all the same.
  assert.match(
    text,
    /pod_security_exemptions_total\{request_operation="create",resource="controller",subresource=""\} 0/,
  );
  assert.match(
    text,
    /pod_security_evaluations_total\{decision="deny",mode="enforce",policy_level="restricted",policy_version="latest",request_operation="create",resource="pod",subresource=""\} \d/,
  );
});
