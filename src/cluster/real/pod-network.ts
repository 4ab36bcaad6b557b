/**
 * A machine's part in the pod network: the configuration its runtime gives pods their addresses by, masquerading of what leaves the
 * cluster, and the way to the pods of other nodes. Where another CNI plugin has the pods, it does none of this.
 */
import type { Clock, Timer } from '../../base/clock.ts';
import { parseCidr } from '../../base/ip.ts';
import type { Logger } from '../../base/logger.ts';
import { OneAtATime } from '../../base/one-at-a-time.ts';
import type { Random } from '../../base/random.ts';
import type { Node } from '../../api/types/index.gen.ts';
import { Informer } from '../../client/informer.ts';
import type { TypedClient } from '../../client/typed-client.ts';
import { removeCniConfig, setKernelNetwork, writeCniConfig } from './cni.ts';
import { ipList } from './ip-command.ts';
import { watchLinks } from './link-watch.ts';
import { withdrawAllAddresses } from './load-balancer-addresses.ts';
import type { Family } from './overlay.ts';
import { families, overhead, overlayDevice, removeOverlay, syncOverlay } from './overlay.ts';
import { masqueradePods, removeMasquerade } from './pod-masquerade.ts';
import type { OverlayMode, Reach, RouteTo, WantedRoute } from './routes.ts';
import { canonicalRange, internalAddress, rangesOf, reach, removeRoutes, routesTo, syncRoutes } from './routes.ts';

const retryMs = 10_000;
/** The kernel's tables are looked at so often besides, in case a network has another shape. */
const resyncMs = 60_000;
/** An interface that comes up has its addresses and routes a moment later. */
const linkSettlesMs = 500;
/** So long the first configuration waits to know whether there are nodes on other networks, for its MTU. */
const nodesWaitMs = 3000;

export interface PodNetworkOptions {
  /** May list and watch nodes. */
  readonly client: TypedClient;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly nodeName: string;
  readonly cniConfDir: string;
  /** Where host-local keeps the addresses it has given out. */
  readonly cniDataDir: string;
  /** Ranges of all pods. */
  readonly clusterCidrs: readonly string[];
  /** Default `auto`: VXLAN to nodes that are on no network of this machine, plain routes to all others. */
  readonly overlay?: OverlayMode;
}

interface Device {
  readonly ifname: string;
  readonly mtu: number;
  readonly flags: readonly string[];
  readonly addr_info?: readonly { readonly local?: string }[];
}

/** What the way to other nodes is made of now. */
interface Plan {
  readonly routes: readonly WantedRoute[];
  /** Of packets that pods send; undefined: the runtime's default. */
  readonly mtu: number | undefined;
  readonly local: ReadonlyMap<Family, string>;
  readonly uplink: ReadonlyMap<Family, number>;
  /** No route, not even by a router: ranges. */
  readonly unreachable: readonly RouteTo[];
}

export class PodNetwork {
  readonly #o: PodNetworkOptions;
  readonly #nodes: Informer<Node>;
  /** This node's own ranges, once they are known. */
  #ranges: readonly string[] = [];
  readonly #sync = new OneAtATime(
    () => this.#write(),
    () => !this.#stopped && this.#settled && this.#ranges.length > 0,
  );
  #timer: Timer | undefined;
  #stopped = false;
  #unwatch: (() => void) | undefined;
  #told = '';
  #whose: 'ours' | 'other' | undefined;
  /** Ranges that masquerading is set up for. */
  #masqueraded = '';
  /** The other nodes have been read, or waited for long enough. */
  #settled = false;
  readonly #ready = Promise.withResolvers<void>();

  constructor(options: PodNetworkOptions) {
    this.#o = options;
    const { client, clock, random, logger } = options;
    this.#nodes = new Informer({
      client: client.core.nodes,
      clock,
      random,
      logger,
      transform: (n: Node) =>
        ({
          metadata: { name: n.metadata.name, resourceVersion: n.metadata.resourceVersion },
          spec: { podCIDRs: n.spec?.podCIDRs },
          status: { addresses: n.status?.addresses },
        }) as Node,
    });
    const wake = (node: Node): void => {
      if (node.metadata.name === options.nodeName) this.#own(node);
      this.#sync.ask();
    };
    this.#nodes.addHandler({
      onAdd: wake,
      onUpdate: (old, node) => {
        const same =
          JSON.stringify([old.spec, old.status?.addresses]) === JSON.stringify([node.spec, node.status?.addresses]);
        if (!same) wake(node);
      },
      onDelete: () => this.#sync.ask(),
    });
  }

  /** Follows the nodes; does nothing to the machine before its ranges are known. */
  start(): void {
    this.#nodes.start();
    // The kernel forgets the routes by an interface that goes down.
    this.#unwatch = watchLinks(() => this.#later(linkSettlesMs));
    const known = (): void => {
      this.#settled = true;
      this.#sync.ask();
    };
    this.#nodes.synced.then(known, () => {});
  }

  /** Resolves when the machine has its first configuration, by its Node's ranges or those of `setRanges`; also when it is stopped. */
  get ready(): Promise<void> {
    return this.#ready.promise;
  }

  /** This node's pod ranges. Resolves when the runtime can be asked for pods. */
  async setRanges(ranges: readonly string[]): Promise<void> {
    this.#ranges = ranges;
    // Whoever may not read nodes has pods all the same.
    if (!this.#settled) {
      const waited = new AbortController();
      // One rejects when nobody waits any more, the other when this stops, which is looked at next.
      const patience = this.#o.clock.sleep(nodesWaitMs, waited.signal).catch(() => {});
      await Promise.race([this.#nodes.synced.catch(() => {}), patience]);
      waited.abort();
      this.#settled = true;
    }
    this.#sync.ask();
    await this.#ready.promise;
  }

  #own(node: Node): void {
    const ranges = rangesOf(node).map((r) => r.range);
    if (ranges.length > 0 && ranges.join() !== this.#ranges.join()) this.#ranges = ranges;
  }

  /** Leaves everything, so that traffic goes on. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#unwatch?.();
    this.#ready.resolve();
    await this.#nodes.stop();
    await this.#sync.ended();
  }

  #later(ms: number): void {
    this.#timer?.cancel();
    this.#timer = this.#stopped ? undefined : this.#o.clock.setTimer(ms, () => this.#sync.ask());
  }

  async #write(): Promise<void> {
    let failed = false;
    try {
      const plan = await this.#configure();
      if (plan !== undefined) failed = await this.#connect(plan);
    } catch (error) {
      failed = true;
      this.#complain('the pod network could not be set up; trying again', { error });
    }
    if (!failed) this.#told = '';
    this.#later(failed ? retryMs : resyncMs);
  }

  /** What has been said once is not said again until it has worked. */
  #complain(text: string, more: Record<string, unknown>): void {
    const told = `${text} ${String(more['why'] ?? more['error'])}`;
    if (told === this.#told) return;
    this.#told = told;
    this.#o.logger.warn(text, more);
  }

  /** The runtime's configuration and masquerading; undefined where another plugin has the pods. */
  async #configure(): Promise<Plan | undefined> {
    const { clusterCidrs, cniConfDir, cniDataDir, logger } = this.#o;
    const ranges = this.#ranges;
    const unset = await setKernelNetwork(ranges.some((r) => parseCidr(r)?.family === 6));
    if (unset.length > 0)
      this.#complain('the kernel is not set up for pods; Services may not work', { why: unset.join(', ') });
    const plan = await this.#plan();
    const whose = await writeCniConfig({
      confDir: cniConfDir,
      dataDir: cniDataDir,
      podCidrs: ranges,
      ...(plan.mtu === undefined ? {} : { mtu: plan.mtu }),
    });
    if (whose === 'other' && this.#whose !== 'other')
      logger.info('the pod network is that of another CNI plugin', { folder: cniConfDir });
    this.#whose = whose;
    if (whose === 'ours' && this.#masqueraded !== ranges.join()) {
      await masqueradePods(ranges, clusterCidrs);
      this.#masqueraded = ranges.join();
    }
    this.#ready.resolve();
    return whose === 'ours' ? plan : undefined;
  }

  /** Looks at nodes and interfaces, and decides. */
  async #plan(): Promise<Plan> {
    const mode = this.#o.overlay ?? 'auto';
    const others = [...this.#nodes.lister.list()].filter((n) => n.metadata.name !== this.#o.nodeName);
    const own = this.#nodes.lister.get(this.#o.nodeName);
    const to = others.flatMap(routesTo);
    const devices = new Map((await ipList<Device>('addr show')).map((d) => [d.ifname, d]));
    const local = new Map<Family, string>();
    const uplink = new Map<Family, number>();
    const deviceOf = (address: string): Device | undefined =>
      [...devices.values()].find((d) => d.addr_info?.some((a) => a.local === address) === true);
    for (const family of families) {
      const address = own === undefined ? undefined : internalAddress(own, family);
      if (address === undefined) continue;
      local.set(family, address);
      const device = deviceOf(address);
      if (device !== undefined && !device.flags.includes('LOOPBACK')) uplink.set(family, device.mtu);
    }
    const reached = await reach([...new Set(to.map((r) => r.address))]);
    const ours = new Set<string>(Object.values(overlayDevice));
    const onWire = (r: Reach): boolean => {
      const flags = devices.get(r.device)?.flags ?? [];
      // Tunnels have no network on which a packet for somebody else's pod could be handed over.
      return r.direct && !flags.includes('POINTOPOINT') && !flags.includes('NOARP');
    };
    const routes: WantedRoute[] = [];
    const unreachable: RouteTo[] = [];
    for (const r of to) {
      const way = reached.get(r.address);
      if (way === undefined || ours.has(way.device)) {
        unreachable.push(r);
        continue;
      }
      const overlay = mode === 'always' || (mode === 'auto' && !onWire(way));
      if (overlay) {
        const mtu = devices.get(way.device)?.mtu;
        // Several uplinks: the smallest counts.
        if (mtu !== undefined) uplink.set(r.family, Math.min(mtu, uplink.get(r.family) ?? mtu));
      }
      routes.push({ ...r, overlay });
    }
    const limits = families
      .filter((f) => uplink.has(f))
      .map((f) => uplink.get(f)! - (routes.some((r) => r.overlay && r.family === f) ? overhead[f] : 0));
    const mtu = limits.length === 0 ? undefined : Math.min(...limits);
    return { routes, mtu, local, uplink, unreachable };
  }

  /** Overlay and routes. Resolves with whether something is missing. */
  async #connect(plan: Plan): Promise<boolean> {
    const failed: [string, string][] = plan.unreachable.map((r) => [r.range, `no route to its node ${r.address}`]);
    const own = this.#ranges.map(canonicalRange).filter((r) => r !== undefined);
    for (const family of families) {
      const mine = plan.routes.filter((r) => r.family === family);
      const peers = mine.filter((r) => r.overlay);
      const range = own.find((r) => r.family === family)?.range;
      const local = plan.local.get(family);
      if (peers.length > 0 && range !== undefined && local !== undefined) {
        const mtu = (plan.uplink.get(family) ?? 1500) - overhead[family];
        await syncOverlay({ family, local, range, mtu }, peers);
      }
      failed.push(...(await syncRoutes(family, mine, range)));
      if (peers.length === 0) await removeOverlay(family);
    }
    if (failed.length > 0)
      this.#complain('no route to the pods of another node; trying again', {
        ranges: failed.map(([range]) => range).join(', '),
        why: failed[0]![1],
      });
    return failed.length > 0;
  }
}

/** Takes everything of it off the machine; what could not be, each in a few words. */
export async function removePodNetwork(cniConfDir: string): Promise<string[]> {
  const failed: string[] = [];
  for (const [what, work] of [
    ['masquerading', () => removeMasquerade()],
    ['routes', () => removeRoutes()],
    ['load balancer addresses', () => withdrawAllAddresses()],
    ['overlay', async () => void (await Promise.all(families.map(removeOverlay)))],
    ['network configuration', () => removeCniConfig(cniConfDir)],
  ] as const)
    await work().catch((error: unknown) => failed.push(`${what}: ${(error as Error).message}`));
  return failed;
}
