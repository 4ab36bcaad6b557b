/** `--send-retry-after-while-not-ready-once`: what is answered before the server has been ready for the first time. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VirtualClock } from '../../base/clock.ts';
import { silentLogger } from '../../base/logger.ts';
import { SeededRandom } from '../../base/random.ts';
import { openEmbeddedStore } from '../../etcd/embedded-store.ts';
import { createApiServer } from '../server.ts';

test('requests are told to come again until the server has been ready once; probes are answered', async () => {
  const clock = new VirtualClock();
  const random = new SeededRandom(3);
  const store = await openEmbeddedStore({ engine: 'memory', clock, logger: silentLogger, random });
  const server = await createApiServer({
    store,
    embedded: true,
    clock,
    random,
    logger: silentLogger,
    serviceAccountKeys: {},
    dialer: { dialNode: () => Promise.reject(new Error('none')), dialTcp: () => Promise.reject(new Error('none')) },
    advertiseAddress: '192.0.2.1',
    operations: { retryUntilReady: true },
  });
  const ask = async (path: string, user: string, groups: string[] = ['system:masters']): Promise<[number, unknown]> => {
    const { status, headers } = await server.handle({
      method: 'GET',
      path,
      query: new URLSearchParams(),
      headers: {},
      body: { kind: 'none' },
      remoteAddress: '127.0.0.1',
      identity: { name: user, groups },
      signal: new AbortController().signal,
      wantsObjects: false,
    });
    return [status, headers?.['retry-after']];
  };
  assert.deepEqual(await ask('/api/v1/namespaces', 'admin'), [503, '5']);
  assert.deepEqual(await ask('/livez', 'admin'), [500, undefined]);
  assert.deepEqual(await ask('/metrics', 'admin'), [200, undefined]);
  assert.deepEqual(await ask('/api/v1/namespaces', 'system:apiserver'), [200, undefined]);
  await server.ready();
  assert.deepEqual(await ask('/api/v1/namespaces', 'admin'), [200, undefined]);
  await server.close();
  await store.close();
});
