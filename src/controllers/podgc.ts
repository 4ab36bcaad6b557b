/**
 * The pod garbage collector: every 20 seconds deletes pods whose node is gone, terminating pods that were never scheduled or sit
 * on a node declared out of service, and the oldest ended pods beyond a threshold.
 */
import { formatTime, timeMs } from '../api/time.ts';
import type { Pod, PodCondition } from '../api/types/index.gen.ts';
import type { Timer } from '../base/clock.ts';
import { isNotFound } from '../client/errors.ts';
import { resources } from '../client/resources.ts';
import { forEachLimit } from '../client/slow-start.ts';
import type { ControllerContext, ControllerDescriptor, RunningController } from './context.ts';
import { isNodeReady } from './util/nodes.ts';
import { addPodNodeIndex } from './util/pods.ts';

const periodMs = 20_000;
/** A node has to be missing for so long before its pods go: the caches of pods and nodes are not in step. */
const quarantineMs = 40_000;
const outOfServiceTaint = 'node.kubernetes.io/out-of-service';

const hasEnded = (pod: Pod): boolean => {
  const phase = pod.status?.phase ?? '';
  return phase !== 'Pending' && phase !== 'Running' && phase !== 'Unknown' && phase !== '';
};

/** Evicted ones first, then the oldest. */
function byEvictionAndAge(a: Pod, b: Pod): number {
  const evicted = (p: Pod): boolean => p.status?.phase === 'Failed' && p.status.reason === 'Evicted';
  if (evicted(a) !== evicted(b)) return evicted(a) ? -1 : 1;
  const diff = timeMs(a.metadata.creationTimestamp) - timeMs(b.metadata.creationTimestamp);
  return diff || (a.metadata.name! < b.metadata.name! ? -1 : 1);
}

function start(context: ControllerContext): RunningController {
  const { clock, logger, options } = context;
  const client = context.clientFor('pod-garbage-collector');
  const pods = context.informers.informer(resources.core.pods);
  const nodes = context.informers.informer(resources.core.nodes);
  addPodNodeIndex(pods);
  const threshold = options.terminatedPodGCThreshold ?? 12_500;
  /** Missing nodes and since when. */
  const missing = new Map<string, number>();
  let ticker: Timer | undefined;
  let running: Promise<void> | undefined;
  let stopped = false;

  const remove = async (pod: Pod, condition?: PodCondition): Promise<void> => {
    const { name, namespace, uid, generation } = pod.metadata;
    try {
      const phase = pod.status?.phase;
      if (phase !== 'Succeeded' && phase !== 'Failed') {
        const status: Record<string, unknown> = { phase: 'Failed' };
        if (generation !== undefined && pod.status?.observedGeneration !== undefined) {
          status['observedGeneration'] = generation;
        }
        if (condition !== undefined) status['conditions'] = [condition];
        const patch = { metadata: { uid }, status };
        await client.core.pods.patch(name!, namespace, 'strategic', patch, { subresource: 'status' });
      }
      await client.core.pods.delete(name!, namespace, { gracePeriodSeconds: 0 });
    } catch (error) {
      if (!isNotFound(error)) {
        logger.warn('pod garbage collector could not delete a pod', { pod: `${namespace}/${name}`, error });
      }
    }
  };

  /** What has to go, and the nodes that pods name but nobody has; undefined when all is well. */
  const look = (): { doomed: Pod[]; seen: Set<string> } | undefined => {
    const ended: Pod[] = [];
    const doomed: Pod[] = [];
    const now = clock.now();
    const seen = new Set<string>();
    for (const pod of pods.lister.list()) {
      if (hasEnded(pod)) ended.push(pod);
      const nodeName = pod.spec?.nodeName ?? '';
      if (nodeName === '') {
        if (pod.metadata.deletionTimestamp !== undefined) doomed.push(pod);
        continue;
      }
      const node = nodes.lister.get(nodeName);
      if (node === undefined) {
        seen.add(nodeName);
        if (!missing.has(nodeName)) missing.set(nodeName, now);
      } else if (
        pod.metadata.deletionTimestamp !== undefined &&
        !isNodeReady(node) &&
        (node.spec?.taints ?? []).some((t) => t.key === outOfServiceTaint)
      ) {
        doomed.push(pod);
      }
    }
    if (threshold > 0 && ended.length > threshold) {
      doomed.push(...ended.toSorted(byEvictionAndAge).slice(0, ended.length - threshold));
    }
    return doomed.length === 0 && missing.size === 0 ? undefined : { doomed, seen };
  };

  const collect = async ({ doomed, seen }: { doomed: Pod[]; seen: Set<string> }): Promise<void> => {
    const now = clock.now();
    await forEachLimit(doomed, 20, (pod) => remove(pod));
    for (const [name, since] of missing) {
      if (!seen.has(name)) missing.delete(name);
      else if (now - since >= quarantineMs) {
        try {
          await client.core.nodes.get(name);
        } catch (error) {
          if (!isNotFound(error)) throw error;
          missing.delete(name);
          await collectOrphans(name);
        }
      }
    }
  };

  const collectOrphans = (nodeName: string): Promise<void> =>
    forEachLimit([...pods.lister.byIndex('node', nodeName)], 20, (pod) =>
      remove(pod, {
        type: 'DisruptionTarget',
        status: 'True',
        ...(pod.metadata.generation === undefined ? {} : { observedGeneration: pod.metadata.generation }),
        lastTransitionTime: formatTime(clock.now()),
        reason: 'DeletionByPodGC',
        message: 'PodGC: node no longer exists',
      }),
    );

  const pass = (): void | 'idle' => {
    if (running !== undefined || stopped) return;
    const found = look();
    if (found === undefined) return 'idle';
    running = clock.activity
      .track(collect(found))
      .catch((error: unknown) => logger.warn('pod garbage collection failed', { error }))
      .finally(() => {
        running = undefined;
      });
  };
  Promise.all([pods.synced, nodes.synced]).then(
    () => {
      if (stopped) return;
      pass();
      ticker = clock.setTicker(periodMs, pass);
    },
    () => {},
  );
  return {
    stop: async () => {
      stopped = true;
      ticker?.cancel();
      await running;
    },
  };
}

export const podGarbageCollectorController: ControllerDescriptor = {
  name: 'pod-garbage-collector-controller',
  aliases: ['podgc'],
  start,
};
