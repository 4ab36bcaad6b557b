/** Pods through our kubelet on a real runtime: what their containers find, why others wait, and what happens when things die. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { Container, ContainerStatus, Pod, PodSpec } from '../../src/api/types/index.gen.ts';
import { busyboxImage } from './images/busybox.ts';
import { ownNamespaces } from './support/namespaces.ts';
import { busybox, RealNode, shell, sleeper } from './support/real-node.ts';
import { startRegistry } from './support/registry.ts';

const skip = ownNamespaces();

describe('pods on a real runtime', { skip, timeout: 240_000 }, () => {
  let node: RealNode;
  before(async () => {
    node = await RealNode.start();
  });
  after(() => node?.stop());

  const get = (name: string): Promise<Pod> => node.client.core.pods.get(name, 'default');
  const statusOf = (pod: Pod): ContainerStatus | undefined => pod.status?.containerStatuses?.[0];
  const running = async (name: string): Promise<Pod> => {
    await node.phase(name, 'Running');
    return node.until(async () => {
      const pod = await get(name);
      return statusOf(pod)?.state?.running !== undefined && pod;
    }, `${name} to run`);
  };
  const idOf = (pod: Pod): string => statusOf(pod)!.containerID!.replace(/^.*:\/\//, '');
  /** Why the pod's container waits, once it does for something that will not end by itself. */
  const waiting = async (
    name: string,
    spec: Partial<Container>,
    pod: Partial<PodSpec> = {},
    reason?: string,
  ): Promise<string> => {
    await node.create(name, { containers: [shell(sleeper, spec)], ...pod });
    return node.until(async () => {
      const w = statusOf(await get(name))?.state?.waiting;
      const usual = w?.reason === 'ContainerCreating' || w?.reason === 'PodInitializing';
      return (
        w !== undefined && !usual && (reason === undefined || w.reason === reason) && `${w.reason}: ${w.message ?? ''}`
      );
    }, `${name} to wait`);
  };

  test('what a container finds: names, resolver, processes, limits, users', async () => {
    const out = await node.script(
      'finds',
      `hostname; cat /etc/hosts; cat /etc/resolv.conf; cat /proc/self/oom_score_adj; id -u; id -g; id -G
       cat /proc/sys/net/ipv4/ip_unprivileged_port_start; ps -o args | grep -c '[/]pause'; grep Seccomp: /proc/self/status`,
      {
        subdomain: 'sub',
        hostname: 'me',
        setHostnameAsFQDN: true,
        shareProcessNamespace: true,
        hostAliases: [{ ip: '192.0.2.9', hostnames: ['nine'] }],
        dnsPolicy: 'None',
        dnsConfig: { nameservers: ['192.0.2.53'], searches: ['a.test'], options: [{ name: 'ndots', value: '2' }] },
        securityContext: {
          runAsUser: 1000,
          runAsGroup: 1000,
          supplementalGroups: [4000],
          sysctls: [{ name: 'net.ipv4.ip_unprivileged_port_start', value: '81' }],
          seccompProfile: { type: 'RuntimeDefault' },
        },
      },
    );
    const lines = out.split('\n');
    assert.equal(lines[0], 'me.sub.default.svc.cluster.local');
    assert.match(out, /10\.88\.\d+\.\d+\tme\.sub\.default\.svc\.cluster\.local\tme\n/);
    assert.match(out, /192\.0\.2\.9\tnine\n/);
    assert.match(out, /search a\.test\nnameserver 192\.0\.2\.53\noptions ndots:2\n/);
    assert.match(out, /\n1000\n1000\n1000\n1000 2000 4000\n81\n1\nSeccomp:\t2\n/, out);
  });

  test('requests and limits are the kernel’s', async () => {
    await node.create('limits', {
      containers: [
        shell(sleeper, {
          resources: { requests: { cpu: '100m', memory: '64Mi' }, limits: { cpu: '200m', memory: '128Mi' } },
        }),
      ],
    });
    const pod = await running('limits');
    assert.equal(pod.status?.qosClass, 'Burstable');
    const score = Number(await node.exec('limits', 'cat', '/proc/1/oom_score_adj'));
    assert.ok(score > 900 && score < 1000, `${score}`);
    const cgroup = `${node.containerd.cgroupRoot}/kubepods/burstable/pod${pod.metadata.uid}/${idOf(pod)}`;
    const file = (v1: string, v2: string): string => {
      try {
        return readFileSync(`/sys/fs/cgroup/${v1.split('.')[0]}${cgroup}/${v1}`, 'utf8').trim();
      } catch {
        return readFileSync(`/sys/fs/cgroup${cgroup}/${v2}`, 'utf8').trim();
      }
    };
    assert.match(file('cpu.cfs_quota_us', 'cpu.max'), /^20000/);
    assert.equal(file('memory.limit_in_bytes', 'memory.max'), String(128 * 2 ** 20));
    await node.delete('limits');
  });

  test('what cannot start waits with upstream’s reasons', async () => {
    assert.match(
      await waiting('never', { image: 'local.test/absent:1', imagePullPolicy: 'Never' }),
      /^ErrImageNeverPull: Container image "local\.test\/absent:1" is not present with pull policy of Never$/,
    );
    assert.match(
      await waiting('name', { image: 'Not/A/Name:1' }),
      /^InvalidImageName: Failed to apply default image tag "Not\/A\/Name:1": couldn't parse image name/,
    );
    assert.match(
      await waiting('pull', { image: '127.0.0.1:1/nobody/there:1' }, {}, 'ImagePullBackOff'),
      /^ImagePullBackOff: Back-off pulling image "127\.0\.0\.1:1\/nobody\/there:1": ErrImagePull: rpc error: code = .*connection refused/,
    );
    assert.match(
      await waiting('config', { env: [{ name: 'X', valueFrom: { configMapKeyRef: { name: 'no', key: 'k' } } }] }),
      /^CreateContainerConfigError: configmap "no" not found$/,
    );
    assert.match(
      await waiting('root', { securityContext: { runAsNonRoot: true } }),
      /^CreateContainerConfigError: container has runAsNonRoot and image will run as root \(pod: "root_default\(/,
    );
    await node.containerd.load(busyboxImage({ User: 'nobody-knows' }), 'local.test/user:1');
    assert.match(
      await waiting('user', { image: 'local.test/user:1' }),
      /^CreateContainerError: .*nobody-knows|no users found/,
    );
    assert.match(
      await waiting('seccomp', {
        securityContext: { seccompProfile: { type: 'Localhost', localhostProfile: 'absent.json' } },
      }),
      /^(CreateContainerError|RunContainerError): .*absent\.json/,
    );
    // A program that is not there: the container is made, and cannot be started.
    await node.create('command', { containers: [shell('', { command: ['/no/such/program'] })] });
    const failed = await node.phase('command', 'Failed');
    const t = statusOf(failed)?.state?.terminated;
    assert.deepEqual([t?.exitCode, t?.reason], [128, 'StartError']);
    assert.match(t?.message ?? '', /no such file or directory/);
    assert.ok((await node.events('command')).some((e) => /^Failed: Error: .*no such file/.test(e)));
    const loop = await waiting(
      'loop',
      { command: ['/no/such/program'] },
      { restartPolicy: 'Always' },
      'CrashLoopBackOff',
    );
    assert.match(loop, /^CrashLoopBackOff: back-off 10s restarting failed container=main pod=loop_default\(/);
    assert.equal(statusOf(await get('loop'))?.lastState?.terminated?.reason, 'StartError');
    for (const name of ['never', 'name', 'pull', 'config', 'root', 'user', 'seccomp', 'command', 'loop'])
      await node.client.core.pods.delete(name, 'default', { gracePeriodSeconds: 0 });
  });

  test('pull secrets open a registry', async () => {
    const registry = await startRegistry({ auth: 'basic', username: 'me', password: 's3cret' });
    registry.push('team/app', 'v1', busyboxImage());
    const image = `${registry.host}/team/app:v1`;
    const pullSecret = (name: string, entry: object): Promise<unknown> =>
      node.client.core.secrets.create({
        apiVersion: 'v1',
        kind: 'Secret',
        metadata: { name, namespace: 'default' },
        type: 'kubernetes.io/dockerconfigjson',
        data: {
          '.dockerconfigjson': Buffer.from(JSON.stringify({ auths: { [registry.host]: entry } })).toString('base64'),
        },
      });
    await pullSecret('pull', { username: 'me', password: 's3cret' });
    assert.match(
      await waiting('closed', { image }, {}),
      /^(ErrImagePull|ImagePullBackOff): .*(401|authorization failed)/,
    );
    await node.create('open', { imagePullSecrets: [{ name: 'pull' }], containers: [shell('echo pulled', { image })] });
    const pod = await node.phase('open', 'Succeeded');
    assert.equal(statusOf(pod)?.image, image);
    assert.match(statusOf(pod)?.imageID ?? '', /@sha256:[0-9a-f]{64}$/);
    assert.ok(
      (await node.events('open')).some((e) =>
        /^Pulled: Successfully pulled image ".*" in .*Image size: \d+ bytes/.test(e),
      ),
    );
    // One that cannot be read ends the pull before the registry is asked.
    await pullSecret('unread', { auth: Buffer.from('me').toString('base64') });
    const wrong = 'unable to parse auth field, must be formatted as base64(username:password)';
    assert.equal(
      await waiting('unread', { image, imagePullPolicy: 'Always' }, { imagePullSecrets: [{ name: 'unread' }] }),
      `${wrong}: ${wrong}`,
    );
    for (const name of ['closed', 'unread'])
      await node.client.core.pods.delete(name, 'default', { gracePeriodSeconds: 0 });
    await registry.close();
  });

  test('how containers end: codes, messages, out of memory, previous logs', async () => {
    await node.create('message', {
      containers: [shell('echo -n "my last words" > /dev/termination-log; exit 3')],
    });
    const said = statusOf(await node.phase('message', 'Failed'))?.state?.terminated;
    assert.deepEqual([said?.exitCode, said?.reason, said?.message], [3, 'Error', 'my last words']);
    await node.create('fallback', {
      containers: [shell('echo from the log; exit 4', { terminationMessagePolicy: 'FallbackToLogsOnError' })],
    });
    assert.equal(statusOf(await node.phase('fallback', 'Failed'))?.state?.terminated?.message, 'from the log\n');
    await node.create('oom', {
      containers: [
        shell('x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done', {
          resources: { limits: { memory: '16Mi' } },
        }),
      ],
    });
    const oom = statusOf(await node.phase('oom', 'Failed'))?.state?.terminated;
    assert.deepEqual([oom?.exitCode, oom?.reason], [137, 'OOMKilled']);
    await node.create('again', {
      restartPolicy: 'Always',
      containers: [
        shell(`[ -e /data/x ] && { echo second; ${sleeper}; }; touch /data/x; echo first; exit 1`, {
          volumeMounts: [{ name: 'd', mountPath: '/data' }],
        }),
      ],
      volumes: [{ name: 'd', emptyDir: {} }],
    });
    const pod = await node.until(async () => {
      const p = await get('again');
      return statusOf(p)?.restartCount === 1 && statusOf(p)?.state?.running !== undefined && p;
    }, 'the second instance');
    assert.equal(statusOf(pod)?.lastState?.terminated?.exitCode, 1);
    const previous = statusOf(pod)!.lastState!.terminated!.containerID!.replace(/^.*:\/\//, '');
    const { logPath } = await node.containerd.runtime.containerStatus(previous);
    assert.match(logPath, /\/main\/0\.log$/);
    assert.match(readFileSync(logPath, 'utf8'), /stdout F first/);
    await node.delete('again');
  });

  test('a container and a sandbox killed behind the kubelet’s back come back', async () => {
    await node.create('back', { restartPolicy: 'Always', containers: [shell(sleeper)] });
    const first = await running('back');
    await node.containerd.runtime.stopContainer(idOf(first), 0);
    const second = await node.until(async () => {
      const p = await get('back');
      return statusOf(p)?.restartCount === 1 && statusOf(p)?.state?.running !== undefined && p;
    }, 'a new container');
    assert.equal(second.status?.podIP, first.status?.podIP);
    const [sandbox] = await node.containerd.runtime.listPodSandbox({
      labelSelector: { 'io.kubernetes.pod.uid': first.metadata.uid! },
    });
    await node.containerd.runtime.stopPodSandbox(sandbox!.id);
    const third = await node.until(async () => {
      const p = await get('back');
      return idOf(p) !== idOf(second) && statusOf(p)?.state?.running !== undefined && p;
    }, 'a new sandbox');
    assert.ok((await node.events('back')).some((e) => e.startsWith('SandboxChanged')));
    assert.match(third.status?.podIP ?? '', /^10\.88\./);
    await node.delete('back');
    const labelSelector = { 'io.kubernetes.pod.uid': first.metadata.uid! };
    await node.until(
      async () => (await node.containerd.runtime.listPodSandbox({ labelSelector })).length === 0,
      'its sandboxes to go',
    );
  });

  test('a restarted kubelet adopts what runs, and puts right what died meanwhile', async () => {
    for (const name of ['stays', 'dies'])
      await node.create(name, { restartPolicy: 'Always', containers: [shell(sleeper)] });
    const stays = await running('stays');
    const dies = await running('dies');
    await node.stopKubelet();
    await node.containerd.runtime.stopContainer(idOf(dies), 0);
    await node.startKubelet();
    await node.until(async () => statusOf(await get('dies'))?.restartCount === 1, 'the dead one to be restarted');
    assert.equal(idOf(await get('stays')), idOf(stays));
    assert.equal(statusOf(await get('stays'))?.restartCount, 0);
    // And the runtime itself, killed.
    await node.containerd.kill();
    await node.containerd.launch();
    await node.create('later', { containers: [shell('echo later')] });
    await node.phase('later', 'Succeeded');
    assert.equal(idOf(await get('stays')), idOf(stays));
    await node.exec('stays', 'true');
    await node.delete('stays');
    await node.delete('dies');
  });

  test('an ephemeral container looks into a running one', async () => {
    await node.create('looked-at', { containers: [shell('exec sleep 1000')] });
    const pod = await running('looked-at');
    await node.client.core.pods.update(
      {
        ...pod,
        spec: {
          ...pod.spec!,
          ephemeralContainers: [
            {
              name: 'debug',
              image: busybox,
              imagePullPolicy: 'IfNotPresent',
              command: ['sh', '-c', 'ps -o args'],
              targetContainerName: 'main',
            },
          ],
        },
      } as Pod,
      { subresource: 'ephemeralcontainers' } as never,
    );
    const id = await node.until(async () => {
      const s = (await get('looked-at')).status?.ephemeralContainerStatuses?.[0];
      return s?.state?.terminated !== undefined && s.containerID?.replace(/^.*:\/\//, '');
    }, 'the ephemeral container');
    const { logPath } = await node.containerd.runtime.containerStatus(id);
    assert.match(readFileSync(logPath, 'utf8'), /stdout F sleep 1000/);
    await node.client.core.pods.delete('looked-at', 'default', { gracePeriodSeconds: 0 });
  });

  test('profiles of the node, user ids of the pod’s own, the node’s network', async () => {
    mkdirSync(join(node.rootDir, 'seccomp'), { recursive: true });
    writeFileSync(
      join(node.rootDir, 'seccomp/no-mkdir.json'),
      JSON.stringify({
        defaultAction: 'SCMP_ACT_ALLOW',
        syscalls: [{ names: ['mkdir', 'mkdirat'], action: 'SCMP_ACT_ERRNO' }],
      }),
    );
    const seccompProfile = { type: 'Localhost', localhostProfile: 'no-mkdir.json' };
    const out = await node.script('profile', 'mkdir /tmp/x 2>&1; echo end', { securityContext: { seccompProfile } });
    assert.match(out, /Operation not permitted\nend\n$/);

    const host = await node.script('host', 'ip -o link | grep -c knt; cat /etc/hosts | head -1', { hostNetwork: true });
    assert.match(host, /^\d+\n# Kubernetes-managed hosts file \(host network\)\.\n$/);

    const { runtimeHandlers } = await node.containerd.runtime.status();
    await node.create('userns', { hostUsers: false, containers: [shell('cat /proc/self/uid_map')] });
    if (runtimeHandlers.some((h) => h.features?.userNamespaces === true)) {
      await node.phase('userns', 'Succeeded');
      assert.match(await node.log('userns'), /^\s+0\s+65536\s+65536\n$/);
    } else
      await node.until(
        async () =>
          (await node.events('userns')).some((e) =>
            e.includes("can't set `spec.hostUsers: false`, runtime does not support user namespaces"),
          ),
        'the refusal',
      );
    await node.client.core.pods.delete('userns', 'default', { gracePeriodSeconds: 0 });
  });

  test('nothing is left when all pods are gone', async () => {
    for (const p of (await node.client.core.pods.list({ namespace: 'default' })).items)
      await node.client.core.pods.delete(p.metadata.name!, 'default', { gracePeriodSeconds: 0 });
    await node.until(async () => (await node.containerd.runtime.listPodSandbox()).length === 0, 'all sandboxes to go');
    await node.until(
      async () => execFileSync('ls', [node.containerd.podLogsDir], { encoding: 'utf8' }) === '',
      'all logs to go',
    );
    assert.equal(execFileSync('ls', [node.containerd.containerLogsDir], { encoding: 'utf8' }), '');
  });
});
