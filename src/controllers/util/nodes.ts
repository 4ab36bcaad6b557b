/** Nodes for several controllers: conditions, zones, and changing taints without losing others'. */
import { formatTime } from '../../api/time.ts';
import type { Node, NodeCondition, Taint } from '../../api/types/index.gen.ts';
import type { Clock } from '../../base/clock.ts';
import { isConflict } from '../../client/errors.ts';
import type { TypedClient } from '../../client/typed-client.ts';

export function nodeCondition(node: Node, type: string): NodeCondition | undefined {
  return node.status?.conditions?.find((c) => c.type === type);
}

export const isNodeReady = (node: Node): boolean => nodeCondition(node, 'Ready')?.status === 'True';

/** Region and zone of a node as one key; empty when it has neither. */
export function zoneKey(node: Node): string {
  const labels = node.metadata.labels;
  const zone = labels?.['failure-domain.beta.kubernetes.io/zone'] ?? labels?.['topology.kubernetes.io/zone'] ?? '';
  const region =
    labels?.['failure-domain.beta.kubernetes.io/region'] ?? labels?.['topology.kubernetes.io/region'] ?? '';
  return zone === '' && region === '' ? '' : `${region}:\u0000:${zone}`;
}

export const sameTaint = (a: Taint, b: Taint): boolean => a.key === b.key && a.effect === b.effect;
export const hasTaint = (node: Node, taint: Taint): boolean =>
  (node.spec?.taints ?? []).some((t) => sameTaint(t, taint));

/**
 * Adds and removes taints (by key and effect) on the newest version of the node. Those added get the time of now. Returns the
 * node as it is then.
 */
export async function swapTaints(
  client: TypedClient,
  clock: Clock,
  node: Node,
  add: readonly Taint[],
  remove: readonly Taint[],
): Promise<Node> {
  let current = node;
  for (let attempt = 0; ; attempt++) {
    const old = current.spec?.taints ?? [];
    const added = add.filter((t) => !old.some((o) => sameTaint(o, t) && (o.value ?? '') === (t.value ?? '')));
    const kept = old.filter((o) => !remove.some((r) => sameTaint(o, r)) && !added.some((a) => sameTaint(o, a)));
    if (added.length === 0 && kept.length === old.length) return current;
    const time = formatTime(clock.now());
    const taints = [...kept, ...added.map((t) => ({ ...t, timeAdded: time }))];
    try {
      return await client.core.nodes.patch(node.metadata.name!, undefined, 'merge', {
        metadata: { resourceVersion: current.metadata.resourceVersion },
        spec: { taints: taints.length === 0 ? null : taints },
      });
    } catch (error) {
      if (!isConflict(error) || attempt >= 4) throw error;
    }
    current = await client.core.nodes.get(node.metadata.name!);
  }
}
