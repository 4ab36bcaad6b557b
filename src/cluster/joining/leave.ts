/** A node's way out of a cluster: cordoned, its pods evicted with respect for their disruption budgets, then deleted. */
import type { Clock } from '../../base/clock.ts';
import { StatusError } from '../../api/status.ts';
import type { Pod } from '../../api/types/index.gen.ts';
import { isNotFound } from '../../client/errors.ts';
import type { TypedClient } from '../../client/typed-client.ts';

const pollMs = 500;

export interface DrainOptions {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly timeoutMs: number;
  say(line: string): void;
  /** Called when the pods have gone, before the Node goes. */
  stopNode?(): Promise<void>;
}

/** Pods that stay: a DaemonSet's would come back at once, mirror pods are the kubelet's own, and what has ended needs no new place. */
function stays(pod: Pod): boolean {
  if (pod.metadata.annotations?.['kubernetes.io/config.mirror'] !== undefined) return true;
  if (pod.metadata.ownerReferences?.some((o) => o.controller === true && o.kind === 'DaemonSet') === true) return true;
  return pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed';
}

/** Resolves with the pods that would not go in time; empty when the node has been deleted. */
export async function drainAndDelete(client: TypedClient, nodeName: string, o: DrainOptions): Promise<string[]> {
  await client.core.nodes.patch(nodeName, undefined, 'merge', { spec: { unschedulable: true } });
  const until = o.clock.monotonic() + o.timeoutMs;
  const asked = new Set<string>();
  for (;;) {
    const { items } = await client.core.pods.list({ fieldSelector: `spec.nodeName=${nodeName}` });
    const left = items.filter((p) => !stays(p));
    if (left.length === 0) break;
    for (const pod of left) {
      const { name = '', namespace = '', uid = '' } = pod.metadata;
      if (asked.has(uid)) continue;
      try {
        await client.raw('POST', `/api/v1/namespaces/${namespace}/pods/${name}/eviction`, {
          body: { apiVersion: 'policy/v1', kind: 'Eviction', metadata: { name, namespace } },
        });
        asked.add(uid);
        o.say(`evicting ${namespace}/${name}`);
      } catch (error) {
        if (isNotFound(error)) continue;
        // 429: a disruption budget asks for patience.
        if (!(error instanceof StatusError) || error.code !== 429) throw error;
      }
    }
    if (o.clock.monotonic() > until) return left.map((p) => `${p.metadata.namespace}/${p.metadata.name}`);
    await o.clock.sleep(pollMs, o.signal);
  }
  await o.stopNode?.();
  await client.core.nodes.delete(nodeName).catch((error: unknown) => {
    if (!isNotFound(error)) throw error;
  });
  return [];
}
