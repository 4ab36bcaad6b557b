/** Certificates over the wire: requests for the built-in signers, who may approve, how long they live; trust bundles, pods' certificates. */
import assert from 'node:assert/strict';
import { X509Certificate, webcrypto } from 'node:crypto';
import { after, before, test } from 'node:test';
import 'reflect-metadata';
import * as x509 from '@peculiar/x509';
import type { Cluster } from '../../src/index.ts';
import { connectApi } from '../support/api.ts';
import type { Answer, Api, Json } from '../support/api.ts';
import { Files, secureCluster } from '../support/security.ts';
import { waitFor, waitForOne } from '../support/wait.ts';

const group = '/apis/certificates.k8s.io/v1/certificatesigningrequests';
const files = new Files();
let cluster: Cluster;
let admin: Api;

before(async () => {
  cluster = await secureCluster(
    {
      'token-auth-file': files.write(
        'tokens.csv',
        'jane-token,jane,1,"dev"\nnode-token,system:node:n1,2,"system:nodes"\n',
      ),
    },
    {
      runtimeConfig: { 'certificates.k8s.io/v1beta1': true },
      featureGates: { ClusterTrustBundle: true, PodCertificateRequest: true },
    },
  );
  admin = connectApi(cluster);
});

after(async () => {
  admin?.close();
  await cluster?.close();
  files[Symbol.dispose]();
});

interface Made {
  /** Base64 of the PEM. */
  readonly request: string;
  /** PEM. */
  readonly key: string;
}

async function csr(name: string, dnsNames: readonly string[] = []): Promise<Made> {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const made = await x509.Pkcs10CertificateRequestGenerator.create(
    {
      name,
      keys: keys as never,
      signingAlgorithm: algorithm,
      extensions:
        dnsNames.length === 0
          ? []
          : [new x509.SubjectAlternativeNameExtension(dnsNames.map((value) => ({ type: 'dns' as const, value })))],
    },
    webcrypto as never,
  );
  const key = await webcrypto.subtle.exportKey('pkcs8', keys.privateKey);
  return {
    request: Buffer.from(made.toString('pem')).toString('base64'),
    key: `-----BEGIN PRIVATE KEY-----\n${Buffer.from(key).toString('base64')}\n-----END PRIVATE KEY-----\n`,
  };
}

const client = ['digital signature', 'key encipherment', 'client auth'];

async function ask(name: string, signer: string, made: Made, more: Json = {}, api: Api = admin): Promise<Answer> {
  return api.create(group, {
    apiVersion: 'certificates.k8s.io/v1',
    kind: 'CertificateSigningRequest',
    metadata: { name },
    spec: { request: made.request, signerName: `kubernetes.io/${signer}`, usages: client, ...more },
  });
}

async function approve(name: string, api: Api = admin, type = 'Approved'): Promise<Answer> {
  const current = (await admin.get(`${group}/${name}`)).body;
  const conditions = [
    ...(current.status.conditions ?? []),
    { type, status: 'True', reason: 'Test', message: 'by a test' },
  ];
  return api.request('PUT', `${group}/${name}/approval`, { ...current, status: { conditions } });
}

async function signed(name: string): Promise<X509Certificate> {
  const done = await waitForOne(
    cluster.client.certificates.certificatesigningrequests,
    name,
    undefined,
    (r) => (r.status?.certificate ?? '') !== '',
  );
  return new X509Certificate(Buffer.from(done.status!.certificate!, 'base64'));
}

test('a person asks, an administrator approves, the certificate logs in and ends when it was asked to', async () => {
  const made = await csr('CN=ann,O=dev');
  const answer = await ask('ann', 'kube-apiserver-client', made, { expirationSeconds: 3600, username: 'forged' });
  assert.equal(answer.status, 201, answer.text);
  assert.equal(answer.body.spec.username, 'kubernetes-admin');
  assert.equal((await approve('ann')).status, 200);
  const certificate = await signed('ann');
  const life = certificate.validToDate.getTime() - certificate.validFromDate.getTime();
  // A short life, from five minutes before.
  assert.equal(life, 3_600_000 + 300_000);
  assert.deepEqual(certificate.keyUsage, ['1.3.6.1.5.5.7.3.2']);
  const ann = connectApi(cluster, { certificate: certificate.toString(), key: made.key });
  const me = await ann.create('/apis/authentication.k8s.io/v1/selfsubjectreviews', {});
  ann.close();
  assert.equal(me.body.status.userInfo.username, 'ann');
  assert.deepEqual(me.body.status.userInfo.groups, ['dev', 'system:authenticated']);
  // What was decided stays so.
  const denied = await approve('ann', admin, 'Denied');
  assert.equal(denied.status, 422);
  assert.match(denied.body.message, /Approved and Denied conditions are mutually exclusive/);
});

test('who may not approve, what may not be asked for, what a signer refuses', async (t) => {
  const jane = connectApi(cluster, { token: 'jane-token' });
  t.after(() => jane.close());
  await admin.create('/apis/rbac.authorization.k8s.io/v1/clusterroles', {
    metadata: { name: 'approver' },
    rules: [
      {
        verbs: ['get', 'update', 'create'],
        apiGroups: ['certificates.k8s.io'],
        resources: ['certificatesigningrequests', 'certificatesigningrequests/approval'],
      },
    ],
  });
  await admin.create('/apis/rbac.authorization.k8s.io/v1/clusterrolebindings', {
    metadata: { name: 'approver' },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'approver' },
    subjects: [{ kind: 'User', apiGroup: 'rbac.authorization.k8s.io', name: 'jane' }],
  });
  await ask('bob', 'kube-apiserver-client', await csr('CN=bob'));
  const refused = await approve('bob', jane);
  assert.equal(refused.status, 403);
  assert.equal(
    refused.body.message,
    'certificatesigningrequests.certificates.k8s.io "bob" is forbidden: user not permitted to approve requests with signerName "kubernetes.io/kube-apiserver-client"',
  );
  const masters = await ask('masters', 'kube-apiserver-client', await csr('CN=root,O=system:masters'));
  assert.equal(masters.status, 403);
  assert.match(
    masters.body.message,
    /use of kubernetes.io\/kube-apiserver-client signer with system:masters group is not allowed$/,
  );
  for (const [more, message] of [
    [
      { expirationSeconds: 60 },
      'spec.expirationSeconds: Invalid value: 60: may not specify a duration less than 600 seconds (10 minutes)',
    ],
    [{ usages: [] }, 'spec.usages: Required value'],
    [
      { signerName: 'nonsense' },
      'spec.signerName: Invalid value: "nonsense": must be a fully qualified domain and path of the form \'example.com/signer-name\'',
    ],
    [
      { signerName: 'kubernetes.io/legacy-unknown' },
      'spec.signerName: Invalid value: "kubernetes.io/legacy-unknown": the legacy signerName is not allowed via this API version',
    ],
    [{ usages: ['client auth', 'client auth'] }, 'spec.usages[1]: Duplicate value: "client auth"'],
  ] as const) {
    const answer = await ask('wrong', 'kube-apiserver-client', await csr('CN=wrong'), more);
    assert.equal(answer.status, 422, answer.text);
    assert.equal(answer.body.message, `CertificateSigningRequest.certificates.k8s.io "wrong" is invalid: ${message}`);
  }
  // Approved, but no request for that signer.
  await ask('no-node', 'kubelet-serving', await csr('CN=system:node:n1,O=system:nodes', ['n1']));
  assert.equal((await approve('no-node')).status, 200);
  const failed = await waitForOne(cluster.client.certificates.certificatesigningrequests, 'no-node', undefined, (r) =>
    (r.status?.conditions ?? []).some((c) => c.type === 'Failed'),
  );
  const condition = failed.status!.conditions!.find((c) => c.type === 'Failed')!;
  assert.equal(condition.reason, 'SignerValidationFailure');
  assert.match(condition.message!, /^usages did not match/);
});

test('a kubelet’s own client certificate is approved by itself', async (t) => {
  const node = connectApi(cluster, { token: 'node-token' });
  t.after(() => node.close());
  const name = 'n1';
  const made = await csr('CN=system:node:n1,O=system:nodes');
  const foreign = await ask(
    'other',
    'kube-apiserver-client-kubelet',
    await csr('CN=system:node:n2,O=system:nodes'),
    {},
    node,
  );
  assert.equal(foreign.status, 403);
  assert.match(foreign.body.message, /can only create a node CSR with CN=system:node:n1$/);
  assert.equal((await ask(name, 'kube-apiserver-client-kubelet', made, {}, node)).status, 201);
  const certificate = await signed(name);
  assert.match(certificate.subject, /CN=system:node:n1/);
  const { body } = await admin.get(`${group}/${name}`);
  assert.equal(body.status.conditions[0].reason, 'AutoApproved');
});

test('the API server’s authority is a ClusterTrustBundle; kubelets ask for the certificates of their own pods', async (t) => {
  const beta = '/apis/certificates.k8s.io/v1beta1';
  const bundles = cluster.client.resource({
    group: 'certificates.k8s.io',
    version: 'v1beta1',
    resource: 'clustertrustbundles',
    namespaced: false,
  });
  const [bundle] = await waitFor(bundles, {}, (objects) => objects.length > 0 && objects);
  assert.match(bundle!.metadata.name!, /^kubernetes\.io:kube-apiserver-serving:[0-9a-f]{24}$/);
  assert.equal((bundle!['spec'] as Json).trustBundle, cluster.adminCredentials!.certificateAuthority);
  await bundles.delete(bundle!.metadata.name!);
  await waitForOne(bundles, bundle!.metadata.name!, undefined, (b) => b.metadata.uid !== bundle!.metadata.uid);

  const node = connectApi(cluster, { token: 'node-token' });
  t.after(() => node.close());
  const made = (await admin.create('/api/v1/nodes', { metadata: { name: 'n1' } })).body;
  await waitForOne(cluster.client.core.serviceaccounts, 'default', 'default', () => true);
  const account = (await admin.get('/api/v1/namespaces/default/serviceaccounts/default')).body;
  const pod = (
    await admin.create('/api/v1/namespaces/default/pods', {
      metadata: { name: 'p' },
      spec: { nodeName: 'n1', containers: [{ name: 'c', image: 'i' }] },
    })
  ).body;
  const request = (spec: Json): Promise<Answer> =>
    node.create(`${beta}/namespaces/default/podcertificaterequests`, {
      metadata: { generateName: 'p-' },
      spec: {
        signerName: 'example.com/signer',
        podName: 'p',
        podUID: pod.metadata.uid,
        serviceAccountName: 'default',
        serviceAccountUID: account.metadata.uid,
        nodeName: 'n1',
        nodeUID: made.metadata.uid,
        maxExpirationSeconds: 86_400,
        ...spec,
      },
    });
  const stub = Buffer.from(
    new x509.Pkcs10CertificateRequest(Buffer.from((await csr('CN=')).request, 'base64').toString()).rawData,
  ).toString('base64');
  const own = await request({ stubPKCS10Request: stub });
  assert.equal(own.status, 201, own.text);
  const foreign = await request({ stubPKCS10Request: stub, nodeName: 'n2' });
  assert.equal(foreign.status, 403);
  assert.match(
    foreign.body.message,
    /PodCertificateRequest.Spec.NodeName="n2", which is not the requesting node "n1"$/,
  );
  assert.equal((await request({ stubPKCS10Request: stub, podUID: 'other' })).status, 500);
  assert.equal(
    (await node.get(`${beta}/namespaces/default/podcertificaterequests/${own.body.metadata.name}`)).status,
    200,
  );
  const all = await node.get(`${beta}/podcertificaterequests`);
  assert.equal(all.status, 403);
  assert.match(all.body.message, /can only list\/watch podcertificaterequests with nodeName field selector$/);
  assert.equal((await node.get(`${beta}/podcertificaterequests?fieldSelector=spec.nodeName%3Dn1`)).status, 200);
});

test('requests for a signer outside: fields, subresources, collections', async () => {
  const signerName = 'example.com/e2e';
  const { request } = await csr('CN=e2e.example.com', ['e2e.example.com']);
  const names: string[] = [];
  for (let i = 0; i < 3; i++) {
    const made = await admin.create(group, {
      metadata: { generateName: 'e2e-' },
      spec: {
        request,
        signerName,
        expirationSeconds: 3600,
        usages: ['digital signature', 'key encipherment', 'server auth'],
      },
    });
    assert.equal(made.status, 201, made.text);
    names.push(made.body.metadata.name);
  }
  const name = names[2]!;
  const selector = `fieldSelector=spec.signerName%3D${encodeURIComponent(signerName)}`;
  const count = async (): Promise<number> => (await admin.get(`${group}?${selector}`)).body.items.length;
  assert.equal(await count(), 3);
  for (const subresource of ['approval', 'status']) {
    const gotten = await admin.get(`${group}/${name}/${subresource}`);
    assert.equal(gotten.body.kind, 'CertificateSigningRequest');
    assert.equal(gotten.body.metadata.name, name);
  }
  const patched = await admin.merge(`${group}/${name}/approval`, {
    metadata: { annotations: { patchedapproval: 'true' } },
    status: { conditions: [{ type: 'ApprovalPatch', status: 'True', reason: 'e2e' }] },
  });
  assert.equal(patched.status, 200, patched.text);
  assert.equal(patched.body.status.conditions.length, 1);
  assert.equal(patched.body.metadata.annotations.patchedapproval, 'true');
  const approved = await approve(name);
  assert.deepEqual(
    approved.body.status.conditions.map((c: Json) => c.type),
    ['ApprovalPatch', 'Approved'],
  );
  const certificate = Buffer.from(cluster.adminCredentials!.clientCertificate).toString('base64');
  const issued = await admin.merge(`${group}/${name}/status`, {
    metadata: { annotations: { patchedstatus: 'true' } },
    status: { certificate },
  });
  assert.equal(issued.status, 200, issued.text);
  assert.equal(issued.body.status.certificate, certificate);
  assert.equal(issued.body.metadata.annotations.patchedstatus, 'true');
  const another = await admin.merge(`${group}/${name}/status`, {
    status: { certificate: Buffer.from('x').toString('base64') },
  });
  assert.equal(another.status, 422);
  const noted = await admin.request('PUT', `${group}/${name}/status`, {
    ...issued.body,
    status: {
      ...issued.body.status,
      conditions: [
        ...issued.body.status.conditions,
        { type: 'StatusUpdate', status: 'True', reason: 'E2E', message: 'm' },
      ],
    },
  });
  assert.equal(noted.body.status.conditions.at(-1).type, 'StatusUpdate');
  await admin.delete(`${group}/${name}`);
  assert.equal((await admin.get(`${group}/${name}`)).status, 404);
  assert.equal(await count(), 2);
  assert.equal((await admin.delete(`${group}?${selector}`)).status, 200);
  assert.equal(await count(), 0);
});
