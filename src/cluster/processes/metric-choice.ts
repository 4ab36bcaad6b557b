/** Which metrics are told, from flags: `--disabled-metrics`, `--allow-metric-labels` and its file, `--show-hidden-metrics-for-version`. */
import type { MetricChoice } from '../../base/metric-choice.ts';
import { kubernetesVersion } from '../version.ts';
import { loadYaml } from '../yaml.ts';
import { readNamed, StartError } from './environment.ts';

export interface MetricFlags {
  readonly disabled: readonly string[];
  /** Each as it was given: one `metric,label=value,…`, or several of them in double quotes. */
  readonly allowLabels: readonly string[];
  readonly allowLabelsManifest: string | undefined;
  readonly showHiddenForVersion: string | undefined;
}

/** `a,b=c` or, with more than one `=`, quoted fields with commas between. */
function pairsOf(text: string): [string, string][] {
  const fields =
    text.split('=').length <= 2
      ? [text.replace(/^"|"$/g, '')]
      : [...text.matchAll(/"((?:[^"]|"")*)"|([^",][^,]*)/g)].map((m) => (m[1] ?? m[2] ?? '').replaceAll('""', '"'));
  return fields.map((field) => {
    const at = field.indexOf('=');
    if (at < 0)
      throw new StartError(
        `invalid argument "${text}" for "--allow-metric-labels": ${field} must be formatted as key=value`,
      );
    return [field.slice(0, at), field.slice(at + 1)];
  });
}

const keyPattern = /^[a-zA-Z_:][a-zA-Z0-9_:]*,[a-zA-Z_][a-zA-Z0-9_]*$/;

function checkVersion(text: string): void {
  const [, major, minor] = /^v(\d+)\.(\d+)/.exec(kubernetesVersion)!;
  const previous = `${major}.${Number(minor) - 1}`;
  if (text !== previous)
    throw new StartError(
      `metrics.showHiddenMetricsForVersion: Invalid value: ${JSON.stringify(text)}: must be omitted or have the value '${previous}'; only the previous minor version is allowed`,
    );
}

/** Undefined: all of them as they are. @throws {StartError} */
export async function readMetricChoice(flags: MetricFlags): Promise<MetricChoice | undefined> {
  if ((flags.showHiddenForVersion ?? '') !== '') checkVersion(flags.showHiddenForVersion!);
  let pairs = flags.allowLabels.flatMap(pairsOf);
  const manifest = flags.allowLabelsManifest ?? '';
  if (pairs.length > 0 && manifest !== '')
    throw new StartError(
      'metrics: Invalid value: cannot specify both allowListMapping and allowListMappingManifest (--allow-metric-labels, --allow-metric-labels-manifest)',
    );
  if (manifest !== '') {
    const read = await loadYaml(await readNamed('allow-metric-labels-manifest', manifest));
    const given = (read as { allowListMapping?: unknown } | null)?.allowListMapping ?? read;
    if (typeof given !== 'object' || given === null)
      throw new StartError(`${manifest} (--allow-metric-labels-manifest) holds no allowListMapping`);
    pairs = Object.entries(given).map(([key, value]) => [key, String(value)]);
  }
  for (const [key] of pairs)
    if (!keyPattern.test(key))
      throw new StartError(
        `metrics.allowListMapping: Invalid value: ${JSON.stringify(Object.fromEntries(pairs))}: must have keys with format \`metricName,labelName\` where metricName matches "[a-zA-Z_:][a-zA-Z0-9_:]*" and labelName matches "[a-zA-Z_][a-zA-Z0-9_]*"`,
      );
  for (const name of flags.disabled)
    if (!/^[a-zA-Z_:][a-zA-Z0-9_:]*$/.test(name))
      throw new StartError(
        `metrics.disabledMetrics: Invalid value: ${JSON.stringify(flags.disabled)}: must be fully qualified metric names matching "^[a-zA-Z_:][a-zA-Z0-9_:]*$", got ${JSON.stringify(name)}`,
      );
  const disabled = new Set(flags.disabled);
  if (disabled.size === 0 && pairs.length === 0) return undefined;
  const allowed = new Map<string, Map<string, ReadonlySet<string>>>();
  for (const [key, values] of pairs) {
    const [metric, label] = key.split(',') as [string, string];
    const labels = allowed.get(metric) ?? new Map<string, ReadonlySet<string>>();
    labels.set(label, new Set(values.split(',')));
    allowed.set(metric, labels);
  }
  return { disabled, allowed };
}
