/**
 * kube-scheduler: follows pods and nodes, takes the most urgent pod, finds it a node, assumes it there at once and binds it in
 * the background. Nothing here waits for the API server before the next pod is looked at.
 */
import type { Done } from '../base/activity.ts';
import type { Clock } from '../base/clock.ts';
import { ioNow } from '../base/io-time.ts';
import type { Logger } from '../base/logger.ts';
import type { Random } from '../base/random.ts';
import { macrotask, Slice } from '../base/yield.ts';
import { deepEqual } from '../api/helpers/deep-equal.ts';
import { StatusError } from '../api/status.ts';
import { formatTime } from '../api/time.ts';
import type { Node, PersistentVolumeClaim, Pod, PodCondition } from '../api/types/index.gen.ts';
import { EventRecorder } from '../client/event-recorder.ts';
import { InformerFactory } from '../client/informer-factory.ts';
import { resources } from '../client/resources.ts';
import type { TypedClient } from '../client/typed-client.ts';
import { ClaimBinding } from './claim-binding.ts';
import type { Refused } from './cycle.ts';
import { Evaluator, explain } from './cycle.ts';
import { defaultSelector, type OwnerListers } from './default-selector.ts';
import type { ClusterEvent, Handle, Plugin, VolumeView } from './framework.ts';
import type { AttemptResult, SchedulerMetrics } from './metrics.ts';
import { NodeTable } from './node-table.ts';
import { Nominations } from './nominations.ts';
import { defaultPlugins } from './plugins/default-plugins.ts';
import { hasCountedVolumes, hasGrown } from './plugins/node-volume-limits.ts';
import { claimNames, volumeBinding } from './plugins/volume-binding.ts';
import type { PodInfo } from './pod-info.ts';
import { podInfo } from './pod-info.ts';
import { preempt } from './preemption.ts';
import type { QueuedPod } from './queue.ts';
import { SchedulingQueue } from './queue.ts';
import { defaultSchedulerName, pluginsOf, preempts, type SchedulerProfile } from './profile.ts';

export interface SchedulerOptions {
  readonly client: TypedClient;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** Pods that name one of them are scheduled; `default-scheduler` with all plugins when left out. */
  readonly profiles?: readonly SchedulerProfile[];
  /** `podInitialBackoffSeconds`, `podMaxBackoffSeconds`, `--pod-max-in-unschedulable-pods-duration`; milliseconds. */
  readonly initialBackoffMs?: number | undefined;
  readonly maxBackoffMs?: number | undefined;
  readonly unschedulableMs?: number | undefined;
  readonly metrics?: SchedulerMetrics;
  /** More plugins, after the default ones. */
  readonly plugins?: readonly Plugin[];
}

export interface Scheduler {
  start(): Promise<void>;
  stop(): Promise<void>;
  /** Pods waiting, by queue. */
  readonly depth: { readonly active: number; readonly backoff: number; readonly unschedulable: number };
  /** Those that have not ended. */
  pods(): Iterable<Pod>;
}

/** Binds under way at a time; past this the loop waits for one to end. */
const maxBinding = 64;
const podRef = resources.core.pods;
const attachmentNodeIndex = 'node';
const livePods = { fieldSelector: 'status.phase!=Succeeded,status.phase!=Failed' };

function terminal(pod: Pod): boolean {
  return pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed';
}

/** Do two states of an assigned pod differ in what scheduling looks at? */
function matters(a: Pod, b: Pod): boolean {
  return (
    a.metadata.deletionTimestamp !== b.metadata.deletionTimestamp ||
    a.metadata.generation !== b.metadata.generation ||
    !deepEqual(a.metadata.labels, b.metadata.labels) ||
    a.status?.resize !== b.status?.resize ||
    !deepEqual(a.status?.allocatedResources, b.status?.allocatedResources)
  );
}

export function createScheduler(options: SchedulerOptions): Scheduler {
  return new SchedulerImpl(options);
}

/** A profile at work. */
interface Placing {
  readonly name: string;
  readonly evaluator: Evaluator;
  readonly events: EventRecorder;
  readonly preempts: boolean;
}

class SchedulerImpl implements Scheduler {
  readonly #o: SchedulerOptions;
  /** By the name that pods ask for. */
  readonly #placing: ReadonlyMap<string, Placing>;
  readonly #informers: InformerFactory;
  readonly #table = new NodeTable();
  readonly #queue: SchedulingQueue;
  readonly #handle: Handle;
  readonly #nominations = new Nominations();
  readonly #interest = new Map<string, ReadonlySet<ClusterEvent>>();
  readonly #claims: ClaimBinding;
  readonly #abort = new AbortController();
  #binding = 0;
  #assumed = 0;
  #bindingEnded: (() => void) | undefined;
  #running = false;
  #busy: Done | undefined;
  #loop: Promise<void> = Promise.resolve();
  #happened = new Set<ClusterEvent>();
  #eventsDue = false;

  constructor(options: SchedulerOptions) {
    this.#o = options;
    const { client, clock, random, logger } = options;
    this.#informers = new InformerFactory({ client, clock, random, logger });
    const lister = <T extends keyof typeof resources.core & string>(r: T) =>
      this.#informers.informer(resources.core[r]).lister;
    const claims = lister('persistentvolumeclaims');
    const volumeList = lister('persistentvolumes');
    const namespaces = lister('namespaces');
    const services = lister('services');
    const classes = this.#informers.informer(resources.storage.storageclasses).lister;
    const csiNodes = this.#informers.informer(resources.storage.csinodes).lister;
    const attachments = this.#informers.informer(resources.storage.volumeattachments);
    attachments.addIndex(attachmentNodeIndex, (a) => [a.spec.nodeName]);
    const volumes: VolumeView = {
      claim: (ns, name) => claims.get(name, ns),
      volume: (name) => volumeList.get(name),
      volumes: () => volumeList.list(),
      storageClass: (name) => classes.get(name),
      csiNode: (node) => csiNodes.get(node),
      attachments: (node) => attachments.lister.byIndex(attachmentNodeIndex, node),
    };
    const owners: OwnerListers = {
      replicaSets: this.#informers.informer(resources.apps.replicasets).lister,
      statefulSets: this.#informers.informer(resources.apps.statefulsets).lister,
      replicationControllers: lister('replicationcontrollers'),
    };
    this.#handle = {
      table: this.#table,
      namespaceLabels: (name) => namespaces.get(name)?.metadata.labels,
      namespaces: () => namespaces.list(),
      defaultSelector: (info) => defaultSelector(info, services, owners),
      volumes,
    };
    this.#claims = new ClaimBinding({
      client,
      clock,
      signal: this.#abort.signal,
      current: (namespace, name) => volumes.claim(namespace, name),
    });
    const plugins = [
      ...defaultPlugins(volumeBinding((claim, node) => this.#claims.bind(claim, node), volumes)),
      ...(options.plugins ?? []),
    ];
    for (const p of plugins) this.#interest.set(p.name, new Set(p.events));
    const placing = (profile: SchedulerProfile): Placing => {
      const name = profile.schedulerName;
      const percentage = profile.percentageOfNodesToScore;
      return {
        name,
        evaluator: new Evaluator(pluginsOf(profile, plugins), this.#handle, random, this.#nominations, percentage),
        events: new EventRecorder({
          client,
          clock,
          random,
          logger,
          component: name,
          queueLength: 20_000,
          concurrency: 8,
        }),
        preempts: preempts(profile),
      };
    };
    const profiles = options.profiles ?? [{ schedulerName: defaultSchedulerName }];
    this.#placing = new Map(profiles.map((p) => [p.schedulerName, placing(p)]));
    const { metrics } = options;
    if (metrics !== undefined)
      for (const { name, evaluator } of this.#placing.values())
        evaluator.observer = (point, status, seconds) => metrics.ran(name, point, status, seconds);
    this.#queue = new SchedulingQueue({
      clock,
      interested: (plugin, event) => this.#interest.get(plugin)?.has(event) ?? true,
      gate: (pod) => {
        for (const p of this.#placingOf(pod).evaluator.plugins) {
          const reason = p.preEnqueue?.(pod);
          if (reason !== undefined) return reason;
        }
        return undefined;
      },
      wake: () => this.#wake(),
      incoming: metrics === undefined ? undefined : (queue, event) => metrics.incoming(queue, event),
      initialBackoffMs: options.initialBackoffMs,
      maxBackoffMs: options.maxBackoffMs,
      unschedulableMs: options.unschedulableMs,
    });
    if (metrics !== undefined) metrics.state = this.#state();
  }

  #state(): SchedulerMetrics['state'] {
    const queue = this.#queue;
    const table = this.#table;
    const assumed = (): number => this.#assumed;
    return {
      get pending() {
        return queue.depth;
      },
      get nodes() {
        return table.size;
      },
      get pods() {
        return table.placed;
      },
      get assumed() {
        return assumed();
      },
      refusals() {
        const counts = new Map<string, [labels: { plugin: string; profile: string }, pods: number]>();
        for (const { pod, refusedBy } of queue.refused())
          for (const plugin of refusedBy) {
            const profile = pod.spec?.schedulerName ?? defaultSchedulerName;
            const found = counts.get(`${profile} ${plugin}`);
            if (found === undefined) counts.set(`${profile} ${plugin}`, [{ plugin, profile }, 1]);
            else found[1]++;
          }
        return counts.values();
      },
    };
  }

  pods(): Iterable<Pod> {
    return this.#informers.informer(podRef, livePods).lister.list();
  }

  /** `began`: by `ioNow`. */
  #attempted(info: PodInfo, result: AttemptResult, began: number): void {
    this.#o.metrics?.attempted(this.#placingOf(info.pod).name, result, (ioNow() - began) / 1000);
  }

  get depth(): { readonly active: number; readonly backoff: number; readonly unschedulable: number } {
    return this.#queue.depth;
  }

  async start(): Promise<void> {
    const nodes = this.#informers.informer(resources.core.nodes);
    nodes.addHandler({
      onAdd: (node) => {
        this.#table.setNode(node);
        this.#event('NodeAdd');
      },
      onUpdate: (old, node) => this.#nodeUpdated(old, node),
      onDelete: (node) => this.#table.removeNode(node.metadata.name!),
    });
    const pods = this.#informers.informer(podRef, livePods);
    pods.addHandler({
      onAdd: (pod) => this.#podAdded(pod),
      onUpdate: (old, pod) => this.#podUpdated(old, pod),
      onDelete: (pod) => this.#podDeleted(pod),
    });
    this.#informers.informer(resources.core.persistentvolumeclaims).addHandler({
      onAdd: (c) => {
        this.#event('PvcAdd');
        this.#claimChanged(c);
      },
      onUpdate: (_, c) => this.#claimChanged(c),
      onDelete: (c) => this.#claimChanged(c),
    });
    const changed = (event: ClusterEvent) => ({ onAdd: () => this.#event(event), onUpdate: () => this.#event(event) });
    this.#informers.informer(resources.core.persistentvolumes).addHandler(changed('PvChange'));
    this.#informers.informer(resources.storage.storageclasses).addHandler(changed('StorageClassAdd'));
    this.#informers.informer(resources.storage.csinodes).addHandler({
      onAdd: () => this.#event('CsiNodeAdd'),
      onUpdate: (old, csiNode) => {
        if (hasGrown(old, csiNode)) this.#event('CsiNodeGrown');
      },
    });
    this.#informers
      .informer(resources.storage.volumeattachments)
      .addHandler({ onDelete: () => this.#event('VolumeAttachmentDelete') });
    this.#informers.informer(resources.core.namespaces).addHandler({
      onUpdate: (old, ns) => {
        if (JSON.stringify(old.metadata.labels) !== JSON.stringify(ns.metadata.labels)) this.#event('NamespaceLabel');
      },
    });
    this.#informers.informer(resources.policy.poddisruptionbudgets);
    this.#informers.start();
    await this.#informers.synced();
    this.#running = true;
    this.#wake();
  }

  async stop(): Promise<void> {
    this.#running = false;
    this.#abort.abort(new Error('scheduler stopped'));
    this.#queue.close();
    await this.#informers.stop();
    await this.#loop;
    await Promise.all([...this.#placing.values()].map((p) => p.events.stop()));
  }

  // What happens in the cluster.

  #event(event: ClusterEvent): void {
    this.#happened.add(event);
    if (this.#eventsDue) return;
    this.#eventsDue = true;
    const done = this.#o.clock.activity.begin();
    // Events of one turn are looked at together: a rolling restart must not scan the queue once a pod.
    void macrotask().then(() => {
      this.#eventsDue = false;
      const events = this.#happened;
      this.#happened = new Set();
      this.#queue.happened(events);
      done();
    });
  }

  #nodeUpdated(old: Node, node: Node): void {
    this.#table.setNode(node);
    if (!deepEqual(old.status?.allocatable, node.status?.allocatable)) this.#event('NodeAllocatable');
    if (!deepEqual(old.metadata.labels, node.metadata.labels)) this.#event('NodeLabel');
    if (old.spec?.unschedulable !== node.spec?.unschedulable || !deepEqual(old.spec?.taints, node.spec?.taints))
      this.#event('NodeTaint');
  }

  #podAdded(pod: Pod): void {
    const node = pod.spec?.nodeName ?? '';
    if (node !== '') {
      if (terminal(pod)) return;
      this.#queue.remove(pod.metadata.uid ?? '');
      this.#table.addPod(podInfo(pod), node);
      this.#event('AssignedPodAdd');
    } else if (this.#mine(pod)) {
      const nominated = pod.status?.nominatedNodeName ?? '';
      if (nominated !== '') this.#nominations.add(podInfo(pod), nominated);
      this.#queue.add(pod);
    }
  }

  /** The profile that a pod of ours asks for. */
  #placingOf(pod: Pod): Placing {
    return this.#placing.get(pod.spec?.schedulerName ?? defaultSchedulerName)!;
  }

  #mine(pod: Pod): boolean {
    return (
      this.#placing.has(pod.spec?.schedulerName ?? defaultSchedulerName) &&
      pod.metadata.deletionTimestamp === undefined &&
      !terminal(pod)
    );
  }

  #podUpdated(old: Pod, pod: Pod): void {
    const uid = pod.metadata.uid ?? '';
    if (old.metadata.uid !== pod.metadata.uid) {
      this.#podDeleted(old);
      this.#podAdded(pod);
      return;
    }
    const node = pod.spec?.nodeName ?? '';
    if (node === '') {
      const queued = this.#queue.get(uid);
      if (!this.#mine(pod)) {
        if (queued !== undefined && queued.where !== 'taken') this.#queue.remove(uid);
        return;
      }
      if (queued === undefined) {
        if (this.#table.find(uid) === undefined) this.#queue.add(pod);
        return;
      }
      const changed =
        old.metadata.generation !== pod.metadata.generation || !deepEqual(old.metadata.labels, pod.metadata.labels);
      this.#queue.update(pod, changed);
      return;
    }
    const at = this.#table.find(uid);
    if (terminal(pod)) {
      if (at !== undefined) this.#assignedGone(pod);
      return;
    }
    this.#nominations.remove(uid);
    if (at === undefined || at.node !== node) {
      this.#queue.remove(uid);
      this.#table.addPod(podInfo(pod), node);
      this.#event('AssignedPodAdd');
    } else if (matters(at.info.pod, pod)) {
      this.#table.addPod(podInfo(pod), node);
      this.#event(pod.metadata.deletionTimestamp === undefined ? 'AssignedPodUpdate' : 'AssignedPodDelete');
    } else at.info.pod = pod;
  }

  #podDeleted(pod: Pod): void {
    const uid = pod.metadata.uid ?? '';
    this.#nominations.remove(uid);
    this.#queue.remove(uid);
    if (this.#table.find(uid) !== undefined) this.#assignedGone(pod);
  }

  #assignedGone(pod: Pod): void {
    this.#table.removePod(pod.metadata.uid ?? '');
    this.#event('AssignedPodDelete');
    if (hasCountedVolumes(pod)) this.#event('VolumePodDelete');
  }

  #claimChanged(claim: PersistentVolumeClaim): void {
    this.#event('PvcChange');
    this.#claims.changed(claim);
  }

  // The loop.

  #wake(): void {
    if (!this.#running || this.#busy !== undefined) return;
    this.#busy = this.#o.clock.activity.begin();
    this.#loop = this.#run().finally(() => {
      const done = this.#busy!;
      this.#busy = undefined;
      // A pod may have come between the last look and here.
      if (this.#running && this.#queue.hasActive) this.#wake();
      done();
    });
  }

  async #run(): Promise<void> {
    await macrotask();
    const slice = new Slice(5);
    while (this.#running) {
      if (this.#binding >= maxBinding) await new Promise<void>((resolve) => (this.#bindingEnded = resolve));
      const q = this.#queue.pop();
      if (q === undefined) return;
      this.#scheduleOne(q);
      await slice.turn();
    }
  }

  #scheduleOne(q: QueuedPod): void {
    const info = podInfo(q.pod);
    const began = ioNow();
    let verdict;
    try {
      verdict = this.#placingOf(q.pod).evaluator.schedule(info);
    } catch (e) {
      this.#o.logger.error('scheduling failed', { pod: q.key, err: e });
      this.#attempted(info, 'error', began);
      this.#failed(q, info, 'SchedulerError', e instanceof Error ? e.message : String(e));
      return;
    }
    this.#o.metrics?.algorithm((ioNow() - began) / 1000);
    if (verdict.kind === 'placed') {
      const node = this.#table.nodes[verdict.row]!;
      this.#table.addPod(info, node.metadata.name!);
      this.#nominations.remove(info.uid);
      this.#assumed++;
      void this.#bind(q, info, node, began).finally(() => this.#assumed--);
      return;
    }
    this.#refused(q, info, verdict);
    this.#attempted(info, 'unschedulable', began);
  }

  /** Takes one of the places of bindings under way; the answer gives it back. */
  #enterBinding(): Done {
    this.#binding++;
    const done = this.#o.clock.activity.begin();
    let open = true;
    return () => {
      if (!open) return;
      open = false;
      this.#binding--;
      this.#bindingEnded?.();
      this.#bindingEnded = undefined;
      done();
    };
  }

  async #bind(q: QueuedPod, info: PodInfo, node: Node, began: number): Promise<void> {
    const { client, clock, logger, metrics } = this.#o;
    const { evaluator, events, name: profile } = this.#placingOf(info.pod);
    let leave = this.#enterBinding();
    const name = info.pod.metadata.name!;
    const nodeName = node.metadata.name!;
    let point: 'PreBind' | 'Bind' = 'PreBind';
    let since = ioNow();
    try {
      if (claimNames(info.pod).length > 0) {
        // A claim may be waited for as long as its provisioner likes, which holds up nobody else.
        leave();
        for (const p of evaluator.plugins) if (p.preBind !== undefined) await p.preBind(info, node);
        leave = this.#enterBinding();
      } else for (const p of evaluator.plugins) if (p.preBind !== undefined) await p.preBind(info, node);
      metrics?.ran(profile, 'PreBind', 'Success', (ioNow() - since) / 1000);
      point = 'Bind';
      since = ioNow();
      // Its event bears this time: a kubelet of another process may be at work before the answer is here.
      const at = clock.now();
      await client.core.pods.createSubresource(name, info.namespace, 'binding', {
        apiVersion: 'v1',
        kind: 'Binding',
        metadata: { name, namespace: info.namespace, uid: info.uid },
        target: { kind: 'Node', name: nodeName },
      });
      metrics?.ran(profile, 'Bind', 'Success', (ioNow() - since) / 1000);
      this.#attempted(info, 'scheduled', began);
      metrics?.placed(q.attempts, (clock.now() - (q.readyAt ?? q.addedAt)) / 1000);
      this.#queue.done(q);
      events.event(podRef, info.pod, 'Normal', 'Scheduled', `Successfully assigned ${info.key} to ${nodeName}`, {
        at,
      });
    } catch (e) {
      if (this.#abort.signal.aborted) return;
      metrics?.ran(profile, point, 'Error', (ioNow() - since) / 1000);
      this.#attempted(info, 'error', began);
      // The pod may have been bound or deleted by somebody else; the informer knows.
      const known = this.#table.find(info.uid);
      if (known?.info === info) this.#table.removePod(info.uid);
      if (e instanceof StatusError && e.code === 404) {
        this.#queue.done(q);
        return;
      }
      logger.warn('binding failed', { pod: info.key, node: nodeName, err: e });
      this.#event('AssignedPodDelete');
      this.#failed(q, info, 'SchedulerError', `binding rejected: ${e instanceof Error ? e.message : String(e)}`);
    } finally {
      leave();
    }
  }

  // Pods without a place.

  #refused(q: QueuedPod, info: PodInfo, refused: Refused): void {
    const placing = this.#placingOf(info.pod);
    const budgets = this.#informers.informer(resources.policy.poddisruptionbudgets).lister;
    const { metrics } = this.#o;
    const began = ioNow();
    const tries = this.#table.size > 0 && placing.preempts;
    const outcome = !tries
      ? { message: '' }
      : preempt(
          {
            table: this.#table,
            evaluator: placing.evaluator,
            random: this.#o.random,
            budgets: (ns) => budgets.list(ns),
          },
          info,
          refused,
        );
    if (tries) {
      const found = 'victims' in outcome;
      metrics?.ran(placing.name, 'PostFilter', found ? 'Success' : 'Unschedulable', (ioNow() - began) / 1000);
      metrics?.preempted(found ? outcome.victims.pods.length : 0);
    }
    const message = explain(
      this.#table.size,
      refused,
      'message' in outcome ? (outcome.message === '' ? '' : `preemption: ${outcome.message}`) : '',
    );
    this.#queue.unschedulable(q, refused.refusedBy);
    placing.events.event(podRef, info.pod, 'Warning', 'FailedScheduling', message);
    if ('victims' in outcome) {
      this.#nominations.add(info, outcome.victims.node);
      const done = this.#o.clock.activity.begin();
      void this.#evict(info, outcome.victims.pods, outcome.victims.node, message).finally(done);
    } else this.#report(info, 'Unschedulable', message, undefined);
  }

  #failed(q: QueuedPod, info: PodInfo, reason: string, message: string): void {
    this.#placingOf(info.pod).events.event(podRef, info.pod, 'Warning', 'FailedScheduling', message);
    this.#report(info, reason, message, undefined);
    this.#queue.failed(q);
  }

  async #evict(info: PodInfo, victims: readonly PodInfo[], node: string, message: string): Promise<void> {
    const { client, clock, logger } = this.#o;
    const { name, events } = this.#placingOf(info.pod);
    await Promise.all(
      victims.map(async (v) => {
        if (v.pod.metadata.deletionTimestamp !== undefined) return;
        try {
          const condition = {
            type: 'DisruptionTarget',
            status: 'True',
            reason: 'PreemptionByScheduler',
            message: `${name}: preempting to accommodate a higher priority pod`,
            lastTransitionTime: formatTime(clock.now()),
          };
          await client.core.pods.patch(
            v.pod.metadata.name!,
            v.namespace,
            'strategic',
            { status: { conditions: [condition] } },
            { subresource: 'status' },
          );
          await client.core.pods.delete(v.pod.metadata.name!, v.namespace, { preconditions: { uid: v.uid } });
          events.event(podRef, v.pod, 'Normal', 'Preempted', `Preempted by pod ${info.uid} on node ${node}`);
        } catch (e) {
          if (e instanceof StatusError && e.code === 404) return;
          logger.warn('preempting failed', { pod: v.key, err: e });
        }
      }),
    );
    this.#report(info, 'Unschedulable', message, node);
  }

  /** Writes the PodScheduled condition (and the nomination) where it says something new. */
  #report(info: PodInfo, reason: string, message: string, nominatedNodeName: string | undefined): void {
    const current = this.#queue.get(info.uid)?.pod ?? info.pod;
    const old = current.status?.conditions?.find((c) => c.type === 'PodScheduled');
    const same = old?.status === 'False' && old.reason === reason && old.message === message;
    if (same && (nominatedNodeName === undefined || current.status?.nominatedNodeName === nominatedNodeName)) return;
    const condition: PodCondition = {
      type: 'PodScheduled',
      status: 'False',
      reason,
      message,
      lastProbeTime: undefined,
      lastTransitionTime:
        old?.status === 'False' && old.lastTransitionTime !== undefined
          ? old.lastTransitionTime
          : formatTime(this.#o.clock.now()),
      ...(current.metadata.generation === undefined ? {} : { observedGeneration: current.metadata.generation }),
    };
    const done = this.#o.clock.activity.begin();
    void this.#o.client.core.pods
      .patch(
        info.pod.metadata.name!,
        info.namespace,
        'strategic',
        {
          metadata: { uid: info.uid },
          status: { conditions: [condition], ...(nominatedNodeName === undefined ? {} : { nominatedNodeName }) },
        },
        { subresource: 'status', signal: this.#abort.signal },
      )
      .catch((e: unknown) => {
        if (this.#abort.signal.aborted || (e instanceof StatusError && (e.code === 404 || e.code === 409))) return;
        this.#o.logger.warn('updating the PodScheduled condition failed', { pod: info.key, err: e });
      })
      .finally(done);
  }
}
