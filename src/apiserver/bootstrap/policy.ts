/** The default RBAC objects of release 1.36, unfolded from the compact table beside this file. */
import type { FeatureGateName, FeatureGates } from '../../api/features/feature-gates.ts';
import type { KubeObject } from '../../api/object.ts';
import type { PolicyRule } from '../authorization/rule.ts';
import policyJson from './rbac-policy.json' with { type: 'json' };

interface CompactRule {
  readonly verbs: string;
  /** Comma-separated; the core group is empty. */
  readonly groups?: string;
  readonly resources?: string;
  readonly names?: string;
  readonly urls?: string;
}

interface CompactRole {
  readonly name: string;
  readonly namespace?: string;
  readonly labels?: Readonly<Record<string, string>>;
  /** Label keys (value "true") of the roles it is aggregated of. */
  readonly aggregate?: readonly string[];
  readonly rules?: readonly CompactRule[];
}

interface CompactBinding {
  readonly name: string;
  readonly namespace?: string;
  /** `ClusterRole/name` */
  readonly role: string;
  /** `Group/name`, `User/name`, `ServiceAccount/namespace/name` */
  readonly subjects: readonly string[];
}

const policy = policyJson as unknown as {
  readonly clusterRoles: readonly CompactRole[];
  readonly clusterRoleBindings: readonly CompactBinding[];
  readonly roles: readonly CompactRole[];
  readonly roleBindings: readonly CompactBinding[];
};

/** What of the policy is there only with a feature that is off by default. */
interface Gated {
  readonly gate: FeatureGateName;
  readonly clusterRoles: readonly CompactRole[];
  readonly clusterRoleBindings: readonly CompactBinding[];
  /** More rules of `system:node`. */
  readonly nodeRules: readonly CompactRule[];
}

const certificates = 'certificates.k8s.io';

function controllerBinding(name: string): CompactBinding {
  return {
    name: `system:controller:${name}`,
    role: `ClusterRole/system:controller:${name}`,
    subjects: [`ServiceAccount/kube-system/${name}`],
  };
}

const gated: readonly Gated[] = [
  {
    gate: 'ClusterTrustBundle',
    clusterRoles: [
      {
        name: 'system:cluster-trust-bundle-discovery',
        rules: [{ verbs: 'get,list,watch', groups: certificates, resources: 'clustertrustbundles' }],
      },
      {
        name: 'system:controller:kube-apiserver-serving-clustertrustbundle-publisher',
        rules: [
          {
            verbs: 'attest',
            groups: certificates,
            resources: 'signers',
            names: 'kubernetes.io/kube-apiserver-serving',
          },
          { verbs: 'create,delete,list,update,watch', groups: certificates, resources: 'clustertrustbundles' },
          { verbs: 'create,patch,update', groups: ',events.k8s.io', resources: 'events' },
        ],
      },
    ],
    clusterRoleBindings: [
      {
        name: 'system:cluster-trust-bundle-discovery',
        role: 'ClusterRole/system:cluster-trust-bundle-discovery',
        subjects: ['Group/system:serviceaccounts'],
      },
      controllerBinding('kube-apiserver-serving-clustertrustbundle-publisher'),
    ],
    nodeRules: [{ verbs: 'get,list,watch', groups: certificates, resources: 'clustertrustbundles' }],
  },
  {
    gate: 'PodCertificateRequest',
    clusterRoles: [
      {
        name: 'system:controller:podcertificaterequestcleaner',
        rules: [{ verbs: 'delete,get,list,watch', groups: certificates, resources: 'podcertificaterequests' }],
      },
    ],
    clusterRoleBindings: [controllerBinding('podcertificaterequestcleaner')],
    nodeRules: [{ verbs: 'create,get,list,watch', groups: certificates, resources: 'podcertificaterequests' }],
  },
  {
    gate: 'StorageVersionMigrator',
    clusterRoles: [
      {
        name: 'system:controller:storage-version-migrator-controller',
        rules: [
          { verbs: 'create,list,patch', groups: '*', resources: '*' },
          { verbs: 'get', groups: 'apiextensions.k8s.io', resources: 'customresourcedefinitions' },
          { verbs: 'patch', groups: 'apiextensions.k8s.io', resources: 'customresourcedefinitions/status' },
          { verbs: 'update', groups: 'storagemigration.k8s.io', resources: 'storageversionmigrations/status' },
        ],
      },
    ],
    clusterRoleBindings: [controllerBinding('storage-version-migrator-controller')],
    nodeRules: [],
  },
];

const apiVersion = 'rbac.authorization.k8s.io/v1';
const apiGroup = 'rbac.authorization.k8s.io';

function split(list: string): string[] {
  return list.split(',');
}

function rule(compact: CompactRule): PolicyRule {
  const out: Record<string, string[]> = { verbs: split(compact.verbs) };
  if (compact.groups !== undefined) out['apiGroups'] = split(compact.groups);
  if (compact.resources !== undefined) out['resources'] = split(compact.resources);
  if (compact.names !== undefined) out['resourceNames'] = split(compact.names);
  if (compact.urls !== undefined) out['nonResourceURLs'] = split(compact.urls);
  return out as unknown as PolicyRule;
}

function metadata(
  o: { readonly name: string; readonly namespace?: string },
  labels: Readonly<Record<string, string>> = {},
): KubeObject['metadata'] {
  return {
    name: o.name,
    ...(o.namespace === undefined ? {} : { namespace: o.namespace }),
    labels: { 'kubernetes.io/bootstrapping': 'rbac-defaults', ...labels },
    annotations: { 'rbac.authorization.kubernetes.io/autoupdate': 'true' },
  };
}

function role(kind: string, compact: CompactRole): KubeObject {
  return {
    apiVersion,
    kind,
    metadata: metadata(compact, compact.labels),
    rules: compact.rules === undefined ? null : compact.rules.map(rule),
    ...(compact.aggregate === undefined
      ? {}
      : {
          aggregationRule: {
            clusterRoleSelectors: compact.aggregate.map((key) => ({ matchLabels: { [key]: 'true' } })),
          },
        }),
  };
}

function subject(text: string): Record<string, string> {
  const [kind, first, second] = text.split('/') as [string, string, string | undefined];
  if (kind === 'ServiceAccount') return { kind, name: second!, namespace: first };
  return { apiGroup, kind, name: text.slice(kind.length + 1) };
}

function binding(kind: string, compact: CompactBinding): KubeObject {
  const [roleKind] = compact.role.split('/', 1);
  return {
    apiVersion,
    kind,
    metadata: metadata(compact),
    roleRef: { apiGroup, kind: roleKind, name: compact.role.slice(roleKind!.length + 1) },
    ...(compact.subjects.length === 0 ? {} : { subjects: compact.subjects.map(subject) }),
  };
}

export interface PolicyObject {
  readonly resource: 'clusterroles' | 'clusterrolebindings' | 'roles' | 'rolebindings';
  readonly object: KubeObject;
}

/** Every default role and binding, fresh objects. */
export function policyObjects(features: FeatureGates): PolicyObject[] {
  const on = gated.filter((g) => features.enabled(g.gate));
  const more = on.flatMap((g) => g.nodeRules);
  const clusterRoles = policy.clusterRoles.map((r) =>
    r.name === nodeRole && more.length > 0 ? { ...r, rules: [...(r.rules ?? []), ...more] } : r,
  );
  return [
    ...[...clusterRoles, ...on.flatMap((g) => g.clusterRoles)].map((r) => ({
      resource: 'clusterroles' as const,
      object: role('ClusterRole', r),
    })),
    ...[...policy.clusterRoleBindings, ...on.flatMap((g) => g.clusterRoleBindings)].map((b) => ({
      resource: 'clusterrolebindings' as const,
      object: binding('ClusterRoleBinding', b),
    })),
    ...policy.roles.map((r) => ({ resource: 'roles' as const, object: role('Role', r) })),
    ...policy.roleBindings.map((b) => ({ resource: 'rolebindings' as const, object: binding('RoleBinding', b) })),
  ];
}

const nodeRole = 'system:node';

/** Rules of the ClusterRole `system:node`, which the Node authorizer applies to every kubelet. */
export function nodeRules(features: FeatureGates): PolicyRule[] {
  const more = gated.filter((g) => features.enabled(g.gate)).flatMap((g) => g.nodeRules);
  return [...(policy.clusterRoles.find((r) => r.name === nodeRole)?.rules ?? []), ...more].map(rule);
}
