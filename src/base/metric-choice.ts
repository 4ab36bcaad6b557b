/**
 * `--disabled-metrics` and `--allow-metric-labels`: families that are not told, and labels whose values are counted together as
 * `unexpected` unless they are listed.
 */
import type { Family } from './metric-families.ts';

export interface MetricChoice {
  readonly disabled: ReadonlySet<string>;
  /** By family and label. */
  readonly allowed: ReadonlyMap<string, ReadonlyMap<string, ReadonlySet<string>>>;
}

const labelPattern = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"/g;

function sample(text: string): number {
  return text === '+Inf' ? Infinity : text === '-Inf' ? -Infinity : Number(text);
}

function unexpected(family: Family, labels: ReadonlyMap<string, ReadonlySet<string>>): Family {
  return {
    name: family.name,
    help: family.help,
    type: family.type,
    *lines() {
      const sums = new Map<string, number>();
      for (const line of family.lines()) {
        const at = line.lastIndexOf(' ');
        const series = line.slice(0, at).replace(labelPattern, (whole, label: string, value: string) => {
          const allowed = labels.get(label);
          return allowed === undefined || allowed.has(value) ? whole : `${label}="unexpected"`;
        });
        sums.set(series, (sums.get(series) ?? 0) + sample(line.slice(at + 1)));
      }
      for (const [series, value] of sums) yield `${series} ${value === Infinity ? '+Inf' : value}`;
    },
  };
}

/** What of the families is told, and how. */
export function chosenMetrics(families: readonly Family[], choice: MetricChoice | undefined): readonly Family[] {
  if (choice === undefined) return families;
  return families
    .filter((f) => !choice.disabled.has(f.name))
    .map((f) => {
      const labels = choice.allowed.get(f.name);
      return labels === undefined ? f : unexpected(f, labels);
    });
}
