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
  /** Resolves when the space has been given back; never rejects. */
  readonly compact: (revision: number) => Promise<void>;
}

/** What the newest revision was at `at`; it stands for all that happened since `since`. */
interface Sample {
  readonly since: number;
  at: number;
  revision: number;
}

/** Samples a history's age is divided into. */
const grain = 10;

export class Compactor {
  readonly #o: CompactorOptions;
  /** Oldest first, about `grain` at most. */
  readonly #samples: Sample[] = [];
  #timer: Timer | undefined;
  #stopped = false;
  #busy = false;

  constructor(options: CompactorOptions) {
    this.#o = options;
  }

  /** `revision` has become durable, or a store has been opened at it: what history it holds ages from now. */
  advanced(revision: number): void {
    if (this.#stopped) return;
    const { clock, ageMs, bytes, index } = this.#o;
    if (bytes > 0 && index.garbageBytes > bytes && !this.#busy) {
      const to = index.revisionFor(bytes * 0.75);
      // What is still pending cannot be compacted to; the next call will see it.
      if (to !== undefined && to <= revision) void this.#compact(to);
    }
    if (ageMs <= 0) return;
    const now = clock.monotonic();
    const newest = this.#samples.at(-1);
    if (newest !== undefined && now - newest.since < ageMs / grain) {
      newest.at = now;
      newest.revision = revision;
    } else {
      this.#samples.push({ since: now, at: now, revision });
      this.#arm();
    }
  }

  #arm(atLeastMs = 1): void {
    if (this.#timer !== undefined || this.#samples.length === 0) return;
    const { clock, ageMs } = this.#o;
    this.#timer = clock.setTimer(Math.max(atLeastMs, this.#samples[0]!.at + ageMs - clock.monotonic()), () => {
      this.#timer = undefined;
      this.#fire();
    });
  }

  #fire(): void {
    const { clock, ageMs, index } = this.#o;
    // As long as nobody can ask for history, it may gather: what is old then goes in one piece.
    if (clock.horizon() >= clock.now() + ageMs) {
      this.#arm(ageMs);
      return;
    }
    const old = clock.monotonic() - ageMs;
    let revision = 0;
    while (this.#samples.length > 0 && this.#samples[0]!.at <= old) revision = this.#samples.shift()!.revision;
    if (revision > 0 && index.droppable(revision)) void this.#compact(revision);
    this.#arm();
  }

  async #compact(revision: number): Promise<void> {
    this.#busy = true;
    await this.#o.compact(revision);
    this.#busy = false;
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#timer = undefined;
  }
}
