/** `createCluster` with a real node: what is decided before anything starts, and the parts that differ from simulated nodes. */
import { hostname } from 'node:os';
import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/logger.ts';
import type { Random } from '../../base/random.ts';
import type { Dialer } from '../../apiserver/dialer.ts';
import type { TypedClient } from '../../client/typed-client.ts';
import type { CriRuntime } from '../../kubelet/runtime/cri/open.ts';
import { duplexPair } from '../../kubelet/runtime/simulated/pipe.ts';
import { createDelegatedAuth } from '../../kubelet/server/auth.ts';
import type { KubeletListenOptions } from '../../kubelet/server/server.ts';
import { createLinuxHost } from '../../proxy/host/linux-host.ts';
import { selfSigned } from '../processes/self-signed.ts';
import type { MachineNode } from './machine-node.ts';
import type { OverlayMode } from './routes.ts';
import { checkMachine, NoRuntimeError, openNodeRuntime } from './runtime.ts';

export interface MachineOptions {
  /** The runtime's socket (`--container-runtime-endpoint`); the usual ones are looked for when left out. */
  readonly endpoint?: string;
  /** Default: the host name. */
  readonly nodeName?: string;
  /** The address that other machines and pods reach this one at; for dual stack one of each family, comma-separated. */
  readonly address?: string;
  /** Default /var/lib/kubelet */
  readonly rootDir?: string;
  /** Default /etc/cni/net.d */
  readonly cniConfDir?: string;
  /** Cgroup below which pods run; default `/`. */
  readonly cgroupRoot?: string;
  /** The kubelet's HTTPS port; default 10250. */
  readonly kubeletPort?: number;
  /** Keeps ordinary pods away from this node, for a control plane of its own. */
  readonly controlPlaneTaint?: boolean;
  /** How pods of nodes on other networks are reached; default `auto`. */
  readonly overlay?: OverlayMode;
}

export interface Machine {
  readonly nodeName: string;
  /** Undefined where another kubelet has it. */
  readonly runtime: CriRuntime | undefined;
  readonly rootDir: string;
  readonly cniConfDir: string;
  readonly options: MachineOptions;
}

/** Finds and opens what a real node needs. `owner`: what this cluster is told from others by; `kubeProxy`: ours brings Services. @throws NoRuntimeError */
export async function openMachine(
  options: MachineOptions,
  env: {
    readonly clock: Clock;
    readonly logger: Logger;
    readonly owner: string;
    readonly kubeProxy?: boolean;
    /** False: another one runs the pods of this machine; the rest of its node is here. */
    readonly kubelet?: boolean;
  },
): Promise<Machine> {
  const rootDir = options.rootDir ?? '/var/lib/kubelet';
  if (env.kubelet === false) checkMachine();
  const runtime =
    env.kubelet === false
      ? undefined
      : await openNodeRuntime({
          endpoint: options.endpoint,
          rootDir,
          owner: env.owner,
          clock: env.clock,
          logger: env.logger,
        });
  if (env.kubeProxy !== false) {
    const host = createLinuxHost();
    const missing = await host.missing().finally(() => host.close());
    if (missing !== undefined) {
      runtime?.close();
      throw new NoRuntimeError(`Services of a real node need more: ${missing}`);
    }
  }
  return {
    nodeName: (options.nodeName ?? hostname()).trim().toLowerCase(),
    runtime,
    rootDir,
    cniConfDir: options.cniConfDir ?? '/etc/cni/net.d',
    options,
  };
}

/** To this process's own kubelet without a socket, to all others over the network. */
export function machineDialer(node: () => MachineNode | undefined, network: Dialer): Dialer {
  return {
    dialNode: async (name, address, port, insecure) => {
      const own = node();
      if (own?.name !== name) return network.dialNode(name, address, port, insecure);
      const [near, far] = duplexPair();
      own.serve(far);
      return near;
    },
    dialTcp: (address, port) => network.dialTcp(address, port),
  };
}

/** The kubelet's endpoint, authentication and authorization delegated to the API server as upstream's defaults are. */
export async function kubeletEndpoint(options: {
  readonly nodeName: string;
  readonly address: string;
  readonly port: number;
  readonly clientCA: string;
  /** As the node. */
  readonly client: TypedClient;
  readonly clock: Clock;
  readonly random: Random;
}): Promise<KubeletListenOptions> {
  const { nodeName, address, port, client, clock } = options;
  const own = await selfSigned(options, [nodeName, 'localhost', '127.0.0.1', address]);
  return {
    address,
    port,
    cert: own.certificate,
    key: own.key,
    clientCA: options.clientCA,
    auth: createDelegatedAuth({ client, clock, anonymous: false }),
  };
}
