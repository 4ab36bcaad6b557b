/** CustomResourceDefinitions over the wire: what they define, what is said of them, what is refused, and how they go. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { createCluster } from '../../src/index.ts';
import type { Cluster } from '../../src/index.ts';
import { connectApi } from '../support/api.ts';
import type { Api, Json } from '../support/api.ts';

let cluster: Cluster;
let api: Api;

before(async () => {
  cluster = await createCluster({ nodes: 0, https: { port: 0 }, disable: ['cloud-controller-manager', 'dns'] });
  api = connectApi(cluster);
});

after(async () => {
  api?.close();
  await cluster?.close();
});

const definitions = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';
const text = { type: 'string' };
const group = 'shop.example.com';

interface Parts {
  readonly group?: string;
  readonly names?: Json;
  readonly versions?: readonly Json[];
  readonly schema?: Json;
  readonly version?: Json;
  readonly metadata?: Json;
  readonly spec?: Json;
}

function definition(plural: string, parts: Parts = {}): Json {
  const of = parts.group ?? group;
  const kind = plural[0]!.toUpperCase() + plural.slice(1, -1);
  const schema = parts.schema ?? { type: 'object', 'x-kubernetes-preserve-unknown-fields': true };
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${plural}.${of}`, ...parts.metadata },
    spec: {
      group: of,
      scope: 'Namespaced',
      names: { plural, singular: plural.slice(0, -1), kind, listKind: `${kind}List`, ...parts.names },
      versions: parts.versions ?? [
        { name: 'v1', served: true, storage: true, schema: { openAPIV3Schema: schema }, ...parts.version },
      ],
      ...parts.spec,
    },
  };
}

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  for (let i = 0; i < 1000; i++) {
    if (await holds()) return;
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.fail(`${what}: it did not come about`);
}

const conditions = async (name: string): Promise<Record<string, string>> =>
  Object.fromEntries(
    ((await api.get(`${definitions}/${name}`)).body.status?.conditions ?? []).map((c: Json) => [
      c.type,
      `${c.status} ${c.reason}: ${c.message}`,
    ]),
  );

async function install(crd: Json): Promise<Json> {
  const made = await api.create(definitions, crd);
  assert.equal(made.status, 201, made.text);
  await until(
    'established',
    async () => (await conditions(crd.metadata.name))['Established']?.startsWith('True') === true,
  );
  return made;
}

const path = (plural: string, name = ''): string =>
  `/apis/${group}/v1/namespaces/default/${plural}${name === '' ? '' : `/${name}`}`;
const object = (kind: string, name: string, members: Json = {}): Json => ({
  apiVersion: `${group}/v1`,
  kind,
  metadata: { name },
  ...members,
});

test('names are accepted, resources served, and discovery tells of them', async () => {
  const made = await install(
    definition('orders', {
      names: { shortNames: ['ord'], categories: ['all', 'sales'] },
      version: { subresources: { status: {} } },
    }),
  );
  assert.deepEqual(made.body.status, {
    conditions: null,
    acceptedNames: { plural: '', kind: '' },
    storedVersions: ['v1'],
  });
  assert.deepEqual(await conditions(`orders.${group}`), {
    NamesAccepted: 'True NoConflicts: no conflicts found',
    Established: 'True InitialNamesAccepted: the initial names have been accepted',
  });
  const { body } = await api.get(`/apis/${group}/v1`);
  const [order, status] = body.resources;
  assert.deepEqual(
    [order.name, order.singularName, order.shortNames, order.categories, order.verbs],
    [
      'orders',
      'order',
      ['ord'],
      ['all', 'sales'],
      ['delete', 'deletecollection', 'get', 'list', 'patch', 'create', 'update', 'watch'],
    ],
  );
  assert.match(order.storageVersionHash, /^[\w+/]{11}=$/);
  assert.deepEqual([status.name, status.verbs], ['orders/status', ['get', 'patch', 'update']]);
  const aggregated = await api.request('GET', '/apis', undefined, {
    accept: 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList',
  });
  assert.ok(aggregated.body.items.some((g: Json) => g.metadata.name === group));
  const v3 = await api.get(`/openapi/v3/apis/${group}/v1`);
  assert.ok(Object.keys(v3.body.components.schemas).includes('com.example.shop.v1.Order'));
  const v2 = await api.get('/openapi/v2');
  assert.ok(Object.keys(v2.body.definitions).includes('com.example.shop.v1.Order'));

  // Who comes second does not get the names that are taken.
  const second = definition('odds', {
    names: { singular: 'order', shortNames: ['ord', 'odd'], kind: 'Odd', listKind: 'OrderList' },
  });
  assert.equal((await api.create(definitions, second)).status, 201);
  await until('a verdict', async () => 'NamesAccepted' in (await conditions(`odds.${group}`)));
  assert.deepEqual(await conditions(`odds.${group}`), {
    NamesAccepted: 'False ListKindConflict: "OrderList" is already in use',
    Established: 'False NotAccepted: not all names are accepted',
  });
  assert.equal((await api.get(path('odds'))).status, 404);
  await api.delete(`${definitions}/orders.${group}`);
  await until(
    'the names to be free',
    async () => (await conditions(`odds.${group}`))['Established']?.startsWith('True') === true,
  );
});

test('a definition that is going takes its instances along, and lets no new ones in', async () => {
  await install(definition('leavers'));
  const made = await api.create(
    path('leavers'),
    object('Leaver', 'held', { metadata: { name: 'held', finalizers: ['example.com/hold'] } }),
  );
  assert.equal(made.status, 201, made.text);
  await api.create(path('leavers'), object('Leaver', 'free'));
  const name = `leavers.${group}`;
  const going = await api.delete(`${definitions}/${name}`);
  assert.equal(going.status, 200, going.text);
  const refused = await api.create(path('leavers'), object('Leaver', 'late'));
  assert.equal(refused.status, 403, refused.text);
  assert.equal(
    refused.body.message,
    `leavers.${group} "late" is forbidden: create not allowed while custom resource definition is terminating`,
  );
  await until('the deletion', async () => (await api.get(path('leavers', 'free'))).status === 404);
  assert.equal(
    (await conditions(name))['Terminating'],
    'True InstanceDeletionInProgress: CustomResource deletion is in progress',
  );
  const { body } = await api.get(`/apis/${group}/v1`);
  const verbs = body.resources.find((r: Json) => r.name === 'leavers').verbs;
  assert.deepEqual(verbs, ['delete', 'deletecollection', 'get', 'list', 'watch']);
  await api.merge(path('leavers', 'held'), { metadata: { finalizers: null } });
  for (let i = 0; i < 100 && (await api.get(`${definitions}/${name}`)).status === 200; i++)
    await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal((await api.get(`${definitions}/${name}`)).status, 404);
  assert.equal((await api.get(path('leavers'))).status, 404);
});

test('definitions of what is built in change nothing of it, and take nothing of it along when they go', async () => {
  await install(definition('stays'));
  const builtIn = [
    ['apiregistration.k8s.io', 'apiservices', 'APIService'],
    ['apiextensions.k8s.io', 'customresourcedefinitions', 'CustomResourceDefinition'],
    ['coordination.k8s.io', 'leases', 'Lease'],
  ] as const;
  for (const [of, plural, kind] of builtIn) {
    const at = `/apis/${of}/v1/${plural}`;
    const names = async (): Promise<string[]> => (await api.get(at)).body.items.map((i: Json) => i.metadata.name);
    const before = await names();
    assert.ok(before.length > 0, plural);
    await install(
      definition(plural, {
        group: of,
        names: { singular: `custom${plural}`, kind: `Custom${kind}`, listKind: `Custom${kind}List` },
        metadata: { annotations: { 'api-approved.kubernetes.io': 'unapproved, testing only' } },
        spec: { scope: 'Cluster' },
        schema: { type: 'object', required: ['foo'], properties: { foo: text, bar: { ...text, default: 'default' } } },
      }),
    );
    const during = await api.get(at);
    assert.deepEqual([during.status, during.body.items[0].bar], [200, undefined]);
    const { body } = await api.get(`/apis/${of}/v1`);
    assert.equal(body.resources.find((r: Json) => r.name === plural).kind, kind);
    assert.equal((await api.get('/apis')).body.groups.filter((g: Json) => g.name === of).length, 1);
    assert.equal((await api.get(`/apis/${of}/v2`)).status, 404);
    const crd = `${definitions}/${plural}.${of}`;
    assert.equal((await api.merge(crd, { metadata: { annotations: { test: 'updated' } } })).status, 200);
    assert.equal((await api.delete(crd)).status, 200);
    await until('its end', async () => (await api.get(crd)).status === 404);
    const left = await names();
    assert.deepEqual(
      before.filter((n) => !left.includes(n)),
      [],
    );
  }
  const service = {
    apiVersion: 'apiregistration.k8s.io/v1',
    kind: 'APIService',
    metadata: { name: 'v1.example.com' },
    spec: { group: 'example.com', version: 'v1', versionPriority: 100, groupPriorityMinimum: 100 },
  };
  assert.equal((await api.create('/apis/apiregistration.k8s.io/v1/apiservices', service)).status, 201);
  assert.equal((await api.delete('/apis/apiregistration.k8s.io/v1/apiservices/v1.example.com')).status, 200);
});

test('owner references that are there twice are told of and written once, as those of built-in objects are', async () => {
  await install(definition('twins'));
  // Of a kind that nobody knows, so that nobody collects what they own.
  const owner = (name: string): Json => ({
    apiVersion: 'none.example.com/v1',
    kind: 'No',
    name,
    uid: `uid-of-${name}`,
  });
  const [a, b] = [owner('a'), owner('b')];
  const says = (after: string, uids = a.uid): string =>
    `.metadata.ownerReferences contains duplicate entries${after}; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: ${uids}`;
  const written = says('');
  const patched = says(' after mutating admission happens');
  const kinds = [
    ['/api/v1/namespaces/default/configmaps', { apiVersion: 'v1', kind: 'ConfigMap' }],
    [path('twins'), { apiVersion: `${group}/v1`, kind: 'Twin' }],
  ] as const;
  for (const [at, type] of kinds) {
    const of = (ownerReferences: Json): Json => ({ ...type, metadata: { name: 'x', ownerReferences } });
    const json = { 'content-type': 'application/json-patch+json' };
    const add = (...values: Json[]): Json =>
      values.map((value) => ({ op: 'add', path: '/metadata/ownerReferences/-', value }));
    const one = `${at}/x`;
    const put = async (references: Json): Promise<Json> => {
      const { resourceVersion } = (await api.get(one)).body.metadata;
      const { metadata } = of(references);
      return api.request('PUT', one, { ...type, metadata: { ...metadata, resourceVersion } });
    };
    const steps: readonly (readonly [string, () => Promise<Json>, Json, string[]])[] = [
      ['create', () => api.create(at, of([a, a])), [a], [written]],
      ['update', () => put([a, a]), [a], [written]],
      ['thrice', () => put([a, b, a, b, b]), [a, b], [says('', `${[a, b, b].map((o) => o.uid).join(', ')}`)]],
      ['merge', () => api.merge(one, of([a, a])), [a], [patched]],
      ['JSON patch', () => api.request('PATCH', one, add(a, b), json), [a, b], [patched]],
      ['others', () => put([a, { ...a, name: 'c' }]), [a, { ...a, name: 'c' }], []],
    ];
    for (const [what, step, kept, warned] of steps) {
      const { status, body, warnings } = await step();
      assert.deepEqual([what, status < 300, body.metadata?.ownerReferences, warnings], [what, true, kept, warned]);
      assert.ok(body.metadata.managedFields.length > 0);
    }
    await api.delete(one);
    // Who applies has each once: they are told apart by their uid.
    const applied = await api.apply(one, of([a, a]));
    assert.equal(applied.status, 500);
    const why = `.metadata.ownerReferences: duplicate entries for key [uid="${a.uid}"]`;
    assert.ok(applied.body.message.endsWith(why), applied.text);
  }
});

test('groups of the community need an approval, and what became of it is told', async () => {
  const of = 'things.k8s.io';
  const without = await api.create(definitions, definition('parts', { group: of }));
  assert.equal(without.status, 422);
  assert.equal(
    without.body.details.causes[0].message,
    'Required value: protected groups must have approval annotation "api-approved.kubernetes.io", see https://github.com/kubernetes/enhancements/pull/1111',
  );
  const approved = (value: string): Json => ({ annotations: { 'api-approved.kubernetes.io': value } });
  const url = 'https://github.com/kubernetes/kubernetes/pull/78458';
  await install(definition('parts', { group: of, metadata: { name: `parts.${of}`, ...approved(url) } }));
  await until('a verdict', async () => 'KubernetesAPIApprovalPolicyConformant' in (await conditions(`parts.${of}`)));
  const said = async (): Promise<string | undefined> =>
    (await conditions(`parts.${of}`))['KubernetesAPIApprovalPolicyConformant'];
  assert.equal(await said(), `True ApprovedAnnotation: approved in ${url}`);
  await api.merge(`${definitions}/parts.${of}`, { metadata: approved('unapproved, testing only') });
  await until('another verdict', async () => (await said())?.startsWith('False') === true);
  assert.equal(await said(), 'False UnapprovedAnnotation: not approved: "unapproved, testing only"');
});

test('old versions and formats that nobody knows are warned of', async () => {
  const version = (name: string, more: Json = {}): Json => ({
    name,
    served: true,
    storage: false,
    schema: { openAPIV3Schema: { type: 'object' } },
    ...more,
  });
  const made = await install(
    definition('olds', {
      versions: [
        version('v1alpha1', { deprecated: true, deprecationWarning: 'not this one' }),
        version('v1beta1', { deprecated: true }),
        version('v1', {
          storage: true,
          schema: {
            openAPIV3Schema: {
              type: 'object',
              properties: { mail: { ...text, format: 'post' }, id: { ...text, format: 'uuid' } },
            },
          },
        }),
      ],
    }),
  );
  assert.deepEqual(made.warnings, ['unrecognized format "post"']);
  const warned = async (v: string): Promise<readonly string[]> => (await api.get(`/apis/${group}/${v}/olds`)).warnings;
  assert.deepEqual(await warned('v1alpha1'), ['not this one']);
  assert.deepEqual(await warned('v1beta1'), [`${group}/v1beta1 Old is deprecated; use ${group}/v1 Old`]);
  assert.deepEqual(await warned('v1'), []);
});

test('finalizers that others might use as well are warned of when they are new', async () => {
  await install(definition('holds', { version: { subresources: { status: {} } } }));
  const others = 'to avoid accidental conflicts with other finalizer writers';
  const plain = 'metadata.finalizers: "plain": prefer a domain-qualified finalizer name ' + others;
  const dotted =
    'metadata.finalizers: "keep.example.com": prefer a domain-qualified finalizer name including a path (/) ' + others;
  const holding = (finalizers: readonly string[]): Json => ({ metadata: { name: 'a', finalizers } });
  const given = ['plain', 'keep.example.com', 'example.com/own', 'orphan'];
  const made = await api.create(path('holds'), { ...object('Hold', 'a'), ...holding(given) });
  assert.deepEqual([made.status, made.warnings], [201, [dotted, plain]]);
  const more = await api.merge(path('holds', 'a'), holding([...given, 'other']));
  assert.deepEqual(more.warnings, [plain.replace('plain', 'other')]);
  assert.deepEqual((await api.merge(path('holds', 'a'), { spec: { x: 1 } })).warnings, []);
  await api.merge(path('holds', 'a'), { metadata: { finalizers: null } });
});

test('schemas prune, default and judge what is written and what was stored before', async () => {
  await install(
    definition('goods', {
      version: {
        subresources: {
          status: {},
          scale: {
            specReplicasPath: '.spec.count',
            statusReplicasPath: '.status.count',
            labelSelectorPath: '.status.selector',
          },
        },
      },
      schema: {
        type: 'object',
        required: ['spec'],
        properties: {
          spec: {
            type: 'object',
            properties: {
              count: { type: 'integer', format: 'int32', default: 1, minimum: 0 },
              port: { 'x-kubernetes-int-or-string': true },
              note: { ...text, nullable: true },
              plain: { ...text, default: 'p' },
              tags: { type: 'array', 'x-kubernetes-list-type': 'set', items: text },
              parts: {
                type: 'array',
                'x-kubernetes-list-type': 'map',
                'x-kubernetes-list-map-keys': ['name'],
                items: { type: 'object', required: ['name'], properties: { name: text, size: { type: 'number' } } },
              },
              template: {
                type: 'object',
                'x-kubernetes-embedded-resource': true,
                'x-kubernetes-preserve-unknown-fields': true,
              },
              free: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true },
            },
          },
          status: { type: 'object', properties: { count: { type: 'integer' }, selector: text } },
        },
      },
    }),
  );
  // OpenAPI v3 tells the defaults, v2 none of custom resources.
  const name = 'com.example.shop.v1.Good';
  const v3 = (await api.get(`/openapi/v3/apis/${group}/v1`)).body.components.schemas[name];
  assert.equal(v3.properties.spec.properties.plain.default, 'p');
  const v2 = (await api.get('/openapi/v2')).body.definitions[name];
  assert.deepEqual(v2.properties.spec.properties.plain, text);
  const made = await api.create(
    path('goods'),
    object('Good', 'a', {
      spec: {
        port: 'http',
        note: null,
        plain: null,
        unknown: 1,
        free: { any: { thing: 1 } },
        template: { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'x', unknown: 1 }, data: { k: 'v' } },
      },
      status: { count: 3 },
    }),
  );
  assert.equal(made.status, 201, made.text);
  assert.deepEqual(made.body.spec, {
    count: 1,
    free: { any: { thing: 1 } },
    note: null,
    plain: 'p',
    port: 'http',
    template: { apiVersion: 'v1', data: { k: 'v' }, kind: 'ConfigMap', metadata: { name: 'x' } },
  });
  assert.equal(made.body.status, undefined);
  assert.deepEqual(made.warnings, ['unknown field "spec.unknown"', 'unknown field "spec.template.metadata.unknown"']);
  const strict = await api.create(
    `${path('goods')}?fieldValidation=Strict`,
    object('Good', 'b', { spec: { unknown: 1 } }),
  );
  assert.equal(strict.status, 400);
  assert.equal(
    strict.body.message,
    'Good in version "v1" cannot be handled as a Good: strict decoding error: unknown field "spec.unknown"',
  );
  const causes = async (spec: Json): Promise<string[]> => {
    const { status, body } = await api.create(path('goods'), object('Good', 'bad', { spec }));
    assert.equal(status, 422);
    return body.details.causes.map((c: Json) => `${c.field}: ${c.message}`);
  };
  assert.deepEqual(
    await causes({ count: 'x', port: true, tags: ['a', 'a'], parts: [{ name: 'p' }, { name: 'p' }, { size: 1 }] }),
    [
      'spec.count: Invalid value: "string": spec.count in body must be of type integer: "string"',
      'spec.parts[2].name: Required value',
      'spec.port: Invalid value: "boolean": spec.port in body must be of type integer,string: "boolean"',
      '.spec.count: Invalid value: 0: .spec.count accessor error: x is of the type string, expected int64',
      'spec.parts[1]: Duplicate value: {"name":"p"}',
      'spec.tags[1]: Duplicate value: "a"',
    ],
  );
  assert.deepEqual(await causes({ template: {} }), [
    'spec.template.apiVersion: Required value',
    'spec.template.kind: Required value',
  ]);

  // What scales has replicas that fit, where the definition says they are.
  assert.deepEqual(await causes({ count: 2147483648 }), [
    '<nil>: Invalid value: "": Checked value must be of type integer with format int32 in spec.count',
    '.spec.count: Invalid value: 2147483648: should be less than or equal to 2147483647',
  ]);
  const flat = await api.create(path('goods'), object('Good', 'bad', { spec: 7 }));
  assert.match(
    flat.body.message,
    /\.spec\.count accessor error: 7 is of the type int64, expected map\[string\]interface\{\}/,
  );

  // Applied nulls are not unset as those of a create are: they are refused where the schema has no default for them.
  const apply = (spec: Json): Promise<Json> =>
    api.request('PATCH', `${path('goods', 'n')}?fieldManager=t`, object('Good', 'n', { spec }), {
      'content-type': 'application/apply-patch+yaml',
    });
  const refused = await apply({ plain: null, note: null, port: null, parts: null });
  assert.deepEqual(
    refused.body.details.causes.map((c: Json) => c.message),
    [
      'Invalid value: "null": spec.parts in body must be of type array: "null"',
      'Invalid value: "null": spec.port in body must be of type integer,string: "null"',
    ],
  );
  assert.deepEqual((await apply({ parts: [{ name: null }] })).body.details?.causes[0].field, 'spec.parts[0].name');
  const strange = await apply({ parts: [{ name: { a: ['b', null] }, size: '1' }] });
  assert.ok(strange.body.message.includes('.spec.parts[name=a=["b",null]].name: expected string, got '), strange.text);
  const applied = await apply({ plain: null, note: null });
  assert.deepEqual([applied.status, applied.body.spec], [201, { count: 1, note: null, plain: 'p' }]);
  const untyped = await apply({ plain: { b: ['x'], a: null } });
  const got = '&value.valueUnstructured{Value:map[string]interface {}{"a":interface {}(nil), "b":[]interface {}{"x"}}}';
  assert.ok(untyped.body.message.endsWith(`.spec.plain: expected string, got ${got}`), untyped.body.message);

  // Subresources: each writes its own part.
  const at = path('goods', 'a');
  const negative = await api.merge(`${at}/status`, { status: { count: -1 } });
  assert.match(negative.body.message, /\.status\.count: Invalid value: -1: should be a non-negative integer/);
  const status = await api.merge(`${at}/status`, { spec: { count: 9 }, status: { count: 2, selector: 'app=a' } });
  assert.deepEqual(
    [status.body.spec.count, status.body.status, status.body.metadata.generation],
    [1, { count: 2, selector: 'app=a' }, 1],
  );
  const scale = await api.get(`${at}/scale`);
  assert.deepEqual([scale.body.spec, scale.body.status], [{ replicas: 1 }, { replicas: 2, selector: 'app=a' }]);
  const scaled = await api.merge(`${at}/scale`, { spec: { replicas: 5 } });
  assert.equal(scaled.body.spec.replicas, 5);
  const { body } = await api.get(at);
  assert.deepEqual([body.spec.count, body.metadata.generation], [5, 2]);

  // A default that comes later holds for what is there already.
  const turned = await api.request(
    'PATCH',
    `${definitions}/goods.${group}`,
    [
      {
        op: 'add',
        path: '/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/later',
        value: { ...text, default: 'now' },
      },
    ],
    { 'content-type': 'application/json-patch+json' },
  );
  assert.equal(turned.status, 200, turned.text);
  await until('the default', async () => (await api.get(at)).body.spec.later === 'now');
  assert.equal((await api.get(path('goods'))).body.items[0].spec.later, 'now');
});

test('metadata of embedded resources is defaulted, pruned, and put right where it is read', async () => {
  const of = (metadata: Json, more: Json = {}): Json => ({
    type: 'object',
    'x-kubernetes-embedded-resource': true,
    properties: {
      apiVersion: { ...text, default: 'foos/v1' },
      kind: { ...text, default: 'Foo' },
      metadata: { type: 'object', ...metadata },
    },
    ...more,
  });
  const each = { properties: { name: { ...text, default: 'Bar' }, unknown: { ...text, default: 'unknown' } } };
  const whole = { default: { name: 'Bar', unknown: 'unknown' } };
  const foo = { apiVersion: 'foos/v1', kind: 'Foo', metadata: { name: 'Bar', unknown: 'unknown' } };
  const keep = { 'x-kubernetes-preserve-unknown-fields': true };
  const bare = { type: 'object', 'x-kubernetes-embedded-resource': true, properties: { foo: text } };
  const crd = definition('wholes', {
    schema: {
      type: 'object',
      properties: {
        fields: of(each),
        metadata2: of(whole),
        object: { ...bare, default: foo },
        spanning: { type: 'object', properties: { embedded: bare }, default: { embedded: foo } },
        keptFields: of(each, keep),
        keptMetadata: of(whole, keep),
        keptObject: { ...bare, ...keep, default: foo },
        keptSpanning: {
          type: 'object',
          properties: { embedded: { ...bare, ...keep } },
          default: { embedded: foo },
        },
      },
    },
  });
  await install(crd);
  const given = { fields: { metadata: {} }, metadata2: {}, keptFields: { metadata: {} }, keptMetadata: {} };
  const made = await api.create(path('wholes'), object('Whole', 'a', given));
  assert.equal(made.status, 201, made.text);
  const { apiVersion: _version, kind: _kind, metadata: _metadata, ...members } = made.body;
  const { spanning, keptSpanning, ...plain } = members;
  const expected = { apiVersion: 'foos/v1', kind: 'Foo', metadata: { name: 'Bar' } };
  assert.equal(Object.keys(plain).length, 6);
  for (const value of [...Object.values(plain), spanning.embedded, keptSpanning.embedded])
    assert.deepEqual(value, expected);

  // Defaults that would make wrong metadata are refused, wherever they are.
  const labels = { type: 'object', additionalProperties: text, default: { invalid: 'x y' } };
  const wrong = definition('wrongs', {
    schema: {
      type: 'object',
      properties: {
        inside: of({ properties: { labels } }),
        typed: of({ default: { name: 7 } }),
        around: { ...bare, default: { ...foo, metadata: { name: '..' } } },
        mistyped: { ...bare, default: { ...foo, metadata: { labels: 'x' } } },
        unknown: { ...bare, default: { ...foo, other: 1 } },
      },
    },
  });
  const refused = await api.create(definitions, wrong);
  assert.equal(refused.status, 422);
  const at = 'spec.validation.openAPIV3Schema.properties';
  const told = (refused.body.details.causes as Json[]).map((c) => `${c.field.replace(at, '')} ${c.message}`);
  const starts = [
    '[inside].properties[metadata].properties[labels].default Invalid value: {"invalid":"x y"}: must result in valid metadata: metadata.labels: Invalid value: "x y": ',
    '[typed].properties[metadata].default Invalid value: {"name":7}: must result in valid metadata: metadata: Invalid value: {"name":7}: json: cannot unmarshal number into Go struct field ObjectMeta.name of type string',
    '[around].default.metadata.name Invalid value: "..": may not be ',
    '[mistyped].default.metadata Invalid value: {"labels":"x"}: json: cannot unmarshal string into Go struct field ObjectMeta.labels of type map[string]string',
    '[unknown].default Invalid value: {"apiVersion":"foos/v1","kind":"Foo","metadata":{"name":"Bar","unknown":"unknown"},"other":1}: must not have unknown fields',
  ];
  for (const start of starts)
    assert.ok(
      told.some((t) => t.startsWith(start)),
      `${start}\n${told.join('\n')}`,
    );
  assert.equal(told.length, starts.length, told.join('\n'));

  // What somebody else put into the store is read without what cannot be metadata.
  const annotations = { foo: 42, bar: 'abc' };
  const meta = { unknown: 42, annotations, labels: { invalid: 'x y' } };
  const stored = {
    ...object('Whole', 'raw'),
    metadata: { name: 'raw', namespace: 'default', ...meta },
    keptObject: { apiVersion: 'foo/v1', kind: 'Foo', metadata: meta },
  };
  const value = Buffer.from(JSON.stringify(stored));
  const key = `/registry/${group}/wholes/default/raw`;
  await cluster.store.commit({ key, expectModRevision: 0, value });
  const read = await api.get(path('wholes', 'raw'));
  assert.equal(read.status, 200, read.text);
  const { metadata, keptObject } = read.body;
  assert.deepEqual(
    [metadata.generation, metadata.unknown, metadata.annotations, metadata.labels],
    [1, undefined, undefined, { invalid: 'x y' }],
  );
  assert.deepEqual(keptObject.metadata, { labels: { invalid: 'x y' } });
  assert.equal((await api.delete(path('wholes', 'raw'))).status, 200);
});

test('a write of the status leaves the spec to its managers, whatever version they wrote in', async () => {
  const schema = { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } };
  const version = (name: string) => ({
    name,
    served: true,
    storage: name === 'v1',
    subresources: { status: {} },
    schema,
  });
  await install(definition('deeds', { versions: [version('v1'), version('v2')] }));
  const at = path('deeds', 'd');
  const apply = { 'content-type': 'application/apply-patch+yaml' };
  const first = object('Deed', 'd', { spec: { a: '1', b: '1' } });
  assert.equal((await api.request('PATCH', `${at}?fieldManager=one`, first, apply)).status, 201);
  const body = { spec: { a: '2', c: '2' }, status: { s: 1 }, metadata: { finalizers: ['x.example.com/y'] } };
  const v2 = `${at.replace('/v1/', '/v2/')}/status`;
  assert.equal((await api.merge(`${v2}?fieldManager=two`, body)).status, 200);
  const second = { ...object('Deed', 'd', { spec: { a: '3' }, status: { t: 1 } }), apiVersion: `${group}/v2` };
  assert.equal((await api.request('PATCH', `${v2}?fieldManager=three`, second, apply)).status, 200);
  const { spec, status, metadata } = (await api.get(at)).body;
  assert.deepEqual(
    [spec, status],
    [
      { a: '1', b: '1' },
      { s: 1, t: 1 },
    ],
  );
  assert.deepEqual(
    metadata.managedFields.map((m: Json) => [m.manager, m.apiVersion, m.subresource, m.fieldsV1]),
    [
      ['one', `${group}/v1`, undefined, { 'f:spec': { '.': {}, 'f:a': {}, 'f:b': {} } }],
      ['three', `${group}/v2`, 'status', { 'f:status': { '.': {}, 'f:t': {} } }],
      ['two', `${group}/v2`, 'status', { 'f:status': { '.': {}, 'f:s': {} } }],
    ],
  );

  // The same of built-in kinds.
  const scalers = '/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers';
  const spec1 = { maxReplicas: 3, scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: 'd' } };
  await api.create(`${scalers}?fieldManager=one`, {
    apiVersion: 'autoscaling/v1',
    kind: 'HorizontalPodAutoscaler',
    metadata: { name: 'h' },
    spec: spec1,
  });
  const told = await api.merge(`${scalers.replace('v1', 'v2')}/h/status?fieldManager=two`, {
    spec: { maxReplicas: 9 },
    status: { desiredReplicas: 2, currentReplicas: 1 },
  });
  const one = told.body.metadata.managedFields.find((m: Json) => m.manager === 'one');
  assert.ok('f:maxReplicas' in one.fieldsV1['f:spec']);
});

test('a status with a default is there from the beginning, though nobody may write it', async () => {
  const number = { type: 'integer', format: 'int64' };
  await install(
    definition('jobsheets', {
      version: { subresources: { status: {} } },
      schema: {
        type: 'object',
        properties: {
          spec: { type: 'object', properties: { type: text } },
          status: {
            type: 'object',
            default: { observedGeneration: -1 },
            properties: { observedGeneration: number, phase: { ...text, default: 'New' } },
          },
        },
      },
    }),
  );
  const given = object('Jobsheet', 'a', { spec: { type: 'x' }, status: { observedGeneration: 7 } });
  const fresh = { observedGeneration: -1, phase: 'New' };
  const dry = await api.create(`${path('jobsheets')}?dryRun=All`, given);
  assert.deepEqual([dry.status, dry.body.status], [201, fresh], dry.text);
  const made = await api.create(path('jobsheets'), given);
  assert.deepEqual([made.status, made.body.status], [201, fresh], made.text);
  assert.deepEqual((await api.get(path('jobsheets', 'a'))).body, made.body);
  assert.deepEqual((await api.get(path('jobsheets'))).body.items[0].status, fresh);
  // The default is stored by the next write, even one that changes nothing else.
  const again = await api.request('PUT', path('jobsheets', 'a'), made.body);
  assert.deepEqual([again.status, again.body.status], [200, fresh], again.text);
  assert.notEqual(again.body.metadata.resourceVersion, made.body.metadata.resourceVersion);
  assert.equal(again.body.metadata.generation, 1);
  const still = await api.request('PUT', path('jobsheets', 'a'), again.body);
  assert.equal(still.body.metadata.resourceVersion, again.body.metadata.resourceVersion);
});

test('columns of every type are printed', async () => {
  const column = (name: string, type: string, jsonPath: string, more: Json = {}): Json => ({
    name,
    type,
    jsonPath,
    ...more,
  });
  await install(
    definition('tables', {
      version: {
        additionalPrinterColumns: [
          column('Text', 'string', '.spec.text', { description: 'some text', priority: 1 }),
          column('Whole', 'integer', '.spec.whole', { format: 'int32' }),
          column('Part', 'number', '.spec.part'),
          column('Flag', 'boolean', '.spec.flag'),
          column('Since', 'date', '.spec.since'),
          column('Deep', 'string', ".spec.list[?(@.name=='b')].value"),
          column('Wrong', 'integer', '.spec.text'),
          column('Missing', 'string', '.spec.nothing'),
        ],
      },
    }),
  );
  await api.create(
    path('tables'),
    object('Table', 'one', {
      spec: {
        text: 'hello',
        whole: 3,
        part: 1.5,
        flag: true,
        since: '2020-01-01T00:00:00Z',
        list: [
          { name: 'a', value: 'no' },
          { name: 'b', value: 'yes' },
        ],
      },
    }),
  );
  const { body } = await api.request('GET', path('tables'), undefined, {
    accept: 'application/json;as=Table;v=v1;g=meta.k8s.io',
  });
  assert.deepEqual(
    body.columnDefinitions.map((c: Json) => `${c.name} ${c.type} ${c.format} ${c.priority}`),
    [
      'Name string name 0',
      'Text string  1',
      'Whole integer int32 0',
      'Part number  0',
      'Flag boolean  0',
      'Since date  0',
      'Deep string  0',
      'Wrong integer  0',
      'Missing string  0',
    ],
  );
  const cells = body.rows[0].cells;
  assert.deepEqual([...cells.slice(0, 5), ...cells.slice(6)], ['one', 'hello', 3, 1.5, true, 'yes', null, null]);
  assert.match(cells[5], /^\d+y/);
});

test('fields that are selectable select, in lists and watches', async () => {
  await install(
    definition('picks', {
      schema: { type: 'object', properties: { color: text, on: { type: 'boolean' }, n: { type: 'integer' } } },
      version: { selectableFields: [{ jsonPath: '.color' }, { jsonPath: '.on' }, { jsonPath: '.n' }] },
    }),
  );
  for (const [name, color, on, n] of [
    ['a', 'red', true, 1],
    ['b', 'blue', true, 2],
    ['c', 'red', false, 2],
  ] as const)
    await api.create(path('picks'), object('Pick', name, { color, on, n }));
  const names = async (selector: string): Promise<string[]> =>
    (await api.get(`${path('picks')}?fieldSelector=${encodeURIComponent(selector)}`)).body.items.map(
      (i: Json) => i.metadata.name,
    );
  assert.deepEqual(await names('color=red'), ['a', 'c']);
  assert.deepEqual(await names('color=red,on=true'), ['a']);
  assert.deepEqual(await names('n!=1'), ['b', 'c']);
});

test("definitions that are wrong are refused in upstream's words", async () => {
  const refused = async (crd: Json): Promise<string[]> => {
    const { status, body } = await api.create(`${definitions}?dryRun=All`, crd);
    assert.equal(status, 422, JSON.stringify(body));
    return body.details.causes.map((c: Json) => `${c.field}: ${c.message}`);
  };
  const spec = (schema: Json): Json =>
    definition('wrongs', { schema: { type: 'object', properties: { spec: schema } } });
  const at = 'spec.validation.openAPIV3Schema.properties[spec]';
  const cases: [Json, string[]][] = [
    [
      definition('wrongs', { group: 'nodots' }),
      ['spec.group: Invalid value: "nodots": should be a domain with at least one dot'],
    ],
    [
      definition('wrongs', { spec: { scope: 'World' } }),
      ['spec.scope: Unsupported value: "World": supported values: "Cluster", "Namespaced"'],
    ],
    [
      definition('wrongs', { names: { kind: 'Wrong', listKind: 'Wrong' } }),
      ['spec.names.listKind: Invalid value: "Wrong": kind and listKind may not be the same'],
    ],
    [
      definition('wrongs', { version: { storage: false } }),
      [
        `spec.versions: Invalid value: [{"Name":"v1","Served":true,"Storage":false,"Deprecated":false,"DeprecationWarning":null,"Schema":null,"Subresources":null,"AdditionalPrinterColumns":null,"SelectableFields":null}]: must have exactly one version marked as storage version`,
        'status.storedVersions: Invalid value: null: must have at least one stored version',
      ],
    ],
    [
      definition('wrongs', { version: { schema: undefined } }),
      ['spec.versions[0].schema.openAPIV3Schema: Required value'],
    ],
    [
      definition('wrongs', { version: { deprecationWarning: 'x' } }),
      ['spec.versions[0].deprecationWarning: Invalid value: "x": can only be set for deprecated versions'],
    ],
    [
      definition('wrongs', { version: { additionalPrinterColumns: [{ name: 'A', type: 'text', jsonPath: 'a' }] } }),
      [
        'spec.additionalPrinterColumns[0].type: Invalid value: "text": must be one of boolean,date,integer,number,string',
        'spec.additionalPrinterColumns[0].JSONPath: Invalid value: "a": must be a simple json path starting with .',
      ],
    ],
    [
      definition('wrongs', {
        version: { subresources: { scale: { specReplicasPath: '.count', statusReplicasPath: 'x' } } },
      }),
      [
        'spec.subresources.scale.specReplicasPath: Invalid value: ".count": should be a json path under .spec',
        'spec.subresources.scale.statusReplicasPath: Invalid value: "x": must be a simple json path starting with .',
      ],
    ],
    [
      definition('wrongs', {
        schema: { type: 'object', properties: { a: text, o: { type: 'object', properties: {} } } },
        version: {
          selectableFields: [
            { jsonPath: '.b' },
            { jsonPath: '.a[0]' },
            { jsonPath: '.o' },
            { jsonPath: '.a' },
            { jsonPath: '.a' },
          ],
        },
      }),
      [
        'spec.selectableFields[0].jsonPath: Invalid value: ".b": is an invalid path: does not refer to a valid field',
        'spec.selectableFields[1].jsonPath: Invalid value: ".a[0]": is an invalid path: array notation is not allowed',
        'spec.selectableFields[2].jsonPath: Invalid value: ".o": must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.',
        'spec.selectableFields[4].jsonPath: Duplicate value: ".a"',
      ],
    ],
    [
      definition('wrongs', {
        spec: {
          conversion: {
            strategy: 'Webhook',
            webhook: { conversionReviewVersions: ['v1', 'v1', 'X'], clientConfig: { url: 'http://a' } },
          },
        },
      }),
      [
        'spec.conversion.webhookClientConfig.url: Invalid value: "http": \'https\' is the only allowed URL scheme; desired format: https://host[/path]',
        'spec.conversion.conversionReviewVersions[1]: Invalid value: "v1": duplicate version',
        "spec.conversion.conversionReviewVersions[2]: Invalid value: \"X\": a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')",
      ],
    ],
    [
      definition('wrongs', {
        spec: { conversion: { strategy: 'None', webhook: { conversionReviewVersions: ['v1'] } } },
      }),
      ['spec.conversion.conversionReviewVersions: Forbidden: should not be set when strategy is not set to Webhook'],
    ],
    [spec({ properties: {} }), [`${at}.type: Required value: must not be empty for specified object fields`]],
    [
      spec({ type: 'object', properties: { a: text }, additionalProperties: text }),
      [`${at}.additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive`],
    ],
    [spec({ type: 'array' }), [`${at}.items: Required value: must be specified`]],
    [spec({ type: 'object', $ref: '#/x' }), [`${at}.$ref: Forbidden: $ref is not supported`]],
    [
      spec({ type: 'string', default: 1 }),
      [`${at}.default: Invalid value: "integer":  in body must be of type string: "integer"`],
    ],
    [
      spec({ type: 'array', items: text, uniqueItems: true }),
      [
        `${at}.uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic`,
      ],
    ],
    [
      spec({ type: 'object', 'x-kubernetes-list-type': 'atomic' }),
      [`${at}.type: Invalid value: "object": must be array if x-kubernetes-list-type is specified`],
    ],
    [
      spec({ type: 'array', items: text, 'x-kubernetes-list-type': 'map' }),
      [
        `${at}.x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map`,
        `${at}.items.type: Invalid value: "string": must be object if parent array's x-kubernetes-list-type is map`,
      ],
    ],
    [
      spec({ 'x-kubernetes-preserve-unknown-fields': true, 'x-kubernetes-int-or-string': true }),
      [
        `${at}.x-kubernetes-preserve-unknown-fields: Invalid value: true: must be false if x-kubernetes-int-or-string is true`,
      ],
    ],
  ];
  for (const [crd, causes] of cases) assert.deepEqual(await refused(crd), causes);
});
