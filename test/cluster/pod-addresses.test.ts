/** What a node sees of pods that are not its own: enough for network policies, nothing of what runs in them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { identities } from '../../src/cluster/components.ts';
import { createCluster } from '../../src/cluster/create-cluster.ts';
import type { Pod } from '../../src/api/types/index.gen.ts';
import { createClient } from '../../src/client/typed-client.ts';
import { HttpTransport } from '../../src/client/http-transport.ts';
import { waitFor } from '../support/wait.ts';
import { SystemRandom } from '../../src/base/random.ts';

test('labels, addresses, named ports; no environment, volumes or annotations, in any form', async () => {
  await using cluster = await createCluster({ nodes: 2, https: { port: 0 } });
  const { client } = cluster;
  const [mine, other] = cluster.nodes.map((n) => n.name) as [string, string];
  await client.core.secrets.create({ metadata: { name: 'hush', namespace: 'default' } });
  for (const [name, nodeName] of [
    ['mine', mine],
    ['other', other],
  ] as const)
    await client.core.pods.create({
      metadata: { name, namespace: 'default', labels: { app: name }, annotations: { note: 'hush' } },
      spec: {
        nodeName,
        containers: [
          {
            name: 'c',
            image: 'secret-image',
            env: [{ name: 'PASSWORD', value: 'hush' }],
            ports: [{ name: 'web', containerPort: 80 }],
          },
        ],
        volumes: [{ name: 'v', secret: { secretName: 'hush' } }],
      },
    } as Partial<Pod> as Pod);
  const pod = await waitFor(client.core.pods, { namespace: 'default', name: 'other' }, ([p]) =>
    (p?.status?.podIPs ?? []).length > 0 ? p! : undefined,
  );
  const { server, certificateAuthority: ca, clientCertificate, clientKey } = cluster.adminCredentials!;
  const user = identities.node(mine);
  const transport = new HttpTransport(
    {
      server,
      ca,
      certificate: clientCertificate,
      key: clientKey,
      impersonate: { user: user.name, groups: [...user.groups] },
    } as never,
    { random: new SystemRandom() },
  );
  const node = createClient(transport);
  try {
    const all = (await node.core.pods.list({ namespace: 'default' })).items;
    const seen = all.find((p) => p.metadata.name === 'other')!;
    assert.deepEqual(seen.metadata.labels, pod.metadata.labels);
    assert.deepEqual(seen.status?.podIPs, pod.status?.podIPs);
    assert.equal(seen.spec?.nodeName, other);
    assert.equal(seen.spec?.containers[0]?.ports?.[0]?.name, 'web');
    const path = '/api/v1/namespaces/default/pods';
    const forms = [
      'application/json',
      'application/yaml',
      'application/vnd.kubernetes.protobuf',
      'application/json;as=Table;v=v1;g=meta.k8s.io',
      'application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io',
    ];
    const bytes = async (accept: string, query = {}): Promise<string> => {
      const answer = await transport.request({ method: 'GET', path, headers: { accept }, query });
      assert.equal(answer.status, 200, accept);
      const { body } = answer;
      return body instanceof Uint8Array ? Buffer.from(body).toString('latin1') : JSON.stringify(body);
    };
    // What others were sent before must not be sent again.
    await client.core.pods.list({ namespace: 'default' });
    for (const accept of forms) {
      const text = await bytes(accept);
      assert.ok(text.includes('other'), accept);
      assert.ok(!/hush|PASSWORD|secret-image/.test(text), accept);
    }
    assert.match(await bytes('application/json', { fieldSelector: `spec.nodeName=${mine}` }), /PASSWORD/, 'its own');
    const elsewhere = await bytes('application/json', { fieldSelector: `spec.nodeName=${other}` });
    assert.ok(elsewhere.includes('other') && !elsewhere.includes('hush'));
    for (const target of [node, cluster.clientFor(user, 'kubelet')]) {
      const watch = await target.core.pods.watch({ namespace: 'default', resourceVersion: '0' } as never);
      const got: string[] = [];
      for await (const batch of watch) {
        got.push(...batch.map((event) => JSON.stringify(event.object)));
        if (got.some((t) => t.includes('"app":"other"'))) break;
      }
      assert.ok(got.some((t) => t.includes('"app":"other"')) && !got.some((t) => /hush|PASSWORD/.test(t)));
    }
    await assert.rejects(node.core.pods.get('other', 'default'), /no relationship found between node/);
  } finally {
    await transport.close();
  }
});
