/** Runs a program of another language's client library against a cluster over HTTPS; each of its cases is a test. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { promisify } from 'node:util';
import { createCluster } from '../../src/index.ts';

export const run = promisify(execFile);
const limitMs = 180_000;

/** Runs a program that tells of `count` cases, each by a line `{"name": …, "error": …}`. */
export async function runProgram(
  t: TestContext,
  program: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  count: number,
): Promise<void> {
  const { stdout } = await run(program, [...args], { env, timeout: limitMs, maxBuffer: 64 << 20 });
  const cases = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { name: string; error: string });
  assert.equal(cases.length, count);
  for (const c of cases) await t.test(c.name, () => assert.equal(c.error, ''));
}

/** The same against a cluster, whose kubeconfig is the last argument; `count` cases must be told of, each by a line `{"name": …, "error": …}`. */
export async function runCases(t: TestContext, program: string, args: readonly string[], count: number): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), 'knarr-client-'));
  try {
    await using cluster = await createCluster({ nodes: 1, https: { port: 0 } });
    const kubeconfig = join(dir, 'kubeconfig');
    writeFileSync(kubeconfig, cluster.kubeconfig!);
    await runProgram(t, program, [...args, kubeconfig], process.env, count);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}
