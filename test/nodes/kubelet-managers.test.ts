/** The node's managers on a real machine: limits in the kernel, resize, logs, static pods, usage, garbage. */
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { busyboxImage } from './images/busybox.ts';
import { cgroupFile } from './support/linux.ts';
import { kubeletPage as get } from './support/kubelet-page.ts';
import { ownNamespaces } from './support/namespaces.ts';
import { busybox, RealNode, shell, sleeper } from './support/real-node.ts';

const skip = ownNamespaces();

describe('the managers of a real node', { skip }, () => {
  let node: RealNode;
  let manifests: string;
  before(async () => {
    manifests = fs.mkdtempSync('/tmp/knarr-manifests-');
    node = await RealNode.start({
      configuration: {
        evictionHard: { 'memory.available': '1Mi' },
        containerLogMaxSize: '20Ki',
        containerLogMaxFiles: 3,
        containerLogMonitorInterval: '3s',
        staticPodPath: manifests,
        podPidsLimit: 32,
        kubeReserved: { memory: '1Gi' },
      },
    });
  });
  after(async () => {
    await node?.stop();
    fs.rmSync(manifests, { recursive: true, force: true });
  });

  const limits = (cpu: string, memory: string) => ({
    resources: { requests: { cpu: '100m', memory: '16Mi' }, limits: { cpu, memory } },
  });

  test('a pod’s cgroup has its limits, and is gone with it', async () => {
    await node.create('limited', { containers: [shell(sleeper, limits('500m', '64Mi'))] });
    const { uid } = (await node.phase('limited', 'Running')).metadata;
    const name = `/kubepods/burstable/pod${uid}`;
    const kernel = await node.host.cgroups!.limits(name);
    assert.deepEqual([kernel?.cpuQuota, kernel?.memoryLimitInBytes], [50_000, 64 * 2 ** 20]);
    const pids = cgroupFile('pids', node.containerd.cgroupRoot + name, 'pids.max');
    assert.equal(fs.readFileSync(pids!, 'utf8').trim(), '32');
    const machine = await node.host.machineInfo();
    const all = await node.host.cgroups!.limits('/kubepods');
    assert.ok(Math.abs(all!.memoryLimitInBytes! - (machine.memoryBytes - 2 ** 30)) < 8192);
    assert.ok((await node.host.cgroups!.limits('/kubepods/burstable'))!.cpuShares! >= 100);
    await node.delete('limited');
    assert.equal(await node.host.cgroups!.stats(name), undefined);
  });

  test('resources change in place, up and down, and never below what is used', async () => {
    await node.create('resized', {
      containers: [
        shell(`dd if=/dev/zero of=/dev/shm/x bs=1M count=20 2>/dev/null; ${sleeper}`, limits('200m', '64Mi')),
      ],
    });
    const first = (await node.phase('resized', 'Running')).status!.containerStatuses![0]!;
    const { uid } = (await node.client.core.pods.get('resized', 'default')).metadata;
    await node.until(async () => (await node.exec('resized', 'ls', '/dev/shm')) === 'x\n', 'memory to be used');
    const resize = (cpu: string, memory: string) =>
      node.client.core.pods.patch(
        'resized',
        'default',
        'strategic',
        { spec: { containers: [{ name: 'main', resources: { limits: { cpu, memory } } }] } },
        { subresource: 'resize' },
      );
    const settled = (cpu: string, memory: string) =>
      node.until(async () => {
        const { status } = await node.client.core.pods.get('resized', 'default');
        const r = status?.containerStatuses?.[0]?.resources?.limits;
        return (
          r?.['cpu'] === cpu &&
          r['memory'] === memory &&
          !status?.conditions?.some((c) => c.type.startsWith('PodResize')) &&
          status
        );
      }, `resources ${cpu} ${memory}`);
    const id = first.containerID!.replace('cri-o://', 'crio-').replace(/^.*:\/\//, '');
    const kernel = async () => {
      const pod = await node.host.cgroups!.limits(`/kubepods/burstable/pod${uid}`);
      const own = await node.host.cgroups!.limits(`/kubepods/burstable/pod${uid}/${id}`);
      return [pod?.cpuQuota, pod?.memoryLimitInBytes, own?.cpuQuota, own?.memoryLimitInBytes];
    };
    await resize('700m', '96Mi');
    const status = await settled('700m', '96Mi');
    assert.deepEqual(await kernel(), [70_000, 96 * 2 ** 20, 70_000, 96 * 2 ** 20]);
    assert.equal(status.containerStatuses![0]!.containerID, first.containerID);
    await resize('300m', '48Mi');
    await settled('300m', '48Mi');
    assert.deepEqual(await kernel(), [30_000, 48 * 2 ** 20, 30_000, 48 * 2 ** 20]);
    await resize('300m', '17Mi');
    const refused = await node.until(async () => {
      const { status: s } = await node.client.core.pods.get('resized', 'default');
      const c = s?.conditions?.find((x) => x.type === 'PodResizeInProgress');
      return c?.reason === 'Error' && c;
    }, 'the refusal');
    assert.match(refused.message!, /^cannot decrease memory limits: .*below current usage/);
    const told = async () => (await node.events('resized')).some((e) => e.startsWith('ResizeError: '));
    await node.until(told, 'the event of it');
    // A restarted kubelet goes on where the other one stopped.
    await node.stopKubelet();
    await node.startKubelet();
    await resize('300m', '80Mi');
    await settled('300m', '80Mi');
    assert.deepEqual(await kernel(), [30_000, 80 * 2 ** 20, 30_000, 80 * 2 ** 20]);
    const now = (await node.client.core.pods.get('resized', 'default')).status!.containerStatuses![0]!;
    assert.deepEqual([now.containerID, now.restartCount], [first.containerID, 0]);
    await node.delete('resized');
  });

  test('a container that is restarted for its new resources has room for them', async () => {
    const policy = (resourceName: string) => ({ resourceName, restartPolicy: 'RestartContainer' });
    await node.create('restarted', {
      containers: [shell(sleeper, { ...limits('100m', '32Mi'), resizePolicy: [policy('cpu'), policy('memory')] })],
      restartPolicy: 'Always',
      terminationGracePeriodSeconds: 1,
    });
    await node.phase('restarted', 'Running');
    for (const [cpu, memory, restarts] of [
      ['400m', '80Mi', 1],
      ['200m', '40Mi', 2],
    ] as const) {
      await node.client.core.pods.patch(
        'restarted',
        'default',
        'strategic',
        { spec: { containers: [{ name: 'main', resources: { limits: { cpu, memory } } }] } },
        { subresource: 'resize' },
      );
      await node.until(async () => {
        const { status } = await node.client.core.pods.get('restarted', 'default');
        const c = status?.containerStatuses?.[0];
        return (
          c?.restartCount === restarts &&
          c.ready &&
          c.resources?.limits?.['cpu'] === cpu &&
          !status?.conditions?.some((x) => x.type.startsWith('PodResize'))
        );
      }, `the container to run with ${cpu} and ${memory}`);
      const { uid } = (await node.client.core.pods.get('restarted', 'default')).metadata;
      const pod = await node.host.cgroups!.limits(`/kubepods/burstable/pod${uid}`);
      assert.deepEqual(
        [pod?.cpuQuota, pod?.memoryLimitInBytes],
        [Number(cpu.slice(0, -1)) * 100, Number(memory.slice(0, -2)) * 2 ** 20],
      );
    }
    const events = (await node.events('restarted')).map((e) => e.slice(0, e.indexOf(':')));
    assert.deepEqual(
      events.filter((e) => e === 'Killing' || e === 'ResizeCompleted' || e === 'Failed').slice(0, 2),
      ['Killing', 'ResizeCompleted'],
      events.join(),
    );
    await node.delete('restarted');
  });

  test('logs are rotated while they are written, and nothing of them is lost meanwhile', async () => {
    await node.create('chatty', {
      containers: [
        shell(
          'i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); [ $((i%50)) = 0 ] && sleep 0.05; done; sleep 1000',
        ),
      ],
    });
    const pod = await node.phase('chatty', 'Running');
    const dir = join(node.containerd.podLogsDir, `default_chatty_${pod.metadata.uid}/main`);
    const seen = new Set<number>();
    const abort = new AbortController();
    const follow = (async () => {
      for await (const batch of node.host.readLog(join(dir, '0.log'), {
        follow: true,
        signal: abort.signal,
        ended: async () => false,
      }))
        for (const e of batch) seen.add(Number(e.data.toString().split(' ')[1]));
    })();
    await node.until(async () => seen.has(2999), 'the last line');
    abort.abort();
    await follow;
    const files = fs.readdirSync(dir);
    assert.ok(files.length >= 2 && files.length <= 3, files.join());
    for (let i = Math.min(...seen); i < 3000; i++) assert.ok(seen.has(i), `line ${i} is missing`);
    // For a moment there is none: it has been renamed, and the runtime has not begun the next.
    const size = (): number => fs.statSync(join(dir, '0.log'), { throwIfNoEntry: false })?.size ?? Infinity;
    await node.until(async () => size() < 60 * 1024, 'the last part to be rotated');
    await node.delete('chatty');
    await node.until(async () => !fs.existsSync(join(dir, '..')), 'the log directory to be removed');
  });

  test('a static pod comes and goes with its file', async () => {
    const text = (name: string) =>
      JSON.stringify({
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: 'fixed' },
        spec: { containers: [{ ...shell(sleeper), name }], terminationGracePeriodSeconds: 1 },
      });
    fs.writeFileSync(join(manifests, 'fixed.json'), text('one'));
    const pod = await node.until(async () => {
      const found = await node.client.core.pods.get('fixed-n1', 'default').catch(() => undefined);
      return found?.status?.phase === 'Running' && found;
    }, 'the static pod to run');
    assert.equal(pod.metadata.annotations?.['kubernetes.io/config.source'], 'file');
    fs.rmSync(join(manifests, 'fixed.json'));
    await node.until(
      async () => (await node.client.core.pods.get('fixed-n1', 'default').catch(() => undefined)) === undefined,
      'the static pod to be gone',
    );
  });

  test('usage: summary, resource metrics, cAdvisor’s series, probes, configuration', async () => {
    await node.create('used', {
      containers: [
        shell(`dd if=/dev/zero of=/v/x bs=1M count=3 2>/dev/null; ${sleeper}`, {
          ...limits('1', '64Mi'),
          livenessProbe: { exec: { command: ['true'] }, periodSeconds: 1 },
          volumeMounts: [{ name: 'v', mountPath: '/v' }],
        }),
      ],
      volumes: [{ name: 'v', emptyDir: {} }],
    });
    await node.phase('used', 'Running');
    await node.until(async () => (await node.exec('used', 'ls', '/v')) === 'x\n', 'the file to be written');
    interface Summary {
      node: { memory: { workingSetBytes: number }; fs: { capacityBytes: number } };
      pods: {
        podRef: { name: string };
        memory: { workingSetBytes: number };
        containers: { name: string; logs?: object }[];
        volume?: { name: string; usedBytes: number }[];
        'ephemeral-storage': { usedBytes: number };
      }[];
    }
    const summary = JSON.parse(await get(node, '/stats/summary')) as Summary;
    const own = summary.pods.find((p) => p.podRef.name === 'used')!;
    assert.ok(summary.node.memory.workingSetBytes > 0 && own.memory.workingSetBytes > 0);
    assert.ok(own.volume!.find((v) => v.name === 'v')!.usedBytes >= 3 * 2 ** 20);
    assert.ok(own['ephemeral-storage'].usedBytes >= 3 * 2 ** 20);
    assert.ok(own.containers[0]!.logs !== undefined);
    assert.match(
      await get(node, '/metrics/resource'),
      /\npod_memory_working_set_bytes\{namespace="default",pod="used"\} \d+/,
    );
    const cadvisor = await get(node, '/metrics/cadvisor');
    assert.match(
      cadvisor,
      /\ncontainer_memory_working_set_bytes\{container="main",id="[^"]+",image="local.test\/busybox:1",name="[0-9a-f]{64}",namespace="default",pod="used"\} \d+/,
    );
    assert.match(cadvisor, /\ncontainer_spec_memory_limit_bytes\{container="main",[^}]*pod="used"\} 67108864 /);
    assert.match(cadvisor, /\nmachine_cpu_cores\{/);
    // What only the kernel tells: of containers throttling, caches and threads, of pods packets.
    for (const series of [
      'container_cpu_cfs_periods_total',
      'container_cpu_cfs_throttled_periods_total',
      'container_cpu_user_seconds_total',
      'container_memory_cache',
      'container_threads',
      'container_last_seen',
    ])
      assert.match(cadvisor, new RegExp(`\\n${series}\\{container="main",[^}]*pod="used"\\} [0-9.]+ `), series);
    assert.match(
      cadvisor,
      /\ncontainer_network_transmit_packets_total\{container="",[^}]*pod="used",interface="eth0"\} \d+ /,
    );
    await node.until(
      async () =>
        /prober_probe_total\{container="main",namespace="default",pod="used",pod_uid="[^"]+",probe_type="Liveness",result="successful"\} [1-9]/.test(
          await get(node, '/metrics/probes'),
        ),
      'the probe to be counted',
    );
    const configz = JSON.parse(await get(node, '/configz')) as { kubeletconfig: { podPidsLimit: number } };
    assert.equal(configz.kubeletconfig.podPidsLimit, 32);
    await node.delete('used');
  });
});

describe('a real node whose disk is too full', { skip }, () => {
  let node: RealNode;
  before(async () => {
    node = await RealNode.start();
    await node.containerd.load(busyboxImage({ Cmd: ['true'] }), 'local.test/unused:1');
    await node.stopKubelet();
  });
  after(() => node?.stop());

  test('removes images that nobody uses, then ends pods', async () => {
    await node.create('victim', { containers: [shell(sleeper)] });
    await node.startKubelet({
      configuration: { evictionHard: { 'nodefs.available': '99%' } },
    });
    const status = await node.until(
      async () => {
        const pod = await node.client.core.pods.get('victim', 'default');
        return pod.status?.phase === 'Failed' && pod.status;
      },
      'the pod to be evicted',
      45_000,
    );
    assert.equal(status.reason, 'Evicted');
    assert.match(
      status.message!,
      /^The node was low on resource: ephemeral-storage\. Threshold quantity: \d+\w*, available: \d+\w*\. /,
    );
    const names = (await node.containerd.runtime.listImages()).flatMap((i) => i.repoTags);
    assert.ok(!names.includes('local.test/unused:1'), names.join());
    assert.ok(names.includes(busybox));
    const { conditions } = (await node.client.core.nodes.get('n1')).status!;
    assert.equal(conditions?.find((c) => c.type === 'DiskPressure')?.status, 'True');
  });
});
