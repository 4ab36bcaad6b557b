/**
 * Requests that are wrong in themselves: parameters, media types, bodies, patches, methods. `wrong-requests.json` holds them with
 * the Status that upstream's own API server (v1.36.2) answered; `{ns}` stands for the namespace.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import type { Cluster } from '../../src/index.ts';
import { createCluster } from '../../src/index.ts';
import type { Api } from '../support/api.ts';
import { connectApi } from '../support/api.ts';

interface Wrong {
  readonly method: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: unknown;
  readonly code: number;
  readonly message: string;
  readonly reason?: string;
  /** `REASON FIELD: MESSAGE`. */
  readonly causes?: readonly string[];
}

const requests = JSON.parse(readFileSync(new URL('wrong-requests.json', import.meta.url), 'utf8')) as Wrong[];
const namespace = 'wrong';
const given: Readonly<Record<string, object>> = {
  [`/api/v1/namespaces/${namespace}/configmaps`]: { metadata: { name: 'a', labels: { x: 'y' } }, data: { k: 'v' } },
  [`/api/v1/namespaces/${namespace}/pods`]: {
    metadata: { name: 'p', labels: { app: 'a' } },
    spec: {
      automountServiceAccountToken: false,
      containers: [{ name: 'c', image: 'i', resources: { requests: { cpu: '100m' }, limits: { cpu: '200m' } } }],
    },
  },
  [`/apis/apps/v1/namespaces/${namespace}/deployments`]: {
    metadata: { name: 'd' },
    spec: {
      replicas: 1,
      selector: { matchLabels: { a: 'b' } },
      template: {
        metadata: { labels: { a: 'b' } },
        spec: {
          containers: [{ name: 'c', image: 'i', ports: [{ containerPort: 80 }], env: [{ name: 'A', value: '1' }] }],
        },
      },
    },
  },
};
let cluster: Cluster;
let api: Api;

before(async () => {
  cluster = await createCluster({
    nodes: 0,
    waitForNodes: false,
    https: { port: 0 },
    disable: ['kube-scheduler', 'kube-controller-manager'],
  });
  api = connectApi(cluster);
  await cluster.client.core.namespaces.create({ metadata: { name: namespace } });
  await cluster.client.core.serviceaccounts.create({ metadata: { name: 'default', namespace } });
  for (const [path, body] of Object.entries(given))
    assert.equal((await api.request('POST', path, body, { 'user-agent': 'tester/1' })).status, 201, path);
});
after(async () => {
  api?.close();
  await cluster?.close();
});

const here = (text: string): string => text.replaceAll('{ns}', namespace);

for (const r of requests) {
  const body = r.body === undefined ? '' : ` ${JSON.stringify(r.body).slice(0, 60)}`;
  test(`${r.method} ${r.path} ${JSON.stringify(r.headers ?? {})}${body}`, async () => {
    const answer = await api.request(r.method, here(r.path), r.body, { 'user-agent': 'tester/1', ...r.headers });
    const status = answer.body as { reason?: string; message?: string; details?: { causes?: object[] } };
    assert.equal(status.message, here(r.message));
    assert.equal(answer.status, r.code);
    assert.equal(status.reason, r.reason);
    const causes = (status.details?.causes ?? []) as { reason: string; field: string; message: string }[];
    assert.deepEqual(
      causes.map((c) => `${c.reason} ${c.field}: ${c.message}`),
      r.causes ?? [],
    );
  });
}
