/**
 * kube-proxy: follows Services and EndpointSlices, keeps a map of everything that Services are reached at, and hands each change to a
 * backend. `resolve` and `pick` answer in-process, for simulated pods.
 */
import type { Clock, Timer } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import type { Random } from '../base/random.ts';
import { formatIp, parseIp } from '../base/ip.ts';
import { Slice } from '../base/yield.ts';
import type { EndpointSlice, Node, Service, ServiceCIDR } from '../api/types/index.gen.ts';
import { dropManagedFields, Informer } from '../client/informer.ts';
import { keyOf, splitKey } from '../client/lister.ts';
import type { TypedClient } from '../client/typed-client.ts';
import type { Frontend, Place, ProxyBackend, ProxyEndpoint, ProxyProtocol } from './backend.ts';
import { frontendKey } from './backend.ts';
import type { HealthCheckPorts } from './health-check-ports.ts';
import type { ProxyHealth } from './health.ts';
import { LocalGaps } from './local-gaps.ts';
import type { ProxyMetrics } from './metrics.ts';
import { NodeTable, nodeFacts } from './node-table.ts';
import type { Location, ServicePort } from './service-port.ts';
import { frontends, localReadyAddresses, nodePortAddress, sameFrontend, servicePorts } from './service-port.ts';
import type { Caller } from './simulated-backend.ts';
import { SimulatedBackend } from './simulated-backend.ts';

/** Services that are headless or another proxy's carry one of these. */
const ourServices = '!service.kubernetes.io/headless,!service.kubernetes.io/service-proxy-name';
const serviceNameLabel = 'kubernetes.io/service-name';
const byService = 'service';
const lastTrigger = 'endpoints.kubernetes.io/last-change-trigger-time';
/** Changes whose time to the rule is measured in one pass. */
const maxTriggers = 1000;
/** Everything is written again so often, in case somebody else has changed the rules. */
const fullSyncPeriodMs = 3_600_000;
const retryMs = 1000;
const maxRetryMs = 30_000;

export interface ProxyOptions {
  /** As `system:kube-proxy`. */
  readonly client: TypedClient;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** The node it runs on. Left out: it answers for all nodes of a simulated cluster. */
  readonly nodeName?: string;
  /** Taken for the node's own address of its family, whatever the Node says. */
  readonly nodeIp?: string;
  /** Makes Services real; the simulated one, which only answers in-process, when left out. */
  readonly backend?: ProxyBackend;
  /** At least so long between two changes of the backend; default: what the backend says, else 1 s. */
  readonly minSyncPeriodMs?: number;
  readonly metrics?: ProxyMetrics;
  readonly health?: ProxyHealth;
  readonly healthCheckPorts?: HealthCheckPorts;
}

export interface Proxy {
  /** Resolves when Services and endpoints have been read once and handed to the backend. */
  start(): Promise<void>;
  stop(): Promise<void>;
  /** Those that stand behind an address and port; empty when none does now; undefined when it is no Service's. */
  resolve(address: string, port: number, protocol?: ProxyProtocol): readonly ProxyEndpoint[] | undefined;
  /**
   * One endpoint for a connection from `from` (empty: from outside); `refused` when there is none for it; undefined when the address is
   * no Service's. Fits the simulated network's service resolver.
   */
  pick(address: string, port: number, from?: string, protocol?: ProxyProtocol): ProxyEndpoint | 'refused' | undefined;
  /** Everything that Services are reached at now, by `frontendKey`. */
  readonly frontends: ReadonlyMap<string, Frontend>;
  /** Resolves when everything that has arrived so far is in place, and cleaned up behind. */
  settled(): Promise<void>;
  /** False when the node is gone or about to go: balancers should leave it. */
  readonly nodeEligible: boolean;
}

class KubeProxy implements Proxy {
  readonly #o: ProxyOptions;
  readonly #simulated: SimulatedBackend;
  readonly #backend: ProxyBackend;
  readonly #services: Informer<Service>;
  readonly #slices: Informer<EndpointSlice>;
  readonly #nodeInformer: Informer<Node>;
  readonly #serviceCidrs: Informer<ServiceCIDR> | undefined;
  readonly #nodes = new NodeTable();
  readonly #gaps = new LocalGaps();
  readonly #began: number;
  #triggers: number[] = [];
  #place = '';
  #placeDirty = true;
  readonly #frontends = new Map<string, Frontend>();
  /** Keys of the frontends of each Service. */
  readonly #owned = new Map<string, readonly string[]>();
  readonly #dirty = new Set<string>();
  /** Services that want an address and port which another one holds. */
  readonly #waiting = new Set<string>();
  #allDirty = false;
  #synced = false;
  #replaceNext = true;
  #timer: Timer | undefined;
  #fullSync: Timer | undefined;
  #lastSync = -Infinity;
  #failures = 0;
  #running: Promise<void> | undefined;
  #stopped = false;

  constructor(options: ProxyOptions) {
    this.#o = options;
    const { client, clock, random, logger, nodeName } = options;
    this.#simulated =
      options.backend instanceof SimulatedBackend ? options.backend : new SimulatedBackend({ clock, random });
    this.#backend = options.backend ?? this.#simulated;
    this.#began = clock.now();
    const shared = { clock, random, logger };
    if (this.#backend.placeChanged !== undefined)
      this.#serviceCidrs = new Informer<ServiceCIDR>({
        ...shared,
        client: client.networking.servicecidrs,
        transform: dropManagedFields,
      });
    this.#serviceCidrs?.addHandler({
      onAdd: () => this.#placeChanged(),
      onUpdate: () => this.#placeChanged(),
      onDelete: () => this.#placeChanged(),
    });
    options.health?.setEligible(() => this.nodeEligible);
    this.#services = new Informer<Service>({
      ...shared,
      client: client.core.services,
      labelSelector: ourServices,
      transform: dropManagedFields,
    });
    this.#slices = new Informer<EndpointSlice>({
      ...shared,
      client: client.discovery.endpointslices,
      labelSelector: ourServices,
      transform: dropManagedFields,
    });
    this.#nodeInformer = new Informer<Node>({
      ...shared,
      client: client.core.nodes,
      transform: nodeFacts,
      ...(nodeName === undefined ? {} : { fieldSelector: `metadata.name=${nodeName}` }),
    });
    this.#slices.addIndex(byService, (s) => [serviceKey(s)]);
    this.#services.addHandler({
      onAdd: (s) => this.#changed(keyOf(s), 'service'),
      onUpdate: (_, s) => this.#changed(keyOf(s), 'service'),
      onDelete: (s) => this.#changed(keyOf(s), 'service'),
    });
    this.#slices.addHandler({
      onAdd: (s) => this.#sliceChanged(s),
      onUpdate: (old, s) => {
        this.#sliceChanged(s);
        if (serviceKey(old) !== serviceKey(s)) this.#changed(serviceKey(old), 'endpoint');
      },
      onDelete: (s) => this.#changed(serviceKey(s), 'endpoint'),
    });
    this.#nodeInformer.addHandler({
      onAdd: (n) => this.#nodeChanged(n),
      onUpdate: (_, n) => this.#nodeChanged(n),
      onDelete: (n) => {
        this.#nodes.delete(n.metadata.name ?? '');
        this.#placeChanged();
      },
    });
  }

  get frontends(): ReadonlyMap<string, Frontend> {
    return this.#frontends;
  }

  async start(): Promise<void> {
    this.#services.start();
    this.#slices.start();
    this.#nodeInformer.start();
    this.#serviceCidrs?.start();
    await Promise.all([
      this.#services.synced,
      this.#slices.synced,
      this.#nodeInformer.synced,
      this.#serviceCidrs?.synced,
    ]);
    if (this.#stopped) return;
    this.#synced = true;
    if (this.#backend !== this.#simulated)
      this.#fullSync = this.#o.clock.setTicker(fullSyncPeriodMs, () => {
        this.#replaceNext = true;
        this.#sync();
      });
    this.#sync();
    await this.#running;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#fullSync?.cancel();
    await Promise.all([
      this.#services.stop(),
      this.#slices.stop(),
      this.#nodeInformer.stop(),
      this.#serviceCidrs?.stop(),
    ]);
    await this.#running;
    await this.#o.healthCheckPorts?.close();
    await this.#backend.close();
    if (this.#simulated !== this.#backend) await this.#simulated.close();
  }

  /** The place from which frontends are seen. */
  get #here(): Location {
    const { nodeName } = this.#o;
    return { node: nodeName, zone: this.#nodes.zone(nodeName) };
  }

  #nodeChanged(node: Node): void {
    const { nodeName } = this.#o;
    const before = this.#nodes.zone(nodeName);
    this.#nodes.set(node);
    this.#placeChanged();
    if (this.#nodes.zone(nodeName) === before) return;
    this.#allDirty = true;
    this.#sync();
  }

  get nodeEligible(): boolean {
    const { nodeName } = this.#o;
    return nodeName === undefined || this.#nodes.eligible(nodeName);
  }

  /** Tells the backend where it is, when that is news. */
  #placeChanged(): void {
    if (this.#backend.placeChanged === undefined) return;
    const { nodeName } = this.#o;
    const place: Place = {
      node: nodeName,
      addresses: [...(this.#o.nodeIp === undefined ? [] : [this.#o.nodeIp]), ...this.#nodes.addresses(nodeName)],
      podCIDRs: this.#nodes.podCIDRs(nodeName),
      serviceCIDRs: [...(this.#serviceCidrs?.lister.list() ?? [])].flatMap((c) => c.spec?.cidrs ?? []).sort(),
    };
    const text = JSON.stringify(place);
    if (text === this.#place) return;
    this.#place = text;
    this.#placeDirty = true;
    this.#backend.placeChanged(place);
    this.#sync();
  }

  #sliceChanged(slice: EndpointSlice): void {
    const trigger = slice.metadata.annotations?.[lastTrigger];
    if (trigger !== undefined && this.#synced && this.#triggers.length < maxTriggers) {
      const at = Date.parse(trigger);
      if (at > this.#began) this.#triggers.push(at);
    }
    this.#changed(serviceKey(slice), 'endpoint');
  }

  #changed(key: string, kind: 'service' | 'endpoint'): void {
    if (key === '') return;
    this.#dirty.add(key);
    const { metrics, health, clock } = this.#o;
    metrics?.queued(kind, clock.now() / 1000);
    if (this.#synced) health?.queued();
    this.#sync();
  }

  /** Schedules a pass, not sooner than the minimal period after the last one. */
  #sync(): void {
    if (!this.#synced || this.#stopped || this.#running !== undefined || this.#timer !== undefined) return;
    const { clock } = this.#o;
    const period =
      this.#o.minSyncPeriodMs ?? (this.#backend === this.#simulated ? 0 : (this.#backend.minSyncPeriodMs ?? 1000));
    const wait = this.#lastSync + period - clock.monotonic();
    if (wait > 0) {
      this.#later(wait);
      return;
    }
    this.#running = clock.activity.track(this.#pass()).finally(() => {
      this.#running = undefined;
      const most = this.#backend.syncPeriodMs ?? maxRetryMs;
      if (this.#failures > 0) this.#later(Math.min(retryMs * 2 ** (this.#failures - 1), most));
      else if (this.#dirty.size > 0 || this.#allDirty || this.#placeDirty) this.#sync();
    });
  }

  #later(ms: number): void {
    if (this.#stopped) return;
    this.#timer = this.#o.clock.setTimer(ms, () => {
      this.#timer = undefined;
      this.#sync();
    });
  }

  async #pass(): Promise<void> {
    const { clock, metrics, health, logger } = this.#o;
    const slice = new Slice();
    const began = clock.monotonic();
    metrics?.taken();
    const triggers = this.#triggers;
    this.#triggers = [];
    if (this.#allDirty) {
      this.#allDirty = false;
      for (const key of this.#owned.keys()) this.#dirty.add(key);
      for (const s of this.#services.lister.list()) this.#dirty.add(keyOf(s));
    }
    const set = new Map<string, Frontend>();
    const removed = new Set<string>();
    for (const key of this.#dirty) {
      this.#dirty.delete(key);
      this.#recompute(key, set, removed);
      await slice.turn();
    }
    this.#lastSync = clock.monotonic();
    if (this.#simulated !== this.#backend) await this.#simulated.apply({ set, removed });
    const full = this.#replaceNext;
    const place = this.#placeDirty;
    this.#placeDirty = false;
    try {
      if (full) await this.#backend.replace(this.#frontends);
      else if (set.size > 0 || removed.size > 0 || place) await this.#backend.apply({ set, removed });
      this.#replaceNext = false;
      this.#failures = 0;
      metrics?.synced(full, (clock.monotonic() - began) / 1000, clock.now() / 1000);
      for (const at of triggers) metrics?.programmed((clock.now() - at) / 1000);
      if (this.#dirty.size === 0) health?.updated();
    } catch (error) {
      // What the backend has now is not known: next time it gets everything.
      this.#replaceNext = true;
      metrics?.syncFailed(full, (clock.monotonic() - began) / 1000);
      health?.queued();
      if (this.#failures++ === 0) logger.error('could not update the service rules, will retry', { error });
    }
    if (metrics !== undefined) this.#gaps.report(metrics);
  }

  /** Brings the frontends of one Service up to date. */
  #recompute(key: string, set: Map<string, Frontend>, removed: Set<string>): void {
    const { namespace, name } = splitKey(key);
    const service = this.#services.lister.get(name, namespace);
    this.#waiting.delete(key);
    const ports = service === undefined ? [] : servicePorts(service, this.#slices.lister.byIndex(byService, key));
    this.#gaps.set(key, ports, this.#o.nodeName);
    this.#healthCheck(key, ports);
    const wanted = new Map<string, Frontend>();
    for (const port of ports) {
      for (const frontend of frontends(port, this.#here)) {
        const id = frontendKey(frontend);
        const holder = this.#frontends.get(id)?.source.name;
        // Two Services with one external address and port: who has it keeps it.
        if (holder !== undefined && holder !== port.name && !(this.#owned.get(key) ?? []).includes(id)) {
          this.#waiting.add(key);
          continue;
        }
        wanted.set(id, frontend);
      }
    }
    for (const id of this.#owned.get(key) ?? []) {
      if (wanted.has(id)) continue;
      this.#frontends.delete(id);
      set.delete(id);
      removed.add(id);
      for (const other of this.#waiting) this.#dirty.add(other);
      this.#waiting.clear();
    }
    for (const [id, frontend] of wanted) {
      const before = this.#frontends.get(id);
      if (before !== undefined && sameFrontend(before, frontend)) continue;
      this.#frontends.set(id, frontend);
      removed.delete(id);
      set.set(id, frontend);
    }
    if (wanted.size === 0) this.#owned.delete(key);
    else this.#owned.set(key, [...wanted.keys()]);
  }

  #healthCheck(key: string, ports: readonly ServicePort[]): void {
    const { healthCheckPorts, nodeName } = this.#o;
    if (healthCheckPorts === undefined) return;
    for (const family of [4, 6] as const) {
      const own = ports.filter((p) => p.family === family);
      const port = own[0]?.healthCheckNodePort ?? 0;
      healthCheckPorts.set(
        key,
        family,
        port === 0 ? undefined : { port, endpoints: localReadyAddresses(own, nodeName) },
      );
    }
  }

  async settled(): Promise<void> {
    while (this.#synced && !this.#stopped) {
      if (this.#running !== undefined) await this.#running;
      else if (this.#dirty.size > 0 || this.#allDirty || this.#placeDirty || this.#replaceNext) {
        this.#sync();
        await (this.#running ?? this.#o.clock.sleep(1));
      } else break;
    }
    await this.#backend.settled?.();
    await this.#o.healthCheckPorts?.settled();
  }

  #find(
    address: string,
    port: number,
    protocol: ProxyProtocol,
  ): { frontend: Frontend; node: string | undefined } | undefined {
    const ip = parseIp(address);
    if (ip === undefined) return undefined;
    const text = formatIp(ip);
    const direct = this.#simulated.get(text, port, protocol);
    if (direct !== undefined) return { frontend: direct, node: undefined };
    const node = this.#nodes.byAddress(text);
    const nodePort = node === undefined ? undefined : this.#simulated.get(nodePortAddress(ip.family), port, protocol);
    return nodePort === undefined ? undefined : { frontend: nodePort, node };
  }

  resolve(address: string, port: number, protocol: ProxyProtocol = 'TCP'): readonly ProxyEndpoint[] | undefined {
    const found = this.#find(address, port, protocol);
    if (found === undefined) return undefined;
    return found.frontend.endpoints.map((e) => ({ address: e.address, port: e.port }));
  }

  pick(
    address: string,
    port: number,
    from = '',
    protocol: ProxyProtocol = 'TCP',
  ): ProxyEndpoint | 'refused' | undefined {
    const found = this.#find(address, port, protocol);
    if (found === undefined) return undefined;
    const { frontend } = found;
    const own = from === '' ? undefined : this.#nodes.owner(from);
    const node = own ?? found.node ?? this.#o.nodeName;
    const caller: Caller = { address: from, inside: own !== undefined, node, zone: this.#nodes.zone(node) };
    const chosen = this.#simulated.pick(frontend, this.#simulated.candidates(frontend, caller), caller);
    return chosen === undefined ? 'refused' : { address: chosen.address, port: chosen.port };
  }
}

function serviceKey(slice: EndpointSlice): string {
  const name = slice.metadata.labels?.[serviceNameLabel] ?? '';
  return name === '' ? '' : `${slice.metadata.namespace ?? ''}/${name}`;
}

export function createProxy(options: ProxyOptions): Proxy {
  return new KubeProxy(options);
}
