/** knarr killed, containers and sandboxes killed behind its back, containerd killed: what runs stays, what is lost comes back. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { Pod } from '../../src/api/types/index.gen.ts';
import { container, firstAddress, Machines, pod, serve, sh, skipMachines, sleeper } from './support/machines.ts';
import { until } from './support/until.ts';

const skip = skipMachines();
let m: Machines;

/** Name → container ids, restart counts and address: what an adoption must leave as it is. */
async function lives(selector: string): Promise<Map<string, string>> {
  const { items } = await m.kubectl.json<{ items: Pod[] }>(`get pods -l ${selector}`);
  return new Map(
    items.map((p) => [
      p.metadata.name!,
      JSON.stringify([
        p.metadata.uid,
        p.status?.podIP,
        p.status?.startTime,
        [...(p.status?.initContainerStatuses ?? []), ...(p.status?.containerStatuses ?? [])].map((c) => [
          c.containerID,
          c.restartCount,
          c.state?.running?.startedAt,
        ]),
      ]),
    ]),
  );
}

const idOf = async (name: string): Promise<string> =>
  (await m.kubectl.ok(`get pod ${name} -o jsonpath={.status.containerStatuses[0].containerID}`)).replace(
    /^.*:\/\//,
    '',
  );

const sandboxOf = async (name: string): Promise<string> =>
  (await m.first.runtime.listPodSandbox()).find((s) => s.metadata.name === name)!.id;

before(async () => {
  if (skip !== false) return;
  m = await Machines.start();
});

after(async () => {
  if (skip === false) await m.stop();
});

describe('crashes', { skip, timeout: 240_000 }, () => {
  test('kill -9 of knarr: containers run on, and the next kubelet adopts them without restarting one', async () => {
    await m.kubectl.ok('create configmap text --from-literal=a=mounted');
    await m.kubectl.apply({
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: 'web' },
      spec: {
        replicas: 3,
        selector: { matchLabels: { app: 'web' } },
        template: {
          metadata: { labels: { app: 'web', keep: 'yes' } },
          spec: {
            terminationGracePeriodSeconds: 1,
            volumes: [
              { name: 'e', emptyDir: {} },
              { name: 'm', configMap: { name: 'text' } },
            ],
            initContainers: [
              container('true', { name: 'init' }),
              container(sleeper, { name: 'side', restartPolicy: 'Always' }),
            ],
            containers: [
              container(serve('hostname'), {
                volumeMounts: [
                  { name: 'e', mountPath: '/e' },
                  { name: 'm', mountPath: '/m' },
                ],
                readinessProbe: { httpGet: { path: '/', port: 8080 }, periodSeconds: 1 },
                livenessProbe: { httpGet: { path: '/', port: 8080 }, periodSeconds: 1 },
              }),
              container(sleeper, { name: 'second' }),
            ],
          },
        },
      },
    });
    await m.kubectl.ok('create service nodeport web --tcp=80:8080 --node-port=30082');
    await m.kubectl.ok('rollout status deployment/web --timeout=60s');
    // One that has ended stays ended; one that was never let finish its start is finished.
    await m.kubectl.apply(pod('done', 'echo was here', { restartPolicy: 'Never' }, { keep: 'yes' }));
    assert.equal(await m.ended('done'), 'was here\n');
    const earlier = await lives('keep=yes');
    assert.equal(earlier.size, 4);
    await m.kubectl.apply(pod('cut-short', sleeper));
    await m.kill();
    assert.equal((await fetch(`http://${firstAddress}:30082/`)).status, 200);
    await m.up();
    await m.ready('cut-short');
    await m.kubectl.ok('rollout status deployment/web --timeout=60s');
    assert.deepEqual(await lives('keep=yes'), earlier);
    assert.equal((await fetch(`http://${firstAddress}:30082/`)).status, 200);
    assert.equal(await m.kubectl.ok('logs done'), 'was here\n');
    // And it is theirs: probes, logs, exec and volumes go on.
    const [name] = [...earlier.keys()].filter((n) => n !== 'done');
    assert.equal(await m.kubectl.ok(`exec ${name} -c c -- cat /m/a`), 'mounted');
    await m.kubectl.ok(`exec ${name} -c c -- rm /w/index.html`);
    await until('the probe to find it', async () => {
      const p = await m.kubectl.json<Pod>(`get pod ${name}`);
      return p.status?.containerStatuses?.find((c) => c.name === 'c')?.restartCount === 1;
    });
  });

  test('containers, a sandbox and a whole pod killed behind its back while it is away: all converges', async () => {
    for (const name of ['a', 'b', 'c', 'd']) await m.kubectl.apply(pod(name, sleeper, {}, { set: 'behind' }));
    await m.kubectl.apply(pod('once', sleeper, { restartPolicy: 'Never' }));
    for (const name of ['a', 'b', 'c', 'd', 'once']) await m.ready(name);
    const [a, b, d, once] = [await idOf('a'), await idOf('b'), await idOf('d'), await idOf('once')];
    const c = await idOf('c');
    const sandbox = await sandboxOf('c');
    await m.kill();
    const { runtime } = m.first;
    await runtime.stopContainer(a, 0);
    await runtime.stopContainer(b, 0);
    await runtime.removeContainer(b);
    await runtime.stopPodSandbox(sandbox);
    await runtime.removePodSandbox(sandbox);
    await runtime.stopContainer(once, 0);
    await m.up();
    await until('the lost containers', async () => {
      const ids = await Promise.all(['a', 'b', 'c'].map(idOf));
      return ids[0] !== a && ids[1] !== b && ids[2] !== c;
    });
    for (const name of ['a', 'b', 'c', 'd']) await m.ready(name);
    assert.equal(await idOf('d'), d);
    assert.equal(await m.kubectl.ok('get pod a -o jsonpath={.status.containerStatuses[0].restartCount}'), '1');
    await m.kubectl.ok('wait --for=jsonpath={.status.phase}=Failed pod/once --timeout=30s');
    assert.equal(
      await m.kubectl.ok('get pod once -o jsonpath={.status.containerStatuses[0].state.terminated.exitCode}'),
      '137',
    );
  });

  test('a sandbox killed under a running kubelet is made anew', async () => {
    const before = await m.kubectl.ok('get pod d -o jsonpath={.status.podIP}');
    const id = await idOf('d');
    await m.first.runtime.stopPodSandbox(await sandboxOf('d'));
    await until('its new container', async () => (await idOf('d')) !== id);
    await m.ready('d');
    assert.notEqual(await m.kubectl.ok('get pod d -o jsonpath={.status.podIP}'), '');
    assert.match(await m.kubectl.ok('get events --field-selector involvedObject.name=d'), /SandboxChanged/);
    assert.ok(before !== '');
  });

  test('pods deleted while the kubelet was away leave nothing behind', async () => {
    const uid = await m.kubectl.ok('get pod a -o jsonpath={.metadata.uid}');
    const pods = join(m.first.dir, 'kubelet/pods');
    assert.ok(existsSync(join(pods, uid)));
    // Deleted without the node being asked, a moment before the end.
    await m.kubectl.ok('delete pod a --force --grace-period=0');
    await m.kill();
    await m.up();
    await until('its containers to go', async () =>
      (await m.first.runtime.listPodSandbox()).every((s) => s.metadata.uid !== uid),
    );
    await until('its directory to go', () => Promise.resolve(!existsSync(join(pods, uid))));
    await until('its logs to go', () =>
      Promise.resolve(readdirSync('/var/log/pods').every((name) => !name.endsWith(uid))),
    );
  });

  test('containerd killed and started again: containers run on, pods are served again', async () => {
    const earlier = await lives('app=web');
    await m.first.kill();
    await until(
      'the node to notice',
      async () =>
        (await m.kubectl.ok('get node one -o jsonpath={.status.conditions[?(@.type=="Ready")].status}')) === 'False',
    );
    assert.equal((await fetch(`http://${firstAddress}:30082/`)).status, 200);
    await m.first.launch();
    await m.kubectl.ok('wait --for=condition=Ready node/one --timeout=60s');
    await m.kubectl.apply(pod('afterwards', sleeper));
    await m.ready('afterwards');
    assert.deepEqual(await lives('app=web'), earlier);
    assert.equal(await m.kubectl.ok('exec afterwards -- echo served'), 'served\n');
  });

  test('a power failure: after it all pods run again, with their data, and no address is lost', async () => {
    await m.kubectl.apply({
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: { name: 'kept' },
      spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } },
    });
    const mounts = [{ name: 'v', mountPath: '/v' }];
    await m.kubectl.apply(
      pod('keeper', '', {
        volumes: [{ name: 'v', persistentVolumeClaim: { claimName: 'kept' } }],
        containers: [container('echo started >> /v/file; sleep 1000', { volumeMounts: mounts })],
      }),
    );
    await m.ready('keeper');
    const uids = [...(await lives('app=web')).keys()].sort();
    await m.kill();
    await m.first.powerFailure();
    sh('nft flush ruleset; ip link del cni0; ip route flush proto 118; true');
    await m.first.launch();
    await m.up();
    await m.kubectl.ok('rollout status deployment/web --timeout=60s');
    await until('the pods to be started again', async () => {
      const { items } = await m.kubectl.json<{ items: Pod[] }>('get pods');
      const living = items.filter((p) => p.spec?.restartPolicy === 'Always');
      return living.every(
        (p) =>
          p.status?.conditions?.some((c) => c.type === 'Ready' && c.status === 'True') &&
          p.status.containerStatuses?.every((c) => c.restartCount > 0),
      );
    });
    assert.deepEqual([...(await lives('app=web')).keys()].sort(), uids);
    assert.equal(await m.kubectl.ok('exec keeper -- cat /v/file'), 'started\nstarted\n');
    assert.equal((await fetch(`http://${firstAddress}:30082/`)).status, 200);
    await m.kubectl.apply(pod('asks', 'timeout 5 wget -q -O - http://web', { restartPolicy: 'Never' }));
    assert.match(await m.ended('asks'), /^web-/);
    // Addresses of pods that are no more are free again.
    const addresses = join(m.first.dir, 'kubelet/cni-addresses');
    const taken = (): string[] =>
      readdirSync(addresses, { recursive: true, encoding: 'utf8' }).filter((f) => /\/10\.[\d.]+$/.test(f));
    await until('addresses to be given back', async () => {
      const ready = (await m.first.runtime.listPodSandbox()).filter((x) => x.state === 'SANDBOX_READY');
      return taken().length === ready.length;
    });
  });
});
