/**
 * Counters, gauges and histograms that cost next to nothing where they are counted, and Prometheus' text format for when
 * somebody asks. One set of them an instance of a component.
 */
import { labelText } from './prometheus-text.ts';

export type Labels = Readonly<Record<string, string>>;

/** A family of samples in the text format. */
export interface Family {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge' | 'histogram' | 'summary';
  /** Lines `name{labels} value`. */
  lines(): Iterable<string>;
}

/** The labels by name; where they are made, not where they are written. */
function sorted(labels: Labels): Labels {
  return Object.fromEntries(Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** As Go prints the shortest form of a number: `1e+06`, `0.00025`, `2.5e-05`. */
function number(value: number): string {
  if (value === Infinity) return '+Inf';
  if (value === 0) return '0';
  const size = Math.abs(value);
  if (size >= 1e-4 && size < 1e6) return String(value);
  if (!Number.isFinite(value)) return String(value).replace('Infinity', 'Inf');
  return value.toExponential().replace(/(?<=e[-+])(?=\d$)/, '0');
}

/** One series of a counter or gauge. */
export class Value {
  value = 0;

  inc(by = 1): void {
    this.value += by;
  }

  dec(by = 1): void {
    this.value -= by;
  }
}

/** At most this many series a family; what comes on top is counted under no labels of its own. */
const maxSeries = 10_000;

/** A counter or gauge with labels; a series is found by a key that the caller keeps short. */
export class Vector implements Family {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge';
  readonly #series = new Map<string, { text: string; value: Value }>();

  constructor(type: 'counter' | 'gauge', name: string, help: string) {
    this.type = type;
    this.name = name;
    this.help = help;
  }

  series(key: string, labels: () => Labels): Value {
    let found = this.#series.get(key);
    if (found === undefined) {
      if (this.#series.size >= maxSeries) return new Value();
      found = { text: labelText(sorted(labels())), value: new Value() };
      this.#series.set(key, found);
    }
    return found.value;
  }

  *lines(): Iterable<string> {
    for (const { text, value } of this.#series.values()) yield `${this.name}${text} ${number(value.value)}`;
  }
}

/** One series of a histogram. */
export class Distribution {
  readonly #bounds: readonly number[];
  readonly counts: number[];
  sum = 0;
  count = 0;

  constructor(bounds: readonly number[]) {
    this.#bounds = bounds;
    this.counts = new Array<number>(bounds.length).fill(0);
  }

  observe(value: number): void {
    this.sum += value;
    this.count++;
    const bounds = this.#bounds;
    for (let i = 0; i < bounds.length; i++) {
      if (value <= bounds[i]!) {
        this.counts[i]!++;
        return;
      }
    }
  }
}

function* bucketLines(name: string, labels: Labels, bounds: readonly number[], value: Distribution): Iterable<string> {
  let total = 0;
  for (let i = 0; i < bounds.length; i++) {
    total += value.counts[i]!;
    yield `${name}_bucket${labelText({ ...labels, le: number(bounds[i]!) })} ${total}`;
  }
  yield `${name}_bucket${labelText({ ...labels, le: '+Inf' })} ${value.count}`;
  yield `${name}_sum${labelText(labels)} ${number(value.sum)}`;
  yield `${name}_count${labelText(labels)} ${value.count}`;
}

export class HistogramVector implements Family {
  readonly name: string;
  readonly help: string;
  readonly type = 'histogram';
  readonly #bounds: readonly number[];
  readonly #series = new Map<string, { labels: Labels; value: Distribution }>();

  constructor(name: string, help: string, bounds: readonly number[]) {
    this.name = name;
    this.help = help;
    this.#bounds = bounds;
  }

  series(key: string, labels: () => Labels): Distribution {
    let found = this.#series.get(key);
    if (found === undefined) {
      found = { labels: sorted(labels()), value: new Distribution(this.#bounds) };
      if (this.#series.size < maxSeries) this.#series.set(key, found);
    }
    return found.value;
  }

  *lines(): Iterable<string> {
    for (const { labels, value } of this.#series.values()) yield* bucketLines(this.name, labels, this.#bounds, value);
  }
}

/** Observations of which the latest are kept for quantiles. */
export class Recent {
  readonly #kept: Float64Array;
  sum = 0;
  count = 0;

  constructor(size: number) {
    this.#kept = new Float64Array(size);
  }

  observe(value: number): void {
    this.#kept[this.count % this.#kept.length] = value;
    this.sum += value;
    this.count++;
  }

  quantiles(of: readonly number[]): number[] {
    const sorted = this.#kept.slice(0, Math.min(this.count, this.#kept.length)).sort();
    return of.map((q) => sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN);
  }
}

/** Quantiles of the latest observations, with their sum and count since the start. */
export class SummaryVector implements Family {
  readonly name: string;
  readonly help: string;
  readonly type = 'summary';
  readonly #quantiles: readonly number[];
  readonly #size: number;
  readonly #series = new Map<string, { labels: Labels; value: Recent }>();

  /** `size`: how many observations of a series are kept */
  constructor(name: string, help: string, quantiles: readonly number[], size = 512) {
    this.name = name;
    this.help = help;
    this.#quantiles = quantiles;
    this.#size = size;
  }

  series(key: string, labels: () => Labels): Recent {
    let found = this.#series.get(key);
    if (found === undefined) {
      found = { labels: sorted(labels()), value: new Recent(this.#size) };
      if (this.#series.size < maxSeries) this.#series.set(key, found);
    }
    return found.value;
  }

  *lines(): Iterable<string> {
    for (const { labels, value } of this.#series.values()) {
      const values = value.quantiles(this.#quantiles);
      for (const [i, q] of this.#quantiles.entries())
        yield `${this.name}${labelText({ ...labels, quantile: number(q) })} ${number(values[i]!)}`;
      yield `${this.name}_sum${labelText(labels)} ${number(value.sum)}`;
      yield `${this.name}_count${labelText(labels)} ${value.count}`;
    }
  }
}

/** A histogram whose series are read when they are asked for. */
export function distributions(
  name: string,
  help: string,
  bounds: readonly number[],
  read: () => Iterable<readonly [Labels, Distribution]>,
): Family {
  return {
    name,
    help,
    type: 'histogram',
    *lines() {
      for (const [labels, value] of read()) yield* bucketLines(name, sorted(labels), bounds, value);
    },
  };
}

/** The same series under another, older name. */
export function alsoNamed(name: string, help: string, family: Family): Family {
  return {
    name,
    help,
    type: family.type,
    *lines() {
      for (const line of family.lines()) yield name + line.slice(family.name.length);
    },
  };
}

/** A gauge or counter whose value is read when it is asked for. */
export function computed(
  type: 'counter' | 'gauge',
  name: string,
  help: string,
  read: () => Iterable<readonly [Labels, number]>,
): Family {
  return {
    name,
    help,
    type,
    *lines() {
      for (const [labels, value] of read()) yield `${name}${labelText(sorted(labels))} ${number(value)}`;
    },
  };
}

/** The text format, version 0.0.4. */
export function expose(families: Iterable<Family>, help: (family: Family) => string = (f) => f.help): string {
  const out: string[] = [];
  for (const f of families) {
    out.push(`# HELP ${f.name} ${help(f)}`, `# TYPE ${f.name} ${f.type}`);
    for (const line of f.lines()) out.push(line);
  }
  return `${out.join('\n')}\n`;
}
