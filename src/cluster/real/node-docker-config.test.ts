/** Which of Docker's files a node takes credentials from, and until when. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { VirtualClock } from '../../base/clock.ts';
import { createLogger } from '../../base/logger.ts';
import { nodeDockerConfig } from './node-docker-config.ts';

test('the kubelet’s file comes before that of the home folder, which is read again after five minutes', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'knarr-docker-'));
  try {
    const [rootDir, home] = [join(dir, 'kubelet'), join(dir, 'home')];
    for (const d of [rootDir, join(home, '.docker')]) mkdirSync(d, { recursive: true });
    const auths = (username: string): string => JSON.stringify({ 'registry.io': { username, password: 'secret' } });
    writeFileSync(join(home, '.dockercfg'), auths('old'));
    const clock = new VirtualClock();
    const lines: unknown[] = [];
    const logger = createLogger({ level: 'info', now: () => clock.now(), sink: (r) => lines.push(r) });
    const credentials = nodeDockerConfig({ rootDir, home, clock, logger });
    const user = async (): Promise<unknown> => (await credentials('registry.io/app'))[0]?.username;
    assert.equal(await user(), 'old');
    writeFileSync(join(home, '.docker/config.json'), `{"auths":${auths('home')}}`);
    assert.equal(await user(), 'old');
    await clock.advance(300_000);
    assert.equal(await user(), 'home');
    writeFileSync(join(rootDir, 'config.json'), `{"auths":${auths('kubelet')}}`);
    await clock.advance(300_000);
    assert.equal(await user(), 'kubelet');
    assert.deepEqual(await credentials('other.io/app'), []);
    // One that is wrong is passed over, and told of without what stands in it.
    writeFileSync(join(rootDir, 'config.json'), 'secret');
    await clock.advance(300_000);
    assert.equal(await user(), 'home');
    assert.equal(lines.length, 1);
    assert.doesNotMatch(JSON.stringify(lines), /secret/);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
