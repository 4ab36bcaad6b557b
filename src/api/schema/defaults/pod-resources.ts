/**
 * Defaults of pod-level resources (KEP-2837): requests from what the containers ask for, or from the pod's limits, and
 * hugepage limits from the containers'.
 */
import { addQuantity, formatQuantity, maxQuantity, parseQuantity } from '../../quantity.ts';
import type { Quantity } from '../../quantity.ts';
import { listOf, struct, structOf } from './hook.ts';
import type { Draft } from './hook.ts';

type Totals = Map<string, Quantity>;

function add(totals: Totals, resources: Draft | undefined): void {
  for (const [name, text] of Object.entries(resources ?? {})) {
    const q = parseQuantity(text as string);
    const before = totals.get(name);
    totals.set(name, before === undefined ? q : addQuantity(before, q));
  }
}

function raise(totals: Totals, other: Totals): void {
  for (const [name, q] of other) {
    const before = totals.get(name);
    totals.set(name, before === undefined ? q : maxQuantity(before, q));
  }
}

/** Sum of the containers, or what the init containers need at most, counting sidecars that started before them. */
function aggregate(spec: Draft, member: 'requests' | 'limits'): Totals {
  const totals: Totals = new Map();
  for (const c of listOf(spec, 'containers')) add(totals, structOf(structOf(c, 'resources'), member));
  const sidecars: Totals = new Map();
  const init: Totals = new Map();
  for (const c of listOf(spec, 'initContainers')) {
    const own = structOf(structOf(c, 'resources'), member);
    if (c['restartPolicy'] === 'Always') {
      add(totals, own);
      add(sidecars, own);
      raise(init, sidecars);
    } else {
      const needed: Totals = new Map(sidecars);
      add(needed, own);
      raise(init, needed);
    }
  }
  raise(totals, init);
  return totals;
}

const isHugePages = (name: string): boolean => name.startsWith('hugepages-');
const isSupported = (name: string): boolean => name === 'cpu' || name === 'memory' || isHugePages(name);
const size = (d: Draft | undefined): number => (d === undefined ? 0 : Object.keys(d).length);

export function defaultHugePageLimits(spec: Draft): void {
  const resources = struct(spec, 'resources');
  const limits = structOf(resources, 'limits');
  const requests = structOf(resources, 'requests');
  if (size(limits) === 0 && size(requests) === 0) return;
  const out: Draft = { ...limits };
  for (const [name, q] of aggregate(spec, 'limits')) {
    if (isHugePages(name) && requests?.[name] === undefined && out[name] === undefined) out[name] = formatQuantity(q);
  }
  if (size(out) > 0) resources['limits'] = out;
}

export function defaultPodRequests(spec: Draft): void {
  const resources = struct(spec, 'resources');
  const limits = structOf(resources, 'limits');
  if (size(limits) === 0) return;
  const requests: Draft = { ...structOf(resources, 'requests') };
  for (const [name, q] of aggregate(spec, 'requests')) {
    // overcommittable resources alone: hugepages are not
    if ((name === 'cpu' || name === 'memory') && requests[name] === undefined) requests[name] = formatQuantity(q);
  }
  for (const [name, q] of Object.entries(limits!)) {
    if (isSupported(name) && requests[name] === undefined) requests[name] = q;
  }
  if (size(requests) > 0) resources['requests'] = requests;
}
