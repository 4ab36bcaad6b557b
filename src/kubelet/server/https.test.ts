import 'reflect-metadata';
import assert from 'node:assert/strict';
import * as https from 'node:https';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import * as x509 from '@peculiar/x509';
import { VirtualClock } from '../../base/clock.ts';
import { generateSigningKey, privateKeyPem } from '../../base/keys.ts';
import type { CryptoKeyPair } from '../../base/keys.ts';
import { silentLogger } from '../../base/logger.ts';
import type { TypedClient } from '../../client/typed-client.ts';
import { createDelegatedAuth } from './auth.ts';
import { createKubeletServer } from './server.ts';

interface Issued {
  readonly cert: string;
  readonly key: string;
}

async function issue(subject: string, authority: { name: string; keys: CryptoKeyPair }): Promise<Issued> {
  const keys = await generateSigningKey();
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: '01',
    subject,
    issuer: authority.name,
    notBefore: new Date('2020-01-01T00:00:00Z'),
    notAfter: new Date('2099-01-01T00:00:00Z'),
    publicKey: keys.publicKey,
    signingKey: authority.keys.privateKey,
    signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
    extensions: [new x509.SubjectAlternativeNameExtension([{ type: 'ip', value: '127.0.0.1' }])],
  });
  return { cert: certificate.toString('pem'), key: await privateKeyPem(keys.privateKey) };
}

test('callers show a certificate or a token, and need the right on the node', async () => {
  const keys = await generateSigningKey();
  const ca = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: '01',
    name: 'CN=ca',
    notBefore: new Date('2020-01-01T00:00:00Z'),
    notAfter: new Date('2099-01-01T00:00:00Z'),
    keys,
    signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
    extensions: [new x509.BasicConstraintsExtension(true, undefined, true)],
  });
  const authority = { name: 'CN=ca', keys };
  const [server, apiserver, stranger] = await Promise.all([
    issue('CN=n1', authority),
    issue('CN=kube-apiserver-kubelet-client, O=admins, O=others', authority),
    issue('CN=kube-apiserver-kubelet-client', { name: 'CN=other-ca', keys: await generateSigningKey() }),
  ]);
  let asked = 0;
  const reviews: unknown[] = [];
  const client = {
    authentication: {
      tokenreviews: {
        create: ({ spec }: { spec: { token: string } }) => {
          asked++;
          const authenticated = spec.token === 'good';
          return Promise.resolve({
            status: { authenticated, ...(authenticated ? { user: { username: 'bob', groups: ['g'] } } : {}) },
          });
        },
      },
    },
    authorization: {
      subjectaccessreviews: {
        create: ({
          spec,
        }: {
          spec: { user: string; groups: string[]; resourceAttributes: { subresource: string } };
        }) => {
          reviews.push([spec.user, spec.groups.join(','), spec.resourceAttributes.subresource]);
          const allowed = spec.user !== 'bob' || spec.resourceAttributes.subresource === 'metrics';
          return Promise.resolve({ status: { allowed } });
        },
      },
    },
  } as unknown as TypedClient;
  const clock = new VirtualClock();
  const kubelet = createKubeletServer({
    nodeName: 'n1',
    runtime: {
      listPodSandbox: () => Promise.resolve([]),
      listContainers: () => Promise.resolve([]),
    } as never,
    host: {} as never,
    pods: { get: () => undefined, list: () => [] },
    clock,
    logger: silentLogger,
  });
  const { port } = await kubelet.listen({
    address: '127.0.0.1',
    port: 0,
    ...server,
    clientCA: ca.toString('pem'),
    auth: createDelegatedAuth({ client, clock }),
  });
  const get = async (path: string, pair?: Issued, headers: Record<string, string> = {}): Promise<[number, string]> => {
    const response = await new Promise<import('node:http').IncomingMessage>((resolve, reject) => {
      const request = https.get(
        { host: '127.0.0.1', port, path, headers, ca: ca.toString('pem'), agent: false, ...pair },
        resolve,
      );
      request.on('error', reject);
    });
    return [response.statusCode ?? 0, await text(response)];
  };
  assert.deepEqual(await get('/pods'), [401, 'Unauthorized']);
  assert.deepEqual(await get('/pods', stranger), [401, 'Unauthorized']);
  assert.equal((await get('/pods', apiserver))[0], 200);
  assert.deepEqual(reviews.at(-1), ['kube-apiserver-kubelet-client', 'admins,others,system:authenticated', 'pods']);
  assert.deepEqual(await get('/pods', undefined, { authorization: 'Bearer bad' }), [401, 'Unauthorized']);
  const token = { authorization: 'Bearer good' };
  assert.deepEqual(await get('/pods', undefined, token), [
    403,
    'Forbidden (user=bob, verb=get, resource=nodes, subresource(s)=[pods proxy])\n',
  ]);
  assert.equal((await get('/metrics', undefined, token))[0], 200);
  // Answers are kept for a while.
  const before = [asked, reviews.length];
  assert.equal((await get('/metrics', undefined, token))[0], 200);
  assert.deepEqual([asked, reviews.length], before);
  await clock.advance(301_000);
  assert.equal((await get('/metrics', undefined, token))[0], 200);
  assert.deepEqual([asked, reviews.length], [before[0]! + 1, before[1]! + 1]);
  // The endpoint of --read-only-port asks nobody, and has no way into containers.
  const open = await kubelet.listenReadOnly({ address: '127.0.0.1', port: 0 });
  const read = async (path: string) => {
    const response = await fetch(`http://127.0.0.1:${open.port}${path}`, { headers: { connection: 'close' } });
    return [response.status, await response.text()];
  };
  assert.equal((await read('/pods'))[0], 200);
  assert.equal((await read('/metrics'))[0], 200);
  for (const path of ['/containerLogs/default/p/c', '/exec/default/p/c?command=sh', '/ex%65c/default/p/c', '/logs/'])
    assert.deepEqual(await read(path), [405, 'Debug endpoints are disabled.\n'], path);
  await kubelet.close();
});
