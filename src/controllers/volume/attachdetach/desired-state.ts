/** `DesiredState`: which volumes should be attached to which nodes, because of which pods. Nodes count that let us do it. */
import type { PersistentVolume, Pod } from '../../../api/types/index.gen.ts';

export interface WantedVolume {
  readonly spec: PersistentVolume;
  /** By uid: those that are bound to the node and use the volume. */
  readonly pods: Map<string, Pod>;
  /** That the volume is held elsewhere has been told. */
  multiAttachTold: boolean;
}

export class DesiredState {
  readonly #nodes = new Set<string>();
  /** By the volume's unique name, then by node. */
  readonly #volumes = new Map<string, Map<string, WantedVolume>>();
  /** Names of the volumes of each pod, by its uid. */
  readonly #pods = new Map<string, { readonly node: string; readonly volumes: Set<string> }>();

  addNode(name: string): boolean {
    if (this.#nodes.has(name)) return false;
    this.#nodes.add(name);
    return true;
  }

  /** The node goes once none of its pods wants anything. */
  deleteNode(name: string): void {
    for (const nodes of this.#volumes.values()) if (nodes.has(name)) return;
    this.#nodes.delete(name);
  }

  hasNode(name: string): boolean {
    return this.#nodes.has(name);
  }

  /** True when that is news. */
  add(pod: Pod, volume: string, spec: PersistentVolume): boolean {
    const uid = pod.metadata.uid!;
    const node = pod.spec!.nodeName!;
    let nodes = this.#volumes.get(volume);
    if (nodes === undefined) this.#volumes.set(volume, (nodes = new Map()));
    let wanted = nodes.get(node);
    if (wanted === undefined) nodes.set(node, (wanted = { spec, pods: new Map(), multiAttachTold: false }));
    if (wanted.pods.has(uid)) return false;
    wanted.pods.set(uid, pod);
    let of = this.#pods.get(uid);
    if (of === undefined) this.#pods.set(uid, (of = { node, volumes: new Set() }));
    of.volumes.add(volume);
    return true;
  }

  /** The pod wants nothing any more; the volumes that it wanted. */
  deletePod(uid: string): readonly string[] {
    const of = this.#pods.get(uid);
    if (of === undefined) return [];
    this.#pods.delete(uid);
    for (const volume of of.volumes) {
      const nodes = this.#volumes.get(volume);
      const wanted = nodes?.get(of.node);
      if (nodes === undefined || wanted === undefined) continue;
      wanted.pods.delete(uid);
      if (wanted.pods.size === 0) nodes.delete(of.node);
      if (nodes.size === 0) this.#volumes.delete(volume);
    }
    return [...of.volumes];
  }

  /** Nobody wants the volume any more: it is of a kind now that is not attached. */
  deleteVolume(volume: string): void {
    for (const wanted of this.#volumes.get(volume)?.values() ?? [])
      for (const uid of wanted.pods.keys()) {
        const of = this.#pods.get(uid);
        of?.volumes.delete(volume);
        if (of?.volumes.size === 0) this.#pods.delete(uid);
      }
    this.#volumes.delete(volume);
  }

  wants(volume: string, node: string): boolean {
    return this.#volumes.get(volume)?.has(node) ?? false;
  }

  /** Where the volume is wanted. */
  nodesOf(volume: string): ReadonlyMap<string, WantedVolume> {
    return this.#volumes.get(volume) ?? new Map();
  }

  volumes(): Iterable<string> {
    return this.#volumes.keys();
  }
}
