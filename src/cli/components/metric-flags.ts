/** Flags of which metrics a component tells. */
import type { MetricFlags } from '../../cluster/processes/metric-choice.ts';
import type { Flag } from '../flags.ts';
import type { Values } from './component.ts';

export const metricFlags: readonly Flag[] = [
  { name: 'disabled-metrics', kind: 'list', value: 'METRIC,…', help: 'metrics that are not told' },
  {
    name: 'allow-metric-labels',
    kind: 'array',
    value: 'METRIC,LABEL=VALUE,…',
    help: 'values of a label that are told; others are counted together as unexpected. Repeated for more',
  },
  {
    name: 'allow-metric-labels-manifest',
    kind: 'string',
    value: 'FILE',
    help: 'the same as a mapping in YAML: "METRIC,LABEL": "VALUE,…"',
  },
  {
    name: 'show-hidden-metrics-for-version',
    kind: 'string',
    value: 'VERSION',
    help: 'the release before this one; no metric is hidden, so nothing more is shown',
  },
];

export function metricValues(v: Values): MetricFlags {
  return {
    disabled: v.list('disabled-metrics'),
    allowLabels: v.list('allow-metric-labels'),
    allowLabelsManifest: v.string('allow-metric-labels-manifest'),
    showHiddenForVersion: v.string('show-hidden-metrics-for-version'),
  };
}
