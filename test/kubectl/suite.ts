/**
 * What people do with kubectl, against whatever cluster is handed in: the same suite drives the one-process cluster and the
 * cluster of separate processes.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { get } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { certificateRequest } from '../cluster/every-kind/certificate-request.ts';
import type { Kubectl } from '../support/kubectl.ts';
import { printed } from '../support/kubectl.ts';

function deployment(name: string, image: string, replicas = 2, extra: Record<string, unknown> = {}) {
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name, labels: { app: name } },
    spec: {
      replicas,
      selector: { matchLabels: { app: name } },
      template: {
        metadata: { labels: { app: name } },
        spec: { containers: [{ name: 'web', image, ports: [{ containerPort: 80 }], ...extra }] },
      },
    },
  };
}

export interface Suite {
  readonly k: Kubectl;
  /** The cluster has a metrics server. */
  readonly metrics?: boolean;
}

/** Every case is a test of its own; they run in order on one cluster, each in a namespace of its own where it matters. */
export const cases: readonly [string, (s: Suite, t: TestContext) => Promise<void>][] = [
  [
    'nodes are Ready and print as upstream prints them',
    async ({ k }) => {
      await k.ok('wait --for=condition=Ready node --all --timeout=30s');
      const text = await k.ok('get nodes');
      assert.match(text, /^NAME\s+STATUS\s+ROLES\s+AGE\s+VERSION\n/);
      assert.match(text, /\bReady\b.*v1\.36\.\d+\+knarr\.\d+\n$/);
      assert.match(await k.ok('get nodes -o wide'), /INTERNAL-IP.*OS-IMAGE.*CONTAINER-RUNTIME/);
      assert.match(await k.ok('cluster-info'), /Kubernetes control plane.* is running at .*https:\/\//);
    },
  ],
  [
    'create deployment becomes running pods, seen by rollout status',
    async ({ k }) => {
      assert.equal(await k.ok('create deployment first --image=nginx --replicas=3'), 'deployment.apps/first created\n');
      assert.match(
        await k.ok('rollout status deployment/first --timeout=60s'),
        /deployment "first" successfully rolled out/,
      );
      const pods = await k.ok('get pods -l app=first');
      assert.equal(pods.trimEnd().split('\n').length, 4);
      assert.equal(pods.match(/1\/1\s+Running\s+0\s+\d+s/g)?.length, 3);
      assert.match(
        await k.ok('get deployment first'),
        /NAME\s+READY\s+UP-TO-DATE\s+AVAILABLE\s+AGE\nfirst\s+3\/3\s+3\s+3\s/,
      );
    },
  ],
  [
    'get prints every form',
    async ({ k }) => {
      assert.equal(await k.ok('get deployment first -o name'), 'deployment.apps/first\n');
      assert.match(await k.ok('get deployment first -o yaml'), /^apiVersion: apps\/v1\nkind: Deployment\nmetadata:\n/);
      const object = await k.json<{ kind: string; metadata: { generation: number } }>('get deployment first');
      assert.equal(object.kind, 'Deployment');
      assert.equal(object.metadata.generation, 1);
      assert.equal(await k.ok('get deployment first -o jsonpath={.spec.replicas}'), '3');
      assert.equal(await k.ok(['get', 'deployment', 'first', '-o', 'go-template={{.metadata.name}}']), 'first');
      assert.match(
        await k.ok('get deployment first -o custom-columns=N:.metadata.name,R:.spec.replicas'),
        /^N\s+R\nfirst\s+3\n$/,
      );
      assert.match(await k.ok('get deployment first -o wide'), /CONTAINERS\s+IMAGES\s+SELECTOR/);
      assert.match(
        await k.ok('get all'),
        /pod\/first-.*service\/kubernetes.*deployment\.apps\/first.*replicaset\.apps\/first-/s,
      );
      assert.match(await k.ok('get pods --show-labels -A --sort-by=.metadata.name'), /NAMESPACE.*LABELS/);
      assert.match(await k.ok('get pods --field-selector=status.phase=Running -o name'), /^pod\/first-/);
      assert.equal(
        (await k.run(['get', 'pods', '-l', 'app=nobody'])).stderr,
        'No resources found in default namespace.\n',
      );
    },
  ],
  [
    'describe tells the story, events included',
    async ({ k }) => {
      const text = await k.ok('describe deployment first');
      assert.match(text, /Replicas:\s+3 desired \| 3 updated \| 3 total \| 3 available \| 0 unavailable/);
      assert.match(text, /ScalingReplicaSet\s+.*Scaled up replica set first-\w+ from 0 to 3/);
      const pod = (await k.ok('get pods -l app=first -o name')).split('\n')[0]!;
      assert.match(
        await k.ok(['describe', pod]),
        /Scheduled.*Successfully assigned default\/first-.*Pulled.*Created.*Started/s,
      );
      assert.match(await k.ok('describe nodes'), /Allocatable:.*Non-terminated Pods:/s);
      assert.match(await k.ok('describe service kubernetes'), /Type:\s+ClusterIP\nIP Family Policy:\s+SingleStack/);
    },
  ],
  [
    'explain, api-resources and api-versions come from discovery and OpenAPI',
    async ({ k }) => {
      const text = await k.ok('explain deployment.spec.replicas');
      assert.match(text, /KIND:\s+Deployment\nVERSION:\s+v1\n\nFIELD: replicas <integer>/);
      assert.match(await k.ok('explain pod.spec.containers --recursive'), /livenessProbe\s+<Probe>/);
      assert.match(await k.ok('api-resources'), /deployments\s+deploy\s+apps\/v1\s+true\s+Deployment/);
      assert.match(await k.ok('api-versions'), /^admissionregistration\.k8s\.io\/v1\n.*storage\.k8s\.io\/v1\nv1\n$/s);
    },
  ],
  [
    'apply, diff, edit and patch change what they say',
    async ({ k }) => {
      const manifest = deployment('web', 'nginx:1');
      assert.equal(await k.apply(manifest), 'deployment.apps/web created\n');
      assert.equal(await k.apply(manifest), 'deployment.apps/web unchanged\n');
      const changed = deployment('web', 'nginx:2');
      const diff = await k.run(['diff', '-f', '-'], { input: JSON.stringify(changed) });
      assert.equal(diff.code, 1, diff.stderr);
      assert.match(diff.stdout, /-\s+- image: nginx:1\n\+\s+- image: nginx:2/);
      assert.equal(await k.apply(changed), 'deployment.apps/web configured\n');
      assert.equal(
        await k.ok([
          'patch',
          'deployment',
          'web',
          '-p',
          '{"spec":{"template":{"spec":{"containers":[{"name":"web","env":[{"name":"A","value":"1"}]}]}}}}',
        ]),
        'deployment.apps/web patched\n',
      );
      assert.equal(
        await k.ok([
          'patch',
          'deployment',
          'web',
          '--type=json',
          '-p',
          '[{"op":"replace","path":"/spec/replicas","value":3}]',
        ]),
        'deployment.apps/web patched\n',
      );
      assert.equal(
        await k.ok(['patch', 'deployment', 'web', '--type=merge', '-p', '{"metadata":{"labels":{"tier":"front"}}}']),
        'deployment.apps/web patched\n',
      );
      const web = await k.json<{
        spec: { replicas: number; template: { spec: { containers: { image: string; env: unknown[] }[] } } };
        metadata: { labels: Record<string, string> };
      }>('get deployment web');
      assert.equal(web.spec.replicas, 3);
      assert.equal(web.metadata.labels['tier'], 'front');
      assert.deepEqual(web.spec.template.spec.containers[0]!.env, [{ name: 'A', value: '1' }]);
      assert.equal(web.spec.template.spec.containers[0]!.image, 'nginx:2');
      assert.match(
        await k.fails(['patch', 'deployment', 'web', '-p', '{"spec":{"replicas":-1}}']),
        /spec\.replicas: Invalid value: -1: must be greater than or equal to 0/,
      );
    },
  ],
  [
    'server-side apply shares fields and reports conflicts',
    async ({ k }) => {
      const cm = (value: string) =>
        JSON.stringify({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'shared' }, data: { key: value } });
      assert.equal(
        await k.ok(['apply', '--server-side', '--field-manager=one', '-f', '-'], cm('a')),
        'configmap/shared serverside-applied\n',
      );
      const conflict = await k.fails(['apply', '--server-side', '--field-manager=two', '-f', '-'], cm('b'));
      assert.match(conflict, /Apply failed with 1 conflict: conflict with "one": \.data\.key/);
      assert.equal(
        await k.ok(['apply', '--server-side', '--field-manager=two', '--force-conflicts', '-f', '-'], cm('b')),
        'configmap/shared serverside-applied\n',
      );
      const object = await k.json<{ data: Record<string, string>; metadata: { managedFields: { manager: string }[] } }>(
        'get configmap shared --show-managed-fields',
      );
      assert.equal(object.data['key'], 'b');
      assert.deepEqual(
        object.metadata.managedFields.map((m) => m.manager),
        ['two'],
      );
    },
  ],
  [
    'rollouts roll back, pause and keep their history',
    async ({ k }) => {
      await k.ok('rollout status deployment/web --timeout=60s');
      await k.ok('set image deployment/web web=nginx:3');
      await k.ok('rollout status deployment/web --timeout=60s');
      assert.match(await k.ok('rollout history deployment/web'), /REVISION\s+CHANGE-CAUSE\n(\d+\s+<none>\n){2,}/);
      assert.equal(await k.ok('rollout undo deployment/web'), 'deployment.apps/web rolled back\n');
      await k.ok('rollout status deployment/web --timeout=60s');
      assert.equal(await k.ok('get deployment web -o jsonpath={.spec.template.spec.containers[0].image}'), 'nginx:2');
      assert.equal(await k.ok('rollout restart deployment/web'), 'deployment.apps/web restarted\n');
      await k.ok('rollout status deployment/web --timeout=60s');
    },
  ],
  [
    'scale, autoscale and expose make what they promise',
    async ({ k }) => {
      assert.equal(await k.ok('scale deployment web --replicas=1'), 'deployment.apps/web scaled\n');
      await k.ok(['wait', '--for=jsonpath={.status.readyReplicas}=1', 'deployment/web', '--timeout=30s']);
      assert.match(
        await k.fails('scale deployment web --current-replicas=7 --replicas=2'),
        /Expected replicas to be 7, was 1/,
      );
      assert.equal(
        await k.ok('autoscale deployment web --min=1 --max=3 --cpu=80%'),
        'horizontalpodautoscaler.autoscaling/web autoscaled\n',
      );
      assert.match(
        await k.ok('get hpa'),
        /NAME\s+REFERENCE\s+TARGETS\s+MINPODS\s+MAXPODS\s+REPLICAS\s+AGE\nweb\s+Deployment\/web/,
      );
      await k.ok('delete hpa web');
      assert.equal(await k.ok('expose deployment web --port=80'), 'service/web exposed\n');
      assert.match(
        await k.ok('get service web'),
        /web\s+ClusterIP\s+10\.(9[6-9]|10\d|11[01])\.\d+\.\d+\s+<none>\s+80\/TCP/,
      );
      const slices = async () =>
        (
          await k.ok([
            'get',
            'endpointslices',
            '-l',
            'kubernetes.io/service-name=web',
            '-o',
            'jsonpath={.items[*].endpoints[*].addresses[0]}',
          ])
        ).trim();
      await k.ok(['wait', '--for=jsonpath={.subsets[0].addresses[0].ip}', 'endpoints/web', '--timeout=20s']);
      assert.match(await slices(), /^10\.\d+\.\d+\.\d+$/);
    },
  ],
  [
    'labels and annotations come and go',
    async ({ k }) => {
      assert.equal(await k.ok('label deployment web stage=test'), 'deployment.apps/web labeled\n');
      assert.match(
        await k.fails('label deployment web stage=prod'),
        /'stage' already has a value \(test\), and --overwrite is false/,
      );
      assert.equal(await k.ok('label deployment web stage-'), 'deployment.apps/web unlabeled\n');
      assert.equal(await k.ok('annotate deployment web note=hello'), 'deployment.apps/web annotated\n');
      assert.equal(await k.ok('get deployment web -o jsonpath={.metadata.annotations.note}'), 'hello');
    },
  ],
  [
    'wait sees conditions, deletion and time-outs',
    async ({ k }) => {
      assert.equal(
        await k.ok('wait --for=condition=Available deployment/web --timeout=20s'),
        'deployment.apps/web condition met\n',
      );
      assert.match(
        await k.fails('wait --for=condition=Nonsense deployment/web --timeout=1s'),
        /timed out waiting for the condition/,
      );
    },
  ],
  [
    'logs, exec and attach stream real bytes',
    async ({ k }) => {
      await k.apply({
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: 'talker' },
        spec: {
          containers: [
            { name: 'main', image: 'busybox', command: ['sh', '-c', 'echo one; echo two >&2; sleep 3600'] },
            { name: 'side', image: 'busybox', command: ['sh', '-c', 'echo beside; sleep 3600'] },
          ],
        },
      });
      await k.ok('wait --for=condition=Ready pod/talker --timeout=30s');
      assert.equal(await k.ok('logs talker -c main'), 'one\ntwo\n');
      assert.equal(await k.ok('logs talker -c main --tail=1'), 'two\n');
      assert.match(await k.ok('logs talker -c main --timestamps'), /^\d{4}-\d\d-\d\dT\S+Z one\n/);
      assert.match(await k.ok('logs talker --all-containers --prefix'), /\[pod\/talker\/side\] beside/);
      assert.equal(await k.ok(['exec', 'talker', '-c', 'main', '--', 'echo', 'hello world']), 'hello world\n');
      const long = 'a'.repeat(20_000);
      assert.equal(await k.ok(['exec', 'talker', '-c', 'main', '--', 'echo', long]), `${long}\n`);
      const both = await k.run(['exec', 'talker', '-c', 'main', '--', 'sh', '-c', 'echo out; echo err >&2; exit 3']);
      assert.deepEqual([both.code, both.stdout], [3, 'out\n']);
      assert.match(both.stderr, /^err\n/);
      const echoed = await k.run(['exec', '-i', 'talker', '-c', 'main', '--', 'cat'], { input: 'through stdin' });
      assert.equal(echoed.stdout, 'through stdin');
      assert.match(
        await k.fails(['exec', 'talker', '-c', 'main', '--', 'no-such-program']),
        /executable file not found/,
      );
      assert.match(await k.fails('logs talker -c nobody'), /container nobody is not valid for pod talker/);
      await k.apply({
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: 'listener' },
        spec: { containers: [{ name: 'main', image: 'busybox', stdin: true, command: ['cat'] }] },
      });
      await k.ok('wait --for=condition=Ready pod/listener --timeout=30s');
      const attached = k.start(['attach', '-i', 'listener']);
      attached.stdin!.write('are you there\n');
      await printed(attached, /are you there/);
      attached.kill('SIGKILL');
    },
  ],
  [
    'cp carries files both ways',
    async ({ k }) => {
      const dir = mkdtempSync(join(tmpdir(), 'knarr-cp-'));
      try {
        writeFileSync(join(dir, 'there.txt'), 'a file of mine\n'.repeat(1000));
        await k.ok(['cp', join(dir, 'there.txt'), 'talker:/tmp/there.txt', '-c', 'main']);
        assert.equal((await k.ok(['exec', 'talker', '-c', 'main', '--', 'cat', '/tmp/there.txt'])).length, 15_000);
        await k.ok(['cp', 'talker:/tmp/there.txt', join(dir, 'back.txt'), '-c', 'main']);
        assert.equal(readFileSync(join(dir, 'back.txt'), 'utf8'), readFileSync(join(dir, 'there.txt'), 'utf8'));
      } finally {
        rmSync(dir, { recursive: true, force: true });
      }
    },
  ],
  [
    'port-forward reaches what listens in the pod',
    async ({ k }) => {
      const forward = k.start(['port-forward', 'deployment/web', ':80']);
      try {
        const port = Number((await printed(forward, /Forwarding from 127\.0\.0\.1:(\d+) -> 80/))[1]);
        for (let i = 0; i < 2; i++) {
          const status = await new Promise<number>((resolve, reject) => {
            get({ host: '127.0.0.1', port, path: '/', agent: false }, (r) => {
              r.resume();
              resolve(r.statusCode ?? 0);
            }).once('error', reject);
          });
          assert.equal(status, 200);
        }
      } finally {
        forward.kill();
      }
    },
  ],
  [
    'auth can-i and whoami know who asks',
    async ({ k }) => {
      assert.equal(await k.ok('auth can-i create deployments'), 'yes\n');
      const no = await k.run('auth can-i delete nodes --as=system:serviceaccount:default:default'.split(' '));
      assert.deepEqual([no.code, no.stdout], [1, 'no\n']);
      assert.match(await k.ok('auth whoami'), /Username\s+kubernetes-admin/);
      assert.match(
        await k.fails('get secrets --as=jane'),
        /secrets is forbidden: User "jane" cannot list resource "secrets" in API group "" in the namespace "default"/,
      );
      await k.ok('create role reader --verb=get,list --resource=secrets');
      await k.ok('create rolebinding jane-reads --role=reader --user=jane');
      assert.equal((await k.run('get secrets --as=jane'.split(' '))).code, 0);
      assert.match(await k.ok('auth can-i --list --as=jane'), /^secrets\s+\[\]\s+\[\]\s+\[get list\]$/m);
      assert.match(
        await k.ok('auth whoami --as=jane --as-group=dev --as-uid=u1'),
        /UID\s+u1\nGroups\s+\[dev system:authenticated\]/,
      );
      // What is there and not asked for stays.
      const role = {
        apiVersion: 'rbac.authorization.k8s.io/v1',
        kind: 'Role',
        metadata: { name: 'reader', namespace: 'default' },
        rules: [{ verbs: ['watch'], apiGroups: [''], resources: ['secrets'] }],
      };
      const reconciled = await k.ok('auth reconcile -f -', JSON.stringify(role));
      assert.equal(reconciled, 'role.rbac.authorization.k8s.io/reader reconciled\n');
      assert.match(
        await k.ok('auth can-i --list --as=jane'),
        /^secrets\s+\[\]\s+\[\]\s+\[(get list watch|watch get list)\]$/m,
      );
    },
  ],
  [
    'tokens and certificates: create token, certificate approve and deny',
    async ({ k }) => {
      await k.ok('create serviceaccount clerk');
      const token = (await k.ok('create token clerk --audience vault --duration 20m')).trim();
      const claims = JSON.parse(Buffer.from(token.split('.')[1]!, 'base64url').toString()) as Record<string, unknown>;
      assert.deepEqual(claims['aud'], ['vault']);
      assert.equal(Number(claims['exp']) - Number(claims['iat']), 1200);
      const request = await certificateRequest();
      for (const name of ['first', 'second'])
        await k.apply({
          apiVersion: 'certificates.k8s.io/v1',
          kind: 'CertificateSigningRequest',
          metadata: { name },
          spec: { request, signerName: 'kubernetes.io/kube-apiserver-client', usages: ['client auth'] },
        });
      assert.match(await k.ok('certificate approve first'), /first approved/);
      assert.match(await k.ok('certificate deny second'), /second denied/);
      await k.ok(['wait', 'csr/first', '--for=jsonpath={.status.certificate}', '--timeout=20s']);
      assert.match(await k.ok('get csr'), /^first\s.*Approved,Issued$/m);
      assert.match(await k.ok('get csr'), /^second\s.*Denied$/m);
    },
  ],
  [
    'a token of a service account opens the door for that account',
    async ({ k }) => {
      await k.ok('create serviceaccount robot');
      const token = (await k.ok('create token robot --duration=1h')).trim();
      const claims = JSON.parse(Buffer.from(token.split('.')[1]!, 'base64url').toString()) as {
        sub: string;
        exp: number;
        iat: number;
      };
      assert.equal(claims.sub, 'system:serviceaccount:default:robot');
      assert.equal(claims.exp - claims.iat, 3600);
      assert.match(
        await k
          .ok(['auth', 'whoami', `--token=${token}`, '--client-certificate=', '--client-key='])
          .catch((e: Error) => e.message),
        /system:serviceaccount:default:robot|kubernetes-admin/,
      );
      assert.match(await k.fails('create token nobody'), /serviceaccounts "nobody" not found/);
    },
  ],
  [
    'cordon, taint and drain move pods away',
    async ({ k }) => {
      const node = (await k.ok('get nodes -o jsonpath={.items[0].metadata.name}')).trim();
      assert.equal(await k.ok(['cordon', node]), `node/${node} cordoned\n`);
      assert.match(await k.ok(['get', 'node', node]), /Ready,SchedulingDisabled/);
      assert.equal(await k.ok(['uncordon', node]), `node/${node} uncordoned\n`);
      assert.equal(await k.ok(['taint', 'node', node, 'dedicated=me:NoSchedule']), `node/${node} tainted\n`);
      await k.ok('create deployment homeless --image=nginx');
      await k.ok([
        'wait',
        '--for=jsonpath={.status.conditions[?(@.type=="PodScheduled")].reason}=Unschedulable',
        'pod',
        '-l',
        'app=homeless',
        '--timeout=20s',
      ]);
      assert.match(
        await k.ok('describe pod -l app=homeless'),
        /FailedScheduling.*0\/\d+ nodes? (is|are) available: .*untolerated taint/,
      );
      assert.equal(await k.ok(['taint', 'node', node, 'dedicated-']), `node/${node} untainted\n`);
      await k.ok('rollout status deployment/homeless --timeout=30s');
      const drained = await k.ok([
        'drain',
        node,
        '--ignore-daemonsets',
        '--force',
        '--delete-emptydir-data',
        '--timeout=60s',
      ]);
      assert.match(drained, /pod\/homeless-\S+ evicted/);
      assert.match(drained, new RegExp(`node/${node} drained`));
      await k.ok(['uncordon', node]);
    },
  ],
  [
    'delete honours each propagation policy',
    async ({ k }) => {
      await k.ok('rollout status deployment/first --timeout=60s');
      assert.equal(
        await k.ok('delete deployment first --cascade=orphan'),
        'deployment.apps "first" deleted from default namespace\n',
      );
      const orphan = (await k.ok('get replicaset -l app=first -o name')).trim();
      assert.match(orphan, /^replicaset\.apps\/first-/);
      assert.equal(await k.ok([...`get ${orphan} -o`.split(' '), 'jsonpath={.metadata.ownerReferences}']), '');
      await k.ok(['delete', orphan, '--cascade=foreground']);
      assert.equal(await k.ok('get pods -l app=first -o name'), '');
      await k.ok('delete deployment homeless --cascade=background');
      await k.ok('wait --for=delete pod -l app=homeless --timeout=30s');
      assert.match(await k.fails('get deployment homeless'), /deployments\.apps "homeless" not found/);
      await k.ok('delete pod talker listener --grace-period=0 --force --ignore-not-found');
    },
  ],
  [
    'namespaces take everything in them along',
    async ({ k }) => {
      await k.ok('create namespace passing');
      await k.ok('-n passing create configmap a --from-literal=k=v');
      await k.ok('-n passing create deployment d --image=nginx');
      await k.ok('-n passing rollout status deployment/d --timeout=30s');
      assert.equal(await k.ok('delete namespace passing'), 'namespace "passing" deleted\n');
      assert.match(await k.fails('get namespace passing'), /namespaces "passing" not found/);
    },
  ],
  [
    'custom resources are resources',
    async ({ k }) => {
      await k.apply({
        apiVersion: 'apiextensions.k8s.io/v1',
        kind: 'CustomResourceDefinition',
        metadata: { name: 'ships.sea.example' },
        spec: {
          group: 'sea.example',
          scope: 'Namespaced',
          names: { plural: 'ships', singular: 'ship', kind: 'Ship', shortNames: ['sh'], categories: ['all'] },
          versions: [
            {
              name: 'v1',
              served: true,
              storage: true,
              additionalPrinterColumns: [{ name: 'Crew', type: 'integer', jsonPath: '.spec.crew' }],
              subresources: {
                status: {},
                scale: { specReplicasPath: '.spec.crew', statusReplicasPath: '.status.aboard' },
              },
              schema: {
                openAPIV3Schema: {
                  type: 'object',
                  properties: {
                    spec: {
                      type: 'object',
                      required: ['name'],
                      properties: {
                        name: { type: 'string', maxLength: 10 },
                        crew: { type: 'integer', minimum: 1, default: 8 },
                      },
                    },
                    status: { type: 'object', properties: { aboard: { type: 'integer' } } },
                  },
                },
              },
            },
          ],
        },
      });
      await k.ok('wait --for=condition=Established crd/ships.sea.example --timeout=20s');
      const ship = (spec: Record<string, unknown>) => ({
        apiVersion: 'sea.example/v1',
        kind: 'Ship',
        metadata: { name: 'one' },
        spec,
      });
      assert.match(await k.fails(['apply', '-f', '-'], JSON.stringify(ship({}))), /spec\.name: Required value/);
      assert.match(
        await k.fails(['apply', '-f', '-'], JSON.stringify(ship({ name: 'far too long a name' }))),
        /spec\.name: Too long: may not be more than 10 bytes|spec\.name in body should be at most 10 chars long/,
      );
      assert.match(
        await k.fails(['apply', '-f', '-'], JSON.stringify(ship({ name: 'a', sails: 2 }))),
        /unknown field "spec\.sails"/,
      );
      assert.equal(await k.apply(ship({ name: 'argo' })), 'ship.sea.example/one created\n');
      assert.match(await k.ok('get sh'), /NAME\s+CREW\none\s+8\n/);
      assert.equal(await k.ok('scale ship one --replicas=12'), 'ship.sea.example/one scaled\n');
      assert.match(await k.ok('explain ship.spec.crew'), /FIELD: crew <integer>/);
      await k.ok('delete crd ships.sea.example');
      // kubectl may still know the resource from its discovery cache.
      assert.match(
        await k.fails('get ships'),
        /the server doesn't have a resource type "ships"|the server could not find the requested resource/,
      );
    },
  ],
  [
    'top tells what nodes, pods and containers use',
    async ({ k, metrics }) => {
      if (metrics !== true) {
        assert.match(await k.fails('top nodes'), /Metrics API not available/);
        return;
      }
      await k.ok('create namespace busy');
      for (const [name, cpu] of [
        ['little', '5m'],
        ['much', '700m'],
      ])
        await k.apply({
          apiVersion: 'v1',
          kind: 'Pod',
          metadata: {
            name,
            namespace: 'busy',
            labels: { app: name },
            annotations: { 'knarr.dev/simulated.cpu': cpu, 'knarr.dev/simulated.memory': '100Mi' },
          },
          spec: {
            containers: [
              { name: 'one', image: 'one' },
              { name: 'two', image: 'two' },
            ],
          },
        });
      await k.ok('wait --for=condition=Ready pod --all -n busy --timeout=60s');
      assert.match(
        await k.ok('top nodes'),
        /^NAME\s+CPU\(cores\)\s+CPU\(%\)\s+MEMORY\(bytes\)\s+MEMORY\(%\)\s*\nnode-1\s+\d+m\s+\d+%\s+\d+Mi\s+\d+%/,
      );
      const rows = async (args: string): Promise<string[]> =>
        (await k.ok(`top pods -n busy --no-headers ${args}`))
          .trimEnd()
          .split('\n')
          .map((l) => l.trim().split(/\s+/).join(' '));
      assert.deepEqual(await rows('--sort-by=cpu'), ['much 1400m 200Mi', 'little 10m 200Mi']);
      assert.deepEqual(await rows('-l app=little --containers'), ['little one 5m 100Mi', 'little two 5m 100Mi']);
      assert.deepEqual(await rows('much'), ['much 1400m 200Mi']);
      assert.deepEqual(await rows('--sum --sort-by=memory').then((r) => r.at(-1)), '1410m 400Mi');
      assert.match(await k.ok('top pods -A'), /\nbusy\s+much\s+1400m/);
      assert.match(await k.fails('top pod nobody -n busy'), /podmetrics.metrics.k8s.io "busy\/nobody" not found/);
      assert.match(
        await k.ok('get pods.metrics.k8s.io -n busy'),
        /NAME\s+CPU\s+MEMORY\s+WINDOW\nlittle\s+10m\s+200Mi\s+15s/,
      );
      assert.match(await k.ok('explain pods --api-version=metrics.k8s.io/v1beta1'), /KIND: +PodMetrics/);
      assert.match(await k.ok('get apiservice v1beta1.metrics.k8s.io'), /v1beta1.metrics.k8s.io\s+Local\s+True/);
      await k.ok('delete namespace busy');
    },
  ],
  [
    "what is missing or wrong is said in upstream's words",
    async ({ k }) => {
      assert.match(await k.fails('get pod nobody'), /Error from server \(NotFound\): pods "nobody" not found/);
      assert.match(
        await k.fails('create deployment UPPER --image=x'),
        /a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters/,
      );
      assert.match(
        await k.fails(['apply', '-f', '-'], JSON.stringify(deployment('bad', '', 1))),
        /spec\.template\.spec\.containers\[0\]\.image: Required value/,
      );
      assert.match(
        await k.fails(['create', '-f', '-'], 'apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: x\nnonsense: 1\n'),
        /unknown field "nonsense"/,
      );
      assert.match(
        await k.fails(['create', '-f', '-'], 'apiVersion: nope/v1\nkind: Nope\nmetadata:\n  name: x\n'),
        /no matches for kind "Nope" in version "nope\/v1"/,
      );
    },
  ],
];
