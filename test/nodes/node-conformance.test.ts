/** What upstream's conformance specs of sig-node assert of a kubelet, spec by spec, on a real node. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { Container, ContainerStatus, Pod } from '../../src/api/types/index.gen.ts';
import { ownNamespaces } from './support/namespaces.ts';
import { RealNode, shell, sleeper } from './support/real-node.ts';

const skip = ownNamespaces();

type Amounts = readonly [cpuRequest: string, cpuLimit: string, memoryRequest: string, memoryLimit: string];

function resources([cpu, cpuLimit, memory, memoryLimit]: Amounts): NonNullable<Container['resources']> {
  const list = (c: string, m: string): Record<string, string> => ({
    ...(c === '' ? {} : { cpu: c }),
    ...(m === '' ? {} : { memory: m }),
  });
  const requests = list(cpu, memory);
  const limits = list(cpuLimit, memoryLimit);
  return {
    ...(Object.keys(limits).length === 0 ? {} : { limits }),
    ...(Object.keys(requests).length === 0 ? {} : { requests }),
  };
}

describe('sig-node', { skip, timeout: 280_000, concurrency: 4 }, () => {
  let node: RealNode;
  before(async () => {
    node = await RealNode.start({ configuration: { evictionHard: { 'memory.available': '1Mi' } } });
  });
  after(() => node?.stop());

  const get = (name: string): Promise<Pod> => node.client.core.pods.get(name, 'default');
  const statusOf = (pod: Pod, index = 0): ContainerStatus => pod.status!.containerStatuses![index]!;
  /** Every state of a pod that a watch shows until `done`. */
  const watched = async (name: string, done: (pod: Pod) => boolean): Promise<Pod[]> => {
    const states: Pod[] = [];
    await node.until(async () => {
      const pod = await get(name);
      if (states.at(-1)?.metadata.resourceVersion !== pod.metadata.resourceVersion) states.push(pod);
      return done(pod);
    }, `${name} to get there`);
    return states;
  };

  for (const [policy, phase, restarts] of [
    ['Always', 'Running', 2],
    ['OnFailure', 'Succeeded', 1],
    ['Never', 'Failed', 0],
  ] as const)
    test(`Container Runtime: expected status with ${policy}`, async () => {
      const name = `terminate-${policy.toLowerCase()}`;
      const script = `echo hello >> /data/count; n=$(wc -l < /data/count); [ $n -eq 1 ] && exit 1; [ $n -eq 2 ] && exit 0; ${sleeper}`;
      await node.create(name, {
        restartPolicy: policy,
        volumes: [{ name: 'v', emptyDir: { medium: 'Memory' } }],
        containers: [shell(script, { volumeMounts: [{ name: 'v', mountPath: '/data' }] })],
      });
      await node.until(
        async () => {
          const s = (await get(name)).status?.containerStatuses?.[0];
          return s?.restartCount === restarts && (policy !== 'Always' || s.state?.running !== undefined);
        },
        `${restarts} restarts`,
        60_000,
      );
      const pod = await node.phase(name, phase);
      assert.equal(statusOf(pod).ready, policy === 'Always');
      assert.ok(policy === 'Always' ? statusOf(pod).state?.running : statusOf(pod).state?.terminated);
      await node.delete(name);
    });

  test('Container Runtime: termination messages', async () => {
    const message = async (name: string, script: string, more: Partial<Container>): Promise<string | undefined> => {
      await node.create(name, { containers: [shell(script, more)] });
      const pod = await node.phase(name, 'Succeeded', 'Failed');
      await node.delete(name);
      return statusOf(pod).state?.terminated?.message;
    };
    const fallback = { terminationMessagePolicy: 'FallbackToLogsOnError' };
    const path = { terminationMessagePath: '/dev/termination-custom-log', securityContext: { runAsUser: 10_000 } };
    const [custom, log, empty, file] = await Promise.all([
      message('message-path', 'echo -n DONE > /dev/termination-custom-log', path),
      message('message-log', 'echo -n DONE; false', fallback),
      message('message-empty', 'echo -n DONE; true', fallback),
      message('message-file', 'echo -n OK > /dev/termination-log; echo DONE; true', fallback),
    ]);
    assert.deepEqual([custom, log, empty, file], ['DONE', 'DONE', undefined, 'OK']);
  });

  test('InitContainer: an init container that fails for good ends the pod before its containers begin', async () => {
    await node.create('init-never', {
      restartPolicy: 'Never',
      initContainers: [shell('true', { name: 'init1' }), shell('false', { name: 'init2' })],
      containers: [shell('true', { name: 'run1' })],
    });
    const states = await watched('init-never', (p) => p.status?.phase === 'Failed');
    for (const p of states)
      for (const s of p.status?.containerStatuses ?? []) assert.equal(s.state?.waiting?.reason, 'PodInitializing');
    const last = states.at(-1)!.status!;
    assert.equal(last.initContainerStatuses![1]!.state?.terminated?.exitCode, 1);
    const condition = last.conditions!.find((c) => c.type === 'Initialized')!;
    assert.deepEqual(
      [condition.status, condition.reason, condition.message],
      ['False', 'ContainersNotInitialized', 'containers with incomplete status: [init2]'],
    );
    await node.delete('init-never');
  });

  test('InitContainer: init containers that fail are tried again, and nothing begins', async () => {
    await node.create('init-always', {
      restartPolicy: 'Always',
      initContainers: [shell('false', { name: 'init1' }), shell('true', { name: 'init2' })],
      containers: [shell(sleeper, { name: 'run1' })],
    });
    const states = await watched('init-always', (p) => (p.status?.initContainerStatuses?.[0]?.restartCount ?? 0) >= 2);
    for (const p of states) {
      for (const s of p.status?.containerStatuses ?? []) assert.equal(s.state?.waiting?.reason, 'PodInitializing');
      const second = p.status?.initContainerStatuses?.[1];
      if (second !== undefined) assert.equal(second.state?.waiting?.reason, 'PodInitializing');
    }
    assert.equal(states.at(-1)!.status?.phase, 'Pending');
    await node.delete('init-always');
  });

  test('InitContainer: each is done before the next, the pod before all have ended', async () => {
    for (const policy of ['Never', 'Always'] as const) {
      const name = `init-good-${policy.toLowerCase()}`;
      await node.create(name, {
        restartPolicy: policy,
        initContainers: [shell('true', { name: 'init1' }), shell('true', { name: 'init2' })],
        containers: [shell(policy === 'Never' ? 'true' : sleeper, { name: 'run1' })],
      });
      const states = await watched(name, (p) => p.status?.phase === (policy === 'Never' ? 'Succeeded' : 'Running'));
      let initialized = false;
      for (const p of states) {
        const now = p.status?.conditions?.find((c) => c.type === 'Initialized')?.status === 'True';
        assert.ok(now || !initialized, 'an initialized pod stays so');
        initialized = now;
      }
      const last = states.at(-1)!.status!;
      assert.ok(initialized);
      for (const s of last.initContainerStatuses!)
        assert.deepEqual([s.ready, s.state?.terminated?.exitCode], [true, 0]);
      await node.delete(name);
    }
  });

  const cgroupOf = (pod: Pod, index: number, v1: string, v2: string): string => {
    const id = statusOf(pod, index).containerID!.replace('containerd://', '').replace('cri-o://', 'crio-');
    const qos = pod.status?.qosClass === 'Guaranteed' ? '' : 'burstable/';
    const cgroup = `${node.containerd.cgroupRoot}/kubepods/${qos}pod${pod.metadata.uid}/${id}`;
    const old = `/sys/fs/cgroup/${v1.split('.')[0]}${cgroup}/${v1}`;
    return readFileSync(existsSync(old) ? old : `/sys/fs/cgroup${cgroup}/${v2}`, 'utf8').trim();
  };
  const resized = async (name: string, from: readonly Amounts[], to: readonly Amounts[]): Promise<void> => {
    const containers = from.map((r, i) => shell(sleeper, { name: `c${i + 1}`, resources: resources(r) }));
    await node.create(name, { containers, restartPolicy: 'OnFailure' });
    await node.phase(name, 'Running');
    const check = async (wanted: readonly Amounts[]): Promise<void> => {
      const pod = await node.until(async () => {
        const p = await get(name);
        const pending = p.status?.conditions?.some((c) => c.type.startsWith('PodResize'));
        const ready = p.status?.conditions?.some((c) => c.type === 'Ready' && c.status === 'True');
        return p.status?.observedGeneration === p.metadata.generation && pending === false && ready === true && p;
      }, `${name} to be resized`);
      for (const [i, r] of wanted.entries()) {
        const status = statusOf(pod, i);
        assert.deepEqual(status.resources, resources(r));
        assert.deepEqual(status.allocatedResources, resources(r).requests);
        assert.equal(status.restartCount, 0);
        const millis = Number(r[1].replace('m', ''));
        if (r[1] !== '')
          assert.match(
            cgroupOf(pod, i, 'cpu.cfs_quota_us', 'cpu.max'),
            new RegExp(`^${Math.max(millis * 100, 1000)}( |$)`),
          );
        if (r[3] !== '')
          assert.equal(
            cgroupOf(pod, i, 'memory.limit_in_bytes', 'memory.max'),
            String(Number(r[3].replace('Mi', '')) * 2 ** 20),
          );
      }
    };
    await check(from);
    const patch = (wanted: readonly Amounts[]): Promise<Pod> =>
      node.client.core.pods.patch(
        name,
        'default',
        'strategic',
        { spec: { containers: wanted.map((r, i) => ({ name: `c${i + 1}`, resources: resources(r) })) } },
        { subresource: 'resize' },
      );
    await patch(to);
    await check(to);
    if (from.every((r, i) => (r[1] === '') === (to[i]![1] === '') && (r[2] === '') === (to[i]![2] === ''))) {
      await patch(from);
      await check(from);
    }
    await node.delete(name);
  };
  const same = (cpu: string, memory: string): Amounts => [cpu, cpu, memory, memory];

  test('Pod InPlace Resize: guaranteed pods, three containers up and down and back', () =>
    resized(
      'resize-guaranteed',
      [same('20m', '30Mi'), same('22m', '32Mi'), same('24m', '34Mi')],
      [same('30m', '30Mi'), same('17m', '42Mi'), same('34m', '44Mi')],
    ));

  test('Pod InPlace Resize: limits and requests are added', () =>
    resized(
      'resize-added',
      [
        ['20m', '', '', ''],
        ['', '', '30Mi', ''],
        ['20m', '', '30Mi', ''],
        ['20m', '', '', ''],
        ['', '', '30Mi', ''],
      ],
      [
        ['30m', '40m', '', ''],
        ['', '', '20Mi', '50Mi'],
        ['20m', '', '20Mi', ''],
        ['15m', '', '30Mi', ''],
        ['20m', '', '40Mi', ''],
      ],
    ));

  test('Pod InPlace Resize: amounts that are one to the kernel', () =>
    resized('resize-equal', [['2m', '10m', '', '']], [['1m', '5m', '', '']]));

  test('Pods Extended: observedGeneration follows the spec', async () => {
    await node.create('generation', { containers: [shell(sleeper)] });
    await node.phase('generation', 'Running');
    for (let i = 0; i < 30; i++)
      await node.client.core.pods.patch('generation', 'default', 'merge', {
        spec: {
          tolerations: [{ key: `k${i}`, operator: 'Exists' }, ...((await get('generation')).spec!.tolerations ?? [])],
        },
      });
    const pod = await node.until(async () => {
      const p = await get('generation');
      return p.status?.observedGeneration === p.metadata.generation && p;
    }, 'the generation');
    assert.equal(pod.metadata.generation, 31);
    for (const c of pod.status!.conditions!) assert.ok(c.observedGeneration! >= 1);
    await node.delete('generation');
  });

  test('Ephemeral Containers: two, one after the other', async () => {
    await node.create('target', { containers: [shell(sleeper)] });
    await node.phase('target', 'Running');
    const add = async (name: string): Promise<void> => {
      const pod = await get('target');
      const ephemeralContainers = [
        ...(pod.spec!.ephemeralContainers ?? []),
        { ...shell(`echo polo; ${sleeper}`), name, tty: true, stdin: true },
      ];
      await node.client.core.pods.patch(
        'target',
        'default',
        'strategic',
        { spec: { ephemeralContainers } },
        { subresource: 'ephemeralcontainers' },
      );
      await node.until(async () => {
        const s = (await get('target')).status?.ephemeralContainerStatuses?.find((x) => x.name === name);
        return s?.state?.running !== undefined;
      }, `${name} to run`);
    };
    await add('debugger');
    await add('debugger2');
    assert.equal((await get('target')).status!.ephemeralContainerStatuses!.length, 2);
    await node.delete('target');
  });

  test('Variable Expansion: a subpath that cannot be made can be put right', async () => {
    const container = shell(sleeper, {
      env: [
        { name: 'POD_NAME', value: 'foo' },
        { name: 'ANNOTATION', valueFrom: { fieldRef: { fieldPath: "metadata.annotations['mysubpath']" } } },
      ],
      volumeMounts: [
        { name: 'v', mountPath: '/subpath_mount', subPathExpr: '$(ANNOTATION)/$(POD_NAME)' },
        { name: 'v', mountPath: '/volume_mount' },
      ],
    });
    const volumes = [{ name: 'v', emptyDir: {} }];
    await node.create('subpath', { containers: [container], volumes }, { annotations: { notmysubpath: 'mypath' } });
    const waiting = await node.until(async () => {
      const w = (await get('subpath')).status?.containerStatuses?.[0]?.state?.waiting;
      return w?.reason === 'CreateContainerConfigError' && w;
    }, 'the error');
    assert.match(waiting.message ?? '', /must not be an absolute path|absolute/);
    await node.client.core.pods.patch('subpath', 'default', 'merge', {
      metadata: { annotations: { mysubpath: 'mypath' } },
    });
    await node.phase('subpath', 'Running');
    assert.equal(await node.exec('subpath', 'sh', '-c', 'touch /volume_mount/mypath/foo/x; ls /subpath_mount'), 'x\n');
    await node.delete('subpath');
  });

  test('what leads out of a volume is refused, without a word about the node’s files', async () => {
    const dir = join(node.rootDir, '..', 'hostile');
    mkdirSync(join(dir, 'deep'), { recursive: true });
    writeFileSync(join(dir, '..', 'secret'), 'hidden');
    symlinkSync('/etc', join(dir, 'link'));
    symlinkSync('../secret', join(dir, 'file'));
    symlinkSync('..', join(dir, 'deep', 'up'));
    const volumes = [{ name: 'v', hostPath: { path: dir } }];
    for (const [name, subPath] of [
      ['out-link', 'link'],
      ['out-file', 'file'],
      ['out-deep', 'deep/up/../secret'],
      ['out-through', 'link/new/dir'],
    ] as const) {
      const container = shell(sleeper, { volumeMounts: [{ name: 'v', mountPath: '/m', subPath }] });
      const created = await node.create(name, { containers: [container], volumes }).catch((e: Error) => e.message);
      if (typeof created === 'string') {
        assert.match(created, /must not contain '\.\.'/);
        continue;
      }
      const w = await node.until(async () => {
        const state = (await get(name)).status?.containerStatuses?.[0]?.state?.waiting;
        return state?.reason === 'CreateContainerConfigError' && state;
      }, `${name} to be refused`);
      const what = name === 'out-through' ? 'create subPath directory' : 'prepare subPath';
      assert.equal(w.message, `failed to ${what} for volumeMount "v" of container "main"`);
      await node.delete(name);
    }
    assert.equal(existsSync('/etc/new'), false);
  });

  test('variables out of a file that an init container leaves; none out of the node’s files', async () => {
    const from = (name: string, path: string): Promise<Pod> =>
      node.create(name, {
        restartPolicy: 'Never',
        volumes: [{ name: 'v', emptyDir: {} }],
        initContainers: [
          shell(
            `echo "A='found'" > /v/env; echo "A='outside'" > /tmp/x; ln -s /etc/passwd /v/evil; ln -s env /v/near`,
            {
              name: 'init',
              volumeMounts: [{ name: 'v', mountPath: '/v' }],
            },
          ),
        ],
        containers: [
          shell('echo $A', { env: [{ name: 'A', valueFrom: { fileKeyRef: { volumeName: 'v', path, key: 'A' } } }] }),
        ],
      });
    await from('env-file', 'env');
    await node.phase('env-file', 'Succeeded', 'Failed');
    assert.equal(await node.log('env-file'), 'found\n');
    await from('env-near', 'near');
    await node.phase('env-near', 'Succeeded', 'Failed');
    assert.equal(await node.log('env-near'), 'found\n');
    await from('env-evil', 'evil');
    const w = await node.until(async () => {
      const state = (await get('env-evil')).status?.containerStatuses?.[0]?.state?.waiting;
      return state?.reason === 'CreateContainerConfigError' && state;
    }, 'the file to be refused');
    assert.equal(w.message, "couldn't parse env file");
    for (const name of ['env-file', 'env-near', 'env-evil']) await node.delete(name);
  });

  test('Probing container: a pod that is ending tells that it is not ready any more', async () => {
    const script = "trap 'rm -f /tmp/ready; sleep 6; exit 0' TERM; touch /tmp/ready; while :; do sleep 0.2; done";
    const probe = { exec: { command: ['test', '-e', '/tmp/ready'] }, periodSeconds: 1, failureThreshold: 1 };
    await node.create('ending', {
      terminationGracePeriodSeconds: 20,
      containers: [shell(script, { readinessProbe: probe })],
    });
    const ready = async (): Promise<string | undefined> =>
      (await get('ending')).status?.conditions?.find((c) => c.type === 'Ready')?.status;
    await node.until(async () => (await ready()) === 'True', 'the pod to be ready');
    await node.client.core.pods.delete('ending', 'default');
    await node.until(async () => (await ready()) === 'False', 'the pod to be unready while it ends');
    assert.equal((await get('ending')).status?.phase, 'Running');
    await node.delete('ending');
  });

  test('an exit that a rule asks it of restarts all containers; how they ended before is told', async () => {
    const rule = { action: 'RestartAllContainers', exitCodes: { operator: 'In', values: [42] } };
    await node.create('restart-all', {
      volumes: [{ name: 'v', emptyDir: {} }],
      initContainers: [shell('echo x >> /v/init', { name: 'init', volumeMounts: [{ name: 'v', mountPath: '/v' }] })],
      containers: [
        shell('[ $(wc -l < /v/init) -gt 1 ] || { sleep 1; exit 42; }; while :; do sleep 0.2; done', {
          restartPolicy: 'Never',
          restartPolicyRules: [rule],
          volumeMounts: [{ name: 'v', mountPath: '/v' }],
        }),
        shell(sleeper, { name: 'other' }),
      ],
    });
    const pod = await node.until(async () => {
      const p = await get('restart-all');
      const all = p.status?.containerStatuses ?? [];
      return all.length === 2 && all.every((s) => s.restartCount === 1 && s.state?.running !== undefined) && p;
    }, 'all containers to be restarted');
    assert.equal(pod.status!.initContainerStatuses![0]!.restartCount, 1);
    for (const s of pod.status!.containerStatuses!)
      assert.deepEqual(
        [s.lastState?.terminated?.reason, s.lastState?.terminated?.exitCode],
        ['RestartingAllContainers', 137],
      );
    await node.delete('restart-all');
  });
});
