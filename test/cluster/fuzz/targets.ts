/** Valid objects of many kinds, with all sorts of members in them, and where they live: what chance breaks. */
import { loadCatalog } from '../../../src/api/catalog/catalog.ts';
import { samplesOf } from '../every-kind/samples.ts';

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type Members = { [key: string]: Json };

export interface Target {
  /** The collection. */
  readonly path: string;
  readonly object: Members;
  readonly subresources: readonly string[];
  /** Has a protobuf form and strategic merges. */
  readonly builtIn: boolean;
}

const labels: Members = { app: 'fuzz' };
const container: Members = {
  name: 'main',
  image: 'busybox',
  command: ['sh', '-c', 'echo hello'],
  env: [
    { name: 'A', value: 'b' },
    { name: 'N', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } },
  ],
  ports: [{ name: 'http', containerPort: 80, protocol: 'TCP' }],
  resources: { requests: { cpu: '10m', memory: '1Mi' }, limits: { cpu: '1', memory: '64Mi' } },
  volumeMounts: [{ name: 'data', mountPath: '/data' }],
  livenessProbe: { httpGet: { path: '/', port: 'http' }, periodSeconds: 5 },
  securityContext: { runAsNonRoot: false, capabilities: { add: ['NET_ADMIN'] } },
};
const podSpec: Members = {
  containers: [container],
  initContainers: [{ name: 'first', image: 'busybox', command: ['true'] }],
  volumes: [{ name: 'data', emptyDir: {} }],
  restartPolicy: 'Always',
  terminationGracePeriodSeconds: 0,
  tolerations: [{ key: 'a', operator: 'Exists', effect: 'NoSchedule' }],
  affinity: {
    nodeAffinity: {
      requiredDuringSchedulingIgnoredDuringExecution: {
        nodeSelectorTerms: [{ matchExpressions: [{ key: 'kubernetes.io/os', operator: 'In', values: ['linux'] }] }],
      },
    },
    podAntiAffinity: {
      preferredDuringSchedulingIgnoredDuringExecution: [
        {
          weight: 1,
          podAffinityTerm: { topologyKey: 'kubernetes.io/hostname', labelSelector: { matchLabels: labels } },
        },
      ],
    },
  },
  topologySpreadConstraints: [
    {
      maxSkew: 1,
      topologyKey: 'kubernetes.io/hostname',
      whenUnsatisfiable: 'ScheduleAnyway',
      labelSelector: { matchLabels: labels },
    },
  ],
};
const template: Members = { metadata: { labels }, spec: podSpec };
const selector: Members = { matchLabels: labels, matchExpressions: [{ key: 'app', operator: 'Exists' }] };

function target(
  group: string,
  version: string,
  resource: string,
  kind: string,
  rest: Members,
  subresources: readonly string[] = [],
  namespaced = true,
): Target {
  const root = group === '' ? `/api/${version}` : `/apis/${group}/${version}`;
  return {
    path: `${root}${namespaced ? '/namespaces/fuzz' : ''}/${resource}`,
    object: {
      apiVersion: group === '' ? version : `${group}/${version}`,
      kind,
      metadata: {
        name: 'fuzz-a',
        labels: { app: 'fuzz', 'example.com/x': 'y' },
        annotations: { note: 'some text' },
        finalizers: [],
        ownerReferences: [{ apiVersion: 'v1', kind: 'ConfigMap', name: 'fuzz-a', uid: '0f1b' }],
      },
      ...rest,
    },
    subresources,
    builtIn: !group.endsWith('example.com'),
  };
}

const written: readonly Target[] = [
  target('', 'v1', 'configmaps', 'ConfigMap', { data: { a: '1' }, binaryData: { b: 'YQ==' }, immutable: false }),
  target('', 'v1', 'secrets', 'Secret', { data: { a: 'YQ==' }, stringData: { b: 'c' }, type: 'Opaque' }),
  target('', 'v1', 'pods', 'Pod', { spec: podSpec }, [
    'status',
    'log',
    'eviction',
    'binding',
    'ephemeralcontainers',
    'resize',
    'exec',
    'attach',
    'portforward',
    'proxy',
  ]),
  target(
    '',
    'v1',
    'services',
    'Service',
    {
      spec: {
        type: 'NodePort',
        selector: labels,
        ports: [{ name: 'http', port: 80, targetPort: 'http', protocol: 'TCP' }],
        sessionAffinity: 'None',
      },
    },
    ['status', 'proxy'],
  ),
  target(
    '',
    'v1',
    'serviceaccounts',
    'ServiceAccount',
    { secrets: [{ name: 's' }], imagePullSecrets: [{ name: 'p' }] },
    ['token'],
  ),
  target('', 'v1', 'endpoints', 'Endpoints', { subsets: [{ addresses: [{ ip: '10.1.2.3' }], ports: [{ port: 80 }] }] }),
  target('', 'v1', 'limitranges', 'LimitRange', {
    spec: { limits: [{ type: 'Container', max: { cpu: '8' }, default: { cpu: '1' } }] },
  }),
  target(
    '',
    'v1',
    'resourcequotas',
    'ResourceQuota',
    { spec: { hard: { pods: '100', 'count/secrets': '100' }, scopes: ['NotBestEffort'] } },
    ['status'],
  ),
  target(
    '',
    'v1',
    'persistentvolumeclaims',
    'PersistentVolumeClaim',
    {
      spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } }, storageClassName: 'none' },
    },
    ['status'],
  ),
  target(
    '',
    'v1',
    'persistentvolumes',
    'PersistentVolume',
    {
      spec: { capacity: { storage: '1Gi' }, accessModes: ['ReadWriteOnce'], hostPath: { path: '/tmp' } },
    },
    ['status'],
    false,
  ),
  target(
    '',
    'v1',
    'replicationcontrollers',
    'ReplicationController',
    { spec: { replicas: 1, selector: labels, template } },
    ['status', 'scale'],
  ),
  target('', 'v1', 'events', 'Event', {
    involvedObject: { kind: 'Pod', namespace: 'fuzz', name: 'fuzz-a' },
    reason: 'Fuzz',
    message: 'm',
    type: 'Normal',
    count: 1,
  }),
  target(
    'apps',
    'v1',
    'deployments',
    'Deployment',
    {
      spec: {
        replicas: 1,
        selector,
        template,
        strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: '25%', maxUnavailable: 1 } },
      },
    },
    ['status', 'scale'],
  ),
  target('apps', 'v1', 'replicasets', 'ReplicaSet', { spec: { replicas: 1, selector, template } }, ['status', 'scale']),
  target(
    'apps',
    'v1',
    'daemonsets',
    'DaemonSet',
    { spec: { selector, template, updateStrategy: { type: 'OnDelete' } } },
    ['status'],
  ),
  target(
    'apps',
    'v1',
    'statefulsets',
    'StatefulSet',
    { spec: { replicas: 1, selector, template, serviceName: 'fuzz-a' } },
    ['status', 'scale'],
  ),
  target('apps', 'v1', 'controllerrevisions', 'ControllerRevision', { data: { a: 1 }, revision: 1 }),
  target(
    'batch',
    'v1',
    'jobs',
    'Job',
    {
      spec: {
        completions: 1,
        parallelism: 1,
        backoffLimit: 0,
        template: {
          spec: { containers: [{ name: 'c', image: 'busybox', command: ['true'] }], restartPolicy: 'Never' },
        },
      },
    },
    ['status'],
  ),
  target(
    'batch',
    'v1',
    'cronjobs',
    'CronJob',
    {
      spec: {
        schedule: '*/5 * * * *',
        timeZone: 'Etc/UTC',
        jobTemplate: {
          spec: { template: { spec: { containers: [{ name: 'c', image: 'x' }], restartPolicy: 'Never' } } },
        },
      },
    },
    ['status'],
  ),
  target(
    'autoscaling',
    'v1',
    'horizontalpodautoscalers',
    'HorizontalPodAutoscaler',
    {
      spec: {
        scaleTargetRef: { kind: 'Deployment', name: 'fuzz-a', apiVersion: 'apps/v1' },
        minReplicas: 1,
        maxReplicas: 3,
        targetCPUUtilizationPercentage: 50,
      },
    },
    ['status'],
  ),
  target(
    'autoscaling',
    'v2',
    'horizontalpodautoscalers',
    'HorizontalPodAutoscaler',
    {
      spec: {
        scaleTargetRef: { kind: 'Deployment', name: 'fuzz-a', apiVersion: 'apps/v1' },
        maxReplicas: 3,
        metrics: [
          { type: 'Resource', resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization: 50 } } },
        ],
      },
    },
    ['status'],
  ),
  target(
    'networking.k8s.io',
    'v1',
    'ingresses',
    'Ingress',
    {
      spec: {
        rules: [
          {
            host: 'a.example.com',
            http: {
              paths: [{ path: '/', pathType: 'Prefix', backend: { service: { name: 's', port: { number: 80 } } } }],
            },
          },
        ],
      },
    },
    ['status'],
  ),
  target('networking.k8s.io', 'v1', 'networkpolicies', 'NetworkPolicy', {
    spec: {
      podSelector: {},
      ingress: [
        { from: [{ ipBlock: { cidr: '10.0.0.0/8', except: ['10.1.0.0/16'] } }], ports: [{ port: 80, endPort: 90 }] },
      ],
    },
  }),
  target('policy', 'v1', 'poddisruptionbudgets', 'PodDisruptionBudget', { spec: { minAvailable: '50%', selector } }, [
    'status',
  ]),
  target('rbac.authorization.k8s.io', 'v1', 'roles', 'Role', {
    rules: [{ apiGroups: [''], resources: ['pods'], verbs: ['get'] }],
  }),
  target('rbac.authorization.k8s.io', 'v1', 'rolebindings', 'RoleBinding', {
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'fuzz-a' },
    subjects: [{ kind: 'ServiceAccount', name: 'x', namespace: 'fuzz' }],
  }),
  target('coordination.k8s.io', 'v1', 'leases', 'Lease', {
    spec: { holderIdentity: 'me', leaseDurationSeconds: 15, renewTime: '2026-01-01T00:00:00.000000Z' },
  }),
  target('discovery.k8s.io', 'v1', 'endpointslices', 'EndpointSlice', {
    addressType: 'IPv4',
    endpoints: [{ addresses: ['10.1.2.3'], conditions: { ready: true } }],
    ports: [{ name: 'x', port: 80, protocol: 'TCP' }],
  }),
  target('events.k8s.io', 'v1', 'events', 'Event', {
    eventTime: '2026-01-01T00:00:00.000000Z',
    action: 'Act',
    reason: 'Fuzz',
    type: 'Normal',
    reportingController: 'example.com/c',
    reportingInstance: 'i',
    regarding: { kind: 'Pod', namespace: 'fuzz', name: 'fuzz-a' },
  }),
  target(
    'storage.k8s.io',
    'v1',
    'storageclasses',
    'StorageClass',
    { provisioner: 'example.com/p', parameters: { a: 'b' } },
    [],
    false,
  ),
  target('scheduling.k8s.io', 'v1', 'priorityclasses', 'PriorityClass', { value: 5, description: 'd' }, [], false),
  target(
    'admissionregistration.k8s.io',
    'v1',
    'validatingwebhookconfigurations',
    'ValidatingWebhookConfiguration',
    { webhooks: [] },
    [],
    false,
  ),
  target('authorization.k8s.io', 'v1', 'localsubjectaccessreviews', 'LocalSubjectAccessReview', {
    metadata: {},
    spec: { user: 'jane', resourceAttributes: { verb: 'get', resource: 'pods', namespace: 'fuzz' } },
  }),
  target(
    'authentication.k8s.io',
    'v1',
    'tokenreviews',
    'TokenReview',
    { metadata: {}, spec: { token: 'x', audiences: ['a'] } },
    [],
    false,
  ),
  target(
    'certificates.k8s.io',
    'v1',
    'certificatesigningrequests',
    'CertificateSigningRequest',
    {
      spec: {
        request:
          'LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlIWk1JR0FBZ0VBTUI0eERUQUxCZ05WQkFvTUJHWjFlbm94RFRBTEJnTlZCQU1NQkdaMWVub3dXVEFUQmdjcQpoa2pPUFFJQkJnZ3Foa2pPUFFNQkJ3TkNBQVRDakZ4MEc5UmM5Z212VGtVQlU2QWx2RXFRMS85VEY3ME52dURPCm52cC9ETGZkQ05lc2ZHbStpR2VRemg5QVBPYk1DaFRHcUdzRmx5N3NEbENOK0djcG9BQXdDZ1lJS29aSXpqMEUKQXdJRFNBQXdSUUloQUtTcjc2WjhqbExsMUpkN29ML2RCTUkvRmpsOVFkdGNWKzRZZGpRVU5JYlZBaUFESkdONQoyOGpsaENIT0dWc0VoWVd3Y3lTRjZHc3h6UjZJOVBscXNJdlp0UT09Ci0tLS0tRU5EIENFUlRJRklDQVRFIFJFUVVFU1QtLS0tLQo=',
        signerName: 'kubernetes.io/kube-apiserver-client',
        usages: ['client auth'],
        expirationSeconds: 3600,
      },
    },
    ['status', 'approval'],
    false,
  ),
  target(
    'apiextensions.k8s.io',
    'v1',
    'customresourcedefinitions',
    'CustomResourceDefinition',
    {
      metadata: { name: 'things.fuzz.example.com' },
      spec: {
        group: 'fuzz.example.com',
        scope: 'Namespaced',
        names: { plural: 'things', singular: 'thing', kind: 'Thing', shortNames: ['th'] },
        versions: [
          {
            name: 'v1',
            served: true,
            storage: true,
            subresources: {
              status: {},
              scale: { specReplicasPath: '.spec.replicas', statusReplicasPath: '.status.replicas' },
            },
            additionalPrinterColumns: [{ name: 'R', type: 'integer', jsonPath: '.spec.replicas' }],
            schema: {
              openAPIV3Schema: {
                type: 'object',
                properties: {
                  spec: {
                    type: 'object',
                    properties: {
                      replicas: { type: 'integer', minimum: 0, default: 1 },
                      any: { 'x-kubernetes-preserve-unknown-fields': true, type: 'object' },
                      list: { type: 'array', items: { type: 'string' } },
                    },
                  },
                  status: { type: 'object', properties: { replicas: { type: 'integer' } } },
                },
              },
            },
          },
        ],
      },
    },
    ['status'],
    false,
  ),
  target('fuzz.example.com', 'v1', 'things', 'Thing', { spec: { replicas: 2, any: { a: [1] }, list: ['a'] } }, [
    'status',
    'scale',
  ]),
];

/** The kinds that are not written out above, from the table of every kind; what deletes or fills whole clusters is left out. */
function others(): Target[] {
  const catalog = loadCatalog();
  const samples = samplesOf('', '');
  const known = new Set(written.map((t) => t.path));
  return catalog.resources.flatMap((r) => {
    const sample = samples[`${r.group}/${r.version}/${r.resource}`] ?? samples[`${r.group}/${r.resource}`];
    const unfit = ['namespaces', 'nodes', 'apiservices', 'customresourcedefinitions', 'clustertrustbundles'];
    if (sample === undefined || sample.name !== undefined || unfit.includes(r.resource)) return [];
    if (r.resource === 'certificatesigningrequests') return [];
    const made = target(
      r.group,
      r.version,
      r.resource,
      r.kind,
      sample.body as Members,
      r.subresources.map((s) => s.name),
      r.namespaced,
    );
    return known.has(made.path) ? [] : [made];
  });
}

export const targets: readonly Target[] = [...written, ...others()];
