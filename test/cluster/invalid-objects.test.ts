/**
 * Objects that are wrong in one place each, of every kind, with the Status that upstream's own API server (v1.36.2) gave to them:
 * `invalid-objects.json` says what is changed in the sample of the kind, and the message and causes; `invalid-updates.json` the
 * same of updates. Causes of new objects are compared as a set, the message as a whole where it tells of one; of updates
 * everything is, in its order. Empty lists where no list may stand are not among them: to upstream they
 * are something, here an empty list is none.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import type { Cluster } from '../../src/index.ts';
import { createCluster } from '../../src/index.ts';
import type { Api } from '../support/api.ts';
import { connectApi } from '../support/api.ts';
import { waitForOne } from '../support/wait.ts';
import { bodyFor, samplesOf } from './every-kind/samples.ts';

interface Case {
  /** `GROUP/VERSION/RESOURCE`, the first `core` for the group without a name. */
  readonly resource: string;
  readonly path: readonly (string | number)[];
  /** Absent: the member is taken away. */
  readonly value?: unknown;
  readonly message: string;
  /** `REASON FIELD: MESSAGE`. */
  readonly causes: readonly string[];
}

const read = (name: string): Case[] => JSON.parse(readFileSync(new URL(name, import.meta.url), 'utf8')) as Case[];
const cases = read('invalid-objects.json');
const updates = read('invalid-updates.json');
const tokenless = { automountServiceAccountToken: false };
const samples = samplesOf('', '');
let cluster: Cluster;
let api: Api;

before(async () => {
  cluster = await createCluster({ nodes: 0, waitForNodes: false, https: { port: 0 } });
  api = connectApi(cluster);
  await cluster.client.core.namespaces.create({ metadata: { name: 'd' } });
  await waitForOne(cluster.client.core.serviceaccounts, 'default', 'd', () => true);
});
after(async () => {
  api?.close();
  await cluster?.close();
});

/** The value with one place in it changed. */
function changed(value: unknown, path: Case['path'], to: unknown): unknown {
  const [step, ...rest] = path;
  if (step === undefined) return to;
  const copy = (Array.isArray(value) ? [...(value as unknown[])] : { ...(value as object) }) as Record<string, unknown>;
  const next = changed(copy[step], rest, to);
  if (next === undefined) delete copy[step];
  else copy[step] = next;
  return copy;
}

interface Listed {
  readonly name: string;
  readonly kind: string;
  readonly namespaced: boolean;
}
const lists = new Map<string, Listed[]>();

async function find(prefix: string, resource: string): Promise<Listed | undefined> {
  if (!lists.has(prefix)) lists.set(prefix, ((await api.get(prefix)).body.resources ?? []) as Listed[]);
  return lists.get(prefix)!.find((r) => r.name === resource);
}

interface Given {
  readonly collection: string;
  readonly name: string;
  readonly base: Record<string, unknown>;
}

/** The sample of the case's kind, and where it goes. */
async function givenFor(c: Case): Promise<Given> {
  const [group, version, resource] = c.resource.split('/') as [string, string, string];
  const gv = group === 'core' ? version : `${group}/${version}`;
  const prefix = group === 'core' ? '/api/v1' : `/apis/${gv}`;
  const info = await find(prefix, resource);
  assert.ok(info, `${c.resource} is not served`);
  const sample = samples[resource] ?? samples[`${group === 'core' ? '' : group}/${resource}`];
  assert.ok(sample, `no sample of ${c.resource}`);
  const name = sample.name?.('every', version) ?? 'every';
  const base = {
    ...bodyFor(resource, name, sample),
    apiVersion: gv,
    kind: info.kind,
    metadata: { name, ...sample.metadata, ...(info.namespaced ? { namespace: 'd' } : {}) },
  };
  return { collection: `${prefix}${info.namespaced ? '/namespaces/d' : ''}/${resource}`, name, base };
}

const causesOf = (status: { details?: { causes?: { reason: string; field: string; message: string }[] } }): string[] =>
  (status.details?.causes ?? []).map((x) => `${x.reason} ${x.field}: ${x.message}`);
const titleOf = (c: Case): string => {
  const at = c.path.join('.') || 'all of it';
  return `${c.resource}: ${'value' in c ? `${at} = ${JSON.stringify(c.value).slice(0, 60)}` : `no ${at}`}`;
};

describe('invalid objects', () => {
  for (const c of cases)
    test(titleOf(c), async () => {
      const { collection, base } = await givenFor(c);
      const { status: code, body: status } = await api.create(
        `${collection}?dryRun=All`,
        changed(base, c.path, c.value),
      );
      assert.equal(code, 422, JSON.stringify(status).slice(0, 400));
      assert.equal(status.reason, 'Invalid');
      assert.deepEqual(causesOf(status).toSorted(), c.causes.toSorted());
      if (c.causes.length === 1) assert.equal(status.message, c.message);
    });
});

describe('invalid updates', () => {
  const made = new Map<string, Promise<unknown>>();
  for (const c of updates)
    test(titleOf(c), async () => {
      const { collection, name, base } = await givenFor(c);
      // A pod's token volume has a name of its own each time.
      const spec = collection.endsWith('/pods') ? { spec: { ...(base['spec'] as object), ...tokenless } } : {};
      const given = { ...base, ...spec };
      if (!made.has(c.resource)) made.set(c.resource, api.create(collection, given));
      await made.get(c.resource);
      const to = changed(given, c.path, c.value);
      const { status: code, body: status } = await api.request('PUT', `${collection}/${name}?dryRun=All`, to);
      assert.equal(code, 422, JSON.stringify(status).slice(0, 400));
      assert.deepEqual(causesOf(status), c.causes);
      assert.equal(status.message, c.message);
    });
});
