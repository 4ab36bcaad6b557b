/** `Stabilizer`: holds an autoscaler's proposals against its recent ones and against how fast it may scale. */
import type { HorizontalPodAutoscaler, HPAScalingRules } from '../../api/types/index.gen.ts';

interface Sample {
  readonly value: number;
  readonly at: number;
}

interface History {
  recommendations: Sample[];
  up: Sample[];
  down: Sample[];
}

interface FilledRules {
  readonly stabilizationWindowSeconds: number;
  readonly selectPolicy: string;
  readonly policies: readonly { type: string; value: number; periodSeconds: number }[];
}

export interface Normalized {
  readonly replicas: number;
  readonly ableToScale: readonly [reason: string, message: string];
  readonly limited: readonly [limited: boolean, reason: string, message: string];
}

export interface NormalizeInput {
  readonly autoscaler: HorizontalPodAutoscaler;
  readonly key: string;
  readonly current: number;
  readonly desired: number;
  readonly minReplicas: number;
  readonly now: number;
}

const ready = ['ReadyForNewScale', 'recommended size matches current size'] as const;
const downStabilized = [
  'ScaleDownStabilized',
  'recent recommendations were higher than current one, applying the highest recent recommendation',
] as const;
const upStabilized = [
  'ScaleUpStabilized',
  'recent recommendations were lower than current one, applying the lowest recent recommendation',
] as const;
const withinRange = ['DesiredWithinRange', 'the desired count is within the acceptable range'] as const;
const upLimit = ['ScaleUpLimit', 'the desired replica count is increasing faster than the maximum scale rate'] as const;
const downLimit = [
  'ScaleDownLimit',
  'the desired replica count is decreasing faster than the maximum scale rate',
] as const;
const tooMany = ['TooManyReplicas', 'the desired replica count is more than the maximum replica count'] as const;
const tooFew = ['TooFewReplicas', 'the desired replica count is less than the minimum replica count'] as const;

/** Samples that no window reaches are dropped, so that the history is bounded by time and interval. */
const maxWindowMs = 3600_000;

export class Stabilizer {
  readonly #downscaleWindowMs: number;
  readonly #histories = new Map<string, History>();

  constructor(downscaleWindowMs: number) {
    this.#downscaleWindowMs = downscaleWindowMs;
  }

  forget(key: string): void {
    this.#histories.delete(key);
  }

  #history(key: string): History {
    let history = this.#histories.get(key);
    if (history === undefined) {
      history = { recommendations: [], up: [], down: [] };
      this.#histories.set(key, history);
    }
    return history;
  }

  /** The size at the first look counts as a recommendation, so that a restart does not scale down at once. */
  begin(key: string, current: number, now: number): void {
    const { recommendations } = this.#history(key);
    if (recommendations.length === 0) recommendations.push({ value: current, at: now });
  }

  /** The target has been scaled. */
  scaled(key: string, from: number, to: number, now: number): void {
    const history = this.#history(key);
    const events = to > from ? history.up : history.down;
    events.push({ value: Math.abs(to - from), at: now });
    const old = events.findIndex((e) => now - e.at <= maxWindowMs);
    if (old > 0) events.splice(0, old);
  }

  normalize(input: NormalizeInput): Normalized {
    const { recommendations } = this.#history(input.key);
    const result = input.autoscaler.spec.behavior === undefined ? this.#plain(input) : this.#withBehavior(input);
    recommendations.push({ value: input.desired, at: input.now });
    const kept = recommendations.findIndex((r) => input.now - r.at <= maxWindowMs);
    if (kept > 0) recommendations.splice(0, kept);
    return result;
  }

  #plain(input: NormalizeInput): Normalized {
    const { key, desired, current, minReplicas, now } = input;
    let stable = desired;
    for (const r of this.#history(key).recommendations)
      if (r.at >= now - this.#downscaleWindowMs) stable = Math.max(stable, r.value);
    const { maxReplicas } = input.autoscaler.spec;
    const limit = Math.max(2 * current, 4);
    const [most, why] = maxReplicas > limit ? ([limit, upLimit] as const) : ([maxReplicas, tooMany] as const);
    const [replicas, reason] =
      stable < minReplicas ? [minReplicas, tooFew] : stable > most ? [most, why] : [stable, withinRange];
    return {
      replicas,
      ableToScale: stable === desired ? ready : downStabilized,
      limited: [replicas !== stable, reason[0], reason[1]],
    };
  }

  #withBehavior(input: NormalizeInput): Normalized {
    const { key, desired, current, minReplicas, now, autoscaler } = input;
    const history = this.#history(key);
    const up = filled(autoscaler.spec.behavior?.scaleUp, defaultUp);
    const down = filled(autoscaler.spec.behavior?.scaleDown, {
      ...defaultDown,
      stabilizationWindowSeconds: Math.trunc(this.#downscaleWindowMs / 1000),
    });
    let lowest = desired;
    let highest = desired;
    for (const r of history.recommendations) {
      if (r.at > now - up.stabilizationWindowSeconds * 1000) lowest = Math.min(lowest, r.value);
      if (r.at > now - down.stabilizationWindowSeconds * 1000) highest = Math.max(highest, r.value);
    }
    const stable = Math.min(Math.max(current, lowest), highest);
    const ableToScale = stable === desired ? ready : desired >= current ? upStabilized : downStabilized;

    let replicas = stable;
    let reason: readonly [string, string] = withinRange;
    if (stable > current) {
      const limit = Math.max(current, rateLimit(current, history, up, now, 1));
      const { maxReplicas } = autoscaler.spec;
      const [most, why] = maxReplicas > limit ? ([limit, upLimit] as const) : ([maxReplicas, tooMany] as const);
      if (stable > most) [replicas, reason] = [most, why];
    } else if (stable < current) {
      const limit = Math.min(current, rateLimit(current, history, down, now, -1));
      const [least, why] = minReplicas < limit ? ([limit, downLimit] as const) : ([minReplicas, tooFew] as const);
      if (stable < least) [replicas, reason] = [least, why];
    }
    return { replicas, ableToScale, limited: [replicas !== stable, reason[0], reason[1]] };
  }
}

const defaultUp: FilledRules = {
  stabilizationWindowSeconds: 0,
  selectPolicy: 'Max',
  policies: [
    { type: 'Pods', value: 4, periodSeconds: 15 },
    { type: 'Percent', value: 100, periodSeconds: 15 },
  ],
};
const defaultDown: FilledRules = {
  stabilizationWindowSeconds: 300,
  selectPolicy: 'Max',
  policies: [{ type: 'Percent', value: 100, periodSeconds: 15 }],
};

function filled(rules: HPAScalingRules | undefined, defaults: FilledRules): FilledRules {
  return {
    stabilizationWindowSeconds: rules?.stabilizationWindowSeconds ?? defaults.stabilizationWindowSeconds,
    selectPolicy: rules?.selectPolicy ?? defaults.selectPolicy,
    policies: rules?.policies ?? defaults.policies,
  };
}

function changedWithin(events: readonly Sample[], periodSeconds: number, now: number): number {
  let sum = 0;
  for (const e of events) if (e.at > now - periodSeconds * 1000) sum += e.value;
  return sum;
}

/** The farthest size that the policies let through; `direction` 1 for up, -1 for down. */
function rateLimit(current: number, history: History, rules: FilledRules, now: number, direction: 1 | -1): number {
  if (rules.selectPolicy === 'Disabled') return current;
  const proposals = rules.policies.map(({ type, value, periodSeconds }) => {
    const start =
      current - changedWithin(history.up, periodSeconds, now) + changedWithin(history.down, periodSeconds, now);
    if (type === 'Pods') return start + direction * value;
    const exact = start * (1 + (direction * value) / 100);
    // Rounded so that something changes: up when growing, down when shrinking.
    return direction === 1 ? Math.ceil(exact) : Math.trunc(exact);
  });
  // The policy with the greatest change is the default, that with the least an option.
  const farthest = rules.selectPolicy !== 'Min';
  return (direction === 1) === farthest ? Math.max(...proposals) : Math.min(...proposals);
}
