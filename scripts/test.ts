/**
 * `npm test`: the checks, then the quick suites; `npm run test:all` adds the long ones. Arguments filter files:
 * `npm test -- watch-cache`. Prints each suite's time against its budget and ends with `N passed, N failed`.
 */
import { spawn } from 'node:child_process';
import { existsSync, globSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';

const root = join(import.meta.dirname, '..');

interface Suite {
  readonly name: string;
  readonly files: readonly string[];
  readonly budgetSeconds: number;
  /** Only in `npm run test:all`. */
  readonly long?: boolean;
  readonly concurrency: number;
  /** Needs the bundle in dist/. */
  readonly bundle?: boolean;
}

const suites: readonly Suite[] = [
  { name: 'unit', files: ['src/**/*.test.ts'], budgetSeconds: 60, concurrency: 2 },
  {
    name: 'cluster',
    files: ['cluster', 'controllers', 'admission', 'aggregation'].map((d) => `test/${d}/**/*.test.ts`),
    budgetSeconds: 120,
    // Some of them wait for what lasts its second in real time.
    concurrency: 3,
  },
  { name: 'cli', files: ['test/cli/**/*.test.ts'], budgetSeconds: 60, concurrency: 1, bundle: true },
  { name: 'kubectl', files: ['test/kubectl/**/*.test.ts'], budgetSeconds: 180, concurrency: 1, bundle: true },
  { name: 'crash', files: ['test/crash/**/*.test.ts'], budgetSeconds: 300, concurrency: 1, long: true, bundle: true },
  {
    name: 'processes',
    files: ['test/processes/**/*.test.ts'],
    budgetSeconds: 300,
    concurrency: 1,
    long: true,
    bundle: true,
  },
  {
    name: 'nodes',
    files: ['test/nodes/**/*.test.ts'],
    budgetSeconds: 300,
    // Each file has namespaces of its own, and waits more than it works.
    concurrency: 2,
    long: true,
    bundle: true,
  },
  { name: 'clients', files: ['test/clients/**/*.test.ts'], budgetSeconds: 120, concurrency: 1, long: true },
];

const args = process.argv.slice(2);
const all = args.includes('--all');
const filters = args.filter((a) => !a.startsWith('-'));
const totals = { passed: 0, failed: 0, skipped: 0 };
const table: string[] = [];

function run(command: string, commandArgs: readonly string[], env: Record<string, string> = {}): Promise<number> {
  return new Promise((resolve) => {
    const child = spawn(command, commandArgs, { cwd: root, stdio: 'inherit', env: { ...process.env, ...env } });
    child.on('error', (e) => {
      console.error(e.message);
      resolve(1);
    });
    child.on('close', (code) => resolve(code ?? 1));
  });
}

let bad = false;
// A file that no suite names would never run, and nobody would see it.
const known = new Set(suites.flatMap((s) => s.files.flatMap((pattern) => globSync(pattern, { cwd: root }))));
for (const file of globSync('{src,test}/**/*.test.ts', { cwd: root }))
  if (!known.has(file)) {
    console.error(`${file} is in no suite: name its folder in scripts/test.ts`);
    totals.failed++;
    bad = true;
  }
if (filters.length === 0) {
  const checked = await run(process.execPath, [join(root, 'scripts/check.ts')]);
  if (checked === 0) totals.passed++;
  else {
    totals.failed++;
    bad = true;
  }
}

for (const suite of suites) {
  if (suite.long === true && !all && filters.length === 0) continue;
  const files = suite.files
    .flatMap((pattern) => globSync(pattern, { cwd: root }))
    .map((f) => relative(root, join(root, f)))
    .filter((f) => filters.length === 0 || filters.some((x) => f.includes(x)))
    .sort();
  if (files.length === 0) continue;
  if (
    suite.bundle === true &&
    !existsSync(join(root, 'dist/knarr.js')) &&
    (await run(process.execPath, [join(root, 'scripts/build.ts')])) !== 0
  ) {
    bad = true;
    break;
  }
  console.log(`\n${suite.name}: ${files.length} files`);
  const counts = join(tmpdir(), `knarr-test-${process.pid}-${suite.name}.json`);
  const started = Date.now();
  const code = await run(
    process.execPath,
    [
      '--test',
      `--test-concurrency=${suite.concurrency}`,
      '--test-timeout=300000',
      '--test-reporter=dot',
      '--test-reporter-destination=stdout',
      `--test-reporter=${join(root, 'scripts/count-reporter.ts')}`,
      `--test-reporter-destination=${counts}`,
      ...files,
    ],
    // Every test file is a process that loads the sources anew: what was compiled once serves the others.
    { NODE_COMPILE_CACHE: join(root, '.cache/compile') },
  );
  const seconds = (Date.now() - started) / 1000;
  const seen = existsSync(counts)
    ? (JSON.parse(readFileSync(counts, 'utf8')) as { passed: number; failed: number; skipped: number; skips: string[] })
    : { passed: 0, failed: 1, skipped: 0, skips: [] };
  rmSync(counts, { force: true });
  totals.passed += seen.passed;
  totals.failed += seen.failed;
  totals.skipped += seen.skipped;
  if (code !== 0) bad = true;
  for (const s of seen.skips) console.log(`skipped: ${s}`);
  table.push(
    `${suite.name.padEnd(10)} ${seconds.toFixed(1).padStart(7)} s of ${String(suite.budgetSeconds).padStart(4)} s  ${seen.passed} passed, ${seen.failed} failed, ${seen.skipped} skipped`,
  );
}

console.log(`\n${table.join('\n')}\n`);
if (bad && totals.failed === 0) totals.failed = 1;
if (totals.skipped > 0) console.log(`${totals.skipped} skipped`);
console.log(`${totals.passed} passed, ${totals.failed} failed`);
process.exitCode = totals.failed === 0 ? 0 : 1;
