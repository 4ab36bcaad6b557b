/** The objects that every cluster has from its first start, beside RBAC: namespaces, priority classes, flow control. */
import { defaultRequestHeaders, type RequestHeaderOptions } from '../authentication/request-header.ts';
import type { KubeObject } from '../../api/object.ts';
import flowControlJson from './flow-control.json' with { type: 'json' };

const flowControl = flowControlJson as unknown as Readonly<
  Record<
    'flowSchemas' | 'priorityLevelConfigurations',
    readonly { readonly name: string; readonly mandatory: boolean; readonly spec: Record<string, unknown> }[]
  >
>;

export interface BootstrapObject {
  readonly group: string;
  readonly resource: string;
  readonly object: KubeObject;
}

export const systemNamespaces: readonly string[] = ['default', 'kube-system', 'kube-public', 'kube-node-lease'];

export function namespaceObjects(): BootstrapObject[] {
  return systemNamespaces.map((name) => ({
    group: '',
    resource: 'namespaces',
    object: {
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name, labels: { 'kubernetes.io/metadata.name': name } },
      spec: { finalizers: ['kubernetes'] },
      status: { phase: 'Active' },
    },
  }));
}

export function priorityClassObjects(): BootstrapObject[] {
  const make = (name: string, value: number, description: string): BootstrapObject => ({
    group: 'scheduling.k8s.io',
    resource: 'priorityclasses',
    object: {
      apiVersion: 'scheduling.k8s.io/v1',
      kind: 'PriorityClass',
      metadata: { name },
      value,
      description,
      preemptionPolicy: 'PreemptLowerPriority',
    },
  });
  return [
    make(
      'system-node-critical',
      2_000_001_000,
      'Used for system critical pods that must not be moved from their current node.',
    ),
    make(
      'system-cluster-critical',
      2_000_000_000,
      'Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.',
    ),
  ];
}

/** The spec that one of the mandatory objects has for ever; undefined for those that anybody may change. */
export function mandatoryFlowControl(
  kind: 'flowSchemas' | 'priorityLevelConfigurations',
  name: string,
): Readonly<Record<string, unknown>> | undefined {
  return flowControl[kind].find((o) => o.mandatory && o.name === name)?.spec;
}

export interface AuthenticationFiles {
  /** PEM of the CA that signs client certificates (`--client-ca-file`). */
  readonly clientCa?: string;
  /** PEM of the front proxy's CA (`--requestheader-client-ca-file`). */
  readonly requestHeaderCa?: string;
  readonly requestHeader?: RequestHeaderOptions;
}

/** What aggregated API servers need to authenticate callers as we do. */
export function authenticationConfigMap(files: AuthenticationFiles): BootstrapObject {
  const data: Record<string, string> = {};
  if (files.clientCa !== undefined) data['client-ca-file'] = files.clientCa;
  if (files.requestHeaderCa !== undefined) {
    const headers = files.requestHeader ?? defaultRequestHeaders;
    data['requestheader-allowed-names'] = JSON.stringify(headers.allowedNames);
    data['requestheader-client-ca-file'] = files.requestHeaderCa;
    data['requestheader-extra-headers-prefix'] = JSON.stringify(headers.extraHeaderPrefixes);
    data['requestheader-group-headers'] = JSON.stringify(headers.groupHeaders);
    if (headers.uidHeaders.length > 0) data['requestheader-uid-headers'] = JSON.stringify(headers.uidHeaders);
    data['requestheader-username-headers'] = JSON.stringify(headers.usernameHeaders);
  }
  return {
    group: '',
    resource: 'configmaps',
    object: {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'extension-apiserver-authentication', namespace: 'kube-system' },
      data,
    },
  };
}

export interface AdvertisedAddress {
  /** IP that clients inside the cluster reach the API server at. */
  readonly address: string;
  readonly port: number;
  /** First address of the service range. */
  readonly serviceIp: string;
  /** `--kubernetes-service-node-port` */
  readonly nodePort?: number;
  /** Of all the servers there are, where there may be several. */
  readonly addresses?: readonly string[];
}

/** `default/kubernetes`, with its Endpoints and EndpointSlice. */
export function kubernetesServiceObjects(a: AdvertisedAddress): BootstrapObject[] {
  const metadata = { name: 'kubernetes', namespace: 'default' };
  const ipv6 = a.address.includes(':');
  const addresses = a.addresses ?? [a.address];
  return [
    {
      group: '',
      resource: 'services',
      object: {
        apiVersion: 'v1',
        kind: 'Service',
        metadata: { ...metadata, labels: { component: 'apiserver', provider: 'kubernetes' } },
        spec: {
          clusterIP: a.serviceIp,
          clusterIPs: [a.serviceIp],
          internalTrafficPolicy: 'Cluster',
          ipFamilies: [a.serviceIp.includes(':') ? 'IPv6' : 'IPv4'],
          ipFamilyPolicy: 'SingleStack',
          ports: [
            {
              name: 'https',
              port: 443,
              protocol: 'TCP',
              targetPort: a.port,
              ...(a.nodePort === undefined ? {} : { nodePort: a.nodePort }),
            },
          ],
          sessionAffinity: 'None',
          ...(a.nodePort === undefined
            ? { type: 'ClusterIP' }
            : { type: 'NodePort', externalTrafficPolicy: 'Cluster' }),
        },
      },
    },
    {
      group: '',
      resource: 'endpoints',
      object: {
        apiVersion: 'v1',
        kind: 'Endpoints',
        metadata: { ...metadata, labels: { 'endpointslice.kubernetes.io/skip-mirror': 'true' } },
        subsets: [
          { addresses: addresses.map((ip) => ({ ip })), ports: [{ name: 'https', port: a.port, protocol: 'TCP' }] },
        ],
      },
    },
    {
      group: 'discovery.k8s.io',
      resource: 'endpointslices',
      object: {
        apiVersion: 'discovery.k8s.io/v1',
        kind: 'EndpointSlice',
        metadata: { ...metadata, labels: { 'kubernetes.io/service-name': 'kubernetes' } },
        addressType: ipv6 ? 'IPv6' : 'IPv4',
        endpoints: addresses.map((address) => ({ addresses: [address], conditions: { ready: true } })),
        ports: [{ name: 'https', port: a.port, protocol: 'TCP' }],
      },
    },
  ];
}

/** The default ServiceCIDR, `kubernetes`. */
export function serviceCidrObject(cidrs: readonly string[]): BootstrapObject {
  return {
    group: 'networking.k8s.io',
    resource: 'servicecidrs',
    object: {
      apiVersion: 'networking.k8s.io/v1',
      kind: 'ServiceCIDR',
      metadata: { name: 'kubernetes' },
      spec: { cidrs: [...cidrs] },
    },
  };
}
