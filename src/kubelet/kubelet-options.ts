/** What a kubelet is made of: its two seams, how it registers its node, and what its process shares among kubelets. */
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import type { Random } from '../base/random.ts';
import type { Pod, Taint } from '../api/types/index.gen.ts';
import type { TypedClient } from '../client/typed-client.ts';
import type { FeatureGates } from '../api/features/feature-gates.ts';
import type { KubeletConfiguration } from './configuration/configuration.ts';
import type { KubeletEvents, ServiceSource } from './context.ts';
import type { NodeHost } from './host/node-host.ts';
import type { AuthConfig, ContainerRuntime } from './runtime/container-runtime.ts';
import type { ShapeCache } from './shapes.ts';
import type { WriteGate } from './write-gate.ts';

export interface KubeletOptions {
  readonly nodeName: string;
  /** With the identity `system:node:<nodeName>`. */
  readonly client: TypedClient;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly runtime: ContainerRuntime;
  readonly host: NodeHost;
  readonly nodeLabels?: Readonly<Record<string, string>>;
  /** Credentials that the node has for an image's repository, the best first (`--image-credential-provider-config`). */
  readonly imageCredentials?: (repository: string) => Promise<readonly AuthConfig[]>;
  readonly nodeAnnotations?: Readonly<Record<string, string>>;
  readonly registerWithTaints?: readonly Taint[];
  readonly registerNode?: boolean;
  readonly registerSchedulable?: boolean;
  readonly providerId?: string;
  readonly cloudProvider?: 'external';
  readonly capacity?: Readonly<Record<string, string>>;
  readonly allocatable?: Readonly<Record<string, string>>;
  /** Default 110. */
  readonly maxPods?: number;
  /** Sets the node's pod CIDR on registration; otherwise it comes from the API. */
  readonly podCidrs?: readonly string[];
  /** Awaited when a pod has got its addresses, before its containers start. */
  readonly onPodAddresses?: (pod: Pod, addresses: readonly string[]) => Promise<void>;
  /** Told of the node's pod ranges before the runtime is: for setting up the pod network. */
  readonly onPodCidrs?: (cidrs: readonly string[]) => Promise<void>;
  readonly clusterDns?: readonly string[];
  readonly clusterDomain?: string;
  readonly kubeletVersion?: string;
  /** What the node reports as its kubelet's port; default 10250. */
  readonly port?: number;
  readonly rootDir?: string;
  /** What the process that it runs in measures, in Prometheus' text format, for `/metrics`. */
  readonly processMetrics?: () => string;
  readonly podLogsDir?: string;
  readonly leaseDurationSeconds?: number;
  readonly statusReportMs?: number;
  /** Default 300 s. */
  readonly crashLoopBackoffMaxMs?: number;
  /**
   * Of a KubeletConfiguration what the node's managers obey (eviction, garbage collection, logs, static pods, shutdown, what is
   * reserved); `{}` for upstream's defaults. Without it the node goes without them, as simulated ones do.
   */
  readonly configuration?: Partial<KubeletConfiguration>;
  /** Default: those of `configuration`. */
  readonly features?: Pick<FeatureGates, 'enabled'>;
  /** What `/configz` shows beside `configuration`. */
  readonly configz?: Readonly<Record<string, unknown>>;
  /** Shared Services of several kubelets in one process; a kubelet of its own follows them itself. */
  readonly services?: ServiceSource;
  /**
   * Follow the Node object. Without it, it is followed until it has a pod range; later changes are seen with the next status report.
   * Default true.
   */
  readonly watchNode?: boolean;
  readonly events?: KubeletEvents;
  /** Shared by the kubelets of one process. */
  readonly writeGate?: WriteGate;
  /** Shared by the kubelets of one process. */
  readonly shapes?: ShapeCache;
}
