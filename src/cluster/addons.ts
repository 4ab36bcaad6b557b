/**
 * What an installer adds to a bare control plane so that it is a cluster people know: the administrators' role binding, the
 * `kube-dns` Service, `cluster-info`, roles of components that upstream's bootstrap policy leaves to installers (kubeadm).
 */
import type { KubeObject } from '../api/object.ts';
import { StatusError } from '../api/status.ts';
import type { TypedClient } from '../client/typed-client.ts';
import { localPathClass, localPathRules } from './storage/local-path-provisioner.ts';
import { metricsAddons } from './metrics-server/metrics-addons.ts';
import { dnsAddons } from './dns-addons.ts';
import { networkPolicyRules } from '../proxy/policy/network-policy.ts';

export interface AddonOptions {
  /** Address of the `kube-dns` Service: the tenth of the range. */
  readonly dnsServiceIP: string;
  readonly dns: boolean;
  /** The default StorageClass and what its provisioner may do. */
  readonly localPath?: boolean;
  /** metrics.k8s.io, and who may read it; with what reading kubelets over the network takes. */
  readonly metrics?: 'simulated' | 'scraped' | undefined;
  /** PEM; published in ConfigMap cluster-info. */
  readonly certificateAuthority: string | undefined;
  readonly server: string | undefined;
  /** What machines that join are told: ranges of all pods, and whether a cloud-controller-manager initialises nodes. */
  readonly nodes?: {
    readonly clusterCIDR: string;
    readonly externalCloud: boolean;
    readonly overlay?: string;
    /** Comma-separated. */
    readonly loadBalancerPool?: string;
  };
  /** Components run as processes of their own. */
  readonly processes?: boolean;
}

interface Wanted {
  readonly path: string;
  readonly object: KubeObject;
}

const rbac = 'rbac.authorization.k8s.io';

function clusterRoleBinding(name: string, role: string, subject: Record<string, string>): Wanted {
  return {
    path: `/apis/${rbac}/v1/clusterrolebindings`,
    object: {
      apiVersion: `${rbac}/v1`,
      kind: 'ClusterRoleBinding',
      metadata: { name },
      roleRef: { apiGroup: rbac, kind: 'ClusterRole', name: role },
      subjects: [subject],
    },
  };
}

function clusterRole(name: string, rules: readonly unknown[]): Wanted {
  return {
    path: `/apis/${rbac}/v1/clusterroles`,
    object: { apiVersion: `${rbac}/v1`, kind: 'ClusterRole', metadata: { name }, rules },
  };
}

function serviceAccount(name: string): Wanted {
  return {
    path: '/api/v1/namespaces/kube-system/serviceaccounts',
    object: { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name, namespace: 'kube-system' } },
  };
}

const account = (name: string): Record<string, string> => ({ kind: 'ServiceAccount', name, namespace: 'kube-system' });

/** The cloud controllers' rules are an installer's matter upstream, too. */
const cloudRules = [
  { apiGroups: [''], resources: ['events'], verbs: ['create', 'patch', 'update'] },
  { apiGroups: ['events.k8s.io'], resources: ['events'], verbs: ['create', 'patch', 'update'] },
  { apiGroups: [''], resources: ['nodes'], verbs: ['get', 'list', 'watch', 'patch', 'update', 'delete'] },
  { apiGroups: [''], resources: ['nodes/status'], verbs: ['patch', 'update'] },
  { apiGroups: [''], resources: ['services'], verbs: ['get', 'list', 'watch', 'patch', 'update'] },
  { apiGroups: [''], resources: ['services/status'], verbs: ['patch', 'update'] },
  { apiGroups: [''], resources: ['pods', 'endpoints'], verbs: ['get', 'list', 'watch'] },
  {
    apiGroups: ['coordination.k8s.io'],
    resources: ['leases'],
    verbs: ['get', 'list', 'watch', 'create', 'update', 'patch'],
  },
];

/** The group of the tokens that machines join with (kubeadm's). */
export const nodeTokenGroup = 'system:bootstrappers:kubeadm:default-node-token';

/** The ConfigMap of kube-public that tells machines what the nodes of this cluster share. */
export const nodeFactsName = 'knarr-nodes';

/** What lets a machine join with a bootstrap token: reading cluster-info, asking for a kubelet's certificate, and getting it. */
function joiningRules(): Wanted[] {
  const group = (name: string): Record<string, string> => ({ apiGroup: rbac, kind: 'Group', name });
  const joiners = group(nodeTokenGroup);
  const csr = 'system:certificates.k8s.io:certificatesigningrequests';
  const clusterInfo = 'kubeadm:bootstrap-signer-clusterinfo';
  const publicNamespace = `/apis/${rbac}/v1/namespaces/kube-public`;
  return [
    clusterRoleBinding('kubeadm:kubelet-bootstrap', 'system:node-bootstrapper', joiners),
    clusterRoleBinding('kubeadm:node-autoapprove-bootstrap', `${csr}:nodeclient`, joiners),
    clusterRoleBinding('kubeadm:node-autoapprove-certificate-rotation', `${csr}:selfnodeclient`, group('system:nodes')),
    // A machine that joined has one identity, its kubelet's; its proxy works with that.
    clusterRoleBinding('knarr:node-proxier', 'system:node-proxier', group('system:nodes')),
    clusterRole('knarr:node-local-path', [
      { apiGroups: [''], resources: ['persistentvolumes'], verbs: ['get', 'list', 'watch'] },
    ]),
    clusterRoleBinding('knarr:node-local-path', 'knarr:node-local-path', group('system:nodes')),
    // Of pods that are not theirs nodes are shown labels, addresses and ports alone.
    clusterRoleBinding('knarr:node-network-policy', 'system:knarr:network-policy', group('system:nodes')),
    clusterRole('kubeadm:get-nodes', [{ apiGroups: [''], resources: ['nodes'], verbs: ['get'] }]),
    clusterRoleBinding('kubeadm:get-nodes', 'kubeadm:get-nodes', joiners),
    {
      path: `${publicNamespace}/roles`,
      object: {
        apiVersion: `${rbac}/v1`,
        kind: 'Role',
        metadata: { name: 'knarr:nodes', namespace: 'kube-public' },
        rules: [{ apiGroups: [''], resources: ['configmaps'], resourceNames: [nodeFactsName], verbs: ['get'] }],
      },
    },
    {
      path: `${publicNamespace}/rolebindings`,
      object: {
        apiVersion: `${rbac}/v1`,
        kind: 'RoleBinding',
        metadata: { name: 'knarr:nodes', namespace: 'kube-public' },
        roleRef: { apiGroup: rbac, kind: 'Role', name: 'knarr:nodes' },
        subjects: [joiners, group('system:nodes')],
      },
    },
    {
      path: `${publicNamespace}/roles`,
      object: {
        apiVersion: `${rbac}/v1`,
        kind: 'Role',
        metadata: { name: clusterInfo, namespace: 'kube-public' },
        rules: [{ apiGroups: [''], resources: ['configmaps'], resourceNames: ['cluster-info'], verbs: ['get'] }],
      },
    },
    {
      path: `${publicNamespace}/rolebindings`,
      object: {
        apiVersion: `${rbac}/v1`,
        kind: 'RoleBinding',
        metadata: { name: clusterInfo, namespace: 'kube-public' },
        roleRef: { apiGroup: rbac, kind: 'Role', name: clusterInfo },
        subjects: [{ apiGroup: rbac, kind: 'User', name: 'system:anonymous' }],
      },
    },
  ];
}

function wanted(options: AddonOptions): Wanted[] {
  const list: Wanted[] = [
    serviceAccount('cloud-controller-manager'),
    clusterRole('system:cloud-controller-manager', cloudRules),
    clusterRoleBinding(
      'system:cloud-controller-manager',
      'system:cloud-controller-manager',
      account('cloud-controller-manager'),
    ),
  ];
  // Upstream's role of kube-proxy knows nothing of policies, which are enforced by the same process here.
  list.push(
    clusterRole('system:knarr:network-policy', networkPolicyRules),
    clusterRoleBinding('system:knarr:network-policy', 'system:knarr:network-policy', {
      apiGroup: rbac,
      kind: 'User',
      name: 'system:kube-proxy',
    }),
  );
  if (options.dns)
    list.push(...dnsAddons({ dnsServiceIP: options.dnsServiceIP, processes: options.processes === true }));
  if (options.localPath === true)
    list.push(
      serviceAccount('local-path-provisioner'),
      clusterRole('system:knarr:local-path-provisioner', localPathRules),
      clusterRoleBinding(
        'system:knarr:local-path-provisioner',
        'system:knarr:local-path-provisioner',
        account('local-path-provisioner'),
      ),
      { path: '/apis/storage.k8s.io/v1/storageclasses', object: localPathClass() },
    );
  if (options.metrics !== undefined) list.push(...metricsAddons(options.metrics === 'scraped'));
  if (options.certificateAuthority !== undefined && options.server !== undefined) {
    const kubeconfig = [
      'apiVersion: v1',
      'clusters:',
      '- cluster:',
      `    certificate-authority-data: ${Buffer.from(options.certificateAuthority).toString('base64')}`,
      `    server: ${options.server}`,
      '  name: ""',
      'contexts: null',
      'current-context: ""',
      'kind: Config',
      'preferences: {}',
      'users: null',
      '',
    ].join('\n');
    list.push(...joiningRules(), {
      path: '/api/v1/namespaces/kube-public/configmaps',
      object: {
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: { name: 'cluster-info', namespace: 'kube-public' },
        data: { kubeconfig },
      },
    });
    if (options.nodes !== undefined)
      list.push({
        path: '/api/v1/namespaces/kube-public/configmaps',
        object: {
          apiVersion: 'v1',
          kind: 'ConfigMap',
          metadata: { name: nodeFactsName, namespace: 'kube-public' },
          data: {
            clusterCIDR: options.nodes.clusterCIDR,
            dns: options.dns ? options.dnsServiceIP : '',
            externalCloud: String(options.nodes.externalCloud),
            overlay: options.nodes.overlay ?? 'auto',
            loadBalancerPool: options.nodes.loadBalancerPool ?? '',
          },
        },
      });
  }
  return list;
}

/** The service accounts under which the cloud controllers act with `--use-service-account-credentials`. */
const cloudAccounts = ['node-controller', 'service-controller', 'route-controller'];

function roleBinding(name: string, role: string, subject: Record<string, string>): Wanted {
  return {
    path: `/apis/${rbac}/v1/namespaces/kube-system/rolebindings`,
    object: {
      apiVersion: `${rbac}/v1`,
      kind: 'RoleBinding',
      metadata: { name, namespace: 'kube-system' },
      roleRef: { apiGroup: rbac, kind: 'Role', name: role },
      subjects: [subject],
    },
  };
}

/** What cloud-controller-manager needs besides as a process of its own: to ask who calls it, and tokens of its controllers. */
function wantedOfProcesses(): Wanted[] {
  const manager = account('cloud-controller-manager');
  return [
    ...cloudAccounts.map(serviceAccount),
    clusterRoleBinding('system:cloud-controller-manager:auth-delegator', 'system:auth-delegator', manager),
    roleBinding(
      'system:cloud-controller-manager:authentication-reader',
      'extension-apiserver-authentication-reader',
      manager,
    ),
    {
      path: `/apis/${rbac}/v1/namespaces/kube-system/roles`,
      object: {
        apiVersion: `${rbac}/v1`,
        kind: 'Role',
        metadata: { name: 'system:cloud-controller-manager:tokens', namespace: 'kube-system' },
        rules: [
          { apiGroups: [''], resources: ['serviceaccounts/token'], resourceNames: cloudAccounts, verbs: ['create'] },
        ],
      },
    },
    roleBinding('system:cloud-controller-manager:tokens', 'system:cloud-controller-manager:tokens', manager),
  ];
}

/** Creates what is missing; what is there stays as it is. The client must be allowed to bind cluster-admin. */
export async function installAddons(client: TypedClient, options: AddonOptions): Promise<void> {
  await Promise.all(
    [...wanted(options), ...(options.processes === true ? wantedOfProcesses() : [])].map(async ({ path, object }) => {
      try {
        await client.raw('POST', path, { body: object });
      } catch (e) {
        if (e instanceof StatusError && e.reason === 'AlreadyExists') return;
        // A Service that is there already is refused for its address, which is taken: by itself. Webhooks may refuse anything.
        if (e instanceof StatusError && (await exists(client, `${path}/${object.metadata.name}`))) return;
        throw new Error(`installing ${path}/${object.metadata.name} failed`, { cause: e });
      }
    }),
  );
}

async function exists(client: TypedClient, path: string): Promise<boolean> {
  try {
    await client.raw('GET', path);
    return true;
  } catch (e) {
    if (e instanceof StatusError && e.code === 404) return false;
    throw e;
  }
}

/** The one binding that makes administrators of the group that the administrator's certificate names (kubeadm's). */
export async function bindAdministrators(client: TypedClient): Promise<void> {
  const { path, object } = clusterRoleBinding('kubeadm:cluster-admins', 'cluster-admin', {
    apiGroup: rbac,
    kind: 'Group',
    name: 'kubeadm:cluster-admins',
  });
  try {
    await client.raw('POST', path, { body: object });
  } catch (e) {
    if (!(e instanceof StatusError)) throw e;
    if (e.reason !== 'AlreadyExists' && !(await exists(client, `${path}/${object.metadata.name}`))) throw e;
  }
}
