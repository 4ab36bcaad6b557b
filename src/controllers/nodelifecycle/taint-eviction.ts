/** The taint eviction controller: deletes pods from nodes with NoExecute taints, after as long as the pods tolerate them. */
import { deepEqual } from '../../api/helpers/deep-equal.ts';
import { toleratesTaint } from '../../api/helpers/taints.ts';
import { formatTime } from '../../api/time.ts';
import type { Node, Pod, Taint, Toleration } from '../../api/types/index.gen.ts';
import { Controller } from '../../client/controller.ts';
import { isNotFound } from '../../client/errors.ts';
import type { EventRecorder } from '../../client/event-recorder.ts';
import type { Informer } from '../../client/informer.ts';
import { keyOf, splitKey } from '../../client/lister.ts';
import { resources } from '../../client/resources.ts';
import type { TypedClient } from '../../client/typed-client.ts';
import type { ControllerContext, ControllerDescriptor, RunningController } from '../context.ts';
import { addPodNodeIndex, podNodeIndex } from '../util/pods.ts';

interface Eviction {
  /** When the taint was first seen for this pod. */
  readonly since: number;
  readonly at: number;
}

const noExecute = (node: Node): Taint[] => (node.spec?.taints ?? []).filter((t) => t.effect === 'NoExecute');

/** The tolerations that are used for the taints, or undefined when one of them is not tolerated. */
function matchingTolerations(taints: readonly Taint[], tolerations: readonly Toleration[]): Toleration[] | undefined {
  const used: Toleration[] = [];
  for (const taint of taints) {
    const found = tolerations.find((t) => toleratesTaint(t, taint));
    if (found === undefined) return undefined;
    used.push(found);
  }
  return used;
}

/** Seconds that the shortest toleration lasts; Infinity when all last for ever. */
function minTolerationSeconds(tolerations: readonly Toleration[]): number {
  if (tolerations.length === 0) return 0;
  let min = Infinity;
  for (const t of tolerations) {
    if (t.tolerationSeconds === undefined) continue;
    if (t.tolerationSeconds <= 0) return 0;
    min = Math.min(min, t.tolerationSeconds);
  }
  return min;
}

class TaintEvictionController implements RunningController {
  readonly #c: ControllerContext;
  readonly #client: TypedClient;
  readonly #recorder: EventRecorder;
  readonly #nodes: Informer<Node>;
  readonly #pods: Informer<Pod>;
  /** Due evictions by pod key. */
  readonly #evictions: Controller;
  readonly #scheduled = new Map<string, Eviction>();
  readonly #tainted = new Map<string, readonly Taint[]>();

  constructor(context: ControllerContext) {
    this.#c = context;
    this.#client = context.clientFor('node-controller');
    this.#recorder = context.recorder('taint-eviction-controller', this.#client);
    this.#nodes = context.informers.informer(resources.core.nodes);
    this.#pods = context.informers.informer(resources.core.pods);
    addPodNodeIndex(this.#pods);
    this.#evictions = new Controller({
      queueMetrics: context.queueMetrics,
      name: 'taint-eviction',
      clock: context.clock,
      logger: context.logger,
      workers: 8,
      maxRetries: 15,
      baseDelayMs: 10,
      reconcile: (key) => this.#evict(key),
    });
    this.#nodes.addHandler({
      onAdd: (node) => this.#nodeChanged(node),
      onUpdate: (old, node) => {
        if (!deepEqual(noExecute(old), noExecute(node))) this.#nodeChanged(node);
      },
      onDelete: (node) => this.#tainted.delete(node.metadata.name!),
    });
    this.#pods.addHandler({
      onAdd: (pod) => this.#podChanged(pod),
      onUpdate: (old, pod) => {
        const moved = old.spec?.nodeName !== pod.spec?.nodeName;
        if (moved || !deepEqual(old.spec?.tolerations, pod.spec?.tolerations)) this.#podChanged(pod);
      },
      onDelete: (pod) => this.#cancel(keyOf(pod)),
    });
    this.#evictions.start(this.#nodes.synced, this.#pods.synced);
  }

  async stop(): Promise<void> {
    await this.#evictions.stop();
    this.#scheduled.clear();
  }

  #nodeChanged(node: Node): void {
    const name = node.metadata.name!;
    const taints = noExecute(node);
    if (taints.length === 0) {
      if (!this.#tainted.delete(name)) return;
      for (const pod of this.#pods.lister.byIndex(podNodeIndex, name)) this.#cancel(keyOf(pod));
      return;
    }
    this.#tainted.set(name, taints);
    for (const pod of this.#pods.lister.byIndex(podNodeIndex, name)) this.#consider(pod, taints);
  }

  #podChanged(pod: Pod): void {
    const taints = this.#tainted.get(pod.spec?.nodeName ?? '');
    if (taints !== undefined) this.#consider(pod, taints);
  }

  #consider(pod: Pod, taints: readonly Taint[]): void {
    const key = keyOf(pod);
    const now = this.#c.clock.now();
    const used = matchingTolerations(taints, pod.spec?.tolerations ?? []);
    if (used === undefined) {
      this.#cancel(key);
      this.#schedule(key, { since: now, at: now });
      return;
    }
    const seconds = minTolerationSeconds(used);
    if (seconds === Infinity) {
      this.#cancel(key);
      return;
    }
    const pending = this.#scheduled.get(key);
    if (pending === undefined) {
      this.#schedule(key, { since: now, at: now + seconds * 1000 });
      return;
    }
    // The time that has run already counts.
    if (pending.since + seconds * 1000 < now + seconds * 1000) return;
    this.#cancel(key);
    this.#schedule(key, { since: pending.since, at: now + seconds * 1000 });
  }

  #schedule(key: string, eviction: Eviction): void {
    this.#scheduled.set(key, eviction);
    this.#evictions.queue.addAfter(key, eviction.at - this.#c.clock.now());
  }

  #cancel(key: string): void {
    if (!this.#scheduled.delete(key)) return;
    this.#event(key, `Cancelling deletion of Pod ${key}`);
  }

  #event(key: string, message: string): void {
    const { namespace, name } = splitKey(key);
    this.#recorder.eventFor(
      { apiVersion: 'v1', kind: 'Pod', name, namespace },
      'Normal',
      'TaintManagerEviction',
      message,
    );
  }

  async #evict(key: string): Promise<void> {
    const eviction = this.#scheduled.get(key);
    if (eviction === undefined) return;
    const left = eviction.at - this.#c.clock.now();
    if (left > 0) {
      this.#evictions.queue.addAfter(key, left);
      return;
    }
    const { namespace, name } = splitKey(key);
    if (this.#evictions.queue.retries(key) === 0) this.#event(key, `Marking for deletion Pod ${key}`);
    try {
      const pod = await this.#client.core.pods.get(name, namespace);
      const target = pod.status?.conditions?.find((c) => c.type === 'DisruptionTarget');
      const reason = 'DeletionByTaintManager';
      if (target?.status !== 'True' || target.reason !== reason) {
        const condition = {
          type: 'DisruptionTarget',
          status: 'True',
          ...(pod.metadata.generation === undefined ? {} : { observedGeneration: pod.metadata.generation }),
          lastTransitionTime: target?.status === 'True' ? target.lastTransitionTime : formatTime(this.#c.clock.now()),
          reason,
          message: 'Taint manager: deleting due to NoExecute taint',
        };
        await this.#client.core.pods.patch(
          name,
          namespace,
          'strategic',
          { metadata: { uid: pod.metadata.uid }, status: { conditions: [condition] } },
          { subresource: 'status' },
        );
      }
      await this.#client.core.pods.delete(name, namespace);
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
    this.#scheduled.delete(key);
  }
}

export const taintEvictionController: ControllerDescriptor = {
  name: 'taint-eviction-controller',
  start: (context) => new TaintEvictionController(context),
};
