/**
 * `NodeTable`: all nodes and the pods on them, column by column in typed arrays, so that filter and score run over flat
 * memory. It is changed in place by each event and each assumed pod; there is no snapshot to take.
 */
import { parseQuantity, quantityMilli, quantityValue } from '../api/quantity.ts';
import type { Node, Pod, Taint } from '../api/types/index.gen.ts';
import type { PodInfo } from './pod-info.ts';
import type { Selector } from '../api/selector.ts';

/** One extended resource: what nodes offer and what is asked of them. */
interface ScalarColumn {
  allocatable: Float64Array;
  requested: Float64Array;
}

/** Pods of one namespace that a selector selects, counted per node; kept up to date while it is in use. */
export class TrackedSelector {
  readonly namespace: string;
  readonly selector: Selector;
  counts: Int32Array;
  used = 0;

  constructor(namespace: string, selector: Selector, size: number) {
    this.namespace = namespace;
    this.selector = selector;
    this.counts = new Int32Array(size);
  }

  matches(pod: PodInfo): boolean {
    return (
      pod.namespace === this.namespace &&
      pod.pod.metadata.deletionTimestamp === undefined &&
      this.selector.matches(pod.labels)
    );
  }
}

/** How many selectors are tracked at once; the one unused for longest gives way. */
const maxTracked = 256;

const emptyTaints: readonly Taint[] = Object.freeze([]);

function grow64(a: Float64Array, n: number): Float64Array<ArrayBuffer> {
  const b = new Float64Array(n);
  b.set(a);
  return b;
}

function grow32(a: Int32Array, n: number): Int32Array<ArrayBuffer> {
  const b = new Int32Array(n);
  b.set(a);
  return b;
}

/** Values of a node label, interned: `ids` by row. */
interface Topology {
  ids: Int32Array;
  readonly values: string[];
  readonly byValue: Map<string, number>;
}

export class NodeTable {
  /** Rows in use and free ones; a free row has no node. */
  readonly nodes: (Node | undefined)[] = [];
  readonly names: string[] = [];
  readonly #index = new Map<string, number>();
  readonly #free: number[] = [];
  #capacity = 64;

  allocCpu = new Float64Array(64);
  allocMemory = new Float64Array(64);
  allocEphemeral = new Float64Array(64);
  allocPods = new Int32Array(64);
  cpu = new Float64Array(64);
  memory = new Float64Array(64);
  ephemeral = new Float64Array(64);
  podCount = new Int32Array(64);
  nonZeroCpu = new Float64Array(64);
  nonZeroMemory = new Float64Array(64);
  unschedulable = new Uint8Array(64);
  /** Which entry of `taintSets` a node has. */
  taintSet = new Int32Array(64);
  readonly taintSets: (readonly Taint[])[] = [emptyTaints];
  readonly #taintIds = new Map<string, number>([['[]', 0]]);

  readonly scalars = new Map<string, ScalarColumn>();
  /** Pods on each row, by uid. */
  readonly pods: Map<string, PodInfo>[] = [];
  /** Ports in use on each row: `protocol/ip/port` → how many. */
  readonly #ports: (Map<string, number> | undefined)[] = [];
  readonly #images: (Map<string, number> | undefined)[] = [];
  /** On how many nodes an image is. */
  readonly imageNodes = new Map<string, number>();
  /** Values of a label by node row, interned: -1 where the node lacks it. */
  readonly #topology = new Map<string, Topology>();
  readonly #tracked = new Map<string, TrackedSelector>();
  #tick = 0;
  /** Pods with required anti-affinity, and with any (anti-)affinity: usually empty, which spares most work. */
  readonly withAntiAffinity = new Map<string, number>();
  readonly withAffinity = new Map<string, number>();
  /** Pods on rows whose Node has not been seen (yet, or any more), by node name. */
  readonly #homeless = new Map<string, Map<string, PodInfo>>();
  readonly #where = new Map<string, { node: string; info: PodInfo }>();

  #order: Int32Array = new Int32Array(0);
  #orderStale = true;

  /** Nodes there are. */
  get size(): number {
    return this.#index.size;
  }

  /** Pods that are on nodes. */
  get placed(): number {
    return this.#where.size;
  }

  /** Rows to iterate over, free ones included. */
  get rows(): number {
    return this.nodes.length;
  }

  row(name: string): number {
    return this.#index.get(name) ?? -1;
  }

  /** Rows in the order in which nodes are tried: zone by zone in turn, as upstream's node tree. */
  get order(): Int32Array {
    if (this.#orderStale) {
      const zones = new Map<string, number[]>();
      for (const [name, row] of this.#index) {
        const labels = this.nodes[this.row(name)]!.metadata.labels ?? {};
        const zone = `${labels['topology.kubernetes.io/region'] ?? ''}:\0:${labels['topology.kubernetes.io/zone'] ?? ''}`;
        let list = zones.get(zone);
        if (list === undefined) zones.set(zone, (list = []));
        list.push(row);
      }
      const order = new Int32Array(this.#index.size);
      const lists = [...zones.values()];
      let at = 0;
      for (let i = 0; at < order.length; i++) for (const l of lists) if (i < l.length) order[at++] = l[i]!;
      this.#order = order;
      this.#orderStale = false;
    }
    return this.#order;
  }

  #ensure(row: number): void {
    if (row < this.#capacity) return;
    const n = this.#capacity * 2;
    this.allocCpu = grow64(this.allocCpu, n);
    this.allocMemory = grow64(this.allocMemory, n);
    this.allocEphemeral = grow64(this.allocEphemeral, n);
    this.allocPods = grow32(this.allocPods, n);
    this.cpu = grow64(this.cpu, n);
    this.memory = grow64(this.memory, n);
    this.ephemeral = grow64(this.ephemeral, n);
    this.podCount = grow32(this.podCount, n);
    this.nonZeroCpu = grow64(this.nonZeroCpu, n);
    this.nonZeroMemory = grow64(this.nonZeroMemory, n);
    this.taintSet = grow32(this.taintSet, n);
    const u = new Uint8Array(n);
    u.set(this.unschedulable);
    this.unschedulable = u;
    for (const s of this.scalars.values()) {
      s.allocatable = grow64(s.allocatable, n);
      s.requested = grow64(s.requested, n);
    }
    for (const t of this.#topology.values()) {
      const ids = new Int32Array(n).fill(-1);
      ids.set(t.ids);
      t.ids = ids;
    }
    for (const t of this.#tracked.values()) t.counts = grow32(t.counts, n);
    this.#capacity = n;
  }

  #scalar(name: string): ScalarColumn {
    let s = this.scalars.get(name);
    if (s === undefined) {
      s = { allocatable: new Float64Array(this.#capacity), requested: new Float64Array(this.#capacity) };
      this.scalars.set(name, s);
    }
    return s;
  }

  /** Adds a node or takes over its new state. */
  setNode(node: Node): void {
    const name = node.metadata.name!;
    let row = this.#index.get(name);
    if (row === undefined) {
      row = this.#free.pop() ?? this.nodes.length;
      this.#ensure(row);
      this.#index.set(name, row);
      this.names[row] = name;
      this.pods[row] = new Map();
      this.#ports[row] = undefined;
      this.#images[row] = undefined;
      this.#orderStale = true;
      this.#clearRow(row);
    }
    const before = this.nodes[row];
    this.nodes[row] = node;
    const alloc = node.status?.allocatable ?? node.status?.capacity;
    if (before === undefined || before.status?.allocatable !== alloc) this.#setAllocatable(row, alloc ?? {});
    this.unschedulable[row] = node.spec?.unschedulable === true ? 1 : 0;
    this.#setTaints(row, node.spec?.taints);
    if (this.taintSets.length > this.#mostNumbers) this.#renumberTaints();
    if (before === undefined || before.status?.images !== node.status?.images) this.#setImages(row, node);
    if (before === undefined || before.metadata.labels !== node.metadata.labels) {
      for (const [key, t] of this.#topology) {
        this.#setTopology(row, key, t);
        if (t.values.length > this.#mostNumbers) this.#renumberTopology(key, t);
      }
      this.#orderStale = true;
    }
    const waiting = this.#homeless.get(name);
    if (waiting !== undefined) {
      this.#homeless.delete(name);
      for (const info of waiting.values()) this.#place(row, info);
    }
  }

  #clearRow(row: number): void {
    this.cpu[row] = this.memory[row] = this.ephemeral[row] = 0;
    this.podCount[row] = 0;
    this.nonZeroCpu[row] = this.nonZeroMemory[row] = 0;
    for (const s of this.scalars.values()) s.allocatable[row] = s.requested[row] = 0;
    for (const t of this.#tracked.values()) t.counts[row] = 0;
  }

  #setAllocatable(row: number, list: Readonly<Record<string, string>>): void {
    this.allocCpu[row] = this.allocMemory[row] = this.allocEphemeral[row] = 0;
    this.allocPods[row] = 0;
    for (const s of this.scalars.values()) s.allocatable[row] = 0;
    for (const [name, text] of Object.entries(list)) {
      const q = parseQuantity(text);
      if (name === 'cpu') this.allocCpu[row] = quantityMilli(q);
      else if (name === 'memory') this.allocMemory[row] = quantityValue(q);
      else if (name === 'ephemeral-storage') this.allocEphemeral[row] = quantityValue(q);
      else if (name === 'pods') this.allocPods[row] = quantityValue(q);
      else this.#scalar(name).allocatable[row] = quantityValue(q);
    }
  }

  #setTaints(row: number, taints: readonly Taint[] | undefined): void {
    if (taints === undefined || taints.length === 0) {
      this.taintSet[row] = 0;
      return;
    }
    const key = JSON.stringify(taints.map((t) => [t.key, t.value ?? '', t.effect]));
    let id = this.#taintIds.get(key);
    if (id === undefined) {
      id = this.taintSets.length;
      this.taintSets.push(taints);
      this.#taintIds.set(key, id);
    }
    this.taintSet[row] = id;
  }

  #setImages(row: number, node: Node): void {
    for (const name of this.#images[row]?.keys() ?? []) this.#countImage(name, -1);
    let images: Map<string, number> | undefined;
    for (const image of node.status?.images ?? [])
      for (const name of image.names ?? []) {
        images ??= new Map();
        if (!images.has(name)) this.#countImage(name, 1);
        images.set(name, image.sizeBytes ?? 0);
      }
    this.#images[row] = images;
  }

  #countImage(name: string, by: number): void {
    const n = (this.imageNodes.get(name) ?? 0) + by;
    if (n <= 0) this.imageNodes.delete(name);
    else this.imageNodes.set(name, n);
  }

  /** Bytes of an image on a node; undefined when it is not there. */
  imageSize(row: number, name: string): number | undefined {
    return this.#images[row]?.get(name);
  }

  get hasImages(): boolean {
    return this.imageNodes.size > 0;
  }

  removeNode(name: string): void {
    const row = this.#index.get(name);
    if (row === undefined) return;
    const pods = this.pods[row]!;
    for (const info of pods.values()) {
      this.#unplace(row, info);
      this.#homelessAt(name).set(info.uid, info);
    }
    for (const image of this.#images[row]?.keys() ?? []) this.#countImage(image, -1);
    this.#images[row] = undefined;
    this.#index.delete(name);
    this.nodes[row] = undefined;
    this.names[row] = '';
    this.unschedulable[row] = 0;
    this.taintSet[row] = 0;
    this.#free.push(row);
    this.#orderStale = true;
    for (const t of this.#topology.values()) t.ids[row] = -1;
  }

  /** Nodes come and go, with host names and taints of their own: what none has any more is forgotten when it is the larger part. */
  get #mostNumbers(): number {
    return 64 + 2 * this.#index.size;
  }

  #renumberTopology(key: string, t: Topology): void {
    t.values.length = 0;
    t.byValue.clear();
    for (const row of this.#index.values()) this.#setTopology(row, key, t);
  }

  #renumberTaints(): void {
    this.taintSets.length = 1;
    this.#taintIds.clear();
    for (const row of this.#index.values()) this.#setTaints(row, this.nodes[row]?.spec?.taints);
  }

  #homelessAt(node: string): Map<string, PodInfo> {
    let m = this.#homeless.get(node);
    if (m === undefined) this.#homeless.set(node, (m = new Map()));
    return m;
  }

  /** The pod as the table knows it, and where. */
  find(uid: string): { node: string; info: PodInfo } | undefined {
    return this.#where.get(uid);
  }

  /** Puts a pod on a node (assumed or bound), replacing what was known of it. */
  addPod(info: PodInfo, node: string): void {
    this.removePod(info.uid);
    this.#where.set(info.uid, { node, info });
    const row = this.#index.get(node);
    if (row === undefined) this.#homelessAt(node).set(info.uid, info);
    else this.#place(row, info);
  }

  removePod(uid: string): void {
    const at = this.#where.get(uid);
    if (at === undefined) return;
    this.#where.delete(uid);
    const row = this.#index.get(at.node);
    if (row !== undefined) this.#unplace(row, at.info);
    else {
      const waiting = this.#homeless.get(at.node);
      waiting?.delete(uid);
      if (waiting?.size === 0) this.#homeless.delete(at.node);
    }
  }

  #place(row: number, info: PodInfo): void {
    this.pods[row]!.set(info.uid, info);
    this.#account(row, info, 1);
    for (const t of this.#tracked.values()) if (t.matches(info)) t.counts[row]!++;
  }

  #unplace(row: number, info: PodInfo): void {
    this.pods[row]!.delete(info.uid);
    this.#account(row, info, -1);
    for (const t of this.#tracked.values()) if (t.matches(info)) t.counts[row]!--;
  }

  #account(row: number, info: PodInfo, sign: 1 | -1): void {
    const r = info.requests;
    this.cpu[row]! += sign * r.cpu;
    this.memory[row]! += sign * r.memory;
    this.ephemeral[row]! += sign * r.ephemeral;
    this.podCount[row]! += sign;
    this.nonZeroCpu[row]! += sign * info.nonZeroCpu;
    this.nonZeroMemory[row]! += sign * info.nonZeroMemory;
    if (r.scalars !== undefined) for (const [name, v] of r.scalars) this.#scalar(name).requested[row]! += sign * v;
    if (info.hostPorts.length > 0) {
      const ports = (this.#ports[row] ??= new Map());
      for (const p of info.hostPorts) {
        const key = `${p.protocol}/${p.ip}/${p.port}`;
        const n = (ports.get(key) ?? 0) + sign;
        if (n <= 0) ports.delete(key);
        else ports.set(key, n);
      }
    }
    if (info.antiAffinity.length > 0) this.#mark(this.withAntiAffinity, info.uid, row, sign);
    if (info.affinity.length + info.preferredAffinity.length + info.preferredAntiAffinity.length > 0)
      this.#mark(this.withAffinity, info.uid, row, sign);
  }

  #mark(map: Map<string, number>, uid: string, row: number, sign: 1 | -1): void {
    if (sign === 1) map.set(uid, row);
    else map.delete(uid);
  }

  /** Is a host port (or the same on all addresses) taken on this node? */
  portTaken(row: number, protocol: string, ip: string, port: number): boolean {
    const ports = this.#ports[row];
    if (ports === undefined || ports.size === 0) return false;
    if (ip === '0.0.0.0') {
      const suffix = `/${port}`;
      for (const key of ports.keys()) if (key.startsWith(`${protocol}/`) && key.endsWith(suffix)) return true;
      return false;
    }
    return ports.has(`${protocol}/${ip}/${port}`) || ports.has(`${protocol}/0.0.0.0/${port}`);
  }

  /** The values of a node label as interned numbers by row; `count`: how many different ones there are. */
  topology(key: string): { readonly ids: Int32Array; readonly count: number } {
    let t = this.#topology.get(key);
    if (t === undefined) {
      t = { ids: new Int32Array(this.#capacity).fill(-1), values: [], byValue: new Map() };
      this.#topology.set(key, t);
      for (const row of this.#index.values()) this.#setTopology(row, key, t);
    }
    return { ids: t.ids, count: t.values.length };
  }

  #setTopology(row: number, key: string, t: Topology): void {
    const value = this.nodes[row]?.metadata.labels?.[key];
    if (value === undefined) {
      t.ids[row] = -1;
      return;
    }
    let id = t.byValue.get(value);
    if (id === undefined) {
      id = t.values.length;
      t.values.push(value);
      t.byValue.set(value, id);
    }
    t.ids[row] = id;
  }

  /** Per-node counts of the pods of `namespace` that `selector` selects, leaving out those being deleted. */
  track(namespace: string, selector: Selector): TrackedSelector {
    const key = `${namespace}\0${selector.nothing ? '\0' : selector.toString()}`;
    let t = this.#tracked.get(key);
    if (t === undefined) {
      if (this.#tracked.size >= maxTracked) {
        let oldest: string | undefined;
        let least = Infinity;
        for (const [k, v] of this.#tracked)
          if (v.used < least) {
            least = v.used;
            oldest = k;
          }
        this.#tracked.delete(oldest!);
      }
      t = new TrackedSelector(namespace, selector, this.#capacity);
      for (const row of this.#index.values())
        for (const info of this.pods[row]!.values()) if (t.matches(info)) t.counts[row]!++;
      this.#tracked.set(key, t);
    }
    t.used = ++this.#tick;
    return t;
  }

  /** All pods on nodes, for rare whole scans. */
  *allPods(): Iterable<{ readonly row: number; readonly info: PodInfo }> {
    for (const row of this.#index.values()) for (const info of this.pods[row]!.values()) yield { row, info };
  }

  /** The pod with this uid where it stands, for terms that look from existing pods outward. */
  podAt(uid: string, row: number): PodInfo | undefined {
    return this.pods[row]?.get(uid);
  }

  /** Is this pod object the one the table holds already? Spares work for updates that changed nothing here. */
  holds(pod: Pod): boolean {
    return this.#where.get(pod.metadata.uid ?? '')?.info.pod === pod;
  }
}
