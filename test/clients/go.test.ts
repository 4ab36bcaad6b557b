/** The Go client library in protobuf: `go/main.go` has the cases. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { requirePeer } from '../support/peers.ts';
import { run, runCases } from './cases.ts';

test('the Go client library in protobuf', async (t) => {
  const go = requirePeer(t, 'go');
  if (go === undefined) return;
  const dir = mkdtempSync(join(tmpdir(), 'knarr-go-'));
  try {
    const program = join(dir, 'clients-go');
    await run(go, ['build', '-o', program, '.'], {
      cwd: join(import.meta.dirname, 'go'),
      env: { ...process.env, CGO_ENABLED: '0' },
    });
    await runCases(t, program, [], 13);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
