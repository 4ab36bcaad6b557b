/**
 * `Announcement`: leads the `kube-dns` Service to a name server that is a process and no pod, by an EndpointSlice of its own beside a
 * Lease that says that it is alive. Each instance takes away what others have left behind when their Lease has stood still too long.
 */
import type { Clock, Timer } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import { StatusError } from '../api/status.ts';
import { formatMicroTime } from '../api/time.ts';
import type { TypedClient } from '../client/typed-client.ts';

const namespace = 'kube-system';
const renewMs = 10_000;
const expireMs = 40_000;
const managedBy = 'knarr-dns';
const selector = `app.kubernetes.io/managed-by=${managedBy}`;

export interface AnnouncementOptions {
  readonly client: TypedClient;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Part of object names: lower-case letters, digits and dashes. */
  readonly identity: string;
  readonly address: string;
  readonly port: number;
  /** Where metrics are; undefined: nowhere. */
  readonly metricsPort: number | undefined;
}

export class Announcement {
  readonly #o: AnnouncementOptions;
  readonly #name: string;
  /** Leases of others: what they said last, and since when. */
  readonly #seen = new Map<string, { readonly renewed: string; readonly since: number }>();
  #ticker: Timer | undefined;
  #working: Promise<void> = Promise.resolve();
  #failing = false;
  #stopped = false;

  constructor(options: AnnouncementOptions) {
    this.#o = options;
    this.#name = `kube-dns-${options.identity}`.slice(0, 63).replace(/-+$/, '');
  }

  /** Resolves when it has been tried once; what fails is tried again. */
  async start(): Promise<void> {
    await this.#again();
    this.#ticker = this.#o.clock.setTicker(renewMs, () => {
      this.#working = this.#o.clock.activity.track(this.#working.then(() => this.#again()));
    });
  }

  async #again(): Promise<void> {
    if (this.#stopped) return;
    try {
      await this.#renew();
      await this.#point();
      await this.#sweep();
      this.#failing = false;
    } catch (error) {
      // Told once in a row.
      if (!this.#failing) this.#o.logger.warn('DNS cannot announce itself as endpoint of kube-dns', { error });
      this.#failing = true;
    }
  }

  async #renew(): Promise<void> {
    const { client, clock, identity } = this.#o;
    await client.coordination.leases.apply(
      {
        apiVersion: 'coordination.k8s.io/v1',
        kind: 'Lease',
        metadata: { name: this.#name, namespace, labels: { 'app.kubernetes.io/managed-by': managedBy } },
        spec: {
          holderIdentity: identity,
          leaseDurationSeconds: expireMs / 1000,
          renewTime: formatMicroTime(clock.now()),
        },
      },
      { fieldManager: managedBy, force: true },
    );
  }

  /** Applied again each time: somebody may have taken it away. What is the same changes nothing. */
  async #point(): Promise<void> {
    const { client, address, port, metricsPort } = this.#o;
    await client.discovery.endpointslices.apply(
      {
        apiVersion: 'discovery.k8s.io/v1',
        kind: 'EndpointSlice',
        metadata: {
          name: this.#name,
          namespace,
          labels: {
            'kubernetes.io/service-name': 'kube-dns',
            'endpointslice.kubernetes.io/managed-by': managedBy,
            'k8s-app': 'kube-dns',
          },
        },
        addressType: address.includes(':') ? 'IPv6' : 'IPv4',
        endpoints: [{ addresses: [address], conditions: { ready: true, serving: true, terminating: false } }],
        ports: [
          { name: 'dns', port, protocol: 'UDP' },
          { name: 'dns-tcp', port, protocol: 'TCP' },
          ...(metricsPort === undefined ? [] : [{ name: 'metrics', port: metricsPort, protocol: 'TCP' }]),
        ],
      },
      { fieldManager: managedBy, force: true },
    );
  }

  async #sweep(): Promise<void> {
    const { client, clock, logger } = this.#o;
    const { items } = await client.coordination.leases.list({ namespace, labelSelector: selector });
    const now = clock.monotonic();
    const there = new Set<string>();
    for (const lease of items) {
      const name = lease.metadata.name ?? '';
      if (name === this.#name) continue;
      there.add(name);
      const renewed = lease.spec?.renewTime ?? '';
      const before = this.#seen.get(name);
      if (before === undefined || before.renewed !== renewed) this.#seen.set(name, { renewed, since: now });
      else if (now - before.since > expireMs) {
        logger.info('DNS takes away an endpoint of kube-dns that is gone', { name });
        await this.#remove(name);
        this.#seen.delete(name);
      }
    }
    for (const name of this.#seen.keys()) if (!there.has(name)) this.#seen.delete(name);
  }

  async #remove(name: string): Promise<void> {
    const { client } = this.#o;
    for (const resource of [client.discovery.endpointslices, client.coordination.leases])
      try {
        await resource.delete(name, namespace);
      } catch (error) {
        if (!(error instanceof StatusError) || error.code !== 404) throw error;
      }
  }

  /** Takes the endpoint away. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#ticker?.cancel();
    await this.#working;
    try {
      await this.#remove(this.#name);
    } catch (error) {
      // The others do it, when the Lease has stood still.
      this.#o.logger.info('DNS could not take its endpoint away', { error });
    }
  }
}
