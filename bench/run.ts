/**
 * `npm run bench [-- name…]`: runs the benchmarks, prints a table and writes JSON below `bench/results/`. They are not tests:
 * nothing fails here. Each file of this folder is one benchmark that exports `run`.
 */
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { join } from 'node:path';

export interface BenchResult {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  /** What the project wants of this figure, for the table. */
  readonly goal?: string;
}

interface Bench {
  run(): Promise<readonly BenchResult[]>;
}

const here = import.meta.dirname;
const wanted = process.argv.slice(2);
const files = readdirSync(here)
  .filter((f) => f.endsWith('.ts') && f !== 'run.ts')
  .filter((f) => wanted.length === 0 || wanted.some((w) => f.includes(w)))
  .sort();

function figure(value: number): string {
  if (Number.isInteger(value)) return value.toLocaleString('en');
  return Math.abs(value) >= 100 ? Math.round(value).toLocaleString('en') : value.toPrecision(3);
}

console.log(
  `${cpus().length} × ${cpus()[0]?.model ?? 'cpu'}, ${Math.round(totalmem() / 2 ** 30)} GiB, Node ${process.version}\n`,
);
const all: Record<string, readonly BenchResult[]> = {};
for (const file of files) {
  const bench = (await import(join(here, file))) as Partial<Bench>;
  if (bench.run === undefined) continue;
  console.log(file.replace(/\.ts$/, ''));
  const results = await bench.run();
  all[file] = results;
  for (const r of results)
    console.log(
      `  ${r.name.padEnd(64)} ${figure(r.value).padStart(12)} ${r.unit}${r.goal === undefined ? '' : `   (${r.goal})`}`,
    );
}
mkdirSync(join(here, 'results'), { recursive: true });
writeFileSync(
  join(here, 'results', 'latest.json'),
  `${JSON.stringify({ node: process.version, cpus: cpus().length, results: all }, null, 2)}\n`,
);
