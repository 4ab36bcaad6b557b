/** What the pods are told whose volume is held by another node. */
import type { Pod } from '../../../api/types/index.gen.ts';

/** `pods`: those that wait. `others`: those that use the volume where it is; only those of a pod's own namespace are named to it. */
export function multiAttachMessages(
  volume: string,
  pods: readonly Pod[],
  others: readonly Pod[],
): (readonly [Pod, string])[] {
  const prefix = `Multi-Attach error for volume "${volume}" `;
  if (others.length === 0)
    return pods.map((pod) => [
      pod,
      `${prefix}Volume is already exclusively attached to one node and can't be attached to another`,
    ]);
  return pods.map((pod) => {
    const near = others.filter((o) => o.metadata.namespace === pod.metadata.namespace).map((o) => o.metadata.name);
    const far = others.length - near.length;
    const names = `Volume is already used by pod(s) ${near.join(', ')}`;
    const count = `${far} pod(s) in different namespaces`;
    if (near.length === 0) return [pod, `${prefix}Volume is already used by ${count}`];
    return [pod, `${prefix}${names}${far > 0 ? ` and ${count}` : ''}`];
  });
}
