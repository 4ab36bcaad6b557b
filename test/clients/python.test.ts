/** The Python client library: `python/clients.py` has the cases. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { requirePeer } from '../support/peers.ts';
import { runCases } from './cases.ts';

test('the Python client library', async (t) => {
  const python = requirePeer(t, 'python3');
  if (python === undefined) return;
  if (spawnSync(python, ['-c', 'import kubernetes']).status !== 0) {
    const message = `${python} has no package "kubernetes"`;
    if (process.env['KNARR_REQUIRE_PEERS'] !== undefined) throw new Error(message);
    t.skip(message);
    return;
  }
  await runCases(t, python, [join(import.meta.dirname, 'python/clients.py')], 7);
});
