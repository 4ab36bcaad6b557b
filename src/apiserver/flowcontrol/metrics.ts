/** What API Priority and Fairness measures, with upstream's names (`apiserver_flowcontrol_…`), help texts and buckets. */
import type { Distribution, Family, Labels, Value } from '../metrics/exposition.ts';
import { HistogramVector, Vector, alsoNamed, computed } from '../metrics/exposition.ts';
import { Integrator, TimedRatioVector, type TimedRatio } from './timed-ratio.ts';

const p = 'apiserver_flowcontrol_';
const queueLengths = [0, 10, 25, 50, 100, 250, 500, 1000];
const durations = [0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30];

/** The series of one FlowSchema on its level. */
export interface FlowMetrics {
  readonly dispatched: Value;
  readonly waiting: Value;
  readonly waitingSeats: Value;
  readonly executing: Value;
  readonly executingSeats: Value;
  readonly noAccommodation: Value;
  readonly queueLength: Distribution;
  readonly estimatedSeats: Distribution;
  /** Made when first needed: reasons and outcomes that never come have no series. */
  rejected(reason: string): Value;
  waited(executed: boolean): Distribution;
  ran(type: 'regular' | 'watch'): Distribution;
  watches(): Distribution;
}

/** What the series of a level are told, or asked when they are shown. */
export class LevelMetrics {
  readonly requestsWaiting: TimedRatio;
  readonly requestsExecuting: TimedRatio;
  readonly seatsExecuting: TimedRatio;
  readonly demandRatio: TimedRatio;
  readonly demand: Integrator;
  dispatchR = 0;
  latestS = 0;
  nextS: readonly [number, number] = [0, 0];
  nextDiscountedS: readonly [number, number] = [0, 0];
  highWatermark = 0;
  average = 0;
  deviation = 0;
  smoothed = 0;
  target = 0;
  /** Seats by configuration and as they are adjusted. */
  nominal = 0;
  lower = 0;
  upper = 0;
  current = 0;

  constructor(
    ratios: {
      readonly requestsWaiting: TimedRatio;
      readonly requestsExecuting: TimedRatio;
      readonly seatsExecuting: TimedRatio;
      readonly demandRatio: TimedRatio;
    },
    now: number,
  ) {
    this.requestsWaiting = ratios.requestsWaiting;
    this.requestsExecuting = ratios.requestsExecuting;
    this.seatsExecuting = ratios.seatsExecuting;
    this.demandRatio = ratios.demandRatio;
    this.demand = new Integrator(now);
  }

  noteDemand(seats: number, now: number): void {
    this.demand.set(seats, now);
    this.demandRatio.set(seats, now);
  }
}

interface LevelEntry {
  readonly metrics: LevelMetrics;
  r(): number;
}

export class FlowControlMetrics {
  readonly #now: () => number;
  readonly #levels = new Map<string, LevelEntry>();
  readonly #rejected = new Vector(
    'counter',
    `${p}rejected_requests_total`,
    'Number of requests rejected by API Priority and Fairness subsystem',
  );
  readonly #dispatched = new Vector(
    'counter',
    `${p}dispatched_requests_total`,
    'Number of requests executed by API Priority and Fairness subsystem',
  );
  readonly #waiting = new Vector(
    'gauge',
    `${p}current_inqueue_requests`,
    'Number of requests currently pending in queues of the API Priority and Fairness subsystem',
  );
  readonly #waitingSeats = new Vector(
    'gauge',
    `${p}current_inqueue_seats`,
    'Number of seats currently pending in queues of the API Priority and Fairness subsystem',
  );
  readonly #executing = new Vector(
    'gauge',
    `${p}current_executing_requests`,
    'Number of requests in initial (for a WATCH) or any (for a non-WATCH) execution stage in the API Priority and Fairness subsystem',
  );
  readonly #executingSeats = new Vector(
    'gauge',
    `${p}current_executing_seats`,
    'Concurrency (number of seats) occupied by the currently executing (initial stage for a WATCH, any stage otherwise) requests in the API Priority and Fairness subsystem',
  );
  readonly #noAccommodation = new Vector(
    'counter',
    `${p}request_dispatch_no_accommodation_total`,
    'Number of times a dispatch attempt resulted in a non accommodation due to lack of available seats',
  );
  readonly #queueLength = new HistogramVector(
    `${p}request_queue_length_after_enqueue`,
    'Length of queue in the API Priority and Fairness subsystem, as seen by each request after it is enqueued',
    queueLengths,
  );
  readonly #waitSeconds = new HistogramVector(
    `${p}request_wait_duration_seconds`,
    'Length of time a request spent waiting in its queue',
    durations,
  );
  readonly #executionSeconds = new HistogramVector(
    `${p}request_execution_seconds`,
    'Duration of initial stage (for a WATCH) or any (for a non-WATCH) stage of request execution in the API Priority and Fairness subsystem',
    durations,
  );
  readonly #watchCounts = new HistogramVector(
    `${p}watch_count_samples`,
    'count of watchers for mutating requests in API Priority and Fairness',
    [0, 1, 10, 100, 1000, 10000],
  );
  readonly #estimatedSeats = new HistogramVector(
    `${p}work_estimated_seats`,
    'Number of estimated seats (maximum of initial and final seats) associated with requests in API Priority and Fairness',
    [1, 2, 4, 8, 16, 32, 64, 100],
  );
  readonly #seatUtilization: TimedRatioVector;
  readonly #requestUtilization: TimedRatioVector;
  readonly #demandSeats: TimedRatioVector;
  readonly #readVsWrite: TimedRatioVector;
  readonly #phases = new Map<string, TimedRatio>();
  fairFrac = 0;
  readonly families: readonly Family[];

  /** `now`: real milliseconds. */
  constructor(now: () => number) {
    this.#now = now;
    this.#seatUtilization = new TimedRatioVector(
      `${p}priority_level_seat_utilization`,
      'Observations, at the end of every nanosecond, of utilization of seats for any stage of execution (but only initial stage for WATCHes)',
      [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1],
      now,
    );
    this.#requestUtilization = new TimedRatioVector(
      `${p}priority_level_request_utilization`,
      'Observations, at the end of every nanosecond, of number of requests (as a fraction of the relevant limit) waiting or in any stage of execution (but only initial stage for WATCHes)',
      [0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.25, 0.5, 0.75, 1],
      now,
    );
    this.#demandSeats = new TimedRatioVector(
      `${p}demand_seats`,
      'Observations, at the end of every nanosecond, of (the number of seats each priority level could use) / (nominal number of seats for that level)',
      [0.2, 0.4, 0.6, 0.8, 1, 1.2, 1.4, 1.7, 2, 2.8, 4, 6],
      now,
    );
    this.#readVsWrite = new TimedRatioVector(
      `${p}read_vs_write_current_requests`,
      'Observations, at the end of every nanosecond, of the number of requests (as a fraction of the relevant limit) waiting or in regular stage of execution',
      [0, 0.001, 0.01, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1],
      now,
    );
    const level = (name: string, help: string, read: (l: LevelEntry) => number): Family =>
      computed('gauge', `${p}${name}`, help, () =>
        [...this.#levels].map(([priority_level, l]) => [{ priority_level }, read(l)] as const),
      );
    const bounds = (name: string, help: string, read: (l: LevelEntry) => readonly [number, number]): Family =>
      computed('gauge', `${p}${name}`, help, () =>
        [...this.#levels].flatMap(([priority_level, l]) => {
          const [min, max] = read(l);
          return [
            [{ bound: 'min', priority_level }, min],
            [{ bound: 'max', priority_level }, max],
          ] as [Labels, number][];
        }),
      );
    this.families = [
      this.#rejected,
      this.#dispatched,
      level('current_r', 'R(time of last change)', (l) => l.r()),
      level('dispatch_r', 'R(time of last dispatch)', (l) => l.metrics.dispatchR),
      level('latest_s', 'S(most recently dispatched request)', (l) => l.metrics.latestS),
      bounds(
        'next_s_bounds',
        'min and max, over queues, of S(oldest waiting request in queue)',
        (l) => l.metrics.nextS,
      ),
      bounds(
        'next_discounted_s_bounds',
        'min and max, over queues, of S(oldest waiting request in queue) - estimated work in progress',
        (l) => l.metrics.nextDiscountedS,
      ),
      computed(
        'gauge',
        'apiserver_current_inqueue_requests',
        'Maximal number of queued requests in this apiserver per request kind in last second.',
        () => [
          [{ request_kind: 'mutating' }, this.inQueue.mutating],
          [{ request_kind: 'readOnly' }, this.inQueue.readOnly],
        ],
      ),
      this.#waiting,
      this.#waitingSeats,
      this.#queueLength,
      this.#executingSeats,
      alsoNamed(
        `${p}request_concurrency_in_use`,
        'Concurrency (number of seats) occupied by the currently executing (initial stage for a WATCH, any stage otherwise) requests in the API Priority and Fairness subsystem',
        this.#executingSeats,
      ),
      this.#executing,
      this.#waitSeconds,
      this.#executionSeconds,
      this.#watchCounts,
      this.#estimatedSeats,
      this.#noAccommodation,
      level(
        'nominal_limit_seats',
        'Nominal number of execution seats configured for each priority level',
        (l) => l.metrics.nominal,
      ),
      level(
        'request_concurrency_limit',
        'Nominal number of execution seats configured for each priority level',
        (l) => l.metrics.nominal,
      ),
      level(
        'lower_limit_seats',
        'Configured lower bound on number of execution seats available to each priority level',
        (l) => l.metrics.lower,
      ),
      level(
        'upper_limit_seats',
        'Configured upper bound on number of execution seats available to each priority level',
        (l) => l.metrics.upper,
      ),
      level(
        'demand_seats_high_watermark',
        'High watermark, over last adjustment period, of demand_seats',
        (l) => l.metrics.highWatermark,
      ),
      level(
        'demand_seats_average',
        'Time-weighted average, over last adjustment period, of demand_seats',
        (l) => l.metrics.average,
      ),
      level(
        'demand_seats_stdev',
        'Time-weighted standard deviation, over last adjustment period, of demand_seats',
        (l) => l.metrics.deviation,
      ),
      level('demand_seats_smoothed', 'Smoothed seat demands', (l) => l.metrics.smoothed),
      level('target_seats', 'Seat allocation targets', (l) => l.metrics.target),
      computed(
        'gauge',
        `${p}seat_fair_frac`,
        "Fair fraction of server's concurrency to allocate to each priority level that can use it",
        () => [[{}, this.fairFrac]],
      ),
      level(
        'current_limit_seats',
        'current derived number of execution seats available to each priority level',
        (l) => l.metrics.current,
      ),
      this.#seatUtilization,
      this.#requestUtilization,
      this.#readVsWrite,
      this.#demandSeats,
    ];
  }

  /** Requests that wait. */
  readonly inQueue = { readOnly: 0, mutating: 0 };

  level(name: string, r: () => number): LevelMetrics {
    const priority_level = name;
    const metrics = new LevelMetrics(
      {
        requestsWaiting: this.#requestUtilization.series({ phase: 'waiting', priority_level }),
        requestsExecuting: this.#requestUtilization.series({ phase: 'executing', priority_level }),
        seatsExecuting: this.#seatUtilization.series({ phase: 'executing', priority_level }),
        demandRatio: this.#demandSeats.series({ priority_level }),
      },
      this.#now(),
    );
    this.#levels.set(name, { metrics, r });
    return metrics;
  }

  /** A level is gone, and with it what was measured of it by the moment. */
  forget(name: string): void {
    const priority_level = name;
    this.#levels.delete(name);
    this.#requestUtilization.delete({ phase: 'waiting', priority_level });
    this.#requestUtilization.delete({ phase: 'executing', priority_level });
    this.#seatUtilization.delete({ phase: 'executing', priority_level });
    this.#demandSeats.delete({ priority_level });
  }

  /** Readers and writers, waiting and running, as a part of what the whole server may have. */
  readVsWrite(phase: 'waiting' | 'executing', kind: 'readOnly' | 'mutating'): TimedRatio {
    const key = `${phase} ${kind}`;
    let found = this.#phases.get(key);
    if (found === undefined) {
      found = this.#readVsWrite.series({ phase, request_kind: kind });
      this.#phases.set(key, found);
    }
    return found;
  }

  flow(priorityLevel: string, flowSchema: string): FlowMetrics {
    const key = `${priorityLevel} ${flowSchema}`;
    const labels = (more: Labels = {}): Labels => ({ flow_schema: flowSchema, priority_level: priorityLevel, ...more });
    const waited = new Map<boolean, Distribution>();
    const ran = new Map<string, Distribution>();
    let watches: Distribution | undefined;
    return {
      dispatched: this.#dispatched.series(key, labels),
      waiting: this.#waiting.series(key, labels),
      waitingSeats: this.#waitingSeats.series(key, labels),
      executing: this.#executing.series(key, labels),
      executingSeats: this.#executingSeats.series(key, labels),
      noAccommodation: this.#noAccommodation.series(key, labels),
      queueLength: this.#queueLength.series(key, labels),
      estimatedSeats: this.#estimatedSeats.series(key, labels),
      rejected: (reason) => this.#rejected.series(`${key} ${reason}`, () => labels({ reason })),
      waited: (executed) => {
        let found = waited.get(executed);
        if (found === undefined) {
          found = this.#waitSeconds.series(`${key} ${executed}`, () => labels({ execute: String(executed) }));
          waited.set(executed, found);
        }
        return found;
      },
      ran: (type) => {
        let found = ran.get(type);
        if (found === undefined) {
          found = this.#executionSeconds.series(`${key} ${type}`, () => labels({ type }));
          ran.set(type, found);
        }
        return found;
      },
      watches: () => (watches ??= this.#watchCounts.series(key, labels)),
    };
  }
}
