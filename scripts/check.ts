/** `npm run check`: types, lint, format, walls between the rooms, unused exports, pages made from the code. Prints one line a check. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { checkWalls } from './walls.ts';

const root = join(import.meta.dirname, '..');

interface Outcome {
  readonly name: string;
  readonly ok: boolean;
  readonly output: string;
}

function run(name: string, command: string, args: readonly string[]): Promise<Outcome> {
  return new Promise((resolve) => {
    const child = spawn(join(root, 'node_modules/.bin', command), args, { cwd: root });
    let output = '';
    child.stdout.on('data', (d: Buffer) => (output += d.toString()));
    child.stderr.on('data', (d: Buffer) => (output += d.toString()));
    child.on('error', (e) => resolve({ name, ok: false, output: e.message }));
    child.on('close', (code) => resolve({ name, ok: code === 0, output }));
  });
}

function walls(): Outcome {
  const violations = checkWalls(root);
  return {
    name: 'walls',
    ok: violations.length === 0,
    output: violations.map((v) => `${v.file}:${v.line} ${v.what}`).join('\n'),
  };
}

const outcomes = await Promise.all([
  run('types', 'tsc', ['-p', '.']),
  run('lint', 'oxlint', ['src', 'test', 'bench', 'scripts']),
  run('format', 'oxfmt', ['--check', 'src', 'test', 'bench', 'scripts']),
  run('unused', 'knip', ['--no-progress']),
  run('pages', 'node', ['scripts/incomplete.ts', '--check']),
  Promise.resolve(walls()),
]);

for (const o of outcomes) {
  console.log(`${o.ok ? 'ok  ' : 'FAIL'} ${o.name}`);
  if (!o.ok) console.log(o.output.trimEnd());
}
if (outcomes.some((o) => !o.ok)) process.exitCode = 1;
