/**
 * `ProxyBackend`: the seam below which Services are made real. It is told of whole changes, never of single endpoints, so that a
 * packet filter can turn each into one atomic transaction.
 */
import type { ServicePort } from './service-port.ts';

export type ProxyProtocol = 'TCP' | 'UDP' | 'SCTP';

/** One place that traffic can go to. */
export interface ProxyEndpoint {
  readonly address: string;
  readonly port: number;
}

/** Which kind of address of a Service a frontend is. */
export type FrontendKind = 'clusterIP' | 'externalIP' | 'loadBalancer' | 'nodePort';

/** One address and port that a Service is reached at, with those that answer now. Replaced as a whole when anything changes. */
export interface Frontend {
  readonly kind: FrontendKind;
  /** For a node port it stands for every address of the node: empty for IPv4, `::` for IPv6. */
  readonly address: string;
  readonly port: number;
  readonly protocol: ProxyProtocol;
  /** `namespace/name:port name`. */
  readonly servicePort: string;
  /** As seen from the proxy's own node. */
  readonly endpoints: readonly ProxyEndpoint[];
  /**
   * Where traffic from this node and its pods goes, when that differs: to an external address they get endpoints everywhere, whatever
   * the external traffic policy.
   */
  readonly internalEndpoints: readonly ProxyEndpoint[];
  /** Seconds for which a client keeps its endpoint; 0 for no affinity. */
  readonly affinitySeconds: number;
  /** Clients whose address is in none of these are dropped; empty: everybody may. */
  readonly sourceRanges: readonly string[];
  /**
   * What becomes of traffic when there is no endpoint: rejected when the Service has none at all, dropped when it has some elsewhere but
   * the traffic policy keeps it on this node.
   */
  readonly whenEmpty: 'reject' | 'drop';
  /** The source address must stay (externalTrafficPolicy Local): no masquerading. */
  readonly keepsSource: boolean;
  /** What it was made from: for backends that answer for several nodes. */
  readonly source: ServicePort;
}

/** `protocol/address:port`. */
export function frontendKey(f: Pick<Frontend, 'address' | 'port' | 'protocol'>): string {
  return `${f.protocol}/${f.address}:${f.port}`;
}

export interface FrontendChanges {
  /** New or changed, by `frontendKey`. */
  readonly set: ReadonlyMap<string, Frontend>;
  readonly removed: ReadonlySet<string>;
}

/** What a backend must know of where it is. */
export interface Place {
  readonly node: string | undefined;
  /** Addresses of the node, the one that it is known by first. */
  readonly addresses: readonly string[];
  readonly podCIDRs: readonly string[];
  /** Where cluster IPs come from. */
  readonly serviceCIDRs: readonly string[];
}

export interface ProxyBackend {
  /** Makes the changes real, all or none. When it rejects, the proxy hands over the whole state again later. */
  apply(changes: FrontendChanges): Promise<void>;
  /** Replaces everything: at the start and after a failure. */
  replace(all: ReadonlyMap<string, Frontend>): Promise<void>;
  /** Something about the place is different; counts from the next `apply` or `replace`. */
  placeChanged?(place: Place): void;
  /** At least so long between two changes, when nobody says otherwise. */
  readonly minSyncPeriodMs?: number;
  /** What could not be written is tried again after so long at most, sooner at first. */
  readonly syncPeriodMs?: number;
  /** Resolves when what is done beside the rules is done, too. */
  settled?(): Promise<void>;
  close(): Promise<void>;
}
