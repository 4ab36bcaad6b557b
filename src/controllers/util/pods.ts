/** Pods for workload controllers: made from a template, deleted with events, indexed by owner, ranked for deletion. */
import { controllerOf } from '../../api/helpers/owner-references.ts';
import { isPodActive, isPodReady, podReadySince } from '../../api/helpers/pod-status.ts';
import type { KubeObject, OwnerReference } from '../../api/object.ts';
import { timeMs } from '../../api/time.ts';
import type { Pod, PodTemplateSpec } from '../../api/types/index.gen.ts';
import { isNamespaceTerminating, isNotFound } from '../../client/errors.ts';
import type { EventRecorder } from '../../client/event-recorder.ts';
import type { Informer } from '../../client/informer.ts';
import type { TypedRef } from '../../client/resources.ts';
import type { TypedClient } from '../../client/typed-client.ts';

/** Index of pods by their controller's uid; orphans are under their namespace as `orphan/<namespace>`. */
export const podControllerIndex = 'controller';
/** Index of pods by node name. */
export const podNodeIndex = 'node';

export function addPodControllerIndex(pods: Informer<Pod>): void {
  pods.addIndex(podControllerIndex, (pod) => [controllerOf(pod)?.uid ?? orphanKey(pod.metadata.namespace)]);
}

export function addPodNodeIndex(pods: Informer<Pod>): void {
  pods.addIndex(podNodeIndex, (pod) => {
    const node = pod.spec?.nodeName;
    return node === undefined || node === '' ? [] : [node];
  });
}

export function orphanKey(namespace: string | undefined): string {
  return `orphan/${namespace ?? ''}`;
}

const maxPrefix = 253 - 1;

/** The Pod that a template describes. Nothing is copied: the template belongs to an immutable object. */
export function podFromTemplate(
  template: PodTemplateSpec,
  owner: KubeObject,
  controllerRef: OwnerReference | undefined,
): Pod {
  const m = template.metadata ?? {};
  // A prefix that is no valid name start goes without its dash.
  const name = owner.metadata.name ?? '';
  return {
    metadata: {
      generateName: name.length > maxPrefix ? name : `${name}-`,
      ...(owner.metadata.namespace === undefined ? {} : { namespace: owner.metadata.namespace }),
      ...(m.labels === undefined ? {} : { labels: m.labels }),
      ...(m.annotations === undefined ? {} : { annotations: m.annotations }),
      ...(m.finalizers === undefined ? {} : { finalizers: m.finalizers }),
      ...(controllerRef === undefined ? {} : { ownerReferences: [controllerRef] }),
    },
    spec: template.spec,
  };
}

/** Creates and deletes pods in the name of an owner, telling so in events (upstream's RealPodControl). */
export class PodControl {
  readonly #client: TypedClient;
  readonly #recorder: EventRecorder;

  constructor(client: TypedClient, recorder: EventRecorder) {
    this.#client = client;
    this.#recorder = recorder;
  }

  async create(pod: Pod, owner: KubeObject, ownerRef: TypedRef): Promise<Pod> {
    if (pod.metadata.labels === undefined || Object.keys(pod.metadata.labels).length === 0) {
      throw new Error('unable to create pods, no labels');
    }
    try {
      const created = await this.#client.core.pods.create(pod);
      this.#recorder.event(ownerRef, owner, 'Normal', 'SuccessfulCreate', `Created pod: ${created.metadata.name}`);
      return created;
    } catch (error) {
      if (!isNamespaceTerminating(error)) {
        this.#recorder.event(ownerRef, owner, 'Warning', 'FailedCreate', `Error creating: ${(error as Error).message}`);
      }
      throw error;
    }
  }

  async delete(pod: Pod, owner: KubeObject, ownerRef: TypedRef): Promise<void> {
    const { name, namespace } = pod.metadata;
    try {
      await this.#client.core.pods.delete(name!, namespace);
      this.#recorder.event(ownerRef, owner, 'Normal', 'SuccessfulDelete', `Deleted pod: ${name}`);
    } catch (error) {
      if (isNotFound(error)) throw error;
      this.#recorder.event(ownerRef, owner, 'Warning', 'FailedDelete', `Error deleting: ${(error as Error).message}`);
      throw new Error(`unable to delete pods: ${(error as Error).message}`, { cause: error });
    }
  }
}

const phaseRank: Record<string, number> = { Pending: 0, Unknown: 1, Running: 2 };

function rankOfPhase(pod: Pod): number {
  return phaseRank[pod.status?.phase ?? ''] ?? 0;
}

function deletionCost(pod: Pod): number {
  const text = pod.metadata.annotations?.['controller.kubernetes.io/pod-deletion-cost'];
  return text !== undefined && /^-?[0-9]+$/.test(text) && !/^-?0[0-9]/.test(text) ? Number(text) : 0;
}

function restarts(pod: Pod): [number, number] {
  let regular = 0;
  for (const c of pod.status?.containerStatuses ?? []) regular = Math.max(regular, c.restartCount);
  let sidecar = 0;
  for (const c of pod.status?.initContainerStatuses ?? []) {
    const spec = pod.spec?.initContainers?.find((i) => i.name === c.name);
    if (spec?.restartPolicy === 'Always') sidecar = Math.max(sidecar, c.restartCount);
  }
  return [regular, sidecar];
}

/** Ages compared by their binary logarithm, so that among pods of like age the choice falls at random (by uid). */
function logRank(now: number, then: number): number {
  const d = (now - then) * 1e6;
  return d > 0 ? Math.trunc(Math.log2(d)) : -1;
}

function byTime(a: Pod, b: Pod, ta: number, tb: number, now: number): number {
  const missingA = Number.isNaN(ta);
  const missingB = Number.isNaN(tb);
  if (missingA || missingB) return missingA === missingB ? 0 : missingA ? -1 : 1;
  const diff = logRank(now, ta) - logRank(now, tb);
  if (diff !== 0) return diff;
  return a.metadata.uid! < b.metadata.uid! ? -1 : 1;
}

/**
 * Sorts pods so that those to be deleted first come first (upstream's ActivePodsWithRanks): unassigned, pending, not ready,
 * cheap by annotation, crowded on their node, ready for a short time, often restarted, young.
 * `related`: pods of all sets of the same owner, for the crowding.
 */
export function rankForDeletion(pods: readonly Pod[], related: Iterable<Pod>, now: number): Pod[] {
  const onNode = new Map<string, number>();
  for (const pod of related) {
    if (!isPodActive(pod)) continue;
    const node = pod.spec?.nodeName ?? '';
    onNode.set(node, (onNode.get(node) ?? 0) + 1);
  }
  const keyed = pods.map((pod) => ({
    pod,
    node: pod.spec?.nodeName ?? '',
    phase: rankOfPhase(pod),
    ready: isPodReady(pod),
    cost: deletionCost(pod),
    crowd: onNode.get(pod.spec?.nodeName ?? '') ?? 0,
  }));
  keyed.sort((a, b) => {
    if ((a.node === '') !== (b.node === '')) return a.node === '' ? -1 : 1;
    if (a.phase !== b.phase) return a.phase - b.phase;
    if (a.ready !== b.ready) return a.ready ? 1 : -1;
    if (a.cost !== b.cost) return a.cost - b.cost;
    if (a.crowd !== b.crowd) return b.crowd - a.crowd;
    if (a.ready) {
      const ra = podReadySince(a.pod);
      const rb = podReadySince(b.pod);
      if (ra !== rb && !(Number.isNaN(ra) && Number.isNaN(rb))) return byTime(a.pod, b.pod, ra, rb, now);
    }
    const [regularA, sidecarA] = restarts(a.pod);
    const [regularB, sidecarB] = restarts(b.pod);
    if (regularA !== regularB) return regularB - regularA;
    if (sidecarA !== sidecarB) return sidecarB - sidecarA;
    const ca = timeMs(a.pod.metadata.creationTimestamp);
    const cb = timeMs(b.pod.metadata.creationTimestamp);
    return ca === cb ? 0 : byTime(a.pod, b.pod, ca, cb, now);
  });
  return keyed.map((k) => k.pod);
}
