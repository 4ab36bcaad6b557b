/**
 * What a server leaves behind that ends in the middle of creating or deleting a Service: addresses and node ports that
 * nobody has, and Services whose address or port is not written down. Looked for at the start and every three minutes, as
 * upstream's repair controllers do; and soon when an address turns out to be missing: an IPAddress was deleted, or a Service came
 * by another way than through here. A server that shares its store lets what is new be, since another one may be at work on it.
 */
import type { Clock, Timer } from '../../base/clock.ts';
import type { Logger } from '../../base/logger.ts';
import type { KubeObject, ObjectMeta } from '../../api/object.ts';
import { timeMs } from '../../api/time.ts';
import type { Registries } from '../registry.ts';
import { AllocationError, type ClusterIpAllocator } from './cluster-ip.ts';
import type { NodePortAllocator, PortOperation } from './node-port.ts';

const addressGroup = 'networking.k8s.io';
const everyMs = 180_000;
/** An IPAddress younger than that may belong to a Service that is being created. */
const youngMs = 60_000;
/** Events of Services and of addresses may come in either order. */
const soonMs = 1000;
/** A port that has no Service in so many passes has leaked. */
const passesToLeak = 3;

interface ServiceSpec {
  readonly clusterIPs?: readonly string[];
  readonly ports?: readonly { readonly nodePort?: number }[];
  readonly healthCheckNodePort?: number;
}

export interface AllocationRepairOptions {
  readonly registries: Registries;
  readonly clusterIps: ClusterIpAllocator;
  readonly nodePorts: NodePortAllocator;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly onFailure?: () => void;
}

export class AllocationRepair {
  readonly #o: AllocationRepairOptions;
  /** Ports without a Service, and in how many passes they were seen so. */
  #idle = new Map<number, number>();
  #ticker: Timer | undefined;
  #soon: Timer | undefined;
  #unfollow: (() => void)[] = [];
  #busy = false;
  #closed = false;

  constructor(options: AllocationRepairOptions) {
    this.#o = options;
  }

  /** `alone`: no other server uses the store, and this one serves nobody yet. */
  async start(alone: boolean): Promise<void> {
    await this.#pass(alone);
    if (this.#closed) return;
    this.#ticker = this.#o.clock.setTicker(everyMs, () => this.#again());
    const { registries } = this.#o;
    let filled = false;
    if (registries.registry(addressGroup, 'ipaddresses') === undefined) return;
    const unfollow = await Promise.all([
      registries.follow('', 'services', (type, service) => {
        if (filled && type === 'put' && this.#lacks(service.object())) this.#repairSoon();
      }),
      registries.follow(addressGroup, 'ipaddresses', (type, address) => {
        if (filled && type === 'delete' && this.#isMissed(address.object())) this.#repairSoon();
      }),
    ]);
    filled = true;
    if (this.#closed) for (const end of unfollow) end();
    else this.#unfollow = unfollow;
  }

  #again(): void {
    if (this.#busy || this.#closed) return;
    this.#busy = true;
    void this.#o.clock.activity.track(
      this.#pass(false)
        .catch((error: unknown) => {
          if (this.#closed) return;
          this.#o.onFailure?.();
          this.#o.logger.warn('repairing Service addresses and ports failed', { error });
        })
        .finally(() => {
          this.#busy = false;
        }),
    );
  }

  #repairSoon(): void {
    if (this.#closed) return;
    this.#soon ??= this.#o.clock.setTimer(soonMs, () => {
      this.#soon = undefined;
      this.#again();
    });
  }

  /** Whether an address of the Service is not known to be taken. */
  #lacks(service: KubeObject): boolean {
    const { clusterIPs = [] } = (service['spec'] ?? {}) as ServiceSpec;
    return clusterIPs.some(
      (ip) => ip !== 'None' && this.#o.registries.cachedGet(addressGroup, 'ipaddresses', '', ip) === undefined,
    );
  }

  /** Whether the Service that had the address has it still. */
  #isMissed(address: KubeObject): boolean {
    const { parentRef } = (address['spec'] ?? {}) as { readonly parentRef?: ObjectMeta };
    const { namespace = '', name = '' } = parentRef ?? {};
    const service = this.#o.registries.cachedGet('', 'services', namespace, name)?.object() as KubeObject | undefined;
    return service !== undefined && this.#lacks(service);
  }

  close(): void {
    this.#closed = true;
    this.#ticker?.cancel();
    this.#soon?.cancel();
    for (const end of this.#unfollow.splice(0)) end();
  }

  async #pass(alone: boolean): Promise<void> {
    const services = [...this.#o.registries.cached('', 'services')].map((s) => s.object());
    await this.#addresses(services, alone);
    await this.#ports(services, alone);
  }

  async #addresses(services: readonly KubeObject[], alone: boolean): Promise<void> {
    const { registries, clusterIps, clock, logger } = this.#o;
    const owners = new Map<string, KubeObject>();
    for (const service of services)
      for (const ip of (service['spec'] as ServiceSpec | undefined)?.clusterIPs ?? [])
        if (ip !== 'None') owners.set(ip, service);
    for (const stored of registries.cached(addressGroup, 'ipaddresses')) {
      const { metadata } = stored.object() as { metadata: ObjectMeta };
      const name = metadata.name ?? '';
      if (owners.delete(name)) continue;
      if (metadata.labels?.['ipaddress.kubernetes.io/managed-by'] !== 'ipallocator.k8s.io') continue;
      if (!alone && clock.now() - timeMs(metadata.creationTimestamp) < youngMs) continue;
      logger.info('a cluster IP that no Service has is free again', { ip: name });
      await clusterIps.release(name);
    }
    for (const [ip, service] of owners) {
      const { name = '', namespace = '' } = service.metadata;
      try {
        await clusterIps.allocate(ip, { namespace, name }, false);
      } catch (error) {
        if (!(error instanceof AllocationError)) throw error;
        logger.warn('the cluster IP of a Service cannot be its', { service: `${namespace}/${name}`, ip, error });
      }
    }
  }

  async #ports(services: readonly KubeObject[], alone: boolean): Promise<void> {
    const used = new Set<number>();
    for (const service of services) {
      const spec = service['spec'] as ServiceSpec | undefined;
      for (const port of spec?.ports ?? []) if (port.nodePort) used.add(port.nodePort);
      if (spec?.healthCheckNodePort) used.add(spec.healthCheckNodePort);
    }
    const taken = await this.#o.nodePorts.taken();
    const idle = new Map<number, number>();
    const leaked: number[] = [];
    for (const port of taken) {
      if (used.delete(port)) continue;
      const seen = (this.#idle.get(port) ?? 0) + 1;
      if (alone || seen >= passesToLeak) leaked.push(port);
      else idle.set(port, seen);
    }
    this.#idle = idle;
    if (leaked.length === 0 && used.size === 0) return;
    await this.#o.nodePorts.run((ports) => {
      for (const port of leaked) ports.release(port);
      for (const port of used) takeIfFree(ports, port);
    });
  }
}

function takeIfFree(ports: PortOperation, port: number): void {
  try {
    ports.allocate(port);
  } catch (error) {
    // It was taken meanwhile, or is outside the range of today.
    if (!(error instanceof AllocationError)) throw error;
  }
}
