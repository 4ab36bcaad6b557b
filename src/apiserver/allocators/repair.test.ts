import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VirtualClock } from '../../base/clock.ts';
import { silentLogger } from '../../base/logger.ts';
import { SeededRandom } from '../../base/random.ts';
import { openEmbeddedStore } from '../../etcd/embedded-store.ts';
import { createClient } from '../../client/typed-client.ts';
import { createApiServer } from '../server.ts';

test('addresses and node ports that nobody has are found, and those that belong to a Service kept', async () => {
  const clock = new VirtualClock();
  const random = new SeededRandom(3);
  const store = await openEmbeddedStore({ engine: 'memory', clock, logger: silentLogger, random });
  const serve = async () => {
    const server = await createApiServer({
      store,
      embedded: true,
      clock,
      random,
      logger: silentLogger,
      serviceAccountKeys: {},
      dialer: { dialNode: () => Promise.reject(new Error('none')), dialTcp: () => Promise.reject(new Error('none')) },
      advertiseAddress: '192.0.2.1',
    });
    await server.ready();
    const client = createClient(
      server.localTransport({ name: 'admin', groups: ['system:masters', 'system:authenticated'] }),
    );
    return { server, client };
  };
  const service = (name: string, clusterIP?: string, nodePort?: number) => ({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace: 'default' },
    spec: {
      type: 'NodePort',
      ...(clusterIP === undefined ? {} : { clusterIP }),
      ports: [{ port: 80, ...(nodePort === undefined ? {} : { nodePort }) }],
    },
  });
  let { server, client } = await serve();
  const kept = await client.core.services.create(service('kept'));
  await client.core.services.create(service('lost', '10.96.0.200', 30500));
  // The end of a process between the two writes of a deletion.
  const key = '/registry/services/specs/default/lost';
  const { kvs } = await store.range({ key });
  assert.equal(kvs.length, 1, key);
  await server.close();
  assert.equal((await store.commit({ key, expectModRevision: kvs[0]!.modRevision, value: undefined })).ok, true);

  ({ server, client } = await serve());
  const again = await client.core.services.create(service('again', '10.96.0.200', 30500));
  assert.deepEqual([again.spec?.clusterIP, again.spec?.ports?.[0]?.nodePort], ['10.96.0.200', 30500]);
  await assert.rejects(client.core.services.create(service('third', kept.spec!.clusterIP)), /already allocated/);
  await assert.rejects(
    client.core.services.create(service('third', undefined, kept.spec!.ports![0]!.nodePort)),
    /already allocated/,
  );

  // While it runs: an address of nobody goes when it is old enough.
  await client.networking.ipaddresses.create({
    apiVersion: 'networking.k8s.io/v1',
    kind: 'IPAddress',
    metadata: {
      name: '10.96.0.201',
      labels: {
        'ipaddress.kubernetes.io/ip-family': 'IPv4',
        'ipaddress.kubernetes.io/managed-by': 'ipallocator.k8s.io',
      },
    },
    spec: { parentRef: { group: '', resource: 'services', namespace: 'default', name: 'nobody' } },
  });
  await clock.advance(200_000);
  assert.equal((await client.core.services.create(service('fourth', '10.96.0.201'))).spec?.clusterIP, '10.96.0.201');

  // The address of a Service that is deleted by hand comes back.
  const ip = kept.spec!.clusterIP!;
  await client.networking.ipaddresses.delete(ip);
  await clock.advance(2000);
  assert.equal((await client.networking.ipaddresses.get(ip)).spec?.parentRef?.name, 'kept');
  await server.close();
  await store.close();
});
