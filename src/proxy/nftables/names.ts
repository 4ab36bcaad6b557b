/**
 * Names of the table, its maps and chains. The table and what upstream's proxy has as well are called and typed as there: either
 * proxy can then start on what the other one has left and takes it over in its first transaction, and whoever orders their own
 * chains around `kube-proxy` finds what they expect.
 */
import { createHash } from 'node:crypto';

export const tableName = 'kube-proxy';

/** Sets and maps that upstream has, too. */
export const serviceIps = 'service-ips';
export const serviceNodePorts = 'service-nodeports';
export const nodePortIps = 'nodeport-ips';
export const clusterIps = 'cluster-ips';
export const noEndpointServices = 'no-endpoint-services';
export const noEndpointNodePorts = 'no-endpoint-nodeports';
export const firewallIps = 'firewall-ips';
export const hairpinConnections = 'hairpin-connections';

/** Ours, and with `-tcp`, `-udp` or `-sctp` behind: address, port and a number below the count of endpoints → endpoint. */
export const serviceEndpoints = 'service-endpoints';
export const nodePortEndpoints = 'nodeport-endpoints';
/** The same for traffic from this node and its pods where the external policy is Local. */
export const shortCircuitEndpoints = 'short-circuit-endpoints';
export const shortCircuitNodePortEndpoints = 'short-circuit-nodeport-endpoints';
/** Where the external policy is Local: who is from here goes by the first, all others by the second. */
export const shortCircuitIps = 'short-circuit-ips';
export const shortCircuitNodePorts = 'short-circuit-nodeports';
export const localPolicyIps = 'local-policy-ips';
export const localPolicyNodePorts = 'local-policy-nodeports';
/** Address, protocol, port and range of clients. */
export const firewallSources = 'firewall-sources';

export const rejectChain = 'reject-chain';
export const firewallChain = 'firewall-sources-check';
export const externalLocalChain = 'external-local';
export const nodePortLocalChain = 'nodeport-local';

/** The longest name that nftables takes is 255; upstream keeps to 240 behind a prefix of 16. */
const maxName = 240;

/** A name that begins with a hash of itself, so that it stays unique when its end is cut off. */
export function hashed(name: string): string {
  // Long enough that nobody finds a name of theirs that meets somebody else's.
  const hash = createHash('sha256').update(name).digest('hex').slice(0, 20);
  // Colons of IPv6 addresses, and whatever else nft does not take in a name.
  const full = `${hash}-${name.replaceAll(/[^\w./-]/g, '.')}`;
  return full.length > maxName ? `${full.slice(0, maxName - 3)}...` : full;
}
