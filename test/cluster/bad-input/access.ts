/** Who may not, what there is not, and formats that cannot be given. */
import { badRequest, configMap, core, forbidden, get, patch, post, put } from './case.ts';
import type { Case, Expected } from './case.ts';

const configMaps = `${core}/configmaps`;
const jane = { user: 'jane' } as const;
const unauthorized: Expected = { code: 401, reason: 'Unauthorized', message: 'Unauthorized' };
const noRoute: Expected = {
  code: 404,
  reason: 'NotFound',
  message: 'the server could not find the requested resource',
  details: {},
};
const noMethod: Expected = {
  code: 405,
  reason: 'MethodNotAllowed',
  message: 'the server does not allow this method on the requested resource',
  details: {},
};
const jwt = (payload: unknown): string =>
  ['{"alg":"RS256","kid":"x"}', JSON.stringify(payload), 'signature']
    .map((part) => Buffer.from(part).toString('base64url'))
    .join('.');

export const access: readonly Case[] = [
  { name: 'a token that is none', send: get(configMaps, { as: { token: 'nonsense' } }), expect: unauthorized },
  {
    name: 'a token of another cluster',
    send: get(configMaps, { as: { token: jwt({ iss: 'https://elsewhere', sub: 'system:serviceaccount:a:b' }) } }),
    expect: unauthorized,
  },
  {
    name: 'a token with a false signature',
    send: get(configMaps, {
      as: {
        token: jwt({
          iss: 'https://kubernetes.default.svc.cluster.local',
          sub: 'system:serviceaccount:kube-system:default',
        }),
      },
    }),
    expect: unauthorized,
  },
  {
    name: 'nobody lists',
    send: get(configMaps, { as: 'nobody' }),
    expect: forbidden(
      'configmaps',
      '',
      'User "system:anonymous" cannot list resource "configmaps" in API group "" in the namespace "bad"',
    ),
  },
  {
    name: 'nobody asks for a path',
    send: get('/metrics', { as: 'nobody' }),
    expect: {
      code: 403,
      reason: 'Forbidden',
      message: 'forbidden: User "system:anonymous" cannot get path "/metrics"',
      details: {},
    },
  },
  {
    name: 'somebody creates in a group',
    send: post('/apis/apps/v1/namespaces/bad/deployments', {}, { as: jane }),
    expect: forbidden(
      'deployments.apps',
      '',
      'User "jane" cannot create resource "deployments" in API group "apps" in the namespace "bad"',
    ),
  },
  {
    name: 'somebody writes a subresource',
    send: patch('merge', '/apis/apps/v1/namespaces/bad/deployments/d/scale', {}, { as: jane }),
    expect: forbidden(
      'deployments.apps',
      'd',
      'User "jane" cannot patch resource "deployments/scale" in API group "apps" in the namespace "bad"',
    ),
  },
  {
    name: 'somebody watches all namespaces',
    send: get('/api/v1/pods?watch=1', { as: jane }),
    expect: forbidden('pods', '', 'User "jane" cannot watch resource "pods" in API group "" at the cluster scope'),
  },
  {
    name: 'somebody deletes a collection',
    send: { method: 'DELETE', path: configMaps, as: jane },
    expect: forbidden(
      'configmaps',
      '',
      'User "jane" cannot deletecollection resource "configmaps" in API group "" in the namespace "bad"',
    ),
  },
  {
    name: 'a node reads a secret of no pod of its',
    send: get('/api/v1/namespaces/bad/secrets/s', { as: { user: 'system:node:node-1', groups: ['system:nodes'] } }),
    expect: forbidden(
      'secrets',
      's',
      `User "system:node:node-1" cannot get resource "secrets" in API group "" in the namespace "bad": no relationship found between node 'node-1' and this object`,
    ),
  },
  {
    name: 'a node writes another',
    send: patch(
      'merge',
      '/api/v1/nodes/node-2/status',
      { status: {} },
      { as: { user: 'system:node:node-1', groups: ['system:nodes'] } },
    ),
    expect: forbidden('nodes', 'node-2', `node "node-1" is not allowed to modify node "node-2"`),
  },
  {
    name: 'somebody gives rights that are not theirs',
    given: [
      post('/apis/rbac.authorization.k8s.io/v1/namespaces/bad/roles', {
        metadata: { name: 'role-maker' },
        rules: [{ apiGroups: ['rbac.authorization.k8s.io'], resources: ['roles'], verbs: ['create'] }],
      }),
      post('/apis/rbac.authorization.k8s.io/v1/namespaces/bad/rolebindings', {
        metadata: { name: 'role-maker' },
        roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'role-maker' },
        subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: 'jane' }],
      }),
    ],
    send: post(
      '/apis/rbac.authorization.k8s.io/v1/namespaces/bad/roles',
      { metadata: { name: 'more' }, rules: [{ apiGroups: [''], resources: ['secrets'], verbs: ['get'] }] },
      { as: jane },
    ),
    expect: forbidden(
      'roles.rbac.authorization.k8s.io',
      'more',
      'user "jane" (groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently held:\n{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}',
    ),
  },
  {
    name: 'somebody becomes another',
    send: get(configMaps, { as: { user: 'jane' }, path: configMaps }),
    expect: forbidden(
      'configmaps',
      '',
      'User "jane" cannot list resource "configmaps" in API group "" in the namespace "bad"',
    ),
  },
  { name: 'a resource that there is not', send: get('/api/v1/namespaces/bad/nonsense'), expect: noRoute },
  { name: 'a subresource that there is not', send: get(`${configMaps}/x/status`), expect: noRoute },
  { name: 'a path below an object', send: get(`${core}/pods/x/log/more`), expect: noRoute },
  {
    name: 'a namespaced resource without one',
    send: get('/api/v1/configmaps/x'),
    expect: noRoute,
  },
  {
    name: 'a group that there is not',
    send: get('/apis/nowhere.example.com/v1/things'),
    expect: { code: 404, text: '404 page not found\n' },
  },
  {
    name: 'a version that there is not',
    send: get('/api/v9/pods'),
    expect: { code: 404, reason: 'NotFound', message: 'the server could not find the requested resource' },
  },
  { name: 'a path that there is not', send: get('/nowhere'), expect: { code: 404, text: '404 page not found\n' } },
  { name: 'POST to an object', send: post(`${configMaps}/x`, configMap('x')), expect: noMethod },
  { name: 'PUT to a collection', send: put(configMaps, configMap('x')), expect: noMethod },
  { name: 'PATCH of a collection', send: patch('merge', configMaps, {}), expect: noMethod },
  { name: 'POST to all namespaces', send: post('/api/v1/configmaps', configMap('x')), expect: noMethod },
  { name: 'DELETE of all namespaces', send: { method: 'DELETE', path: '/api/v1/configmaps' }, expect: noMethod },
  { name: 'GET of a review', send: get('/apis/authorization.k8s.io/v1/subjectaccessreviews'), expect: noMethod },
  { name: 'GET of an eviction', send: get(`${core}/pods/x/eviction`), expect: noMethod },
  {
    name: 'a method that there is not',
    send: { method: 'TRACE', path: configMaps },
    expect: noMethod,
  },
  {
    name: 'a format that cannot be given',
    send: get(configMaps, { accept: 'text/html' }),
    expect: {
      code: 406,
      reason: 'NotAcceptable',
      message:
        '406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, application/vnd.kubernetes.protobuf, application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch',
    },
  },
  {
    name: 'a table of another version',
    send: get(configMaps, { accept: 'application/json;as=Table;v=v9;g=meta.k8s.io' }),
    expect: {
      code: 406,
      reason: 'NotAcceptable',
      message:
        'only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf',
    },
  },
  {
    name: 'a watch as what cannot be streamed',
    send: get(`${configMaps}?watch=1`, { accept: 'text/html' }),
    expect: {
      code: 406,
      reason: 'NotAcceptable',
      message:
        '406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, application/vnd.kubernetes.protobuf, application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch',
    },
  },
  {
    name: 'a table with strange options',
    send: get(`${configMaps}?includeObject=Everything`, { accept: 'application/json;as=Table;v=v1;g=meta.k8s.io' }),
    expect: badRequest(
      "Unable to convert to Table as requested: includeObject: Invalid value: \"Everything\": must be 'Metadata', 'Object', 'None', or empty",
    ),
  },
  {
    name: 'a review without attributes',
    send: post('/apis/authorization.k8s.io/v1/subjectaccessreviews', { spec: { user: 'jane' } }),
    expect: {
      code: 422,
      reason: 'Invalid',
      message:
        '.authorization.k8s.io "" is invalid: spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified',
    },
  },
  {
    name: 'a review of nobody',
    send: post('/apis/authorization.k8s.io/v1/subjectaccessreviews', {
      spec: { nonResourceAttributes: { path: '/', verb: 'get' } },
    }),
    expect: {
      code: 422,
      reason: 'Invalid',
      message:
        '.authorization.k8s.io "" is invalid: spec.user: Invalid value: "": at least one of user or group must be specified',
    },
  },
];
