/** Changes to what may not change, and stale or mismatched writes. */
import {
  apps,
  badRequest,
  batch,
  configMap,
  conflict,
  core,
  deployment,
  invalid,
  notAllowed,
  notFound,
  patch,
  pod,
  post,
  put,
  required,
  service,
  template,
  wrongValue,
} from './case.ts';
import type { Case, Expected, Send } from './case.ts';

const configMaps = `${core}/configmaps`;
type Json = Readonly<Record<string, unknown>>;

/** Creates an object and merges a change into it. */
const change = (name: string, path: string, object: Json, merge: Json, expect: Expected): Case => {
  const { name: own } = object['metadata'] as { name: string };
  return { name, given: [post(path, object)], send: patch('merge', `${path}/${own}`, merge), expect };
};
const modified = 'the object has been modified; please apply your changes to the latest version and try again';
const immutable = 'field is immutable';
const made = (name: string, more: Json = {}): Send => post(configMaps, configMap(name, more), { keep: 'it' });

export const changes: readonly Case[] = [
  {
    name: 'a PUT with a stale resource version',
    given: [made('stale'), patch('merge', `${configMaps}/stale`, { data: { a: '1' } })],
    send: put(`${configMaps}/stale`, '{{it}}'),
    expect: conflict('configmaps', 'stale', modified),
  },
  {
    name: 'a merge patch with a stale resource version',
    given: [made('stale-merge'), patch('merge', `${configMaps}/stale-merge`, { data: { a: '1' } })],
    send: patch(
      'merge',
      `${configMaps}/stale-merge`,
      '{"metadata":{"resourceVersion":"{{it.metadata.resourceVersion}}"},"data":{"a":"2"}}',
    ),
    expect: conflict('configmaps', 'stale-merge', modified),
  },
  {
    name: 'a resource version that is no number',
    given: [made('odd-version')],
    send: put(`${configMaps}/odd-version`, { metadata: { name: 'odd-version', resourceVersion: 'abc' } }),
    expect: invalid(
      'ConfigMap',
      'odd-version',
      wrongValue('metadata.resourceVersion', '"abc"', 'strconv.ParseUint: parsing "abc": invalid syntax'),
    ),
  },
  {
    name: 'a resource version on create',
    send: post(configMaps, { metadata: { name: 'x', resourceVersion: '5' } }),
    // Upstream lets the error through as it is, which makes a 500 of it.
    expect: badRequest('resourceVersion should not be set on objects to be created'),
  },
  {
    name: 'a PUT of what is not there',
    send: put(`${configMaps}/absent`, configMap('absent')),
    expect: notFound('configmaps', 'absent'),
  },
  {
    name: 'a PUT with the UID of another',
    given: [made('other-uid')],
    send: put(`${configMaps}/other-uid`, { metadata: { name: 'other-uid', uid: 'u-1' } }),
    expect: conflict(
      'configmaps',
      'other-uid',
      'StorageError: invalid object, Code: 4, Key: /registry/configmaps/bad/other-uid, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: u-1, UID in object meta: {{it.metadata.uid}}',
    ),
  },
  {
    name: 'a change of the UID by a patch',
    given: [made('patched-uid')],
    send: patch('merge', `${configMaps}/patched-uid`, { metadata: { uid: 'u-1' } }),
    expect: invalid(
      'ConfigMap',
      'patched-uid',
      wrongValue('metadata.uid', '"u-1"', immutable),
      wrongValue('metadata.uid', '"u-1"', immutable),
    ),
  },
  {
    name: 'a PUT without a resource version, of a kind that needs one',
    given: [post('/apis/coordination.k8s.io/v1/namespaces/bad/leases', { metadata: { name: 'held' } })],
    send: put('/apis/coordination.k8s.io/v1/namespaces/bad/leases/held', { metadata: { name: 'held' } }),
    expect: invalid(
      'leases.coordination.k8s.io',
      'held',
      wrongValue('metadata.resourceVersion', '0', 'must be specified for an update'),
    ),
  },
  {
    name: 'a change of an immutable config map',
    given: [made('fixed', { immutable: true, data: { a: '1' } })],
    send: patch('merge', `${configMaps}/fixed`, { data: { a: '2' } }),
    expect: invalid('ConfigMap', 'fixed', notAllowed('data', 'field is immutable when `immutable` is set')),
  },
  {
    name: 'a config map made mutable again',
    given: [made('fixed-for-good', { immutable: true })],
    send: patch('merge', `${configMaps}/fixed-for-good`, { immutable: false }),
    expect: invalid(
      'ConfigMap',
      'fixed-for-good',
      notAllowed('immutable', 'field is immutable when `immutable` is set'),
    ),
  },
  change(
    'the type of a secret',
    `${core}/secrets`,
    { metadata: { name: 'typed' }, type: 'a/b' },
    { type: 'c/d' },
    invalid('Secret', 'typed', wrongValue('type', '"c/d"', immutable)),
  ),
  change(
    'the data of an immutable secret',
    `${core}/secrets`,
    { metadata: { name: 'sealed' }, immutable: true, data: { a: 'YQ==' } },
    { data: { a: 'Yg==' } },
    invalid('Secret', 'sealed', notAllowed('data', 'field is immutable when `immutable` is set')),
  ),
  change(
    "a deployment's selector",
    `${apps}/deployments`,
    deployment('selects'),
    { spec: { selector: { matchLabels: { app: 'other' } }, template: { metadata: { labels: { app: 'other' } } } } },
    invalid('Deployment.apps', 'selects', wrongValue('spec.selector', '{"matchLabels":{"app":"other"}}', immutable)),
  ),
  change(
    "a replica set's selector",
    `${apps}/replicasets`,
    {
      metadata: { name: 'selects' },
      spec: { replicas: 0, selector: { matchLabels: { app: 'a' } }, template: template({ app: 'a', tier: 'b' }) },
    },
    { spec: { selector: { matchLabels: { tier: 'b' } } } },
    invalid(
      'ReplicaSet.apps',
      'selects',
      wrongValue('spec.selector', '{"matchLabels":{"app":"a","tier":"b"}}', immutable),
    ),
  ),
  change(
    "a daemon set's selector",
    `${apps}/daemonsets`,
    {
      metadata: { name: 'selects' },
      spec: {
        selector: { matchLabels: { app: 'a' } },
        template: template({ app: 'a', tier: 'b' }, { nodeSelector: { no: 'where' } }),
      },
    },
    { spec: { selector: { matchLabels: { tier: 'b' } } } },
    invalid(
      'DaemonSet.apps',
      'selects',
      wrongValue('spec.selector', '{"matchLabels":{"app":"a","tier":"b"}}', immutable),
    ),
  ),
  change(
    "a stateful set's service",
    `${apps}/statefulsets`,
    {
      metadata: { name: 'ordered' },
      spec: {
        replicas: 0,
        serviceName: 'a',
        selector: { matchLabels: { app: 'a' } },
        template: template({ app: 'a' }),
      },
    },
    { spec: { serviceName: 'b' } },
    invalid(
      'StatefulSet.apps',
      'ordered',
      notAllowed(
        'spec',
        "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
      ),
    ),
  ),
  change(
    "a job's completions",
    `${batch}/jobs`,
    {
      metadata: { name: 'done-twice' },
      spec: { suspend: true, completions: 1, template: template({}, { restartPolicy: 'Never' }) },
    },
    { spec: { completions: 2 } },
    invalid('Job.batch', 'done-twice', wrongValue('spec.completions', '2', immutable)),
  ),
  change(
    "a job's template",
    `${batch}/jobs`,
    {
      metadata: { name: 'templated' },
      spec: { template: template({}, { restartPolicy: 'Never', nodeSelector: { no: 'where' } }) },
    },
    { spec: { template: { spec: { restartPolicy: 'OnFailure' } } } },
    {
      code: 422,
      reason: 'Invalid',
      message: 'Job.batch "templated" is invalid: spec.template: Invalid value: …',
    },
  ),
  change(
    "a pod's grace period",
    `${core}/pods`,
    pod('commanded', { nodeSelector: { no: 'where' } }, { command: ['a'] }),
    { spec: { terminationGracePeriodSeconds: 5 } },
    {
      code: 422,
      reason: 'Invalid',
      message:
        'Pod "commanded" is invalid: spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n…',
    },
  ),
  change(
    'a container more',
    `${core}/pods`,
    pod('grown', { nodeSelector: { no: 'where' } }),
    {
      spec: {
        containers: [
          { name: 'c', image: 'busybox' },
          { name: 'd', image: 'busybox' },
        ],
      },
    },
    invalid('Pod', 'grown', notAllowed('spec.containers', 'pod updates may not add or remove containers')),
  ),
  change(
    'a longer deadline',
    `${core}/pods`,
    pod('deadline', { nodeSelector: { no: 'where' }, activeDeadlineSeconds: 5 }),
    { spec: { activeDeadlineSeconds: 6 } },
    invalid(
      'Pod',
      'deadline',
      wrongValue('spec.activeDeadlineSeconds', '6', 'must be less than or equal to previous value'),
    ),
  ),
  change(
    'a toleration removed',
    `${core}/pods`,
    pod('tolerant', { nodeSelector: { no: 'where' }, tolerations: [{ key: 'a', operator: 'Exists' }] }),
    { spec: { tolerations: [] } },
    {
      code: 422,
      reason: 'Invalid',
      message:
        'Pod "tolerant" is invalid: spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds',
    },
  ),
  change(
    "a service's cluster IP",
    `${core}/services`,
    service('addressed', { clusterIP: '10.96.77.1' }),
    { spec: { clusterIP: '10.96.77.2', clusterIPs: ['10.96.77.2'] } },
    invalid('Service', 'addressed', wrongValue('spec.clusterIPs[0]', '["10.96.77.2"]', 'may not change once set')),
  ),
  change(
    "a service's cluster IP, but not the list",
    `${core}/services`,
    service('half-addressed', { clusterIP: '10.96.77.3' }),
    { spec: { clusterIP: '10.96.77.4' } },
    invalid('Service', 'half-addressed', wrongValue('spec.clusterIPs[0]', '["10.96.77.4"]', 'may not change once set')),
  ),
  change(
    "a claim's class",
    `${core}/persistentvolumeclaims`,
    {
      metadata: { name: 'claimed' },
      spec: { accessModes: ['ReadWriteOnce'], storageClassName: 'a', resources: { requests: { storage: '1Gi' } } },
    },
    { spec: { storageClassName: 'b' } },
    {
      code: 422,
      reason: 'Invalid',
      message:
        'PersistentVolumeClaim "claimed" is invalid: spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n…',
    },
  ),
  change(
    "a role binding's role",
    '/apis/rbac.authorization.k8s.io/v1/namespaces/bad/rolebindings',
    {
      metadata: { name: 'bound' },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'view' },
    },
    { roleRef: { name: 'edit' } },
    invalid(
      'RoleBinding.rbac.authorization.k8s.io',
      'bound',
      wrongValue(
        'roleRef',
        '{"APIGroup":"rbac.authorization.k8s.io","Kind":"ClusterRole","Name":"edit"}',
        'cannot change roleRef',
      ),
    ),
  ),
  change(
    "a storage class's provisioner",
    '/apis/storage.k8s.io/v1/storageclasses',
    { metadata: { name: 'provisioned' }, provisioner: 'example.com/a' },
    { provisioner: 'example.com/b' },
    invalid('StorageClass.storage.k8s.io', 'provisioned', wrongValue('provisioner', '"example.com/b"', immutable)),
  ),
  change(
    "a priority class's value",
    '/apis/scheduling.k8s.io/v1/priorityclasses',
    { metadata: { name: 'valued' }, value: 5 },
    { value: 6 },
    invalid('PriorityClass.scheduling.k8s.io', 'valued', notAllowed('value', 'may not be changed in an update.')),
  ),
  change(
    "an ingress class's controller",
    '/apis/networking.k8s.io/v1/ingressclasses',
    { metadata: { name: 'classed' }, spec: { controller: 'example.com/a' } },
    { spec: { controller: 'example.com/b' } },
    invalid('IngressClass.networking.k8s.io', 'classed', wrongValue('spec.controller', '"example.com/b"', immutable)),
  ),
  change(
    "an endpoint slice's address type",
    '/apis/discovery.k8s.io/v1/namespaces/bad/endpointslices',
    { metadata: { name: 'sliced' }, addressType: 'IPv4', endpoints: [] },
    { addressType: 'IPv6' },
    invalid('EndpointSlice.discovery.k8s.io', 'sliced', wrongValue('addressType', '"IPv6"', immutable)),
  ),
  change(
    'a volume claim whose modes are given as an empty list',
    `${core}/persistentvolumeclaims`,
    {
      metadata: { name: 'modes' },
      spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1' } } },
    },
    { spec: { accessModes: [] } },
    invalid(
      'PersistentVolumeClaim',
      'modes',
      required('spec.accessModes', 'at least 1 access mode is required'),
      notAllowed(
        'spec',
        'spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n@@ -1,7 +1,5 @@\n {\n- "AccessModes": [\n-  "ReadWriteOnce"\n- ],\n+ "AccessModes": [],\n  "Selector": null,\n  "Resources": {\n   "Limits": null,\n',
      ),
    ),
  ),
  {
    name: 'an empty list in the place of none counts as a change of a network policy',
    given: [
      post('/apis/networking.k8s.io/v1/namespaces/bad/networkpolicies', {
        metadata: { name: 'counted' },
        spec: { podSelector: {}, policyTypes: ['Ingress'] },
      }),
    ],
    send: patch('merge', '/apis/networking.k8s.io/v1/namespaces/bad/networkpolicies/counted', {
      spec: { ingress: [] },
    }),
    expect: { code: 200, object: { 'metadata.generation': 2, 'spec.ingress': undefined } },
  },
  {
    name: 'the status in a write of the object is not taken',
    given: [post(`${apps}/deployments`, deployment('quiet'))],
    send: patch('merge', `${apps}/deployments/quiet`, { status: { replicas: 7 }, metadata: { labels: { a: 'b' } } }),
    expect: { code: 200, object: { 'status.replicas': undefined, 'metadata.labels': { a: 'b' } } },
  },
  {
    name: 'the spec in a write of the status is not taken',
    given: [post(`${apps}/deployments`, deployment('loud', { paused: true }))],
    send: patch('merge', `${apps}/deployments/loud/status`, { status: { replicas: 7 }, spec: { replicas: 3 } }),
    expect: { code: 200, object: { 'status.replicas': 7, 'spec.replicas': 0 } },
  },
  {
    name: 'a status that makes no sense',
    given: [post(`${apps}/deployments`, deployment('impossible', { paused: true }))],
    send: patch('merge', `${apps}/deployments/impossible/status`, { status: { replicas: 1, readyReplicas: 2 } }),
    expect: invalid(
      'Deployment.apps',
      'impossible',
      wrongValue('status.readyReplicas', '2', 'cannot be greater than status.replicas'),
    ),
  },
];
