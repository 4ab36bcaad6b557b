/** The runtime's seam driven on a real containerd: sandboxes, containers, logs, exit codes, resources, adoption, events. */
import assert from 'node:assert/strict';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { ContainerEvent } from '../../src/kubelet/runtime/container-runtime.ts';
import { RuntimeError } from '../../src/kubelet/runtime/container-runtime.ts';
import { busyboxImage } from './images/busybox.ts';
import { Containerd } from './support/containerd.ts';
import { ownNamespaces } from './support/namespaces.ts';
import { createContainer, eventually, exited, runContainer, runPod } from './support/pods.ts';

const skip = ownNamespaces();

const sh = (script: string) => ({ command: ['sh', '-c', script] });

describe('a real runtime', { skip, timeout: 120_000 }, () => {
  let c: Containerd;
  before(async () => {
    c = await Containerd.start();
    await c.load(busyboxImage(), 'local.test/busybox:1');
  });
  after(() => c?.stop());

  test('says what it is, and that it is ready', async () => {
    const version = await c.runtime.version();
    assert.equal(version.runtimeName, 'containerd');
    assert.equal(version.runtimeApiVersion, 'v1');
    assert.match(version.runtimeVersion, /\d+\.\d+/);
    const status = await c.runtime.status();
    assert.deepEqual(
      status.conditions.filter((x) => /^(Runtime|Network)Ready$/.test(x.type)).map((x) => x.status),
      [true, true],
    );
    assert.equal(await c.runtime.status(), status, 'the same object while it says the same');
    assert.equal(await c.runtime.cgroupDriver(), 'CGROUPFS');
    await c.runtime.updateRuntimeConfig({ podCidr: '10.88.0.0/16' });
  });

  test('a pod: address, name, resolver, environment, log and its links, removal', async () => {
    const pod = await runPod(c, 'first');
    const status = await c.runtime.podSandboxStatus(pod.sandboxId);
    assert.equal(status.state, 'SANDBOX_READY');
    assert.match(status.network?.ip ?? '', /^10\.88\./);
    assert.deepEqual(status.metadata, pod.sandbox.metadata);
    assert.equal(status.labels['io.kubernetes.pod.uid'], pod.uid);
    assert.equal(status.linux?.namespaces?.options?.network, 'POD');
    const id = await runContainer(c, pod, {
      ...sh('echo hello $WHO from $(hostname); cat /etc/resolv.conf; echo no >&2; printf partial; sleep 0.3'),
      envs: [{ key: 'WHO', value: 'wörld' }],
      annotations: { 'io.kubernetes.container.restartCount': '0' },
    });
    const ended = await exited(c, id);
    assert.deepEqual([ended.state, ended.exitCode, ended.reason], ['CONTAINER_EXITED', 0, 'Completed']);
    assert.equal(ended.podSandboxId, pod.sandboxId);
    assert.equal(ended.annotations['io.kubernetes.container.restartCount'], '0');
    assert.ok(ended.startedAt > 0 && ended.finishedAt >= ended.startedAt);
    assert.equal(ended.logPath, join(pod.sandbox.logDirectory, 'main/0.log'));
    const lines = readFileSync(ended.logPath, 'utf8').trim().split('\n');
    // stdout and stderr are a pipe each: the lines of one are in order, those of both are as the runtime reads them.
    const first = lines.find((l) => l.split(' ')[1] === 'stdout');
    const of = (stream: string) => lines.map((l) => l.split(' ')).filter((l) => l[1] === stream);
    assert.match(first ?? '', /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+(Z|[+-]\d\d:\d\d) stdout F hello wörld from first$/);
    assert.ok(of('stdout').some((l) => l.slice(3).join(' ') === 'nameserver 10.96.0.10'));
    assert.ok(of('stdout').some((l) => l.slice(3).join(' ') === 'search default.svc.cluster.local'));
    assert.deepEqual(
      of('stderr').map((l) => l.slice(2)),
      [['F', 'no']],
    );
    assert.deepEqual(of('stdout').at(-1)!.slice(2), ['P', 'partial']);
    const link = join(c.containerLogsDir, `first_default_main-${id}.log`);
    assert.equal(readlinkSync(link), ended.logPath);
    await c.runtime.removeContainer(id);
    assert.equal(existsSync(ended.logPath), false);
    assert.throws(() => lstatSync(link), /ENOENT/);
    await assert.rejects(
      c.runtime.containerStatus(id),
      (e: unknown) =>
        e instanceof RuntimeError &&
        e.code === 'NotFound' &&
        e.message.startsWith('rpc error: code = NotFound desc = '),
    );
    await c.runtime.removeContainer(id);
    await c.runtime.stopPodSandbox(pod.sandboxId);
    assert.equal((await c.runtime.podSandboxStatus(pod.sandboxId)).state, 'SANDBOX_NOTREADY');
    await c.runtime.removePodSandbox(pod.sandboxId);
    assert.equal(existsSync(pod.sandbox.logDirectory), false);
    assert.deepEqual(await c.runtime.listPodSandbox({ id: pod.sandboxId }), []);
    await c.runtime.stopPodSandbox(pod.sandboxId);
    await c.runtime.removePodSandbox(pod.sandboxId);
  });

  test('exit codes, signals, bad commands, out of memory', async () => {
    const pod = await runPod(c, 'codes');
    const code = await exited(c, await runContainer(c, pod, { name: 'code', ...sh('exit 42') }));
    assert.deepEqual([code.exitCode, code.reason], [42, 'Error']);

    const stopped = await runContainer(c, pod, {
      name: 'polite',
      ...sh('trap "exit 7" TERM; echo ready; while :; do sleep 0.05; done'),
    });
    /** A signal that comes before the shell has heard of its trap is lost. */
    const ready = async (id: string): Promise<void> => {
      const { logPath } = await c.runtime.containerStatus(id);
      await eventually(() => (readFileSync(logPath, 'utf8').includes('ready') ? true : undefined), 'the trap');
    };
    await ready(stopped);
    const began = Date.now();
    await c.runtime.stopContainer(stopped, 30);
    assert.ok(Date.now() - began < 10_000);
    assert.equal((await c.runtime.containerStatus(stopped)).exitCode, 7);

    const deaf = await runContainer(c, pod, {
      name: 'deaf',
      ...sh('trap "" TERM; echo ready; while :; do sleep 0.05; done'),
    });
    await ready(deaf);
    await c.runtime.stopContainer(deaf, 1);
    const killed = await c.runtime.containerStatus(deaf);
    assert.deepEqual([killed.exitCode, killed.reason], [137, 'Error']);

    const bad = await createContainer(c, pod, { name: 'bad', command: ['/no/such/program'] });
    await assert.rejects(c.runtime.startContainer(bad), /no such file or directory/);
    const never = await c.runtime.containerStatus(bad);
    assert.deepEqual([never.state, never.exitCode, never.reason], ['CONTAINER_EXITED', 128, 'StartError']);

    // Their first and only process is killed, all at once: the runtime removes their cgroups before it has looked at most of them.
    const hungry = await Promise.all(
      Array.from({ length: 8 }, (_, i) =>
        runContainer(c, pod, {
          name: `hungry-${i}`,
          ...sh('x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done'),
          linux: { resources: { memoryLimitInBytes: 16 * 2 ** 20, oomScoreAdj: 1000 } },
        }),
      ),
    );
    const ends = await Promise.all(hungry.map((id) => exited(c, id)));
    assert.deepEqual(
      ends.map((end) => [end.exitCode, end.reason]),
      ends.map(() => [137, 'OOMKilled']),
    );
    const child = await runContainer(c, pod, {
      name: 'child',
      ...sh('(x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done); exit $?'),
      linux: { resources: { memoryLimitInBytes: 16 * 2 ** 20, oomScoreAdj: 1000 } },
    });
    const parent = await exited(c, child);
    assert.deepEqual([parent.exitCode, parent.reason], [137, 'OOMKilled']);

    const self = await runContainer(c, pod, { name: 'self', ...sh('exit 137') });
    const asked = Date.now();
    const own = await exited(c, self);
    assert.deepEqual([own.exitCode, own.reason], [137, 'Error'], 'killed by somebody else');
    assert.ok(Date.now() - asked < 1500, 'known at once');

    await assert.rejects(
      createContainer(c, pod, { name: 'absent', image: 'local.test/absent:1' }),
      (e: unknown) => e instanceof RuntimeError && /not found/.test(e.message),
    );
    await assert.rejects(
      createContainer(c, pod, { name: 'user', linux: { securityContext: { runAsUsername: 'nobody-knows' } } }).then(
        (id) => c.runtime.startContainer(id),
      ),
      RuntimeError,
    );
  });

  test('security context, mounts, namespaces', async () => {
    const uid = 'context';
    const pod = await runPod(c, uid, {
      linux: { sysctls: { 'net.ipv4.ip_unprivileged_port_start': '80' } },
    });
    const out = async (name: string, script: string, choice = {}): Promise<string[]> => {
      const s = await exited(c, await runContainer(c, pod, { name, ...sh(script), ...choice }));
      return readFileSync(s.logPath, 'utf8')
        .trim()
        .split('\n')
        .map((l) => l.split(' ').slice(3).join(' '));
    };
    assert.deepEqual(
      await out(
        'who',
        'id; grep -E "CapEff|NoNewPrivs|Seccomp:" /proc/self/status; touch /x 2>/dev/null || echo readonly; cat /proc/sys/net/ipv4/ip_unprivileged_port_start',
        {
          linux: {
            securityContext: {
              runAsUser: 1000,
              runAsGroup: 3000,
              supplementalGroups: [4000],
              capabilities: { addCapabilities: [], dropCapabilities: ['ALL'] },
              noNewPrivs: true,
              readonlyRootfs: true,
              seccomp: { profileType: 'RuntimeDefault' },
            },
          },
        },
      ),
      [
        'uid=1000(user) gid=3000 groups=2000(extra),3000,4000',
        'CapEff:\t0000000000000000',
        'NoNewPrivs:\t1',
        'Seccomp:\t2',
        'readonly',
        '80',
      ],
    );
    const caps = await out('caps', 'grep CapEff /proc/self/status', {
      linux: { securityContext: { capabilities: { addCapabilities: ['NET_ADMIN'], dropCapabilities: ['ALL'] } } },
    });
    assert.deepEqual(caps, ['CapEff:\t0000000000001000']);
    const masked = await out('masked', 'ls /proc/acpi | wc -l; wc -c < /proc/keys', {
      linux: { securityContext: { maskedPaths: ['/proc/acpi', '/proc/keys'], readonlyPaths: ['/proc/sys'] } },
    });
    assert.deepEqual(masked, ['0', '0']);
    const host = join(c.dir, 'mounted');
    mkdirSync(host);
    writeFileSync(join(host, 'f'), 'content');
    assert.deepEqual(
      await out('mounts', 'cat /a/f; echo; (echo x > /a/g) 2>/dev/null || echo no; echo y > /b/h && cat /b/h', {
        mounts: [
          { containerPath: '/a', hostPath: host, readonly: true },
          { containerPath: '/b', hostPath: host, propagation: 'PROPAGATION_PRIVATE' },
        ],
      }),
      ['content', 'no', 'y'],
    );
    // An ephemeral container sees the processes of the one it is aimed at.
    const target = await runContainer(c, pod, { name: 'target', ...sh('exec sleep 1000') });
    const seen = await out('debugger', 'ps -o args', {
      linux: { securityContext: { namespaceOptions: { network: 'POD', ipc: 'POD', pid: 'TARGET', targetId: target } } },
    });
    assert.ok(seen.includes('sleep 1000'), seen.join('\n'));
    await c.runtime.stopContainer(target, 0);

    const shared = await runPod(c, 'shared', {
      hostname: '',
      linux: { securityContext: { namespaceOptions: { network: 'NODE', pid: 'POD', ipc: 'POD' }, privileged: true } },
    });
    const s = await exited(
      c,
      await runContainer(c, shared, {
        ...sh('ps -o args; grep CapEff /proc/self/status'),
        name: 'ps',
        linux: { securityContext: { privileged: true } },
      }),
    );
    const text = readFileSync(s.logPath, 'utf8');
    assert.match(text, /\/pause/);
    assert.match(text, /CapEff:\t0*1?[0-9a-f]*f/);
    assert.equal((await c.runtime.podSandboxStatus(shared.sandboxId)).linux?.namespaces?.options?.network, 'NODE');
  });

  test('exec of one command: output, exit code, time limit', async () => {
    const pod = await runPod(c, 'execsync');
    const id = await runContainer(c, pod, sh('exec sleep 1000'));
    const r = await c.runtime.execSync(id, ['sh', '-c', 'echo out; echo err >&2; exit 3'], 5);
    assert.deepEqual([r.stdout.toString(), r.stderr.toString(), r.exitCode], ['out\n', 'err\n', 3]);
    const code = (name: string) => (e: unknown) => e instanceof RuntimeError && e.code === name;
    await assert.rejects(c.runtime.execSync(id, ['sleep', '100'], 1), code('DeadlineExceeded'));
    await assert.rejects(c.runtime.execSync(id, ['/no/such'], 1), code('Unknown'));
    await assert.rejects(c.runtime.execSync('0'.repeat(64), ['true'], 1), code('NotFound'));
    const began = performance.now();
    for (let i = 0; i < 10; i++) await c.runtime.execSync(id, ['true'], 1);
    console.error(`exec: ${((performance.now() - began) / 10).toFixed(0)} ms`);
    await c.runtime.stopContainer(id, 0);
    await assert.rejects(c.runtime.execSync(id, ['true'], 1), RuntimeError);
  });

  test('logs: long lines, rotation', async () => {
    const pod = await runPod(c, 'logs');
    const id = await runContainer(c, pod, {
      ...sh(
        'head -c 40000 /dev/zero | tr "\\0" x; echo; while [ ! -e /go ]; do sleep 0.02; done; echo second; exec sleep 1000',
      ),
    });
    const log = (await c.runtime.containerStatus(id)).logPath;
    const entries = (path: string) =>
      readFileSync(path, 'utf8')
        .trimEnd()
        .split('\n')
        .map((l) => l.split(' '));
    const long = await eventually(() => {
      const e = entries(log);
      return e.at(-1)?.[2] === 'F' ? e : undefined;
    }, 'the long line');
    assert.deepEqual(
      long.map((e) => e[2]),
      ['P', 'P', 'F'],
    );
    assert.equal(long.map((e) => e[3]).join(''), 'x'.repeat(40_000));
    renameSync(log, `${log}.20260101-000000`);
    await c.runtime.reopenContainerLog(id);
    await c.runtime.execSync(id, ['touch', '/go'], 5);
    await eventually(
      () => (existsSync(log) && readFileSync(log, 'utf8').includes('second') ? true : undefined),
      'the new file',
    );
    await c.runtime.stopContainer(id, 0);
    await c.runtime.removeContainer(id);
    assert.deepEqual(readdirSync(join(pod.sandbox.logDirectory, 'main')), []);
  });

  test('usage, and resources changed while it runs', async () => {
    const pod = await runPod(c, 'usage');
    const id = await runContainer(c, pod, {
      ...sh('while :; do :; done'),
      linux: { resources: { cpuShares: 128, cpuPeriod: 100_000, cpuQuota: 20_000, memoryLimitInBytes: 64 * 2 ** 20 } },
    });
    await c.runtime.containerStats(id);
    const rate = async (): Promise<number> => {
      const a = await c.runtime.containerStats(id);
      return eventually(async () => {
        const b = await c.runtime.containerStats(id);
        return b.cpu.timestamp - a.cpu.timestamp > 900 ? b.cpu.usageNanoCores : undefined;
      }, 'a later reading');
    };
    const first = await rate();
    assert.ok(first > 0 && first < 2e9, `${first} nanocores`);
    await c.runtime.updateContainerResources(id, {
      cpuPeriod: 100_000,
      cpuQuota: 50_000,
      memoryLimitInBytes: 128 * 2 ** 20,
    });
    const cgroup = (controller: string, file: string): string =>
      readFileSync(`/sys/fs/cgroup/${controller}${c.cgroupRoot}/pod${pod.uid}/${id}/${file}`, 'utf8').trim();
    if (existsSync('/sys/fs/cgroup/cpu')) {
      assert.equal(cgroup('cpu', 'cpu.cfs_quota_us'), '50000');
      assert.equal(cgroup('memory', 'memory.limit_in_bytes'), String(128 * 2 ** 20));
    }
    const stats = await c.runtime.listPodSandboxStats();
    const own = stats.find((s) => s.id === pod.sandboxId)!;
    assert.equal(own.metadata.name, 'usage');
    assert.ok(own.memory.workingSetBytes > 0);
    assert.deepEqual(
      own.containers.map((x) => x.metadata.name),
      ['main'],
    );
    assert.ok((own.network?.interfaces[0]?.name ?? '') === 'eth0', JSON.stringify(own.network));
    const list = await c.runtime.listContainerStats({ podSandboxId: pod.sandboxId });
    assert.deepEqual(
      list.map((x) => x.id),
      [id],
    );
    assert.ok(list[0]!.memory.workingSetBytes > 0 && list[0]!.memory.availableBytes! <= 128 * 2 ** 20);
    await c.runtime.stopContainer(id, 0);
  });

  test('events, also of what happens behind our back', async () => {
    const events: ContainerEvent[] = [];
    const stop = c.runtime.events((e) => events.push(e));
    const has = (id: string, type: ContainerEvent['containerEventType']) =>
      eventually(() => events.find((e) => e.containerId === id && e.containerEventType === type), `${type} of ${id}`);
    const pod = await runPod(c, 'events');
    const id = await runContainer(c, pod, sh('exec sleep 1000'));
    assert.equal((await has(id, 'CONTAINER_STARTED_EVENT')).podUid, pod.uid);
    // Somebody else's doing.
    const other = await c.connect();
    await other.stopContainer(id, 0);
    const ended = await has(id, 'CONTAINER_STOPPED_EVENT');
    assert.deepEqual([ended.podUid, ended.podSandboxId], [pod.uid, pod.sandboxId]);
    assert.equal((await c.runtime.containerStatus(id)).state, 'CONTAINER_EXITED', 'what is told has happened');
    await other.stopPodSandbox(pod.sandboxId);
    await has(pod.sandboxId, 'CONTAINER_STOPPED_EVENT');
    await other.removePodSandbox(pod.sandboxId);
    await has(id, 'CONTAINER_DELETED_EVENT');
    other.close();
    stop();
  });

  test('a restarted client adopts what runs; a killed containerd loses nothing', async () => {
    const pod = await runPod(c, 'adopted');
    const running = await runContainer(c, pod, { name: 'running', ...sh('exec sleep 1000') });
    const shared = mkdtempSync(join(c.dir, 'shared-'));
    const ends = await runContainer(c, pod, {
      name: 'ends',
      ...sh('while [ ! -e /shared/go ]; do sleep 0.02; done; exit 5'),
      mounts: [{ containerPath: '/shared', hostPath: shared }],
    });
    const before = await c.runtime.containerStatus(running);
    const again = await c.connect();
    assert.deepEqual((await again.listContainers({ podSandboxId: pod.sandboxId })).map((x) => x.metadata.name).sort(), [
      'ends',
      'running',
    ]);
    assert.deepEqual(await again.containerStatus(running), { ...before, podSandboxId: pod.sandboxId });
    again.close();
    const events: string[] = [];
    const stop = c.runtime.events((e) => events.push(`${e.containerEventType} ${e.containerId}`));
    const over = await exited(c, await runContainer(c, pod, { name: 'over', ...sh('exit 6') }));
    await c.kill();
    writeFileSync(join(shared, 'go'), '');
    await assert.rejects(c.runtime.version(), (e: unknown) => e instanceof RuntimeError && e.code === 'Unavailable');
    await c.launch();
    assert.equal((await c.runtime.containerStatus(running)).state, 'CONTAINER_RUNNING');
    assert.equal((await c.runtime.containerStatus(over.id)).exitCode, 6);
    // Of one that ended meanwhile newer versions only know that it did.
    const s = await exited(c, ends);
    assert.ok(s.exitCode === 5 || s.exitCode === 255, `${s.exitCode}`);
    assert.equal((await c.runtime.execSync(running, ['echo', 'still here'], 5)).stdout.toString(), 'still here\n');
    // Events go on after the break.
    await c.runtime.stopContainer(running, 0);
    await eventually(
      () => (events.includes(`CONTAINER_STOPPED_EVENT ${running}`) ? true : undefined),
      'an event after the break',
    );
    stop();
  });

  test('how long a pod takes', async () => {
    const times: number[] = [];
    for (let i = 0; i < 5; i++) {
      const began = performance.now();
      const pod = await runPod(c, `fast-${i}`);
      await runContainer(c, pod, sh('exec sleep 1000'));
      times.push(performance.now() - began);
    }
    console.error(`pod to running: ${times.map((t) => t.toFixed(0)).join(', ')} ms`);
  });
});
