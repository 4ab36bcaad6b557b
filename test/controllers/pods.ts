/** A kubelet's part for tests of controllers: pods put into phases, containers that end, pods in deletion that go. */
import { formatTime } from '../../src/api/time.ts';
import type { Event, Pod } from '../../src/api/types/index.gen.ts';
import type { VirtualClock } from '../../src/base/clock.ts';
import type { TypedClient } from '../../src/client/typed-client.ts';

export interface PodWorld {
  readonly clock: VirtualClock;
  readonly admin: TypedClient;
}

export const ns = 'default';

/** All pods of the namespace, by name. */
export async function listPods(w: PodWorld, namespace = ns): Promise<Pod[]> {
  const { items } = await w.admin.core.pods.list({ namespace });
  return items.sort((a, b) => (a.metadata.name! < b.metadata.name! ? -1 : 1));
}

/** Writes a phase; Running is ready with all its containers, Succeeded and Failed have ended with `exitCode`. */
export async function setPhase(
  w: PodWorld,
  pod: Pod,
  phase: 'Running' | 'Succeeded' | 'Failed',
  options: { readonly exitCode?: number; readonly ready?: boolean; readonly condition?: string } = {},
): Promise<void> {
  const now = formatTime(w.clock.now());
  const running = phase === 'Running';
  const ready = running && options.ready !== false;
  const fresh = await w.admin.core.pods.get(pod.metadata.name!, pod.metadata.namespace);
  await w.admin.core.pods.updateStatus({
    ...fresh,
    status: {
      ...fresh.status,
      phase,
      startTime: now,
      conditions: [
        { type: 'Ready', status: ready ? 'True' : 'False', lastTransitionTime: now },
        ...(options.condition === undefined
          ? []
          : [{ type: options.condition, status: 'True', lastTransitionTime: now }]),
      ],
      containerStatuses: (fresh.spec?.containers ?? []).map((c) => ({
        name: c.name,
        image: c.image ?? '',
        imageID: '',
        ready,
        restartCount: 0,
        state: running
          ? { running: { startedAt: now } }
          : {
              terminated: {
                exitCode: options.exitCode ?? (phase === 'Failed' ? 1 : 0),
                startedAt: now,
                finishedAt: now,
              },
            },
      })),
    },
  });
}

/** Starts what waits and removes what is being deleted. Returns how many pods were changed. */
export async function kubelet(
  w: PodWorld,
  choose: (pod: Pod) => boolean = () => true,
  namespace = ns,
): Promise<number> {
  let changed = 0;
  for (const pod of await listPods(w, namespace)) {
    if (!choose(pod)) continue;
    if (pod.metadata.deletionTimestamp !== undefined) {
      await w.admin.core.pods.delete(pod.metadata.name!, namespace, { gracePeriodSeconds: 0 });
      changed++;
    } else if (pod.status?.phase === 'Pending') {
      await setPhase(w, pod, 'Running');
      changed++;
    }
  }
  await w.clock.advance(0);
  return changed;
}

/** `type reason message` of the events about an object, in the order they were made. */
export async function eventsOf(w: PodWorld, kind: string, name: string, namespace = ns): Promise<string[]> {
  const { items } = await w.admin.core.events.list({ namespace });
  return items
    .filter((e) => e.involvedObject.kind === kind && e.involvedObject.name === name)
    .sort((a, b) => order(a) - order(b))
    .map((e) => `${e.type} ${e.reason} ${e.message}`);
}

function order(e: Event): number {
  return Number(e.metadata.resourceVersion);
}
