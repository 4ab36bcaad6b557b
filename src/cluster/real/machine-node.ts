/**
 * This machine as a node: our kubelet over a real container runtime and the machine itself, its pod network, and its HTTPS
 * endpoint. Services and network policies are the proxy's (`createNodeProxy`).
 */
import { homedir } from 'node:os';
import type { Duplex } from 'node:stream';
import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/logger.ts';
import type { Random } from '../../base/random.ts';
import type { TypedClient } from '../../client/typed-client.ts';
import { createLinuxHost } from '../../kubelet/host/linux/host.ts';
import type { Kubelet } from '../../kubelet/kubelet.ts';
import type { KubeletOptions } from '../../kubelet/kubelet-options.ts';
import { createKubelet } from '../../kubelet/kubelet.ts';
import { ensureSandboxImage } from '../../kubelet/runtime/cri/load.ts';
import type { CriRuntime } from '../../kubelet/runtime/cri/open.ts';
import type { KubeletListenOptions } from '../../kubelet/server/server.ts';
import { cniDataDir } from './cni.ts';
import { nodeDockerConfig } from './node-docker-config.ts';
import { PodNetwork } from './pod-network.ts';
import type { OverlayMode } from './routes.ts';

export interface MachineNodeOptions {
  readonly nodeName: string;
  /** As `system:node:NAME`. */
  readonly client: TypedClient;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly runtime: CriRuntime;
  /** The node's addresses, one a family; found out when left out. */
  readonly addresses?: readonly string[];
  readonly rootDir: string;
  readonly cniConfDir: string;
  readonly cgroupRoot?: string;
  /** The resolver's file that pods inherit from; empty for none. */
  readonly resolvConf?: string;
  readonly clusterDns: readonly string[];
  readonly clusterDomain: string;
  /** Ranges of all pods. */
  readonly clusterCidrs: readonly string[];
  /** How pods of other nodes are reached; default `auto`. */
  readonly overlay?: OverlayMode;
  /** May list and watch nodes; default: the node itself. */
  readonly networkClient?: TypedClient;
  readonly kubelet?: Partial<KubeletOptions>;
}

/** A node of this machine: its kubelet with its part in the pod network. */
export interface NodeOfMachine {
  readonly kubelet: Kubelet;
  start(): Promise<void>;
  /** Leaves containers and routes. */
  stop(): Promise<void>;
}

/** The kubelet of this machine and its pod network, not yet started. */
export async function createMachineNode(o: MachineNodeOptions): Promise<NodeOfMachine> {
  // The runtime makes containers' cgroups below ours: both must name them alike.
  const driver = (await o.runtime.cgroupDriver()) === 'SYSTEMD' ? 'systemd' : 'cgroupfs';
  const [host] = await Promise.all([
    createLinuxHost({
      clock: o.clock,
      hostname: o.nodeName,
      rootDir: o.rootDir,
      ...(o.addresses === undefined ? {} : { addresses: o.addresses }),
      ...(o.resolvConf === undefined ? {} : { resolvConf: o.resolvConf }),
      cgroups: { driver, ...(o.cgroupRoot === undefined ? {} : { cgroupRoot: o.cgroupRoot }) },
    }),
    ensureSandboxImage(o.runtime),
  ]);
  const network = new PodNetwork({
    client: o.networkClient ?? o.client,
    clock: o.clock,
    random: o.random,
    logger: o.logger,
    nodeName: o.nodeName,
    cniConfDir: o.cniConfDir,
    cniDataDir: cniDataDir(o.rootDir),
    clusterCidrs: o.clusterCidrs,
    ...(o.overlay === undefined ? {} : { overlay: o.overlay }),
  });
  const ofMachine = nodeDockerConfig({ rootDir: o.rootDir, home: homedir(), clock: o.clock, logger: o.logger });
  const ofPrograms = o.kubelet?.imageCredentials;
  const kubelet = createKubelet({
    ...o.kubelet,
    imageCredentials: async (repository) => [
      ...(await ofMachine(repository)),
      ...((await ofPrograms?.(repository)) ?? []),
    ],
    nodeName: o.nodeName,
    client: o.client,
    clock: o.clock,
    random: o.random,
    logger: o.logger,
    runtime: o.runtime,
    host,
    rootDir: o.rootDir,
    clusterDns: o.clusterDns,
    clusterDomain: o.clusterDomain,
    onPodCidrs: (podCidrs) => network.setRanges(podCidrs),
  });
  return {
    kubelet,
    start: async () => {
      network.start();
      await kubelet.start();
    },
    stop: async () => {
      // Its end lets go of a kubelet that waits for the network.
      await network.stop();
      await kubelet.stop();
    },
  };
}

/** This machine as a node of a cluster in this process: started, stopped, and started again as a crashed kubelet is. */
export class MachineNode {
  readonly name: string;
  readonly #o: MachineNodeOptions;
  readonly #listen: () => Promise<KubeletListenOptions>;
  #node: NodeOfMachine | undefined;

  constructor(options: MachineNodeOptions, listen: () => Promise<KubeletListenOptions>) {
    this.name = options.nodeName;
    this.#o = options;
    this.#listen = listen;
  }

  /** A connection that comes from the API server. @throws Error when the kubelet does not run */
  serve(stream: Duplex): void {
    if (this.#node === undefined) throw new Error(`dial tcp: node ${this.name} does not answer: connection refused`);
    this.#node.kubelet.serve(stream);
  }

  /** Resolves when the node is registered and its pods are followed. */
  async start(): Promise<void> {
    if (this.#node !== undefined) return;
    const node = await createMachineNode(this.#o);
    this.#node = node;
    await node.kubelet.listen(await this.#listen());
    await node.start();
  }

  /** Stops the kubelet; containers run on. */
  async stop(): Promise<void> {
    const node = this.#node;
    this.#node = undefined;
    await node?.stop();
  }
}
