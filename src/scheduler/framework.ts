/**
 * The scheduling framework: upstream's extension points (KEP-624) over the columns of `NodeTable`. A plugin prepares itself
 * once a pod and is then asked row by row; a filter or scorer that has nothing to say for a pod leaves itself out.
 */
import type {
  CSINode,
  Namespace,
  Node,
  PersistentVolume,
  PersistentVolumeClaim,
  Pod,
  StorageClass,
  VolumeAttachment,
} from '../api/types/index.gen.ts';
import type { Selector } from '../api/selector.ts';
import type { NodeTable } from './node-table.ts';
import type { PodInfo } from './pod-info.ts';

/** Why a node (or every node) will not do. `resolvable`: removing pods could help. */
export interface Rejection {
  readonly plugin: string;
  readonly reasons: readonly string[];
  readonly resolvable: boolean;
  /** Something went wrong, which is no verdict. */
  readonly error?: boolean;
}

/** What plugins may ask for besides the table. */
export interface Handle {
  readonly table: NodeTable;
  namespaceLabels(name: string): Readonly<Record<string, string>> | undefined;
  namespaces(): Iterable<Namespace>;
  /** The selector that default spreading uses for a pod: of its Services and its ReplicaSet or alike; undefined: none. */
  defaultSelector(info: PodInfo): Selector | undefined;
  volumes: VolumeView;
}

/** Claims and volumes as the volume plugins see them. */
export interface VolumeView {
  claim(namespace: string, name: string): PersistentVolumeClaim | undefined;
  volume(name: string): PersistentVolume | undefined;
  volumes(): Iterable<PersistentVolume>;
  storageClass(name: string): StorageClass | undefined;
  csiNode(node: string): CSINode | undefined;
  /** Those of one node. */
  attachments(node: string): Iterable<VolumeAttachment>;
}

/** One attempt to place one pod. */
export interface Cycle {
  readonly info: PodInfo;
  readonly table: NodeTable;
  readonly handle: Handle;
}

export interface PreparedFilter {
  /** Only these rows can do at all; undefined: any. */
  readonly rows?: readonly number[];
  /** undefined: the node will do. */
  test(row: number): Rejection | undefined;
  /** The prepared state depends on pods elsewhere: prepare again after pods were added or removed. */
  readonly stateful?: boolean;
}

export interface PreparedScore {
  /** Sets `scores[i]` to the raw score of `rows[i]`: one loop of the plugin's own, which the engine can make fast. */
  fill(scores: Float64Array, rows: Int32Array, n: number): void;
  /** Brings raw scores to 0..100, in place; undefined: they are already. `rows[i]` has `scores[i]`. */
  normalize?(scores: Float64Array, rows: Int32Array, n: number): void;
}

/** Events of the cluster that may make an unschedulable pod schedulable. */
export type ClusterEvent =
  | 'NodeAdd'
  | 'NodeAllocatable'
  | 'NodeLabel'
  | 'NodeTaint'
  | 'NodeCondition'
  | 'AssignedPodAdd'
  | 'AssignedPodUpdate'
  | 'AssignedPodDelete'
  | 'PodUpdate'
  | 'PvChange'
  | 'PvcAdd'
  | 'PvcChange'
  | 'CsiNodeAdd'
  /** A driver on a node takes more volumes than before. */
  | 'CsiNodeGrown'
  | 'VolumeAttachmentDelete'
  /** A pod with a place and with volumes that count is gone. */
  | 'VolumePodDelete'
  | 'StorageClassAdd'
  | 'NamespaceLabel';

export interface Plugin {
  readonly name: string;
  /** A reason to keep the pod out of the active queue. */
  preEnqueue?(pod: Pod): string | undefined;
  /** Pre-filter: undefined leaves the plugin out; a `Rejection` refuses the pod on all nodes. */
  filter?(cycle: Cycle): PreparedFilter | Rejection | undefined;
  /** Pre-score over the feasible rows. */
  score?(cycle: Cycle, rows: Int32Array, n: number): PreparedScore | undefined;
  readonly weight?: number;
  /** After the pod is assumed, before it is bound; may take its time. Throws to give the place back. */
  preBind?(info: PodInfo, node: Node): Promise<void>;
  /** Which events may help a pod that this plugin refused. */
  readonly events: readonly ClusterEvent[];
}

export const maxNodeScore = 100;

export function isRejection(x: PreparedFilter | Rejection | undefined): x is Rejection {
  return x !== undefined && 'reasons' in x;
}

/** A rejection to be handed out again and again. */
export function rejection(plugin: string, resolvable: boolean, ...reasons: string[]): Rejection {
  return Object.freeze({ plugin, resolvable, reasons: Object.freeze(reasons) });
}

/** Scales so that the largest score is 100; `reverse`: the smallest becomes 100. */
export function normalizeByMax(scores: Float64Array, n: number, reverse: boolean): void {
  let max = 0;
  for (let i = 0; i < n; i++) if (scores[i]! > max) max = scores[i]!;
  if (max === 0) {
    if (reverse) scores.fill(maxNodeScore, 0, n);
    return;
  }
  for (let i = 0; i < n; i++) {
    const s = Math.floor((maxNodeScore * scores[i]!) / max);
    scores[i] = reverse ? maxNodeScore - s : s;
  }
}
