/** Where others find this server: the address that it advertises, and the `kubernetes` Service that leads to it. */
import { networkInterfaces } from 'node:os';
import { joinHostPort } from '../base/host-port.ts';
import { formatIp, parseCidr } from '../base/ip.ts';
import type { AdvertisedAddress } from './bootstrap/objects.ts';
import { isGlobalUnicast } from './connect/locations.ts';
import type { Listening } from './http/listener.ts';
import type { ApiServerOptions } from './options.ts';

const defaultServiceRange = '10.96.0.0/12';

/** Ranges of the cluster IPs of Services, the one of the `kubernetes` Service first. */
export function serviceRanges(options: Pick<ApiServerOptions, 'serviceClusterIPRanges'>): readonly string[] {
  return options.serviceClusterIPRanges ?? [defaultServiceRange];
}

/** First address of a range behind its network address: the `kubernetes` Service's. */
export function firstServiceIP(cidr: string): string {
  const range = parseCidr(cidr);
  if (range === undefined) throw new Error(`invalid CIDR address: ${cidr}`);
  return formatIp({ family: range.family, value: range.base + 1n });
}

/**
 * An address under which this machine is known to others: Endpoints may hold neither loopback nor unspecified addresses, so
 * upstream advertises one of the host's as well when it is bound to such. A machine without a network gets one of those
 * that RFC 5737 keeps for examples, which lead nowhere.
 */
function hostAddress(): string {
  for (const addresses of Object.values(networkInterfaces())) {
    for (const a of addresses ?? [])
      if (!a.internal && a.family === 'IPv4' && isGlobalUnicast(a.address)) return a.address;
  }
  return '192.0.2.1';
}

/** Where this server is reached; `listening`: what it has opened, if anything. */
export function advertisedAddress(
  options: Pick<ApiServerOptions, 'advertiseAddress' | 'advertisePort'>,
  listening: Listening | undefined,
): { readonly address: string; readonly port: number } {
  const own = listening !== undefined && isGlobalUnicast(listening.address) ? listening.address : undefined;
  return {
    address: options.advertiseAddress ?? own ?? hostAddress(),
    port: options.advertisePort ?? listening?.port ?? 6443,
  };
}

/** Host and port as clients outside are told them (`--external-hostname`). */
export function externalAddress(options: ApiServerOptions, listening: Listening | undefined): string {
  const { address, port } = advertisedAddress(options, listening);
  const outside = options.externalHost;
  if (outside !== undefined) return /:\d+$/.test(outside) ? outside : joinHostPort(outside, port);
  return joinHostPort(address, port);
}

/** What the `kubernetes` Service is to lead to. */
export function kubernetesService(options: ApiServerOptions, listening: Listening | undefined): AdvertisedAddress {
  const { kubernetesNodePort: nodePort } = options;
  return {
    ...advertisedAddress(options, listening),
    serviceIp: firstServiceIP(serviceRanges(options)[0] ?? defaultServiceRange),
    ...(nodePort ? { nodePort } : {}),
  };
}
