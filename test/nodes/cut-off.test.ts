/**
 * Two machines of one cluster: a control plane that keeps pods away, a DaemonSet on both, pods that talk across, and a machine whose
 * cable is pulled: its pods go elsewhere, and when it returns, what it ran is ended.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Node, Pod, PodSpec } from '../../src/api/types/index.gen.ts';
import { container, Machines, pod, serve, skipMachines } from './support/machines.ts';
import { until } from './support/until.ts';

const skip = skipMachines();
let m: Machines;

before(async () => {
  // Nodes renew their leases every 10 s.
  if (skip === false)
    m = await Machines.start({ second: true, args: ['--control-plane-taint', '--node-monitor-grace-period', '14s'] });
});

after(async () => {
  if (skip === false) await m.stop();
});

const node = { name: 'NODE', valueFrom: { fieldRef: { fieldPath: 'spec.nodeName' } } };

/** A web server that answers with its node's name, soon evicted from a node that is lost. */
function webSpec(more: Partial<PodSpec> = {}): PodSpec {
  const soon = (key: string) => ({ key, operator: 'Exists', effect: 'NoExecute', tolerationSeconds: 1 });
  return {
    terminationGracePeriodSeconds: 1,
    tolerations: [soon('node.kubernetes.io/unreachable'), soon('node.kubernetes.io/not-ready')],
    containers: [
      container(serve('echo $NODE'), {
        env: [node],
        readinessProbe: { httpGet: { path: '/', port: 8080 }, periodSeconds: 1 },
      }),
    ],
    ...more,
  };
}

function workload(kind: 'Deployment' | 'DaemonSet', name: string, spec: PodSpec, more: object = {}): object {
  return {
    apiVersion: 'apps/v1',
    kind,
    metadata: { name },
    spec: {
      selector: { matchLabels: { app: name } },
      template: { metadata: { labels: { app: name } }, spec },
      ...more,
    },
  };
}

async function podsOf(app: string): Promise<Pod[]> {
  return (await m.kubectl.json<{ items: Pod[] }>(`get pods -l app=${app}`)).items;
}

/** Every answer that a pod on that node gets in 16 requests. */
async function answers(name: string, nodeName: string, url: string): Promise<string[]> {
  const script = `for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do timeout 5 wget -q -O - ${url} || exit 1; done | sort -u`;
  const everywhere = [{ operator: 'Exists' }];
  await m.kubectl.apply(pod(name, script, { restartPolicy: 'Never', nodeName, tolerations: everywhere }));
  return (await m.ended(name)).trim().split('\n');
}

async function readyOf(nodeName: string): Promise<string | undefined> {
  const n = await m.kubectl.json<Node>(`get node ${nodeName}`);
  return n.status?.conditions?.find((c) => c.type === 'Ready')?.status;
}

describe('two machines', { skip, timeout: 240_000 }, () => {
  test('a tainted control plane runs no pod of a user, the other machine does', async () => {
    const taints = await m.kubectl.ok('get node one -o jsonpath={.spec.taints}');
    assert.match(taints, /node-role\.kubernetes\.io\/control-plane/);
    assert.match(await m.kubectl.ok('get node one'), /Ready +control-plane/);
    await m.kubectl.apply(workload('Deployment', 'users', webSpec(), { replicas: 4 }));
    await m.kubectl.ok('rollout status deployment/users --timeout=60s');
    assert.deepEqual([...new Set((await podsOf('users')).map((p) => p.spec?.nodeName))], ['two']);
    await m.kubectl.ok(['delete', 'deployment', 'users', '--wait=false']);
    const selected = webSpec({ nodeSelector: { 'kubernetes.io/hostname': 'one' } });
    await m.kubectl.apply({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'refused' }, spec: selected });
    const told = await until('the scheduler', async () => {
      const text = await m.kubectl.ok(
        'get events --field-selector involvedObject.name=refused,reason=FailedScheduling',
      );
      return text.includes('FailedScheduling') && text;
    });
    assert.match(told, /0\/2 nodes are available: 1 node\(s\) didn't match .*1 node\(s\) had untolerated taint/);
    await m.kubectl.ok('delete pod refused');
    await m.kubectl.ok('taint node one node-role.kubernetes.io/control-plane-');
  });

  test('a DaemonSet runs on both; pods of each reach both by the Service, by name, and each pod directly', async () => {
    await m.kubectl.apply(workload('DaemonSet', 'agent', webSpec()));
    await m.kubectl.ok('create service clusterip agent --tcp=80:8080');
    await m.kubectl.ok('rollout status daemonset/agent --timeout=60s');
    const pods = await podsOf('agent');
    assert.deepEqual(pods.map((p) => p.spec?.nodeName).sort(), ['one', 'two']);
    for (const from of ['one', 'two']) {
      assert.deepEqual(await answers(`ask-service-${from}`, from, 'http://agent.default.svc'), ['one', 'two']);
      for (const p of pods)
        assert.deepEqual(await answers(`ask-${p.spec?.nodeName}-${from}`, from, `http://${p.status?.podIP}:8080`), [
          p.spec?.nodeName,
        ]);
    }
    // The API server reaches the other machine's kubelet.
    const far = pods.find((p) => p.spec?.nodeName === 'two')!.metadata.name!;
    assert.equal(await m.kubectl.ok(['exec', far, '--', 'sh', '-c', 'echo $NODE']), 'two\n');
    assert.match(await m.kubectl.ok(`logs ask-service-two`), /one\ntwo/);
  });

  test('a machine whose cable is pulled: NotReady, its pods are evicted and run elsewhere; it returns and is cleaned', async () => {
    const away = webSpec({
      affinity: {
        nodeAffinity: {
          preferredDuringSchedulingIgnoredDuringExecution: [
            {
              weight: 100,
              preference: { matchExpressions: [{ key: 'kubernetes.io/hostname', operator: 'In', values: ['two'] }] },
            },
          ],
        },
      },
    });
    await m.kubectl.apply(workload('Deployment', 'web', away, { replicas: 2 }));
    await m.kubectl.ok('create service clusterip web --tcp=80:8080');
    await m.kubectl.ok('rollout status deployment/web --timeout=60s');
    const lost = await podsOf('web');
    assert.deepEqual(
      lost.map((p) => p.spec?.nodeName),
      ['two', 'two'],
    );
    const uids = new Set(lost.map((p) => p.metadata.uid!));
    const agents = new Set((await podsOf('agent')).map((p) => p.status?.containerStatuses?.[0]?.containerID));

    m.wire('down');
    await until('the node to be lost', async () => (await readyOf('two')) === 'Unknown');
    assert.match(await m.kubectl.ok('get node two'), /NotReady/);
    const taints = await until('its taints', async () => {
      const text = await m.kubectl.ok('get node two -o jsonpath={.spec.taints}');
      return text.includes('NoExecute') && text;
    });
    assert.match(taints, /node\.kubernetes\.io\/unreachable/);
    const moved = await until('its pods elsewhere', async () => {
      const pods = (await podsOf('web')).filter((p) => p.metadata.deletionTimestamp === undefined);
      const ready = (p: Pod): boolean =>
        p.spec?.nodeName === 'one' && p.status?.conditions?.find((c) => c.type === 'Ready')?.status === 'True';
      return pods.length === 2 && pods.every(ready) && pods;
    });
    assert.ok(moved.every((p) => !uids.has(p.metadata.uid!)));
    // Those that were lost cannot be told to have ended: their machine does not say so.
    const waiting = (await podsOf('web')).filter((p) => uids.has(p.metadata.uid!));
    assert.equal(waiting.length, 2);
    assert.ok(waiting.every((p) => p.metadata.deletionTimestamp !== undefined));
    // Nobody is sent to them any more.
    assert.deepEqual(await answers('ask-cut-off', 'one', 'http://web'), ['one']);
    assert.equal((await podsOf('agent')).length, 2);
    // On the machine itself nothing has changed: it runs on for itself.
    const sandboxes = async (): Promise<string[]> =>
      (await m.second!.runtime.listPodSandbox()).filter((s) => s.state === 'SANDBOX_READY').map((s) => s.metadata.uid);
    assert.equal((await sandboxes()).filter((uid) => uids.has(uid)).length, 2);

    m.wire('up');
    await m.kubectl.ok('wait --for=condition=Ready node/two --timeout=60s');
    await until('the old pods to go', async () => (await podsOf('web')).every((p) => !uids.has(p.metadata.uid!)));
    await until('their containers to go', async () => (await sandboxes()).every((uid) => !uids.has(uid)));
    await until('the taints to go', async () => (await m.kubectl.ok('get node two -o jsonpath={.spec.taints}')) === '');
    // What belongs there was not touched.
    await m.kubectl.ok('rollout status daemonset/agent --timeout=60s');
    assert.deepEqual(
      new Set((await podsOf('agent')).map((p) => p.status?.containerStatuses?.[0]?.containerID)),
      agents,
    );
    assert.deepEqual(await answers('ask-returned', 'two', 'http://agent'), ['one', 'two']);
  });

  test('drain: pods leave a machine in order; uncordon: they may come again', async () => {
    await m.kubectl.ok('drain two --ignore-daemonsets --delete-emptydir-data --force --timeout=60s');
    assert.match(await m.kubectl.ok('get node two'), /Ready,SchedulingDisabled/);
    const left = (await m.kubectl.json<{ items: Pod[] }>('get pods --field-selector spec.nodeName=two')).items;
    assert.deepEqual([...new Set(left.map((p) => p.metadata.labels?.['app']))], ['agent']);
    await m.kubectl.ok('uncordon two');
    await m.kubectl.ok('scale deployment web --replicas=4');
    await m.kubectl.ok('rollout status deployment/web --timeout=60s');
    assert.ok((await podsOf('web')).some((p) => p.spec?.nodeName === 'two'));
  });

  test('kill -9 of the joined machine’s process: its containers run on and are adopted', async () => {
    const ids = async (): Promise<string[]> =>
      (await m.kubectl.json<{ items: Pod[] }>('get pods --field-selector spec.nodeName=two')).items
        .flatMap((p) => p.status?.containerStatuses ?? [])
        .map((c) => `${c.containerID} ${c.restartCount}`)
        .sort();
    const earlier = await ids();
    await m.leaveProcess('SIGKILL');
    const renewed = async (): Promise<string> =>
      m.kubectl.ok('get lease two -n kube-node-lease -o jsonpath={.spec.renewTime}');
    const last = await renewed();
    assert.deepEqual(await answers('ask-killed', 'one', 'http://agent'), ['one', 'two']);
    await m.join();
    await until('a heartbeat', async () => (await renewed()) !== last);
    await m.kubectl.apply(pod('fresh', 'echo fresh', { restartPolicy: 'Never', nodeName: 'two' }));
    assert.equal(await m.ended('fresh'), 'fresh\n');
    assert.deepEqual(
      (await ids()).filter((id) => earlier.includes(id)),
      earlier,
    );
  });
});
