/**
 * Makes addresses of load balancers known on the machine's network: for each one of the nodes answers who asks for its hardware
 * address (proxy ARP, proxy NDP), so that packets come to that node, where the rules of Services take over. Which one it is follows
 * from the nodes that are ready, by the same calculation on all of them; one that takes over tells its neighbours. The address is never this machine's own: ports that no
 * Service has lead nowhere.
 */
import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import type { Clock, Timer } from '../../base/clock.ts';
import type { Cidr } from '../../base/ip.ts';
import { cidrContains, formatIp, parseCidr, parseIp } from '../../base/ip.ts';
import type { Logger } from '../../base/logger.ts';
import { OneAtATime } from '../../base/one-at-a-time.ts';
import type { Random } from '../../base/random.ts';
import type { EndpointSlice, Node, Service } from '../../api/types/index.gen.ts';
import { Informer } from '../../client/informer.ts';
import type { TypedClient } from '../../client/typed-client.ts';
import { ip, ipList } from './ip-command.ts';
import type { Notice } from './neighbour-notice.ts';
import { sendNotices } from './neighbour-notice.ts';
import type { Family } from './overlay.ts';
import { families } from './overlay.ts';

/** `proto` of the routes that mark addresses which this machine answers for; that of pod routes is another one. */
const protocol = '119';
const resyncMs = 60_000;
const retryMs = 10_000;
/** A notice may be lost: so often it is sent, and so long after the one before. */
const noticePausesMs: readonly number[] = [0, 500, 2000, 5000];
const excludeLabel = 'node.kubernetes.io/exclude-from-external-load-balancers';

export interface LoadBalancerAddressesOptions {
  /** May list and watch nodes, services and endpointslices. */
  readonly client: TypedClient;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly nodeName: string;
  /** Addresses of load balancers; others' are left alone. */
  readonly pool: readonly string[];
}

function weight(address: string, node: string): string {
  return createHash('sha256').update(`${address} ${node}`).digest('hex');
}

/** The node that answers for an address: each of several has about as many, and one that goes takes only its own along. */
export function ownerOf(address: string, nodes: readonly string[]): string | undefined {
  return nodes.toSorted((a, b) => (weight(address, a) < weight(address, b) ? -1 : 1))[0];
}

export class LoadBalancerAddresses {
  readonly #o: LoadBalancerAddressesOptions;
  readonly #pool: readonly Cidr[];
  readonly #nodes: Informer<Node>;
  readonly #services: Informer<Service>;
  readonly #slices: Informer<EndpointSlice>;
  readonly #sync = new OneAtATime(
    () => this.#write(),
    () => this.#started && !this.#stopped,
  );
  #started = false;
  #stopped = false;
  #timer: Timer | undefined;
  #written = '';
  /** What neighbours are still to be told, and how often they have been told. */
  #notices: { readonly notice: Notice; sent: number }[] = [];
  #noticeTimer: Timer | undefined;

  constructor(options: LoadBalancerAddressesOptions) {
    this.#o = options;
    this.#pool = options.pool.map(parseCidr).filter((c) => c !== undefined);
    const { client, clock, random, logger } = options;
    const shared = { clock, random, logger };
    this.#nodes = new Informer<Node>({
      ...shared,
      client: client.core.nodes,
      transform: (n: Node) =>
        ({
          metadata: {
            name: n.metadata.name,
            resourceVersion: n.metadata.resourceVersion,
            labels: n.metadata.labels?.[excludeLabel] === undefined ? {} : { [excludeLabel]: '' },
          },
          status: {
            conditions: (n.status?.conditions ?? [])
              .filter((c) => c.type === 'Ready')
              .map((c) => ({ type: c.type, status: c.status })),
            addresses: n.status?.addresses,
          },
        }) as Node,
    });
    this.#services = new Informer<Service>({
      ...shared,
      client: client.core.services,
      transform: (s: Service) =>
        ({
          metadata: {
            name: s.metadata.name,
            namespace: s.metadata.namespace,
            resourceVersion: s.metadata.resourceVersion,
          },
          spec: { type: s.spec?.type, externalTrafficPolicy: s.spec?.externalTrafficPolicy },
          status: { loadBalancer: s.status?.loadBalancer },
        }) as Service,
    });
    this.#slices = new Informer<EndpointSlice>({
      ...shared,
      client: client.discovery.endpointslices,
      transform: (s: EndpointSlice) =>
        ({
          metadata: {
            name: s.metadata.name,
            namespace: s.metadata.namespace,
            resourceVersion: s.metadata.resourceVersion,
            labels: s.metadata.labels,
          },
          addressType: s.addressType,
          endpoints: (s.endpoints ?? [])
            .filter((e) => e.conditions?.ready !== false && e.nodeName !== undefined)
            .map((e) => ({ addresses: [], nodeName: e.nodeName! })),
        }) as EndpointSlice,
    });
    this.#slices.addIndex('service', (s) => [
      `${s.metadata.namespace}/${s.metadata.labels?.['kubernetes.io/service-name'] ?? ''}`,
    ]);
    const wake = (): void => this.#sync.ask();
    for (const informer of [this.#nodes, this.#services, this.#slices] as readonly Informer[])
      informer.addHandler({ onAdd: wake, onUpdate: wake, onDelete: wake });
  }

  async start(): Promise<void> {
    const all = [this.#nodes, this.#services, this.#slices] as readonly Informer[];
    for (const informer of all) informer.start();
    await Promise.all(all.map((i) => i.synced));
    this.#started = true;
    this.#sync.ask();
    await this.#sync.ended();
  }

  /** Leaves what it answers for, so that traffic goes on; another node takes over when this one is no longer ready. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#noticeTimer?.cancel();
    await Promise.all(([this.#nodes, this.#services, this.#slices] as readonly Informer[]).map((i) => i.stop()));
    await this.#sync.ended();
  }

  /** Addresses that this node answers for. */
  #own(): Set<string> {
    const candidates = [...this.#nodes.lister.list()]
      .filter(
        (n) =>
          n.metadata.labels?.[excludeLabel] === undefined &&
          n.status?.conditions?.some((c) => c.type === 'Ready' && c.status === 'True') === true,
      )
      .map((n) => n.metadata.name!);
    const own = new Set<string>();
    for (const service of this.#services.lister.list()) {
      if (service.spec?.type !== 'LoadBalancer') continue;
      for (const ingress of service.status?.loadBalancer?.ingress ?? []) {
        const address = ingress.ip === undefined ? undefined : parseIp(ingress.ip);
        if (address === undefined || ingress.ipMode === 'Proxy') continue;
        if (!this.#pool.some((c) => cidrContains(c, address))) continue;
        let nodes = candidates;
        if (service.spec.externalTrafficPolicy === 'Local') {
          const key = `${service.metadata.namespace}/${service.metadata.name}`;
          const type = address.family === 4 ? 'IPv4' : 'IPv6';
          const holding = new Set(
            [...this.#slices.lister.byIndex('service', key)]
              .filter((s) => s.addressType === type)
              .flatMap((s) => (s.endpoints ?? []).map((e) => e.nodeName)),
          );
          nodes = candidates.filter((n) => holding.has(n));
        }
        const text = formatIp(address);
        if (ownerOf(text, nodes) === this.#o.nodeName) own.add(text);
      }
    }
    return own;
  }

  async #write(): Promise<void> {
    const own = this.#own();
    const text = [...own].sort().join();
    const due = this.#timer === undefined;
    if (text === this.#written && !due) return;
    this.#timer?.cancel();
    let wait = resyncMs;
    try {
      await announce(own, (notice) => this.#notices.push({ notice, sent: 0 }));
      this.#written = text;
      this.#notices = this.#notices.filter((n) => own.has(n.notice.address));
      await this.#tell();
    } catch (error) {
      wait = retryMs;
      this.#o.logger.warn('load balancer addresses are not known on the network; trying again', { error });
    }
    this.#timer = this.#stopped
      ? undefined
      : this.#o.clock.setTimer(wait, () => {
          this.#timer = undefined;
          this.#sync.ask();
        });
  }

  /** Sends what is due, and sees to it that the rest is sent. */
  async #tell(): Promise<void> {
    this.#noticeTimer?.cancel();
    this.#noticeTimer = undefined;
    if (this.#stopped || this.#notices.length === 0) return;
    const due = this.#notices;
    try {
      if (!(await sendNotices(due.map((n) => n.notice)))) {
        this.#notices = [];
        return;
      }
    } catch (error) {
      // Neighbours find out by themselves, later.
      this.#o.logger.warn('neighbours could not be told of load balancer addresses', { error });
    }
    for (const n of due) n.sent++;
    this.#notices = this.#notices.filter((n) => n.sent < noticePausesMs.length);
    if (this.#notices.length === 0 || this.#stopped) return;
    const pause = Math.min(...this.#notices.map((n) => noticePausesMs[n.sent]!));
    this.#noticeTimer = this.#o.clock.setTimer(pause, () => {
      this.#noticeTimer = undefined;
      void this.#tell();
    });
  }
}

interface DeviceAddresses {
  readonly ifindex: number;
  readonly ifname: string;
  readonly link_type?: string;
  readonly address?: string;
  readonly addr_info?: readonly { readonly local?: string; readonly prefixlen?: number }[];
}

async function marked(family: Family): Promise<Set<string>> {
  const routes = await ipList<{ dst: string }>(`-${family} route show proto ${protocol}`);
  return new Set(routes.map((r) => r.dst.split('/')[0]!));
}

/** Answers for these addresses, and no longer for others that it did; `taken` is told of those that are new. */
async function announce(addresses: ReadonlySet<string>, taken: (notice: Notice) => void): Promise<void> {
  const devices = await ipList<DeviceAddresses>('addr show');
  for (const family of families) {
    const there = await marked(family);
    for (const text of addresses) {
      const address = parseIp(text)!;
      if (address.family !== family) continue;
      const on = devices
        .flatMap((d) => (d.addr_info ?? []).map((a) => ({ device: d.ifname, link: d, ...a })))
        .find((a) => {
          const cidr = a.local === undefined ? undefined : parseCidr(`${a.local}/${a.prefixlen}`);
          return cidr !== undefined && a.device !== 'lo' && cidrContains(cidr, address);
        });
      // On none of the machine's networks: routers lead such addresses to nodes, and nobody asks for a hardware address.
      if (on === undefined) continue;
      const isNew = !there.delete(text);
      if (isNew)
        // Out of sight of the network that asks, which is what makes the kernel answer; what is no Service's ends there.
        await ip(`-${family} route replace ${text} dev lo src ${on.local} proto ${protocol}`);
      if (family === 6) await writeFile(`/proc/sys/net/ipv6/conf/${on.device}/proxy_ndp`, '1');
      await ip(`-${family} neigh replace proxy ${text} dev ${on.device}`);
      const { ifindex: index, link_type: type, address: hardware } = on.link;
      if (isNew && type === 'ether' && hardware !== undefined)
        taken({ address: text, device: { index, hardware }, from: on.local! });
    }
    await withdraw(family, there);
  }
}

async function withdraw(family: Family, addresses: ReadonlySet<string>): Promise<void> {
  if (addresses.size === 0) return;
  const proxies = await ipList<{ dst: string; dev?: string }>(`-${family} neigh show proxy`);
  for (const { dst, dev } of proxies)
    if (addresses.has(dst) && dev !== undefined) await ip(`-${family} neigh del proxy ${dst} dev ${dev}`);
  for (const address of addresses) await ip(`-${family} route del ${address} proto ${protocol}`);
}

/** Answers for no address any more. */
export async function withdrawAllAddresses(): Promise<void> {
  for (const family of families) await withdraw(family, await marked(family));
}
