/**
 * The cloud provider interface of the reference architecture: what a cloud offers to the controllers of this folder. A
 * provider implements the parts it has; the controllers that need another part do not run then. Arguments are read-only.
 */
import type { LoadBalancerStatus, Node, NodeAddress, Service } from '../api/types/index.gen.ts';
import type { InformerFactory } from '../client/informer-factory.ts';

/** What a cloud knows of an instance; becomes fields and labels of its Node. */
export interface InstanceMetadata {
  /** `<provider>://<instance id>`; becomes `spec.providerID`, never to change its form. */
  readonly providerID: string;
  readonly instanceType: string;
  readonly nodeAddresses: readonly NodeAddress[];
  /** Taken from `Zones` when empty. */
  readonly zone: string;
  readonly region: string;
  /** More labels for the Node, none of which may be a well-known one. */
  readonly additionalLabels?: Readonly<Record<string, string>>;
}

/** The machines behind Nodes. A Node is found by its `spec.providerID`, or by its name while that is empty. */
export interface InstancesV2 {
  instanceExists(node: Node, signal: AbortSignal): Promise<boolean>;
  /** True when the instance exists but is switched off. */
  instanceShutdown(node: Node, signal: AbortSignal): Promise<boolean>;
  /** Throws `InstanceNotFound` when there is none. */
  instanceMetadata(node: Node, signal: AbortSignal): Promise<InstanceMetadata>;
}

export interface LoadBalancer {
  /** The load balancer's status, or undefined when there is none. */
  getLoadBalancer(clusterName: string, service: Service, signal: AbortSignal): Promise<LoadBalancerStatus | undefined>;
  getLoadBalancerName(clusterName: string, service: Service): string;
  /** Creates or updates it. May throw `RetryError` to be asked again after a fixed time. */
  ensureLoadBalancer(
    clusterName: string,
    service: Service,
    nodes: readonly Node[],
    signal: AbortSignal,
  ): Promise<LoadBalancerStatus>;
  /** Updates the nodes behind it. Resolves with what it has now where its addresses follow the nodes. */
  updateLoadBalancer(
    clusterName: string,
    service: Service,
    nodes: readonly Node[],
    signal: AbortSignal,
  ): Promise<LoadBalancerStatus | undefined>;
  /** Deletes it with everything that belongs to it; succeeds when there is none. */
  ensureLoadBalancerDeleted(clusterName: string, service: Service, signal: AbortSignal): Promise<void>;
}

export interface Zone {
  readonly failureDomain: string;
  readonly region: string;
}

export interface Zones {
  getZoneByProviderID(providerID: string, signal: AbortSignal): Promise<Zone>;
  getZoneByNodeName(nodeName: string, signal: AbortSignal): Promise<Zone>;
}

export interface Route {
  /** The cloud's name of the rule; ignored when creating. */
  readonly name: string;
  readonly targetNode: string;
  readonly targetNodeAddresses?: readonly NodeAddress[];
  readonly destinationCIDR: string;
  /** Leads nowhere: deleted when it is in the managed range. */
  readonly blackhole?: boolean;
}

export interface Routes {
  listRoutes(clusterName: string, signal: AbortSignal): Promise<readonly Route[]>;
  createRoute(clusterName: string, nameHint: string, route: Route, signal: AbortSignal): Promise<void>;
  deleteRoute(clusterName: string, route: Route, signal: AbortSignal): Promise<void>;
}

export interface CloudProvider {
  /** `local`; the scheme of provider ids. */
  readonly providerName: string;
  readonly instancesV2?: InstancesV2;
  readonly loadBalancer?: LoadBalancer;
  readonly zones?: Zones;
  readonly routes?: Routes;
  /** Called before the controllers start, for providers that look at objects of the cluster. */
  setInformers?(informers: InformerFactory): void;
  /** Ends what the provider has started. */
  close?(): Promise<void>;
}

/** The instance of a Node does not exist. */
export class InstanceNotFound extends Error {
  constructor() {
    super('instance not found');
    this.name = 'InstanceNotFound';
  }
}

/** Another controller looks after this load balancer; the service controller leaves its status alone. */
export class ImplementedElsewhere extends Error {
  constructor() {
    super('implemented by alternate to cloud provider');
    this.name = 'ImplementedElsewhere';
  }
}

/** Not done yet: ask again after `retryAfterMs` of cluster time, without exponential back-off. */
export class RetryError extends Error {
  readonly retryAfterMs: number;

  constructor(message: string, retryAfterMs: number) {
    super(message);
    this.name = 'RetryError';
    this.retryAfterMs = retryAfterMs;
  }
}
