/**
 * What belongs to the cluster's name server: its identity and rights, the `kube-dns` Service, the ConfigMap `coredns` with its Corefile,
 * and the endpoint of a name server that lives in this process.
 */
import type { KubeObject } from '../api/object.ts';
import type { TypedClient } from '../client/typed-client.ts';
import { defaultCorefile } from '../dns/corefile/default.ts';

interface Wanted {
  readonly path: string;
  readonly object: KubeObject;
}

export interface DnsAddonOptions {
  /** The tenth address of the service range. */
  readonly dnsServiceIP: string;
  /** Answered by processes or pods that somebody else starts. */
  readonly processes: boolean;
}

const group = 'rbac.authorization.k8s.io';
const rbac = `/apis/${group}/v1`;
const namespace = 'kube-system';
const subjects = [{ kind: 'ServiceAccount', name: 'coredns', namespace }];
const inProcess = 'kube-dns-knarr';

export function dnsAddons(o: DnsAddonOptions): Wanted[] {
  return [
    {
      path: `/api/v1/namespaces/${namespace}/serviceaccounts`,
      object: { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'coredns', namespace } },
    },
    {
      path: `${rbac}/clusterroles`,
      object: {
        apiVersion: `${group}/v1`,
        kind: 'ClusterRole',
        metadata: { name: 'system:coredns' },
        rules: [
          {
            apiGroups: [''],
            resources: ['endpoints', 'services', 'pods', 'namespaces', 'nodes'],
            verbs: ['list', 'watch', 'get'],
          },
          { apiGroups: ['discovery.k8s.io'], resources: ['endpointslices'], verbs: ['list', 'watch'] },
        ],
      },
    },
    {
      path: `${rbac}/clusterrolebindings`,
      object: {
        apiVersion: `${group}/v1`,
        kind: 'ClusterRoleBinding',
        metadata: { name: 'system:coredns' },
        roleRef: { apiGroup: group, kind: 'ClusterRole', name: 'system:coredns' },
        subjects,
      },
    },
    // As a pod it would be given its Corefile as a file, and endpoints by its labels.
    {
      path: `${rbac}/namespaces/${namespace}/roles`,
      object: {
        apiVersion: `${group}/v1`,
        kind: 'Role',
        metadata: { name: 'system:knarr:coredns', namespace },
        rules: [
          { apiGroups: [''], resources: ['configmaps'], resourceNames: ['coredns'], verbs: ['get', 'list', 'watch'] },
          {
            apiGroups: ['discovery.k8s.io'],
            resources: ['endpointslices'],
            verbs: ['get', 'create', 'patch', 'delete'],
          },
          {
            apiGroups: ['coordination.k8s.io'],
            resources: ['leases'],
            verbs: ['get', 'list', 'create', 'patch', 'delete'],
          },
        ],
      },
    },
    {
      path: `${rbac}/namespaces/${namespace}/rolebindings`,
      object: {
        apiVersion: `${group}/v1`,
        kind: 'RoleBinding',
        metadata: { name: 'system:knarr:coredns', namespace },
        roleRef: { apiGroup: group, kind: 'Role', name: 'system:knarr:coredns' },
        subjects,
      },
    },
    {
      path: `/api/v1/namespaces/${namespace}/configmaps`,
      object: {
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: { name: 'coredns', namespace },
        data: { Corefile: defaultCorefile({ domain: 'cluster.local' }) },
      },
    },
    {
      path: `/api/v1/namespaces/${namespace}/services`,
      object: {
        apiVersion: 'v1',
        kind: 'Service',
        metadata: {
          name: 'kube-dns',
          namespace,
          labels: {
            'k8s-app': 'kube-dns',
            'kubernetes.io/cluster-service': 'true',
            'kubernetes.io/name': 'CoreDNS',
          },
          annotations: { 'prometheus.io/port': '9153', 'prometheus.io/scrape': 'true' },
        },
        spec: {
          clusterIP: o.dnsServiceIP,
          // Answered by a process, not by pods: its EndpointSlice is written by whoever starts it.
          ...(o.processes ? { selector: { 'k8s-app': 'kube-dns' } } : {}),
          ports: [
            { name: 'dns', port: 53, protocol: 'UDP', targetPort: 53 },
            { name: 'dns-tcp', port: 53, protocol: 'TCP', targetPort: 53 },
            { name: 'metrics', port: 9153, protocol: 'TCP', targetPort: 9153 },
          ],
        },
      },
    },
  ];
}

/** Where `kube-dns` leads: the name server of this process. */
export async function announceDns(
  client: TypedClient,
  at: { readonly address: string; readonly port: number; readonly metricsPort?: number | undefined },
): Promise<void> {
  const slice = {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: {
      name: inProcess,
      namespace,
      labels: {
        'kubernetes.io/service-name': 'kube-dns',
        'endpointslice.kubernetes.io/managed-by': 'knarr',
        'k8s-app': 'kube-dns',
      },
    },
    addressType: at.address.includes(':') ? 'IPv6' : 'IPv4',
    endpoints: [{ addresses: [at.address], conditions: { ready: true, serving: true, terminating: false } }],
    ports: [
      { name: 'dns', port: at.port, protocol: 'UDP' },
      { name: 'dns-tcp', port: at.port, protocol: 'TCP' },
      ...(at.metricsPort === undefined ? [] : [{ name: 'metrics', port: at.metricsPort, protocol: 'TCP' }]),
    ],
  };
  await client.discovery.endpointslices.apply(slice, { fieldManager: 'knarr', force: true });
}

/** Takes away what an earlier start with a name server has left: another one has taken its place. */
export async function withdrawDns(client: TypedClient): Promise<void> {
  await client.discovery.endpointslices.deleteCollection({
    namespace,
    fieldSelector: `metadata.name=${inProcess}`,
  });
}
