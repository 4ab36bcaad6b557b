/**
 * `ActualState`: which volumes are attached to which nodes as far as is known, which of them the nodes' kubelets use, and what
 * the nodes' status is to say.
 */
import type { PersistentVolume } from '../../../api/types/index.gen.ts';

/** A volume on a node. `confirmed` false: it may be attached or not. */
export interface Attachment {
  confirmed: boolean;
  /** Milliseconds of the cluster's clock; since when it should be detached. */
  detachRequestedAt: number | undefined;
}

export interface AttachedVolume {
  /** Undefined when all that is known is a node's status from before our start. */
  spec: PersistentVolume | undefined;
  devicePath: string;
  readonly nodes: Map<string, Attachment>;
}

interface Report {
  needed: boolean;
  readonly volumes: Set<string>;
}

const nothing: ReadonlySet<string> = new Set();

export class ActualState {
  readonly #volumes = new Map<string, AttachedVolume>();
  /** By node. */
  readonly #inUse = new Map<string, ReadonlySet<string>>();
  /** `node volume`: of nodes that are not known. */
  readonly #assumed = new Set<string>();
  readonly #reports = new Map<string, Report>();

  get(volume: string): AttachedVolume | undefined {
    return this.#volumes.get(volume);
  }

  volumes(): Iterable<readonly [string, AttachedVolume]> {
    return this.#volumes;
  }

  get empty(): boolean {
    return this.#volumes.size === 0;
  }

  attachment(volume: string, node: string): Attachment | undefined {
    return this.#volumes.get(volume)?.nodes.get(node);
  }

  #mark(volume: string, node: string, spec: PersistentVolume | undefined, confirmed: boolean): AttachedVolume {
    let v = this.#volumes.get(volume);
    if (v === undefined) this.#volumes.set(volume, (v = { spec, devicePath: '', nodes: new Map() }));
    else if (spec !== undefined) v.spec = spec;
    const at = v.nodes.get(node);
    if (at === undefined) {
      v.nodes.set(node, { confirmed, detachRequestedAt: undefined });
      // Of a node that has said nothing yet everything counts as in use.
      if (!this.#inUse.has(node)) this.#assumed.add(`${node} ${volume}`);
    } else at.confirmed = confirmed;
    return v;
  }

  attached(volume: string, node: string, spec: PersistentVolume | undefined, devicePath: string): void {
    this.#mark(volume, node, spec, true).devicePath = devicePath;
    this.report(volume, node);
  }

  /** Something went wrong half-way: only a successful attach makes it certain again. */
  uncertain(volume: string, node: string, spec: PersistentVolume | undefined): void {
    this.#mark(volume, node, spec, false);
  }

  detached(volume: string, node: string): void {
    const v = this.#volumes.get(volume);
    if (v === undefined) return;
    v.nodes.delete(node);
    this.#assumed.delete(`${node} ${volume}`);
    if (v.nodes.size === 0) this.#volumes.delete(volume);
    this.unreport(volume, node);
  }

  setInUse(node: string, volumes: readonly string[]): void {
    this.#inUse.set(node, volumes.length === 0 ? nothing : new Set(volumes));
  }

  inUse(volume: string, node: string): boolean {
    return this.#inUse.get(node)?.has(volume) ?? this.#assumed.has(`${node} ${volume}`);
  }

  /** Volumes that have some relation to the node. */
  *ofNode(node: string): Generator<string> {
    for (const [name, v] of this.#volumes) if (v.nodes.has(node)) yield name;
  }

  /** The node's status is to name the volume. */
  report(volume: string, node: string): void {
    if (this.attachment(volume, node) === undefined) return;
    let r = this.#reports.get(node);
    if (r === undefined) this.#reports.set(node, (r = { needed: true, volumes: new Set() }));
    if (r.volumes.has(volume)) return;
    r.volumes.add(volume);
    r.needed = true;
  }

  /** The node's status is not to name the volume: it is no longer safe to mount it there. */
  unreport(volume: string, node: string): void {
    const r = this.#reports.get(node);
    if (r?.volumes.delete(volume) === true) r.needed = true;
  }

  reportAgain(node: string): void {
    const r = this.#reports.get(node);
    if (r !== undefined) r.needed = true;
  }

  /** The node is gone; what is still attached to it stays known. */
  forgetNode(node: string): void {
    if (this.#reports.get(node)?.volumes.size === 0) this.#reports.delete(node);
    if (this.ofNode(node).next().done === true) this.#inUse.delete(node);
  }

  /** What is to be written into the node's status now; undefined when it stands there. Taken once. */
  takeReport(node: string): readonly { readonly name: string; readonly devicePath: string }[] | undefined {
    const r = this.#reports.get(node);
    if (r === undefined || !r.needed) return undefined;
    r.needed = false;
    return [...r.volumes].sort().map((name) => ({ name, devicePath: this.#volumes.get(name)?.devicePath ?? '' }));
  }
}
