/** Pods that hold a place on a node by nomination, which lower pods must leave free. */
import type { PodInfo } from './pod-info.ts';

export class Nominations {
  readonly #byNode = new Map<string, Map<string, PodInfo>>();
  readonly #nodeOf = new Map<string, string>();

  /** Pods. */
  get size(): number {
    return this.#nodeOf.size;
  }

  /** Those that wait for this node. */
  on(node: string): Iterable<PodInfo> | undefined {
    return this.#byNode.get(node)?.values();
  }

  add(info: PodInfo, node: string): void {
    this.remove(info.uid);
    let on = this.#byNode.get(node);
    if (on === undefined) this.#byNode.set(node, (on = new Map()));
    on.set(info.uid, info);
    this.#nodeOf.set(info.uid, node);
  }

  remove(uid: string): void {
    const node = this.#nodeOf.get(uid);
    if (node === undefined) return;
    this.#nodeOf.delete(uid);
    const on = this.#byNode.get(node)!;
    on.delete(uid);
    if (on.size === 0) this.#byNode.delete(node);
  }
}
