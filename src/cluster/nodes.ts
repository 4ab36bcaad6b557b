/** The simulated nodes of a cluster, and the way from the API server to them: streams in this process instead of sockets. */
import type { Clock } from '../base/clock.ts';
import { joinHostPort } from '../base/host-port.ts';
import type { FeatureGates } from '../api/features/feature-gates.ts';
import type { Logger } from '../base/logger.ts';
import type { Random } from '../base/random.ts';
import type { Dialer } from '../apiserver/dialer.ts';
import type { Node } from '../api/types/index.gen.ts';
import type { UserInfo } from '../apiserver/request.ts';
import { Informer } from '../client/informer.ts';
import type { TypedClient } from '../client/typed-client.ts';
import { SimulatedHost } from '../kubelet/host/simulated/host.ts';
import type { Kubelet } from '../kubelet/kubelet.ts';
import { createKubelet } from '../kubelet/kubelet.ts';
import { serviceSource } from '../kubelet/service-source.ts';
import { SimulatedImages } from '../kubelet/runtime/simulated/images.ts';
import { SimulatedNetwork } from '../kubelet/runtime/simulated/network.ts';
import { duplexPair } from '../kubelet/runtime/simulated/pipe.ts';
import { SimulatedRuntime } from '../kubelet/runtime/simulated/runtime.ts';
import { BuiltinServer } from '../kubelet/runtime/simulated/server.ts';
import { ShapeCache } from '../kubelet/shapes.ts';
import { WriteGate } from '../kubelet/write-gate.ts';
import { identities } from './components.ts';

export interface NodeHandle {
  readonly name: string;
  /** Stops the kubelet as a crash would: heartbeats end, containers run on. */
  stop(): Promise<void>;
  /** Starts it again. */
  start(): Promise<void>;
}

export interface SimulatedNodesOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly clusterDomain: string;
  readonly dnsServiceIP: string;
  /** Of nodes and pods, the primary one first; default IPv4. */
  readonly families?: readonly (4 | 6)[];
  /** Addresses that are the cluster's own: nobody is asked for them on the machine's network. */
  readonly isServiceAddress?: (address: string) => boolean;
}

export interface StartNodes {
  /** The cluster's. */
  readonly features: Pick<FeatureGates, 'enabled'>;
  readonly count: number;
  readonly clientFor: (user: UserInfo, userAgent: string) => TypedClient;
  /** Nodes wait for a cloud-controller-manager to initialise them. */
  readonly externalCloud: boolean;
  /** Pod ranges by index of the node, where no controller gives them out. */
  readonly podCidrs: ((index: number) => readonly string[]) | undefined;
  /** Registered at the same time. */
  readonly concurrency?: number;
}

/** Taints that a node has until a component has looked at it. */
export const startTaints = {
  'kube-controller-manager': 'node.kubernetes.io/not-ready',
  'cloud-controller-manager': 'node.cloudprovider.kubernetes.io/uninitialized',
} as const;

export const controlPlaneLabel = 'node-role.kubernetes.io/control-plane';

/** Node addresses of a network that exists only in here. */
function addressOf(index: number, family: 4 | 6): string {
  const n = index + 2;
  if (family === 6) return `fd00:ac18::${n.toString(16)}`;
  return `172.${24 + ((n >> 16) & 7)}.${(n >> 8) & 255}.${n & 255}`;
}

/**
 * Resolves when every node is Ready and has none of `taints` any more, which its start put on it to keep pods away. Those that
 * nobody of this cluster removes are not waited for: whoever is brought to do it wants a cluster to come to.
 */
export async function nodesReady(
  client: TypedClient,
  names: readonly string[],
  { clock, random, logger }: Pick<SimulatedNodesOptions, 'clock' | 'random' | 'logger'>,
  taints: readonly string[],
  notYet?: (message: string) => void,
): Promise<void> {
  const informer = new Informer({ client: client.core.nodes, clock, random, logger });
  const waiting = new Set(names);
  await new Promise<void>((resolve) => {
    const look = (node: Node): void => {
      const condition = node.status?.conditions?.find((c) => c.type === 'Ready');
      if (condition?.status !== 'True') {
        notYet?.(condition?.message ?? 'its kubelet has said nothing yet');
        return;
      }
      if (node.spec?.taints?.some((t) => taints.includes(t.key)) === true) return;
      waiting.delete(node.metadata.name!);
      if (waiting.size === 0) resolve();
    };
    informer.addHandler({ onAdd: look, onUpdate: (_, node) => look(node) });
    informer.start();
  });
  await informer.stop();
}

class SimulatedNode implements NodeHandle {
  readonly name: string;
  readonly #make: () => Kubelet;
  #kubelet: Kubelet | undefined;

  constructor(name: string, make: () => Kubelet) {
    this.name = name;
    this.#make = make;
  }

  get kubelet(): Kubelet | undefined {
    return this.#kubelet;
  }

  async start(): Promise<void> {
    if (this.#kubelet !== undefined) return;
    this.#kubelet = this.#make();
    await this.#kubelet.start();
  }

  async stop(): Promise<void> {
    const kubelet = this.#kubelet;
    this.#kubelet = undefined;
    await kubelet?.stop();
  }
}

export class SimulatedNodes {
  readonly #o: SimulatedNodesOptions;
  /** One network for all nodes; where Services and names are resolved is set by proxy and DNS. */
  readonly network = new SimulatedNetwork();
  readonly images: SimulatedImages;
  readonly handles: NodeHandle[] = [];
  readonly #nodes = new Map<string, SimulatedNode>();
  readonly #machines: SimulatedRuntime[] = [];
  #services: ReturnType<typeof serviceSource> | undefined;

  constructor(options: SimulatedNodesOptions) {
    this.#o = options;
    this.images = new SimulatedImages();
  }

  /** The kubelet of one of these nodes; undefined while it is stopped. */
  kubelet(name: string): Kubelet | undefined {
    return this.#nodes.get(name)?.kubelet;
  }

  has(name: string): boolean {
    return this.#nodes.has(name);
  }

  /** @param others the way to nodes that are not simulated here */
  dialer(others: Dialer | undefined): Dialer {
    return {
      dialNode: (name, address, port, insecure) => {
        if (others !== undefined && !this.#nodes.has(name)) return others.dialNode(name, address, port, insecure);
        const kubelet = this.#nodes.get(name)?.kubelet;
        if (kubelet === undefined)
          return Promise.reject(new Error(`dial tcp: node ${name} does not answer: connection refused`));
        const [near, far] = duplexPair();
        kubelet.serve(far);
        return Promise.resolve(near);
      },
      dialTcp: (address, port) =>
        this.network.dial(address, port).catch((error: unknown) => {
          if ((error as { code?: unknown }).code !== 'EHOSTUNREACH' || this.#o.isServiceAddress?.(address) !== true)
            throw error;
          throw new Error(`dial tcp ${joinHostPort(address, port)}: connect: no route to host`, { cause: error });
        }),
    };
  }

  async start(options: StartNodes): Promise<void> {
    if (options.count === 0) return;
    const { clock, random, logger } = this.#o;
    const server = new BuiltinServer();
    const writeGate = new WriteGate(clock);
    const shapes = new ShapeCache();
    // One informer of Services serves the environments of all pods; its identity is the first node's, which may read them.
    this.#services = serviceSource({
      client: options.clientFor(identities.node('node-1'), 'kubelet'),
      clock,
      random,
      logger,
    });
    this.#services.start();
    const services = this.#services;
    const add = async (index: number): Promise<void> => {
      const name = `node-${index + 1}`;
      const addresses = (this.#o.families ?? [4]).map((family) => addressOf(index, family));
      const host = new SimulatedHost({ hostname: name, clock, network: this.network, addresses });
      const podCidrs = options.podCidrs?.(index);
      const runtime = new SimulatedRuntime({
        clock,
        random,
        host,
        images: this.images,
        addresses,
        server,
        ...(podCidrs === undefined ? {} : { podCidrs }),
      });
      this.#machines.push(runtime);
      const node = new SimulatedNode(name, () =>
        createKubelet({
          nodeName: name,
          client: options.clientFor(identities.node(name), 'kubelet'),
          clock,
          random,
          logger: logger.with({ node: name }),
          runtime,
          host,
          services,
          writeGate,
          shapes,
          features: options.features,
          clusterDns: [this.#o.dnsServiceIP],
          clusterDomain: this.#o.clusterDomain,
          watchNode: options.count <= 50,
          ...(podCidrs === undefined ? {} : { podCidrs }),
          ...(options.externalCloud ? { cloudProvider: 'external' as const } : {}),
        }),
      );
      this.#nodes.set(name, node);
      this.handles[index] = node;
      await node.start();
    };
    let next = 0;
    const workers = Array.from({ length: Math.min(options.count, options.concurrency ?? 32) }, async () => {
      while (next < options.count) await add(next++);
    });
    await Promise.all(workers);
    // A node may not claim a role for itself (NodeRestriction); the installer gives it.
    await options
      .clientFor(identities.admin, 'knarr')
      .core.nodes.patch('node-1', undefined, 'merge', { metadata: { labels: { [controlPlaneLabel]: '' } } });
  }

  async stop(): Promise<void> {
    const stopping = [...this.#nodes.values()].map((n) => n.stop());
    // Only now: a kubelet that still worked would start its containers again.
    await Promise.all(this.#machines.map((runtime) => runtime.powerOff()));
    await Promise.all(stopping);
    await this.#services?.stop();
  }
}
