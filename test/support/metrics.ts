/** Prometheus' text format as a test looks at it: families with their types, labels and values. */
import assert from 'node:assert/strict';

/** By name: its type, and the labels of each of its series in the order of the alphabet; '' where it may have none yet. */
export type ExpectedFamilies = Readonly<Record<string, readonly [type: string, labels: string]>>;

export interface Metric {
  readonly type: string;
  readonly help: string;
  readonly samples: { readonly labels: Readonly<Record<string, string>>; readonly value: number }[];
}

/** By name; throws for what is no text format. */
export function metricsIn(text: string): Map<string, Metric> {
  const all = new Map<string, Metric>();
  let help = '';
  for (const line of text.split('\n')) {
    const h = /^# HELP (\S+) (.*)$/.exec(line);
    if (h !== null) help = h[2]!;
    const t = /^# TYPE (\S+) (\S+)$/.exec(line);
    if (t !== null) {
      assert.equal(all.has(t[1]!), false, `${t[1]} stands twice`);
      all.set(t[1]!, { type: t[2]!, help, samples: [] });
    }
    const s = /^([a-zA-Z_:]+)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (line.startsWith('#') || s === null) continue;
    const metric = all.get(s[1]!) ?? all.get(s[1]!.replace(/_(?:bucket|sum|count)$/, ''));
    assert.ok(metric !== undefined, line);
    const labels = Object.fromEntries(
      [...(s[2] ?? '').matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map((m) => [m[1]!, m[2]!]),
    );
    metric.samples.push({ labels, value: Number(s[3]) });
  }
  return all;
}

/** What is not as expected, a line each. */
export function wrongFamilies(metrics: ReadonlyMap<string, Metric>, expected: ExpectedFamilies): string[] {
  const wrong: string[] = [];
  for (const [name, [type, labels]] of Object.entries(expected)) {
    const metric = metrics.get(name);
    if (metric === undefined) {
      wrong.push(`${name} is missing`);
      continue;
    }
    if (metric.type !== type) wrong.push(`${name} is a ${metric.type}, not a ${type}`);
    if (metric.samples.length === 0 && labels !== '') wrong.push(`${name} has no samples`);
    for (const { labels: own } of metric.samples) {
      const names = Object.keys(own)
        .filter((l) => l !== 'le' || type !== 'histogram')
        .sort()
        .join(',');
      if (names !== labels) {
        wrong.push(`${name} has the labels ${names}, not ${labels}`);
        break;
      }
    }
  }
  return wrong;
}
