/** The addresses that a cloud gives for a node, narrowed to the IP that its kubelet was told to use (cloud-provider node/helpers). */
import { isIP } from 'node:net';
import type { NodeAddress } from '../api/types/index.gen.ts';

/**
 * Addresses that match `nodeIp` (one, or one per family, comma-separated) come first and are the only ones of their type; those of
 * other types follow. Throws when the cloud does not know the IP.
 */
export function nodeAddressesForIp(nodeIp: string, addresses: readonly NodeAddress[]): NodeAddress[] {
  const ips = nodeIp.split(',').map((ip) => ip.trim());
  for (const ip of ips)
    if (isIP(ip) === 0) throw new Error(`failed to parse node IP "${nodeIp}": could not parse "${ip}"`);
  const first: NodeAddress[] = [];
  for (const ip of ips) {
    const matching = addresses.filter((a) => a.address.toLowerCase() === ip.toLowerCase());
    if (matching.length === 0) throw new Error(`failed to get node address from cloud provider that matches ip: ${ip}`);
    first.push(...matching.map((a) => ({ type: a.type, address: a.address })));
  }
  const taken = new Set(first.map((a) => a.type));
  return [...first, ...addresses.filter((a) => !taken.has(a.type))];
}
