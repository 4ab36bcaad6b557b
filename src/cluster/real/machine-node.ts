/**
 * This machine as a node: our kubelet over a real container runtime and the machine itself, its pod network, and its HTTPS
 * endpoint. Services and network policies are the proxy's (`createNodeProxy`).
 */
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/logger.ts';
import type { Random } from '../../base/random.ts';
import type { TypedClient } from '../../client/typed-client.ts';
import { createLinuxHost } from '../../kubelet/host/linux/host.ts';
import type { Kubelet, KubeletOptions } from '../../kubelet/kubelet.ts';
import { createKubelet } from '../../kubelet/kubelet.ts';
import { ensureSandboxImage } from '../../kubelet/runtime/cri/load.ts';
import type { CriRuntime } from '../../kubelet/runtime/cri/open.ts';
import type { KubeletListenOptions } from '../../kubelet/server/server.ts';
import { masqueradePods } from './pod-masquerade.ts';
import { setKernelNetwork, writeCniConfig } from './cni.ts';

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
  readonly clusterDns: readonly string[];
  readonly clusterDomain: string;
  /** Ranges of all pods. */
  readonly clusterCidrs: readonly string[];
  readonly kubelet?: Partial<KubeletOptions>;
}

/** The kubelet of this machine, not yet started; the machine itself is made ready for pods. */
export async function createMachineNode(o: MachineNodeOptions): Promise<Kubelet> {
  const failed = await setKernelNetwork();
  if (failed.length > 0)
    o.logger.warn('the kernel is not set up for pods; Services may not work', { settings: failed.join(', ') });
  // The runtime makes containers' cgroups below ours: both must name them alike.
  const driver = (await o.runtime.cgroupDriver()) === 'SYSTEMD' ? 'systemd' : 'cgroupfs';
  const [host] = await Promise.all([
    createLinuxHost({
      clock: o.clock,
      hostname: o.nodeName,
      rootDir: o.rootDir,
      ...(o.addresses === undefined ? {} : { addresses: o.addresses }),
      cgroups: { driver, ...(o.cgroupRoot === undefined ? {} : { cgroupRoot: o.cgroupRoot }) },
    }),
    ensureSandboxImage(o.runtime),
  ]);
  return createKubelet({
    ...o.kubelet,
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
    onPodCidrs: async (podCidrs) => {
      const whose = await writeCniConfig({
        confDir: o.cniConfDir,
        dataDir: join(o.rootDir, 'cni-addresses'),
        podCidrs,
      });
      if (whose === 'ours') await masqueradePods(podCidrs, o.clusterCidrs);
      else o.logger.info('the pod network is that of another CNI plugin', { folder: o.cniConfDir });
    },
  });
}

/** This machine as a node of a cluster in this process: started, stopped, and started again as a crashed kubelet is. */
export class MachineNode {
  readonly name: string;
  readonly #o: MachineNodeOptions;
  readonly #listen: () => Promise<KubeletListenOptions>;
  #kubelet: Kubelet | undefined;

  constructor(options: MachineNodeOptions, listen: () => Promise<KubeletListenOptions>) {
    this.name = options.nodeName;
    this.#o = options;
    this.#listen = listen;
  }

  /** A connection that comes from the API server. @throws Error when the kubelet does not run */
  serve(stream: Duplex): void {
    if (this.#kubelet === undefined) throw new Error(`dial tcp: node ${this.name} does not answer: connection refused`);
    this.#kubelet.serve(stream);
  }

  /** Resolves when the node is registered and its pods are followed. */
  async start(): Promise<void> {
    if (this.#kubelet !== undefined) return;
    const kubelet = await createMachineNode(this.#o);
    this.#kubelet = kubelet;
    await kubelet.listen(await this.#listen());
    await kubelet.start();
  }

  /** Stops the kubelet; containers run on. */
  async stop(): Promise<void> {
    const kubelet = this.#kubelet;
    this.#kubelet = undefined;
    await kubelet?.stop();
  }
}
