/**
 * Keeps history bounded by itself: superseded versions older than the given age, or beyond the given bytes, are compacted.
 * It holds no timer while there is nothing to compact.
 */
import type { Clock, Timer } from '../base/clock.ts';
import type { KeyIndex } from './key-index.ts';

export interface CompactorOptions {
  readonly clock: Clock;
  /** 0: history has no age. */
  readonly ageMs: number;
  /** 0: history has no size. */
  readonly bytes: number;
  readonly index: KeyIndex;
  readonly compact: (revision: number) => void;
}

interface Sample {
  readonly at: number;
  readonly revision: number;
}

/** Samples a history's age is divided into. */
const grain = 10;

export class Compactor {
  readonly #o: CompactorOptions;
  /** What the newest revision was at some times within the age; oldest first, at most about `grain`. */
  #samples: Sample[] = [];
  #last: Sample = { at: 0, revision: 0 };
  #timer: Timer | undefined;
  #stopped = false;

  constructor(options: CompactorOptions) {
    this.#o = options;
  }

  /** A store has been opened at `revision`: what history it holds ages from now. */
  opened(revision: number): void {
    this.advanced(revision);
  }

  /** `revision` has become durable. */
  advanced(revision: number): void {
    if (this.#stopped) return;
    const { clock, ageMs, bytes, index } = this.#o;
    if (bytes > 0 && index.garbageBytes > bytes) {
      const to = index.revisionFor(bytes * 0.75);
      // What is still pending cannot be compacted to; the next call will see it.
      if (to !== undefined && to <= revision) this.#o.compact(to);
    }
    if (ageMs <= 0) return;
    this.#last = { at: clock.monotonic(), revision };
    const newest = this.#samples.at(-1);
    if (newest === undefined || this.#last.at - newest.at >= ageMs / grain) this.#samples.push(this.#last);
    this.#arm();
  }

  #arm(): void {
    if (this.#timer !== undefined || this.#samples.length === 0) return;
    const { clock, ageMs } = this.#o;
    // A little late rather than early: at the end of the sample's grain all it stands for has aged.
    const due = this.#samples[0]!.at + ageMs * (1 + 1 / grain);
    this.#timer = clock.setTimer(Math.max(0, due - clock.monotonic()), () => {
      this.#timer = undefined;
      this.#fire();
    });
  }

  #fire(): void {
    const { clock, ageMs, index } = this.#o;
    const old = clock.monotonic() - ageMs;
    let revision = 0;
    while (this.#samples.length > 0 && this.#samples[0]!.at <= old) revision = this.#samples.shift()!.revision;
    // Without a later sample nothing later has happened, except within the last sample's grain.
    if (this.#samples.length === 0 && this.#last.at <= old) revision = Math.max(revision, this.#last.revision);
    if (revision > 0 && index.droppable(revision)) this.#o.compact(revision);
    if (this.#samples.length === 0 && this.#last.at > old) this.#samples.push(this.#last);
    this.#arm();
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#timer = undefined;
  }
}
