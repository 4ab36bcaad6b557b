/** Volumes against what CSINodes say nodes can take. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type {
  CSINode,
  PersistentVolume,
  PersistentVolumeClaim,
  Pod,
  StorageClass,
  Volume,
  VolumeAttachment,
} from '../../api/types/index.gen.ts';
import type { Handle, VolumeView } from '../framework.ts';
import { isRejection } from '../framework.ts';
import { NodeTable } from '../node-table.ts';
import { podInfo } from '../pod-info.ts';
import { hasGrown, nodeVolumeLimits } from './node-volume-limits.ts';

const driver = 'test.csi';

class World implements VolumeView {
  readonly claims = new Map<string, PersistentVolumeClaim>();
  readonly volumesByName = new Map<string, PersistentVolume>();
  readonly classes = new Map<string, StorageClass>();
  readonly attached: VolumeAttachment[] = [];
  readonly csiNodes = new Map<string, CSINode>();
  readonly table = new NodeTable();

  constructor(limits: Readonly<Record<string, number>>) {
    this.table.setNode({ metadata: { name: 'n' }, status: { allocatable: { cpu: '8', memory: '8Gi', pods: '110' } } });
    this.csiNodes.set('n', csiNode(limits));
  }
  claim(_: string, name: string) {
    return this.claims.get(name);
  }
  volume(name: string) {
    return this.volumesByName.get(name);
  }
  volumes() {
    return this.volumesByName.values();
  }
  storageClass(name: string) {
    return this.classes.get(name);
  }
  csiNode(name: string) {
    return this.csiNodes.get(name);
  }
  attachments(node: string) {
    return this.attached.filter((a) => a.spec.nodeName === node);
  }
  /** A claim of that name, bound to a volume with this source; without one, still to be made. */
  add(name: string, spec?: PersistentVolume['spec']): void {
    this.claims.set(name, {
      metadata: { name, namespace: 'default' },
      spec: spec === undefined ? { storageClassName: 'sc' } : { volumeName: `pv-${name}` },
    });
    if (spec !== undefined) this.volumesByName.set(`pv-${name}`, { metadata: { name: `pv-${name}` }, spec });
  }
  place(pod: Pod): string | undefined {
    const handle = { table: this.table, volumes: this } as unknown as Handle;
    const filter = nodeVolumeLimits.filter!({ info: podInfo(pod), table: this.table, handle });
    if (filter === undefined) return undefined;
    assert.ok(!isRejection(filter));
    const refused = filter.test(0);
    if (refused === undefined) this.table.addPod(podInfo(pod), 'n');
    return refused?.reasons[0];
  }
}

const csiNode = (limits: Readonly<Record<string, number>>): CSINode => ({
  metadata: { name: 'n' },
  spec: { drivers: Object.entries(limits).map(([name, count]) => ({ name, nodeID: 'n', allocatable: { count } })) },
});
const csi = (volumeHandle: string): PersistentVolume['spec'] => ({ csi: { driver, volumeHandle } });
let serial = 0;
const pod = (volumes: Partial<Volume>[]): Pod => {
  const name = `p${serial++}`;
  return {
    metadata: { name, namespace: 'default', uid: name },
    spec: { containers: [{ name: 'c', image: 'i' }], volumes: volumes.map((v, i) => ({ name: `v${i}`, ...v })) },
  };
};
const uses = (...claims: string[]): Pod => pod(claims.map((claimName) => ({ persistentVolumeClaim: { claimName } })));
const full = 'node(s) exceed max volume count';

test('each volume once, made or not, attached or not', () => {
  const w = new World({ [driver]: 3 });
  w.classes.set('sc', { metadata: { name: 'sc' }, provisioner: driver });
  for (const name of ['a', 'b', 'c', 'd']) w.add(name, csi(name));
  w.add('unmade');
  w.add('elsewhere', { nfs: { server: 's', path: '/' } });
  assert.equal(w.place(pod([{ emptyDir: {} }])), undefined);
  assert.equal(w.place(uses('a', 'b')), undefined);
  assert.equal(w.place(uses('a', 'b')), undefined, 'the same ones');
  assert.equal(w.place(uses('c', 'd')), full);
  assert.equal(w.place(uses('unmade')), undefined);
  assert.equal(w.place(uses('unmade', 'elsewhere')), undefined, 'nobody counts those');
  assert.equal(w.place(uses('c')), full);
  const other = new World({ [driver]: 1, another: 0 });
  other.add('a', csi('a'));
  other.add('left', csi('left'));
  const attachment = { attacher: driver, nodeName: 'n', source: { persistentVolumeName: 'pv-left' } };
  other.attached.push({ metadata: { name: 'x' }, spec: attachment });
  assert.equal(other.place(uses('a')), full, 'something is still attached');
  other.attached.pop();
  assert.equal(other.place(uses('a')), undefined);
  const free = new World({});
  free.add('a', csi('a'));
  assert.equal(free.place(uses('a')), undefined, 'no limit');
});

test('ephemeral volumes, claims that are missing, and those of somebody else', () => {
  const w = new World({ [driver]: 1 });
  w.classes.set('sc', { metadata: { name: 'sc' }, provisioner: driver });
  const p = pod([{ ephemeral: { volumeClaimTemplate: { spec: {} } } }]);
  const name = `${p.metadata.name}-v0`;
  assert.equal(w.place(p), `looking up PVC default/${name}: persistentvolumeclaim "${name}" not found`);
  w.add(name);
  assert.equal(w.place(p), `PVC default/${name} was not created for pod default/${p.metadata.name} (pod is not owner)`);
  const claim = w.claims.get(name)!;
  const owner = { apiVersion: 'v1', kind: 'Pod', name: p.metadata.name!, uid: p.metadata.uid!, controller: true };
  w.claims.set(name, { ...claim, metadata: { ...claim.metadata, ownerReferences: [owner] } });
  assert.equal(w.place(p), undefined);
  w.add('one-more', csi('x'));
  assert.equal(w.place(uses('one-more')), full);
});

test('in-tree volumes count for the driver that took over; room that grows is seen', () => {
  const ebs = 'ebs.csi.aws.com';
  const w = new World({ [ebs]: 2 });
  w.classes.set('sc', { metadata: { name: 'sc' }, provisioner: 'kubernetes.io/aws-ebs' });
  w.add('tree', { awsElasticBlockStore: { volumeID: 'aws://eu-1a/vol-1' } });
  w.add('same', { csi: { driver: ebs, volumeHandle: 'vol-1' } });
  w.add('unmade');
  assert.equal(w.place(uses('tree', 'same')), undefined);
  assert.equal(w.place(pod([{ awsElasticBlockStore: { volumeID: 'vol-1' } }])), undefined);
  assert.equal(w.place(uses('unmade')), undefined);
  assert.equal(w.place(pod([{ awsElasticBlockStore: { volumeID: 'vol-2' } }])), full);
  assert.match(
    w.place(pod([{ awsElasticBlockStore: { volumeID: 'aws://x/y' } }])) ?? '',
    /^converting volume\(v0\) from/,
  );
  assert.equal(hasGrown(csiNode({ a: 1 }), csiNode({ a: 2 })), true);
  assert.equal(hasGrown(csiNode({ a: 2 }), csiNode({ a: 1 })), false);
  assert.equal(hasGrown(csiNode({}), csiNode({ a: 1 })), true);
});
