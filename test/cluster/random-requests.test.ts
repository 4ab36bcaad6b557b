/**
 * Random requests: URLs, queries, headers and bodies, from nonsense to objects that nearly make sense, made of the schemas.
 * The server must answer each in its own words: never 500, never by falling over. `KNARR_SEED=n` draws
 * others, `KNARR_FUZZ_SCALE` more.
 */
import assert from 'node:assert/strict';
import * as http2 from 'node:http2';
import { test } from 'node:test';
import { loadCatalog } from '../../src/api/catalog/catalog.ts';
import type { ResourceInfo } from '../../src/api/catalog/resource.ts';
import { FeatureGates } from '../../src/api/features/feature-gates.ts';
import type { Schema } from '../../src/api/schema/schema.ts';
import { createApiServer } from '../../src/apiserver/server.ts';
import { SystemClock } from '../../src/base/clock.ts';
import { scale, seed } from '../../src/base/fuzzing.ts';
import { createLogger, formatText } from '../../src/base/logger.ts';
import { SeededRandom, SystemRandom } from '../../src/base/random.ts';
import { controlPlaneRequests, defaultValidity, ensurePki } from '../../src/cluster/pki.ts';
import { openEmbeddedStore } from '../../src/etcd/embedded-store.ts';
import { isUpstreamsOwn500 } from './fuzz/own-500.ts';
import { queryParameters } from './fuzz/query-parameters.ts';

const count = 3000 * scale;
const random = new SeededRandom(seed);
const catalog = loadCatalog();
const { resources } = catalog;

function pick<T>(from: readonly T[]): T {
  return from[random.int(from.length)]!;
}

const oddities = [
  '',
  'a',
  'x-1',
  'Bad_Name',
  '..',
  '%2e',
  '\u0000',
  'ä',
  'x'.repeat(300),
  '-1',
  '0',
  '1',
  '65536',
  'null',
  '{}',
  '[]',
  'true',
  '1e999',
  'a/b',
  'a,b',
  '=',
  '!',
  '"',
  "'",
  'metadata.name=x',
  'status.phase',
  'a in (b)',
  '999999999999999999999',
  '2026-01-01T00:00:00Z',
  '10.0.0.1',
  '10.0.0.0/8',
  'TCP',
  'Always',
  'nginx',
  '/p',
  '100m',
  '50%',
  'a=b',
];
const odd = (): string => pick(oddities);

const members = [
  'metadata',
  'spec',
  'status',
  'name',
  'namespace',
  'labels',
  'annotations',
  'kind',
  'apiVersion',
  'containers',
  'template',
  'selector',
  'ports',
  'data',
  'finalizers',
  'ownerReferences',
  'rules',
  'managedFields',
  'uid',
  'resourceVersion',
];

/** Any JSON. */
function anything(depth = 0): unknown {
  switch (random.int(depth > 3 ? 5 : 8)) {
    case 0:
      return null;
    case 1:
      return random.int(1e9) - 5e8;
    case 2:
      return odd();
    case 3:
      return random.int(2) === 0;
    case 4:
      return 1.5;
    case 5:
      return Array.from({ length: random.int(3) }, () => anything(depth + 1));
    default: {
      const o: Record<string, unknown> = {};
      for (let i = random.int(5); i > 0; i--) o[pick([...members, odd()])] = anything(depth + 1);
      return o;
    }
  }
}

function scalar(type: string): unknown {
  switch (type) {
    case 'boolean':
      return random.int(2) === 0;
    case 'int32':
    case 'int64':
      return pick([0, 1, -1, 80, 65_536, 2_147_483_647, -5]);
    case 'double':
      return 0.5;
    case 'bytes':
      return pick(['', 'YQ==', '!!']);
    case 'quantity':
      return pick(['1', '100m', '1Gi', '-1', 'zz', '']);
    case 'time':
    case 'microTime':
      return pick(['2026-01-01T00:00:00Z', '2026-01-01T00:00:00.000000Z', '']);
    case 'duration':
      return pick(['1s', 'x']);
    case 'intOrString':
      return pick([1, '50%', 'x', -3, '0%']);
    default:
      return odd();
  }
}

/** Something of the schema's shape; `likely` is the chance in percent of each member that may be left out. */
function shaped(schema: Schema, depth: number, likely: number): unknown {
  if (random.int(25) === 0) return null;
  switch (schema.kind) {
    case 'scalar':
      return scalar(schema.type);
    case 'any':
      return anything(2);
    case 'either':
      return shaped(random.int(2) === 0 ? schema.object : schema.other, depth, likely);
    case 'list':
      return depth > 9 ? [] : Array.from({ length: random.int(3) }, () => shaped(schema.items, depth + 1, likely));
    case 'map': {
      const o: Record<string, unknown> = {};
      for (let i = random.int(3); i > 0; i--)
        o[pick(['a', 'b', 'x/y', 'Bad Key', 'cpu', 'memory'])] = shaped(schema.values, depth + 1, likely);
      return o;
    }
    case 'object': {
      const o: Record<string, unknown> = {};
      if (depth > 9) return o;
      for (const [name, field] of schema.fields)
        if (field.required ? random.int(8) !== 0 : random.int(100) < likely)
          o[name] = shaped(field.schema, depth + 1, likely);
      return o;
    }
  }
}

function apiVersion(r: ResourceInfo): string {
  return r.group === '' ? r.version : `${r.group}/${r.version}`;
}

/** An object of the resource's kind that nearly makes sense. */
function nearlyRight(r: ResourceInfo): Record<string, unknown> & { metadata: Record<string, unknown> } {
  const made = shaped(catalog.schema(r.definition), 0, pick([10, 25, 50]));
  const object = (typeof made === 'object' && made !== null ? made : {}) as Record<string, unknown>;
  const given = random.int(3) === 0 ? (object['metadata'] as object | null) : {};
  const metadata = {
    ...given,
    name: pick(['x', 'y', 'z']),
    namespace: undefined,
    resourceVersion: undefined,
    uid: undefined,
  };
  return { ...object, apiVersion: apiVersion(r), kind: r.kind, metadata };
}

interface RandomRequest {
  readonly method: string;
  readonly target: string;
  readonly headers: Record<string, string>;
  readonly body: string | undefined;
}

const rootOf = (r: ResourceInfo): string => (r.group === '' ? `/api/${r.version}` : `/apis/${r.group}/${r.version}`);
const contentTypes = [
  'application/json',
  'application/yaml',
  'application/vnd.kubernetes.protobuf',
  'application/merge-patch+json',
  'application/json-patch+json',
  'application/strategic-merge-patch+json',
  'application/apply-patch+yaml',
  'text/plain',
  'x',
];
const accepts = [
  'application/json;as=Table;v=v1;g=meta.k8s.io',
  'application/yaml',
  'application/vnd.kubernetes.protobuf',
  '*/*;q=0',
  'text/html',
  'application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io',
  '',
];

/** A write that reaches validation. */
function write(): RandomRequest {
  const r = pick(resources.filter((x) => x.verbs.includes('create')));
  const object = nearlyRight(r);
  const collection = `${rootOf(r)}${r.namespaced ? '/namespaces/default' : ''}/${r.resource}`;
  const body = JSON.stringify(object);
  if (random.int(3) !== 0 || !r.verbs.includes('update'))
    return {
      method: 'POST',
      target: collection,
      headers: { 'content-type': pick(['application/json', 'application/yaml']) },
      body,
    };
  const status = random.int(3) === 0 && r.subresources.some((s) => s.name === 'status') ? '/status' : '';
  const item = `${collection}/${String(object.metadata['name'])}${status}`;
  switch (random.int(3)) {
    case 0:
      return { method: 'PUT', target: item, headers: { 'content-type': 'application/json' }, body };
    case 1:
      return {
        method: 'PATCH',
        target: item,
        headers: { 'content-type': pick(['application/merge-patch+json', 'application/strategic-merge-patch+json']) },
        body,
      };
    default:
      return {
        method: 'PATCH',
        target: `${item}?fieldManager=random&force=true`,
        headers: { 'content-type': 'application/apply-patch+yaml' },
        body,
      };
  }
}

/** Something that need not make any sense. */
function nonsense(): RandomRequest {
  const r = pick(resources);
  const name = (): string => pick(['x', 'kubernetes', 'default', encodeURIComponent(odd())]);
  const sub = [
    '',
    '',
    '/status',
    '/scale',
    '/log',
    '/exec',
    '/proxy',
    '/token',
    '/binding',
    '/eviction',
    '/finalize',
    '/zz',
    '/proxy/a',
  ];
  const words = [
    'api',
    'apis',
    'v1',
    'apps',
    'namespaces',
    'pods',
    'openapi',
    'v2',
    'v3',
    'healthz',
    'livez',
    'version',
    'watch',
    'proxy',
  ];
  const path =
    random.int(4) === 0
      ? `/${Array.from({ length: random.int(6) }, () => pick([...words, encodeURIComponent(odd())])).join('/')}`
      : `${rootOf(r)}${r.namespaced ? `/namespaces/${pick(['default', 'kube-system', name()])}` : ''}/${r.resource}${pick(['', `/${name()}${pick(sub)}`])}`;
  const query = Array.from(
    { length: random.int(4) },
    () => `${pick(queryParameters)}=${encodeURIComponent(odd())}`,
  ).join('&');
  const headers: Record<string, string> = {};
  if (random.int(3) !== 0) headers['content-type'] = pick(contentTypes);
  if (random.int(4) === 0) headers['accept'] = pick(accepts);
  if (random.int(20) === 0) headers['impersonate-user'] = encodeURIComponent(odd());
  const patch = [
    {
      op: pick(['add', 'remove', 'replace', 'move', 'copy', 'test', 'zz']),
      path: `/${pick(members)}`,
      value: anything(),
      from: '/a',
    },
  ];
  const body = pick([
    undefined,
    JSON.stringify(anything()),
    JSON.stringify(patch),
    JSON.stringify(nearlyRight(r)),
    '{"a":',
    odd(),
    `k8s\0${JSON.stringify(anything())}`,
    'a: [b',
  ]);
  const method = pick(['GET', 'GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'HEAD', 'OPTIONS', 'FOO']);
  return { method, target: query === '' ? path : `${path}?${query}`, headers, body };
}

test(`random requests are always answered, never with 500 (seed ${seed})`, async () => {
  const clock = new SystemClock();
  const panics: string[] = [];
  const logger = createLogger({ level: 'error', now: () => 0, sink: (r) => panics.push(formatText(r)) });
  const store = await openEmbeddedStore({ engine: 'memory', clock, logger });
  const systemRandom = new SystemRandom();
  const pki = await ensurePki({
    now: clock.now(),
    random: systemRandom,
    validity: defaultValidity,
    requests: controlPlaneRequests({ dnsNames: [], addresses: ['127.0.0.1'], nodeNames: [], components: false }),
  });
  const refuse = (): Promise<never> => Promise.reject(new Error('connection refused'));
  const server = await createApiServer({
    store,
    embedded: true,
    clock,
    random: systemRandom,
    logger,
    catalog,
    freeze: true,
    runtimeConfig: new Map(catalog.groupVersions.map((v) => [`${v.group}/${v.version}`, true])),
    features: new FeatureGates({
      CBORServingAndStorage: true,
      ClusterTrustBundle: true,
      PodCertificateRequest: true,
      GenericWorkload: true,
      StorageVersionMigrator: true,
    }),
    certificates: { certificate: pki.get('apiserver.crt')!, key: pki.get('apiserver.key')! },
    serviceAccountKeys: { signingKey: pki.get('sa.key')! },
    staticTokens: new Map([['token', { name: 'random', groups: ['system:masters'] }]]),
    dialer: { dialNode: refuse, dialTcp: refuse },
  });
  const { port } = await server.listen({ host: '127.0.0.1', port: 0 });
  await server.ready();
  const session = http2.connect(`https://127.0.0.1:${port}`, { ca: pki.get('ca.crt')! });
  const send = (r: RandomRequest): Promise<{ status: number; text: string }> =>
    new Promise((resolve, reject) => {
      const stream = session.request(
        { ':method': r.method, ':path': r.target, authorization: 'Bearer token', ...r.headers },
        { endStream: r.body === undefined },
      );
      const chunks: Buffer[] = [];
      let status = 0;
      stream.on('response', (h) => (status = Number(h[':status'])));
      stream.on('data', (c: Buffer) => chunks.push(c));
      stream.on('error', (error) => reject(new Error(`${error.message}: ${JSON.stringify(r)}`, { cause: error })));
      stream.on('close', () => resolve({ status, text: Buffer.concat(chunks).toString('utf8') }));
      if (r.body !== undefined) stream.end(r.body);
    });
  const bad: string[] = [];
  let left = count;
  try {
    await Promise.all(
      Array.from({ length: 8 }, async () => {
        while (left-- > 0) {
          const r = random.int(10) < 6 ? write() : nonsense();
          const { status, text } = await send(r);
          // What a backend that cannot be reached leads to is no defect.
          const backend =
            /error dialing backend|error trying to reach service|connection refused|no preferred addresses found/.test(
              text,
            ) || // HEAD has no body to tell it in
            (r.method === 'HEAD' && /\/(proxy|log)/.test(r.target));
          if ((status === 500 && !backend && !isUpstreamsOwn500(text) && r.method !== 'HEAD') || status === 0)
            bad.push(`${status} ${r.method} ${r.target} ${JSON.stringify(r.headers)}\n${r.body ?? ''}\n${text}`);
        }
      }),
    );
  } finally {
    session.close();
    await server.close();
    await store.close();
  }
  assert.deepEqual([...bad.slice(0, 5), ...panics.slice(0, 5)], []);
});
