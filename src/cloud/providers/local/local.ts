/**
 * The `local` cloud: this machine. Every Node that joins has an instance (until it is removed), in a zone of a configured region; a
 * Service of type LoadBalancer gets an address of a pool, on this machine `127.0.1.0/24` unless configured, or the nodes' own
 * addresses; routes are remembered.
 * What it must know after a restart it reads back from the objects of the cluster.
 */
import type { LoadBalancerStatus, Node, NodeAddress, Service } from '../../../api/types/index.gen.ts';
import type { InformerFactory } from '../../../client/informer-factory.ts';
import type { Informer } from '../../../client/informer.ts';
import { resources } from '../../../client/resources.ts';
import type {
  CloudProvider,
  InstanceMetadata,
  InstancesV2,
  LoadBalancer,
  Route,
  Routes,
  Zone,
  Zones,
} from '../../provider.ts';
import { InstanceNotFound } from '../../provider.ts';
import { LocalAddressPool } from './addresses.ts';

export interface LocalInstance {
  readonly id: string;
  readonly name: string;
  readonly zone: string;
  readonly region: string;
  readonly instanceType: string;
  /** Those that the node itself reports when left out. */
  readonly addresses?: readonly NodeAddress[];
  readonly state: 'running' | 'stopped';
}

export interface LocalLoadBalancer {
  readonly name: string;
  readonly namespace: string;
  readonly service: string;
  readonly addresses: readonly string[];
  readonly ports: readonly { readonly port: number; readonly protocol: string }[];
  /** Names of the nodes behind it. */
  readonly nodes: readonly string[];
}

/** Makes load balancers' addresses answer on this machine. */
export interface LoadBalancerDataPlane {
  /** A load balancer is new or has changed. */
  ensure(balancer: LocalLoadBalancer): Promise<void>;
  remove(name: string): Promise<void>;
  close(): Promise<void>;
}

export interface LocalProviderOptions {
  /** CIDRs of load balancer addresses, at most one range per family is needed. Default 127.0.1.0/24. */
  readonly loadBalancerPool?: readonly string[];
  /**
   * Instead of a pool: load balancers have the addresses of the nodes behind them, each port for one Service alone. `reserved`: ports
   * that the nodes need themselves.
   */
  readonly nodeAddresses?: { readonly reserved: readonly number[] };
  /** Default `local`. */
  readonly region?: string;
  /** Nodes are spread over them by their names. Default `local-a`. */
  readonly zones?: readonly string[];
  /** Default `knarr.local`. */
  readonly instanceType?: string;
  readonly dataPlane?: LoadBalancerDataPlane;
}

export interface LocalProvider extends CloudProvider {
  readonly instancesV2: InstancesV2;
  readonly loadBalancer: LoadBalancer;
  readonly zones: Zones;
  readonly routes: Routes;
  /** All instances known so far. */
  instances(): readonly LocalInstance[];
  /** Adds an instance, or changes one. Brings back one that was removed. */
  addInstance(instance: Partial<Omit<LocalInstance, 'name' | 'id'>> & { readonly name: string }): LocalInstance;
  /** The machine is gone: its Node will be deleted once it is not ready. */
  removeInstance(name: string): void;
  /** Switches a machine off or on. */
  setInstanceState(name: string, state: LocalInstance['state']): void;
  loadBalancers(): readonly LocalLoadBalancer[];
}

const scheme = 'local';

/** The same zone for the same name, neighbours in different ones: `node-0`, `node-1`, … take turns. */
function zoneIndex(name: string, zones: number): number {
  const number = /(\d{1,9})$/.exec(name);
  if (number !== null) return Number(number[1]) % zones;
  let hash = 0;
  for (let i = 0; i < name.length; i++) hash = (hash * 31 + name.charCodeAt(i)) >>> 0;
  return hash % zones;
}

class Local implements LocalProvider {
  readonly providerName = scheme;
  readonly instancesV2: InstancesV2;
  readonly loadBalancer: LoadBalancer;
  readonly zones: Zones;
  readonly routes: Routes;
  readonly #o: LocalProviderOptions;
  readonly #pool: LocalAddressPool;
  readonly #zoneNames: readonly string[];
  readonly #region: string;
  readonly #instances = new Map<string, LocalInstance>();
  readonly #removed = new Set<string>();
  /** By uid of the Service. */
  readonly #balancers = new Map<string, LocalLoadBalancer>();
  readonly #routes = new Map<string, Route>();
  #services: Informer<Service> | undefined;

  constructor(options: LocalProviderOptions) {
    this.#o = options;
    this.#pool = new LocalAddressPool(options.loadBalancerPool ?? ['127.0.1.0/24']);
    this.#region = options.region ?? 'local';
    this.#zoneNames = options.zones ?? [`${this.#region}-a`];
    this.instancesV2 = {
      instanceExists: (node) => Promise.resolve(!this.#removed.has(this.#nameOf(node))),
      instanceShutdown: (node) => Promise.resolve(this.#instances.get(this.#nameOf(node))?.state === 'stopped'),
      instanceMetadata: async (node) => this.#metadata(node),
    };
    this.loadBalancer = {
      getLoadBalancer: (_, service) => Promise.resolve(this.#existing(service)),
      getLoadBalancerName: (_, service) => balancerName(service),
      ensureLoadBalancer: (_, service, nodes) => this.#ensure(service, nodes),
      updateLoadBalancer: (_, service, nodes) => this.#update(service, nodes),
      ensureLoadBalancerDeleted: (_, service) => this.#delete(service),
    };
    const zoneOf = async (name: string): Promise<Zone> => {
      const instance = this.#instances.get(name);
      if (instance === undefined) throw new InstanceNotFound();
      return { failureDomain: instance.zone, region: instance.region };
    };
    this.zones = {
      getZoneByProviderID: (id) => zoneOf(nameOfProviderId(id)),
      getZoneByNodeName: zoneOf,
    };
    this.routes = {
      listRoutes: () => Promise.resolve([...this.#routes.values()]),
      createRoute: (_, hint, route) => {
        const name = `${hint}-${route.destinationCIDR}`;
        this.#routes.set(name, { ...route, name });
        return Promise.resolve();
      },
      deleteRoute: (_, route) => {
        this.#routes.delete(route.name);
        return Promise.resolve();
      },
    };
  }

  setInformers(informers: InformerFactory): void {
    this.#services = informers.informer(resources.core.services);
  }

  async close(): Promise<void> {
    await this.#o.dataPlane?.close();
  }

  // Instances.

  #nameOf(node: Node): string {
    const id = node.spec?.providerID ?? '';
    return id.startsWith(`${scheme}://`) ? nameOfProviderId(id) : (node.metadata.name ?? '');
  }

  instances(): readonly LocalInstance[] {
    return [...this.#instances.values()];
  }

  addInstance(instance: Partial<Omit<LocalInstance, 'name' | 'id'>> & { readonly name: string }): LocalInstance {
    const { name } = instance;
    const full: LocalInstance = {
      zone: this.#zoneNames[zoneIndex(name, this.#zoneNames.length)] ?? '',
      region: this.#region,
      instanceType: this.#o.instanceType ?? 'knarr.local',
      state: 'running',
      ...this.#instances.get(name),
      ...instance,
      id: name,
    };
    this.#removed.delete(name);
    this.#instances.set(name, full);
    return full;
  }

  removeInstance(name: string): void {
    this.#instances.delete(name);
    this.#removed.add(name);
  }

  setInstanceState(name: string, state: LocalInstance['state']): void {
    this.addInstance({ name, state });
  }

  #metadata(node: Node): InstanceMetadata {
    const name = this.#nameOf(node);
    if (this.#removed.has(name)) throw new InstanceNotFound();
    const labels = node.metadata.labels ?? {};
    // Whoever labelled the node before it joined knows better where it is.
    const zone = labels['topology.kubernetes.io/zone'];
    const region = labels['topology.kubernetes.io/region'];
    const instanceType = labels['node.kubernetes.io/instance-type'];
    const instance =
      this.#instances.get(name) ??
      this.addInstance({
        name,
        ...(zone === undefined ? {} : { zone }),
        ...(region === undefined ? {} : { region }),
        ...(instanceType === undefined ? {} : { instanceType }),
      });
    return {
      providerID: node.spec?.providerID ?? `${scheme}://${instance.id}`,
      instanceType: instance.instanceType,
      nodeAddresses: instance.addresses ?? node.status?.addresses ?? [],
      zone: instance.zone,
      region: instance.region,
    };
  }

  // Load balancers.

  loadBalancers(): readonly LocalLoadBalancer[] {
    return [...this.#balancers.values()];
  }

  /** What the Service has: as remembered, or as its status says after a restart. */
  #existing(service: Service): LoadBalancerStatus | undefined {
    const known = this.#balancers.get(service.metadata.uid ?? '');
    if (known !== undefined) return statusOf(known.addresses);
    const addresses = this.#addressesOf(service);
    return addresses.length === 0 ? undefined : statusOf(addresses);
  }

  /** Addresses of the pool that the Service's status names. */
  #addressesOf(service: Service): string[] {
    return (service.status?.loadBalancer?.ingress ?? [])
      .map((i) => i.ip ?? '')
      .filter((ip) => ip !== '' && (this.#o.nodeAddresses !== undefined || this.#pool.contains(ip)));
  }

  #taken(except: string): Set<string> {
    const taken = new Set<string>();
    for (const [uid, balancer] of this.#balancers)
      if (uid !== except) for (const address of balancer.addresses) taken.add(address);
    for (const service of this.#services?.lister.list() ?? [])
      if (service.metadata.uid !== except) for (const address of this.#addressesOf(service)) taken.add(address);
    return taken;
  }

  #allocate(service: Service, nodes: readonly Node[]): string[] {
    if (this.#o.nodeAddresses !== undefined) return this.#nodeAddresses(service, nodes, this.#o.nodeAddresses.reserved);
    const uid = service.metadata.uid ?? '';
    const taken = this.#taken(uid);
    const wanted = service.spec?.loadBalancerIP ?? '';
    if (wanted !== '') {
      if (!this.#pool.contains(wanted)) throw new Error(`requested address ${wanted} is not in the load balancer pool`);
      if (taken.has(wanted)) throw new Error(`requested address ${wanted} is already in use`);
      return [wanted];
    }
    const kept = (this.#balancers.get(uid)?.addresses ?? this.#addressesOf(service)).filter((a) => !taken.has(a));
    const families = (service.spec?.ipFamilies ?? ['IPv4']).map((f): 4 | 6 => (f === 'IPv6' ? 6 : 4));
    const served = families.filter((f) => this.#pool.families.has(f));
    if (served.length === 0)
      throw new Error(`the load balancer pool has no ${families.map((f) => `IPv${f}`).join(' or ')} address`);
    return served.map((family) => {
      const known = kept.find((a) => a.includes(':') === (family === 6));
      return known ?? this.#pool.allocate(family, taken);
    });
  }

  /** The nodes' addresses of the Service's families, if nobody else has its ports there. */
  #nodeAddresses(service: Service, nodes: readonly Node[], reserved: readonly number[]): string[] {
    const ports = (service.spec?.ports ?? []).map((p) => ({ port: p.port, protocol: p.protocol ?? 'TCP' }));
    const own = ports.find((p) => p.protocol === 'TCP' && reserved.includes(p.port));
    if (own !== undefined) throw new Error(`port ${own.port} of the nodes is their own`);
    for (const other of this.#services?.lister.list() ?? []) {
      if (other.metadata.uid === service.metadata.uid || (other.status?.loadBalancer?.ingress ?? []).length === 0)
        continue;
      for (const { port, protocol } of ports)
        if (other.spec?.ports?.some((p) => p.port === port && (p.protocol ?? 'TCP') === protocol) === true)
          throw new Error(
            `port ${port}/${protocol} of the nodes is taken by the Service ${other.metadata.namespace}/${other.metadata.name}`,
          );
    }
    const wanted = service.spec?.loadBalancerIP ?? '';
    const internal = nodes.flatMap((n) => (n.status?.addresses ?? []).filter((a) => a.type === 'InternalIP'));
    const all = (service.spec?.ipFamilies ?? ['IPv4']).flatMap((family) =>
      internal.map((a) => a.address).filter((a) => a.includes(':') === (family === 'IPv6')),
    );
    if (wanted !== '' && !all.includes(wanted)) throw new Error(`requested address ${wanted} is none of the nodes'`);
    if (all.length === 0) throw new Error('there is no node with an address for it');
    return wanted === '' ? [...new Set(all)].sort() : [wanted];
  }

  async #ensure(service: Service, nodes: readonly Node[]): Promise<LoadBalancerStatus> {
    const balancer = this.#remember(service, this.#allocate(service, nodes), nodes);
    await this.#o.dataPlane?.ensure(balancer);
    return statusOf(balancer.addresses);
  }

  async #update(service: Service, nodes: readonly Node[]): Promise<LoadBalancerStatus | undefined> {
    const known = this.#balancers.get(service.metadata.uid ?? '');
    if (known === undefined) return undefined;
    // Where they are the nodes' own, they come and go with the nodes; the last ones stay when there is none at the moment.
    const own = this.#o.nodeAddresses !== undefined && nodes.length > 0;
    const balancer = this.#remember(service, own ? this.#allocate(service, nodes) : known.addresses, nodes);
    await this.#o.dataPlane?.ensure(balancer);
    return own ? statusOf(balancer.addresses) : undefined;
  }

  #remember(service: Service, addresses: readonly string[], nodes: readonly Node[]): LocalLoadBalancer {
    const balancer: LocalLoadBalancer = {
      name: balancerName(service),
      namespace: service.metadata.namespace ?? '',
      service: service.metadata.name ?? '',
      addresses,
      ports: (service.spec?.ports ?? []).map((p) => ({ port: p.port, protocol: p.protocol ?? 'TCP' })),
      nodes: nodes.map((n) => n.metadata.name ?? ''),
    };
    this.#balancers.set(service.metadata.uid ?? '', balancer);
    return balancer;
  }

  async #delete(service: Service): Promise<void> {
    this.#balancers.delete(service.metadata.uid ?? '');
    await this.#o.dataPlane?.remove(balancerName(service));
  }
}

/** `a` and the uid without dashes, as upstream's default names. */
function balancerName(service: Service): string {
  return `a${(service.metadata.uid ?? '').replaceAll('-', '')}`.slice(0, 32);
}

function nameOfProviderId(id: string): string {
  return id.slice(id.lastIndexOf('/') + 1);
}

function statusOf(addresses: readonly string[]): LoadBalancerStatus {
  return { ingress: addresses.map((ip) => ({ ip, ipMode: 'VIP' })) };
}

export function createLocalProvider(options: LocalProviderOptions = {}): LocalProvider {
  return new Local(options);
}
