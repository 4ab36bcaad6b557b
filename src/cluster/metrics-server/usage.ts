/** What the metrics server tells of nodes and pods, and where it has that from. */

/** CPU as a mean over the window that ends at `timestamp`. */
export interface Usage {
  readonly cpuNanoCores: number;
  readonly memoryBytes: number;
}

export interface NodeUsage extends Usage {
  /** Milliseconds of the cluster's clock. */
  readonly timestamp: number;
  readonly windowMs: number;
}

export interface PodUsage {
  readonly timestamp: number;
  readonly windowMs: number;
  readonly containers: readonly (Usage & { readonly name: string })[];
}

export interface UsageSource {
  /** Undefined when nothing is known of the node. */
  node(name: string): Promise<NodeUsage | undefined>;
  /** Of all pods of a node, by `namespace/name`. */
  pods(node: string): Promise<ReadonlyMap<string, PodUsage>>;
}
