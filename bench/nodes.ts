/**
 * A node with real containers: from the creation of a pod to Running beside what the runtime itself takes for the same, sixty pods at
 * once, and what kubelet and proxy add to an idle control plane with fifty pods. Needs root, containerd and the bundle; runs in
 * namespaces of its own. `node bench/nodes.ts` runs it alone.
 */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import type { BenchOptions, BenchResult } from './run.ts';

export async function run(options: BenchOptions): Promise<readonly BenchResult[]> {
  // Whoever enters namespaces becomes another process.
  const args = [
    join(import.meta.dirname, 'support/node-pods.ts'),
    String(options.idleSeconds),
    String(options.runs ?? 20),
  ];
  const child = spawn(process.execPath, ['--no-warnings', ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  child.stdout.on('data', (d: Buffer) => (text += d.toString()));
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  const rows = /^rows (.*)$/m.exec(text)?.[1];
  if (rows === undefined)
    return [{ name: 'nodes', value: Number.NaN, unit: '', failed: `ended with ${code}: ${text.trim().slice(-300)}` }];
  return JSON.parse(rows) as BenchResult[];
}

if (import.meta.main)
  for (const r of await run({ idleSeconds: Number(process.argv[2] ?? 60), runs: undefined }))
    console.log(r.name.padEnd(72), r.failed ?? `${r.value.toFixed(2)} ${r.unit}`, r.goal ?? '');
