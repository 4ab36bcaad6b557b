import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Secret } from '../api/types/index.gen.ts';
import { isNotFound } from '../client/errors.ts';
import { createWorld } from './testing.ts';

const dayMs = 86_400_000;
const since = 'kubernetes.io/legacy-token-invalid-since';

test('tokens that nobody uses are marked invalid after a period and deleted after another', async () => {
  await using world = await createWorld(['legacy-serviceaccount-token-cleaner-controller'], {
    legacyServiceAccountTokenCleanUpPeriodMs: 30 * dayMs,
  });
  const { client, clock } = world;
  const day = (): string => new Date(clock.now()).toISOString().slice(0, 10);
  await client.core.configmaps.create({
    metadata: { name: 'kube-apiserver-legacy-service-account-token-tracking', namespace: 'kube-system' },
    data: { since: day() },
  });
  const names = ['unused', 'used', 'mounted', 'by-hand'];
  await client.core.serviceaccounts.create({
    metadata: { name: 'robot', namespace: 'default' },
    secrets: ['unused', 'used', 'mounted'].map((name) => ({ name })),
  });
  for (const name of names)
    await client.core.secrets.create({
      metadata: { name, namespace: 'default', annotations: { 'kubernetes.io/service-account.name': 'robot' } },
      type: 'kubernetes.io/service-account-token',
    });
  await client.core.pods.create({
    metadata: { name: 'p', namespace: 'default' },
    spec: { containers: [{ name: 'c', image: 'i' }], volumes: [{ name: 'v', secret: { secretName: 'mounted' } }] },
  });
  const secret = async (name: string): Promise<Secret | undefined> => {
    try {
      return await client.core.secrets.get(name, 'default');
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  };
  const use = async (): Promise<void> => {
    await client.core.secrets.patch('used', 'default', 'merge', {
      metadata: { labels: { 'kubernetes.io/legacy-token-last-used': day() } },
    });
  };
  await clock.advance(29 * dayMs);
  for (const name of names) assert.equal((await secret(name))?.metadata.labels?.[since], undefined);
  await use();
  await clock.advance(4 * dayMs);
  assert.match((await secret('unused'))!.metadata.labels![since]!, /^\d{4}-\d{2}-\d{2}$/);
  for (const name of names.slice(1)) assert.equal((await secret(name))?.metadata.labels?.[since], undefined, name);
  await use();
  await clock.advance(25 * dayMs);
  assert.notEqual(await secret('unused'), undefined);
  await use();
  await clock.advance(10 * dayMs);
  assert.equal(await secret('unused'), undefined);
  for (const name of names.slice(1)) assert.notEqual(await secret(name), undefined, name);
});
