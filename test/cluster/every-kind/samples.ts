/** One small valid object of each kind that discovery lists, with what its status endpoint takes. */
import { createHash, createPrivateKey, sign } from 'node:crypto';

export interface Sample {
  /** Besides type and metadata. */
  readonly body: Readonly<Record<string, unknown>>;
  /** Where any name does not do. */
  readonly name?: (suffix: string, version: string) => string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly metadata?: Readonly<Record<string, unknown>>;
  /** What a merge patch of `…/status` sets, and where it is seen to be set. */
  readonly status?: Readonly<Record<string, unknown>>;
  /** Objects cannot be changed at all, or only so. */
  readonly change?: Readonly<Record<string, unknown>>;
  /** Objects go at once although somebody holds on to them. */
  readonly finalizers?: boolean;
}

const container = { name: 'c', image: 'registry.example.com/c:1' };
const template = {
  metadata: { labels: { app: 'every' } },
  spec: { containers: [container] },
};
const selector = { matchLabels: { app: 'every' } };
const condition = {
  type: 'Ready',
  status: 'True',
  reason: 'Tested',
  message: 'by a test',
  lastTransitionTime: '2026-01-01T00:00:00Z',
};
const time = '2026-01-01T00:00:00Z';
const microTime = '2026-01-01T00:00:00.000000Z';
const role = { rules: [{ apiGroups: [''], resources: ['pods'], verbs: ['get'] }] };
const binding = (kind: string): Record<string, unknown> => ({
  roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind, name: 'view' },
  subjects: [{ kind: 'User', apiGroup: 'rbac.authorization.k8s.io', name: 'somebody' }],
});
const webhook = {
  webhooks: [
    {
      name: 'hook.every.example.com',
      clientConfig: { url: 'https://hooks.example.com/every' },
      rules: [{ apiGroups: ['every.example.com'], apiVersions: ['v1'], operations: ['CREATE'], resources: ['things'] }],
      sideEffects: 'None',
      admissionReviewVersions: ['v1'],
    },
  ],
};
const rules = [
  { apiGroups: ['every.example.com'], apiVersions: ['v1'], operations: ['CREATE'], resources: ['things'] },
];
const mutatingPolicy = {
  spec: {
    matchConstraints: { resourceRules: rules },
    reinvocationPolicy: 'Never',
    mutations: [{ patchType: 'ApplyConfiguration', applyConfiguration: { expression: 'Object{}' } }],
  },
};
const mutatingBinding = { spec: { policyName: 'every' } };
const deviceSpec = { selectors: [{ cel: { expression: "device.driver == 'gpu.example.com'" } }] };
const claimSpec = { devices: { requests: [{ name: 'gpu', exactly: { deviceClassName: 'gpu.example.com' } }] } };
const flatClaimSpec = { devices: { requests: [{ name: 'gpu', deviceClassName: 'gpu.example.com' }] } };
const slice = (device: Record<string, unknown>): Record<string, unknown> => ({
  spec: {
    driver: 'gpu.example.com',
    nodeName: 'node-a',
    pool: { name: 'node-a', generation: 1, resourceSliceCount: 1 },
    devices: [{ name: 'gpu-0', ...device }],
  },
});
const device = { attributes: { model: { string: 'm1' } }, capacity: { memory: { value: '1Gi' } } };

/** Keys of requests: from a seed, so that runs are alike. */
export function keyFromSeed(): { readonly publicKey: string; prove(uid: string): string } {
  const seed = createHash('sha256').update('every kind').digest();
  const key = createPrivateKey({
    key: Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed]),
    format: 'der',
    type: 'pkcs8',
  });
  const jwk = key.export({ format: 'jwk' });
  const raw = Buffer.from(jwk.x!, 'base64url');
  return {
    publicKey: Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), raw]).toString('base64'),
    prove: (uid) => sign(null, Buffer.from(uid), key).toString('base64'),
  };
}

const key = keyFromSeed();

/** `trusted`: PEM of some certificate authority; `request`: base64 of a PEM certificate request. */
export function samplesOf(trusted: string, request: string): Readonly<Record<string, Sample>> {
  return {
    '/configmaps': { body: { data: { a: '1' } } },
    '/endpoints': { body: { subsets: [{ addresses: [{ ip: '10.1.2.3' }], ports: [{ port: 80 }] }] } },
    '/events': {
      body: {
        involvedObject: { kind: 'Pod', namespace: 'every', name: 'p' },
        reason: 'Testing',
        message: 'a test',
        type: 'Normal',
        source: { component: 'test' },
        firstTimestamp: time,
        lastTimestamp: time,
        count: 1,
      },
    },
    '/limitranges': { body: { spec: { limits: [{ type: 'Container', max: { cpu: '64' } }] } } },
    '/namespaces': { body: {}, status: { conditions: [condition] } },
    '/nodes': { body: { spec: { podCIDR: '10.9.0.0/24' } }, status: { conditions: [condition] } },
    '/persistentvolumeclaims': {
      body: { spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } } },
      status: { phase: 'Pending', conditions: [{ ...condition, type: 'Resizing' }] },
      finalizers: true,
    },
    '/persistentvolumes': {
      body: {
        spec: { capacity: { storage: '1Gi' }, accessModes: ['ReadWriteOnce'], hostPath: { path: '/tmp/every' } },
      },
      status: { phase: 'Available', message: 'tested' },
      finalizers: true,
    },
    '/pods': { body: { spec: { containers: [container] } }, status: { phase: 'Pending', message: 'tested' } },
    '/podtemplates': { body: { template } },
    '/replicationcontrollers': {
      body: { spec: { replicas: 0, selector: { app: 'every' }, template } },
      status: { replicas: 0, conditions: [condition] },
    },
    '/resourcequotas': {
      body: { spec: { hard: { 'count/widgets.every.example.com': '100' } } },
      status: { hard: { 'count/widgets.every.example.com': '100' } },
    },
    '/secrets': { body: { type: 'Opaque', data: { a: 'MQ==' } } },
    '/serviceaccounts': { body: { automountServiceAccountToken: false } },
    '/services': {
      body: { spec: { selector: { app: 'every' }, ports: [{ port: 80 }] } },
      status: { loadBalancer: {}, conditions: [condition] },
    },
    'apiregistration.k8s.io/apiservices': {
      name: (suffix) => `v1.${suffix}.every.example.com`,
      body: {},
      status: { conditions: [{ ...condition, type: 'Available' }] },
    },
    'apps/controllerrevisions': { body: { revision: 1, data: { spec: { a: 1 } } }, change: { revision: 2 } },
    'apps/daemonsets': { body: { spec: { selector, template } }, status: { conditions: [condition] } },
    'apps/deployments': { body: { spec: { replicas: 0, selector, template } }, status: { observedGeneration: 1 } },
    'apps/replicasets': {
      body: { spec: { replicas: 0, selector, template } },
      status: { replicas: 0, conditions: [condition] },
    },
    'apps/statefulsets': {
      body: { spec: { replicas: 0, selector, template, serviceName: 'every' } },
      status: { replicas: 0, conditions: [condition] },
    },
    'events.k8s.io/events': {
      body: {
        eventTime: microTime,
        reportingController: 'every.example.com/test',
        reportingInstance: 'test-1',
        action: 'Test',
        reason: 'Testing',
        regarding: { kind: 'Pod', namespace: 'every', name: 'p' },
        note: 'a test',
        type: 'Normal',
      },
    },
    'autoscaling/horizontalpodautoscalers': {
      body: {
        spec: {
          scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: 'every' },
          minReplicas: 1,
          maxReplicas: 3,
        },
      },
      status: { currentReplicas: 2, desiredReplicas: 3 },
    },
    'batch/cronjobs': {
      body: {
        spec: {
          schedule: '0 0 1 1 *',
          jobTemplate: { spec: { template: { spec: { ...template.spec, restartPolicy: 'Never' } } } },
        },
      },
      status: { lastScheduleTime: time },
    },
    'batch/jobs': {
      body: { spec: { template: { spec: { ...template.spec, restartPolicy: 'Never' } } } },
      status: { startTime: time, conditions: [{ ...condition, type: 'Suspended' }] },
    },
    'certificates.k8s.io/certificatesigningrequests': {
      body: {
        spec: { request, signerName: 'every.example.com/signer', usages: ['digital signature', 'client auth'] },
      },
      status: { conditions: [{ type: 'Failed', status: 'True', reason: 'Tested' }] },
    },
    'certificates.k8s.io/clustertrustbundles': { body: { spec: { trustBundle: trusted } } },
    'certificates.k8s.io/podcertificaterequests': {
      body: {
        spec: {
          signerName: 'every.example.com/signer',
          podName: 'p',
          podUID: 'uid-p',
          serviceAccountName: 'default',
          serviceAccountUID: 'uid-sa',
          nodeName: 'node-a',
          nodeUID: 'uid-node',
          pkixPublicKey: key.publicKey,
          proofOfPossession: key.prove('uid-p'),
        },
      },
      status: { conditions: [{ ...condition, type: 'Denied' }] },
    },
    'networking.k8s.io/ingressclasses': { body: { spec: { controller: 'every.example.com/controller' } } },
    'networking.k8s.io/ingresses': {
      body: { spec: { defaultBackend: { service: { name: 's', port: { number: 80 } } } } },
      status: { loadBalancer: { ingress: [{ hostname: 'every.example.com' }] } },
    },
    'networking.k8s.io/ipaddresses': {
      name: (suffix, version) => `${version === 'v1' ? '192.0.2' : '198.51.100'}.${suffix.charCodeAt(0)}`,
      body: { spec: { parentRef: { resource: 'services', namespace: 'every', name: 's' } } },
    },
    'networking.k8s.io/networkpolicies': { body: { spec: { podSelector: {} } } },
    'networking.k8s.io/servicecidrs': {
      body: { spec: { cidrs: ['198.18.0.0/24'] } },
      status: { conditions: [condition] },
      finalizers: true,
    },
    'policy/poddisruptionbudgets': {
      body: { spec: { minAvailable: 1, selector } },
      status: { disruptionsAllowed: 1, currentHealthy: 2, desiredHealthy: 1, expectedPods: 2, observedGeneration: 1 },
    },
    'rbac.authorization.k8s.io/clusterroles': { body: role },
    'rbac.authorization.k8s.io/roles': { body: role },
    'rbac.authorization.k8s.io/clusterrolebindings': { body: binding('ClusterRole') },
    'rbac.authorization.k8s.io/rolebindings': { body: binding('ClusterRole') },
    'storage.k8s.io/csidrivers': { body: { spec: { attachRequired: false } } },
    'storage.k8s.io/csinodes': { body: { spec: { drivers: [{ name: 'csi.example.com', nodeID: 'n1' }] } } },
    'storage.k8s.io/csistoragecapacities': { body: { storageClassName: 'every', capacity: '1Gi' } },
    'storage.k8s.io/storageclasses': { body: { provisioner: 'csi.example.com' } },
    'storage.k8s.io/volumeattachments': {
      body: { spec: { attacher: 'csi.example.com', nodeName: 'node-a', source: { persistentVolumeName: 'pv' } } },
      status: { attached: true, attachmentMetadata: { tested: 'yes' } },
    },
    'storage.k8s.io/volumeattributesclasses': { body: { driverName: 'csi.example.com', parameters: { a: 'b' } } },
    'admissionregistration.k8s.io/mutatingwebhookconfigurations': { body: webhook },
    'admissionregistration.k8s.io/validatingwebhookconfigurations': { body: webhook },
    'admissionregistration.k8s.io/mutatingadmissionpolicies': { body: mutatingPolicy },
    'admissionregistration.k8s.io/mutatingadmissionpolicybindings': { body: mutatingBinding },
    'admissionregistration.k8s.io/validatingadmissionpolicies': {
      body: { spec: { matchConstraints: { resourceRules: rules }, validations: [{ expression: 'true' }] } },
      status: { observedGeneration: 1, conditions: [condition] },
    },
    'admissionregistration.k8s.io/validatingadmissionpolicybindings': {
      body: { spec: { policyName: 'every', validationActions: ['Deny'] } },
    },
    'apiextensions.k8s.io/customresourcedefinitions': {
      name: (suffix) => `things${suffix}.every.example.com`,
      body: {},
      status: { conditions: [condition] },
      finalizers: true,
    },
    'scheduling.k8s.io/priorityclasses': { body: { value: 10 } },
    'scheduling.k8s.io/workloads': {
      body: { spec: { podGroupTemplates: [{ name: 'workers', schedulingPolicy: { gang: { minCount: 2 } } }] } },
    },
    'scheduling.k8s.io/podgroups': {
      body: { spec: { schedulingPolicy: { basic: {} } } },
      status: { conditions: [condition] },
    },
    'coordination.k8s.io/leases': { body: { spec: { holderIdentity: 'somebody', leaseDurationSeconds: 10 } } },
    'coordination.k8s.io/leasecandidates': {
      body: {
        spec: {
          leaseName: 'every',
          binaryVersion: '1.36.0',
          emulationVersion: '1.36.0',
          strategy: 'OldestEmulationVersion',
        },
      },
    },
    'node.k8s.io/runtimeclasses': { body: { handler: 'every' } },
    'discovery.k8s.io/endpointslices': {
      body: { addressType: 'IPv4', endpoints: [{ addresses: ['10.1.2.3'] }], ports: [{ port: 80 }] },
    },
    'resource.k8s.io/deviceclasses': { body: { spec: deviceSpec } },
    'resource.k8s.io/resourceclaims': {
      body: { spec: claimSpec },
      status: {
        allocation: {
          devices: { results: [{ request: 'gpu', driver: 'gpu.example.com', pool: 'node-a', device: 'gpu-0' }] },
        },
      },
    },
    'resource.k8s.io/v1beta1/resourceclaims': {
      body: { spec: flatClaimSpec },
      status: {
        allocation: {
          devices: { results: [{ request: 'gpu', driver: 'gpu.example.com', pool: 'node-a', device: 'gpu-0' }] },
        },
      },
    },
    'resource.k8s.io/resourceclaimtemplates': { body: { spec: { spec: claimSpec } } },
    'resource.k8s.io/v1beta1/resourceclaimtemplates': { body: { spec: { spec: flatClaimSpec } } },
    'resource.k8s.io/resourceslices': { body: slice(device) },
    'resource.k8s.io/v1beta1/resourceslices': { body: slice({ basic: device }) },
    'resource.k8s.io/devicetaintrules': {
      body: {
        spec: { deviceSelector: { driver: 'gpu.example.com' }, taint: { key: 'broken', effect: 'NoSchedule' } },
      },
      status: { conditions: [condition] },
    },
    'resource.k8s.io/resourcepoolstatusrequests': {
      body: { spec: { driver: 'gpu.example.com' } },
      status: { poolCount: 0, conditions: [{ ...condition, type: 'Complete' }] },
    },
    'flowcontrol.apiserver.k8s.io/flowschemas': {
      body: {
        spec: {
          priorityLevelConfiguration: { name: 'global-default' },
          matchingPrecedence: 9000,
          rules: [
            {
              subjects: [{ kind: 'User', user: { name: 'somebody' } }],
              nonResourceRules: [{ verbs: ['get'], nonResourceURLs: ['/every'] }],
            },
          ],
        },
      },
      status: { conditions: [{ ...condition, type: 'Dangling' }] },
    },
    'flowcontrol.apiserver.k8s.io/prioritylevelconfigurations': {
      body: { spec: { type: 'Limited', limited: { limitResponse: { type: 'Reject' } } } },
      status: { conditions: [{ ...condition, type: 'Tested' }] },
    },
    'internal.apiserver.k8s.io/storageversions': {
      name: (suffix) => `every.example.com.things${suffix}`,
      body: { spec: {} },
      status: {
        storageVersions: [
          { apiServerID: 'server-1', encodingVersion: 'v1', decodableVersions: ['v1'], servedVersions: ['v1'] },
        ],
        commonEncodingVersion: 'v1',
      },
    },
    'storagemigration.k8s.io/storageversionmigrations': {
      body: { spec: { resource: { group: 'apps', resource: 'deployments' } } },
      status: { resourceVersion: '12', conditions: [{ ...condition, type: 'Running' }] },
    },
  };
}

/** The bodies of kinds whose spec names the object itself. */
export function bodyFor(resource: string, name: string, sample: Sample): Readonly<Record<string, unknown>> {
  if (resource === 'apiservices') {
    const [version, ...group] = name.split('.');
    return {
      spec: {
        group: group.join('.'),
        version,
        groupPriorityMinimum: 10,
        versionPriority: 10,
        insecureSkipTLSVerify: true,
        service: { name: 's', namespace: 'every' },
      },
    };
  }
  if (resource === 'customresourcedefinitions') {
    const plural = name.slice(0, name.indexOf('.'));
    return {
      spec: {
        group: 'every.example.com',
        scope: 'Namespaced',
        names: { plural, kind: plural[0]!.toUpperCase() + plural.slice(1, -1) + 'X', listKind: `${plural}List` },
        versions: [
          {
            name: 'v1',
            served: true,
            storage: true,
            schema: { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } },
          },
        ],
      },
    };
  }
  return sample.body;
}

/** What is created and answered, but never stored. */
export const reviews: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  'authentication.k8s.io/selfsubjectreviews': {},
  'authentication.k8s.io/tokenreviews': { spec: { token: 'none' } },
  'authorization.k8s.io/localsubjectaccessreviews': {
    metadata: { namespace: 'every' },
    spec: { user: 'u', resourceAttributes: { namespace: 'every', verb: 'get', resource: 'pods' } },
  },
  'authorization.k8s.io/selfsubjectaccessreviews': { spec: { resourceAttributes: { verb: 'get', resource: 'pods' } } },
  'authorization.k8s.io/selfsubjectrulesreviews': { spec: { namespace: 'every' } },
  'authorization.k8s.io/subjectaccessreviews': {
    spec: { user: 'u', resourceAttributes: { verb: 'get', resource: 'pods' } },
  },
};
