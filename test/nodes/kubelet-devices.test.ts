/** Device plugins on a real node: registration, what containers get, health, restarts; and who has what, as monitors ask. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { mkdirSync, writeFileSync } from 'node:fs';
import { DevicePlugin, DraDriver, podResources } from './support/device-plugin.ts';
import { kubeletPage } from './support/kubelet-page.ts';
import { ownNamespaces } from './support/namespaces.ts';
import { RealNode, shell, sleeper } from './support/real-node.ts';

const skip = ownNamespaces();
const resource = 'vendor.example/thing';

interface Listed {
  readonly podResources: readonly {
    readonly name: string;
    readonly containers: readonly { readonly devices?: readonly { resourceName: string; deviceIds: string[] }[] }[];
  }[];
}

describe('device plugins', { skip }, () => {
  let node: RealNode;
  let plugin: DevicePlugin;
  const healthy = (...ids: string[]) => ids.map((ID) => ({ ID, health: 'Healthy' }));
  before(async () => {
    node = await RealNode.start({ configuration: { evictionHard: { 'memory.available': '1Mi' } } });
    plugin = new DevicePlugin(node.rootDir, resource, healthy('a', 'b'));
    await plugin.start();
  });
  after(async () => {
    plugin?.stop();
    await node?.stop();
  });

  const amounts = async (): Promise<[string | undefined, string | undefined]> => {
    const { capacity, allocatable } = (await node.client.core.nodes.get('n1')).status!;
    return [capacity?.[resource], allocatable?.[resource]] as [string | undefined, string | undefined];
  };
  const says = (capacity: string, allocatable: string) =>
    node.until(async () => {
      const [c, a] = await amounts();
      return c === capacity && a === allocatable;
    }, `the node to have ${capacity}, ${allocatable} of them healthy`);
  const wants = (n: number, script = sleeper) => ({
    containers: [
      shell(script, { resources: { limits: { [resource]: String(n) }, requests: { [resource]: String(n) } } }),
    ],
  });

  test('what is registered is the node’s; a wrong version is not', async () => {
    await says('2', '2');
    await assert.rejects(plugin.register('v2'), /requested API version "v2" is not supported by kubelet/);
  });

  test('a container gets its device with what the plugin says, alone', async () => {
    await node.create(
      'one',
      wants(1, `echo $DEVICES; ls /plugin | grep -c sock; head -c 4 /dev/mine | wc -c; ${sleeper}`),
    );
    await node.phase('one', 'Running');
    await node.until(async () => (await node.log('one')).split('\n').length > 3, 'the log');
    const [id, sockets, bytes] = (await node.log('one')).split('\n');
    assert.match(id!, /^[ab]$/);
    assert.deepEqual([sockets, bytes], ['2', '4']);
    assert.deepEqual(plugin.started, [[id]]);
    await node.create('two', wants(1));
    await node.phase('two', 'Running');

    const listed = await podResources<Listed>(node.rootDir, 'List');
    const held = listed.podResources.flatMap((p) => p.containers.flatMap((c) => c.devices ?? []));
    assert.deepEqual(held.flatMap((d) => d.deviceIds).sort(), ['a', 'b']);
    const got = await podResources<{ podResources: Listed['podResources'][number] }>(node.rootDir, 'Get', {
      podName: 'one',
      podNamespace: 'default',
    });
    assert.deepEqual(got.podResources.containers[0]!.devices![0]!.deviceIds, [id]);
    const all = await podResources<{ devices: unknown[] }>(node.rootDir, 'GetAllocatableResources');
    assert.equal(all.devices.length, 2);
    await assert.rejects(
      podResources(node.rootDir, 'Get', { podName: 'none', podNamespace: 'default' }),
      /NOT_FOUND: pod none in namespace default not found/,
    );
  });

  test('what nobody has left is refused with the reason; a device that fails is not given again', async () => {
    await node.create('late', wants(1));
    const late = await node.phase('late', 'Failed');
    assert.equal(late.status?.reason, 'UnexpectedAdmissionError');
    assert.equal(
      late.status?.message,
      `Pod was rejected: Allocate failed due to requested number of devices unavailable for ${resource}. Requested: 1, Available: 0, which is unexpected`,
    );
    await node.delete('late');
    plugin.set([...healthy('a'), { ID: 'b', health: 'Unhealthy' }]);
    await says('2', '1');
    plugin.set(healthy('a', 'b'));
    await says('2', '2');
  });

  test('a kubelet that starts again knows who has what, before plugins are back', async () => {
    const before = await podResources<Listed>(node.rootDir, 'List');
    await node.stopKubelet();
    await node.startKubelet();
    await says('0', '0');
    assert.deepEqual(await podResources<Listed>(node.rootDir, 'List'), before);
    for (const name of ['one', 'two'])
      assert.equal((await node.client.core.pods.get(name, 'default')).status?.phase, 'Running');
    plugin.stop();
    plugin = new DevicePlugin(node.rootDir, resource, healthy('a', 'b'));
    await plugin.start();
    await says('2', '2');
    await node.delete('one');
    await node.create('three', wants(1));
    await node.phase('three', 'Running');
    await node.delete('two');
    await node.delete('three');
    plugin.stop();
    await says('0', '0');
  });
});

describe('dynamic resources', { skip }, () => {
  let node: RealNode;
  let driver: DraDriver;
  before(async () => {
    node = await RealNode.start({ configuration: { evictionHard: { 'memory.available': '1Mi' } } });
    driver = new DraDriver(node.rootDir, 'dra.example');
    // What the runtime is to make of the devices' names, where it knows the interface.
    mkdirSync('/run/cdi', { recursive: true });
    writeFileSync(
      '/run/cdi/vendor.json',
      JSON.stringify({
        cdiVersion: '0.5.0',
        kind: 'vendor.example/thing',
        devices: ['c1', 'c2'].map((name) => ({ name, containerEdits: { env: [`THING=${name}`] } })),
      }),
    );
    await driver.start();
    await node.until(async () => driver.registered, 'the driver to be registered');
  });
  after(async () => {
    driver?.stop();
    await node?.stop();
  });

  /** A claim as a scheduler would leave it: with its device, and reserved for pods. */
  const claim = async (name: string, ...pods: { name: string; uid: string }[]): Promise<void> => {
    const claims = node.client.dra.resourceclaims;
    const made = await claims
      .create({
        apiVersion: 'resource.k8s.io/v1',
        kind: 'ResourceClaim',
        metadata: { name, namespace: 'default' },
        spec: { devices: { requests: [{ name: 'r', exactly: { deviceClassName: 'thing.example' } }] } },
      } as never)
      .catch(() => claims.get(name, 'default'));
    await claims.updateStatus({
      ...made,
      status: {
        allocation: { devices: { results: [{ request: 'r', driver: 'dra.example', pool: 'p', device: 'd' }] } },
        reservedFor: pods.map((p) => ({ resource: 'pods', ...p })),
      },
    } as never);
  };
  const using = (claimName: string, script = `echo "got $THING"; ${sleeper}`) => ({
    resourceClaims: [{ name: 'thing', resourceClaimName: claimName }],
    containers: [shell(script, { resources: { claims: [{ name: 'thing' }] } })],
  });

  test('a claim is made ready before its pod starts, once for all its pods, and given back after the last', async () => {
    const one = await node.create('one', using('c1'));
    await node.until(
      async () =>
        (await node.events('one')).some((e) => /FailedPrepareDynamicResources: .*fetch ResourceClaim c1/.test(e)),
      'the event',
    );
    driver.failure = 'out of order';
    await claim('c1', { name: 'one', uid: one.metadata.uid! });
    await node.until(
      async () => (await node.events('one')).some((e) => /failed for ResourceClaim c1: out of order/.test(e)),
      'the driver’s error',
    );
    driver.failure = '';
    await node.phase('one', 'Running');
    assert.deepEqual(driver.prepared, ['c1']);
    const two = await node.create('two', using('c1'));
    await node.until(
      async () => (await node.events('two')).some((e) => /is not allowed to use ResourceClaim c1/.test(e)),
      'the refusal',
    );
    await claim('c1', { name: 'one', uid: one.metadata.uid! }, { name: 'two', uid: two.metadata.uid! });
    await node.phase('two', 'Running');
    assert.deepEqual(driver.prepared, ['c1']);
    const counted = await kubeletPage(node, '/metrics');
    assert.match(
      counted,
      /^dra_operations_duration_seconds_count\{is_error="false",operation_name="PrepareResources"\} 2$/m,
    );
    assert.match(counted, /^dra_resource_claims_in_use\{driver_name="<any>"\} 1$/m);
    if (node.containerd.crio)
      await node.until(async () => (await node.log('two')) === 'got c1\n', 'what the device brings');

    await node.delete('one');
    // Another process of the kubelet knows who still uses it.
    await node.stopKubelet();
    driver.registered = undefined;
    await node.startKubelet();
    await node.until(async () => driver.registered, 'the driver to be registered again');
    assert.deepEqual(driver.unprepared, []);
    await node.delete('two');
    await node.until(async () => driver.unprepared.length > 0, 'the claim to be given back');
    assert.deepEqual(driver.unprepared, ['c1']);
  });
});
