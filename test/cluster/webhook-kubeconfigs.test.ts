/** Webhooks that kubeconfig files lead to, asked by an API server over TLS: where they are, and how it shows itself there. */
import assert from 'node:assert/strict';
import * as http from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import { createWorkspace, startApiServer, startStore } from '../support/api-server.ts';
import type { TestStore, Workspace } from '../support/api-server.ts';
import { connectApi } from '../support/api.ts';
import type { Json } from '../support/api.ts';

let work: Workspace;
let etcd: TestStore;

before(async () => {
  work = await createWorkspace();
  etcd = await startStore();
});

after(async () => {
  await etcd[Symbol.asyncDispose]();
  work.dispose();
});

const kubeconfig = (name: string, server: string): string =>
  work.write(name, {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'c', cluster: { server } }],
    users: [{ name: 'u', user: { token: 'not-for-everybody' } }],
    contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
    'current-context': 'x',
  });

test('authentication, authorization, audit and image policy are asked at http servers, which are not shown the token', async () => {
  const asked = new Map<string, Json>();
  const authorizations: (string | undefined)[] = [];
  const statuses: Readonly<Record<string, Json>> = {
    TokenReview: { authenticated: true, user: { username: 'carol' } },
    SubjectAccessReview: { allowed: true },
    ImageReview: { allowed: false, reason: 'not this one' },
  };
  const backend = http.createServer((request, response) => {
    const chunks: Buffer[] = [];
    authorizations.push(request.headers.authorization);
    request.on('data', (c: Buffer) => chunks.push(c));
    request.on('end', () => {
      const body = JSON.parse(Buffer.concat(chunks).toString()) as Json;
      asked.set(`${request.method} ${request.url} ${body.kind}`, body);
      response
        .writeHead(200, { 'content-type': 'application/json' })
        .end(JSON.stringify({ ...body, status: statuses[body.kind as string] }));
    });
  });
  await new Promise<void>((resolve) => {
    backend.listen(0, '127.0.0.1', resolve);
  });
  try {
    const url = `http://127.0.0.1:${(backend.address() as AddressInfo).port}`;
    await using server = await startApiServer(work, etcd, [
      `--authentication-token-webhook-config-file=${kubeconfig('authn', `${url}/authn`)}`,
      '--authentication-token-webhook-version=v1',
      '--authorization-mode=Webhook',
      `--authorization-webhook-config-file=${kubeconfig('authz', `${url}/authz`)}`,
      // Without a scheme it is a plain one as well.
      `--audit-webhook-config-file=${kubeconfig('audit', url.slice('http://'.length))}`,
      '--audit-webhook-batch-max-wait=20ms',
      `--audit-policy-file=${work.write('policy', {
        apiVersion: 'audit.k8s.io/v1',
        kind: 'Policy',
        rules: [{ level: 'Metadata', users: ['carol'] }],
      })}`,
      '--enable-admission-plugins=ImagePolicyWebhook',
      `--admission-control-config-file=${work.write('admission', {
        apiVersion: 'apiserver.config.k8s.io/v1',
        kind: 'AdmissionConfiguration',
        plugins: [
          {
            name: 'ImagePolicyWebhook',
            configuration: { imagePolicy: { kubeConfigFile: kubeconfig('images', `${url}/images`) } },
          },
        ],
      })}`,
    ]);
    const carol = connectApi(
      {
        adminCredentials: {
          server: server.url,
          certificateAuthority: work.pki.get('ca.crt')!,
          clientCertificate: '',
          clientKey: '',
        },
      },
      { token: 'carols' },
    );
    try {
      assert.equal((await carol.get('/api/v1/namespaces/default/pods')).status, 200);
    } finally {
      carol.close();
    }
    await server.api.create('/api/v1/namespaces/default/serviceaccounts', { metadata: { name: 'default' } });
    const refused = await server.api.create('/api/v1/namespaces/default/pods', {
      metadata: { name: 'p' },
      spec: { containers: [{ name: 'c', image: 'i' }] },
    });
    assert.equal(
      refused.body.message,
      'pods "p" is forbidden: image policy webhook backend denied one or more images: not this one',
    );
    for (let n = 0; n < 500 && !asked.has('POST / EventList'); n++) await new Promise((r) => setTimeout(r, 10));
  } finally {
    backend.close();
    backend.closeAllConnections();
  }
  assert.deepEqual([...asked.keys()].toSorted(), [
    'POST / EventList',
    'POST /authn TokenReview',
    'POST /authz SubjectAccessReview',
    'POST /images ImageReview',
  ]);
  assert.deepEqual([...new Set(authorizations)], [undefined]);
});
