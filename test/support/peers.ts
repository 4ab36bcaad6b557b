/** Programs that the tests play against: found on PATH, required in CI (KNARR_REQUIRE_PEERS), skipped aloud elsewhere. */
import { execFileSync, spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import type { TestContext } from 'node:test';

/** The path of `name`, or undefined. kubectl must be 1.34 or newer to count. */
export function findPeer(name: string): string | undefined {
  for (const dir of (process.env['PATH'] ?? '').split(delimiter)) {
    const file = join(dir, name);
    try {
      accessSync(file, constants.X_OK);
    } catch {
      continue;
    }
    if (name !== 'kubectl' || kubectlMinor(file) >= 34) return file;
  }
  return undefined;
}

function kubectlMinor(file: string): number {
  const r = spawnSync(file, ['version', '--client', '-o', 'json'], { encoding: 'utf8' });
  if (r.status !== 0) return 0;
  const v = JSON.parse(r.stdout) as { clientVersion?: { minor?: string } };
  return Number.parseInt(v.clientVersion?.minor ?? '0', 10);
}

/** The peer's path; without it the test is skipped, or fails where peers are required. */
export function requirePeer(t: TestContext, name: string): string | undefined {
  const file = findPeer(name);
  if (file !== undefined) return file;
  if (process.env['KNARR_REQUIRE_PEERS'] !== undefined) throw new Error(`${name} is required here and not on PATH`);
  t.skip(`${name} is not on PATH`);
  return undefined;
}

/** Runs a program to its end and gives what it printed; throws with its standard error when it fails. */
export function output(file: string, args: readonly string[], env: Record<string, string> = {}): string {
  return execFileSync(file, args, { encoding: 'utf8', env: { ...process.env, ...env }, maxBuffer: 64 << 20 });
}
