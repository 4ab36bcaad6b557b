/**
 * Health check node ports: where a balancer asks whether this node has an endpoint of a Service with externalTrafficPolicy Local.
 * Answers as upstream's (pkg/proxy/healthcheck/service_health.go), one listener an address family.
 */
import { cidrContains, parseCidr, parseIp } from '../base/ip.ts';
import type { Logger } from '../base/logger.ts';
import type { ProxyHealth } from './health.ts';
import type { HttpAnswer, Listener, ProxyHost } from './host/proxy-host.ts';

interface Wanted {
  readonly port: number;
  readonly endpoints: number;
}

interface Open {
  readonly port: number;
  endpoints: number;
  listeners: Promise<readonly Listener[]>;
}

export interface HealthCheckPortsOptions {
  readonly host: ProxyHost;
  readonly logger: Logger;
  readonly health: ProxyHealth;
  /** Ranges of the node's addresses to listen at; `primary` and nothing given: all addresses. */
  readonly nodePortAddresses?: readonly string[];
  /** A port could not be had. */
  readonly onFailure?: (namespace: string, name: string, message: string) => void;
  readonly nodeName: string;
}

export class HealthCheckPorts {
  readonly #o: HealthCheckPortsOptions;
  readonly #open = new Map<string, Open>();
  #last: Promise<void> = Promise.resolve();

  constructor(options: HealthCheckPortsOptions) {
    this.#o = options;
  }

  /** `service`: `namespace/name`; nothing wanted: its port is closed. */
  set(service: string, family: 4 | 6, wanted: Wanted | undefined): void {
    const key = `${family} ${service}`;
    const known = this.#open.get(key);
    if (known !== undefined && known.port === wanted?.port) {
      known.endpoints = wanted.endpoints;
      return;
    }
    if (known !== undefined) {
      this.#open.delete(key);
      // A port that moves from one Service to another is free only when it is closed.
      this.#last = this.#last.then(() => closeAll(known));
    }
    if (wanted === undefined) return;
    const entry: Open = { ...wanted, listeners: Promise.resolve([]) };
    this.#open.set(key, entry);
    entry.listeners = this.#last
      .then(() => this.#listen(service, family, entry))
      .catch((error: unknown) => {
        if (this.#open.get(key) === entry) this.#open.delete(key);
        const [namespace = '', name = ''] = service.split('/');
        const why = error instanceof Error ? error.message : String(error);
        const message = `node ${this.#o.nodeName} failed to start healthcheck ${JSON.stringify(service)} on port ${entry.port}: ${why}`;
        this.#o.logger.error('failed to start healthcheck', { service, port: entry.port, error });
        this.#o.onFailure?.(namespace, name, message);
        return [];
      });
  }

  async #listen(service: string, family: 4 | 6, entry: Open): Promise<readonly Listener[]> {
    const listeners: Listener[] = [];
    try {
      for (const address of await this.#addresses(family))
        listeners.push(await this.#o.host.serve(address, entry.port, () => this.#answer(service, entry)));
      return listeners;
    } catch (error) {
      await Promise.all(listeners.map((l) => l.close()));
      throw error;
    }
  }

  async #addresses(family: 4 | 6): Promise<readonly string[]> {
    const ranges = (this.#o.nodePortAddresses ?? [])
      .map((r) => parseCidr(r.trim()))
      .filter((c) => c?.family === family);
    const all = [family === 4 ? '0.0.0.0' : '::'];
    if (ranges.length === 0 || ranges.some((r) => r!.prefix === 0)) return all;
    return (await this.#o.host.addresses()).filter((a) => {
      const ip = parseIp(a);
      return ip !== undefined && ranges.some((r) => cidrContains(r!, ip));
    });
  }

  #answer(service: string, entry: Open): HttpAnswer {
    const { healthy } = this.#o.health;
    const [namespace, name] = service.split('/');
    return {
      status: entry.endpoints > 0 && healthy ? 200 : 503,
      headers: {
        'content-type': 'application/json',
        'x-content-type-options': 'nosniff',
        'x-load-balancing-endpoint-weight': String(entry.endpoints),
      },
      body: `{
\t"service": {
\t\t"namespace": ${JSON.stringify(namespace)},
\t\t"name": ${JSON.stringify(name)}
\t},
\t"localEndpoints": ${entry.endpoints},
\t"serviceProxyHealthy": ${healthy}
}`,
    };
  }

  /** Resolves when ports that are to be open or closed are. */
  async settled(): Promise<void> {
    await this.#last;
    await Promise.all([...this.#open.values()].map((o) => o.listeners));
  }

  async close(): Promise<void> {
    const open = [...this.#open.values()];
    this.#open.clear();
    await this.#last;
    await Promise.all(open.map(closeAll));
  }
}

async function closeAll(open: Open): Promise<void> {
  await Promise.all((await open.listeners).map((l) => l.close()));
}
