/**
 * `FlowControl`: API Priority and Fairness (KEP-1040). It follows FlowSchemas and PriorityLevelConfigurations, tells each
 * request its flow and level, deals the server's seats to the levels, lends idle ones to the busy, and writes the Dangling
 * condition of FlowSchemas whose level does not exist.
 */
import type { Clock, Timer } from '../../base/clock.ts';
import { ioNow, ioTimer } from '../../base/io-time.ts';
import type { Logger } from '../../base/logger.ts';
import { semanticEqual } from '../../api/helpers/deep-equal.ts';
import type { KubeObject } from '../../api/object.ts';
import type {
  FlowSchema,
  FlowSchemaCondition,
  PriorityLevelConfiguration,
  PriorityLevelConfigurationSpec,
} from '../../api/types/flowcontrol-v1.gen.ts';
import { mandatoryFlowSchemas, mandatoryPriorityLevels } from '../bootstrap/flow-control.ts';
import type { RequestInfo } from '../context.ts';
import type { Scope } from '../filters/scope.ts';
import type { UserInfo } from '../request.ts';
import { allocate } from './concurrency.ts';
import { DroppedRequests } from './dropped-requests.ts';
import { FlowControlMetrics, type FlowMetrics, type LevelMetrics } from './metrics.ts';
import { QueueSet, type Discipline, type FlowOf, type Ticket } from './queue-set.ts';
import { Releases } from './releases.ts';
import { FlowRules } from './rules.ts';
import { deal, hashFlow } from './shuffle-sharding.ts';
import { estimateWork, WatchCounts, type StatsOf } from './work-estimate.ts';

export const flowControlGroup = 'flowcontrol.apiserver.k8s.io';

/** Where the configuration comes from and the conditions go to. */
export interface FlowControlSource {
  follow(
    resource: 'flowschemas' | 'prioritylevelconfigurations',
    onEvent: (type: 'put' | 'delete', name: string, object: () => KubeObject) => void,
  ): Promise<() => void>;
  /** Applies a condition to a FlowSchema's status. */
  applyCondition(flowSchema: string, condition: FlowSchemaCondition): Promise<void>;
}

export interface FlowControlOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  /** All seats there are: `--max-requests-inflight` and `--max-mutating-requests-inflight` together. */
  readonly seats: number;
  readonly stats: StatsOf;
}

/** Real milliseconds between two adjustments of what the levels borrow. */
const adjustmentPeriod = 10_000;
const smoothing = 0.977;
/** The part of its level that one request may take. */
const maxSeatsPart = 0.15;
/** Flows of a FlowSchema whose hands are remembered. */
const maxHands = 4096;
/** Writes of one FlowSchema's condition within a minute: more come of servers that disagree. */
const maxConditionWrites = 5;

/** A level and what it has at the moment. */
export class PriorityLevel {
  readonly name: string;
  readonly metrics: LevelMetrics;
  readonly queues: QueueSet;
  config: PriorityLevelConfiguration;
  discipline: Discipline = 'exempt';
  /** Its object is gone, but requests still run. */
  quiescing = false;
  nominal = 0;
  lower = 0;
  upper = 0;
  current = 0;
  smoothed = 0;
  highWatermark = 0;
  /** Seats that one request may take; 0: no bound of its own. */
  maxSeats = 0;
  started = false;

  constructor(config: PriorityLevelConfiguration, metrics: FlowControlMetrics, releases: Releases) {
    this.name = config.metadata.name ?? '';
    this.config = config;
    this.metrics = metrics.level(this.name, () => this.queues.r);
    this.queues = new QueueSet(this.metrics, ioNow, (ms, fn) => releases.after(ms, fn));
  }

  get spec(): PriorityLevelConfigurationSpec {
    return this.config.spec!;
  }

  get uid(): string {
    return this.config.metadata.uid ?? '';
  }

  get exempt(): boolean {
    return this.spec.type === 'Exempt';
  }
}

/** A FlowSchema, ready to be matched. */
export class Flow {
  readonly name: string;
  readonly uid: string;
  readonly level: PriorityLevel;
  readonly rules: FlowRules;
  readonly metrics: FlowMetrics;
  readonly #method: string | undefined;
  readonly #hands = new Map<string, FlowOf>();
  readonly #plain: FlowOf;

  constructor(schema: FlowSchema, level: PriorityLevel, metrics: FlowControlMetrics) {
    this.name = schema.metadata.name ?? '';
    this.uid = schema.metadata.uid ?? '';
    this.level = level;
    this.rules = new FlowRules(schema.spec!);
    this.metrics = metrics.flow(level.name, this.name);
    this.#method = schema.spec!.distinguisherMethod?.type;
    const hand = typeof level.discipline === 'object' ? [0] : [];
    this.#plain = { flowSchema: this.name, distinguisher: '', hand, metrics: this.metrics };
  }

  /** The flow of a request, with the queues it may wait in. */
  of(user: UserInfo, info: RequestInfo): FlowOf {
    const { discipline } = this.level;
    if (typeof discipline === 'string' || discipline.queues <= 1) return this.#plain;
    const distinguisher = this.#method === undefined ? '' : this.#method === 'ByUser' ? user.name : info.namespace;
    let found = this.#hands.get(distinguisher);
    if (found === undefined) {
      const hand = deal(hashFlow(this.name, distinguisher), discipline.queues, discipline.handSize);
      found = { flowSchema: this.name, distinguisher, hand, metrics: this.metrics };
      if (this.#hands.size >= maxHands) this.#hands.clear();
      this.#hands.set(distinguisher, found);
    }
    return found;
  }
}

interface Candidate {
  readonly flow: Flow;
  readonly matches: (info: RequestInfo) => boolean;
}

function precedence(schema: FlowSchema): number {
  return schema.spec?.matchingPrecedence ?? 1000;
}

/** The queuing of a level; undefined where its parts contradict each other (they were stored by somebody else). */
function disciplineOf(name: string, spec: PriorityLevelConfigurationSpec): Discipline | undefined {
  const exempt = spec.type === 'Exempt';
  if (exempt !== (name === 'exempt') || exempt !== (spec.exempt !== undefined)) return undefined;
  if (exempt) return 'exempt';
  const limited = spec.limited;
  if (limited === undefined) return undefined;
  const queuing = limited.limitResponse?.queuing;
  if (limited.limitResponse?.type === 'Reject') return queuing === undefined ? 'reject' : undefined;
  if (queuing === undefined) return undefined;
  return {
    queues: queuing.queues ?? 64,
    handSize: queuing.handSize ?? 8,
    queueLengthLimit: queuing.queueLengthLimit ?? 50,
  };
}

function sharesOf(spec: PriorityLevelConfigurationSpec): {
  readonly shares: number;
  readonly lendable: number;
  readonly borrowing: number | undefined;
} {
  if (spec.limited !== undefined)
    return {
      shares: spec.limited.nominalConcurrencyShares ?? 30,
      lendable: spec.limited.lendablePercent ?? 0,
      borrowing: spec.limited.borrowingLimitPercent,
    };
  return {
    shares: spec.exempt?.nominalConcurrencyShares ?? 0,
    lendable: spec.exempt?.lendablePercent ?? 0,
    borrowing: undefined,
  };
}

export class FlowControl {
  readonly metrics = new FlowControlMetrics(ioNow);
  readonly watches = new WatchCounts();
  readonly dropped = new DroppedRequests();
  readonly #o: FlowControlOptions;
  readonly #releases = new Releases();
  readonly #schemas = new Map<string, FlowSchema>();
  readonly #configs = new Map<string, PriorityLevelConfiguration>();
  readonly #levels = new Map<string, PriorityLevel>();
  #flows: readonly Flow[] = [];
  #catchAll!: Flow;
  /** What is left to decide for each caller; forgotten with the configuration. */
  #candidates = new WeakMap<UserInfo, readonly Candidate[]>();
  #nominalSum = 0;
  #source: FlowControlSource | undefined;
  readonly #unfollow: (() => void)[] = [];
  readonly #conditionWrites = new Map<string, number[]>();
  #conditionsLater: Timer | undefined;
  #digesting = false;
  #cancelAdjustment: (() => void) | undefined;
  #closed = false;

  constructor(options: FlowControlOptions) {
    this.#o = options;
    this.#digest();
  }

  /** All levels that have seats, by name. */
  get levels(): readonly PriorityLevel[] {
    return [...this.#levels.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** Follows the configuration from now on; until then every request but the masters' shares one level. */
  async start(source: FlowControlSource): Promise<void> {
    this.#source = source;
    this.#unfollow.push(
      await source.follow('prioritylevelconfigurations', (type, name, object) => {
        const before = this.#configs.get(name);
        if (type === 'delete') this.#configs.delete(name);
        else this.#configs.set(name, object() as unknown as PriorityLevelConfiguration);
        const now = this.#configs.get(name);
        if (before?.metadata.uid === now?.metadata.uid && semanticEqual(before?.spec, now?.spec)) return;
        this.#changed();
      }),
      await source.follow('flowschemas', (type, name, object) => {
        const before = this.#schemas.get(name);
        if (type === 'delete') {
          this.#schemas.delete(name);
          this.#conditionWrites.delete(name);
        } else this.#schemas.set(name, object() as unknown as FlowSchema);
        const now = this.#schemas.get(name);
        if (
          before?.metadata.uid === now?.metadata.uid &&
          semanticEqual(before?.spec, now?.spec) &&
          semanticEqual(before?.status, now?.status)
        )
          return;
        this.#changed();
      }),
    );
    this.#adjustLater();
  }

  close(): void {
    this.#closed = true;
    this.#cancelAdjustment?.();
    this.#releases.close();
    this.#conditionsLater?.cancel();
    for (const end of this.#unfollow) end();
  }

  /** Digests what changed, once for all that changes at the same time. */
  #changed(): void {
    if (this.#digesting || this.#closed) return;
    this.#digesting = true;
    const done = this.#o.clock.activity.begin();
    queueMicrotask(() => {
      this.#digesting = false;
      if (!this.#closed) this.#digest();
      done();
    });
  }

  // Configuration ----------------------------------------------------------------------------------------------------------

  #digest(): void {
    const configs = new Map<string, PriorityLevelConfiguration>();
    for (const [name, config] of this.#configs)
      if (disciplineOf(name, config.spec!) !== undefined) configs.set(name, config);
      else this.#o.logger.error('a PriorityLevelConfiguration cannot be used', { name });
    for (const config of mandatoryPriorityLevels())
      if (!configs.has(config.metadata.name!)) configs.set(config.metadata.name!, config);
    for (const [name, config] of configs) {
      let level = this.#levels.get(name);
      if (level === undefined)
        this.#levels.set(name, (level = new PriorityLevel(config, this.metrics, this.#releases)));
      level.config = config;
      level.quiescing = false;
      level.discipline = disciplineOf(name, config.spec!)!;
    }
    for (const [name, level] of this.#levels) {
      if (configs.has(name)) continue;
      level.quiescing = !level.queues.idle;
      if (level.quiescing) continue;
      this.#levels.delete(name);
      this.metrics.forget(name);
      this.dropped.forget(name);
    }
    this.#share();
    this.#match();
    this.#writeConditions();
  }

  /** Deals the seats by the levels' shares. */
  #share(): void {
    const { seats } = this.#o;
    let sum = 0;
    for (const level of this.#levels.values()) sum += sharesOf(level.spec).shares;
    this.#nominalSum = 0;
    let waiting = 0;
    for (const level of this.#levels.values()) {
      const { shares, lendable, borrowing } = sharesOf(level.spec);
      const nominal = sum === 0 ? 0 : Math.ceil((seats * shares) / sum);
      const lent = Math.round((nominal * lendable) / 100);
      level.nominal = nominal;
      level.lower = nominal - lent;
      level.upper = nominal + (borrowing === undefined ? seats : Math.round((nominal * borrowing) / 100));
      this.#nominalSum += nominal;
      const { discipline, metrics } = level;
      level.maxSeats = 0;
      if (typeof discipline === 'object') {
        const { handSize, queues, queueLengthLimit } = discipline;
        level.maxSeats = Math.max(1, Math.min(Math.ceil(nominal * maxSeatsPart), Math.floor(nominal / handSize)));
        waiting += queues * queueLengthLimit;
      }
      metrics.nominal = nominal;
      metrics.lower = level.lower;
      metrics.upper = level.upper;
      if (!level.started) {
        level.started = true;
        level.current = nominal - Math.floor(lent / 2);
      }
    }
    const now = ioNow();
    for (const kind of ['readOnly', 'mutating'] as const) {
      this.metrics.readVsWrite('waiting', kind).setDenominator(Math.max(1, waiting), now);
      this.metrics.readVsWrite('executing', kind).setDenominator(Math.max(1, this.#nominalSum), now);
    }
    this.#adjust();
  }

  /** Sorts the FlowSchemas whose level exists. */
  #match(): void {
    const schemas = [...this.#schemas.values()].filter((s) =>
      this.#levels.has(s.spec?.priorityLevelConfiguration.name ?? ''),
    );
    schemas.sort((a, b) => precedence(a) - precedence(b) || (a.metadata.name! < b.metadata.name! ? -1 : 1));
    const [exempt, catchAll] = mandatoryFlowSchemas();
    if (!schemas.some((s) => s.metadata.name === 'exempt')) schemas.unshift(exempt!);
    if (!schemas.some((s) => s.metadata.name === 'catch-all')) schemas.push(catchAll!);
    this.#flows = schemas.map(
      (s) => new Flow(s, this.#levels.get(s.spec!.priorityLevelConfiguration.name)!, this.metrics),
    );
    this.#catchAll = this.#flows.find((f) => f.name === 'catch-all')!;
    this.#candidates = new WeakMap();
  }

  // Borrowing --------------------------------------------------------------------------------------------------------------

  #adjustLater(): void {
    if (this.#closed) return;
    this.#cancelAdjustment = ioTimer(adjustmentPeriod, () => {
      this.#adjust();
      this.#reap();
      this.#adjustLater();
    });
  }

  /** Levels that are only waited for go once they are idle. */
  #reap(): void {
    for (const level of this.#levels.values())
      if (level.quiescing && level.queues.idle) {
        this.#digest();
        return;
      }
  }

  /** Gives each level what its demand of the last while makes fair. */
  #adjust(): void {
    const now = ioNow();
    const limited: PriorityLevel[] = [];
    const least = new Map<PriorityLevel, number>();
    let remaining = this.#nominalSum;
    let lowerSum = 0;
    let leastSum = 0;
    for (const level of this.#levels.values()) {
      const { metrics } = level;
      const seen = metrics.demand.reset(now);
      level.highWatermark = Math.round(seen.max);
      if (seen.duration > 0) {
        const envelope = seen.average + seen.deviation;
        level.smoothed = Math.max(envelope, smoothing * level.smoothed + (1 - smoothing) * envelope);
        metrics.average = seen.average;
        metrics.deviation = seen.deviation;
      }
      metrics.highWatermark = level.highWatermark;
      metrics.smoothed = level.smoothed;
      if (level.exempt) {
        const taken = Math.max(level.lower, level.highWatermark);
        least.set(level, taken);
        remaining -= taken;
        continue;
      }
      const atLeast = Math.max(level.lower, Math.min(level.nominal, level.highWatermark));
      least.set(level, atLeast);
      limited.push(level);
      lowerSum += level.lower;
      leastSum += atLeast;
    }
    let dealt: readonly number[] | undefined;
    const target = (level: PriorityLevel): number => Math.max(least.get(level)!, level.smoothed);
    if (remaining > leastSum) {
      try {
        const { seats, fairFrac } = allocate(
          this.#nominalSum,
          limited.map((level) => ({ target: target(level), lower: least.get(level)!, upper: level.upper })),
        );
        dealt = seats;
        this.metrics.fairFrac = fairFrac;
      } catch (error) {
        this.#o.logger.warn('seats of priority levels stay as they are', { error });
        dealt = limited.map((level) => level.current);
      }
    } else this.metrics.fairFrac = 0;
    const part = leastSum > lowerSum ? (remaining - lowerSum) / (leastSum - lowerSum) : 0;
    let i = 0;
    for (const level of this.#levels.values()) {
      let current: number;
      if (level.exempt) current = least.get(level)!;
      else {
        const at = i++;
        level.metrics.target = target(level);
        if (dealt !== undefined) current = Math.round(dealt[at]!);
        else if (remaining <= lowerSum) current = level.lower;
        else current = level.lower + Math.round((least.get(level)! - level.lower) * part);
      }
      level.current = current;
      level.metrics.current = current;
      const denominator = current > 0 ? current : Math.max(1, Math.round(this.#o.seats / 10));
      const { discipline, metrics } = level;
      metrics.demandRatio.setDenominator(denominator, now);
      metrics.seatsExecuting.setDenominator(denominator, now);
      metrics.requestsExecuting.setDenominator(denominator, now);
      metrics.requestsWaiting.setDenominator(
        typeof discipline === 'object' ? discipline.queues * discipline.queueLengthLimit : 1,
        now,
      );
      level.queues.configure(discipline, current);
    }
  }

  // Requests ---------------------------------------------------------------------------------------------------------------

  classify(user: UserInfo, info: RequestInfo): Flow {
    let candidates = this.#candidates.get(user);
    if (candidates === undefined) {
      candidates = this.#flows.flatMap((flow) => {
        const matches = flow.rules.for(user);
        return matches === undefined ? [] : [{ flow, matches }];
      });
      this.#candidates.set(user, candidates);
    }
    for (const c of candidates) if (c.matches(info)) return c.flow;
    return this.#catchAll;
  }

  /** A ticket that runs or waits; undefined: refused, and counted so. */
  begin(scope: Scope, flow: Flow, now: number): Ticket | undefined {
    const { level, metrics } = flow;
    const { estimate, watches } = estimateWork(scope, this.#o.stats, this.watches, level.maxSeats);
    if (watches !== undefined) metrics.watches().observe(watches);
    metrics.estimatedSeats.observe(Math.max(estimate.initialSeats, estimate.finalSeats));
    const started = level.queues.start(estimate, flow.of(scope.user, scope.info), scope, now);
    if (typeof started === 'object') return started;
    metrics.rejected(started).inc();
    if (!level.exempt) metrics.waited(false).observe(0);
    return undefined;
  }

  // Conditions -------------------------------------------------------------------------------------------------------------

  #writeConditions(): void {
    if (this.#source === undefined) return;
    for (const schema of this.#schemas.values()) {
      const level = schema.spec?.priorityLevelConfiguration.name ?? '';
      const found = this.#levels.has(level);
      const wanted = {
        type: 'Dangling',
        status: found ? 'False' : 'True',
        reason: found ? 'Found' : 'NotFound',
        message: found
          ? `This FlowSchema references the PriorityLevelConfiguration object named ${JSON.stringify(level)} and it exists`
          : `This FlowSchema references the PriorityLevelConfiguration object named ${JSON.stringify(level)} but there is no such object`,
      };
      const had = schema.status?.conditions?.find((c) => c.type === 'Dangling');
      if (had?.status === wanted.status && had.reason === wanted.reason && had.message === wanted.message) continue;
      this.#writeCondition(schema.metadata.name!, wanted);
    }
  }

  #writeCondition(name: string, condition: FlowSchemaCondition): void {
    const now = this.#o.clock.now();
    const writes = (this.#conditionWrites.get(name) ?? []).filter((t) => now - t < 60_000);
    if (writes.length >= maxConditionWrites) {
      this.#conditionsLater ??= this.#o.clock.setTimer(60_000, () => {
        this.#conditionsLater = undefined;
        this.#writeConditions();
      });
      return;
    }
    writes.push(now);
    this.#conditionWrites.set(name, writes);
    const work = this.#source!.applyCondition(name, condition).catch((error: unknown) => {
      if (!this.#closed) this.#o.logger.warn('the condition of a FlowSchema could not be written', { name, error });
    });
    void this.#o.clock.activity.track(work);
  }
}
