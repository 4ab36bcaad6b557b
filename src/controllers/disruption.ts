/**
 * The disruption controller: keeps in the status of every PodDisruptionBudget how many pods may be evicted now, which the eviction
 * API goes by, and takes back the DisruptionTarget condition of pods that were marked but never deleted. It watches budgets, pods
 * and the workloads that own them.
 */
import { deepEqual, semanticEqual } from '../api/helpers/deep-equal.ts';
import { controllerOf } from '../api/helpers/owner-references.ts';
import { isPodReady, isPodTerminal, podCondition } from '../api/helpers/pod-status.ts';
import type { KubeObject, OwnerReference } from '../api/object.ts';
import { parseApiVersion } from '../api/object.ts';
import type { Selector } from '../api/selector.ts';
import { compileLabelSelector } from '../api/selector.ts';
import { formatTime, timeMs } from '../api/time.ts';
import type {
  Condition,
  Deployment,
  Pod,
  PodDisruptionBudget,
  PodDisruptionBudgetStatus,
  ReplicaSet,
  ReplicationController,
  StatefulSet,
} from '../api/types/index.gen.ts';
import { Controller } from '../client/controller.ts';
import { isConflict, isNotFound } from '../client/errors.ts';
import type { EventRecorder } from '../client/event-recorder.ts';
import type { Informer } from '../client/informer.ts';
import { keyOf, splitKey } from '../client/lister.ts';
import { resources } from '../client/resources.ts';
import type { TypedClient } from '../client/typed-client.ts';
import type { ControllerContext, ControllerDescriptor, RunningController } from './context.ts';
import { setStatusCondition } from './util/conditions.ts';
import { scaledValue } from './util/int-or-percent.ts';
import { LastWritten } from './util/last-written.ts';
import { groupResource, Scales } from './util/scales.ts';
import { selectorText } from './util/selector-text.ts';

const ref = resources.policy.poddisruptionbudgets;
/** An evicted pod counts as gone for so long, even when its deletion has not been seen. */
const deletionTimeoutMs = 120_000;
/** So long after the mark a pod that lives on is no target any more. */
const staleDisruptionMs = 120_000;
/** In larger clusters changes of pods are gathered for a moment. */
const manyPods = 200;
const gatherMs = 50;

interface OwnerScale {
  readonly uid: string;
  readonly replicas: number;
}

class DisruptionController implements RunningController {
  readonly #c: ControllerContext;
  readonly #budgets: Informer<PodDisruptionBudget>;
  readonly #pods: Informer<Pod>;
  readonly #replicaSets: Informer<ReplicaSet>;
  readonly #deployments: Informer<Deployment>;
  readonly #statefulSets: Informer<StatefulSet>;
  readonly #replicationControllers: Informer<ReplicationController>;
  readonly #client: TypedClient;
  readonly #recorder: EventRecorder;
  readonly #scales: Scales;
  readonly #controller: Controller;
  readonly #stale: Controller;
  readonly #written = new LastWritten<PodDisruptionBudget>();
  /** Compiled selectors, by the selector object. */
  readonly #selectors = new WeakMap<object, Selector>();

  constructor(context: ControllerContext) {
    this.#c = context;
    const { informers, clock, logger } = context;
    this.#client = context.clientFor('disruption-controller');
    this.#recorder = context.recorder('controllermanager', this.#client);
    this.#scales = new Scales(this.#client, clock);
    this.#budgets = informers.informer(ref);
    this.#pods = informers.informer(resources.core.pods);
    this.#replicaSets = informers.informer(resources.apps.replicasets);
    this.#deployments = informers.informer(resources.apps.deployments);
    this.#statefulSets = informers.informer(resources.apps.statefulsets);
    this.#replicationControllers = informers.informer(resources.core.replicationcontrollers);
    this.#controller = new Controller({
      queueMetrics: context.queueMetrics,
      name: 'disruption',
      clock,
      logger,
      reconcile: (key) => this.#reconcile(key),
    });
    this.#stale = new Controller({
      queueMetrics: context.queueMetrics,
      name: 'stale_pod_disruption',
      clock,
      logger,
      workers: 1,
      reconcile: (key) => this.#clearStale(key),
    });
    this.#budgets.addHandler({
      onAdd: (budget) => this.#controller.queue.add(keyOf(budget)),
      onUpdate: (_, budget) => this.#controller.queue.add(keyOf(budget)),
      onDelete: (budget) => this.#written.forget(budget.metadata.uid),
    });
    this.#pods.addHandler({
      onAdd: (pod) => this.#podChanged(undefined, pod),
      onUpdate: (old, pod) => this.#podChanged(old, pod),
      onDelete: (pod) => this.#wake(pod),
    });
    const synced = [
      this.#budgets.synced,
      this.#pods.synced,
      this.#replicaSets.synced,
      this.#deployments.synced,
      this.#statefulSets.synced,
      this.#replicationControllers.synced,
    ];
    this.#controller.start(...synced);
    this.#stale.start(...synced);
  }

  async stop(): Promise<void> {
    await Promise.all([this.#controller.stop(), this.#stale.stop()]);
  }

  #selector(budget: PodDisruptionBudget): Selector {
    const source = budget.spec?.selector;
    if (source === undefined) return compileLabelSelector(undefined);
    let selector = this.#selectors.get(source);
    if (selector === undefined) {
      selector = compileLabelSelector(source);
      this.#selectors.set(source, selector);
    }
    return selector;
  }

  #budgetsOf(pod: Pod): PodDisruptionBudget[] {
    const out: PodDisruptionBudget[] = [];
    for (const budget of this.#budgets.lister.list(pod.metadata.namespace))
      if (this.#selector(budget).matches(pod.metadata.labels)) out.push(budget);
    return out;
  }

  #wake(pod: Pod): PodDisruptionBudget[] {
    const budgets = this.#budgetsOf(pod);
    const now = this.#c.clock.virtual || this.#pods.lister.size <= manyPods;
    for (const budget of budgets) {
      if (now) this.#controller.queue.add(keyOf(budget));
      else this.#controller.queue.addAfter(keyOf(budget), gatherMs);
    }
    return budgets;
  }

  #podChanged(old: Pod | undefined, pod: Pod): void {
    const relabeled = old !== undefined && !deepEqual(old.metadata.labels, pod.metadata.labels);
    if (relabeled) this.#wake(old);
    const budgets = this.#wake(pod);
    if (budgets.length > 1 && (old === undefined || relabeled)) {
      const { namespace, name } = pod.metadata;
      const message = `Pod "${namespace}"/"${name}" matches multiple PodDisruptionBudgets.  Chose "${budgets[0]!.metadata.name}" arbitrarily.`;
      this.#recorder.event(resources.core.pods, pod, 'Warning', 'MultiplePodDisruptionBudgets', message);
    }
    const wait = this.#untilStale(pod);
    if (wait !== undefined) this.#stale.queue.addAfter(keyOf(pod), wait);
  }

  /** Milliseconds until the pod's mark is stale; undefined when it has none. */
  #untilStale(pod: Pod): number | undefined {
    if (pod.metadata.deletionTimestamp !== undefined || isPodTerminal(pod)) return undefined;
    const mark = podCondition(pod, 'DisruptionTarget');
    if (mark?.status !== 'True' || mark.reason === 'TerminationByKubelet') return undefined;
    const since = timeMs(mark.lastTransitionTime);
    return Number.isNaN(since) ? 0 : Math.max(0, since + staleDisruptionMs - this.#c.clock.now());
  }

  async #clearStale(key: string): Promise<void> {
    const pod = this.#pods.lister.getByKey(key);
    if (pod === undefined) return;
    const wait = this.#untilStale(pod);
    if (wait === undefined) return;
    if (wait > 0) {
      this.#stale.queue.addAfter(key, wait);
      return;
    }
    const conditions = (pod.status?.conditions ?? []).map((c) =>
      c.type === 'DisruptionTarget'
        ? { type: c.type, status: 'False', lastTransitionTime: formatTime(this.#c.clock.now()) }
        : c,
    );
    await this.#client.core.pods.updateStatus({ ...pod, status: { ...pod.status, conditions } });
  }

  async #reconcile(key: string): Promise<void> {
    const { namespace, name } = splitKey(key);
    const cached = this.#budgets.lister.get(name, namespace);
    if (cached === undefined) return;
    const budget = this.#written.newest(cached);
    try {
      await this.#sync(budget, key);
    } catch (error) {
      if (isConflict(error)) throw error;
      if (isNotFound(error) && this.#budgets.lister.getByKey(key) === undefined) return;
      await this.#failSafe(budget, error as Error);
    }
  }

  async #sync(budget: PodDisruptionBudget, key: string): Promise<void> {
    const now = this.#c.clock.now();
    const selector = this.#selector(budget);
    const pods: Pod[] = [];
    for (const pod of this.#pods.lister.list(budget.metadata.namespace))
      if (selector.matches(pod.metadata.labels)) pods.push(pod);
    if (pods.length === 0) this.#recorder.event(ref, budget, 'Normal', 'NoPods', 'No matching pods found');
    const { expected, desired, unmanaged } = await this.#expectedCount(budget, pods);
    if (unmanaged) {
      const message = `Pods selected by this PodDisruptionBudget (selector: ${selectorText(budget.spec?.selector)}) were found to be unmanaged. As a result, the status of the PDB cannot be calculated correctly, which may result in undefined behavior. To account for these pods please set ".spec.minAvailable" field of the PDB to an integer value.`;
      this.#recorder.event(ref, budget, 'Warning', 'UnmanagedPods', message);
    }
    const disrupted: Record<string, string> = {};
    let recheck = Infinity;
    let healthy = 0;
    for (const pod of pods) {
      if (pod.metadata.deletionTimestamp !== undefined) continue;
      const at = budget.status?.disruptedPods?.[pod.metadata.name!];
      const end = at === undefined ? -Infinity : timeMs(at) + deletionTimeoutMs;
      if (at !== undefined) {
        if (end < now) {
          // The second name is the namespace again, as upstream writes it.
          const message = `Pod was expected by PDB ${budget.metadata.namespace}/${budget.metadata.namespace} to be deleted but it wasn't`;
          this.#recorder.event(resources.core.pods, pod, 'Warning', 'NotDeleted', message);
        } else {
          disrupted[pod.metadata.name!] = at;
          recheck = Math.min(recheck, end - now);
        }
      }
      if (end <= now && isPodReady(pod)) healthy++;
    }
    const allowed = expected <= 0 ? 0 : Math.max(0, healthy - desired);
    const observedGeneration = budget.metadata.generation ?? 0;
    const status: PodDisruptionBudgetStatus = {
      observedGeneration,
      ...(Object.keys(disrupted).length === 0 ? {} : { disruptedPods: disrupted }),
      disruptionsAllowed: allowed,
      currentHealthy: healthy,
      desiredHealthy: desired,
      expectedPods: expected,
      conditions: setStatusCondition(budget.status?.conditions, {
        type: 'DisruptionAllowed',
        status: allowed > 0 ? 'True' : 'False',
        reason: allowed > 0 ? 'SufficientPods' : 'InsufficientPods',
        message: '',
        observedGeneration,
        lastTransitionTime: formatTime(now),
      }),
    };
    if (!semanticEqual(budget.status, status)) await this.#write(budget, status);
    if (recheck !== Infinity) this.#controller.queue.addAfter(key, recheck + 1);
  }

  async #write(budget: PodDisruptionBudget, status: PodDisruptionBudgetStatus): Promise<void> {
    this.#written.wrote(await this.#client.policy.poddisruptionbudgets.updateStatus({ ...budget, status }));
  }

  /** When nothing is known, nothing may be disrupted. */
  async #failSafe(budget: PodDisruptionBudget, error: Error): Promise<void> {
    const observedGeneration = budget.status?.observedGeneration ?? 0;
    const conditions: Condition[] = setStatusCondition(budget.status?.conditions, {
      type: 'DisruptionAllowed',
      status: 'False',
      reason: 'SyncFailed',
      message: error.message,
      observedGeneration,
      lastTransitionTime: formatTime(this.#c.clock.now()),
    });
    const status = { ...budget.status, disruptionsAllowed: 0, conditions };
    if (!semanticEqual(budget.status, status)) await this.#write(budget, status);
  }

  async #expectedCount(
    budget: PodDisruptionBudget,
    pods: readonly Pod[],
  ): Promise<{ expected: number; desired: number; unmanaged: boolean }> {
    const { minAvailable, maxUnavailable } = budget.spec ?? {};
    if (maxUnavailable === undefined && typeof minAvailable === 'number')
      return { expected: pods.length, desired: minAvailable, unmanaged: false };
    if (maxUnavailable === undefined && minAvailable === undefined)
      return { expected: 0, desired: 0, unmanaged: false };
    try {
      const { expected, unmanaged } = await this.#expectedScale(pods);
      const desired =
        maxUnavailable === undefined
          ? scaledValue(minAvailable, expected, true)
          : Math.max(0, expected - scaledValue(maxUnavailable, expected, true));
      return { expected, desired, unmanaged };
    } catch (error) {
      const message = `Failed to calculate the number of expected pods: ${(error as Error).message}`;
      this.#recorder.event(ref, budget, 'Warning', 'CalculateExpectedPodCountFailed', message);
      throw error;
    }
  }

  /** The replicas that the owners of the pods want, in sum. */
  async #expectedScale(pods: readonly Pod[]): Promise<{ expected: number; unmanaged: boolean }> {
    const scales = new Map<string, number>();
    const seen = new Set<string>();
    let unmanaged = false;
    for (const pod of pods) {
      const owner = controllerOf(pod);
      if (owner === undefined) unmanaged = true;
      if (owner === undefined || seen.has(owner.uid)) continue;
      const scale = await this.#scaleOf(owner, pod.metadata.namespace);
      if (scale === undefined) throw new Error(`found no controllers for pod "${pod.metadata.name}"`);
      seen.add(owner.uid);
      scales.set(scale.uid, scale.replicas);
    }
    let expected = 0;
    for (const n of scales.values()) expected += n;
    return { expected, unmanaged };
  }

  async #scaleOf(owner: OwnerReference, namespace: string | undefined): Promise<OwnerScale | undefined> {
    const group = parseApiVersion(owner.apiVersion)?.group;
    const known = <T extends KubeObject>(informer: Informer<T>, o: OwnerReference): T | undefined => {
      const found = informer.lister.get(o.name, namespace);
      return found?.metadata.uid === o.uid ? found : undefined;
    };
    const scale = (object: (KubeObject & { spec?: { replicas?: number } }) | undefined): OwnerScale | undefined =>
      object === undefined ? undefined : { uid: object.metadata.uid!, replicas: object.spec?.replicas ?? 1 };
    if (owner.kind === 'ReplicaSet' && group === 'apps') {
      const set = known(this.#replicaSets, owner);
      if (set !== undefined) {
        const parent = controllerOf(set);
        const ofDeployment = parent?.kind === 'Deployment' && parseApiVersion(parent.apiVersion)?.group === 'apps';
        if (!ofDeployment) return scale(set);
        const deployment = known(this.#deployments, parent);
        if (deployment !== undefined) return scale(deployment);
      }
    } else if (owner.kind === 'StatefulSet' && group === 'apps') {
      const found = scale(known(this.#statefulSets, owner));
      if (found !== undefined) return found;
    } else if (owner.kind === 'ReplicationController' && group === '') {
      const found = scale(known(this.#replicationControllers, owner));
      if (found !== undefined) return found;
    }
    const resource = await this.#scales.resource(owner.apiVersion, owner.kind);
    try {
      const found = await this.#scales.get(resource, owner.name, namespace);
      return found.metadata.uid === owner.uid ? scale(found) : undefined;
    } catch (error) {
      if (!isNotFound(error)) throw error;
      if (!resource.subresources.includes('scale'))
        throw new Error(`${groupResource(resource)} does not implement the scale subresource`, { cause: error });
      return undefined;
    }
  }
}

export const disruptionController: ControllerDescriptor = {
  name: 'disruption-controller',
  aliases: ['disruption'],
  start: (context) => new DisruptionController(context),
};
