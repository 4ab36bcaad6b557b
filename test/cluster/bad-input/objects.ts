/** Objects that are well formed and yet invalid: names and metadata first, then kind by kind. */
import {
  apps,
  badRequest,
  batch,
  configMap,
  core,
  deployment,
  duplicate,
  forbidden,
  invalid,
  notAllowed,
  notFound,
  pod,
  post,
  put,
  required,
  service,
  template,
  unsupported,
  wrongValue,
} from './case.ts';
import type { Case, Cause, Expected } from './case.ts';

const configMaps = `${core}/configmaps`;
const subdomain =
  "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const label1123 =
  "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const namePart =
  "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const labelValue =
  "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

const meta = (name: string, metadata: Record<string, unknown>, ...causes: readonly Cause[]): Case => ({
  name,
  send: post(configMaps, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'x', ...metadata } }),
  expect: invalid('ConfigMap', (metadata['name'] as string | undefined) ?? 'x', ...causes),
});
const badPod = (
  name: string,
  spec: Record<string, unknown>,
  container: Record<string, unknown>,
  ...causes: readonly Cause[]
): Case => ({
  name: `pod: ${name}`,
  send: post(`${core}/pods`, pod('x', spec, container)),
  expect: invalid('Pod', 'x', ...causes),
});
const kind = (name: string, path: string, body: Record<string, unknown>, expect: Expected): Case => ({
  name,
  send: post(path, body),
  expect,
});

const long = 'a'.repeat(254);

export const objects: readonly Case[] = [
  meta('no name', { name: '' }, required('metadata.name', 'name or generateName is required')),
  meta('a name with capitals', { name: 'Bad_Name' }, wrongValue('metadata.name', '"Bad_Name"', subdomain)),
  meta(
    'a name that is too long',
    { name: long },
    wrongValue('metadata.name', `"${long}"`, 'must be no more than 253 characters'),
  ),
  meta('a label key with a space', { labels: { 'a b': 'c' } }, wrongValue('metadata.labels', '"a b"', namePart)),
  meta(
    'a label key with an empty prefix',
    { labels: { '/a': 'c' } },
    wrongValue('metadata.labels', '"/a"', 'prefix part must be non-empty'),
  ),
  meta(
    'a label value that is too long',
    { labels: { a: 'v'.repeat(64) } },
    wrongValue('metadata.labels', `"${'v'.repeat(64)}"`, 'must be no more than 63 bytes'),
  ),
  meta('a label value with a slash', { labels: { a: 'b/c' } }, wrongValue('metadata.labels', '"b/c"', labelValue)),
  meta(
    'an annotation key that is none',
    { annotations: { '?': 'c' } },
    wrongValue('metadata.annotations', '"?"', namePart),
  ),
  meta('annotations of more than 256 KiB', { annotations: { a: 'x'.repeat(262_144) } }, [
    'FieldValueTooLong',
    'Too long: may not be more than 262144 bytes',
    'metadata.annotations',
  ]),
  meta(
    'a finalizer that is no name',
    { finalizers: ['a b'] },
    wrongValue('metadata.finalizers', '"a b"', namePart),
    wrongValue(
      'metadata.finalizers[0]',
      '"a b"',
      'name is neither a standard finalizer name nor is it fully qualified',
    ),
  ),
  meta(
    'both finalizers of the garbage collector',
    { finalizers: ['orphan', 'foregroundDeletion'] },
    wrongValue(
      'metadata.finalizers',
      '["orphan","foregroundDeletion"]',
      'finalizer orphan and foregroundDeletion cannot be both set',
    ),
  ),
  meta(
    'an owner without a UID',
    { ownerReferences: [{ apiVersion: 'v1', kind: 'Pod', name: 'p', uid: '' }] },
    wrongValue('metadata.ownerReferences.uid', '""', 'must not be empty'),
  ),
  meta(
    'two controllers',
    {
      ownerReferences: [
        { apiVersion: 'v1', kind: 'Pod', name: 'p', uid: '1', controller: true },
        { apiVersion: 'v1', kind: 'Pod', name: 'q', uid: '2', controller: true },
      ],
    },
    wrongValue(
      'metadata.ownerReferences',
      '[{"apiVersion":"v1","kind":"Pod","name":"p","uid":"1","controller":true},{"apiVersion":"v1","kind":"Pod","name":"q","uid":"2","controller":true}]',
      'Only one reference can have Controller set to true. Found "true" in references for Pod/p and Pod/q',
    ),
  ),
  meta(
    'an Event as owner',
    { ownerReferences: [{ apiVersion: 'v1', kind: 'Event', name: 'p', uid: '1' }] },
    wrongValue(
      'metadata.ownerReferences',
      '{"apiVersion":"v1","kind":"Event","name":"p","uid":"1"}',
      '/v1, Kind=Event is disallowed from being an owner',
    ),
  ),
  {
    name: 'the namespace of another',
    send: post(configMaps, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'x', namespace: 'other' } }),
    expect: badRequest('the namespace of the provided object does not match the namespace sent on the request'),
  },
  {
    name: 'a namespace that there is not',
    send: post('/api/v1/namespaces/nowhere/configmaps', configMap('x')),
    expect: notFound('namespaces', 'nowhere'),
  },
  {
    name: 'a name that is taken',
    given: [post(configMaps, configMap('taken'))],
    send: post(configMaps, configMap('taken')),
    expect: {
      code: 409,
      reason: 'AlreadyExists',
      message: 'configmaps "taken" already exists',
      details: { name: 'taken', kind: 'configmaps' },
    },
  },
  {
    name: 'the name of another in a PUT',
    given: [post(configMaps, configMap('named'))],
    send: put(`${configMaps}/named`, configMap('other')),
    expect: badRequest('the name of the object (other) does not match the name on the URL (named)'),
  },
  {
    name: 'a PUT without a name',
    send: put(`${configMaps}/named`, { apiVersion: 'v1', kind: 'ConfigMap' }),
    expect: badRequest('the name of the object (named based on URL) was undeterminable: name must be provided'),
  },
  kind(
    'a namespace with a dot',
    '/api/v1/namespaces',
    { metadata: { name: 'a.b' } },
    invalid('Namespace', 'a.b', wrongValue('metadata.name', '"a.b"', 'must not contain dots')),
  ),
  kind(
    'a service whose name starts with a dash',
    `${core}/services`,
    service('-a', { selector: undefined }),
    invalid('Service', '-a', wrongValue('metadata.name', '"-a"', label1123)),
  ),
  kind(
    'a config map key that is none',
    configMaps,
    configMap('x', { data: { 'a/b': '' } }),
    invalid(
      'ConfigMap',
      'x',
      wrongValue(
        'data[a/b]',
        '"a/b"',
        "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')",
      ),
    ),
  ),
  kind(
    'a key both as text and as bytes',
    configMaps,
    configMap('x', { data: { a: '' }, binaryData: { a: '' } }),
    invalid('ConfigMap', 'x', wrongValue('data[a]', '"a"', 'duplicate of key present in binaryData')),
  ),
  kind(
    'a basic-auth secret without a key',
    `${core}/secrets`,
    { metadata: { name: 'x' }, type: 'kubernetes.io/tls' },
    invalid('Secret', 'x', required('data[tls.crt]'), required('data[tls.key]')),
  ),
  badPod('no containers', { containers: [] }, {}, required('spec.containers')),
  badPod('no image', {}, { image: '' }, required('spec.containers[0].image')),
  badPod('a container name with capitals', {}, { name: 'C' }, wrongValue('spec.containers[0].name', '"C"', label1123)),
  badPod(
    'two containers of one name',
    {
      containers: [
        { name: 'c', image: 'a' },
        { name: 'c', image: 'b' },
      ],
    },
    {},
    duplicate('spec.containers[1].name', '"c"'),
  ),
  badPod(
    'a restart policy that there is not',
    { restartPolicy: 'Sometimes' },
    {},
    unsupported('spec.restartPolicy', '"Sometimes"', 'Always', 'OnFailure', 'Never'),
  ),
  badPod(
    'a DNS policy that there is not',
    { dnsPolicy: 'Magic' },
    {},
    unsupported('spec.dnsPolicy', '"Magic"', 'ClusterFirstWithHostNet', 'ClusterFirst', 'Default', 'None'),
  ),
  badPod(
    'a pull policy that there is not',
    {},
    { imagePullPolicy: 'Often' },
    unsupported('spec.containers[0].imagePullPolicy', '"Often"', 'Always', 'IfNotPresent', 'Never'),
  ),
  badPod(
    'a port out of range',
    {},
    { ports: [{ containerPort: 70_000 }] },
    wrongValue('spec.containers[0].ports[0].containerPort', '70000', 'must be between 1 and 65535, inclusive'),
  ),
  badPod(
    'a port that is 0',
    {},
    { ports: [{ containerPort: 0 }] },
    required('spec.containers[0].ports[0].containerPort'),
  ),
  badPod(
    'a request above the limit',
    {},
    { resources: { requests: { cpu: '2' }, limits: { cpu: '1' } } },
    wrongValue('spec.containers[0].resources.requests', '"2"', 'must be less than or equal to cpu limit of 1'),
  ),
  badPod(
    'a negative request',
    {},
    { resources: { requests: { memory: '-1Mi' } } },
    wrongValue('spec.containers[0].resources.requests[memory]', '"-1Mi"', 'must be greater than or equal to 0'),
  ),
  badPod('a mount of a volume that there is not', {}, { volumeMounts: [{ name: 'v', mountPath: '/v' }] }, [
    'FieldValueNotFound',
    'Not found: "v"',
    'spec.containers[0].volumeMounts[0].name',
  ]),
  badPod(
    'a volume of two sources',
    { volumes: [{ name: 'v', emptyDir: {}, hostPath: { path: '/' } }] },
    {},
    notAllowed('spec.volumes[0].hostPath', 'may not specify more than 1 volume type'),
  ),
  badPod(
    'a probe without an action',
    {},
    { livenessProbe: {} },
    required('spec.containers[0].livenessProbe', 'must specify a handler type'),
  ),
  badPod(
    'an environment variable from two places',
    {},
    { env: [{ name: 'A', value: 'x', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } }] },
    wrongValue('spec.containers[0].env[0].valueFrom', '""', 'may not be specified when `value` is not empty'),
  ),
  badPod(
    'a deadline of 0',
    { activeDeadlineSeconds: 0 },
    {},
    wrongValue('spec.activeDeadlineSeconds', '0', 'must be between 1 and 2147483647, inclusive'),
  ),
  badPod(
    'a toleration of all with a value',
    { tolerations: [{ operator: 'Exists', key: 'a', value: 'b' }] },
    {},
    wrongValue('spec.tolerations[0].operator', '"b"', "value must be empty when `operator` is 'Exists'"),
  ),
  badPod('a hostname with capitals', { hostname: 'Host' }, {}, wrongValue('spec.hostname', '"Host"', label1123)),
  {
    name: 'pod: a service account that there is not',
    send: post(`${core}/pods`, pod('x', { serviceAccountName: 'ghost' })),
    expect: forbidden('pods', 'x', 'error looking up service account bad/ghost: serviceaccount "ghost" not found'),
  },
  {
    name: 'pod: a priority class that there is not',
    send: post(`${core}/pods`, pod('x', { priorityClassName: 'ghost' })),
    expect: forbidden('pods', 'x', 'no PriorityClass with name ghost was found'),
  },
  {
    name: 'pod: a priority of its own',
    send: post(`${core}/pods`, pod('x', { priority: 7 })),
    expect: forbidden(
      'pods',
      'x',
      'the integer value of priority (7) must not be provided in pod spec; priority admission controller computed 0 from the given PriorityClass name',
    ),
  },
  kind(
    'a deployment without a selector',
    `${apps}/deployments`,
    deployment('x', { selector: undefined }),
    invalid(
      'Deployment.apps',
      'x',
      required('spec.selector'),
      wrongValue('spec.template.metadata.labels', '{"app":"x"}', '`selector` does not match template `labels`'),
    ),
  ),
  kind(
    'a deployment that selects others',
    `${apps}/deployments`,
    deployment('x', { selector: { matchLabels: { app: 'y' } } }),
    invalid(
      'Deployment.apps',
      'x',
      wrongValue('spec.template.metadata.labels', '{"app":"x"}', '`selector` does not match template `labels`'),
    ),
  ),
  kind(
    'a deployment of fewer than none',
    `${apps}/deployments`,
    deployment('x', { replicas: -1 }),
    invalid('Deployment.apps', 'x', wrongValue('spec.replicas', '-1', 'must be greater than or equal to 0')),
  ),
  kind(
    'a deployment whose pods do not restart',
    `${apps}/deployments`,
    deployment('x', { template: template({ app: 'x' }, { restartPolicy: 'Never' }) }),
    invalid('Deployment.apps', 'x', unsupported('spec.template.spec.restartPolicy', '"Never"', 'Always')),
  ),
  kind(
    'a rolling update that never moves',
    `${apps}/deployments`,
    deployment('x', { strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: 0, maxUnavailable: 0 } } }),
    invalid(
      'Deployment.apps',
      'x',
      wrongValue('spec.strategy.rollingUpdate.maxUnavailable', '0', 'may not be 0 when `maxSurge` is 0'),
    ),
  ),
  kind(
    'a job whose pods always restart',
    `${batch}/jobs`,
    { metadata: { name: 'x' }, spec: { template: template({}) } },
    invalid('Job.batch', 'x', required('spec.template.spec.restartPolicy', 'valid values: "OnFailure", "Never"')),
  ),
  kind(
    'a cron job with a strange schedule',
    `${batch}/cronjobs`,
    {
      metadata: { name: 'x' },
      spec: { schedule: 'daily', jobTemplate: { spec: { template: template({}, { restartPolicy: 'Never' }) } } },
    },
    invalid(
      'CronJob.batch',
      'x',
      wrongValue('spec.schedule', '"daily"', 'expected exactly 5 fields, found 1: [daily]'),
    ),
  ),
  kind(
    'a service without ports',
    `${core}/services`,
    service('x', { ports: [] }),
    invalid('Service', 'x', required('spec.ports')),
  ),
  kind(
    'a service port of 0, which the target port takes over',
    `${core}/services`,
    service('x', { ports: [{ port: 0 }] }),
    invalid(
      'Service',
      'x',
      wrongValue('spec.ports[0].port', '0', 'must be between 1 and 65535, inclusive'),
      wrongValue('spec.ports[0].targetPort', '0', 'must be between 1 and 65535, inclusive'),
    ),
  ),
  kind(
    'two service ports without names',
    `${core}/services`,
    service('x', { ports: [{ port: 1 }, { port: 2 }] }),
    invalid('Service', 'x', required('spec.ports[0].name'), required('spec.ports[1].name')),
  ),
  kind(
    'a service of a type that there is not',
    `${core}/services`,
    service('x', { type: 'Tunnel' }),
    invalid(
      'Service',
      'x',
      unsupported('spec.type', '"Tunnel"', 'ClusterIP', 'ExternalName', 'LoadBalancer', 'NodePort'),
    ),
  ),
  kind(
    'a claim without a size',
    `${core}/persistentvolumeclaims`,
    { metadata: { name: 'x' }, spec: { accessModes: ['ReadWriteOnce'], resources: {} } },
    invalid('PersistentVolumeClaim', 'x', required('spec.resources[storage]')),
  ),
  kind(
    'a role rule without verbs',
    '/apis/rbac.authorization.k8s.io/v1/namespaces/bad/roles',
    { metadata: { name: 'x' }, rules: [{ apiGroups: [''], resources: ['pods'], verbs: [] }] },
    invalid('Role.rbac.authorization.k8s.io', 'x', required('rules[0].verbs', 'verbs must contain at least one value')),
  ),
  kind(
    'a role binding of a strange role',
    '/apis/rbac.authorization.k8s.io/v1/namespaces/bad/rolebindings',
    { metadata: { name: 'x' }, roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Group', name: 'g' } },
    invalid(
      'RoleBinding.rbac.authorization.k8s.io',
      'x',
      unsupported('roleRef.kind', '"Group"', 'Role', 'ClusterRole'),
    ),
  ),
  kind(
    'a disruption budget of both kinds',
    '/apis/policy/v1/namespaces/bad/poddisruptionbudgets',
    { metadata: { name: 'x' }, spec: { minAvailable: 1, maxUnavailable: 1, selector: {} } },
    invalid(
      'PodDisruptionBudget.policy',
      'x',
      wrongValue(
        'spec',
        '{"MinAvailable":1,"Selector":{},"MaxUnavailable":1,"UnhealthyPodEvictionPolicy":null}',
        'minAvailable and maxUnavailable cannot be both set',
      ),
    ),
  ),
  kind(
    'a priority class of the system range',
    '/apis/scheduling.k8s.io/v1/priorityclasses',
    { metadata: { name: 'x' }, value: 2_000_000_000 },
    invalid(
      'PriorityClass.scheduling.k8s.io',
      'x',
      notAllowed('value', 'maximum allowed value of a user defined priority is 1000000000'),
    ),
  ),
  kind(
    'a network policy with a strange type',
    '/apis/networking.k8s.io/v1/namespaces/bad/networkpolicies',
    { metadata: { name: 'x' }, spec: { podSelector: {}, policyTypes: ['Sideways'] } },
    invalid(
      'NetworkPolicy.networking.k8s.io',
      'x',
      unsupported('spec.policyTypes[0]', '"Sideways"', 'Ingress', 'Egress'),
    ),
  ),
  // An empty list is not stored, but validation tells it from none.
  badPod(
    'resources of the whole with an empty list of claims',
    { resources: { claims: [] } },
    {},
    notAllowed('spec.resources.claims', 'claims may not be set for Resources at pod-level'),
  ),
  kind(
    'a claim template with an empty list of finalizers',
    '/apis/resource.k8s.io/v1/namespaces/bad/resourceclaimtemplates',
    { metadata: { name: 'x' }, spec: { metadata: { finalizers: [] }, spec: {} } },
    invalid('ResourceClaimTemplate.resource.k8s.io', 'x', notAllowed('spec.metadata.finalizers', 'cannot be set')),
  ),
];
