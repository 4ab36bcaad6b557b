/**
 * Giving the event loop a turn. Nothing may hold it for more than 10 ms, and many small pieces of work in a row hold it as one
 * large loop does: so the measure is how long the loop's present turn has lasted already, whoever used it, and those who wait
 * for a later turn go on one after the other. There is one event loop in a thread, and so one queue for it.
 */

/** A turn may last so long before whoever asks is sent to wait; what has begun then ends its step. */
const turnMs = 5;

/** When work of this turn of the loop was first seen; negative when there has been none. */
let since = -1;
let armed = false;
const urgent: (() => void)[] = [];
let waiting: (() => void)[] = [];
/** The first of `waiting` that has not gone on. */
let head = 0;

function next(): (() => void) | undefined {
  if (urgent.length > 0) return urgent.shift();
  if (head === waiting.length) return undefined;
  const resume = waiting[head]!;
  head++;
  if (head === waiting.length) {
    waiting = [];
    head = 0;
  } else if (head === 1024) {
    waiting = waiting.slice(head);
    head = 0;
  }
  return resume;
}

function arm(): void {
  if (armed) return;
  armed = true;
  setImmediate(turn);
}

/** A new turn of the loop: one of those who wait goes on, and I/O has its chance before the next. */
function turn(): void {
  armed = false;
  since = -1;
  const resume = next();
  if (resume === undefined) return;
  arm();
  resume();
}

/** Resolves in a later turn of the event loop, after pending I/O callbacks, without waiting for anybody else. */
export function macrotask(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** True when this turn of the event loop has been worked in for `ms` milliseconds. */
export function turnSpent(ms: number = turnMs): boolean {
  const now = performance.now();
  if (since < 0) {
    since = now;
    arm();
    return false;
  }
  return now - since >= ms;
}

/** Resolves in a turn of one's own, after those who have waited longer; `first`: before all that is not as urgent. */
export function nextTurn(first = false): Promise<void> {
  return new Promise((resolve) => {
    (first ? urgent : waiting).push(resolve);
    arm();
  });
}

/** A budget for one synchronous slice; `await slice.turn()` inside a loop yields only when the turn is used up. */
export class Slice {
  readonly #ms: number;

  constructor(ms: number = turnMs) {
    this.#ms = ms;
  }

  /** True when the turn is used up and `turn` would yield. */
  get spent(): boolean {
    return turnSpent(this.#ms);
  }

  async turn(): Promise<void> {
    if (this.spent) await nextTurn();
  }
}
