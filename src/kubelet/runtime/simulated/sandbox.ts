/** One simulated pod sandbox: its addresses, who listens on its ports, and how its processes reach others. */
import type { Duplex } from 'node:stream';
import type { Clock } from '../../../base/clock.ts';
import type { Random } from '../../../base/random.ts';
import type { ContainerEventType, PodSandboxConfig, PodSandboxState } from '../container-runtime.ts';
import type { SimulatedLogs } from '../../host/simulated/logs.ts';
import { backendFor } from './behaviour.ts';
import type { SimulatedContainer } from './container.ts';
import type { FileView } from './file-system.ts';
import type { SimulatedImages } from './images.ts';
import type { NetworkEndpoint, SimulatedNetwork } from './network.ts';
import { dialMachine, isLoopback, networkError } from './network.ts';
import { duplexPair } from './pipe.ts';
import type { BuiltinServer } from './server.ts';

/** What sandboxes and containers need of the node they are on. */
export interface SimulatedNode {
  readonly clock: Clock;
  readonly random: Random;
  readonly files: FileView;
  readonly logs: SimulatedLogs;
  readonly images: SimulatedImages;
  readonly network: SimulatedNetwork;
  readonly server: BuiltinServer;
  readonly addresses: readonly string[];
  /** Aborts when the machine is switched off. */
  readonly off: AbortSignal;
  newId(): string;
  emit(container: SimulatedContainer, type: ContainerEventType): void;
}

export class SimulatedSandbox implements NetworkEndpoint {
  readonly id: string;
  readonly node: SimulatedNode;
  readonly config: PodSandboxConfig;
  readonly runtimeHandler: string;
  readonly createdAt: number;
  readonly ips: readonly string[];
  readonly hostNetwork: boolean;
  readonly containers: SimulatedContainer[] = [];
  state: PodSandboxState = 'SANDBOX_READY';
  #listeners: Map<number, (stream: Duplex) => void> | undefined;

  constructor(
    id: string,
    node: SimulatedNode,
    config: PodSandboxConfig,
    runtimeHandler: string,
    ips: readonly string[],
  ) {
    this.id = id;
    this.node = node;
    this.config = config;
    this.runtimeHandler = runtimeHandler;
    this.createdAt = node.clock.now();
    this.ips = ips;
    this.hostNetwork = config.linux?.securityContext?.namespaceOptions?.network === 'NODE';
  }

  get hostname(): string {
    return this.config.hostname ?? this.config.metadata.name;
  }

  resolvConf(): string {
    const dns = this.config.dnsConfig;
    if (dns === undefined) return '';
    let out = dns.searches.length > 0 ? `search ${dns.searches.join(' ')}\n` : '';
    for (const s of dns.servers) out += `nameserver ${s}\n`;
    if (dns.options.length > 0) out += `options ${dns.options.join(' ')}\n`;
    return out;
  }

  /** Accepts connections on a port for one of the sandbox's processes. */
  listen(port: number, onConnection: (stream: Duplex) => void): () => void {
    this.#listeners ??= new Map();
    if (this.#listeners.has(port)) throw new Error('Address already in use');
    this.#listeners.set(port, onConnection);
    return () => {
      if (this.#listeners?.get(port) === onConnection) this.#listeners.delete(port);
    };
  }

  /** A connection to one of the pod's ports. */
  connect(port: number): Promise<Duplex> | Duplex {
    const backend = backendFor(this.config.annotations, port) ?? this.node.network.backendOf(this.config, port);
    if (backend !== undefined) return dialMachine(backend.host, backend.port);
    const accept = this.#acceptor(port);
    if (accept === undefined) throw networkError('ECONNREFUSED', this.ips[0] ?? '', port);
    const [near, far] = duplexPair();
    accept(far);
    return near;
  }

  #acceptor(port: number): ((stream: Duplex) => void) | undefined {
    const listener = this.#listeners?.get(port);
    if (listener !== undefined) return listener;
    let fallback: SimulatedContainer | undefined;
    for (const c of this.containers) {
      if (!c.running) continue;
      const own = c.image.image.listen?.[port];
      if (own !== undefined) return own;
      if (!this.#defaultListens(c, port)) continue;
      fallback ??= c;
    }
    const c = fallback;
    if (c === undefined) return undefined;
    const readyAt = c.startedAt + (c.behaviour.readyAfterMs ?? 0);
    return (stream) =>
      this.node.server.accept(stream, {
        pod: `${this.config.metadata.namespace}/${this.config.metadata.name}`,
        container: c.config.metadata.name,
        hostname: this.hostname,
        port,
        status: () => (this.node.clock.now() < readyAt ? 503 : (c.behaviour.httpStatus ?? 200)),
      });
  }

  /** Whether the built-in server stands behind a port of this container. */
  #defaultListens(c: SimulatedContainer, port: number): boolean {
    if (c.image.image.listen !== undefined || c.image.image.closed) return c.behaviour.ports?.includes(port) ?? false;
    return c.behaviour.ports?.includes(port) ?? true;
  }

  /** A connection from inside the pod. */
  async dialOut(address: string, port: number): Promise<Duplex> {
    if (isLoopback(address)) return this.connect(port);
    return this.node.network.dial(address, port, this.ips[0]);
  }

  /** Looks a name up through the search path of the pod's resolver. */
  async resolve(name: string): Promise<readonly string[]> {
    const dns = this.config.dnsConfig;
    const ndots = Number(/^ndots:(\d+)$/.exec(dns?.options.find((o) => o.startsWith('ndots:')) ?? '')?.[1] ?? 1);
    const absolute = name.endsWith('.');
    const searched = absolute ? [] : (dns?.searches ?? []).map((s) => `${name}.${s}`);
    const plain = name.replace(/\.$/, '');
    const enough = name.split('.').length - 1 >= ndots;
    for (const n of enough ? [plain, ...searched] : [...searched, plain]) {
      const found = await this.node.network.resolveName(n, this.config.metadata.namespace);
      if (found.length > 0) return found;
    }
    return [];
  }
}
