/**
 * `npm run fuzz`: the tests that draw their cases, round after round, each with a seed that nobody has seen and four times the
 * cases, until the minutes given (5) are over or a round fails; then it prints how to repeat that one.
 * `npm run fuzz -- 30 cbor` takes half an hour over the files whose path contains `cbor`.
 */
import { spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..');
const scale = 4;
const [first, ...rest] = process.argv.slice(2);
const minutes = first === undefined ? 5 : Number(first);
if (!(minutes > 0)) {
  console.error(`fuzz: "${first}" are no minutes: npm run fuzz -- [MINUTES [PART-OF-A-PATH...]]`);
  process.exit(2);
}
const files = globSync('{src,test}/**/*.test.ts', { cwd: root })
  .filter((f) => rest.length === 0 || rest.some((part) => f.includes(part)))
  .filter((f) => readFileSync(join(root, f), 'utf8').includes('base/fuzzing.ts'))
  .sort();
if (files.length === 0) {
  console.error(`fuzz: no test that draws its cases has ${rest.join(' or ')} in its path`);
  process.exit(2);
}

function round(seed: number): Promise<{ code: number; output: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['--test', '--test-concurrency=2', '--test-reporter=spec', ...files], {
      cwd: root,
      env: { ...process.env, KNARR_SEED: String(seed), KNARR_FUZZ_SCALE: String(scale) },
    });
    let output = '';
    child.stdout.on('data', (d: Buffer) => (output += d.toString()));
    child.stderr.on('data', (d: Buffer) => (output += d.toString()));
    child.on('error', reject);
    child.on('close', (code) => resolve({ code: code ?? 1, output }));
  });
}

const end = Date.now() + minutes * 60_000;
let rounds = 0;
console.log(`${files.length} files, ${minutes} min`);
do {
  const seed = randomInt(2 ** 31);
  const { code, output } = await round(seed);
  rounds++;
  if (code !== 0) {
    console.log(output.slice(Math.max(0, output.indexOf('failing tests'))));
    console.log(
      `round ${rounds} failed; again: KNARR_SEED=${seed} KNARR_FUZZ_SCALE=${scale} node --test ${files.join(' ')}`,
    );
    process.exit(1);
  }
  console.log(`round ${rounds}, seed ${seed}: passed`);
} while (Date.now() < end);
console.log(`${rounds} rounds passed`);
