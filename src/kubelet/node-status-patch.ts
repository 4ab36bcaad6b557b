/** The difference of two node statuses as a strategic merge patch, and whether there is one worth telling. */
import { semanticEqual } from '../api/helpers/deep-equal.ts';
import { parseQuantity, quantityMilli, quantityValue } from '../api/quantity.ts';
import type { NodeCondition, NodeStatus } from '../api/types/index.gen.ts';

function sameQuantities(a: Record<string, string> | undefined, b: Record<string, string> | undefined): boolean {
  const names = Object.keys(b ?? {});
  if (names.length !== Object.keys(a ?? {}).length) return false;
  return names.every((k) => {
    const x = a?.[k];
    const y = b![k]!;
    if (x === y) return true;
    return (
      x !== undefined &&
      (k === 'cpu'
        ? quantityMilli(parseQuantity(x)) === quantityMilli(parseQuantity(y))
        : quantityValue(parseQuantity(x)) === quantityValue(parseQuantity(y)))
    );
  });
}

/** Only the times of the heartbeat differ. */
export function sameBesidesHeartbeat(a: NodeStatus, b: NodeStatus): boolean {
  const strip = (s: NodeStatus) => (s.conditions ?? []).map((c) => ({ ...c, lastHeartbeatTime: undefined }));
  if (!semanticEqual(strip(a), strip(b))) return false;
  const patch = nodeStatusPatch(a, b);
  return patch === undefined || Object.keys(patch).every((k) => k === 'conditions' || k.startsWith('$'));
}

/** What to send to turn one status into the other. */
export function nodeStatusPatch(from: NodeStatus, to: NodeStatus): Record<string, unknown> | undefined {
  const out: Record<string, unknown> = {};
  const a = from as Record<string, unknown>;
  for (const [k, value] of Object.entries(to)) {
    if (value === undefined || value === a[k]) continue;
    if (k === 'conditions') {
      const old = new Map((from.conditions ?? []).map((c) => [c.type, c]));
      const changed = (value as NodeCondition[])
        .map((c) => {
          const before = old.get(c.type) as Record<string, unknown> | undefined;
          const diff: Record<string, unknown> = {};
          for (const [f, v] of Object.entries(c)) if (v !== before?.[f]) diff[f] = v;
          return Object.keys(diff).length === 0 ? undefined : { type: c.type, ...diff };
        })
        .filter((c) => c !== undefined);
      if (changed.length === 0) continue;
      out['$setElementOrder/conditions'] = (value as NodeCondition[]).map((c) => ({ type: c.type }));
      out['conditions'] = changed;
    } else if (k === 'capacity' || k === 'allocatable') {
      if (!sameQuantities(a[k] as Record<string, string>, value as Record<string, string>)) out[k] = value;
    } else if (!semanticEqual(a[k], value)) {
      // Two addresses may have one type, the list's merge key: it is replaced as a whole.
      out[k] = k === 'addresses' ? [...(value as unknown[]), { $patch: 'replace' }] : value;
    }
  }
  return Object.keys(out).length === 0 ? undefined : out;
}
