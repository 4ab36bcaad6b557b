/** Eviction, binding, scale and token requests; log and exec of what cannot. */
import {
  apps,
  badRequest,
  conflict,
  core,
  deployment,
  get,
  invalid,
  notFound,
  patch,
  pod,
  post,
  put,
  required,
  wrongValue,
} from './case.ts';
import type { Case } from './case.ts';

const pods = `${core}/pods`;
const waiting = (name: string, spec: Record<string, unknown> = {}) =>
  post(pods, pod(name, { nodeSelector: { no: 'where' }, ...spec }), { keep: 'pod' });
const eviction = (name: string, more: Record<string, unknown> = {}) => ({
  apiVersion: 'policy/v1',
  kind: 'Eviction',
  metadata: { name },
  ...more,
});
const binding = (name: string, node: string, more: Record<string, unknown> = {}) => ({
  apiVersion: 'v1',
  kind: 'Binding',
  metadata: { name, ...more },
  target: { kind: 'Node', name: node },
});
const token = `${core}/serviceaccounts/default/token`;

export const subresources: readonly Case[] = [
  {
    name: 'an eviction of what cannot be read',
    given: [waiting('unreadable')],
    send: post(
      `${pods}/unreadable/eviction`,
      eviction('unreadable', { deleteOptions: { ignoreStoreReadErrorWithClusterBreakingPotential: true } }),
    ),
    expect: invalid(
      'Eviction.policy',
      'unreadable',
      wrongValue(
        'deleteOptions.ignoreStoreReadErrorWithClusterBreakingPotential',
        'true',
        'can not be set for pod eviction, try after removing the option',
      ),
    ),
  },
  {
    name: 'a review of the whole cluster that names a namespace',
    send: post('/apis/authorization.k8s.io/v1/subjectaccessreviews', {
      metadata: { namespace: 'bad' },
      spec: { user: 'u', resourceAttributes: { verb: 'get', resource: 'pods' } },
    }),
    expect: { code: 201, object: { 'metadata.namespace': undefined, 'status.allowed': false } },
  },
  {
    name: 'a Scale whose own metadata is wrong',
    given: [post(`${apps}/deployments`, deployment('labelled'))],
    send: put(`${apps}/deployments/labelled/scale`, {
      metadata: { name: 'labelled', namespace: 'bad', finalizers: ['odd'] },
      spec: { replicas: 0 },
    }),
    expect: invalid(
      'Scale.autoscaling',
      'labelled',
      wrongValue(
        'metadata.finalizers[0]',
        '"odd"',
        'name is neither a standard finalizer name nor is it fully qualified',
      ),
    ),
  },
  {
    name: 'a pod whose condition is older than any pod',
    given: [waiting('conditioned')],
    send: patch('merge', `${core}/pods/conditioned/status`, {
      status: {
        conditions: [{ type: 'Ready', status: 'True', observedGeneration: -1 }],
        hostIP: 'x',
        hostIPs: [{ ip: 'x' }],
      },
    }),
    expect: invalid(
      'Pod',
      'conditioned',
      wrongValue('status.conditions[0].observedGeneration', '-1', 'must be a non-negative integer'),
      wrongValue('status.hostIPs[0]', '"x"', 'must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)'),
    ),
  },
  {
    name: 'a budget whose condition says nothing',
    given: [
      post('/apis/policy/v1/namespaces/bad/poddisruptionbudgets', {
        metadata: { name: 'mute' },
        spec: { minAvailable: 1 },
      }),
    ],
    send: patch('merge', '/apis/policy/v1/namespaces/bad/poddisruptionbudgets/mute/status', {
      status: { conditions: [{ type: 'A', status: 'True' }] },
    }),
    expect: invalid(
      'PodDisruptionBudget.policy',
      'mute',
      required('status.conditions[0].lastTransitionTime'),
      required('status.conditions[0].reason'),
    ),
  },
  {
    name: 'eviction of another',
    given: [waiting('evicted')],
    send: post(`${pods}/evicted/eviction`, eviction('other')),
    expect: badRequest('name in URL does not match name in Eviction object'),
  },
  {
    name: 'eviction of what is not there',
    send: post(`${pods}/absent/eviction`, eviction('absent')),
    expect: notFound('pods', 'absent'),
  },
  {
    name: 'eviction of an older pod of that name',
    given: [waiting('reborn')],
    send: post(`${pods}/reborn/eviction`, eviction('reborn', { deleteOptions: { preconditions: { uid: 'u-1' } } })),
    expect: conflict(
      'Pod',
      'reborn',
      'the UID in the precondition (u-1) does not match the UID in record ({{pod.metadata.uid}}). The object might have been deleted and then recreated',
    ),
  },
  {
    name: 'eviction against a budget',
    given: [
      post(pods, {
        ...pod('guarded', { nodeSelector: { no: 'where' } }),
        metadata: { name: 'guarded', labels: { app: 'guarded' } },
      }),
      // Before the budget: its controller, which counts as well, comes to the same.
      patch('merge', `${pods}/guarded/status`, {
        status: { phase: 'Running', conditions: [{ type: 'Ready', status: 'True' }] },
      }),
      post('/apis/policy/v1/namespaces/bad/poddisruptionbudgets', {
        metadata: { name: 'guard' },
        spec: { minAvailable: 1, selector: { matchLabels: { app: 'guarded' } } },
      }),
      {
        method: 'PATCH',
        path: '/apis/policy/v1/namespaces/bad/poddisruptionbudgets/guard/status',
        type: 'application/merge-patch+json',
        body: {
          status: {
            observedGeneration: 1,
            currentHealthy: 1,
            desiredHealthy: 1,
            expectedPods: 1,
            disruptionsAllowed: 0,
          },
        },
      },
    ],
    send: post(`${pods}/guarded/eviction`, eviction('guarded')),
    expect: {
      code: 429,
      reason: 'TooManyRequests',
      message: "Cannot evict pod as it would violate the pod's disruption budget.",
      details: {
        causes: [
          {
            reason: 'DisruptionBudget',
            message: 'The disruption budget guard needs 1 healthy pods and has 1 currently',
          },
        ],
      },
    },
  },
  {
    name: 'binding of another',
    given: [waiting('bound')],
    send: post(`${pods}/bound/binding`, binding('other', 'node-1')),
    expect: badRequest('name in URL does not match name in Binding object'),
  },
  {
    name: 'binding of what is bound',
    given: [post(pods, pod('settled', { nodeName: 'ghost' }))],
    send: post(`${pods}/settled/binding`, binding('settled', 'node-1')),
    expect: conflict('pods/binding', 'settled', 'pod settled is already assigned to node "ghost"'),
  },
  {
    name: 'binding of a gated pod',
    given: [waiting('gated', { schedulingGates: [{ name: 'example.com/wait' }] })],
    send: post(`${pods}/gated/binding`, binding('gated', 'node-1')),
    expect: conflict('pods/binding', 'gated', 'pod gated has non-empty .spec.schedulingGates'),
  },
  {
    name: 'binding of what is not there',
    send: post(`${pods}/absent/binding`, binding('absent', 'node-1')),
    expect: notFound('pods', 'absent'),
  },
  {
    name: 'scale to fewer than none',
    given: [post(`${apps}/deployments`, deployment('scaled'))],
    send: patch('merge', `${apps}/deployments/scaled/scale`, { spec: { replicas: -1 } }),
    expect: invalid(
      'Scale.autoscaling',
      'scaled',
      wrongValue('spec.replicas', '-1', 'must be greater than or equal to 0'),
    ),
  },
  {
    name: 'scale of what is not there',
    send: put(`${apps}/deployments/absent/scale`, {
      apiVersion: 'autoscaling/v1',
      kind: 'Scale',
      metadata: { name: 'absent' },
      spec: { replicas: 1 },
    }),
    expect: notFound('deployments.apps', 'absent'),
  },
  {
    name: 'a scale that is a deployment',
    given: [post(`${apps}/deployments`, deployment('mis-scaled'))],
    send: put(`${apps}/deployments/mis-scaled/scale`, deployment('mis-scaled')),
    expect: badRequest(
      'Deployment in version "v1" cannot be handled as a Scale: converting (v1.Deployment) to (autoscaling.Scale): unknown conversion',
    ),
  },
  {
    name: 'a token for half a minute',
    send: post(token, {
      apiVersion: 'authentication.k8s.io/v1',
      kind: 'TokenRequest',
      spec: { expirationSeconds: 30 },
    }),
    expect: invalid(
      'TokenRequest.authentication.k8s.io',
      '',
      wrongValue('spec.expirationSeconds', '30', 'may not specify a duration less than 10 minutes'),
    ),
  },
  {
    name: 'a token for ever',
    send: post(token, { spec: { expirationSeconds: 2 ** 32 + 1 } }),
    expect: invalid(
      'TokenRequest.authentication.k8s.io',
      '',
      wrongValue('spec.expirationSeconds', '4294967297', 'may not specify a duration larger than 2^32 seconds'),
    ),
  },
  {
    name: 'a token for nobody',
    send: post(`${core}/serviceaccounts/ghost/token`, { spec: {} }),
    expect: notFound('serviceaccounts', 'ghost'),
  },
  {
    name: 'a token bound to what is not there',
    send: post(token, { spec: { boundObjectRef: { apiVersion: 'v1', kind: 'Pod', name: 'ghost' } } }),
    expect: notFound('pods', 'ghost'),
  },
  {
    name: 'a token bound to a strange thing',
    send: post(token, { spec: { boundObjectRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: 'd' } } }),
    expect: badRequest('cannot bind token to object of type apps/v1, Kind=Deployment'),
  },
  {
    name: 'a token with the name of another',
    send: post(token, { metadata: { name: 'other' }, spec: {} }),
    expect: invalid(
      'TokenRequest.authentication.k8s.io',
      'default',
      wrongValue('metadata.name', '"other"', 'must match the service account name if specified'),
    ),
  },
  {
    name: 'the log of a container that there is not',
    given: [waiting('logged')],
    send: get(`${pods}/logged/log?container=ghost`),
    expect: badRequest('container ghost is not valid for pod logged'),
  },
  {
    name: 'the log of one of two containers',
    given: [
      waiting('two', {
        containers: [
          { name: 'a', image: 'x' },
          { name: 'b', image: 'x' },
        ],
      }),
    ],
    send: get(`${pods}/two/log`),
    expect: badRequest('a container name must be specified for pod two, choose one of: [a b]'),
  },
  {
    name: 'a log of two beginnings',
    given: [waiting('begun')],
    send: get(`${pods}/begun/log?sinceSeconds=1&sinceTime=2026-01-01T00:00:00Z`),
    expect: {
      code: 422,
      reason: 'Invalid',
      message:
        'PodLogOptions "begun" is invalid: []: Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified',
    },
  },
  {
    name: 'a log of a negative tail',
    given: [waiting('tailed')],
    send: get(`${pods}/tailed/log?tailLines=-1`),
    expect: invalid('PodLogOptions', 'tailed', wrongValue('tailLines', '-1', 'must be greater than or equal to 0')),
  },
  {
    name: 'an exec into what is not on a node',
    given: [waiting('unplaced')],
    send: post(`${pods}/unplaced/exec?command=ls&stdout=true`),
    expect: badRequest('pod unplaced does not have a host assigned'),
  },
];
