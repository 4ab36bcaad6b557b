import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VirtualClock } from '../../base/clock.ts';
import { silentLogger } from '../../base/logger.ts';
import { SeededRandom } from '../../base/random.ts';
import type { Container, Pod, PodSpec } from '../../api/types/index.gen.ts';
import { FakeApi } from '../../client/fake-api.ts';
import { createClient } from '../../client/typed-client.ts';
import { hugepageSize } from '../cgroup-manager.ts';
import { oomScoreAdjust, sandboxResources } from './container-resources.ts';
import { SimulatedHost } from '../host/simulated/host.ts';
import { createKubelet } from '../kubelet.ts';
import { containerHash } from '../pod-util.ts';
import type { ContainerConfig, PodSandboxConfig } from '../runtime/container-runtime.ts';
import { SimulatedImages } from '../runtime/simulated/images.ts';
import { SimulatedNetwork } from '../runtime/simulated/network.ts';
import { SimulatedRuntime } from '../runtime/simulated/runtime.ts';

/** A runtime that keeps what it is told. */
class Recorder extends SimulatedRuntime {
  readonly sandboxes: PodSandboxConfig[] = [];
  readonly containers: ContainerConfig[] = [];

  override runPodSandbox(config: PodSandboxConfig, handler?: string): Promise<string> {
    this.sandboxes.push(config);
    return super.runPodSandbox(config, handler);
  }

  override createContainer(id: string, config: ContainerConfig): Promise<string> {
    this.containers.push(config);
    return super.createContainer(id, config);
  }
}

/** Runs one pod and gives what the runtime was told, or why it waits. */
async function told(t: { after(fn: () => unknown): void }, spec: PodSpec, metadata: Partial<Pod['metadata']> = {}) {
  const clock = new VirtualClock();
  const random = new SeededRandom(7);
  const client = createClient(new FakeApi(clock, random));
  const host = new SimulatedHost({ hostname: 'n1', clock, network: new SimulatedNetwork(), addresses: ['192.0.2.1'] });
  const images = new SimulatedImages();
  const runtime = new Recorder({ clock, random, host, images, addresses: ['192.0.2.1'] });
  const kubelet = createKubelet({
    ...{ nodeName: 'n1', client, clock, random, logger: silentLogger, runtime, host },
    podCidrs: ['10.244.1.0/24'],
    clusterDns: ['10.96.0.10'],
  });
  await kubelet.start();
  t.after(() => kubelet.stop());
  await client.core.pods.create({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'p', namespace: 'default', generation: 1, ...metadata },
    spec: { nodeName: 'n1', restartPolicy: 'Always', terminationGracePeriodSeconds: 30, ...spec },
    status: { phase: 'Pending' },
  });
  await clock.advance(0);
  const pod = await client.core.pods.get('p', 'default');
  return { sandbox: runtime.sandboxes[0], containers: runtime.containers, pod };
}

const container = (more: Partial<Container> = {}): Container => ({ name: 'c', image: 'nginx', ...more });

test('the hash of a container is upstream’s', () => {
  // The value that upstream's own test of it names.
  assert.equal(containerHash({ name: 'test_container', image: 'foo/image:v1' }), '8e45cbd0');
  assert.equal(containerHash({ name: 'foo', image: 'bar' }), '11a6d6d6');
});

test('limits and the preference to be killed', () => {
  const pod = (spec: Partial<PodSpec>): Pod => ({ metadata: {}, spec: { containers: [], ...spec } }) as never;
  const memory = (n: string) => ({ resources: { requests: { memory: n } } });
  const gib = 2 ** 30;
  const burstable = container(memory('256Mi'));
  const sidecar = { ...container(memory('1Mi')), name: 's', restartPolicy: 'Always' };
  const both = pod({ containers: [burstable], initContainers: [sidecar] });
  assert.equal(oomScoreAdjust(both, burstable, gib), 750);
  assert.equal(oomScoreAdjust(both, sidecar, gib), 750);
  assert.equal(oomScoreAdjust(pod({ containers: [container()] }), container(), gib), 1000);
  assert.equal(oomScoreAdjust(pod({ containers: [container(memory('1Ki'))] }), container(memory('1Ki')), gib), 999);
  const critical = { priority: 2_000_001_000, priorityClassName: 'system-node-critical' };
  assert.equal(oomScoreAdjust(pod({ containers: [container()], ...critical }), container(), gib), -997);
  assert.deepEqual(['hugepages-2Mi', 'hugepages-1048576Ki', 'hugepages-64Ki'].map(hugepageSize), [
    '2MB',
    '1GB',
    '64KB',
  ]);
  const limited = { resources: { requests: { cpu: '100m' }, limits: { cpu: '500m', memory: '64Mi' } } };
  assert.deepEqual(
    sandboxResources(pod({ containers: [container(limited)], overhead: { cpu: '1', memory: '1Gi' } as never })),
    { cpuShares: 102, cpuPeriod: 100_000, cpuQuota: 50_000, memoryLimitInBytes: 64 * 2 ** 20 },
  );
});

test('a sandbox and a container as upstream’s kubelet describes them', async (t) => {
  const preStop = { exec: { command: ['true'] } };
  const { sandbox, containers } = await told(
    t,
    {
      subdomain: 'sub',
      setHostnameAsFQDN: true,
      shareProcessNamespace: true,
      hostUsers: false,
      securityContext: {
        runAsUser: 1000,
        fsGroup: 2000,
        supplementalGroups: [3000],
        seccompProfile: { type: 'Localhost', localhostProfile: 'p.json' },
        sysctls: [{ name: 'net.ipv4.ip_unprivileged_port_start', value: '1024' }],
      },
      volumes: [{ name: 'e', emptyDir: {} }],
      containers: [
        container({
          ports: [{ name: 'http', hostPort: 8080, containerPort: 80, protocol: 'TCP' }],
          lifecycle: { preStop, stopSignal: 'SIGUSR1' },
          volumeMounts: [{ name: 'e', mountPath: '/e', mountPropagation: 'HostToContainer' }],
          securityContext: {
            runAsGroup: 4000,
            procMount: 'Unmasked',
            appArmorProfile: { type: 'Localhost', localhostProfile: 'tight' },
          },
          resources: { limits: { cpu: '250m', memory: '32Mi' } },
        }),
      ],
    },
    { labels: { app: 'a' }, annotations: { note: 'n' } },
  );
  assert.equal(sandbox?.hostname, 'p.sub.default.svc.cluster.local');
  assert.deepEqual(sandbox?.annotations, { note: 'n' });
  assert.equal(sandbox?.labels['app'], 'a');
  assert.equal(sandbox?.labels['io.kubernetes.pod.name'], 'p');
  assert.deepEqual(sandbox?.portMappings, [{ protocol: 'TCP', containerPort: 80, hostPort: 8080, hostIp: undefined }]);
  assert.deepEqual(sandbox?.linux?.sysctls, { 'net.ipv4.ip_unprivileged_port_start': '1024' });
  assert.deepEqual(sandbox?.linux?.securityContext?.seccomp, { profileType: 'RuntimeDefault' });
  const mapping = [{ hostId: 65_536, containerId: 0, length: 65_536 }];
  const userns = { mode: 'POD', uids: mapping, gids: mapping };
  assert.deepEqual(sandbox?.linux?.securityContext?.namespaceOptions, {
    ...{ network: 'POD', ipc: 'POD', pid: 'POD' },
    usernsOptions: userns,
  });
  const c = containers[0]!;
  const s = c.linux!.securityContext!;
  assert.deepEqual([s.runAsUser, s.runAsGroup, s.supplementalGroups], [1000, 4000, [2000, 3000]]);
  assert.deepEqual(s.seccomp, { profileType: 'Localhost', localhostRef: '/var/lib/kubelet/seccomp/p.json' });
  assert.deepEqual(s.apparmor, { profileType: 'Localhost', localhostRef: 'tight' });
  assert.deepEqual([s.maskedPaths, s.readonlyPaths], [undefined, undefined]);
  assert.deepEqual(s.namespaceOptions?.usernsOptions, userns);
  assert.equal(c.stopSignal, 'SIGUSR1');
  const { cpuShares, cpuQuota, memoryLimitInBytes } = c.linux!.resources!;
  assert.deepEqual([cpuShares, cpuQuota, memoryLimitInBytes], [256, 25_000, 32 * 2 ** 20]);
  assert.deepEqual(c.annotations, {
    'io.kubernetes.container.hash': containerHash({ name: 'c', image: 'nginx' }),
    'io.kubernetes.container.restartCount': '0',
    'io.kubernetes.container.terminationMessagePath': '/dev/termination-log',
    'io.kubernetes.container.terminationMessagePolicy': 'File',
    'io.kubernetes.pod.terminationGracePeriod': '30',
    'io.kubernetes.container.preStopHandler': JSON.stringify(preStop),
    'io.kubernetes.container.ports': '[{"name":"http","hostPort":8080,"containerPort":80,"protocol":"TCP"}]',
  });
  const mount = c.mounts.find((m) => m.containerPath === '/e')!;
  assert.deepEqual(
    [mount.propagation, mount.selinuxRelabel, mount.uidMappings],
    ['PROPAGATION_HOST_TO_CONTAINER', true, mapping],
  );
});

test('what the node cannot honour is said in upstream’s words', async (t) => {
  const waiting = async (spec: Partial<Container>, pod: Partial<PodSpec> = {}) => {
    const { pod: p } = await told(t, { containers: [container(spec)], ...pod });
    const w = p.status?.containerStatuses?.[0]?.state?.waiting;
    return `${w?.reason}: ${w?.message}`;
  };
  assert.match(
    await waiting({ securityContext: { seccompProfile: { type: 'Localhost' } } }),
    /^CreateContainerConfigError: localhostProfile must be set if seccompProfile type is Localhost\.$/,
  );
  assert.match(
    await waiting({ securityContext: { runAsNonRoot: true } }),
    /^CreateContainerConfigError: container has runAsNonRoot and image will run as root \(pod: "p_default\(/,
  );
});
