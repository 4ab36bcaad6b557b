import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatFieldError } from '../../api/field-error.ts';
import type { Pod, PodSpec } from '../../api/types/index.gen.ts';
import { podResizeErrors } from './pod-resize.ts';
import { podRules, validatePod, validatePodUpdate } from './pod.ts';
import { validatePodStatusUpdate } from './pod-status.ts';

const container = { name: 'c', image: 'i', terminationMessagePolicy: 'File', imagePullPolicy: 'Always' };

function pod(spec: Partial<PodSpec> = {}): Pod {
  return {
    metadata: { name: 'p', namespace: 'default' },
    spec: {
      containers: [container],
      restartPolicy: 'Always',
      dnsPolicy: 'ClusterFirst',
      terminationGracePeriodSeconds: 30,
      ...spec,
    },
  };
}

const said = (p: Pod): string[] => validatePod(p).map(formatFieldError);

test('a plain pod is fine', () => {
  assert.deepEqual(said(pod()), []);
});

test('says what is wrong where it is wrong, in the words of upstream', () => {
  const cases: readonly [Partial<PodSpec>, string[]][] = [
    [{ containers: [] }, ['spec.containers: Required value']],
    [
      { containers: [{ ...container, name: 'Bad_Name' }] },
      [
        "spec.containers[0].name: Invalid value: \"Bad_Name\": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
      ],
    ],
    [
      { containers: [{ ...container, volumeMounts: [{ name: 'nothing', mountPath: '/x' }] }] },
      ['spec.containers[0].volumeMounts[0].name: Not found: "nothing"'],
    ],
    [
      { volumes: [{ name: 'v', emptyDir: {}, hostPath: { path: '/x' } }] },
      ['spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type'],
    ],
    [
      { restartPolicy: 'Sometimes' },
      ['spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never"'],
    ],
    [
      { activeDeadlineSeconds: 0 },
      ['spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive'],
    ],
    [
      { containers: [{ ...container, resources: { requests: { cpu: '2' }, limits: { cpu: '1' } } }] },
      ['spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1'],
    ],
    [
      { containers: [{ ...container, livenessProbe: { successThreshold: 1 } }] },
      ['spec.containers[0].livenessProbe: Required value: must specify a handler type'],
    ],
    [
      { tolerations: [{ operator: 'Equal', value: 'x' }] },
      [
        'spec.tolerations[0].operator: Invalid value: "Equal": operator must be Exists when `key` is empty, which means "match all values and all keys"',
      ],
    ],
    [{ dnsPolicy: 'None' }, ['spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None']],
    [
      { hostNetwork: true, containers: [{ ...container, ports: [{ containerPort: 80, protocol: 'TCP' }] }] },
      ['spec.containers[0].ports[0].hostPort: Invalid value: 0: must match `containerPort` when `hostNetwork` is true'],
    ],
    [
      { containers: [{ ...container, image: ' i' }] },
      ['spec.containers[0].image: Invalid value: " i": must not have leading or trailing whitespace'],
    ],
  ];
  for (const [spec, messages] of cases) assert.deepEqual(said(pod(spec)), messages);
});

test('an update may change the image and little else', () => {
  const old = pod();
  assert.deepEqual(validatePodUpdate(pod({ containers: [{ ...container, image: 'j' }] }), old), []);
  const errors = validatePodUpdate(pod({ hostname: 'x' }), old).map(formatFieldError);
  assert.equal(errors.length, 1);
  assert.match(
    errors[0]!,
    /^spec: Forbidden: pod updates may not change fields other than `spec\.containers\[\*\]\.image`,`spec\.initContainers\[\*\]\.image`,`spec\.activeDeadlineSeconds`/,
  );
  assert.deepEqual(
    validatePodUpdate(pod({ containers: [container, { ...container, name: 'd' }] }), old).map(formatFieldError),
    ['spec.containers: Forbidden: pod updates may not add or remove containers'],
  );
});

test('a container that has ended begins again only where its rules, its policy or the pod’s let it', () => {
  const status = (which: 'containerStatuses' | 'ephemeralContainerStatuses', state: object) => ({
    [which]: [{ name: 'c', ready: false, restartCount: 0, image: '', imageID: '', state }],
  });
  const again = (spec: Partial<PodSpec>, exitCode: number, which: Parameters<typeof status>[0] = 'containerStatuses') =>
    validatePodStatusUpdate(
      { ...pod(spec), status: status(which, { waiting: { reason: 'x' } }) },
      { ...pod(spec), status: status(which, { terminated: { exitCode } }) },
    ).map(formatFieldError);
  const refused = 'status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state';
  const own = (restartPolicy: string, action?: string): Partial<PodSpec> => ({
    restartPolicy: 'Never',
    containers: [
      {
        ...container,
        restartPolicy,
        ...(action === undefined
          ? {}
          : { restartPolicyRules: [{ action, exitCodes: { operator: 'In', values: [42] } }] }),
      },
    ],
  });
  assert.deepEqual(again({}, 0), []);
  assert.deepEqual(again({ restartPolicy: 'OnFailure' }, 1), []);
  assert.deepEqual(again({ restartPolicy: 'OnFailure' }, 0), [refused]);
  assert.deepEqual(again(own('Always'), 0), []);
  assert.deepEqual(again({ ...own('Never'), restartPolicy: 'Always' }, 1), [refused]);
  assert.deepEqual(again(own('Never', 'Restart'), 42), []);
  assert.deepEqual(again(own('Never', 'Restart'), 1), [refused]);
  assert.deepEqual(again(own('Never', 'RestartAllContainers'), 1), [], 'another one may have met the rule');
  assert.deepEqual(again({}, 0, 'ephemeralContainerStatuses'), [
    'status.ephemeralContainerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state',
  ]);
});

test('a resize changes cpu and memory, of containers and of the pod, nothing else', () => {
  const amounts = (cpu: string, more: Record<string, string> = {}) => ({ requests: { cpu, ...more } });
  const resize = (old: Partial<PodSpec>, now: Partial<PodSpec>): string[] =>
    podResizeErrors(pod(now), pod(old), podRules).map(formatFieldError);
  const one = { containers: [{ ...container, resources: amounts('1') }] };
  assert.deepEqual(resize(one, { containers: [{ ...container, resources: amounts('2') }] }), []);
  assert.deepEqual(resize({ ...one, resources: amounts('3') }, { ...one, resources: amounts('4') }), []);
  assert.deepEqual(resize(one, { ...one, resources: amounts('4') }), []);
  assert.deepEqual(resize({ ...one, resources: amounts('3') }, one), [
    'spec.resources: Forbidden: pod-level resources cannot be removed',
  ]);
  assert.deepEqual(
    resize({ ...one, resources: amounts('3', { memory: '1Gi' }) }, { ...one, resources: amounts('3') }),
    ['spec.resources.requests: Forbidden: pod-level resource requests cannot be removed'],
  );
  assert.deepEqual(resize(one, { containers: [container] }), [
    'spec: Invalid value: "": Pod QOS Class may not change as a result of resizing',
    'spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed',
  ]);
  assert.deepEqual(resize(one, { containers: [{ ...one.containers[0]!, image: 'other' }] }), [
    'spec: Forbidden: only cpu and memory resources are mutable',
  ]);
  assert.deepEqual(resize(one, { containers: [...one.containers, { ...container, name: 'd' }] }), [
    'spec.containers: Forbidden: containers may not be added or removed on resize',
  ]);
});
