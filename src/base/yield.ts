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

/** What cannot wait, what everybody does, and what may wait until there is nothing else. */
export type Urgency = 'first' | 'normal' | 'last';

/** First in, first out. */
class Line {
  #items: (() => void)[] = [];
  #head = 0;

  get length(): number {
    return this.#items.length - this.#head;
  }

  push(resume: () => void): void {
    this.#items.push(resume);
  }

  shift(): (() => void) | undefined {
    const resume = this.#items[this.#head];
    if (resume === undefined) return undefined;
    this.#head++;
    if (this.#head === this.#items.length || this.#head === 1024) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return resume;
  }
}

const lines: Readonly<Record<Urgency, Line>> = { first: new Line(), normal: new Line(), last: new Line() };
/** Of so many turns one belongs to who comes last, so that nobody waits for ever. */
const shareOfLast = 32;
let turns = 0;

function next(): (() => void) | undefined {
  const { first, normal, last } = lines;
  if (++turns % shareOfLast === 0 && last.length > 0) return last.shift();
  return first.shift() ?? normal.shift() ?? last.shift();
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

/** Calls `fn` in a later turn of the event loop, after pending I/O callbacks, without waiting for anybody else. */
export function afterTurn(fn: () => void): void {
  setImmediate(fn);
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

/** True while somebody waits for a turn. */
export function crowded(): boolean {
  return lines.normal.length > 0 || lines.first.length > 0;
}

/** True while anybody waits for a turn, however urgent. */
export function turnsWaitedFor(): boolean {
  return crowded() || lines.last.length > 0;
}

/** Resolves in a turn of one's own, after those as urgent who have waited longer. */
export function nextTurn(urgency: Urgency = 'normal'): Promise<void> {
  return new Promise((resolve) => {
    lines[urgency].push(resolve);
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
