/** The built-in resources of every served v1 group as `ResourceRef`s, typed by the object they hold. */
import type { KubeObject } from '../api/object.ts';
import type { ResourceRef } from './client.ts';
import type { ResourceTypes } from '../api/types/resources.gen.ts';

/** A `ResourceRef` that knows the type of its objects (at compile time alone) and its kind. */
export interface TypedRef<T extends KubeObject = KubeObject> extends ResourceRef {
  readonly kind: string;
  readonly object?: T;
}

interface Accessors {
  core: '/v1';
  apps: 'apps/v1';
  batch: 'batch/v1';
  autoscaling: 'autoscaling/v2';
  policy: 'policy/v1';
  rbac: 'rbac.authorization.k8s.io/v1';
  networking: 'networking.k8s.io/v1';
  storage: 'storage.k8s.io/v1';
  coordination: 'coordination.k8s.io/v1';
  discovery: 'discovery.k8s.io/v1';
  events: 'events.k8s.io/v1';
  node: 'node.k8s.io/v1';
  scheduling: 'scheduling.k8s.io/v1';
  certificates: 'certificates.k8s.io/v1';
  authentication: 'authentication.k8s.io/v1';
  authorization: 'authorization.k8s.io/v1';
  admissionregistration: 'admissionregistration.k8s.io/v1';
  apiextensions: 'apiextensions.k8s.io/v1';
  apiregistration: 'apiregistration.k8s.io/v1';
  flowcontrol: 'flowcontrol.apiserver.k8s.io/v1';
  dra: 'resource.k8s.io/v1';
}

/** Accessor name → resource name → type of its objects. */
export type ResourceKinds = {
  [A in keyof Accessors]: {
    [K in keyof ResourceTypes as K extends `${Accessors[A]}/${infer R}` ? R : never]: ResourceTypes[K];
  };
};

/** Accessor name → group, version, namespaced kinds, cluster-scoped kinds, as `resource:Kind`. */
const table: Record<keyof ResourceKinds, readonly [string, string, string, string]> = {
  core: [
    '',
    'v1',
    'bindings:Binding configmaps:ConfigMap endpoints:Endpoints events:Event limitranges:LimitRange persistentvolumeclaims:PersistentVolumeClaim pods:Pod podtemplates:PodTemplate replicationcontrollers:ReplicationController resourcequotas:ResourceQuota secrets:Secret serviceaccounts:ServiceAccount services:Service',
    'componentstatuses:ComponentStatus namespaces:Namespace nodes:Node persistentvolumes:PersistentVolume',
  ],
  apps: [
    'apps',
    'v1',
    'controllerrevisions:ControllerRevision daemonsets:DaemonSet deployments:Deployment replicasets:ReplicaSet statefulsets:StatefulSet',
    '',
  ],
  batch: ['batch', 'v1', 'cronjobs:CronJob jobs:Job', ''],
  autoscaling: ['autoscaling', 'v2', 'horizontalpodautoscalers:HorizontalPodAutoscaler', ''],
  policy: ['policy', 'v1', 'poddisruptionbudgets:PodDisruptionBudget', ''],
  rbac: [
    'rbac.authorization.k8s.io',
    'v1',
    'rolebindings:RoleBinding roles:Role',
    'clusterrolebindings:ClusterRoleBinding clusterroles:ClusterRole',
  ],
  networking: [
    'networking.k8s.io',
    'v1',
    'ingresses:Ingress networkpolicies:NetworkPolicy',
    'ingressclasses:IngressClass ipaddresses:IPAddress servicecidrs:ServiceCIDR',
  ],
  storage: [
    'storage.k8s.io',
    'v1',
    'csistoragecapacities:CSIStorageCapacity',
    'csidrivers:CSIDriver csinodes:CSINode storageclasses:StorageClass volumeattachments:VolumeAttachment volumeattributesclasses:VolumeAttributesClass',
  ],
  coordination: ['coordination.k8s.io', 'v1', 'leases:Lease', ''],
  discovery: ['discovery.k8s.io', 'v1', 'endpointslices:EndpointSlice', ''],
  events: ['events.k8s.io', 'v1', 'events:Event', ''],
  node: ['node.k8s.io', 'v1', '', 'runtimeclasses:RuntimeClass'],
  scheduling: ['scheduling.k8s.io', 'v1', '', 'priorityclasses:PriorityClass'],
  certificates: ['certificates.k8s.io', 'v1', '', 'certificatesigningrequests:CertificateSigningRequest'],
  authentication: ['authentication.k8s.io', 'v1', '', 'selfsubjectreviews:SelfSubjectReview tokenreviews:TokenReview'],
  authorization: [
    'authorization.k8s.io',
    'v1',
    'localsubjectaccessreviews:LocalSubjectAccessReview',
    'selfsubjectaccessreviews:SelfSubjectAccessReview selfsubjectrulesreviews:SelfSubjectRulesReview subjectaccessreviews:SubjectAccessReview',
  ],
  admissionregistration: [
    'admissionregistration.k8s.io',
    'v1',
    '',
    'mutatingadmissionpolicies:MutatingAdmissionPolicy mutatingadmissionpolicybindings:MutatingAdmissionPolicyBinding mutatingwebhookconfigurations:MutatingWebhookConfiguration validatingadmissionpolicies:ValidatingAdmissionPolicy validatingadmissionpolicybindings:ValidatingAdmissionPolicyBinding validatingwebhookconfigurations:ValidatingWebhookConfiguration',
  ],
  apiextensions: ['apiextensions.k8s.io', 'v1', '', 'customresourcedefinitions:CustomResourceDefinition'],
  apiregistration: ['apiregistration.k8s.io', 'v1', '', 'apiservices:APIService'],
  flowcontrol: [
    'flowcontrol.apiserver.k8s.io',
    'v1',
    '',
    'flowschemas:FlowSchema prioritylevelconfigurations:PriorityLevelConfiguration',
  ],
  dra: [
    'resource.k8s.io',
    'v1',
    'resourceclaims:ResourceClaim resourceclaimtemplates:ResourceClaimTemplate',
    'deviceclasses:DeviceClass resourceslices:ResourceSlice',
  ],
};

/** `resources.core.pods`, `resources.apps.deployments`, …: refs that carry their object's type. */
export type Resources = {
  readonly [G in keyof ResourceKinds]: {
    readonly [R in keyof ResourceKinds[G]]: ResourceKinds[G][R] extends KubeObject
      ? TypedRef<ResourceKinds[G][R]>
      : never;
  };
};

function build(): Resources {
  const out: Record<string, Record<string, TypedRef>> = {};
  for (const [accessor, [group, version, namespaced, cluster]] of Object.entries(table)) {
    const refs: Record<string, TypedRef> = {};
    for (const [list, isNamespaced] of [
      [namespaced, true],
      [cluster, false],
    ] as const) {
      for (const pair of list === '' ? [] : list.split(' ')) {
        const [resource, kind] = pair.split(':') as [string, string];
        refs[resource] = Object.freeze({ group, version, resource, namespaced: isNamespaced, kind });
      }
    }
    out[accessor] = Object.freeze(refs);
  }
  return Object.freeze(out) as unknown as Resources;
}

/** Constant data: the table above, expanded. */
export const resources: Resources = build();
