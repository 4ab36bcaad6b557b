/**
 * `QueueSet`: the requests of one priority level, as many seats of them at once as its limit allows, the others in queues
 * that are served fairly (KEP-1040). Time is virtual in the sense of fair queuing: R advances by the seats that each active
 * queue gets, a queue's next request starts at its `nextR`, and the one that would finish first goes first. What a request
 * costs is guessed when it starts and put right when it ends.
 */
import type { FlowMetrics, LevelMetrics } from './metrics.ts';
import type { WorkEstimate } from './work-estimate.ts';

export interface Queuing {
  readonly queues: number;
  readonly handSize: number;
  readonly queueLengthLimit: number;
}

/** What happens to requests beyond the limit: they wait, they are refused, or there is no limit. */
export type Discipline = Queuing | 'reject' | 'exempt';

/** Which flow a request belongs to. */
export interface FlowOf {
  readonly flowSchema: string;
  readonly distinguisher: string;
  /** The queues dealt to the flow; empty where there are none. */
  readonly hand: readonly number[];
  readonly metrics: FlowMetrics;
}

/** One request of a level, from its arrival until its seats are free again. Times are real milliseconds. */
export interface Ticket {
  readonly flow: FlowOf;
  /** What the request was, for the debug pages. */
  readonly request: unknown;
  readonly arrivedAt: number;
  arrivalR: number;
  startedAt: number;
  readonly initialSeats: number;
  finalSeats: number;
  readonly maxSeats: number;
  additionalLatency: number;
  /** In seat-seconds. */
  readonly work: number;
  queue: Queue | undefined;
  state: 'waiting' | 'executing' | 'gone';
  /** Set by who waits. */
  decide: ((executes: boolean) => void) | undefined;
}

export interface Queue {
  index: number;
  readonly waiting: Set<Ticket>;
  readonly executing: Set<Ticket>;
  seatsInUse: number;
  nextR: number;
  /** Sums over those who wait. */
  waitingSeats: number;
  waitingInitialSeats: number;
  waitingWork: number;
}

/** How long a request is taken to run before it has, in seconds. */
const guessedDuration = 0.003;

export type Refusal = 'queue-full' | 'concurrency-limit';

export class QueueSet {
  readonly #metrics: LevelMetrics;
  /** Calls back after so many real milliseconds. */
  readonly #after: (ms: number, fn: () => void) => void;
  readonly #now: () => number;
  #discipline: Discipline = 'exempt';
  #limit = 0;
  #queues: Queue[] = [];
  readonly #unqueued = new Set<Ticket>();
  #r = 0;
  #syncedAt: number;
  #robin = 0;
  #enqueued = 0;
  /** Queues with something waiting or running, and the seats that all of these ask for. */
  #active = 0;
  #seatsAsked = 0;
  waiting = 0;
  executing = 0;
  seatsInUse = 0;
  seatsWaiting = 0;
  dispatched = 0;
  rejected = 0;
  cancelled = 0;

  constructor(metrics: LevelMetrics, now: () => number, after: (ms: number, fn: () => void) => void) {
    this.#metrics = metrics;
    this.#now = now;
    this.#after = after;
    this.#syncedAt = now();
  }

  get idle(): boolean {
    return this.waiting === 0 && this.executing === 0;
  }

  get r(): number {
    return this.#r;
  }

  get queues(): readonly Queue[] {
    return this.#queues;
  }

  get unqueued(): Iterable<Ticket> {
    return this.#unqueued;
  }

  get limit(): number {
    return this.#limit;
  }

  configure(discipline: Discipline, limit: number): void {
    this.#sync(this.#now());
    this.#discipline = discipline;
    this.#limit = limit;
    if (typeof discipline === 'object') {
      while (this.#queues.length < discipline.queues) this.#queues.push(newQueue(this.#queues.length));
      // Queues too many go as they empty; the hands are dealt from the others.
      for (let i = this.#queues.length - 1; i >= discipline.queues; i--) this.#dropIfEmpty(this.#queues[i]!);
    }
    this.#dispatch();
  }

  /** Virtual time goes on to now. */
  #sync(now: number): void {
    const elapsed = (now - this.#syncedAt) / 1000;
    this.#syncedAt = now;
    if (this.#active === 0) return;
    this.#r += (elapsed * Math.min(this.#seatsAsked, this.#limit)) / this.#active;
  }

  /** Lets a request in, has it wait, or refuses it. */
  start(work: WorkEstimate, flow: FlowOf, request: unknown, now: number): Ticket | Refusal {
    this.#sync(now);
    const maxSeats = Math.max(work.initialSeats, work.finalSeats);
    const ticket: Ticket = {
      flow,
      request,
      arrivedAt: now,
      arrivalR: this.#r,
      startedAt: now,
      initialSeats: work.initialSeats,
      finalSeats: work.finalSeats,
      maxSeats,
      additionalLatency: work.additionalLatency,
      work: work.initialSeats * guessedDuration + (work.finalSeats * work.additionalLatency) / 1000,
      queue: undefined,
      state: 'waiting',
      decide: undefined,
    };
    const discipline = this.#discipline;
    if (typeof discipline === 'string') {
      if (discipline === 'reject' && !this.#fits(maxSeats)) {
        this.rejected++;
        return 'concurrency-limit';
      }
      this.#unqueued.add(ticket);
      this.#execute(ticket, now);
      return ticket;
    }
    const queue = this.#shortest(flow.hand);
    ticket.queue = queue;
    const first = queue.waiting.size === 0;
    if (first && queue.executing.size === 0) queue.nextR = this.#r;
    if (this.waiting === 0 && this.seatsInUse < this.#limit && this.#fits(maxSeats)) {
      // Nobody else waits: it goes in as it comes.
      if (queue.nextR < ticket.arrivalR) queue.nextR = ticket.arrivalR;
      flow.metrics.queueLength.observe(1);
      this.#metrics.dispatchR = this.#r;
      this.#metrics.latestS = queue.nextR;
      this.#enter(ticket, queue, now);
      return ticket;
    }
    if (this.seatsInUse >= this.#limit && queue.waiting.size >= discipline.queueLengthLimit) {
      this.rejected++;
      return 'queue-full';
    }
    this.#enqueue(ticket, queue, now);
    flow.metrics.queueLength.observe(queue.waiting.size);
    this.#dispatch();
    return ticket;
  }

  /** The queue of a hand with the least work before it. */
  #shortest(hand: readonly number[]): Queue {
    const offset = this.#enqueued++ % hand.length;
    let best = this.#queues[hand[offset]!]!;
    if (this.waiting === 0) return best;
    for (let i = 1; i < hand.length; i++) {
      const queue = this.#queues[hand[(offset + i) % hand.length]!]!;
      if (queue.waitingWork < best.waitingWork) best = queue;
    }
    return best;
  }

  #fits(seats: number): boolean {
    if (this.#discipline === 'exempt') return true;
    // Who needs more than there is gets it all.
    if (seats > this.#limit) return this.executing === 0;
    return this.seatsInUse + seats <= this.#limit;
  }

  #enqueue(ticket: Ticket, queue: Queue, now: number): void {
    if (queue.waiting.size === 0 && queue.executing.size === 0) this.#active++;
    this.#seatsAsked += ticket.maxSeats;
    queue.waiting.add(ticket);
    queue.waitingSeats += ticket.maxSeats;
    queue.waitingInitialSeats += ticket.initialSeats;
    queue.waitingWork += ticket.work;
    this.waiting++;
    this.seatsWaiting += ticket.maxSeats;
    const { metrics } = ticket.flow;
    metrics.waiting.inc();
    metrics.waitingSeats.inc(ticket.maxSeats);
    this.#metrics.requestsWaiting.set(this.waiting, now);
    this.#noteDemand(now);
    this.#bound(queue);
  }

  /** A ticket no longer waits. */
  #dequeue(ticket: Ticket, queue: Queue, now: number): void {
    queue.waiting.delete(ticket);
    queue.waitingSeats -= ticket.maxSeats;
    queue.waitingInitialSeats -= ticket.initialSeats;
    queue.waitingWork = queue.waiting.size === 0 ? 0 : queue.waitingWork - ticket.work;
    this.#seatsAsked -= ticket.maxSeats;
    if (queue.waiting.size === 0 && queue.executing.size === 0) this.#active--;
    this.waiting--;
    this.seatsWaiting -= ticket.maxSeats;
    const { metrics } = ticket.flow;
    metrics.waiting.dec();
    metrics.waitingSeats.dec(ticket.maxSeats);
    this.#metrics.requestsWaiting.set(this.waiting, now);
  }

  /** A ticket with a queue gets its seats. */
  #enter(ticket: Ticket, queue: Queue, now: number): void {
    if (queue.waiting.size === 0 && queue.executing.size === 0) this.#active++;
    this.#seatsAsked += ticket.maxSeats;
    queue.executing.add(ticket);
    queue.seatsInUse += ticket.maxSeats;
    queue.nextR += ticket.work;
    this.#execute(ticket, now);
  }

  #execute(ticket: Ticket, now: number): void {
    ticket.state = 'executing';
    ticket.startedAt = now;
    this.executing++;
    this.dispatched++;
    this.seatsInUse += ticket.maxSeats;
    const { metrics } = ticket.flow;
    metrics.dispatched.inc();
    metrics.executing.inc();
    metrics.executingSeats.inc(ticket.maxSeats);
    this.#metrics.requestsExecuting.set(this.executing, now);
    this.#metrics.seatsExecuting.set(this.seatsInUse, now);
    this.#noteDemand(now);
  }

  #noteDemand(now: number): void {
    this.#metrics.noteDemand(this.seatsInUse + this.seatsWaiting, now);
  }

  #dispatch(): void {
    while (this.waiting > 0 && this.seatsInUse < this.#limit && this.#dispatchOne());
  }

  #dispatchOne(): boolean {
    const queues = this.#queues;
    let best: Queue | undefined;
    let bestFinish = Infinity;
    let bestIndex = 0;
    let sMin = Infinity;
    let sMax = -Infinity;
    let dMin = Infinity;
    let dMax = -Infinity;
    for (let i = 0; i < queues.length; i++) {
      this.#robin = (this.#robin + 1) % queues.length;
      const queue = queues[this.#robin]!;
      if (queue.waiting.size === 0) continue;
      const oldest = oldestOf(queue);
      const s = queue.nextR;
      const discounted = s - queue.seatsInUse * guessedDuration;
      if (s < sMin) sMin = s;
      if (s > sMax) sMax = s;
      if (discounted < dMin) dMin = discounted;
      if (discounted > dMax) dMax = discounted;
      const finish = s + oldest.work;
      if (finish < bestFinish) {
        bestFinish = finish;
        best = queue;
        bestIndex = this.#robin;
      }
    }
    if (best === undefined) return false;
    const ticket = oldestOf(best);
    if (!this.#fits(ticket.maxSeats)) {
      ticket.flow.metrics.noAccommodation.inc();
      return false;
    }
    this.#robin = bestIndex;
    const now = this.#syncedAt;
    // The final stage cannot take more seats than there are: it lasts longer instead.
    if (ticket.finalSeats > this.#limit && this.#limit > 0) {
      ticket.additionalLatency = (ticket.additionalLatency * ticket.finalSeats) / this.#limit;
      ticket.finalSeats = this.#limit;
    }
    const m = this.#metrics;
    m.dispatchR = this.#r;
    m.latestS = best.nextR;
    m.nextS = [sMin, sMax];
    m.nextDiscountedS = [dMin, dMax];
    this.#dequeue(ticket, best, now);
    this.#enter(ticket, best, now);
    this.#bound(best);
    ticket.decide?.(true);
    return true;
  }

  /** Who waits no longer wants to, or may. False when its turn had come already. */
  cancel(ticket: Ticket): boolean {
    if (ticket.state !== 'waiting' || ticket.queue === undefined) return false;
    const now = this.#now();
    this.#sync(now);
    ticket.state = 'gone';
    this.#dequeue(ticket, ticket.queue, now);
    this.#noteDemand(now);
    this.#bound(ticket.queue);
    this.#dropIfEmpty(ticket.queue);
    this.rejected++;
    this.cancelled++;
    return true;
  }

  /** A request is done; its seats may stay taken for a while. */
  finish(ticket: Ticket, now: number): void {
    if (ticket.state !== 'executing') return;
    ticket.state = 'gone';
    this.#sync(now);
    this.executing--;
    const { metrics } = ticket.flow;
    metrics.executing.dec();
    this.#metrics.requestsExecuting.set(this.executing, now);
    const { queue } = ticket;
    if (queue === undefined) this.#unqueued.delete(ticket);
    else {
      queue.executing.delete(ticket);
      if (queue.waiting.size === 0 && queue.executing.size === 0) this.#active--;
      queue.nextR -= ticket.initialSeats * (guessedDuration - (now - ticket.startedAt) / 1000);
      this.#bound(queue);
    }
    if (ticket.additionalLatency > 0) {
      this.#after(ticket.additionalLatency, () => {
        const later = this.#now();
        this.#sync(later);
        this.#release(ticket, later);
      });
    } else this.#release(ticket, now);
  }

  #release(ticket: Ticket, now: number): void {
    const { queue, maxSeats } = ticket;
    this.seatsInUse -= maxSeats;
    ticket.flow.metrics.executingSeats.dec(maxSeats);
    this.#metrics.seatsExecuting.set(this.seatsInUse, now);
    this.#noteDemand(now);
    if (queue !== undefined) {
      queue.seatsInUse -= maxSeats;
      this.#seatsAsked -= maxSeats;
      this.#dropIfEmpty(queue);
    }
    if (this.waiting > 0) this.#dispatch();
  }

  /** A queue starts its next request no earlier than it came. */
  #bound(queue: Queue): void {
    if (queue.waiting.size === 0) return;
    const { arrivalR } = oldestOf(queue);
    if (queue.nextR < arrivalR) queue.nextR = arrivalR;
  }

  #dropIfEmpty(queue: Queue): void {
    const discipline = this.#discipline;
    const wanted = typeof discipline === 'object' ? discipline.queues : 0;
    if (queue.index < wanted || queue.waiting.size > 0 || queue.executing.size > 0 || queue.seatsInUse > 0) return;
    if (this.#queues[queue.index] !== queue) return;
    this.#queues.splice(queue.index, 1);
    for (let i = queue.index; i < this.#queues.length; i++) this.#queues[i]!.index = i;
    if (this.#robin >= queue.index && this.#robin > 0) this.#robin--;
  }
}

function newQueue(index: number): Queue {
  return {
    index,
    waiting: new Set(),
    executing: new Set(),
    seatsInUse: 0,
    nextR: 0,
    waitingSeats: 0,
    waitingInitialSeats: 0,
    waitingWork: 0,
  };
}

function oldestOf(queue: Queue): Ticket {
  for (const ticket of queue.waiting) return ticket;
  throw new Error('an empty queue has no oldest request');
}
