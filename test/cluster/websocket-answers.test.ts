/** Watches and logs over WebSocket, over TLS: what a browser's client uses, and old clients of every language. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, test } from 'node:test';
import { WebSocket } from 'ws';
import type { Cluster } from '../../src/index.ts';
import { createCluster } from '../../src/index.ts';
import { waitForOne } from '../support/wait.ts';

let cluster: Cluster;

before(async () => {
  cluster = await createCluster({ nodes: 1, https: { port: 0 } });
  await waitForOne(cluster.client.core.serviceaccounts, 'default', 'default', () => true);
});
after(() => cluster?.close());

interface Heard {
  readonly ws: WebSocket;
  readonly messages: { data: Buffer; binary: boolean }[];
}

function open(path: string, protocols: string[] = [], headers: Record<string, string> = {}): Heard {
  const { certificateAuthority: ca, clientCertificate: cert, clientKey: key } = cluster.adminCredentials!;
  const ws = new WebSocket(`${cluster.url!.replace('https', 'wss')}${path}`, protocols, { ca, cert, key, headers });
  const messages: Heard['messages'] = [];
  ws.on('message', (data, binary) => messages.push({ data: data as Buffer, binary }));
  return { ws, messages };
}

async function heard(h: Heard, n: number): Promise<Heard['messages']> {
  while (h.messages.length < n) await once(h.ws, 'message');
  return h.messages;
}

test('a watch tells one event in each message', async () => {
  const maps = cluster.client.core.configmaps;
  const h = open('/api/v1/namespaces/default/configmaps?watch=true&labelSelector=of%3Dws');
  await once(h.ws, 'open');
  for (const name of ['a', 'b'])
    await maps.create({
      metadata: { name, namespace: 'default', labels: { of: 'ws' } },
      data: { text: 'line\nof two' },
    });
  await maps.delete('a', 'default');
  const events = (await heard(h, 3)).map(
    (m) => JSON.parse(m.data.toString()) as { type: string; object: { metadata: { name: string } } },
  );
  assert.deepEqual(
    events.map((e) => `${e.type} ${e.object.metadata.name}`),
    ['ADDED a', 'ADDED b', 'DELETED a'],
  );
  assert.ok(h.messages.every((m) => !m.binary));
  h.ws.close();
  await once(h.ws, 'close');
});

test('a watch in protobuf tells its events without their lengths; it ends with its time', async () => {
  const h = open('/api/v1/namespaces/default/configmaps?watch=true&labelSelector=of%3Dws&timeoutSeconds=1', [], {
    accept: 'application/vnd.kubernetes.protobuf;stream=watch',
  });
  const [first] = await heard(h, 1);
  assert.equal(first!.binary, true);
  // Field 1 of a WatchEvent, a string of five bytes.
  assert.equal(first!.data.subarray(0, 7).toString('latin1'), '\x0a\x05ADDED');
  const [code] = (await once(h.ws, 'close')) as [number];
  assert.equal(code, 1000);
});

test('a log comes as binary messages, as base64 where that is asked for, and ends when the log does', async () => {
  const pods = cluster.client.core.pods;
  await pods.create({
    metadata: { name: 'talks', namespace: 'default' },
    spec: { containers: [{ name: 'c', image: 'busybox', command: ['sh', '-c', 'echo alive; sleep 1000'] }] },
  });
  await waitForOne(pods, 'talks', 'default', (p) => p.status?.phase === 'Running');
  const path = '/api/v1/namespaces/default/pods/talks/log?container=c';
  const texts = await Promise.all(
    [['binary.k8s.io'], ['base64.binary.k8s.io'], []].map(async (protocols) => {
      const h = open(path, protocols);
      await once(h.ws, 'close');
      assert.equal(h.ws.protocol, protocols[0] ?? '');
      assert.ok(h.messages.length > 0);
      return Buffer.concat(
        h.messages.map((m) => {
          assert.equal(m.binary, protocols[0] !== 'base64.binary.k8s.io');
          return m.binary ? m.data : Buffer.from(m.data.toString(), 'base64');
        }),
      ).toString();
    }),
  );
  assert.ok(texts[0]!.length > 0);
  assert.deepEqual(texts, [texts[0], texts[0], texts[0]]);
});

test('what is refused is refused before the upgrade', async () => {
  for (const [path, protocols, status] of [
    ['/api/v1/namespaces/default/pods/none/log', ['binary.k8s.io'], 404],
    ['/api/v1/namespaces/default/pods/talks/log?container=c', ['v9.unknown'], 403],
    ['/api/v1/namespaces/default/configmaps?watch=true&resourceVersion=x', [], 500],
  ] as const) {
    const { ws } = open(path, [...protocols]);
    const [error] = (await once(ws, 'error')) as [Error];
    assert.match(error.message, new RegExp(`Unexpected server response: ${status}`), path);
  }
});
