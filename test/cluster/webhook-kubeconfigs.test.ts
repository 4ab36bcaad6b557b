/** Webhooks that kubeconfig files lead to, asked by an API server over TLS: where they are, and how it shows itself there. */
import assert from 'node:assert/strict';
import * as http from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import type { TLSSocket } from 'node:tls';
import { identityNames } from '../../src/cluster/webhook-identities.ts';
import { createWorkspace, startApiServer, startStore } from '../support/api-server.ts';
import type { TestStore, Workspace } from '../support/api-server.ts';
import { connectApi } from '../support/api.ts';
import type { Json } from '../support/api.ts';
import { startTlsServer } from '../support/tls-server.ts';

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

const admission = (name: string, plugin: string, configuration: Json): string =>
  work.write(name, {
    apiVersion: 'apiserver.config.k8s.io/v1',
    kind: 'AdmissionConfiguration',
    plugins: [{ name: plugin, configuration }],
  });

const webhookAdmission = (kubeConfigFile: string): Json => ({
  apiVersion: 'apiserver.config.k8s.io/v1',
  kind: 'WebhookAdmissionConfiguration',
  kubeConfigFile,
});

test('the user of a kubeconfig is the one with the closest name', () => {
  assert.deepEqual(identityNames('hook.shop.svc:443'), [
    'hook.shop.svc:443',
    '*.shop.svc:443',
    '*.svc:443',
    'hook.shop.svc',
    '*.shop.svc',
    '*.svc',
    '*',
  ]);
  assert.deepEqual(identityNames('example.com:8443'), ['example.com:8443', '*.com:8443', '*']);
});

test('admission webhooks are shown the user of the kubeconfig that is named for their host', async () => {
  const shown = new Map<string, Json>();
  await using backend = await startTlsServer({
    clientCA: work.pki.get('ca.crt')!,
    handle(request, response, body) {
      const review = JSON.parse(body.toString()) as Json;
      const socket = request.socket as TLSSocket;
      shown.set(request.url!.split('?')[0]!, {
        authorization: request.headers.authorization,
        as: request.headers['impersonate-user'],
        certificate: socket.authorized ? socket.getPeerCertificate().subject.CN : undefined,
      });
      response
        .writeHead(200, { 'content-type': 'application/json' })
        .end(JSON.stringify({ ...review, response: { uid: review.request.uid, allowed: true } }));
    },
  });
  const base64 = (name: string): string => Buffer.from(work.pki.get(name)!).toString('base64');
  // Neither clusters nor contexts are needed, and files are relative to that of the kubeconfig.
  work.write('token', 'from-a-file\n');
  const users = work.write('webhook-users', {
    users: [
      { name: `127.0.0.1:${backend.port}`, user: { tokenFile: 'token', as: 'somebody' } },
      {
        name: '*',
        user: {
          'client-certificate-data': base64('alice.crt'),
          'client-key-data': base64('alice.key'),
          username: 'u',
          password: 'p',
        },
      },
      { name: 'unused', user: { 'client-certificate': '/nonexistent' } },
    ],
  });
  await using server = await startApiServer(work, etcd, [
    `--admission-control-config-file=${admission('webhook-admission', 'ValidatingAdmissionWebhook', webhookAdmission(users))}`,
  ]);
  const webhook = (name: string, host: string): Json => ({
    name: `${name}.example.com`,
    clientConfig: { url: `https://${host}:${backend.port}/${name}`, caBundle: backend.caBundle },
    rules: [{ apiGroups: [''], apiVersions: ['v1'], operations: ['CREATE'], resources: ['configmaps'] }],
    sideEffects: 'None',
    admissionReviewVersions: ['v1'],
  });
  const kinds = '/apis/admissionregistration.k8s.io/v1';
  for (const [resource, webhooks] of [
    ['validatingwebhookconfigurations', [webhook('token', '127.0.0.1'), webhook('certificate', 'localhost')]],
    ['mutatingwebhookconfigurations', [webhook('mutating', '127.0.0.1')]],
  ] as const) {
    const made = await server.api.create(`${kinds}/${resource}`, { metadata: { name: 'hooks' }, webhooks });
    assert.equal(made.status, 201, made.text);
  }
  const made = await server.api.create('/api/v1/namespaces/default/configmaps', { metadata: { name: 'shown' } });
  assert.equal(made.status, 201, made.text);
  assert.deepEqual(Object.fromEntries(shown), {
    '/token': { authorization: 'Bearer from-a-file', as: 'somebody', certificate: undefined },
    '/certificate': {
      authorization: `Basic ${Buffer.from('u:p').toString('base64')}`,
      as: undefined,
      certificate: 'alice',
    },
    // The other plugin was told nothing.
    '/mutating': { authorization: undefined, as: undefined, certificate: undefined },
  });
  for (const resource of ['validatingwebhookconfigurations', 'mutatingwebhookconfigurations'])
    await server.api.delete(`${kinds}/${resource}/hooks`);
});

test('wrong configurations of the webhook plugins are told at the start', async () => {
  const starts = (name: string, configuration: Json): Promise<unknown> =>
    startApiServer(work, etcd, [
      `--admission-control-config-file=${admission(name, 'MutatingAdmissionWebhook', configuration)}`,
    ]);
  const prefix = 'failed to apply admission: couldn\'t init admission plugin "MutatingAdmissionWebhook": ';
  const gone = work.path('gone');
  for (const [configuration, message] of [
    [webhookAdmission(gone), `stat ${gone}: no such file or directory`],
    [webhookAdmission('users'), 'kubeConfigFile: Invalid value: "users": must be an absolute file path'],
    [
      { ...webhookAdmission(gone), kind: 'WebhookAdmission', apiVersion: 'apiserver.config.k8s.io/v1alpha1' },
      'no kind "WebhookAdmission" is registered for version "apiserver.config.k8s.io/v1alpha1"',
    ],
    [{ ...webhookAdmission(gone), kubeconfigFile: gone }, 'strict decoding error: unknown field "kubeconfigFile"'],
  ] as const)
    await assert.rejects(starts('wrong', configuration), { message: `${prefix}${message}` });
});
