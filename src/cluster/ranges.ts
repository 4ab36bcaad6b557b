/**
 * The address ranges of a cluster: of Services (`--service-cluster-ip-range`) and of pods (`--cluster-cidr`), one or one of each
 * family. The first one's family is the cluster's primary one: Services that ask for nothing have it, and the API server's own.
 */
import type { Cidr } from '../base/ip.ts';
import { cidrContains, cidrSize, formatIp, parseCidr, parseIp } from '../base/ip.ts';

export const defaultServiceRange = '10.96.0.0/12';
export const defaultClusterCIDR = '10.244.0.0/16';

/** Ranges that will not do; the message names the flag. */
export class ClusterRangeError extends Error {
  override readonly name = 'ClusterRangeError';
}

export interface ClusterRanges {
  readonly services: readonly string[];
  readonly pods: readonly string[];
  /** Of the first range of Services. */
  readonly primaryFamily: 4 | 6;
  /** Families of pods, the primary one first. */
  readonly podFamilies: readonly (4 | 6)[];
  /** Address number `n` of the first range of Services. */
  serviceAddress(n: number): string;
  /** The first address of each range of Services: what the `kubernetes` Service may have. */
  readonly firstServiceAddresses: readonly string[];
  /** The pod ranges of node number `index`, where no controller gives them out. */
  podRangesOf(index: number): string[];
  readonly isServiceAddress: (address: string) => boolean;
  /** The range that an address lies in. */
  containing(address: string): string | undefined;
}

const nodeBits = { 4: 24, 6: 64 } as const;

function text(c: Cidr): string {
  return `${formatIp({ family: c.family, value: c.base })}/${c.prefix}`;
}

function parse(flag: string, given: string): Cidr[] {
  const parts = given.split(',').map((p) => p.trim());
  const cidrs = parts.map((p) => {
    const cidr = parseCidr(p);
    if (cidr === undefined) throw new ClusterRangeError(`--${flag} ${given}: invalid CIDR address: ${p}`);
    return cidr;
  });
  if (cidrs.length > 2) throw new ClusterRangeError(`--${flag} must not contain more than two entries`);
  if (cidrs.length === 2 && cidrs[0]!.family === cidrs[1]!.family)
    throw new ClusterRangeError(`--${flag}[0] and --${flag}[1] must be of different IP family`);
  return cidrs;
}

/** The family of the first of an API server's ranges of Services. @throws ClusterRangeError when they will not do */
export function serviceFamily(ranges: readonly string[]): 4 | 6 {
  return parse('service-cluster-ip-range', ranges.join(','))[0]!.family;
}

function overlaps(a: Cidr, b: Cidr): boolean {
  const [small, large] = a.prefix > b.prefix ? [a, b] : [b, a];
  return cidrContains(large, { family: small.family, value: small.base });
}

/**
 * @param options.nodeCIDRMaskSizeIPv4 and its sibling: sizes of a node's ranges, 24 and 64 when left out
 * @throws ClusterRangeError
 */
export function clusterRanges(options: {
  readonly services: string;
  readonly pods: string;
  readonly nodeCIDRMaskSizeIPv4?: number;
  readonly nodeCIDRMaskSizeIPv6?: number;
}): ClusterRanges {
  const services = parse('service-cluster-ip-range', options.services);
  const pods = parse('cluster-cidr', options.pods);
  const bits = {
    4: options.nodeCIDRMaskSizeIPv4 ?? nodeBits[4],
    6: options.nodeCIDRMaskSizeIPv6 ?? nodeBits[6],
  };
  for (const c of services) {
    // The API server's address is the first, the name server's the tenth.
    if (cidrSize(c) < 16n)
      throw new ClusterRangeError(`--service-cluster-ip-range ${text(c)} is too small: it needs 16 addresses`);
    for (const p of pods)
      if (overlaps(c, p))
        throw new ClusterRangeError(`--service-cluster-ip-range ${text(c)} and --cluster-cidr ${text(p)} overlap`);
    if (!pods.some((p) => p.family === c.family))
      throw new ClusterRangeError(
        `--service-cluster-ip-range ${text(c)} needs an IPv${c.family} range in --cluster-cidr`,
      );
  }
  for (const p of pods) {
    const name = `node-cidr-mask-size-ipv${p.family}`;
    if (bits[p.family] < p.prefix || bits[p.family] > (p.family === 4 ? 30 : 126))
      throw new ClusterRangeError(
        `--${name} ${bits[p.family]} cuts no ranges of nodes out of --cluster-cidr ${text(p)}`,
      );
  }
  const primary = services[0]!;
  return {
    services: services.map(text),
    pods: pods.map(text),
    primaryFamily: primary.family,
    podFamilies: [...pods].sort((a) => (a.family === primary.family ? -1 : 1)).map((p) => p.family),
    serviceAddress: (n) => formatIp({ family: primary.family, value: primary.base + BigInt(n) }),
    firstServiceAddresses: services.map((c) => formatIp({ family: c.family, value: c.base + 1n })),
    podRangesOf: (index) =>
      pods.map((c) => {
        const width = c.family === 4 ? 32 : 128;
        const base = c.base + (BigInt(index) << BigInt(width - bits[c.family]));
        return text({ family: c.family, base, prefix: bits[c.family] });
      }),
    isServiceAddress: (address) => {
      const ip = parseIp(address);
      return ip !== undefined && services.some((c) => cidrContains(c, ip));
    },
    containing: (address) => {
      const ip = parseIp(address);
      const found = ip === undefined ? undefined : [...services, ...pods].find((c) => cidrContains(c, ip));
      return found === undefined ? undefined : text(found);
    },
  };
}
