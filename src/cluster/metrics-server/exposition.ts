/** Reads the kubelet's `/metrics/resource`: of Prometheus' text format the few series that count. */
import type { NodeReading, Reading } from './samples.ts';

interface Draft {
  at: number;
  cpuSeconds: number | undefined;
  memoryBytes: number | undefined;
  startedAt: number | undefined;
}

const line = /^(\w+)(?:\{(.*)\})? (\S+)(?: (-?\d+))?$/;
const label = /(\w+)="((?:[^"\\]|\\.)*)"/g;

function labelsOf(text: string): Record<string, string> {
  const out: Record<string, string> = {};
  for (const [, name, value] of text.matchAll(label))
    out[name!] = value!.replaceAll(/\\(.)/g, (_, c: string) => (c === 'n' ? '\n' : c));
  return out;
}

function readingOf(d: Draft | undefined, needsMemory: boolean): Reading | undefined {
  if (d?.cpuSeconds === undefined || d.memoryBytes === undefined) return undefined;
  if (needsMemory && d.memoryBytes === 0) return undefined;
  return {
    at: d.at,
    cpuSeconds: d.cpuSeconds,
    memoryBytes: d.memoryBytes,
    ...(d.startedAt === undefined ? {} : { startedAt: d.startedAt }),
  };
}

/** `now`: the time of samples that carry none. What cannot be read is left out. */
export function parseResourceMetrics(text: string, now: number): NodeReading {
  const draft = (): Draft => ({ at: now, cpuSeconds: undefined, memoryBytes: undefined, startedAt: undefined });
  let node: Draft | undefined;
  const pods = new Map<string, Map<string, Draft>>();
  const containerOf = (labels: Record<string, string>): Draft | undefined => {
    const { namespace, pod, container } = labels;
    if (namespace === undefined || pod === undefined || container === undefined || container === '') return undefined;
    const key = `${namespace}/${pod}`;
    let containers = pods.get(key);
    if (containers === undefined) pods.set(key, (containers = new Map()));
    let d = containers.get(container);
    if (d === undefined) containers.set(container, (d = draft()));
    return d;
  };
  for (const raw of text.split('\n')) {
    if (raw === '' || raw.startsWith('#')) continue;
    const m = line.exec(raw);
    if (m === null) continue;
    const value = Number(m[3]);
    if (!Number.isFinite(value)) continue;
    const at = m[4] === undefined ? now : Number(m[4]);
    switch (m[1]) {
      case 'node_cpu_usage_seconds_total':
        node ??= draft();
        node.cpuSeconds = value;
        node.at = at;
        break;
      case 'node_memory_working_set_bytes':
        (node ??= draft()).memoryBytes = value;
        break;
      case 'container_cpu_usage_seconds_total': {
        const d = containerOf(labelsOf(m[2] ?? ''));
        if (d === undefined) break;
        d.cpuSeconds = value;
        d.at = at;
        break;
      }
      case 'container_memory_working_set_bytes': {
        const d = containerOf(labelsOf(m[2] ?? ''));
        if (d !== undefined) d.memoryBytes = value;
        break;
      }
      case 'container_start_time_seconds': {
        const d = containerOf(labelsOf(m[2] ?? ''));
        if (d !== undefined) d.startedAt = Math.round(value * 1000);
        break;
      }
    }
  }
  const out = new Map<string, Map<string, Reading>>();
  for (const [key, drafts] of pods) {
    const containers = new Map<string, Reading>();
    for (const [name, d] of drafts) {
      const reading = readingOf(d, true);
      if (reading !== undefined) containers.set(name, reading);
    }
    // A pod of which one container is not told would look smaller than it is.
    if (containers.size === drafts.size) out.set(key, containers);
  }
  return { node: readingOf(node, false), pods: out };
}
