/**
 * What is accepted but remarked on. `warnings.json` holds objects with the warnings that upstream's own API server (v1.36.2) gave
 * for them; `{ns}` stands for the namespace. Some of upstream's come in no order, so they are compared as sets.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import type { Cluster } from '../../src/index.ts';
import { createCluster } from '../../src/index.ts';
import type { Api, Json } from '../support/api.ts';
import { connectApi } from '../support/api.ts';

interface Remarked {
  readonly path: string;
  readonly body: Json;
  readonly warnings: readonly string[];
}

const cases = JSON.parse(readFileSync(new URL('warnings.json', import.meta.url), 'utf8')) as Remarked[];
const namespace = 'warnings';
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
});
after(async () => {
  api?.close();
  await cluster?.close();
});

for (const [i, { path, body, warnings }] of cases.entries()) {
  const resource = path.replace(/\?.*/, '').split('/').at(-1);
  test(`${i} ${resource}: ${warnings[0]!.slice(0, 100)}`, async () => {
    const answer = await api.create(path.replace('{ns}', namespace), body);
    assert.deepEqual([...answer.warnings].sort(), [...warnings].sort(), answer.text.slice(0, 400));
  });
}
