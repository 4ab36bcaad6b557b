/**
 * The scheduling queue: pods that can be tried now (by priority, then by age), pods that wait out a back-off, and pods that no
 * node would have, which an event of the cluster may bring back (upstream's active, backoff and unschedulable queues).
 */
import type { Clock, Timer } from '../base/clock.ts';
import { Heap } from '../base/heap.ts';
import type { Pod } from '../api/types/index.gen.ts';
import type { ClusterEvent } from './framework.ts';
import type { QueueEvent } from './metrics.ts';

export interface QueuedPod {
  readonly key: string;
  readonly uid: string;
  pod: Pod;
  readonly priority: number;
  readonly addedAt: number;
  /** When it first could be tried. */
  readyAt: number | undefined;
  readonly seq: number;
  attempts: number;
  /** Plugins that refused it last time. */
  refusedBy: ReadonlySet<string>;
  where: 'active' | 'backoff' | 'unschedulable' | 'gated' | 'taken' | 'gone';
  since: number;
}

const initialBackoff = 1000;
const maxBackoff = 10_000;
/** A pod that nothing helped for so long is tried again anyway. */
const unschedulableFor = 300_000;
const flushEvery = 30_000;

export interface QueueOptions {
  readonly clock: Clock;
  /** Is `event` of interest to `plugin`? */
  readonly interested: (plugin: string, event: ClusterEvent) => boolean;
  /** A reason to keep the pod out (scheduling gates). */
  readonly gate: (pod: Pod) => string | undefined;
  /** There is something to do. */
  readonly wake: () => void;
  /** A pod came into a queue. */
  readonly incoming?: ((queue: 'active' | 'backoff' | 'unschedulable', event: QueueEvent) => void) | undefined;
  /** `podInitialBackoffSeconds`, `podMaxBackoffSeconds`, `--pod-max-in-unschedulable-pods-duration`; milliseconds. */
  readonly initialBackoffMs?: number | undefined;
  readonly maxBackoffMs?: number | undefined;
  readonly unschedulableMs?: number | undefined;
}

export class SchedulingQueue {
  readonly #o: QueueOptions;
  readonly #pods = new Map<string, QueuedPod>();
  readonly #active = new Heap<QueuedPod>((a, b) =>
    a.priority !== b.priority
      ? a.priority > b.priority
      : a.addedAt !== b.addedAt
        ? a.addedAt < b.addedAt
        : a.seq < b.seq,
  );
  readonly #unschedulable = new Set<QueuedPod>();
  readonly #timers = new Map<QueuedPod, Timer>();
  #seq = 0;
  readonly #ticker: Timer;

  constructor(options: QueueOptions) {
    this.#o = options;
    this.#ticker = options.clock.setTicker(flushEvery, () => this.#flush());
  }

  close(): void {
    this.#ticker.cancel();
    for (const t of this.#timers.values()) t.cancel();
    this.#timers.clear();
  }

  /** Pods by where they wait, for metrics. */
  get depth(): {
    readonly active: number;
    readonly backoff: number;
    readonly unschedulable: number;
    readonly gated: number;
  } {
    let gated = 0;
    for (const q of this.#pods.values()) if (q.where === 'gated') gated++;
    return { active: this.#active.size, backoff: this.#timers.size, unschedulable: this.#unschedulable.size, gated };
  }

  /** Pods that no node would have. */
  refused(): Iterable<QueuedPod> {
    return this.#unschedulable;
  }

  get hasActive(): boolean {
    return this.#active.size > 0;
  }

  /** A pod that wants a node. */
  add(pod: Pod): void {
    const uid = pod.metadata.uid ?? '';
    if (this.#pods.has(uid)) {
      this.update(pod);
      return;
    }
    const now = this.#o.clock.now();
    const q: QueuedPod = {
      key: `${pod.metadata.namespace ?? ''}/${pod.metadata.name ?? ''}`,
      uid,
      pod,
      priority: pod.spec?.priority ?? 0,
      addedAt: now,
      readyAt: undefined,
      seq: this.#seq++,
      attempts: 0,
      refusedBy: new Set(),
      where: 'gone',
      since: now,
    };
    this.#pods.set(uid, q);
    if (this.#o.gate(pod) !== undefined) q.where = 'gated';
    else this.#activate(q, 'UnschedulablePodAdd');
  }

  /** A newer state of a waiting pod. `changed`: more than its status. */
  update(pod: Pod, changed = true): void {
    const q = this.#pods.get(pod.metadata.uid ?? '');
    if (q === undefined) return;
    q.pod = pod;
    if (q.where === 'gated') {
      if (this.#o.gate(pod) === undefined) this.#activate(q, 'UnschedulablePodUpdate');
    } else if (changed && q.where === 'unschedulable') this.#retry(q, 'UnschedulablePodUpdate');
  }

  remove(uid: string): void {
    const q = this.#pods.get(uid);
    if (q === undefined) return;
    this.#pods.delete(uid);
    this.#unschedulable.delete(q);
    this.#timers.get(q)?.cancel();
    this.#timers.delete(q);
    q.where = 'gone';
  }

  get(uid: string): QueuedPod | undefined {
    return this.#pods.get(uid);
  }

  /** The next pod to try; it is the caller's until `done` or `giveBack`. */
  pop(): QueuedPod | undefined {
    for (;;) {
      const q = this.#active.pop();
      if (q === undefined) return undefined;
      // Removed or moved meanwhile: the heap is cleaned lazily.
      if (q.where !== 'active') continue;
      q.where = 'taken';
      q.attempts++;
      return q;
    }
  }

  /** The pod has its node. */
  done(q: QueuedPod): void {
    this.remove(q.uid);
  }

  /** No node would have it; it waits for an event that one of `refusedBy` listens to. */
  unschedulable(q: QueuedPod, refusedBy: ReadonlySet<string>): void {
    if (q.where === 'gone') return;
    q.refusedBy = refusedBy;
    q.where = 'unschedulable';
    q.since = this.#o.clock.now();
    this.#unschedulable.add(q);
    this.#o.incoming?.('unschedulable', 'ScheduleAttemptFailure');
  }

  /** Something went wrong; it is tried again after its back-off. */
  failed(q: QueuedPod): void {
    if (q.where === 'gone') return;
    q.since = this.#o.clock.now();
    this.#backoff(q, 'ScheduleAttemptFailure');
  }

  /** Brings back the unschedulable pods that one of the events may help. */
  happened(events: ReadonlySet<ClusterEvent>): void {
    if (this.#unschedulable.size === 0) return;
    for (const q of this.#unschedulable) {
      let helps: ClusterEvent | undefined;
      for (const e of events) {
        if (q.refusedBy.size === 0) helps = e;
        for (const plugin of q.refusedBy) if (this.#o.interested(plugin, e)) helps = e;
        if (helps !== undefined) break;
      }
      if (helps !== undefined) this.#retry(q, helps);
    }
  }

  #retry(q: QueuedPod, event: QueueEvent): void {
    this.#unschedulable.delete(q);
    this.#backoff(q, event);
  }

  #backoff(q: QueuedPod, event: QueueEvent): void {
    const { initialBackoffMs = initialBackoff, maxBackoffMs = maxBackoff } = this.#o;
    const wait = q.attempts === 0 ? 0 : Math.min(initialBackoffMs * 2 ** (q.attempts - 1), maxBackoffMs);
    const left = q.since + wait - this.#o.clock.now();
    if (left <= 0) {
      this.#activate(q, event);
      return;
    }
    q.where = 'backoff';
    this.#o.incoming?.('backoff', event);
    this.#timers.set(
      q,
      this.#o.clock.setTimer(left, () => {
        this.#timers.delete(q);
        if (q.where === 'backoff') this.#activate(q, 'BackoffComplete');
      }),
    );
  }

  #activate(q: QueuedPod, event: QueueEvent): void {
    this.#unschedulable.delete(q);
    q.where = 'active';
    q.readyAt ??= this.#o.clock.now();
    this.#o.incoming?.('active', event);
    this.#active.push(q);
    this.#o.wake();
  }

  #flush(): void | 'idle' {
    if (this.#unschedulable.size === 0) return 'idle';
    const before = this.#o.clock.now() - (this.#o.unschedulableMs ?? unschedulableFor);
    for (const q of this.#unschedulable) if (q.since <= before) this.#retry(q, 'UnschedulableTimeout');
  }
}
