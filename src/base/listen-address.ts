/** Which address to listen on for "everywhere": Go, and so upstream's components, mean both families by `0.0.0.0`. */
import { networkInterfaces } from 'node:os';

/** `::` for `0.0.0.0` where the machine has IPv6; any other address as it is. */
export function everyFamily(host: string): string {
  if (host !== '0.0.0.0') return host;
  const six = Object.values(networkInterfaces()).some((list) => list?.some((a) => a.family === 'IPv6') === true);
  return six ? '::' : host;
}
