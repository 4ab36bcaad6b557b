/** What a cluster in this process is made of (`ClusterOptions`), and what its owner holds of it (`Cluster`). */
import type { AdmissionConfiguration } from '../apiserver/admission/plugins.ts';
import type { AuditOptions } from '../apiserver/filters/audit.ts';
import type { AuthorizationObserver } from '../apiserver/filters/authorization.ts';
import type { UserInfo } from '../apiserver/request.ts';
import type { SecurityConfiguration } from '../apiserver/security.ts';
import type { ApiServer } from '../apiserver/server.ts';
import type { OperationsOptions } from '../apiserver/options.ts';
import type { Tracer } from '../apiserver/tracing/tracer.ts';
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import type { Random } from '../base/random.ts';
import type { TypedClient } from '../client/typed-client.ts';
import type { LocalProvider } from '../cloud/providers/local/local.ts';
import type { KeyValueStore } from '../etcd/store.ts';
import type { SimulatedImages } from '../kubelet/runtime/simulated/images.ts';
import type { SimulatedNetwork } from '../kubelet/runtime/simulated/network.ts';
import type { ApiChoice } from './api-choice.ts';
import type { OptionalComponent } from './components.ts';
import type { NodeHandle } from './nodes.ts';
import type { EncryptionAtRest } from './processes/encryption.ts';
import type { Machine } from './real/machine.ts';

export interface ClusterSecurity extends SecurityConfiguration {
  /** Requests without credentials are system:anonymous; default true. */
  readonly anonymous?: boolean;
  readonly staticTokens?: ReadonlyMap<string, UserInfo> | undefined;
  /** Issuers of service account tokens: the first one signs. */
  readonly issuers?: readonly string[];
  /** Keys that verify service account tokens besides the cluster's own, PEM. */
  readonly verifyKeys?: readonly string[];
}

/** What is made of the API server's files; the cluster closes it. */
export interface ApiServerExtras {
  readonly audit?: AuditOptions | undefined;
  readonly encryption?: EncryptionAtRest | undefined;
  readonly tracer?: Tracer | undefined;
  readonly operations?: OperationsOptions | undefined;
}

export interface ClusterOptions extends ApiChoice {
  /** Simulated nodes; default 1. */
  readonly nodes?: number;
  /** This machine as the one node of this process, with real containers, instead of simulated ones (`openMachine`). */
  readonly machine?: Machine;
  /** Where the cluster lives; in memory when left out. */
  readonly dataDir?: string;
  /** Opens an HTTPS port (0: a free one); without it the cluster is reached in-process alone. */
  readonly https?: { readonly host?: string; readonly port?: number };
  /** A `VirtualClock` makes time stand still until it is advanced. Default: the machine's. */
  readonly clock?: Clock;
  readonly random?: Random;
  readonly logger?: Logger;
  readonly disable?: readonly OptionalComponent[];
  /** An etcd cluster instead of the embedded store. */
  readonly etcdServers?: readonly string[];
  /** PEM for `etcdServers`. */
  readonly etcdTls?: { readonly ca?: string; readonly cert?: string; readonly key?: string };
  /** The cluster's ranges of Services and pods; for dual stack two of each, one a family, comma-separated, the primary one first. */
  readonly serviceClusterIPRange?: string;
  readonly clusterCIDR?: string;
  /**
   * Ranges that Services of type LoadBalancer get addresses of; with real nodes they are made known on the network. Default: for
   * simulated nodes addresses of this machine alone (127.0.1.0/24), for real ones the nodes' own.
   */
  readonly loadBalancerPool?: readonly string[];
  /** Sizes of a node's ranges; 24 and 64 when left out. */
  readonly nodeCIDRMaskSizeIPv4?: number;
  readonly nodeCIDRMaskSizeIPv6?: number;
  /** How long a node may be silent before it counts as unhealthy; default 50 s. */
  readonly nodeMonitorGracePeriodMs?: number;
  /**
   * Admission plugins beside upstream's default ones (NodeRestriction where nothing is said), those to leave out, and what
   * they are told: the `plugins` of an AdmissionConfiguration by name.
   */
  readonly admission?: {
    readonly enable?: readonly string[];
    readonly disable?: readonly string[];
    readonly configuration?: AdmissionConfiguration;
  };
  /** Auditing, encryption at rest, traces, profiles. */
  readonly apiServer?: ApiServerExtras;
  /** Who is let in beside the cluster's own, and who decides what is allowed. */
  readonly security?: ClusterSecurity;
  /** Objects that clients get are frozen, so that a mutation throws where it happens. */
  readonly freeze?: boolean;
  /** Told of every authorization decision. */
  readonly onAuthorization?: AuthorizationObserver;
  /** Told what is being done now, for a person who waits. */
  readonly onStep?: (text: string) => void;
  /** Wait until the nodes are Ready; default true. */
  readonly waitForNodes?: boolean;
}

export interface AdminCredentials {
  readonly server: string;
  readonly certificateAuthority: string;
  readonly clientCertificate: string;
  readonly clientKey: string;
}

export interface Cluster extends AsyncDisposable {
  /** As an administrator, in-process. */
  readonly client: TypedClient;
  /** As anybody else, in-process. */
  clientFor(user: UserInfo, userAgent?: string): TypedClient;
  readonly clock: Clock;
  /** `https://host:port`, when it listens. */
  readonly url: string | undefined;
  /** For HTTPS clients, when it listens. */
  readonly adminCredentials: AdminCredentials | undefined;
  /** A kubeconfig text with one context, when it listens. */
  readonly kubeconfig: string | undefined;
  readonly nodes: readonly NodeHandle[];
  /** The cloud provider, whose machines and load balancers a test can take away. */
  readonly cloud: LocalProvider | undefined;
  /** What the simulated nodes know of images. */
  readonly images: SimulatedImages;
  /** Their network, where processes of yours can answer for pods. */
  readonly network: SimulatedNetwork;
  readonly components: readonly string[];
  readonly apiServer: ApiServer;
  readonly store: KeyValueStore;
  /** Stops everything; nothing acknowledged is lost, no timer, socket or file is left. */
  close(): Promise<void>;
}
