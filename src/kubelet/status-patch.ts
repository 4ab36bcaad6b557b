/** The least strategic merge patch that turns one PodStatus into another (`metadata.uid` guards against a namesake). */
import { semanticEqual } from '../api/helpers/deep-equal.ts';
import type { PodStatus } from '../api/types/index.gen.ts';

type Item = Record<string, unknown>;

const mergeKeys: Readonly<Record<string, string>> = { conditions: 'type', podIPs: 'ip', hostIPs: 'ip' };

function listPatch(name: string, key: string, from: readonly Item[], to: readonly Item[], out: Item): void {
  const old = new Map(from.map((i) => [i[key], i]));
  const changes: Item[] = [];
  for (const item of to) {
    const before = old.get(item[key]);
    old.delete(item[key]);
    if (before === undefined) {
      changes.push(item);
      continue;
    }
    const change: Item = {};
    for (const k in item) if (item[k] !== undefined && !semanticEqual(item[k], before[k])) change[k] = item[k];
    for (const k in before)
      if (before[k] !== undefined && before[k] !== null && item[k] === undefined) change[k] = null;
    if (Object.keys(change).length > 0) changes.push({ ...change, [key]: item[key] });
  }
  for (const gone of old.values()) changes.push({ $patch: 'delete', [key]: gone[key] });
  if (changes.length === 0) return;
  out[`$setElementOrder/${name}`] = to.map((i) => ({ [key]: i[key] }));
  out[name] = changes;
}

/** Undefined when nothing differs. */
export function podStatusPatch(uid: string, from: PodStatus, to: PodStatus): Record<string, unknown> | undefined {
  const status: Item = {};
  const a = from as Item;
  const b = to as Item;
  for (const k in b) {
    const value = b[k];
    if (value === undefined || value === a[k]) continue;
    const key = mergeKeys[k];
    if (key !== undefined) listPatch(k, key, (a[k] as Item[] | undefined) ?? [], value as Item[], status);
    else if (!semanticEqual(a[k], value)) status[k] = value;
  }
  for (const k in a) {
    if (a[k] === undefined || a[k] === null || b[k] !== undefined) continue;
    const key = mergeKeys[k];
    if (key !== undefined) listPatch(k, key, a[k] as Item[], [], status);
    else status[k] = null;
  }
  for (const _ in status) return { metadata: { uid }, status };
  return undefined;
}
