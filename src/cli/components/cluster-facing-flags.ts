/** Flags of the API server about the cluster around it: pods, kubelets, its own Service and name. */
import type { ClusterFacingFlags } from '../../cluster/processes/cluster-facing.ts';
import type { Flag } from '../flags.ts';
import type { Values } from './component.ts';

export const clusterFacingFlags: readonly Flag[] = [
  { name: 'allow-privileged', kind: 'bool', default: false, help: 'pods may have privileged containers' },
  {
    name: 'default-not-ready-toleration-seconds',
    kind: 'int',
    default: 300,
    help: 'how long pods that do not say stay on a node that is not ready',
  },
  {
    name: 'default-unreachable-toleration-seconds',
    kind: 'int',
    default: 300,
    help: 'the same for one that is unreachable',
  },
  {
    name: 'kubelet-preferred-address-types',
    kind: 'list',
    value: 'TYPE,…',
    default: ['InternalIP', 'ExternalIP', 'Hostname'],
    help: 'addresses of nodes at which kubelets are asked, the best first',
  },
  {
    name: 'kubelet-timeout',
    kind: 'duration',
    help: 'how long connecting to a kubelet may take (default 30s)',
  },
  {
    name: 'max-connection-bytes-per-sec',
    kind: 'int',
    default: 0,
    help: 'bytes a second that a connection to a node or pod carries, each way; 0: no limit',
  },
  {
    name: 'kubernetes-service-node-port',
    kind: 'int',
    default: 0,
    help: 'node port of the kubernetes Service; 0: it has none',
  },
  {
    name: 'endpoint-reconciler-type',
    kind: 'string',
    value: 'lease|master-count|none',
    default: 'lease',
    help: 'who keeps the addresses behind the kubernetes Service: all servers of the same etcd (lease), as many as --apiserver-count says (master-count), somebody else (none)',
  },
  {
    name: 'apiserver-count',
    kind: 'int',
    default: 1,
    help: 'how many API servers there are, for --endpoint-reconciler-type=master-count',
  },
  {
    name: 'external-hostname',
    kind: 'string',
    value: 'NAME',
    help: 'what clients are told that this server is called (default: the advertised address)',
  },
];

export function clusterFacingValues(v: Values): ClusterFacingFlags {
  return {
    allowPrivileged: v.bool('allow-privileged'),
    notReadyTolerationSeconds: v.int('default-not-ready-toleration-seconds'),
    unreachableTolerationSeconds: v.int('default-unreachable-toleration-seconds'),
    kubeletAddressTypes: v.list('kubelet-preferred-address-types'),
    kubeletTimeoutMs: v.maybe('kubelet-timeout'),
    connectionBytesPerSecond: v.int('max-connection-bytes-per-sec'),
    kubernetesNodePort: v.int('kubernetes-service-node-port'),
    endpointReconciler: v.text('endpoint-reconciler-type'),
    apiServerCount: v.int('apiserver-count'),
    externalHostname: v.string('external-hostname'),
  };
}
