import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VirtualClock } from '../base/clock.ts';
import { silentLogger } from '../base/logger.ts';
import { HealthCheckPorts } from './health-check-ports.ts';
import { ProxyHealth } from './health.ts';
import type { HttpAnswer, ProxyHost } from './host/proxy-host.ts';

test('health check ports move between Services; one that cannot be had is told of; a slow proxy is unhealthy', async () => {
  const clock = new VirtualClock();
  const health = new ProxyHealth(clock);
  const open = new Map<number, () => HttpAnswer>();
  const failures: string[] = [];
  const host = {
    serve: (_: string, port: number, answer: () => HttpAnswer) => {
      if (open.has(port)) return Promise.reject(new Error('listen EADDRINUSE'));
      open.set(port, answer);
      return Promise.resolve({ close: () => Promise.resolve(void open.delete(port)) });
    },
  } as unknown as ProxyHost;
  const ports = new HealthCheckPorts({
    ...{ host, health, logger: silentLogger, nodeName: 'n0' },
    onFailure: (namespace, name, message) => failures.push(`${namespace}/${name} ${message}`),
  });
  ports.set('ns/a', 4, { port: 31_000, endpoints: 2 });
  await ports.settled();
  const answer = open.get(31_000)!();
  assert.equal(answer.status, 200);
  assert.equal(answer.headers['x-load-balancing-endpoint-weight'], '2');
  assert.deepEqual(JSON.parse(answer.body), {
    service: { namespace: 'ns', name: 'a' },
    localEndpoints: 2,
    serviceProxyHealthy: true,
  });
  ports.set('ns/a', 4, { port: 31_000, endpoints: 0 });
  assert.equal(open.get(31_000)!().status, 503);
  ports.set('ns/a', 4, { port: 31_000, endpoints: 1 });
  // The same port for another one: refused while the first has it, given when it is gone.
  ports.set('ns/b', 4, { port: 31_000, endpoints: 1 });
  await ports.settled();
  assert.deepEqual(failures, ['ns/b node n0 failed to start healthcheck "ns/b" on port 31000: listen EADDRINUSE']);
  ports.set('ns/a', 4, undefined);
  ports.set('ns/b', 4, { port: 31_000, endpoints: 1 });
  await ports.settled();
  assert.match(open.get(31_000)!().body, /"name": "b"/);

  health.queued();
  await clock.advance(61_000);
  assert.equal(health.livez().status, 503);
  assert.equal(open.get(31_000)!().status, 503);
  health.updated();
  assert.equal(health.healthz().status, 200);
  health.setEligible(() => false);
  assert.equal(health.healthz().status, 503);
  assert.equal(health.livez().status, 200);
  await ports.close();
  assert.equal(open.size, 0);
});
