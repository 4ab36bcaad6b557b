/** controller-runtime's envtest with the programs of `knarr envtest`: `go/envtest/main.go` has the cases, an operator's in small. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { requirePeer } from '../support/peers.ts';
import { run, runProgram } from './cases.ts';

test('envtest of controller-runtime', async (t) => {
  const go = requirePeer(t, 'go');
  if (go === undefined) return;
  const dir = mkdtempSync(join(tmpdir(), 'knarr-envtest-'));
  try {
    const program = join(dir, 'clients-envtest');
    await run(go, ['build', '-o', program, './envtest'], {
      cwd: join(import.meta.dirname, 'go'),
      env: { ...process.env, CGO_ENABLED: '0' },
    });
    const assets = join(dir, 'a folder');
    const { stdout } = await run(process.execPath, [
      join(import.meta.dirname, '../../src/cli/main.ts'),
      'envtest',
      assets,
    ]);
    assert.equal(stdout, `${assets}\n`);
    await runProgram(t, program, [], { ...process.env, KUBEBUILDER_ASSETS: assets }, 10);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
