import assert from 'node:assert/strict';
import { Resolver } from 'node:dns/promises';
import { test } from 'node:test';
import { silentLogger } from '../base/logger.ts';
import { createCluster } from './create-cluster.ts';
import { startDnsThread } from './dns-thread.ts';

test('the thread answers by the API server’s word, and says why it cannot', async () => {
  await using cluster = await createCluster({ nodes: 0, https: { port: 0 }, disable: ['dns'] });
  await cluster.client.core.services.create({
    metadata: { name: 'web', namespace: 'default' },
    spec: { clusterIP: '10.96.7.7', ports: [{ port: 80 }] },
  });
  const { server, certificateAuthority, clientCertificate, clientKey } = cluster.adminCredentials!;
  const options = { server, ca: certificateAuthority, certificate: clientCertificate, key: clientKey };
  const bind = { address: '127.0.0.1', port: 0 };
  const thread = startDnsThread({ ...options, bind, logger: silentLogger });
  try {
    const { address } = await thread.started;
    const resolver = new Resolver();
    resolver.setServers([`${address.address}:${address.port}`]);
    assert.deepEqual(await resolver.resolve4('web.default.svc.cluster.local'), ['10.96.7.7']);
    const second = startDnsThread({ ...options, bind: address, logger: silentLogger });
    await assert.rejects(second.started, /EADDRINUSE/);
    await second.stop();
  } finally {
    await thread.stop();
  }
});
