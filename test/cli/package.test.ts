/** The package as who installs it finds it: the program of the README runs, and type-checks against the declarations alone. */
import assert from 'node:assert/strict';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { after, before, test } from 'node:test';
import { bundle } from '../support/knarr.ts';
import { run } from '../support/run.ts';

const root = resolve(import.meta.dirname, '../..');
const dist = dirname(bundle);
let dir: string;

before(() => {
  dir = mkdtempSync(join(tmpdir(), 'knarr-package-'));
  const program = /```ts\n(import \{ createCluster[\s\S]*?)```/.exec(
    readFileSync(join(root, 'README.md'), 'utf8'),
  )?.[1];
  assert.ok(program, 'the README has a program');
  writeFileSync(
    join(dir, 'program.ts'),
    `${program}\nexport const clock = new VirtualClock();\nprocess.exitCode = 3;\n`,
  );
  writeFileSync(join(dir, 'package.json'), '{"type":"module"}');
  const modules = join(dir, 'node_modules');
  const installed = join(modules, 'knarr');
  mkdirSync(installed, { recursive: true });
  cpSync(join(root, 'package.json'), join(installed, 'package.json'));
  symlinkSync(dist, join(installed, 'dist'));
  symlinkSync(join(root, 'node_modules/@types'), join(modules, '@types'));
});
after(() => rmSync(dir, { recursive: true, force: true }));

test('the program runs', async () => {
  const ended = await run(process.execPath, [join(dir, 'program.ts')], { cwd: dir });
  assert.deepEqual(ended, { code: 3, stdout: '', stderr: '' });
});

test('its types are there', async (t) => {
  if (!existsSync(join(dist, 'types/index.d.ts'))) {
    t.skip('a bundle without declarations (--quick)');
    return;
  }
  const options = ['--noEmit', '--strict', '--module', 'nodenext', '--target', 'es2024', '--lib', 'esnext'];
  const ended = await run(
    join(root, 'node_modules/.bin/tsc'),
    [...options, '--types', 'node', '--skipLibCheck', 'false', 'program.ts'],
    { cwd: dir },
  );
  assert.deepEqual(ended, { code: 0, stdout: '', stderr: '' });
});
