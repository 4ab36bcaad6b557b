/**
 * Sends the table of bad input raw over HTTPS and compares the whole answer: status code, reason, message, details and
 * warnings. `{{name.path}}` in what is sent or expected stands for a part of an earlier answer; a message that ends in `…` is
 * compared as far as that.
 */
import assert from 'node:assert/strict';
import { Agent, request } from 'node:https';
import { after, before, describe, test } from 'node:test';
import { createCluster, createLogger } from '../../src/index.ts';
import type { Cluster, KubeObject } from '../../src/index.ts';
import { badInput } from './bad-input.ts';
import type { Case, Expected, Send } from './bad-input/case.ts';
import { waitForOne } from '../support/wait.ts';
import { widgetDefinition } from './bad-input/custom-resources.ts';

interface Answer {
  readonly code: number;
  readonly text: string;
  readonly warnings: readonly string[];
}

type Json = Record<string, unknown>;
interface Definition extends KubeObject {
  readonly status?: { readonly conditions?: readonly { readonly type: string; readonly status: string }[] };
}

let cluster: Cluster;
let admin: Agent;
let nobody: Agent;
/** What the server logged as its own fault. */
const errors: string[] = [];

function at(value: unknown, path: readonly string[]): unknown {
  return path.reduce<unknown>((v, key) => (v as Json | undefined)?.[key], value);
}

/** Puts what was kept into a text; a text that is nothing else becomes the JSON of it. */
function fill(text: string, kept: ReadonlyMap<string, unknown>): string {
  return text.replaceAll(/\{\{([\w.]+)\}\}/g, (_, path: string) => {
    const [name, ...rest] = path.split('.');
    const value = at(kept.get(name!), rest);
    assert.notEqual(value, undefined, `nothing kept under ${path}`);
    return typeof value === 'string' ? value : JSON.stringify(value);
  });
}

function send(s: Send, kept: ReadonlyMap<string, unknown>): Promise<Answer> {
  const body =
    s.body === undefined
      ? undefined
      : Buffer.isBuffer(s.body)
        ? s.body
        : Buffer.from(fill(typeof s.body === 'string' ? s.body : JSON.stringify(s.body), kept));
  const as = s.as ?? 'admin';
  const headers: Record<string, string | string[] | number> = { accept: s.accept ?? 'application/json' };
  if (body !== undefined) {
    headers['content-type'] = s.type ?? 'application/json';
    headers['content-length'] = body.length;
  }
  if (typeof as === 'object') {
    if ('token' in as) headers['authorization'] = `Bearer ${as.token}`;
    else {
      headers['impersonate-user'] = as.user;
      if (as.groups !== undefined) headers['impersonate-group'] = [...as.groups];
    }
  }
  const agent = as === 'nobody' || (typeof as === 'object' && 'token' in as) ? nobody : admin;
  return new Promise((resolve, reject) => {
    const req = request(`${cluster.url!}${fill(s.path, kept)}`, { method: s.method, headers, agent }, (res) => {
      const chunks: Buffer[] = [];
      res.on('data', (c: Buffer) => chunks.push(c));
      res.on('error', reject);
      res.on('end', () => {
        const given = res.rawHeaders.flatMap((h, i, all) =>
          i % 2 === 0 && h.toLowerCase() === 'warning' ? [all[i + 1]!] : [],
        );
        resolve({
          code: res.statusCode!,
          text: Buffer.concat(chunks).toString('utf8'),
          warnings: given
            .map((w) => JSON.parse(/^299 - (".*")$/s.exec(w)?.[1] ?? '"?"') as string)
            .filter((w) => !w.startsWith('knarr')),
        });
      });
    });
    req.on('error', reject);
    req.end(body);
  });
}

function compare(answer: Answer, expect: Expected, kept: ReadonlyMap<string, unknown>): void {
  if (expect.text !== undefined) {
    assert.deepEqual({ code: answer.code, text: answer.text }, { code: expect.code, text: expect.text });
    return;
  }
  const body = JSON.parse(answer.text) as Json;
  if (expect.warnings !== undefined) assert.deepEqual(answer.warnings, expect.warnings);
  if (expect.code < 300) {
    assert.equal(answer.code, expect.code, answer.text);
    for (const [path, value] of Object.entries(expect.object ?? {}))
      assert.deepEqual(at(body, path.split('.')), value, path);
    return;
  }
  let message = fill(expect.message ?? '', kept);
  const got = { ...body };
  if (message.endsWith('…')) {
    message = message.slice(0, -1);
    got['message'] = String(got['message']).slice(0, message.length);
  }
  const { details } = got;
  delete got['details'];
  assert.deepEqual(
    { http: answer.code, ...got },
    {
      http: expect.code,
      kind: 'Status',
      apiVersion: 'v1',
      metadata: 'continue' in (body['metadata'] as Json) ? body['metadata'] : {},
      status: 'Failure',
      message,
      ...(expect.reason === undefined ? {} : { reason: expect.reason }),
      code: expect.code,
    },
  );
  if (expect.details !== undefined) assert.deepEqual(details, JSON.parse(fill(JSON.stringify(expect.details), kept)));
}

async function run(c: Case): Promise<void> {
  const kept = new Map<string, unknown>();
  for (const step of c.given ?? []) {
    const answer = await send(step, kept);
    assert.ok(answer.code < 300 || answer.code === 409, `${step.method} ${step.path} for it: ${answer.text}`);
    if (step.keep !== undefined) kept.set(step.keep, JSON.parse(answer.text));
  }
  compare(await send(c.send, kept), c.expect, kept);
}

before(async () => {
  const logger = createLogger({
    level: 'error',
    now: () => Date.now(),
    sink: (r) =>
      errors.push(`${r.message} ${(r.fields['error'] as Error | undefined)?.stack ?? JSON.stringify(r.fields)}`),
  });
  cluster = await createCluster({ nodes: 2, https: { port: 0 }, logger });
  const { certificateAuthority: ca, clientCertificate: cert, clientKey: key } = cluster.adminCredentials!;
  admin = new Agent({ ca, cert, key, keepAlive: true, maxSockets: 4 });
  nobody = new Agent({ ca, keepAlive: true, maxSockets: 4 });
  const none = new Map<string, unknown>();
  for (const s of [
    { method: 'POST', path: '/api/v1/namespaces', body: { metadata: { name: 'bad' } } },
    { method: 'POST', path: '/api/v1/namespaces/bad/serviceaccounts', body: { metadata: { name: 'default' } } },
    { method: 'POST', path: '/apis/apiextensions.k8s.io/v1/customresourcedefinitions', body: widgetDefinition },
  ] satisfies Send[]) {
    const { code, text } = await send(s, none);
    assert.ok(code === 201 || code === 409, text);
  }
  await waitForOne(
    cluster.client.resource<Definition>({
      group: 'apiextensions.k8s.io',
      version: 'v1',
      resource: 'customresourcedefinitions',
      namespaced: false,
    }),
    'widgets.example.com',
    undefined,
    (d) => d.status?.conditions?.some((c) => c.type === 'Established' && c.status === 'True') === true,
  );
  await cluster.store.compact((await cluster.store.currentRevision()) - 1);
});

after(async () => {
  admin?.destroy();
  nobody?.destroy();
  await cluster?.close();
});

for (const [part, cases] of badInput)
  describe(part, () => {
    for (const c of cases) test(c.name, () => run(c));
  });

test('none of it was the server at fault', () => assert.deepEqual(errors, []));

test('there are enough of them, all different', () => {
  const cases = badInput.flatMap(([, list]) => list);
  assert.ok(cases.length >= 100, `${cases.length} cases`);
  assert.equal(new Set(cases.map((c) => JSON.stringify([c.given ?? [], c.send]))).size, cases.length);
});
