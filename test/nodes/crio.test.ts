/** The kubelet on CRI-O, where it is installed: what differs from containerd, and that the rest does not. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { sandboxImageName } from '../../src/kubelet/runtime/cri/load.ts';
import { busyboxImage } from './images/busybox.ts';
import { crioMissing } from './support/crio.ts';
import { kubeletPage as get } from './support/kubelet-page.ts';
import { ownNamespaces } from './support/namespaces.ts';
import { busybox, RealNode, shell, sleeper } from './support/real-node.ts';

const missing = crioMissing();
const skip = missing === false ? ownNamespaces() : missing;

async function readAll(stream: AsyncIterable<Buffer | string> | undefined): Promise<string> {
  let out = '';
  for await (const chunk of stream ?? []) out += chunk.toString();
  return out;
}

describe('a node on CRI-O', { skip }, () => {
  let node: RealNode;
  before(async () => {
    node = await RealNode.start(
      {
        configuration: {
          evictionHard: { 'memory.available': '1Mi' },
          containerLogMonitorInterval: '3s',
          containerLogMaxSize: '20Ki',
        },
      },
      { runtime: 'crio' },
    );
  });
  after(() => node?.stop());

  const id = async (pod: string): Promise<string> =>
    (await node.client.core.pods.get(pod, 'default')).status!.containerStatuses![0]!.containerID!.replace(
      /^.*:\/\//,
      '',
    );

  test('what it is, and how it is set up', async () => {
    const { runtime } = node.containerd;
    assert.equal((await runtime.version()).runtimeName, 'cri-o');
    assert.equal(await runtime.cgroupDriver(), 'CGROUPFS');
    assert.equal(await sandboxImageName(runtime), 'registry.k8s.io/pause:3.10');
    const info = (await node.client.core.nodes.get('n1')).status!.nodeInfo!;
    assert.match(info.containerRuntimeVersion!, /^cri-o:\/\/\d/);
  });

  test('a pod: address, log, exit code, environment, limits', async () => {
    const log = await node.script(
      'first',
      'echo hello $A; ip addr show eth0 | grep "inet "; exit 0',
      {},
      {
        env: [{ name: 'A', value: 'world' }],
      },
    );
    assert.match(log, /hello world\n.*inet 10\.88\./s);
    await node.delete('first');
    await node.create('bad', { containers: [shell('exit 7')] });
    const bad = await node.phase('bad', 'Failed');
    assert.equal(bad.status!.containerStatuses![0]!.state!.terminated!.exitCode, 7);
    await node.delete('bad');

    const limits = {
      resources: { limits: { memory: '32Mi', cpu: '500m' }, requests: { memory: '32Mi', cpu: '500m' } },
    };
    await node.create('limited', { containers: [shell(sleeper, limits)] });
    const { uid } = (await node.phase('limited', 'Running')).metadata;
    assert.equal((await node.host.cgroups!.limits(`/kubepods/pod${uid}`))?.memoryLimitInBytes, 32 * 1024 * 1024);
    assert.equal(
      (
        await node.exec('limited', 'cat', '/sys/fs/cgroup/memory/memory.limit_in_bytes', '/sys/fs/cgroup/memory.max')
      ).match(/^\d+$/m)?.[0],
      String(32 * 1024 * 1024),
    );
    await node.delete('limited');
  });

  test('a bad command, a missing image, an image that is never pulled', async () => {
    await node.create('nocommand', { containers: [{ ...shell(''), command: ['/no/such'] }] });
    // containerd finds out when it starts the container, CRI-O when it creates it.
    await node.until(async () => {
      const c = (await node.client.core.pods.get('nocommand', 'default')).status?.containerStatuses?.[0];
      return c?.state?.waiting?.reason === 'CreateContainerError' && /no such file/.test(c.state.waiting.message ?? '');
    }, 'the reason');
    await node.delete('nocommand');
    await node.create('noimage', {
      containers: [{ ...shell(''), image: 'local.test/none:1', imagePullPolicy: 'Never' }],
    });
    await node.until(async () => {
      const s = (await node.client.core.pods.get('noimage', 'default')).status?.containerStatuses?.[0];
      return s?.state?.waiting?.reason === 'ErrImageNeverPull';
    }, 'the reason');
    await node.delete('noimage');
  });

  test('probes restart a container that hangs; readiness follows', async () => {
    await node.create('probed', {
      restartPolicy: 'Always',
      containers: [
        shell('touch /tmp/ok; sleep 2; rm /tmp/ok; sleep 1000', {
          livenessProbe: { exec: { command: ['cat', '/tmp/ok'] }, periodSeconds: 1, failureThreshold: 1 },
          terminationMessagePolicy: 'FallbackToLogsOnError',
        }),
        shell('mkdir -p /w; echo up > /w/index.html; exec httpd -f -p 8080 -h /w', {
          name: 'web',
          readinessProbe: { httpGet: { port: 8080, path: '/index.html' }, periodSeconds: 1 },
        }),
      ],
      terminationGracePeriodSeconds: 1,
    });
    await node.until(async () => {
      const s = (await node.client.core.pods.get('probed', 'default')).status?.containerStatuses ?? [];
      return s.some((c) => c.name === 'main' && c.restartCount > 0) && s.some((c) => c.name === 'web' && c.ready);
    }, 'a restart and readiness');
    await node.delete('probed');
  });

  test('exec, attach and port-forward through its streams', async () => {
    await node.create('streams', {
      containers: [
        shell(
          '(mkdir -p /w; echo served > /w/index.html; exec httpd -f -p 8080 -h /w) & while read l; do echo "got $l"; done',
          {
            stdin: true,
          },
        ),
      ],
    });
    await node.phase('streams', 'Running');
    const { runtime } = node.containerd;
    const container = await id('streams');
    const r = await runtime.execSync(container, ['sh', '-c', 'echo out; echo err >&2; exit 3'], 10);
    assert.deepEqual([r.stdout.toString(), r.stderr.toString(), r.exitCode], ['out\n', 'err\n', 3]);

    const run = await runtime.exec(container, ['cat'], { stdin: true, stdout: true, stderr: true, tty: false });
    const output = readAll(run.stdout as never);
    run.stdin!.end('through and back');
    assert.equal(await output, 'through and back');

    const attached = await runtime.attach(container, { stdin: true, stdout: true, stderr: true, tty: false });
    const line = new Promise<string>((resolve) => attached.stdout!.once('data', (d: Buffer) => resolve(d.toString())));
    attached.stdin!.write('one line\n');
    assert.equal(await line, 'got one line\n');

    const sandbox = (await runtime.listPodSandbox({ labelSelector: { 'io.kubernetes.pod.name': 'streams' } }))[0]!;
    const port = await runtime.portForward(sandbox.id, 8080);
    port.write('GET /index.html HTTP/1.0\r\n\r\n');
    assert.match(await readAll(port), /served\n$/);
    await node.delete('streams');
  });

  test('a kubelet that starts again adopts what runs; so does one whose CRI-O was killed', async () => {
    await node.create('stays', { containers: [shell(sleeper)], restartPolicy: 'Always' });
    await node.phase('stays', 'Running');
    const before = await id('stays');
    await node.stopKubelet();
    await node.startKubelet();
    assert.equal(await id('stays'), before);
    await node.containerd.kill();
    await node.containerd.launch();
    await node.until(
      async () => (await node.exec('stays', 'echo', 'x').catch(() => '')) === 'x\n',
      'it to answer again',
    );
    const s = (await node.client.core.pods.get('stays', 'default')).status!.containerStatuses![0]!;
    assert.equal(s.restartCount, 0);
    assert.equal(await id('stays'), before);

    // Killed behind its back, it is started again.
    await node.exec('stays', 'sh', '-c', 'kill -9 -1').catch(() => '');
    await node.containerd.runtime.stopContainer(before, 0);
    await node.until(async () => {
      const now = (await node.client.core.pods.get('stays', 'default')).status!.containerStatuses![0]!;
      return now.restartCount === 1 && now.state?.running !== undefined;
    }, 'a restart');
    await node.delete('stays');
  });

  test('out of memory is told; usage and images are listed; what is unused goes', async () => {
    await node.create('greedy', {
      containers: [
        shell('head -c 200m /dev/zero | tail', {
          resources: { limits: { memory: '24Mi' }, requests: { memory: '24Mi' } },
        }),
      ],
    });
    const pod = await node.phase('greedy', 'Failed');
    assert.equal(pod.status!.containerStatuses![0]!.state!.terminated!.reason, 'OOMKilled');
    await node.delete('greedy');

    await node.create('busy', { containers: [shell('while :; do :; done')] });
    await node.phase('busy', 'Running');
    type Summary = {
      pods: { podRef: { name: string }; cpu?: { usageNanoCores?: number }; memory?: { workingSetBytes?: number } }[];
    };
    await node.until(async () => {
      const summary = JSON.parse(await get(node, '/stats/summary')) as Summary;
      const own = summary.pods.find((p) => p.podRef.name === 'busy');
      return (own?.cpu?.usageNanoCores ?? 0) > 50_000_000 && (own?.memory?.workingSetBytes ?? 0) > 0;
    }, 'usage of the busy pod');
    await node.delete('busy');

    await node.containerd.load(busyboxImage(), 'local.test/unused:1');
    const { runtime } = node.containerd;
    const names = (await runtime.listImages()).flatMap((i) => i.repoTags);
    assert.ok(names.includes(busybox) && names.includes('local.test/unused:1'), names.join(' '));
    await runtime.removeImage({ image: 'local.test/unused:1' });
    assert.equal(await runtime.imageStatus({ image: 'local.test/unused:1' }), undefined);
    assert.ok((await runtime.imageFsInfo()).imageFilesystems.length > 0);
  });

  test('a long log is rotated, and lines of more than 16 KiB are whole', async () => {
    await node.create('talks', {
      containers: [shell('head -c 40000 /dev/zero | tr "\\\\0" x; echo; sleep 1; ' + sleeper)],
    });
    await node.phase('talks', 'Running');
    await node.until(async () => /^x{40000}\n/.test(await node.log('talks')), 'the whole line');
    await node.until(async () => {
      const { logPath } = await node.containerd.runtime.containerStatus(await id('talks'));
      return (await node.host.logSize(logPath)) < 20 * 1024;
    }, 'the log to be rotated');
    await node.delete('talks');
  });
});
