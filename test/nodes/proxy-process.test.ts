/**
 * `knarr kube-proxy` as a process of its own against a whole API server, both in a network namespace: health, metrics, rules by the
 * identity that it has, what it leaves behind and what --cleanup takes away.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Lab, missing } from './support/lab.ts';

const skip = missing('conntrack');

describe('kube-proxy as a process', { skip, timeout: 120_000 }, () => {
  let lab: Lab;
  before(async () => {
    lab = await Lab.create(1);
  });
  after(() => lab?.close());

  test('from start to clean-up', async () => {
    const script = join(import.meta.dirname, 'support/proxy-process.ts');
    const child = spawn(
      'nsenter',
      [`--net=${lab.nodes[0]!.place.path}`, '--', process.execPath, '--no-warnings', script, lab.nodes[0]!.address],
      { stdio: ['ignore', 'inherit', 'pipe'], env: { ...process.env, NODE_TEST_CONTEXT: '' } },
    );
    let said = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => (said += text));
    const code = await new Promise((resolve) => child.on('close', resolve));
    assert.equal(code, 0, said);
  });
});
