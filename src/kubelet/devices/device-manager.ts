/**
 * Device plugins: programs on the node that register a resource (`vendor.example/gpu`), tell which devices of it there are and
 * whether they are healthy, and say what a container needs to use those that it is given.
 */
import { isSidecar } from '../../api/helpers/pod-resources.ts';
import { parseQuantity, quantityValue } from '../../api/quantity.ts';
import type { Container, Pod } from '../../api/types/index.gen.ts';
import type { KubeletContext } from '../context.ts';
import { errorText } from '../object-cache.ts';
import type { NumaMask } from '../resources/numa-mask.ts';
import { countOf, maskOf, masks } from '../resources/numa-mask.ts';
import type { HintProvider, Hints, TopologyHint } from '../resources/topology-hints.ts';
import { allContainers } from '../resources/topology-hints.ts';
import type { AllocateAnswer, DeviceInfo, PluginOptions, PluginStub, RegisterRequest } from './messages.ts';

const supportedVersion = 'v1beta1';
const stateName = 'knarr_device_state';
const maxStateBytes = 16 * 1024 * 1024;

interface Plugin {
  readonly resource: string;
  readonly stub: PluginStub;
  readonly options: PluginOptions;
  devices: ReadonlyMap<string, DeviceInfo>;
  stop: () => void;
}

interface Held {
  readonly ids: readonly string[];
  readonly answer: AllocateAnswer;
}

/** What a container gets with all its devices. */
export interface DeviceOptions {
  readonly envs: readonly { readonly key: string; readonly value: string }[];
  readonly mounts: AllocateAnswer['mounts'];
  readonly devices: AllocateAnswer['devices'];
  readonly annotations: Readonly<Record<string, string>>;
  readonly cdiDevices: readonly string[];
}

export interface DeviceManagerOptions {
  readonly ctx: KubeletContext;
  /** The machine's NUMA nodes. */
  numaNodes(): readonly number[];
  /** Devices came or went: the node's status is to say so. */
  onChange(): void;
}

const isHealthy = (d: DeviceInfo | undefined): boolean => d?.health === 'Healthy';
const nodesOfDevice = (d: DeviceInfo | undefined): readonly number[] => (d?.topology?.nodes ?? []).map((n) => n.ID);

/** Names of resources that may be asked for beside Kubernetes' own. */
function isExtended(name: string): boolean {
  if (!/^[a-z0-9]([a-z0-9.-]*[a-z0-9])?\/[A-Za-z0-9]([\w.-]*[A-Za-z0-9])?$/.test(name)) return false;
  return !/(^|\.)kubernetes\.io\//.test(name) && !name.startsWith('requests.');
}

export class DeviceManager implements HintProvider {
  readonly #o: DeviceManagerOptions;
  readonly #plugins = new Map<string, Plugin>();
  /** Resources that have ever been registered here, also those whose plugin has gone. */
  readonly #known = new Set<string>();
  /** By pod, container and resource. */
  readonly #held = new Map<string, Map<string, Map<string, Held>>>();
  #end: (() => Promise<void>) | undefined;
  #open: ((address: string) => PluginStub) | undefined;
  #saving: Promise<void> = Promise.resolve();

  constructor(o: DeviceManagerOptions) {
    this.#o = o;
  }

  get #folder(): string {
    return `${this.#o.ctx.rootDir}/device-plugins`;
  }

  /** Serves registration; plugins that were there before register again when they see the new socket. */
  async start(): Promise<void> {
    const { host, logger } = this.#o.ctx;
    await this.#restore();
    await host.mkdir(this.#folder, 0o750);
    for (const name of await host.list(this.#folder)) {
      const stat = await host.stat(`${this.#folder}/${name}`, { follow: false });
      if (stat?.type === 'socket') await host.remove(`${this.#folder}/${name}`);
    }
    const { openPlugin, serveRegistration } = await import('./grpc.ts');
    this.#open = openPlugin;
    this.#end = await serveRegistration(host.socketAddress!(`${this.#folder}/kubelet.sock`), (r) => this.#register(r));
    logger.debug('Registration server started', { path: `${this.#folder}/kubelet.sock` });
  }

  async stop(): Promise<void> {
    for (const p of this.#plugins.values()) {
      p.stop();
      p.stub.close();
    }
    this.#plugins.clear();
    await this.#end?.();
    await this.#saving;
  }

  async #register(r: RegisterRequest): Promise<void> {
    const { ctx } = this.#o;
    ctx.logger.info('Got registration request from device plugin', { resource: r.resourceName });
    if (r.version !== supportedVersion)
      throw new Error(
        `requested API version "${r.version}" is not supported by kubelet. Supported version is ["${supportedVersion}"]`,
      );
    if (!isExtended(r.resourceName)) throw new Error(`the ResourceName "${r.resourceName}" is invalid`);
    if (r.endpoint === '' || /[/\0]|^\.\.?$/.test(r.endpoint))
      throw new Error(`endpoint "${r.endpoint}" is not the name of a socket in ${this.#folder}`);
    const stub = this.#open!(ctx.host.socketAddress!(`${this.#folder}/${r.endpoint}`));
    let options: PluginOptions;
    try {
      options = r.options ?? (await stub.options());
    } catch (error) {
      stub.close();
      throw error;
    }
    ctx.metrics?.count('device_plugin_registration_total', [r.resourceName]);
    const before = this.#plugins.get(r.resourceName);
    before?.stop();
    before?.stub.close();
    const plugin: Plugin = { resource: r.resourceName, stub, options, devices: new Map(), stop: () => {} };
    this.#plugins.set(r.resourceName, plugin);
    this.#known.add(r.resourceName);
    // The plugin waits for the answer to its registration before it serves.
    plugin.stop = stub.watch(
      (devices) => {
        plugin.devices = new Map(devices.map((d) => [d.ID, d]));
        this.#changed();
      },
      (error) => {
        ctx.logger.info('Endpoint became unhealthy', {
          resource: r.resourceName,
          ...(error === undefined ? {} : { error }),
        });
        stub.close();
        if (this.#plugins.get(r.resourceName) !== plugin) return;
        this.#plugins.delete(r.resourceName);
        this.#changed();
      },
    );
  }

  #changed(): void {
    void this.#save();
    this.#o.onChange();
  }

  /** How many there are, and how many of those are healthy, by resource; none of those whose plugin has gone. */
  resources(): ReadonlyMap<string, { readonly capacity: number; readonly allocatable: number }> {
    const out = new Map<string, { capacity: number; allocatable: number }>();
    for (const name of this.#known) {
      const devices = [...(this.#plugins.get(name)?.devices.values() ?? [])];
      out.set(name, { capacity: devices.length, allocatable: devices.filter(isHealthy).length });
    }
    return out;
  }

  /** What a container asks for of resources that a plugin has registered. */
  #requests(container: Container): Map<string, number> {
    const out = new Map<string, number>();
    const limits = (container.resources?.limits ?? {}) as Record<string, string>;
    for (const name of Object.keys(limits).sort()) {
      if (!this.#known.has(name)) continue;
      const n = quantityValue(parseQuantity(limits[name]!));
      if (n > 0) out.set(name, n);
    }
    return out;
  }

  /** Devices of a resource that somebody has. */
  #inUse(resource: string): Set<string> {
    const out = new Set<string>();
    for (const containers of this.#held.values())
      for (const resources of containers.values()) for (const id of resources.get(resource)?.ids ?? []) out.add(id);
    return out;
  }

  /** What init containers of the pod before this one have, which it may use after them. */
  #reusable(pod: Pod, container: Container, resource: string): Set<string> {
    const out = new Set<string>();
    const own = this.#held.get(pod.metadata.uid!);
    for (const c of allContainers(pod)) {
      if (c.name === container.name) break;
      const ids = own?.get(c.name)?.get(resource)?.ids ?? [];
      const init = pod.spec?.initContainers?.some((i) => i.name === c.name) === true && !isSidecar(c);
      for (const id of ids)
        if (init) out.add(id);
        else out.delete(id);
    }
    return out;
  }

  hints(pod: Pod, container: Container): Hints | undefined {
    const out = new Map<string, readonly TopologyHint[] | undefined>();
    for (const [resource, count] of this.#requests(container)) {
      const had = this.#held.get(pod.metadata.uid!)?.get(container.name)?.get(resource)?.ids;
      out.set(resource, this.#hintsFor(resource, count, had, this.#reusable(pod, container, resource)));
    }
    return out;
  }

  podHints(pod: Pod): Hints | undefined {
    const sums = new Map<string, number>();
    for (const c of allContainers(pod))
      for (const [resource, n] of this.#requests(c)) {
        const init = pod.spec?.initContainers?.some((i) => i.name === c.name) === true && !isSidecar(c);
        sums.set(resource, init ? Math.max(sums.get(resource) ?? 0, n) : (sums.get(resource) ?? 0) + n);
      }
    const out = new Map<string, readonly TopologyHint[] | undefined>();
    for (const [resource, count] of sums) out.set(resource, this.#hintsFor(resource, count, undefined, new Set()));
    return out;
  }

  #hintsFor(
    resource: string,
    count: number,
    had: readonly string[] | undefined,
    reusable: ReadonlySet<string>,
  ): readonly TopologyHint[] | undefined {
    const devices = this.#plugins.get(resource)?.devices ?? new Map<string, DeviceInfo>();
    if ([...devices.values()].every((d) => nodesOfDevice(d).length === 0)) return undefined;
    if (had !== undefined && had.length !== count) return [];
    const used = this.#inUse(resource);
    const available =
      had ?? [...devices].filter(([id, d]) => isHealthy(d) && (!used.has(id) || reusable.has(id))).map(([id]) => id);
    if (available.length < count) return [];
    const inside = (mask: NumaMask, id: string): boolean => (maskOf(nodesOfDevice(devices.get(id))) & mask) !== 0n;
    const nodes = this.#o.numaNodes();
    let least = nodes.length;
    const fitting: NumaMask[] = [];
    for (const mask of masks(nodes)) {
      if ([...devices.keys()].filter((id) => inside(mask, id)).length >= count) least = Math.min(least, countOf(mask));
      if ([...reusable].some((id) => nodesOfDevice(devices.get(id)).length > 0 && !inside(mask, id))) continue;
      if (available.filter((id) => inside(mask, id)).length >= count) fitting.push(mask);
    }
    return fitting.map((affinity) => ({ affinity, preferred: countOf(affinity) === least }));
  }

  async allocate(pod: Pod, container: Container, hint: TopologyHint): Promise<void> {
    const uid = pod.metadata.uid!;
    let changed = false;
    for (const [resource, count] of this.#requests(container)) {
      if (this.#held.get(uid)?.get(container.name)?.has(resource) === true) continue;
      const plugin = this.#plugins.get(resource);
      if (plugin === undefined || ![...plugin.devices.values()].some(isHealthy))
        throw new Error(`no healthy devices present; cannot allocate unhealthy devices ${resource}`);
      const ids = await this.#choose(plugin, count, this.#reusable(pod, container, resource), hint.affinity);
      const { clock, metrics } = this.#o.ctx;
      const began = clock.monotonic();
      const answer = await plugin.stub.allocate(ids);
      metrics?.observe('device_plugin_alloc_duration_seconds', (clock.monotonic() - began) / 1000, [resource]);
      let containers = this.#held.get(uid);
      if (containers === undefined) this.#held.set(uid, (containers = new Map()));
      let resources = containers.get(container.name);
      if (resources === undefined) containers.set(container.name, (resources = new Map()));
      resources.set(resource, { ids, answer });
      changed = true;
    }
    if (changed) await this.#save();
  }

  async #choose(
    plugin: Plugin,
    count: number,
    reusable: ReadonlySet<string>,
    affinity: NumaMask | undefined,
  ): Promise<string[]> {
    const again = [...reusable].filter((id) => isHealthy(plugin.devices.get(id))).slice(0, count);
    const missing = count - again.length;
    if (missing === 0) return again;
    const used = this.#inUse(plugin.resource);
    const free = [...plugin.devices]
      .filter(([id, d]) => isHealthy(d) && !used.has(id))
      .map(([id]) => id)
      .sort();
    if (free.length < missing)
      throw new Error(
        `requested number of devices unavailable for ${plugin.resource}. Requested: ${missing}, Available: ${free.length}`,
      );
    const near = (id: string): number => {
      const mask = maskOf(nodesOfDevice(plugin.devices.get(id)));
      if (affinity === undefined || (mask & affinity) !== 0n) return 0;
      return mask === 0n ? 2 : 1;
    };
    const order = free.map((id) => [near(id), id] as const).sort((a, b) => a[0] - b[0] || (a[1] < b[1] ? -1 : 1));
    const aligned = order.filter(([n]) => n === 0).map(([, id]) => id);
    const pool = aligned.length >= missing ? aligned : order.map(([, id]) => id);
    if (plugin.options.getPreferredAllocationAvailable) {
      const must = aligned.length >= missing ? again : [...again, ...aligned];
      const wanted = await plugin.stub.preferred([...again, ...pool], must, count).catch((error: unknown) => {
        this.#o.ctx.logger.warn('A device plugin has no preference', { resource: plugin.resource, error });
        return [];
      });
      const good = [...again, ...wanted.filter((id) => !again.includes(id) && pool.includes(id))].slice(0, count);
      if (good.length === count) return good;
    }
    return [...again, ...pool.slice(0, missing)];
  }

  /** A pod has gone: its devices are free again. */
  release(uid: string): void {
    if (this.#held.delete(uid)) void this.#save();
  }

  /** Of pods that are not there any more. */
  keep(active: (uid: string) => boolean): void {
    for (const uid of [...this.#held.keys()]) if (!active(uid)) this.release(uid);
  }

  /** What a container gets with its devices; tells the plugins that want to know that it starts. */
  async starting(pod: Pod, container: Container): Promise<DeviceOptions | undefined> {
    const held = this.#held.get(pod.metadata.uid!)?.get(container.name);
    if (held === undefined || held.size === 0) return undefined;
    const envs = new Map<string, string>();
    const mounts = new Map<string, AllocateAnswer['mounts'][number]>();
    const devices = new Map<string, AllocateAnswer['devices'][number]>();
    const annotations: Record<string, string> = {};
    const cdi = new Set<string>();
    for (const [resource, { ids, answer }] of held) {
      const plugin = this.#plugins.get(resource);
      if (plugin?.options.preStartRequired === true) await plugin.stub.preStart(ids);
      for (const [key, value] of Object.entries(answer.envs)) envs.set(key, value);
      for (const m of answer.mounts) mounts.set(m.containerPath, m);
      for (const d of answer.devices) devices.set(d.containerPath, d);
      Object.assign(annotations, answer.annotations);
      for (const d of answer.cdiDevices) cdi.add(d.name);
    }
    return {
      envs: [...envs].map(([key, value]) => ({ key, value })),
      mounts: [...mounts.values()],
      devices: [...devices.values()],
      annotations,
      cdiDevices: [...cdi],
    };
  }

  /** Who has what, for podresources. */
  devicesOf(uid: string, container: string) {
    const out: { resourceName: string; deviceIds: readonly string[]; topology?: { nodes: { ID: number }[] } }[] = [];
    for (const [resource, { ids }] of this.#held.get(uid)?.get(container) ?? []) out.push(this.#told(resource, ids));
    return out;
  }

  /** All healthy devices, for podresources. */
  allDevices() {
    return [...this.#plugins.values()].flatMap((p) =>
      [...p.devices.values()].filter(isHealthy).map((d) => this.#told(p.resource, [d.ID])),
    );
  }

  #told(resourceName: string, deviceIds: readonly string[]) {
    const devices = this.#plugins.get(resourceName)?.devices;
    const nodes = [...new Set(deviceIds.flatMap((id) => nodesOfDevice(devices?.get(id))))].sort((a, b) => a - b);
    return {
      resourceName,
      deviceIds,
      ...(nodes.length === 0 ? {} : { topology: { nodes: nodes.map((ID) => ({ ID })) } }),
    };
  }

  #save(): Promise<void> {
    const { ctx } = this.#o;
    const held: Record<string, Record<string, Record<string, Held>>> = {};
    for (const [uid, containers] of this.#held) {
      held[uid] = {};
      for (const [name, resources] of containers) held[uid][name] = Object.fromEntries(resources);
    }
    const text = JSON.stringify({ held, known: [...this.#known] });
    this.#saving = this.#saving
      .then(() => ctx.host.replaceFile(`${ctx.rootDir}/${stateName}`, text, 0o600))
      .catch((error: unknown) => ctx.logger.error('Failed to save which devices are in use', { error }));
    return this.#saving;
  }

  async #restore(): Promise<void> {
    const { ctx } = this.#o;
    const text = await ctx.host.readFile(`${ctx.rootDir}/${stateName}`, { maxBytes: maxStateBytes });
    if (text === undefined) return;
    try {
      const kept = JSON.parse(text.toString()) as {
        held: Record<string, Record<string, Record<string, Held>>>;
        known: string[];
      };
      for (const name of kept.known) this.#known.add(name);
      for (const [uid, containers] of Object.entries(kept.held))
        this.#held.set(
          uid,
          new Map(Object.entries(containers).map(([name, resources]) => [name, new Map(Object.entries(resources))])),
        );
    } catch (error) {
      ctx.logger.error('Cannot read which devices are in use', { why: errorText(error) });
    }
  }
}
