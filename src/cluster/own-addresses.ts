/** Which of this machine's addresses the API server advertises, and which a real node has. */
import { parseIp } from '../base/ip.ts';
import { ownAddress } from './processes/environment.ts';

/**
 * What the `kubernetes` Service leads to. Endpoints may not be loopback addresses, so a server on one advertises the machine's
 * own address, as upstream does, or one of the documentation ranges (RFC 5737, RFC 3849) where the machine has none.
 */
export function advertisedAddress(host: string, family: 4 | 6): string {
  const internal =
    host === 'localhost' || host.startsWith('127.') || host === '::1' || host === '0.0.0.0' || host === '::';
  if (!internal && parseIp(host)?.family === family) return host;
  return ownAddress(family) ?? (family === 4 ? '192.0.2.1' : '2001:db8::1');
}

/** The addresses of a real node, one of each family that its pods have; those that were named go before those that it has. */
export function nodeAddresses(given: string | undefined, families: readonly (4 | 6)[]): string[] {
  const named = (given ?? '').split(',').map((a) => a.trim());
  for (const a of given === undefined ? [] : named)
    if (parseIp(a) === undefined) throw new Error(`--node-ip ${given}: ${a} is no IP address`);
  return families
    .map((family) => named.find((a) => parseIp(a)?.family === family) ?? ownAddress(family))
    .filter((a) => a !== undefined);
}
