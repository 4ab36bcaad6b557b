/** Pods that a node cannot honour: upstream's waiting reasons, phases, messages and events; hostile paths are refused. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { Container, ContainerStatus, Event, Pod, PodSpec } from '../../src/api/types/index.gen.ts';
import { busyboxImage } from './images/busybox.ts';
import { container, Machines, pod, skipMachines, sleeper } from './support/machines.ts';
import { until } from './support/until.ts';

const skip = skipMachines();
const www = 'local.test/www:1';
const nobodyKnows = 'local.test/nosuch:1';
let m: Machines;

before(async () => {
  if (skip !== false) return;
  m = await Machines.start();
  await m.first.load(busyboxImage({ User: 'www' }), www);
  await m.first.load(busyboxImage({ User: 'stranger' }), nobodyKnows);
});

after(async () => {
  if (skip === false) await m.stop();
});

const statusOf = async (name: string): Promise<NonNullable<Pod['status']>> =>
  (await m.kubectl.json<Pod>(`get pod ${name}`)).status ?? {};

/** The first container's state once `match` holds; what there was instead is in the error. */
async function state(name: string, match: (s: ContainerStatus) => boolean): Promise<ContainerStatus> {
  let last: unknown;
  try {
    return await until(
      `the state of ${name}`,
      async () => {
        const all = (last = await statusOf(name));
        return [...(all.initContainerStatuses ?? []), ...(all.containerStatuses ?? [])].find(match);
      },
      30_000,
    );
  } catch (error) {
    throw new Error(`${String(error)}\n${JSON.stringify(last, undefined, 1)}\n${(await events(name)).join('\n')}`, {
      cause: error,
    });
  }
}

async function events(name: string): Promise<string[]> {
  const { items } = await m.kubectl.json<{ items: Event[] }>(`get events --field-selector involvedObject.name=${name}`);
  return items.map((e) => `${e.type} ${e.reason}: ${e.message}`);
}

/** Waits for an event that says so. */
async function told(name: string, pattern: RegExp): Promise<string> {
  let last: string[] = [];
  try {
    return await until(
      `an event of ${name}`,
      async () => (last = await events(name)).find((e) => pattern.test(e)),
      30_000,
    );
  } catch (error) {
    throw new Error(`${pattern} is not among\n${last.join('\n')}`, { cause: error });
  }
}

/** Creates a pod of one container with these changes. */
async function create(name: string, more: Partial<Container>, spec: Partial<PodSpec> = {}): Promise<void> {
  await m.kubectl.apply(pod(name, '', { containers: [container(sleeper, more)], ...spec }));
}

const waitingFor =
  (...reasons: string[]) =>
  (s: ContainerStatus): boolean =>
    reasons.includes(s.state?.waiting?.reason ?? '');

describe('a pod that cannot run says why', { skip, concurrency: 6, timeout: 240_000 }, () => {
  test('an image that no registry has', async () => {
    await create('no-image', { image: '127.0.0.1:1/none:1', imagePullPolicy: 'IfNotPresent' });
    const s = await state('no-image', waitingFor('ImagePullBackOff'));
    assert.match(s.state?.waiting?.message ?? '', /^Back-off pulling image "127\.0\.0\.1:1\/none:1"/);
    await told('no-image', /^Normal Pulling: Pulling image "127\.0\.0\.1:1\/none:1"$/);
    await told('no-image', /^Warning Failed: Failed to pull image "127\.0\.0\.1:1\/none:1": .*connection refused/);
    await told('no-image', /^Warning Failed: Error: ErrImagePull$/);
    await told('no-image', /^Warning Failed: Error: ImagePullBackOff$/);
    await told('no-image', /^Normal BackOff: Back-off pulling image/);
  });

  test('an image that is not there and must not be pulled', async () => {
    await create('never', { image: 'local.test/none:1' });
    const s = await state('never', waitingFor('ErrImageNeverPull'));
    assert.equal(
      s.state?.waiting?.message,
      'Container image "local.test/none:1" is not present with pull policy of Never',
    );
    await told('never', /^Warning ErrImageNeverPull: Container image "local\.test\/none:1" is not present/);
    await told('never', /^Warning Failed: Error: ErrImageNeverPull$/);
  });

  test('no name of an image', async () => {
    await create('bad-name', { image: 'Local.test/UPPER:1' });
    const s = await state('bad-name', waitingFor('InvalidImageName'));
    assert.match(
      s.state?.waiting?.message ?? '',
      /couldn't parse image name "Local\.test\/UPPER:1": invalid reference/,
    );
    await told('bad-name', /^Warning InspectFailed: Failed to apply default image tag "Local\.test\/UPPER:1"/);
  });

  test('a command that does not exist', async () => {
    await create('no-command', { command: ['/bin/nothing'] }, { restartPolicy: 'Never' });
    const s = await state('no-command', (c) => c.state?.terminated !== undefined);
    assert.equal(s.state?.terminated?.reason, 'StartError');
    assert.equal(s.state?.terminated?.exitCode, 128);
    assert.match(s.state?.terminated?.message ?? '', /exec: "\/bin\/nothing": stat \/bin\/nothing: no such file/);
    await until('its end', async () => (await statusOf('no-command')).phase === 'Failed');
    await told('no-command', /^Warning Failed: Error: failed to create containerd task: .*no such file/);
    await create('no-command-again', { command: ['/bin/nothing'] });
    await state('no-command-again', waitingFor('RunContainerError', 'CrashLoopBackOff'));
    const again = await state('no-command-again', waitingFor('CrashLoopBackOff'));
    assert.equal(again.lastState?.terminated?.reason, 'StartError');
    await told('no-command-again', /^Warning BackOff: Back-off restarting failed container c in pod no-command-again_/);
  });

  test('a container that fails again and again', async () => {
    await create('crashing', { command: ['sh', '-c', 'echo oops > /dev/termination-log; exit 3'] });
    const s = await state('crashing', waitingFor('CrashLoopBackOff'));
    assert.match(s.state?.waiting?.message ?? '', /^back-off 10s restarting failed container=c pod=crashing_default\(/);
    assert.equal(s.lastState?.terminated?.exitCode, 3);
    assert.equal(s.lastState?.terminated?.reason, 'Error');
    assert.equal(s.lastState?.terminated?.message, 'oops\n');
  });

  test('ConfigMaps and Secrets that are missing, and keys of them', async () => {
    await m.kubectl.ok('create configmap some --from-literal=a=1');
    await m.kubectl.ok('create secret generic some --from-literal=a=1');
    const cases: readonly (readonly [string, Partial<Container>, string])[] = [
      [
        'no-map',
        { env: [{ name: 'A', valueFrom: { configMapKeyRef: { name: 'none', key: 'a' } } }] },
        'configmap "none" not found',
      ],
      [
        'no-map-key',
        { env: [{ name: 'A', valueFrom: { configMapKeyRef: { name: 'some', key: 'b' } } }] },
        "couldn't find key b in ConfigMap default/some",
      ],
      [
        'no-secret',
        { env: [{ name: 'A', valueFrom: { secretKeyRef: { name: 'none', key: 'a' } } }] },
        'secret "none" not found',
      ],
      [
        'no-secret-key',
        { env: [{ name: 'A', valueFrom: { secretKeyRef: { name: 'some', key: 'b' } } }] },
        "couldn't find key b in Secret default/some",
      ],
      ['no-map-from', { envFrom: [{ configMapRef: { name: 'none' } }] }, 'configmap "none" not found'],
    ];
    for (const [name, more] of cases) await create(name, more);
    for (const [name, , message] of cases) {
      const s = await state(name, waitingFor('CreateContainerConfigError'));
      assert.equal(s.state?.waiting?.message, message, name);
      assert.ok((await told(name, /^Warning Failed: Error: /)).endsWith(`Error: ${message}`), name);
    }
    // What was missing is found without anybody's help.
    await m.kubectl.ok('create configmap none --from-literal=a=1');
    await m.ready('no-map');
  });

  test('volumes that cannot be mounted', async () => {
    const cases: readonly (readonly [string, Record<string, unknown>, RegExp])[] = [
      [
        'map-volume',
        { configMap: { name: 'nowhere' } },
        /^Warning FailedMount: MountVolume\.SetUp failed for volume "v" : configmap "nowhere" not found$/,
      ],
      [
        'secret-volume',
        { secret: { secretName: 'nowhere' } },
        /^Warning FailedMount: MountVolume\.SetUp failed for volume "v" : secret "nowhere" not found$/,
      ],
      [
        'key-volume',
        { configMap: { name: 'kube-root-ca.crt', items: [{ key: 'none', path: 'x' }] } },
        /^Warning FailedMount: MountVolume\.SetUp failed for volume "v" : configmap references non-existent config key: none$/,
      ],
      [
        'path-volume',
        { hostPath: { path: '/nowhere-at-all', type: 'Directory' } },
        /^Warning FailedMount: MountVolume\.SetUp failed for volume "v" : hostPath type check failed: \/nowhere-at-all is not a directory$/,
      ],
    ];
    for (const [name, volume] of cases)
      await create(
        name,
        { volumeMounts: [{ name: 'v', mountPath: '/v' }] },
        { volumes: [{ name: 'v', ...volume }] as NonNullable<PodSpec['volumes']> },
      );
    await create(
      'csi-volume',
      { volumeMounts: [{ name: 'v', mountPath: '/v' }] },
      { volumes: [{ name: 'v', csi: { driver: 'nobody.example' } }] },
    );
    for (const [name, , pattern] of cases) {
      await told(name, pattern);
      const s = await statusOf(name);
      assert.equal(s.phase, 'Pending', name);
      assert.equal(s.containerStatuses?.[0]?.state?.waiting?.reason, 'ContainerCreating', name);
    }
    await told(
      'csi-volume',
      /^Warning FailedMount: MountVolume\.SetUp failed for volume "v" : .*driver name nobody\.example not found in the list of registered CSI drivers$/,
    );
    await create(
      'no-claim',
      { volumeMounts: [{ name: 'v', mountPath: '/v' }] },
      { volumes: [{ name: 'v', persistentVolumeClaim: { claimName: 'nowhere' } }] },
    );
    await told('no-claim', /^Warning FailedScheduling: .*persistentvolumeclaim "nowhere" not found/);
    // A pod that waits for a volume goes when it is told to.
    await m.kubectl.ok('delete pod map-volume secret-volume key-volume path-volume csi-volume no-claim --timeout=20s');
  });

  test('users that cannot be', async () => {
    await create('root', { securityContext: { runAsNonRoot: true } });
    await create('root-by-number', {}, { securityContext: { runAsNonRoot: true, runAsUser: 0 } });
    await create('name-only', { image: www, securityContext: { runAsNonRoot: true } });
    await create('stranger', { image: nobodyKnows });
    const message = async (name: string): Promise<string> =>
      (await state(name, waitingFor('CreateContainerConfigError'))).state?.waiting?.message ?? '';
    assert.match(
      await message('root'),
      /^container has runAsNonRoot and image will run as root \(pod: "root_default\([-0-9a-f]+\)", container: c\)$/,
    );
    assert.match(
      await message('root-by-number'),
      /^container's runAsUser breaks non-root policy \(pod: "root-by-number_default\(.*\)", container: c\)$/,
    );
    assert.match(
      await message('name-only'),
      /^container has runAsNonRoot and image has non-numeric user \(www\), cannot verify user is non-root \(pod: /,
    );
    await told('root', /^Warning Failed: Error: container has runAsNonRoot and image will run as root/);
    const s = await state('stranger', waitingFor('CreateContainerError'));
    assert.match(s.state?.waiting?.message ?? '', /^failed to create containerd container: .*no users found/);
  });

  test('sysctls that are not allowed', async () => {
    await create('sysctl', {}, { securityContext: { sysctls: [{ name: 'kernel.msgmax', value: '65536' }] } });
    const s = await until('its end', async () => {
      const now = await statusOf('sysctl');
      return now.phase === 'Failed' && now;
    });
    assert.equal(s.reason, 'SysctlForbidden');
    assert.equal(s.message, 'Pod was rejected: forbidden sysctl: "kernel.msgmax" not allowlisted');
    await told('sysctl', /^Warning SysctlForbidden: forbidden sysctl: "kernel\.msgmax" not allowlisted$/);
    // A namespaced one that is safe.
    await m.kubectl.apply(
      pod('sysctl-safe', 'cat /proc/sys/net/ipv4/ip_unprivileged_port_start', {
        restartPolicy: 'Never',
        securityContext: { sysctls: [{ name: 'net.ipv4.ip_unprivileged_port_start', value: '1023' }] },
      }),
    );
    assert.equal(await m.ended('sysctl-safe'), '1023\n');
  });

  test('more than the node has, a port that is taken, a runtime class that is none', async () => {
    await create('huge', { resources: { requests: { cpu: '1000' } } });
    await told('huge', /^Warning FailedScheduling: 0\/1 nodes are available: 1 Insufficient cpu\./);
    await create('huge-placed', { resources: { requests: { cpu: '1000' } } }, { nodeName: 'one' });
    const s = await until('its end', async () => {
      const now = await statusOf('huge-placed');
      return now.phase === 'Failed' && now;
    });
    assert.equal(s.reason, 'OutOfcpu');
    assert.match(
      s.message ?? '',
      /Node didn't have enough resource: cpu, requested: 1000000, used: \d+, capacity: \d+/,
    );
    await create('port', { ports: [{ containerPort: 80, hostPort: 8181 }] });
    await m.ready('port');
    await create('port-again', { ports: [{ containerPort: 80, hostPort: 8181 }] });
    await told('port-again', /^Warning FailedScheduling: .*didn't have free ports for the requested pod ports/);
    assert.match(
      await m.kubectl.fails(['apply', '-f', '-'], JSON.stringify(pod('class', '', { runtimeClassName: 'none' }))),
      /forbidden: pod rejected: RuntimeClass "none" not found/,
    );
  });

  test('a failing postStart ends the container', async () => {
    await create('hook', { lifecycle: { postStart: { exec: { command: ['sh', '-c', 'echo no; exit 2'] } } } });
    await told('hook', /^Warning FailedPostStartHook: PostStartHook failed$/);
    await told('hook', /^Normal Killing: FailedPostStartHook$/);
  });
});

describe('hostile paths', { skip, concurrency: 6, timeout: 240_000 }, () => {
  const volume = { volumes: [{ name: 'v', emptyDir: {} }] };
  const evil = (script: string): Container =>
    container(script, { name: 'evil', volumeMounts: [{ name: 'v', mountPath: '/v' }] });
  const subPathError = (name: string) =>
    `failed to ${name === 'link-new' ? 'create subPath directory' : 'prepare subPath'} for volumeMount "v" of container "c"`;

  test('a subPath that is a way out by its links', async () => {
    const secret = join(m.dir, 'secret');
    mkdirSync(secret);
    writeFileSync(join(secret, 'file'), 'of the machine\n');
    const cases: readonly (readonly [string, string, string])[] = [
      ['link', `ln -s ${secret} /v/way`, 'way'],
      ['link-inside', `mkdir /v/a && ln -s ${secret} /v/a/way`, 'a/way'],
      ['link-up', 'ln -s ../../../../../../../../../../../../tmp /v/way', 'way'],
      ['link-file', `ln -s ${secret}/file /v/way`, 'way'],
      ['link-new', `ln -s ${secret} /v/way`, 'way/made'],
    ];
    for (const [name, script, subPath] of cases)
      await create(
        name,
        { volumeMounts: [{ name: 'v', mountPath: '/in', subPath }] },
        { ...volume, initContainers: [evil(script)] },
      );
    for (const [name] of cases) {
      const s = await state(name, (c) => c.name === 'c' && c.state?.waiting?.reason === 'CreateContainerConfigError');
      assert.equal(s.state?.waiting?.message, subPathError(name), name);
      await told(name, new RegExp(`^Warning Failed: Error: ${subPathError(name)}$`));
    }
    assert.equal(existsSync(join(secret, 'made')), false);
  });

  test('a link within the volume is a path like others', async () => {
    await m.kubectl.apply(
      pod('link-fine', '', {
        ...volume,
        restartPolicy: 'Never',
        initContainers: [evil('mkdir /v/real && echo fine > /v/real/x && ln -s real /v/way')],
        containers: [container('cat /in/x', { volumeMounts: [{ name: 'v', mountPath: '/in', subPath: 'way' }] })],
      }),
    );
    assert.equal(await m.ended('link-fine'), 'fine\n');
  });

  test('paths with .. in them', async () => {
    const refused = async (name: string, more: Partial<Container>, spec: Partial<PodSpec>): Promise<string> =>
      m.kubectl.fails(
        ['apply', '-f', '-'],
        JSON.stringify(pod(name, '', { containers: [container(sleeper, more)], ...spec })),
      );
    const mount = { name: 'v', mountPath: '/in' };
    assert.match(
      await refused('up', { volumeMounts: [{ ...mount, subPath: '../../x' }] }, volume),
      /spec\.containers\[0\]\.volumeMounts\.subPath: Invalid value: "\.\.\/\.\.\/x": must not contain '\.\.'/,
    );
    assert.match(
      await refused('root', { volumeMounts: [{ ...mount, subPath: '/etc' }] }, volume),
      /subPath: Invalid value: "\/etc": must be a relative path/,
    );
    assert.match(
      await refused(
        'item',
        { volumeMounts: [mount] },
        { volumes: [{ name: 'v', configMap: { name: 'some', items: [{ key: 'a', path: '../a' }] } }] },
      ),
      /items\[0\]\.path: Invalid value: "\.\.\/a": must not contain '\.\.'/,
    );
    assert.match(
      await refused(
        'down',
        { volumeMounts: [mount] },
        {
          volumes: [
            { name: 'v', downwardAPI: { items: [{ path: 'x/../../y', fieldRef: { fieldPath: 'metadata.name' } }] } },
          ],
        },
      ),
      /downwardAPI\.path: Invalid value: "x\/\.\.\/\.\.\/y": must not contain '\.\.'/,
    );
    assert.match(
      await refused('host', { volumeMounts: [mount] }, { volumes: [{ name: 'v', hostPath: { path: '/tmp/../etc' } }] }),
      /hostPath\.path: Invalid value: "\/tmp\/\.\.\/etc": must not contain '\.\.'/,
    );
    const map = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'dots' }, data: { '..': 'x' } };
    assert.match(
      await m.kubectl.fails(['apply', '-f', '-'], JSON.stringify(map)),
      /data\[\.\.\]: Invalid value: "\.\."/,
    );
  });

  test('a subPathExpr is held to the same once it is expanded', async () => {
    for (const [name, value, message] of [
      ['expr-up', '../..', "unable to provision SubPath `../..`: must not contain '..'"],
      ['expr-root', '/etc', 'error SubPath `/etc` must not be an absolute path'],
      ['expr-none', undefined, 'missing value for "P"'],
    ] as const) {
      await create(
        name,
        {
          ...(value === undefined ? {} : { env: [{ name: 'P', value }] }),
          volumeMounts: [{ name: 'v', mountPath: '/in', subPathExpr: '$(P)' }],
        },
        volume,
      );
      const s = await state(name, waitingFor('CreateContainerConfigError'));
      assert.equal(s.state?.waiting?.message, message);
    }
  });
});
