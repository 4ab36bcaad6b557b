/**
 * Routes to the pods of other nodes: by that node's address where it is on a network of this machine, through the overlay where it
 * is not. They carry a routing protocol number of their own, so that only these are ever taken away.
 */
import { formatIp, parseCidr, parseIp } from '../../base/ip.ts';
import type { Node } from '../../api/types/index.gen.ts';
import { ip, ipBatch, ipList } from './ip-command.ts';
import type { Family } from './overlay.ts';
import { families, gatewayOf, overlayDevice } from './overlay.ts';

/** `proto` of our routes: a number that no routing daemon has (rtnetlink leaves those above 4 to user space). */
const protocol = '118';

/** Which way pods of other nodes are reached. */
export type OverlayMode = 'auto' | 'always' | 'never';

/** The pods of another node. */
export interface RouteTo {
  readonly range: string;
  readonly family: Family;
  /** That node's address of the same family. */
  readonly address: string;
}

/** A node's address inside the cluster, of one family, as the kernel writes it. */
export function internalAddress(node: Node, family: Family): string | undefined {
  for (const a of node.status?.addresses ?? []) {
    const parsed = a.type === 'InternalIP' ? parseIp(a.address) : undefined;
    if (parsed?.family === family) return formatIp(parsed);
  }
  return undefined;
}

/** A node's pod ranges, as the kernel writes them. */
export function rangesOf(node: Node): { readonly range: string; readonly family: Family }[] {
  return (node.spec?.podCIDRs ?? []).map(canonicalRange).filter((r) => r !== undefined);
}

export function canonicalRange(text: string): { readonly range: string; readonly family: Family } | undefined {
  const c = parseCidr(text);
  return c === undefined
    ? undefined
    : { range: `${formatIp({ family: c.family, value: c.base })}/${c.prefix}`, family: c.family };
}

/** What of a node's pods can be reached by which of its addresses. */
export function routesTo(node: Node): RouteTo[] {
  const routes: RouteTo[] = [];
  for (const { range, family } of rangesOf(node)) {
    const address = internalAddress(node, family);
    if (address !== undefined) routes.push({ range, family, address });
  }
  return routes;
}

/** How the machine reaches an address. */
export interface Reach {
  readonly device: string;
  /** On a network of this machine: no router in between. */
  readonly direct: boolean;
}

/** How each of these addresses is reached; those that there is no route to are left out. */
export async function reach(addresses: readonly string[]): Promise<Map<string, Reach>> {
  const found = new Map<string, Reach>();
  if (addresses.length === 0) return found;
  for (const line of await ipBatch(addresses.map((a) => `route get ${a}`))) {
    const words = line.trim().split(/\s+/);
    const address = addresses.find((a) => words.slice(0, 2).includes(a));
    const device = words[words.indexOf('dev') + 1];
    if (address === undefined || device === undefined || !words.includes('dev')) continue;
    found.set(address, { device, direct: !words.includes('via') });
  }
  return found;
}

interface ListedRoute {
  readonly dst: string;
  readonly gateway?: string;
  readonly dev?: string;
}

async function ourRoutes(family: Family): Promise<Map<string, ListedRoute>> {
  const list = await ipList<ListedRoute>(`-${family} route show proto ${protocol}`);
  const whole = family === 4 ? '/32' : '/128';
  return new Map(list.map((r) => [r.dst.includes('/') ? r.dst : `${r.dst}${whole}`, r]));
}

export interface WantedRoute extends RouteTo {
  readonly overlay: boolean;
}

/**
 * Brings the routes of one family to what is wanted. `range`: this node's pods, for the source address of what the machine itself
 * sends through the overlay. Resolves with what failed, range and reason.
 */
export async function syncRoutes(
  family: Family,
  wanted: readonly WantedRoute[],
  range: string | undefined,
): Promise<[range: string, why: string][]> {
  const there = await ourRoutes(family);
  const failed: [string, string][] = [];
  const attempt = (what: string, line: string): Promise<void> =>
    ip(line).then(
      () => {},
      (error: unknown) => void failed.push([what, (error as Error).message]),
    );
  for (const w of wanted) {
    const now = there.get(w.range);
    there.delete(w.range);
    const gateway = w.overlay ? gatewayOf(w.range) : w.address;
    const right = now?.gateway === gateway && (now.dev === overlayDevice[family]) === w.overlay;
    if (right) continue;
    const by = w.overlay
      ? `via ${gateway} dev ${overlayDevice[family]} onlink${range === undefined ? '' : ` src ${gatewayOf(range)}`}`
      : `via ${gateway}`;
    await attempt(w.range, `-${family} route replace ${w.range} ${by} proto ${protocol}`);
    // IPv6 has no replacing of a route by one on another device: both would stand.
    if (family === 6 && now?.dev !== undefined && (now.dev === overlayDevice[6]) !== w.overlay)
      // The other may be gone already, with its device.
      await ip(`-6 route del ${w.range} dev ${now.dev} proto ${protocol}`).catch(() => {});
  }
  for (const gone of there.keys()) await attempt(gone, `-${family} route del ${gone} proto ${protocol}`);
  return failed;
}

/** Takes all of our routes away. */
export async function removeRoutes(): Promise<void> {
  for (const family of families)
    for (const range of (await ourRoutes(family)).keys()) await ip(`-${family} route del ${range} proto ${protocol}`);
}
