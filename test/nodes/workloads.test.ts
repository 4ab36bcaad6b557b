/** Workloads as people run them, with real containers and kubectl: Services, storage, Jobs, rolling updates, probes, memory. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import type { Deployment, Event, Pod, PodSpec, StatefulSet } from '../../src/api/types/index.gen.ts';
import { container, firstAddress, Machines, pod, serve, skipMachines, sleeper } from './support/machines.ts';
import { until } from './support/until.ts';

const skip = skipMachines();
let m: Machines;

before(async () => {
  if (skip === false) m = await Machines.start();
});

after(async () => {
  if (skip === false) await m.stop();
});

const readiness = { httpGet: { path: '/', port: 8080 }, periodSeconds: 1 };

/** A web server of a Deployment whose pods end without cutting anybody off, as upstream's guides say to write it. */
function webSpec(text: string, more: Partial<PodSpec> = {}): PodSpec {
  const web = container(serve(text), {
    readinessProbe: readiness,
    lifecycle: { preStop: { sleep: { seconds: 2 } } },
  });
  return { terminationGracePeriodSeconds: 5, containers: [web], ...more };
}

function deployment(name: string, replicas: number, spec: PodSpec, more: Partial<Deployment['spec']> = {}): Deployment {
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name },
    spec: {
      replicas,
      selector: { matchLabels: { app: name } },
      template: { metadata: { labels: { app: name } }, spec },
      ...more,
    },
  };
}

/** A script's output in a pod of its own. */
async function asked(name: string, script: string): Promise<string> {
  await m.kubectl.apply(pod(name, script, { restartPolicy: 'Never' }));
  return m.ended(name);
}

async function events(name: string): Promise<string> {
  const { items } = await m.kubectl.json<{ items: Event[] }>(`get events --field-selector involvedObject.name=${name}`);
  return items.map((e) => `${e.type} ${e.reason}: ${e.message}`).join('\n');
}

async function statusOf(name: string): Promise<NonNullable<Pod['status']>> {
  return (await m.kubectl.json<Pod>(`get pod ${name}`)).status ?? {};
}

describe('workloads', { skip, concurrency: 5, timeout: 240_000 }, () => {
  // The longest waits come first.
  test('a CronJob runs at its minute, and its Job is kept', async () => {
    await m.kubectl.ok([
      ...['create', 'cronjob', 'clock', '--image=local.test/busybox:1', '--schedule=* * * * *'],
      ...['--', 'sh', '-c', 'echo ticked'],
    ]);
    const job = await until(
      'its first Job',
      async () => {
        const out = await m.kubectl.ok('get jobs -o name');
        return /job\.batch\/(clock-\d+)/.exec(out)?.[1];
      },
      90_000,
    );
    await m.kubectl.ok(`wait --for=condition=Complete job/${job} --timeout=40s`);
    assert.equal(await m.kubectl.ok(`logs job/${job}`), 'ticked\n');
    const cron = await m.kubectl.json<{ status: { lastSuccessfulTime?: string; lastScheduleTime?: string } }>(
      'get cronjob clock',
    );
    assert.match(cron.status.lastScheduleTime ?? '', /:00Z$/);
    await m.kubectl.ok('delete cronjob clock');
    await until('its Job to go with it', async () => !(await m.kubectl.ok('get jobs,pods -o name')).includes('clock-'));
  });

  test('an autoscaler sees what real containers use, and scales', async () => {
    const resources = { requests: { cpu: '20m' }, limits: { cpu: '60m' } };
    await m.kubectl.apply(
      deployment('busy', 1, {
        terminationGracePeriodSeconds: 0,
        containers: [container('while :; do :; done', { resources })],
      }),
    );
    await m.kubectl.ok('autoscale deployment busy --cpu=50% --min=1 --max=2');
    await until(
      'two of them',
      async () => (await m.kubectl.ok('get deployment busy -o jsonpath={.status.readyReplicas}')) === '2',
      90_000,
    );
    assert.match(await events('busy'), /Normal SuccessfulRescale: New size: 2; reason: cpu resource utilization/);
    await m.kubectl.ok('delete hpa/busy deployment/busy');
  });

  test('a rolling update under load: not one request fails', async () => {
    await m.kubectl.apply(
      deployment('roll', 3, webSpec('echo version 1'), {
        strategy: { type: 'RollingUpdate', rollingUpdate: { maxUnavailable: 0, maxSurge: 1 } },
      }),
    );
    await m.kubectl.ok('expose deployment roll --port=80 --target-port=8080');
    await m.kubectl.ok('expose deployment roll --name=roll-outside --type=NodePort --port=80 --target-port=8080');
    await m.kubectl.ok('rollout status deployment/roll --timeout=60s');
    const port = await m.kubectl.ok('get service roll-outside -o jsonpath={.spec.ports[0].nodePort}');
    // From outside by a NodePort, and from a pod by the Service's name.
    const seen = new Map<string, number>();
    const failed: string[] = [];
    let going = true;
    const load = async (): Promise<void> => {
      while (going) {
        try {
          const answer = await fetch(`http://${firstAddress}:${port}/`, {
            headers: { connection: 'close' },
            signal: AbortSignal.timeout(5000),
          });
          const text = (await answer.text()).trim();
          seen.set(text, (seen.get(text) ?? 0) + 1);
          if (answer.status !== 200) failed.push(`${answer.status}`);
        } catch (error) {
          failed.push(String((error as Error).cause ?? error));
        }
      }
    };
    await m.kubectl.apply(
      pod(
        'loader',
        'until [ -e /tmp/stop ]; do timeout 5 wget -q -O - http://roll >> /tmp/out || echo failed >> /tmp/out; done; sort /tmp/out | uniq -c',
        { restartPolicy: 'Never' },
      ),
    );
    await m.ready('loader');
    const loads = [load(), load()];
    await until('the first answers', async () => (seen.get('version 1') ?? 0) > 20);
    for (const version of [2, 3]) {
      const spec = { template: { spec: webSpec(`echo version ${version}`) } };
      await m.kubectl.ok(['patch', 'deployment', 'roll', '--type=merge', '-p', JSON.stringify({ spec })]);
      await m.kubectl.ok('rollout status deployment/roll --timeout=90s');
    }
    await m.kubectl.ok('rollout undo deployment/roll');
    await m.kubectl.ok('rollout status deployment/roll --timeout=90s');
    await until('the old pods to go', async () => {
      const { items } = await m.kubectl.json<{ items: Pod[] }>('get pods -l app=roll');
      return items.length === 3;
    });
    going = false;
    await Promise.all(loads);
    await m.kubectl.ok('exec loader -- touch /tmp/stop');
    const inside = await m.ended('loader');
    assert.deepEqual(failed, []);
    for (const version of [1, 2, 3]) {
      assert.ok((seen.get(`version ${version}`) ?? 0) > 0, `version ${version} in ${JSON.stringify([...seen])}`);
      assert.match(inside, new RegExp(`\\d+ version ${version}\n`));
    }
    assert.doesNotMatch(inside, /failed/);
    assert.equal(await m.kubectl.ok('exec deployment/roll -- cat /w/index.html'), 'version 2\n');
    await m.kubectl.ok('delete deployment/roll service/roll service/roll-outside');
  });

  test('HTTP between pods by Service name, and from the host by NodePort', async () => {
    await m.kubectl.apply(deployment('web', 2, webSpec('hostname')));
    await m.kubectl.ok('create service nodeport web --tcp=80:8080 --node-port=30081');
    await m.kubectl.ok('rollout status deployment/web --timeout=60s');
    const names = (await m.kubectl.ok('get pods -l app=web -o jsonpath={.items[*].metadata.name}')).split(' ').sort();
    assert.equal(names.length, 2);
    const out = await asked(
      'asker',
      'for n in web web.default web.default.svc web.default.svc.cluster.local; do for i in 1 2 3 4 5 6; do timeout 5 wget -q -O - http://$n || exit 1; done; done | sort -u',
    );
    assert.deepEqual(out.trim().split('\n'), names);
    const outside = new Set<string>();
    for (let i = 0; i < 40 && outside.size < 2; i++)
      outside.add((await (await fetch(`http://${firstAddress}:30081/`)).text()).trim());
    assert.deepEqual([...outside].sort(), names);
    // What is scaled away is asked no more.
    await m.kubectl.ok('scale deployment web --replicas=1');
    const left = await until('one endpoint', async () => {
      const text = await m.kubectl.ok(
        'get endpointslices -l kubernetes.io/service-name=web -o jsonpath={.items[*].endpoints[?(@.conditions.ready==true)].targetRef.name}',
      );
      return text !== '' && !text.includes(' ') && text;
    });
    await until('the rule', async () => {
      const answers = new Set<string>();
      for (let i = 0; i < 20; i++) answers.add((await (await fetch(`http://${firstAddress}:30081/`)).text()).trim());
      return answers.size === 1 && answers.has(left);
    });
    await m.kubectl.ok('delete deployment/web service/web');
  });

  test('a StatefulSet with claims: names, order, and data that outlives its pods and knarr', async () => {
    const set: StatefulSet = {
      apiVersion: 'apps/v1',
      kind: 'StatefulSet',
      metadata: { name: 'db' },
      spec: {
        serviceName: 'db',
        replicas: 2,
        selector: { matchLabels: { app: 'db' } },
        template: {
          metadata: { labels: { app: 'db' } },
          spec: {
            terminationGracePeriodSeconds: 1,
            containers: [
              container(`hostname >> /data/starts; ln -s /data /w; exec httpd -f -p 8080 -h /w`, {
                volumeMounts: [{ name: 'data', mountPath: '/data' }],
                readinessProbe: { ...readiness, httpGet: { path: '/starts', port: 8080 } },
              }),
            ],
          },
        },
        volumeClaimTemplates: [
          {
            metadata: { name: 'data' },
            spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } },
          },
        ],
      },
    };
    await m.kubectl.apply(set);
    await m.kubectl.ok('create service clusterip db --clusterip=None --tcp=8080:8080');
    await m.kubectl.ok('rollout status statefulset/db --timeout=60s');
    assert.match(await m.kubectl.ok('get pvc'), /data-db-0 +Bound .*local-path[^]*data-db-1 +Bound/);
    await m.kubectl.ok(['exec', 'db-0', '--', 'sh', '-c', 'echo precious > /data/file']);
    // Deleted in order and at once; its successor has the name, the volume, and what is in it.
    for (const how of ['--grace-period=1', '--force']) {
      const uid = await m.kubectl.ok('get pod db-0 -o jsonpath={.metadata.uid}');
      await m.kubectl.ok(`delete pod db-0 ${how}`);
      await until('its successor', async () => {
        const r = await m.kubectl.run(['get', 'pod', 'db-0', '-o', 'jsonpath={.metadata.uid}']);
        return r.code === 0 && r.stdout !== uid;
      });
      await m.ready('db-0');
    }
    assert.equal(await m.kubectl.ok('exec db-0 -- cat /data/file'), 'precious\n');
    const seen = await asked(
      'db-client',
      'timeout 5 wget -q -O - http://db-0.db:8080/starts; timeout 5 wget -q -O - http://db-1.db:8080/starts',
    );
    assert.equal(seen, 'db-0\ndb-0\ndb-0\ndb-1\n');
    await m.kubectl.ok('scale statefulset db --replicas=1');
    await m.kubectl.ok('wait --for=delete pod/db-1 --timeout=30s');
    assert.match(await m.kubectl.ok('get pvc data-db-1'), /Bound/);
    await m.kubectl.ok('scale statefulset db --replicas=2');
    await m.kubectl.ok('rollout status statefulset/db --timeout=60s');
    assert.equal(await m.kubectl.ok('exec db-1 -- cat /data/starts'), 'db-1\ndb-1\n');
  });

  test('a Job: parallel, by index, with a failure that is tried again', async () => {
    await m.kubectl.apply({
      apiVersion: 'batch/v1',
      kind: 'Job',
      metadata: { name: 'sums' },
      spec: {
        completions: 4,
        parallelism: 2,
        completionMode: 'Indexed',
        backoffLimit: 6,
        template: {
          spec: {
            restartPolicy: 'OnFailure',
            volumes: [{ name: 's', emptyDir: {} }],
            containers: [
              container(
                'if [ $JOB_COMPLETION_INDEX = 2 ] && [ ! -e /s/tried ]; then touch /s/tried; exit 1; fi; echo index $JOB_COMPLETION_INDEX',
                { volumeMounts: [{ name: 's', mountPath: '/s' }] },
              ),
            ],
          },
        },
      },
    });
    await m.kubectl.ok('wait --for=condition=Complete job/sums --timeout=60s');
    assert.match(await m.kubectl.ok('get job sums'), /Complete +4\/4/);
    const logs = await m.kubectl.ok('logs -l batch.kubernetes.io/job-name=sums --tail=-1');
    assert.deepEqual(logs.trim().split('\n').sort(), ['index 0', 'index 1', 'index 2', 'index 3']);
    await m.kubectl.ok([
      ...['create', 'job', 'failing', '--image=local.test/busybox:1'],
      ...['--', 'sh', '-c', 'exit 9'],
    ]);
    await m.kubectl.ok(['patch', 'job', 'failing', '--type=merge', '-p', '{"spec":{"activeDeadlineSeconds":3}}']);
    await m.kubectl.ok('wait --for=condition=Failed job/failing --timeout=60s');
    assert.match(await events('failing'), /DeadlineExceeded|BackoffLimitExceeded/);
  });

  test('a container that hangs is found by its probe, killed and started again', async () => {
    // It answers for a while, then no more, and does not heed being told to end.
    const hanging = `mkdir /w; echo up > /w/index.html; httpd -p 8080 -h /w; trap '' TERM
[ -e /s/once ] || { touch /s/once; sleep 2; kill -STOP $(pidof httpd); }
while :; do sleep 1; done`;
    await m.kubectl.apply(
      pod('hung', '', {
        volumes: [{ name: 's', emptyDir: {} }],
        containers: [
          container(hanging, {
            volumeMounts: [{ name: 's', mountPath: '/s' }],
            readinessProbe: readiness,
            livenessProbe: {
              ...readiness,
              timeoutSeconds: 1,
              failureThreshold: 2,
              terminationGracePeriodSeconds: 1,
            },
          }),
        ],
      }),
    );
    await m.ready('hung');
    const s = await until('its restart', async () => {
      const c = (await statusOf('hung')).containerStatuses?.[0];
      return c?.restartCount === 1 && c.ready && c;
    });
    assert.equal(s.lastState?.terminated?.exitCode, 137);
    assert.equal(s.lastState?.terminated?.reason, 'Error');
    const told = await events('hung');
    assert.match(
      told,
      /Warning Unhealthy: Liveness probe failed: Get "http:\/\/10\.[\d.]+:8080\/": context deadline exceeded/,
    );
    assert.match(told, /Normal Killing: Container c failed liveness probe, will be restarted/);
    await m.kubectl.ok('delete pod hung --force');
  });

  test('a startup probe holds the others back; a readiness probe takes a pod out of its Service and lets it in again', async () => {
    await m.kubectl.apply(
      pod(
        'slow',
        '',
        {
          containers: [
            container('sleep 3; touch /tmp/started /tmp/ready; while :; do sleep 1; done', {
              startupProbe: { exec: { command: ['cat', '/tmp/started'] }, periodSeconds: 1, failureThreshold: 30 },
              readinessProbe: { exec: { command: ['cat', '/tmp/ready'] }, periodSeconds: 1, failureThreshold: 1 },
              livenessProbe: { exec: { command: ['cat', '/tmp/started'] }, periodSeconds: 1, failureThreshold: 1 },
            }),
          ],
        },
        { app: 'slow' },
      ),
    );
    await m.kubectl.ok('create service clusterip slow --tcp=80:8080');
    await m.ready('slow');
    assert.equal((await statusOf('slow')).containerStatuses?.[0]?.restartCount, 0);
    const ready = (): Promise<string> =>
      m.kubectl.ok(
        'get endpointslices -l kubernetes.io/service-name=slow -o jsonpath={.items[*].endpoints[*].conditions.ready}',
      );
    await until('its endpoint', async () => (await ready()) === 'true');
    await m.kubectl.ok('exec slow -- rm /tmp/ready');
    await until('its endpoint to go', async () => (await ready()) === 'false');
    await m.kubectl.ok('exec slow -- touch /tmp/ready');
    await until('its endpoint again', async () => (await ready()) === 'true');
    await m.kubectl.ok('delete pod/slow service/slow --force');
  });

  test('out of memory: OOMKilled, 137', async () => {
    const hog = container('exec dd if=/dev/zero of=/dev/null bs=200M count=1', {
      resources: { limits: { memory: '32Mi' } },
    });
    await m.kubectl.apply(pod('hog', '', { restartPolicy: 'Never', containers: [hog] }));
    await m.kubectl.ok('wait --for=jsonpath={.status.phase}=Failed pod/hog --timeout=60s');
    const ended = (await statusOf('hog')).containerStatuses?.[0]?.state?.terminated;
    assert.equal(ended?.reason, 'OOMKilled');
    assert.equal(ended?.exitCode, 137);
    assert.match(await m.kubectl.ok('get pod hog'), /0\/1 +OOMKilled/);
  });

  test('init containers and sidecars: in order, before and after', async () => {
    const note = (text: string): string => `echo ${text} >> /s/order`;
    const s = { volumeMounts: [{ name: 's', mountPath: '/s' }] };
    await m.kubectl.apply(
      pod('ordered', '', {
        restartPolicy: 'Never',
        terminationGracePeriodSeconds: 10,
        volumes: [{ name: 's', hostPath: { path: `${m.dir}/ordered`, type: 'DirectoryOrCreate' } }],
        initContainers: [
          container(note('first'), { ...s, name: 'first' }),
          container(`${note('sidecar')}; trap '${note('sidecar-ends')}; exit 0' TERM; while :; do sleep 0.1; done`, {
            ...s,
            name: 'sidecar',
            restartPolicy: 'Always',
            startupProbe: { exec: { command: ['grep', 'sidecar', '/s/order'] }, periodSeconds: 1 },
          }),
          container(note('second'), { ...s, name: 'second' }),
        ],
        containers: [container(note('main'), s)],
      }),
    );
    await m.kubectl.ok('wait --for=jsonpath={.status.phase}=Succeeded pod/ordered --timeout=60s');
    assert.deepEqual(readFileSync(`${m.dir}/ordered/order`, 'utf8').trim().split('\n'), [
      'first',
      'sidecar',
      'second',
      'main',
      'sidecar-ends',
    ]);
  });

  test('a DaemonSet, a change of its own, and mounted configuration that follows its ConfigMap', async () => {
    await m.kubectl.ok('create configmap settings --from-literal=a=one');
    await m.kubectl.apply({
      apiVersion: 'apps/v1',
      kind: 'DaemonSet',
      metadata: { name: 'agent' },
      spec: {
        selector: { matchLabels: { app: 'agent' } },
        template: {
          metadata: { labels: { app: 'agent' } },
          spec: {
            terminationGracePeriodSeconds: 1,
            volumes: [{ name: 'v', configMap: { name: 'settings' } }],
            containers: [container(sleeper, { volumeMounts: [{ name: 'v', mountPath: '/v' }] })],
          },
        },
      },
    });
    await m.kubectl.ok('rollout status daemonset/agent --timeout=60s');
    assert.equal(await m.kubectl.ok('exec daemonset/agent -- cat /v/a'), 'one');
    await m.kubectl.ok(['patch', 'configmap', 'settings', '-p', '{"data":{"a":"two"}}']);
    await until('the new text', async () => (await m.kubectl.ok('exec daemonset/agent -- cat /v/a')) === 'two', 90_000);
    await m.kubectl.ok('set env daemonset/agent A=1');
    await m.kubectl.ok('rollout status daemonset/agent --timeout=60s');
    assert.equal(await m.kubectl.ok(['exec', 'daemonset/agent', '--', 'sh', '-c', 'echo $A']), '1\n');
  });
});

// After all others: it takes the cluster away under them.
describe('a restart', { skip, timeout: 240_000 }, () => {
  test('of the whole of knarr: data, containers and Services are as they were', async () => {
    const before = await m.kubectl.json<Pod>('get pod db-0');
    assert.equal(await m.knarr.stop(), 0);
    await m.up();
    await m.kubectl.ok('rollout status statefulset/db --timeout=60s');
    const again = await m.kubectl.json<Pod>('get pod db-0');
    assert.equal(again.status?.containerStatuses?.[0]?.containerID, before.status?.containerStatuses?.[0]?.containerID);
    assert.equal(await m.kubectl.ok('exec db-0 -- cat /data/file'), 'precious\n');
    await m.kubectl.ok('delete pod db-0 --grace-period=1');
    await m.ready('db-0');
    assert.equal(await m.kubectl.ok('exec db-0 -- cat /data/file'), 'precious\n');
    assert.equal(await asked('db-again', 'timeout 5 wget -q -O - http://db-0.db:8080/file'), 'precious\n');
    await m.kubectl.ok('delete statefulset db');
    await m.kubectl.ok('delete pvc --all');
    await until('the volumes to go', async () => (await m.kubectl.ok('get pv -o name')) === '');
  });
});
