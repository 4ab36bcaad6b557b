/** What the parts of one kubelet share: its seams, its client and its settings. */
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import type { Random } from '../base/random.ts';
import type { Node, Pod, Service } from '../api/types/index.gen.ts';
import type { TypedClient } from '../client/typed-client.ts';
import type { FeatureGates } from '../api/features/feature-gates.ts';
import type { Backoff } from './backoff.ts';
import type { ContainerSettings } from './containers/container-settings.ts';
import type { ServiceVariables } from './environment.ts';
import type { NodeHost } from './host/node-host.ts';
import type { ImageManager } from './images/image-manager.ts';
import type { KubeletMetrics } from './metrics/kubelet-metrics.ts';
import type { ObjectCache } from './object-cache.ts';
import type { ProbeMetrics } from './probes/probe-metrics.ts';
import type { ContainerRuntime, RuntimeHandler } from './runtime/container-runtime.ts';
import type { ShapeCache } from './shapes.ts';
import type { ResourceManagers } from './resources/resource-managers.ts';
import type { StatusManager } from './status-manager.ts';
import type { CgroupManager } from './cgroup-manager.ts';
import type { UserNamespaces } from './user-namespaces.ts';
import type { VolumeManager } from './volumes/volume-manager.ts';

/** Records events about pods and the node. */
export interface KubeletEvents {
  /** `fieldPath`: of a container, from `containerFieldPath`. */
  pod(pod: Pod, type: 'Normal' | 'Warning', reason: string, message: string, fieldPath?: string): void;
  node(type: 'Normal' | 'Warning', reason: string, message: string): void;
}

/** The Services that become environment variables. */
export interface ServiceSource {
  /** Resolves when the Services have been read once. */
  ready(): Promise<void>;
  /** Of one namespace. */
  list(namespace: string): Iterable<Service>;
  /** What is made of them, shared by all who use this source. */
  readonly variables?: Map<string, ServiceVariables>;
}

export interface KubeletContext {
  readonly nodeName: string;
  readonly client: TypedClient;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly runtime: ContainerRuntime;
  readonly host: NodeHost;
  readonly events: KubeletEvents;
  readonly services: ServiceSource;
  readonly objects: ObjectCache;
  readonly statuses: StatusManager;
  readonly images: ImageManager;
  readonly crashLoop: Backoff;
  readonly shapes: ShapeCache;
  readonly cgroups: CgroupManager;
  readonly settings: ContainerSettings;
  readonly features: Pick<FeatureGates, 'enabled'>;
  readonly probeMetrics: ProbeMetrics;
  /** What `/metrics` tells of the kubelet itself; undefined on nodes without a configuration. */
  readonly metrics: KubeletMetrics | undefined;
  readonly userNamespaces: UserNamespaces;
  /** Made of the context itself, right after it. */
  volumes: VolumeManager;
  /** Gives CPUs, memory and devices of their own to containers; undefined on nodes without a configuration. */
  resources: ResourceManagers | undefined;
  /** Service variables by namespace. */
  readonly serviceVariables: Map<string, ServiceVariables>;
  /** `/var/lib/kubelet` */
  readonly rootDir: string;
  /** `/var/log/pods` */
  readonly podLogsDir: string;
  /** The scheme of container ids. */
  runtimeName: string;
  readonly clusterDns: readonly string[];
  readonly clusterDomain: string;
  /** Where the `kubernetes` Service lives. */
  readonly masterServiceNamespace: string;
  /** This kubelet's node as the API has it. */
  node(): Node | undefined;
  /** The node's addresses, first family first. */
  nodeIps(): readonly string[];
  /** Awaited when a pod has got its addresses, before its containers start: network policies are in place by then. */
  readonly onPodAddresses: ((pod: Pod, addresses: readonly string[]) => Promise<void>) | undefined;
  /** What the runtime's handlers can do, as it was last told. */
  runtimeHandlers(): readonly RuntimeHandler[];
  /** Why pods cannot have a network now. */
  networkError(): string | undefined;
}

/** Directory of a pod's data. */
export function podDir(ctx: KubeletContext, uid: string): string {
  return `${ctx.rootDir}/pods/${uid}`;
}

/** Directory of a pod's logs. */
export function podLogDir(ctx: KubeletContext, pod: Pod): string {
  return `${ctx.podLogsDir}/${pod.metadata.namespace}_${pod.metadata.name}_${pod.metadata.uid}`;
}
