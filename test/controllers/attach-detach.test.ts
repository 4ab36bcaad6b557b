/** Attaching and detaching of CSI volumes in virtual time against the real API server; the test is the external attacher. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { attachmentName, uniqueVolumeName } from '../../src/api/helpers/csi-volumes.ts';
import type { PersistentVolumeSpec, VolumeAttachment } from '../../src/api/types/index.gen.ts';
import { createLogger } from '../../src/base/logger.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { identities } from '../../src/cluster/components.ts';
import { createControllerManager } from '../../src/controllers/manager.ts';
import { eventsOf, ns } from './pods.ts';
import type { PodWorld } from './pods.ts';
import { quiet, world } from './world.ts';

const driver = 'csi.example.com';
const finalizer = 'external-attacher/csi-example-com';

const managed = { 'volumes.kubernetes.io/controller-managed-attach-detach': 'true' };

async function node(w: PodWorld, name: string, ready = 'True'): Promise<void> {
  await w.admin.core.nodes.create({ metadata: { name, annotations: managed } });
  await w.admin.core.nodes.patch(
    name,
    undefined,
    'merge',
    {
      status: {
        conditions: [{ type: 'Ready', status: ready, lastHeartbeatTime: null, lastTransitionTime: null }],
      },
    },
    { subresource: 'status' },
  );
}

/** A CSI volume that is bound to a claim of the same name. */
async function volume(w: PodWorld, name: string, spec: Partial<PersistentVolumeSpec> = {}): Promise<void> {
  const accessModes = spec.accessModes ?? ['ReadWriteOnce'];
  await w.admin.core.persistentvolumeclaims.create({
    metadata: { name, namespace: ns },
    spec: { accessModes, resources: { requests: { storage: '1Gi' } }, storageClassName: '', volumeName: name },
  });
  await w.admin.core.persistentvolumes.create({
    metadata: { name },
    spec: {
      capacity: { storage: '1Gi' },
      accessModes,
      claimRef: { namespace: ns, name },
      csi: { driver, volumeHandle: `h-${name}` },
      ...spec,
    },
  });
  await w.clock.advance(0);
}

async function pod(w: PodWorld, name: string, claim: string, nodeName: string): Promise<void> {
  await w.admin.core.pods.create({
    metadata: { name, namespace: ns },
    spec: {
      nodeName,
      terminationGracePeriodSeconds: 0,
      containers: [{ name: 'c', image: 'x', volumeMounts: [{ name: 'v', mountPath: '/v' }] }],
      volumes: [{ name: 'v', persistentVolumeClaim: { claimName: claim } }],
    },
  });
  await w.clock.advance(0);
}

const id = (claim: string, nodeName: string): string => attachmentName(`h-${claim}`, driver, nodeName);
const unique = (claim: string): string => uniqueVolumeName(driver, `h-${claim}`);

async function attachment(w: PodWorld, claim: string, nodeName: string): Promise<VolumeAttachment | undefined> {
  const all = await w.admin.storage.volumeattachments.list();
  return all.items.find((a) => a.metadata.name === id(claim, nodeName));
}

/** What an external attacher writes. */
async function attacherSays(
  w: PodWorld,
  claim: string,
  nodeName: string,
  status: Record<string, unknown>,
): Promise<void> {
  const name = id(claim, nodeName);
  await w.admin.storage.volumeattachments.patch(name, undefined, 'merge', { metadata: { finalizers: [finalizer] } });
  await w.admin.storage.volumeattachments.patch(name, undefined, 'merge', { status }, { subresource: 'status' });
  await w.clock.advance(0);
}

async function attacherLetsGo(w: PodWorld, claim: string, nodeName: string): Promise<void> {
  await w.admin.storage.volumeattachments.patch(id(claim, nodeName), undefined, 'merge', {
    metadata: { finalizers: null },
  });
  await w.clock.advance(0);
}

async function inUse(w: PodWorld, nodeName: string, claims: readonly string[]): Promise<void> {
  const volumesInUse = claims.length === 0 ? null : claims.map(unique);
  await w.admin.core.nodes.patch(nodeName, undefined, 'merge', { status: { volumesInUse } }, { subresource: 'status' });
  await w.clock.advance(0);
}

const attachedTo = async (w: PodWorld, nodeName: string): Promise<string[]> =>
  ((await w.admin.core.nodes.get(nodeName)).status?.volumesAttached ?? []).map((v) => v.name);

test('a volume is attached for a pod, told in the node’s status, and detached when the node lets go of it', async () => {
  await using w = await world();
  await node(w, 'n1');
  await volume(w, 'data');
  await pod(w, 'p', 'data', 'n1');
  const a = await attachment(w, 'data', 'n1');
  assert.deepEqual(a?.spec, { attacher: driver, nodeName: 'n1', source: { persistentVolumeName: 'data' } });
  assert.deepEqual(await attachedTo(w, 'n1'), []);
  await attacherSays(w, 'data', 'n1', { attached: true });
  assert.deepEqual(await attachedTo(w, 'n1'), [unique('data')]);
  assert.deepEqual(await eventsOf(w, 'Pod', 'p'), [
    'Normal SuccessfulAttachVolume AttachVolume.Attach succeeded for volume "data" ',
  ]);
  await inUse(w, 'n1', ['data']);
  await w.admin.core.pods.delete('p', ns);
  await w.clock.advance(60_000);
  assert.equal((await attachment(w, 'data', 'n1'))?.metadata.deletionTimestamp, undefined, 'still mounted');
  assert.deepEqual(await attachedTo(w, 'n1'), [unique('data')]);
  await inUse(w, 'n1', []);
  assert.notEqual((await attachment(w, 'data', 'n1'))?.metadata.deletionTimestamp, undefined);
  assert.deepEqual(await attachedTo(w, 'n1'), [], 'nobody may mount it from now on');
  await attacherLetsGo(w, 'data', 'n1');
  assert.equal(await attachment(w, 'data', 'n1'), undefined);
  quiet(w);
});

test('errors of the attacher are told and tried again; a late success counts at once', async () => {
  await using w = await world();
  await node(w, 'n1');
  await volume(w, 'data');
  await pod(w, 'p', 'data', 'n1');
  await attacherSays(w, 'data', 'n1', {
    attached: false,
    attachError: { message: 'rpc error: code = Internal desc = no room', time: '2030-01-01T00:00:00Z' },
  });
  assert.deepEqual(await eventsOf(w, 'Pod', 'p'), [
    'Warning FailedAttachVolume AttachVolume.Attach failed for volume "data" : rpc error: code = Internal desc = no room',
  ]);
  await w.clock.advance(130_000);
  assert.ok(
    (await eventsOf(w, 'Pod', 'p')).includes(
      `Warning FailedAttachVolume AttachVolume.Attach failed for volume "data" : timed out waiting for external-attacher of ${driver} CSI driver to attach volume h-data`,
    ),
  );
  await attacherSays(w, 'data', 'n1', { attached: true, attachError: null });
  assert.deepEqual(await attachedTo(w, 'n1'), [unique('data')]);
});

test('a volume for one node is not attached to two; others are', async () => {
  await using w = await world();
  await node(w, 'n1');
  await node(w, 'n2');
  await volume(w, 'single');
  await volume(w, 'shared', { accessModes: ['ReadWriteMany'] });
  await pod(w, 'p1', 'single', 'n1');
  await attacherSays(w, 'single', 'n1', { attached: true });
  await inUse(w, 'n1', ['single']);
  await pod(w, 'p2', 'single', 'n2');
  assert.equal(await attachment(w, 'single', 'n2'), undefined);
  assert.deepEqual(await eventsOf(w, 'Pod', 'p2'), [
    'Warning FailedAttachVolume Multi-Attach error for volume "single" Volume is already used by pod(s) p1',
  ]);
  for (const n of ['n1', 'n2']) await pod(w, `shared-${n}`, 'shared', n);
  for (const n of ['n1', 'n2']) assert.notEqual(await attachment(w, 'shared', n), undefined);

  await w.admin.core.pods.delete('p1', ns);
  await inUse(w, 'n1', []);
  assert.equal(await attachment(w, 'single', 'n2'), undefined, 'first it is detached');
  await attacherLetsGo(w, 'single', 'n1');
  assert.notEqual(await attachment(w, 'single', 'n2'), undefined);
  await attacherSays(w, 'single', 'n2', { attached: true });
  assert.deepEqual(await attachedTo(w, 'n2'), [unique('single')]);
  quiet(w);
});

test('an unhealthy node loses its volumes after six minutes, one out of service at once', async () => {
  await using w = await world();
  await node(w, 'n1');
  await node(w, 'n2');
  for (const [claim, n] of [
    ['slow', 'n1'],
    ['quick', 'n2'],
  ] as const) {
    await volume(w, claim);
    await pod(w, `p-${claim}`, claim, n);
    await attacherSays(w, claim, n, { attached: true });
    await inUse(w, n, [claim]);
    // Nobody sends heartbeats for these nodes: they become unhealthy.
    await w.admin.core.pods.delete(`p-${claim}`, ns);
  }
  await w.clock.advance(60_000);
  await w.admin.core.nodes.patch('n2', undefined, 'merge', {
    spec: { taints: [{ key: 'node.kubernetes.io/out-of-service', value: 'nodeshutdown', effect: 'NoExecute' }] },
  });
  await w.clock.advance(0);
  assert.notEqual((await attachment(w, 'quick', 'n2'))?.metadata.deletionTimestamp, undefined);
  await w.clock.advance(295_000);
  assert.equal((await attachment(w, 'slow', 'n1'))?.metadata.deletionTimestamp, undefined);
  await w.clock.advance(10_000);
  assert.notEqual((await attachment(w, 'slow', 'n1'))?.metadata.deletionTimestamp, undefined);
});

test('no attachment where the driver needs none; one that was taken away is made again', async () => {
  await using w = await world();
  await node(w, 'n1');
  await w.admin.storage.csidrivers.create({ metadata: { name: driver }, spec: { attachRequired: false } });
  await volume(w, 'data');
  await pod(w, 'p', 'data', 'n1');
  assert.equal(await attachment(w, 'data', 'n1'), undefined);
  await w.admin.storage.csidrivers.delete(driver);
  await w.clock.advance(0);
  await attacherSays(w, 'data', 'n1', { attached: true });
  assert.deepEqual(await attachedTo(w, 'n1'), [unique('data')]);
  await attacherLetsGo(w, 'data', 'n1');
  await w.admin.storage.volumeattachments.delete(id('data', 'n1'));
  await w.clock.advance(61_000);
  assert.equal((await attachment(w, 'data', 'n1'))?.status?.attached, false, 'reconciled with what is there');
  // The pod goes before the volume is attached.
  await w.admin.core.pods.delete('p', ns);
  await w.clock.advance(1000);
  assert.equal(await attachment(w, 'data', 'n1'), undefined);
  assert.deepEqual(await attachedTo(w, 'n1'), []);
});

test('a controller that takes over knows what is attached, and what was left half-way', async () => {
  await using w = await world();
  await node(w, 'n1');
  for (const claim of ['kept', 'left', 'open']) await volume(w, claim);
  for (const claim of ['kept', 'left', 'open']) await pod(w, `p-${claim}`, claim, 'n1');
  for (const claim of ['kept', 'left']) await attacherSays(w, claim, 'n1', { attached: true });
  await inUse(w, 'n1', ['kept', 'left']);
  await w.manager.stop();
  // Meanwhile two pods go; one volume is unmounted, the other was never attached.
  for (const claim of ['left', 'open']) await w.admin.core.pods.delete(`p-${claim}`, ns, { gracePeriodSeconds: 0 });
  await inUse(w, 'n1', ['kept']);
  const log: string[] = [];
  const { name, groups } = identities.controllerManager;
  const next = createControllerManager({
    client: w.as(name, groups),
    clientFor: (account) => w.as(identities.controller(account).name, identities.controller(account).groups),
    clock: w.clock,
    random: new SeededRandom(3),
    logger: createLogger({ level: 'warn', now: () => w.clock.now(), sink: (r) => log.push(r.message) }),
    controllers: ['*'],
    options: {},
  });
  await next.start();
  await w.clock.advance(1000);
  assert.equal((await attachment(w, 'kept', 'n1'))?.metadata.deletionTimestamp, undefined);
  assert.notEqual((await attachment(w, 'left', 'n1'))?.metadata.deletionTimestamp, undefined);
  assert.equal(await attachment(w, 'open', 'n1'), undefined);
  assert.deepEqual(await attachedTo(w, 'n1'), [unique('kept')]);
  await attacherLetsGo(w, 'left', 'n1');
  assert.equal(await attachment(w, 'left', 'n1'), undefined);
  assert.deepEqual(log, []);
  await next.stop();
});
