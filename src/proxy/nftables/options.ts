/** How the rules are to be made: what kube-proxy's flags say. */

/** Who counts as a pod of the cluster (`--detect-local-mode`). */
export type LocalDetection =
  | { readonly mode: 'none' }
  | { readonly mode: 'ClusterCIDR'; readonly cidrs: readonly string[] }
  | { readonly mode: 'NodeCIDR' }
  | { readonly mode: 'BridgeInterface'; readonly name: string }
  | { readonly mode: 'InterfaceNamePrefix'; readonly prefix: string };

export interface NftablesOptions {
  /** Default: none, so that traffic to cluster IPs from outside is not masqueraded. */
  readonly detectLocal?: LocalDetection;
  /** Masquerades everything that goes to a cluster IP. */
  readonly masqueradeAll?: boolean;
  /** Of the packet mark; default 14. */
  readonly masqueradeBit?: number;
  /** Ranges of the node's addresses at which node ports answer, or `primary` (the default): the addresses that the node is known by. */
  readonly nodePortAddresses?: readonly string[];
  /** Node ports answer at 127.0.0.1, too; upstream has that in iptables mode alone. */
  readonly localhostNodePorts?: boolean;
  readonly families?: readonly (4 | 6)[];
  /** At least so long between two changes; default 0: the next one begins when the last one is in place. */
  readonly minSyncPeriodMs?: number;
  /** What could not be written is tried again after so long at most; default 30 s. */
  readonly syncPeriodMs?: number;
}

/** What is written differently for the two address families. */
export interface Dialect {
  readonly family: 4 | 6;
  readonly table: 'ip' | 'ip6';
  /** Type of an address. */
  readonly address: string;
}

export const dialects: Readonly<Record<4 | 6, Dialect>> = {
  4: { family: 4, table: 'ip', address: 'ipv4_addr' },
  6: { family: 6, table: 'ip6', address: 'ipv6_addr' },
};
