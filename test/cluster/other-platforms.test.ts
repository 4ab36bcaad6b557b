/**
 * What is Linux' alone stays behind the hosts' seams: with the name of another system in `process.platform` everything else is imported
 * and started, and a pod of a simulated node runs.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { run } from '../support/run.ts';

const program = `
  import { createCluster, VirtualClock } from ${JSON.stringify(new URL('../../src/index.ts', import.meta.url).href)};
  const clock = new VirtualClock();
  const cluster = await createCluster({ clock, https: { port: 0 } });
  const pods = cluster.client.core.pods;
  await pods.create({
    metadata: { name: 'p', namespace: 'default' },
    spec: { restartPolicy: 'Never', containers: [{ name: 'c', image: 'busybox', command: ['echo', 'hello'] }] },
  });
  await clock.advance(10_000);
  const { phase } = (await pods.get('p', 'default')).status;
  await cluster.close();
  console.log(process.platform, phase);
`;

for (const platform of ['darwin', 'win32'])
  test(`a cluster on ${platform}`, async () => {
    const stub = `data:text/javascript,Object.defineProperty(process,"platform",{value:"${platform}"})`;
    const ended = await run(process.execPath, ['--import', stub, '--input-type=module', '--eval', program]);
    assert.deepEqual([ended.code, ended.stdout], [0, `${platform} Succeeded\n`], ended.stderr);
  });
