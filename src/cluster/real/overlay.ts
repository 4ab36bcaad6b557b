/**
 * VXLAN between machines that no common network joins: one device for each address family, and per other machine an entry of its
 * forwarding table (which machine has that hardware address), a neighbour (the first address of its pods' range has that hardware
 * address), and a route. Hardware addresses follow from the pod ranges, so that nobody has to publish one. RFC 7348.
 */
import { createHash } from 'node:crypto';
import { formatIp, parseCidr } from '../../base/ip.ts';
import { bridge, bridgeList, ip, ipList } from './ip-command.ts';

export type Family = 4 | 6;

export const families: readonly Family[] = [4, 6];

/** What VXLAN adds to a packet: Ethernet, VXLAN, UDP, and the outer IP header. */
export const overhead: Readonly<Record<Family, number>> = { 4: 50, 6: 70 };

export const overlayDevice: Readonly<Record<Family, string>> = { 4: 'knarr-vx4', 6: 'knarr-vx6' };

/** The number of this network among those that use the same port. */
const networkId: Readonly<Record<Family, number>> = { 4: 118, 6: 119 };
/** As Linux had it before IANA gave 4789, and as other pod networks have it: what firewalls between nodes let pass. */
const port = 8472;

/** A machine that is reached through the overlay. */
export interface OverlayPeer {
  /** Its pods. */
  readonly range: string;
  /** The machine itself. */
  readonly address: string;
}

/** The first address of a range: its machine's own one in the pod network (the bridge's gateway). */
export function gatewayOf(range: string): string {
  const cidr = parseCidr(range)!;
  return formatIp({ family: cidr.family, value: cidr.base + 1n });
}

/** The hardware address of the machine that has this range. */
export function hardwareAddress(range: string): string {
  const bytes = createHash('sha256').update(range).digest().subarray(0, 5);
  // Locally administered, for one machine.
  return ['0a', ...[...bytes].map((b) => b.toString(16).padStart(2, '0'))].join(':');
}

interface LinkInfo {
  readonly mtu: number;
  readonly address: string;
  readonly linkinfo?: { readonly info_data?: { id?: number; port?: number; local?: string; local6?: string } };
}

export interface OverlayDevice {
  readonly family: Family;
  /** This machine's address, which others send to. */
  readonly local: string;
  /** This machine's pods, of the same family. */
  readonly range: string;
  readonly mtu: number;
}

async function link(name: string): Promise<LinkInfo | undefined> {
  // Asking for one that is not there is an error.
  return (await ipList<LinkInfo & { ifname: string }>('-d link show type vxlan')).find((l) => l.ifname === name);
}

/** Makes the device, or what is different of it. Resolves with whether it is a new one, without entries. */
async function ensureDevice(d: OverlayDevice): Promise<boolean> {
  const name = overlayDevice[d.family];
  const mac = hardwareAddress(d.range);
  let there = await link(name);
  const data = there?.linkinfo?.info_data;
  const fits = data?.id === networkId[d.family] && data.port === port && (data.local ?? data.local6) === d.local;
  if (there !== undefined && !fits) {
    await ip(`link del ${name}`);
    there = undefined;
  }
  if (there === undefined)
    await ip(
      `link add ${name} mtu ${d.mtu} address ${mac} type vxlan id ${networkId[d.family]} dstport ${port} local ${d.local} nolearning`,
    );
  else {
    if (there.mtu !== d.mtu) await ip(`link set ${name} mtu ${d.mtu}`);
    if (there.address !== mac) await ip(`link set ${name} address ${mac}`);
  }
  await ip(`link set ${name} up`);
  const wanted = gatewayOf(d.range);
  const have = (
    await ipList<{ addr_info?: { local?: string; prefixlen?: number; scope?: string }[] }>(`addr show dev ${name}`)
  )
    .flatMap((l) => l.addr_info ?? [])
    .filter((a) => a.local !== undefined && a.scope === 'global');
  for (const a of have) if (a.local !== wanted) await ip(`addr del ${a.local}/${a.prefixlen} dev ${name}`);
  // What the machine itself sends to pods elsewhere must come back this way.
  if (!have.some((a) => a.local === wanted))
    await ip(d.family === 4 ? `addr add ${wanted}/32 dev ${name}` : `-6 addr add ${wanted}/128 dev ${name} nodad`);
  return there === undefined;
}

/** Brings device and entries of one family to what is wanted; routes are the caller's. */
export async function syncOverlay(device: OverlayDevice, peers: readonly OverlayPeer[]): Promise<void> {
  await ensureDevice(device);
  const name = overlayDevice[device.family];
  const flag = device.family === 4 ? '-4' : '-6';
  const neighbours = new Map(
    (await ipList<{ dst: string; lladdr?: string }>(`${flag} neigh show dev ${name} nud permanent`)).map((n) => [
      n.dst,
      n.lladdr ?? '',
    ]),
  );
  const forwarding = new Map(
    (await bridgeList<{ mac: string; dst?: string }>(`fdb show dev ${name}`))
      .filter((f) => f.dst !== undefined)
      .map((f) => [f.mac, f.dst!]),
  );
  for (const peer of peers) {
    const mac = hardwareAddress(peer.range);
    const gateway = gatewayOf(peer.range);
    if (forwarding.get(mac) !== peer.address) await bridge(`fdb replace ${mac} dev ${name} dst ${peer.address}`);
    if (neighbours.get(gateway) !== mac)
      await ip(`${flag} neigh replace ${gateway} lladdr ${mac} dev ${name} nud permanent`);
    forwarding.delete(mac);
    neighbours.delete(gateway);
  }
  for (const mac of forwarding.keys()) await bridge(`fdb del ${mac} dev ${name}`);
  for (const dst of neighbours.keys()) await ip(`${flag} neigh del ${dst} dev ${name}`);
}

/** Takes the device of a family away, and with it its entries and routes. */
export async function removeOverlay(family: Family): Promise<void> {
  if ((await link(overlayDevice[family])) !== undefined) await ip(`link del ${overlayDevice[family]}`);
}
