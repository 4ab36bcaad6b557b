import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseResourceMetrics } from './exposition.ts';
import { Samples } from './samples.ts';

const now = 1_000_000;

/** What a kubelet says of a container that has used so many CPU seconds. */
function told(at: number, cpu: number, startedAt: number, more = ''): string {
  const labels = '{container="c",namespace="ns",pod="p"}';
  return `# HELP container_cpu_usage_seconds_total [STABLE]
# TYPE container_cpu_usage_seconds_total counter
container_cpu_usage_seconds_total${labels} ${cpu} ${at}
container_memory_working_set_bytes${labels} 1.048576e+06 ${at}
container_start_time_seconds${labels} ${startedAt / 1000}
node_cpu_usage_seconds_total ${cpu * 2} ${at}
node_memory_working_set_bytes 2.097152e+06 ${at}
pod_cpu_usage_seconds_total{namespace="ns",pod="p"} ${cpu} ${at}
nonsense{
${more}`;
}

test('CPU is a rate between two readings, or since the start of what has only just begun', () => {
  const samples = new Samples(15_000);
  samples.add('n', parseResourceMetrics(told(now, 100, now - 3_600_000), now));
  assert.equal(samples.node('n'), undefined, 'one reading is not enough');
  assert.equal(samples.pods('n').size, 0);
  samples.add('n', parseResourceMetrics(told(now + 15_000, 103, now - 3_600_000), now));
  assert.deepEqual(samples.node('n'), {
    timestamp: now + 15_000,
    windowMs: 15_000,
    cpuNanoCores: 400_000_000,
    memoryBytes: 2_097_152,
  });
  assert.deepEqual(samples.pods('n').get('ns/p'), {
    timestamp: now + 15_000,
    windowMs: 15_000,
    containers: [{ name: 'c', cpuNanoCores: 200_000_000, memoryBytes: 1_048_576 }],
  });
  // Restarted 12 seconds ago: counted from there, not from what the old one had used.
  samples.add('n', parseResourceMetrics(told(now + 30_000, 6, now + 18_000), now));
  assert.deepEqual(samples.pods('n').get('ns/p')?.containers[0]?.cpuNanoCores, 500_000_000);
  samples.add('n', parseResourceMetrics(told(now + 45_000, 7, now + 40_000), now));
  assert.equal(samples.pods('n').size, 0, 'too young to be told');
});

test('a pod of which a container is missing is not told at all', () => {
  const other = (cpu: number): string =>
    `container_cpu_usage_seconds_total{container="d\\"",namespace="ns",pod="p"} ${cpu}\n`;
  assert.equal(parseResourceMetrics(told(now, 1, now, other(1)), now).pods.size, 0);
  const memory = 'container_memory_working_set_bytes{container="d\\"",namespace="ns",pod="p"} 4096\n';
  const reading = parseResourceMetrics(told(now, 1, now, other(1) + memory), now);
  assert.deepEqual([...reading.pods.get('ns/p')!.keys()], ['c', 'd"']);
});
