/**
 * The official JavaScript client, `@kubernetes/client-node`, against a cluster over HTTPS: it reads our kubeconfig, and creates,
 * lists, watches, patches, applies and deletes; follows logs, runs commands, forwards ports and handles custom objects.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { PassThrough } from 'node:stream';
import { after, before, describe, test } from 'node:test';
import {
  ApiException,
  ApiextensionsV1Api,
  AppsV1Api,
  Attach,
  AuthorizationV1Api,
  BatchV1Api,
  CoreV1Api,
  CustomObjectsApi,
  Exec,
  KubeConfig,
  KubernetesObjectApi,
  Log,
  PatchStrategy,
  PortForward,
  VersionApi,
  Watch,
  makeInformer,
  setHeaderOptions,
} from '@kubernetes/client-node';
import type { V1ConfigMap, V1Pod, V1Status } from '@kubernetes/client-node';
import { createCluster } from '../../src/index.ts';
import type { Cluster } from '../../src/index.ts';
import { waitForNone, waitForOne } from '../support/wait.ts';

const ns = 'js';
let cluster: Cluster;
let config: KubeConfig;
let core: CoreV1Api;

before(async () => {
  cluster = await createCluster({ nodes: 1, https: { port: 0 } });
  config = new KubeConfig();
  config.loadFromString(cluster.kubeconfig!);
  core = config.makeApiClient(CoreV1Api);
  await core.createNamespace({ body: { metadata: { name: ns } } });
  await waitForOne(cluster.client.core.serviceaccounts, 'default', ns, () => true);
});

after(() => cluster?.close());

/** The client's error carries the Status as text. */
async function status(p: Promise<unknown>): Promise<{ code: number; reason: string; message: string }> {
  try {
    await p;
  } catch (e) {
    assert.ok(e instanceof ApiException, String(e));
    const body = JSON.parse(e.body as string) as V1Status;
    return { code: e.code, reason: body.reason!, message: body.message! };
  }
  throw new assert.AssertionError({ message: 'it should have failed' });
}

/** Everything of a stream, and a promise of some text in it. */
class Sink extends PassThrough {
  text = '';
  readonly #waiting: { text: string; resolve: () => void }[] = [];
  constructor() {
    super();
    this.on('data', (d: Buffer) => {
      this.text += d.toString();
      for (const w of this.#waiting) if (this.text.includes(w.text)) w.resolve();
    });
  }
  has(text: string): Promise<void> {
    if (this.text.includes(text)) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push({ text, resolve }));
  }
}

async function runPod(name: string, command: string[] | undefined, extra: Partial<V1Pod> = {}): Promise<void> {
  await core.createNamespacedPod({
    namespace: ns,
    body: {
      metadata: { name, ...extra.metadata },
      spec: {
        terminationGracePeriodSeconds: 0,
        containers: [{ name: 'main', image: command === undefined ? 'web' : 'busybox', ...(command && { command }) }],
      },
    },
  });
  await waitForOne(
    cluster.client.core.pods,
    name,
    ns,
    (p) => p.status?.conditions?.some((c) => c.type === 'Ready' && c.status === 'True') === true,
  );
}

test('the version, and what an administrator may', async () => {
  const { gitVersion, major, minor } = await config.makeApiClient(VersionApi).getCode();
  assert.match(gitVersion, /^v1\.36\.\d+\+knarr/);
  assert.deepEqual([major, minor], ['1', '36']);
  const review = await config.makeApiClient(AuthorizationV1Api).createSelfSubjectAccessReview({
    body: { spec: { resourceAttributes: { verb: 'delete', resource: 'nodes' } } },
  });
  assert.equal(review.status?.allowed, true);
});

describe('objects', () => {
  test('create, get, replace, delete', async () => {
    const made = await core.createNamespacedConfigMap({
      namespace: ns,
      body: { metadata: { name: 'life', labels: { a: 'b' } }, data: { key: 'value' } },
    });
    assert.ok(made.metadata!.creationTimestamp instanceof Date);
    const got = await core.readNamespacedConfigMap({ name: 'life', namespace: ns });
    assert.deepEqual(got, made);
    const replaced = await core.replaceNamespacedConfigMap({
      name: 'life',
      namespace: ns,
      body: { ...got, data: { key: 'other' } },
    });
    assert.deepEqual(replaced.data, { key: 'other' });
    assert.deepEqual(
      await status(core.replaceNamespacedConfigMap({ name: 'life', namespace: ns, body: { ...got, data: {} } })),
      {
        code: 409,
        reason: 'Conflict',
        message:
          'Operation cannot be fulfilled on configmaps "life": the object has been modified; please apply your changes to the latest version and try again',
      },
    );
    const deleted = await core.deleteNamespacedConfigMap({ name: 'life', namespace: ns });
    assert.equal(deleted.status, 'Success');
    assert.deepEqual(await status(core.readNamespacedConfigMap({ name: 'life', namespace: ns })), {
      code: 404,
      reason: 'NotFound',
      message: 'configmaps "life" not found',
    });
  });

  test('a list in pages', async () => {
    for (let i = 0; i < 7; i++)
      await core.createNamespacedConfigMap({
        namespace: ns,
        body: { metadata: { name: `page-${i}`, labels: { paged: 'yes' } } },
      });
    const names: string[] = [];
    let _continue: string | undefined;
    let pages = 0;
    do {
      const page = await core.listNamespacedConfigMap({
        namespace: ns,
        labelSelector: 'paged=yes',
        limit: 3,
        _continue,
      });
      names.push(...page.items.map((i) => i.metadata!.name!));
      _continue = page.metadata?._continue;
      pages++;
    } while (_continue !== undefined && _continue !== '');
    assert.equal(pages, 3);
    assert.deepEqual(
      names,
      [0, 1, 2, 3, 4, 5, 6].map((i) => `page-${i}`),
    );
  });

  test('every type of patch', async () => {
    const name = 'patched';
    const apps = config.makeApiClient(AppsV1Api);
    await apps.createNamespacedDeployment({
      namespace: ns,
      body: {
        metadata: { name },
        spec: {
          replicas: 0,
          selector: { matchLabels: { app: name } },
          template: {
            metadata: { labels: { app: name } },
            spec: {
              containers: [
                { name: 'a', image: 'a:1' },
                { name: 'b', image: 'b:1' },
              ],
            },
          },
        },
      },
    });
    const patch = (body: object, strategy: PatchStrategy, more: object = {}) =>
      apps.patchNamespacedDeployment(
        { name, namespace: ns, body, ...more },
        setHeaderOptions('Content-Type', strategy),
      );
    const images = (d: { spec?: { template: { spec?: { containers: { image?: string }[] } } } }): unknown =>
      d.spec!.template.spec!.containers.map((c) => c.image);
    const json = await patch(
      [{ op: 'replace', path: '/spec/template/spec/containers/0/image', value: 'a:2' }],
      PatchStrategy.JsonPatch,
    );
    assert.deepEqual(images(json), ['a:2', 'b:1']);
    const strategic = await patch(
      { spec: { template: { spec: { containers: [{ name: 'b', image: 'b:2' }] } } } },
      PatchStrategy.StrategicMergePatch,
    );
    assert.deepEqual(images(strategic), ['a:2', 'b:2']);
    const merge = await patch(
      { metadata: { annotations: { note: 'merged' } }, spec: { paused: true } },
      PatchStrategy.MergePatch,
    );
    assert.equal(merge.metadata!.annotations!['note'], 'merged');
    const config1 = {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name },
      spec: { template: { spec: { containers: [{ name: 'a', image: 'a:3' }] } } },
    };
    const refused = await status(patch(config1, PatchStrategy.ServerSideApply, { fieldManager: 'js' }));
    assert.equal(refused.code, 409);
    assert.match(refused.message, /^Apply failed with 1 conflict: conflict with .*containers\[name="a"\]\.image$/s);
    const applied = await patch(config1, PatchStrategy.ServerSideApply, { fieldManager: 'js', force: true });
    assert.deepEqual(images(applied), ['a:3', 'b:2']);
    assert.ok(applied.metadata!.managedFields!.some((m) => m.manager === 'js' && m.operation === 'Apply'));
  });

  test('the generic object API', async () => {
    const objects = KubernetesObjectApi.makeApiClient(config);
    const body = {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'generic', namespace: ns },
      data: { a: '1' },
    };
    await objects.create(body);
    const changed: V1ConfigMap = await objects.patch(
      { ...body, data: { a: '2' } } as V1ConfigMap,
      undefined,
      undefined,
      'js',
      true,
      PatchStrategy.ServerSideApply,
    );
    assert.equal(changed.data!['a'], '2');
    const list = await objects.list<V1ConfigMap>('v1', 'ConfigMap', ns);
    assert.ok(list.items.some((i) => i.metadata!.name === 'generic'));
    await objects.delete(body);
  });
});

describe('changes', () => {
  test('a watch', async () => {
    const { metadata } = await core.listNamespacedConfigMap({ namespace: ns });
    const seen: string[] = [];
    let done!: () => void;
    const finished = new Promise<void>((resolve) => (done = resolve));
    const controller = await new Watch(config).watch(
      `/api/v1/namespaces/${ns}/configmaps`,
      { resourceVersion: metadata!.resourceVersion, allowWatchBookmarks: true, fieldSelector: 'metadata.name=watched' },
      (phase, object: V1ConfigMap) => {
        seen.push(`${phase} ${object.data?.['n'] ?? ''}`);
        if (phase === 'DELETED') done();
      },
      () => {},
    );
    const body = { metadata: { name: 'watched' }, data: { n: '1' } };
    await core.createNamespacedConfigMap({ namespace: ns, body });
    await core.replaceNamespacedConfigMap({ name: 'watched', namespace: ns, body: { ...body, data: { n: '2' } } });
    await core.deleteNamespacedConfigMap({ name: 'watched', namespace: ns });
    await finished;
    controller.abort();
    assert.deepEqual(seen, ['ADDED 1', 'MODIFIED 2', 'DELETED 2']);
  });

  test('a watch from a version that is gone', async () => {
    const seen: { phase: string; object: V1Status }[] = [];
    const error = await new Promise<unknown>((resolve, reject) => {
      new Watch(config)
        .watch(
          `/api/v1/namespaces/${ns}/events`,
          { resourceVersion: '1' },
          (phase, object: V1Status) => seen.push({ phase, object }),
          resolve,
        )
        .catch(reject);
    });
    assert.ok(seen.every((s) => s.phase !== 'ERROR' || s.object.code === 410));
    assert.ok(error === null || error instanceof Error || typeof error === 'object');
  });

  test('an informer', async () => {
    const events: string[] = [];
    let changed: () => void = () => {};
    const informer = makeInformer<V1ConfigMap>(
      config,
      `/api/v1/namespaces/${ns}/configmaps`,
      () => core.listNamespacedConfigMap({ namespace: ns, labelSelector: 'informed=yes' }),
      'informed=yes',
    );
    const until = (wanted: string): Promise<void> =>
      new Promise((resolve) => {
        changed = () => {
          if (events.includes(wanted)) resolve();
        };
        changed();
      });
    for (const verb of ['add', 'update', 'delete'] as const)
      informer.on(verb, (o) => {
        events.push(`${verb} ${o.metadata!.name} ${o.data?.['n'] ?? ''}`);
        changed();
      });
    const body = (name: string, n: string): V1ConfigMap => ({
      metadata: { name, labels: { informed: 'yes' } },
      data: { n },
    });
    await core.createNamespacedConfigMap({ namespace: ns, body: body('before', '1') });
    await informer.start();
    await until('add before 1');
    await core.createNamespacedConfigMap({ namespace: ns, body: body('later', '1') });
    await until('add later 1');
    await core.replaceNamespacedConfigMap({ name: 'later', namespace: ns, body: body('later', '2') });
    await until('update later 2');
    assert.equal(informer.get('later', ns)?.data?.['n'], '2');
    await core.deleteNamespacedConfigMap({ name: 'before', namespace: ns });
    await until('delete before 1');
    assert.deepEqual(
      informer.list(ns).map((o) => o.metadata!.name),
      ['later'],
    );
    await informer.stop();
  });
});

describe('pods', () => {
  test('a job runs to its end', async () => {
    const batch = config.makeApiClient(BatchV1Api);
    await batch.createNamespacedJob({
      namespace: ns,
      body: {
        metadata: { name: 'once' },
        spec: {
          template: {
            spec: { restartPolicy: 'Never', containers: [{ name: 'c', image: 'busybox', command: ['echo', 'done'] }] },
          },
        },
      },
    });
    await waitForOne(
      cluster.client.batch.jobs,
      'once',
      ns,
      (j) => j.status?.conditions?.some((c) => c.type === 'Complete' && c.status === 'True') === true,
    );
    const [pod] = (await core.listNamespacedPod({ namespace: ns, labelSelector: 'job-name=once' })).items;
    assert.equal(await core.readNamespacedPodLog({ name: pod!.metadata!.name!, namespace: ns }), 'done\n');
  });

  test('logs, read and followed', async () => {
    await runPod('talks', ['sh', '-c', 'echo one; echo two; sleep 100000']);
    const log = new Log(config);
    const followed = new Sink();
    await log.log(ns, 'talks', 'main', followed, { follow: true });
    await followed.has('two\n');
    const tail = new Sink();
    await log.log(ns, 'talks', 'main', tail, { tailLines: 1, timestamps: true });
    await tail.has('two\n');
    assert.match(tail.text, /^\d{4}-\d\d-\d\dT[\d:.]+Z two\n$/);
    // The follower is let go with the container, which may be before the deletion is answered.
    const finished = once(followed, 'finish');
    await core.deleteNamespacedPod({ name: 'talks', namespace: ns });
    await finished;
    assert.equal(followed.text, 'one\ntwo\n');
  });

  test('commands with input, output and exit codes', async () => {
    await runPod('runs', ['sleep', '100000']);
    const exec = new Exec(config);
    const run = async (
      command: string[],
      input?: string,
    ): Promise<{ stdout: string; stderr: string; status: V1Status }> => {
      const stdout = new Sink();
      const stderr = new Sink();
      const stdin = input === undefined ? null : new PassThrough();
      const ended = new Promise<V1Status>((resolve, reject) => {
        exec
          .exec(ns, 'runs', 'main', command, stdout, stderr, stdin, false, resolve)
          .then((socket) => socket.addEventListener('close', () => {}), reject);
      });
      if (stdin !== null) stdin.end(input);
      return { status: await ended, stdout: stdout.text, stderr: stderr.text };
    };
    assert.deepEqual(await run(['echo', 'hello', 'there']), {
      status: { metadata: {}, status: 'Success' },
      stdout: 'hello there\n',
      stderr: '',
    });
    const failed = await run(['sh', '-c', 'echo oops >&2; exit 3']);
    assert.equal(failed.stderr, 'oops\n');
    assert.equal(failed.status.status, 'Failure');
    assert.equal(failed.status.reason, 'NonZeroExitCode');
    assert.deepEqual(failed.status.details?.causes, [{ reason: 'ExitCode', message: '3' }]);
    assert.equal((await run(['cat'], 'from here\n')).stdout, 'from here\n');
  });

  test('attaching', async () => {
    await core.createNamespacedPod({
      namespace: ns,
      body: {
        metadata: { name: 'listens' },
        spec: {
          terminationGracePeriodSeconds: 0,
          containers: [{ name: 'main', image: 'busybox', command: ['cat'], stdin: true }],
        },
      },
    });
    await waitForOne(cluster.client.core.pods, 'listens', ns, (p) => p.status?.phase === 'Running');
    const stdout = new Sink();
    const stdin = new PassThrough();
    const socket = await new Attach(config).attach(ns, 'listens', 'main', stdout, null, stdin, false);
    stdin.write('echo me\n');
    await stdout.has('echo me\n');
    socket.close();
  });

  test('a forwarded port', async () => {
    await runPod('serves', undefined);
    const input = new PassThrough();
    const output = new Sink();
    const errors = new Sink();
    const socket = await new PortForward(config).portForward(ns, 'serves', [8080], output, errors, input);
    input.write('GET /hello HTTP/1.1\r\nHost: pod\r\nConnection: close\r\n\r\n');
    await output.has('HTTP/1.1 200 OK');
    assert.equal(errors.text, '');
    const ws = typeof socket === 'function' ? socket() : socket;
    ws?.close();
  });

  test('eviction and deletion', async () => {
    await runPod('leaves', ['sleep', '100000']);
    await core.createNamespacedPodEviction({ name: 'leaves', namespace: ns, body: { metadata: { name: 'leaves' } } });
    await waitForNone(cluster.client.core.pods, 'leaves', ns);
    await core.deleteCollectionNamespacedPod({ namespace: ns });
    await waitForNone(cluster.client.core.pods, 'serves', ns);
  });
});

test('custom objects', async () => {
  const group = 'example.com';
  await config.makeApiClient(ApiextensionsV1Api).createCustomResourceDefinition({
    body: {
      metadata: { name: 'boats.example.com' },
      spec: {
        group,
        scope: 'Namespaced',
        names: { plural: 'boats', singular: 'boat', kind: 'Boat' },
        versions: [
          {
            name: 'v1',
            served: true,
            storage: true,
            subresources: { status: {}, scale: { specReplicasPath: '.spec.oars', statusReplicasPath: '.status.oars' } },
            schema: {
              openAPIV3Schema: {
                type: 'object',
                properties: {
                  spec: { type: 'object', properties: { oars: { type: 'integer', maximum: 40, _default: 2 } } },
                  status: { type: 'object', properties: { oars: { type: 'integer' } } },
                },
              },
            },
          },
        ],
      },
    },
  });
  await waitForOne(
    cluster.client.apiextensions.customresourcedefinitions,
    'boats.example.com',
    undefined,
    (d) => d.status?.conditions?.some((c) => c.type === 'Established' && c.status === 'True') === true,
  );
  const custom = config.makeApiClient(CustomObjectsApi);
  const where = { group, version: 'v1', namespace: ns, plural: 'boats' };
  const body = { apiVersion: 'example.com/v1', kind: 'Boat', metadata: { name: 'knarr' }, spec: {} };
  const made = (await custom.createNamespacedCustomObject({ ...where, body })) as { spec: object };
  assert.deepEqual(made.spec, { oars: 2 });
  const refused = await status(
    custom.createNamespacedCustomObject({ ...where, body: { ...body, metadata: { name: 'big' }, spec: { oars: 60 } } }),
  );
  assert.equal(
    refused.message,
    'Boat.example.com "big" is invalid: spec.oars: Invalid value: 60: spec.oars in body should be less than or equal to 40',
  );
  const scaled = (await custom.patchNamespacedCustomObjectScale(
    { ...where, name: 'knarr', body: { spec: { replicas: 8 } } },
    setHeaderOptions('Content-Type', PatchStrategy.MergePatch),
  )) as { spec: { replicas: number } };
  assert.equal(scaled.spec.replicas, 8);
  const stated = (await custom.patchNamespacedCustomObjectStatus(
    { ...where, name: 'knarr', body: { status: { oars: 8 } } },
    setHeaderOptions('Content-Type', PatchStrategy.MergePatch),
  )) as { status: object; spec: object };
  assert.deepEqual([stated.spec, stated.status], [{ oars: 8 }, { oars: 8 }]);
  const list = (await custom.listNamespacedCustomObject(where)) as { items: { metadata: { name: string } }[] };
  assert.deepEqual(
    list.items.map((i) => i.metadata.name),
    ['knarr'],
  );
  await custom.deleteNamespacedCustomObject({ ...where, name: 'knarr' });
});

test('somebody else, by a token', async () => {
  const { status: issued } = await core.createNamespacedServiceAccountToken({
    name: 'default',
    namespace: ns,
    body: { spec: { audiences: [], expirationSeconds: 3600 } },
  });
  const other = new KubeConfig();
  other.loadFromOptions({
    clusters: config.clusters,
    users: [{ name: 'sa', token: issued!.token }],
    contexts: [{ name: 'sa', cluster: config.clusters[0]!.name, user: 'sa' }],
    currentContext: 'sa',
  });
  const refused = await status(other.makeApiClient(CoreV1Api).listNamespacedPod({ namespace: ns }));
  assert.deepEqual(refused, {
    code: 403,
    reason: 'Forbidden',
    message:
      'pods is forbidden: User "system:serviceaccount:js:default" cannot list resource "pods" in API group "" in the namespace "js"',
  });
});
