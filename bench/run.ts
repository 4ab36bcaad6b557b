/**
 * `npm run bench [-- NAME… --idle SECONDS --runs N]`: runs the benchmarks, prints one table with the goal beside each figure and
 * writes JSON below `bench/results/`. They are not tests: a figure that misses its goal is told, nothing fails. Each file of
 * this folder is one benchmark that exports `run`; docs/benchmarks.md says what the rows mean.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

export interface BenchResult {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  /** What the project wants of this figure, for the table. */
  readonly goal?: string;
  /** The same of upstream's own binaries, measured in turns with it. */
  readonly upstream?: number;
  /** What went wrong, where the figure is not one: the row says so aloud. */
  readonly failed?: string;
}

export interface BenchOptions {
  /** How long a process idles before its memory is read; default 60. */
  readonly idleSeconds: number;
  /** How often a benchmark with runs takes its figure, for the median; its own number when left out. */
  readonly runs: number | undefined;
}

interface Bench {
  run(options: BenchOptions): Promise<readonly BenchResult[]>;
}

const here = import.meta.dirname;
const latest = join(here, 'results', 'latest.json');

function figure(value: number): string {
  if (Number.isInteger(value)) return value.toLocaleString('en');
  return Math.abs(value) >= 100 ? Math.round(value).toLocaleString('en') : value.toPrecision(3);
}

function line(r: BenchResult): string {
  if (r.failed !== undefined) return `  ${r.name.padEnd(72)} !! FAILED: ${r.failed}`;
  const beside =
    r.upstream === undefined
      ? ''
      : ` upstream ${figure(r.upstream).padStart(8)}, ratio ${(r.value / r.upstream).toPrecision(3).padEnd(6)}`;
  return `  ${r.name.padEnd(72)} ${figure(r.value).padStart(10)} ${r.unit.padEnd(12)}${beside} ${r.goal ?? ''}`.trimEnd();
}

/** Results of benchmarks that did not run this time stay in the file, each with the time it was taken. */
function write(results: Readonly<Record<string, readonly BenchResult[]>>): void {
  let before: { results?: object; measuredAt?: object } = {};
  try {
    before = JSON.parse(readFileSync(latest, 'utf8')) as typeof before;
  } catch {
    // The first time, or not JSON: written anew.
  }
  const at = new Date().toISOString();
  const file = {
    node: process.version,
    cpus: cpus().length,
    cpu: cpus()[0]?.model ?? '',
    measuredAt: { ...before.measuredAt, ...Object.fromEntries(Object.keys(results).map((name) => [name, at])) },
    results: { ...before.results, ...results },
  };
  mkdirSync(join(here, 'results'), { recursive: true });
  writeFileSync(latest, `${JSON.stringify(file, null, 2)}\n`);
}

const all = readdirSync(here)
  .filter((f) => f.endsWith('.ts') && f !== 'run.ts')
  .map((f) => f.replace(/\.ts$/, ''))
  .sort();

const help = `npm run bench [-- NAME… [--idle SECONDS] [--runs N]]

Benchmarks: ${all.join(', ')}. Without a NAME all of them run, which takes about a quarter of an hour.

  --idle SECONDS   idle before memory is read (default 60, what the goals are about; the row says the true number)
  --runs N         runs whose median is printed, where a benchmark has runs
  --help           this

Results go to bench/results/latest.json as well. start, http and watch run the bundle in dist/ (npm run build; KNARR_DIST names
another), http needs h2load (Debian's nghttp2-client). KNARR_BENCH_KUBE_APISERVER and KNARR_BENCH_ETCD name upstream's binaries for
http, which then measures them as well, in turns. docs/benchmarks.md explains the rows.`;

interface Command {
  readonly names: readonly string[];
  readonly options: BenchOptions;
}

/** Undefined: something else was printed, help or what is wrong. */
function command(): Command | undefined {
  const wrong = (message: string): undefined => {
    console.error(`bench: ${message}\n\n${help}`);
    process.exitCode = 2;
  };
  let parsed;
  try {
    parsed = parseArgs({
      allowPositionals: true,
      options: { idle: { type: 'string' }, runs: { type: 'string' }, help: { type: 'boolean', short: 'h' } },
    });
  } catch (e) {
    return wrong((e as Error).message);
  }
  const { values, positionals } = parsed;
  if (values.help === true) {
    console.log(help);
    return undefined;
  }
  const idleSeconds = Number(values.idle ?? 60);
  const runs = values.runs === undefined ? undefined : Number(values.runs);
  if (!(idleSeconds >= 0)) return wrong(`--idle ${values.idle} is no number of seconds`);
  if (runs !== undefined && !(Number.isInteger(runs) && runs > 0)) return wrong(`--runs ${values.runs} is no number`);
  const asked = positionals.map((p) => p.replace(/\.ts$/, ''));
  const unknown = asked.find((name) => !all.includes(name));
  if (unknown !== undefined) return wrong(`there is no benchmark ${unknown}`);
  return { names: asked.length === 0 ? all : asked, options: { idleSeconds, runs } };
}

async function main(): Promise<void> {
  const asked = command();
  if (asked === undefined) return;
  console.log(
    `${cpus().length} × ${cpus()[0]?.model ?? 'cpu'}, ${Math.round(totalmem() / 2 ** 30)} GiB, Node ${process.version}; the last column is the goal\n`,
  );
  const results: Record<string, readonly BenchResult[]> = {};
  let failed = 0;
  for (const name of asked.names) {
    const bench = (await import(join(here, `${name}.ts`))) as Bench;
    console.log(name);
    const rows = await bench.run(asked.options);
    for (const row of rows) console.log(line(row));
    failed += rows.filter((r) => r.failed !== undefined).length;
    results[name] = rows;
    write(results);
  }
  if (failed > 0) console.log(`\n${failed} FAILED`);
}

if (import.meta.main) await main();
