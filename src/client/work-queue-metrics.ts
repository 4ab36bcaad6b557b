/** What the work queues of a component measure, with upstream's names (`workqueue_…`). Queues of one name are told as one. */
import { ioNow } from '../base/io-time.ts';
import { computed, HistogramVector, Vector } from '../base/metric-families.ts';
import type { Distribution, Family, Value } from '../base/metric-families.ts';

/** Ten nanoseconds, ten times as much eleven times over: multiplied as upstream does, so that the bounds are the same to the last bit. */
function bounds(): number[] {
  const out = [1e-8];
  while (out.length < 12) out.push(out.at(-1)! * 10);
  return out;
}

/** What one queue is told. */
export interface QueueObserver {
  /** Now ready: waiting from now on. */
  added(key: string): void;
  taken(key: string): void;
  done(key: string): void;
  retried(): void;
  /** What waits is dropped. */
  closed(): void;
}

class Queue implements QueueObserver {
  readonly #adds: Value;
  readonly #retries: Value;
  readonly #waited: Distribution;
  readonly #worked: Distribution;
  readonly waiting = new Map<string, number>();
  readonly processing = new Map<string, number>();

  constructor(adds: Value, retries: Value, waited: Distribution, worked: Distribution) {
    this.#adds = adds;
    this.#retries = retries;
    this.#waited = waited;
    this.#worked = worked;
  }

  added(key: string): void {
    this.#adds.inc();
    this.waiting.set(key, ioNow());
  }

  taken(key: string): void {
    const now = ioNow();
    const since = this.waiting.get(key);
    this.waiting.delete(key);
    if (since !== undefined) this.#waited.observe((now - since) / 1000);
    this.processing.set(key, now);
  }

  done(key: string): void {
    const since = this.processing.get(key);
    this.processing.delete(key);
    if (since !== undefined) this.#worked.observe((ioNow() - since) / 1000);
  }

  retried(): void {
    this.#retries.inc();
  }

  closed(): void {
    this.waiting.clear();
  }
}

export class WorkQueueMetrics {
  readonly #names: Readonly<Record<string, string>>;
  readonly #queues = new Map<string, Queue[]>();
  readonly #adds = new Vector('counter', 'workqueue_adds_total', '[BETA] Keys that were added to the queue.');
  readonly #retries = new Vector(
    'counter',
    'workqueue_retries_total',
    '[BETA] Keys that were added again after a failure.',
  );
  readonly #waited = new HistogramVector(
    'workqueue_queue_duration_seconds',
    '[BETA] How long keys wait in the queue before somebody takes them, in seconds.',
    bounds(),
  );
  readonly #worked = new HistogramVector(
    'workqueue_work_duration_seconds',
    '[BETA] How long it takes to work on a key, in seconds.',
    bounds(),
  );
  readonly families: readonly Family[];

  /** `names`: what queues are told as, by what they are called. */
  constructor(names: Readonly<Record<string, string>> = {}) {
    this.#names = names;
    const gauge = (name: string, help: string, read: (queues: readonly Queue[], now: number) => number): Family =>
      computed('gauge', name, help, () => {
        const now = ioNow();
        return [...this.#queues].map(([queue, all]) => [{ name: queue }, read(all, now)] as const);
      });
    const ages = (queues: readonly Queue[], now: number): number[] =>
      queues.flatMap((q) => [...q.processing.values()].map((since) => (now - since) / 1000));
    this.families = [
      this.#adds,
      gauge('workqueue_depth', '[BETA] Keys that are ready and wait.', (queues) =>
        queues.reduce((n, q) => n + q.waiting.size, 0),
      ),
      gauge(
        'workqueue_longest_running_processor_seconds',
        '[BETA] For how many seconds the key has been worked on that is worked on longest.',
        (queues, now) => ages(queues, now).reduce((most, age) => Math.max(most, age), 0),
      ),
      this.#waited,
      this.#retries,
      gauge(
        'workqueue_unfinished_work_seconds',
        '[BETA] For how many seconds, all together, the keys have been worked on that still are. Large values tell of work that hangs.',
        (queues, now) => ages(queues, now).reduce((sum, age) => sum + age, 0),
      ),
      this.#worked,
    ];
  }

  queue(called: string): QueueObserver {
    const name = this.#names[called] ?? called;
    const labels = (): { name: string } => ({ name });
    const queue = new Queue(
      this.#adds.series(name, labels),
      this.#retries.series(name, labels),
      this.#waited.series(name, labels),
      this.#worked.series(name, labels),
    );
    const known = this.#queues.get(name);
    if (known === undefined) this.#queues.set(name, [queue]);
    else known.push(queue);
    return queue;
  }
}
