/** Conditional defaults of the core group. */
import { defaultPullPolicy } from '../../helpers/image-name.ts';
import { isEmpty, isUnset, listOf, setIfEmpty, setIfUnset, struct, structOf } from './hook.ts';
import type { Draft, Hook } from './hook.ts';
import { defaultHugePageLimits, defaultPodRequests } from './pod-resources.ts';

const core = 'io.k8s.api.core.v1.';

const container: Hook = (draft) => {
  const image = draft['image'];
  if (isEmpty(draft['imagePullPolicy']))
    draft['imagePullPolicy'] = defaultPullPolicy(typeof image === 'string' ? image : '');
};

const imageVolume: Hook = (draft) => {
  const reference = draft['reference'];
  if (isEmpty(draft['pullPolicy']))
    draft['pullPolicy'] = defaultPullPolicy(typeof reference === 'string' ? reference : '');
};

/** Requests that are not given are the limits; in Pods alone, not in pod templates. */
function requestsFromLimits(c: Draft): void {
  const limits = structOf(structOf(c, 'resources'), 'limits');
  if (limits === undefined) return;
  const requests = struct(struct(c, 'resources'), 'requests');
  for (const [name, quantity] of Object.entries(limits)) setIfUnset(requests, name, quantity);
}

const pod: Hook = (draft) => {
  const spec = struct(draft, 'spec');
  const containers = [...listOf(spec, 'containers'), ...listOf(spec, 'initContainers')];
  for (const c of containers) requestsFromLimits(c);
  if (!isUnset(spec['resources'])) {
    defaultHugePageLimits(spec);
    defaultPodRequests(spec);
  }
  setIfUnset(spec, 'enableServiceLinks', true);
  if (spec['hostNetwork'] === true) {
    for (const c of containers) {
      for (const port of listOf(c, 'ports')) setIfEmpty(port, 'hostPort', port['containerPort']);
    }
  }
};

/** Members of Volume that are not its source. */
const volume: Hook = (draft) => {
  for (const key in draft) {
    if (key !== 'name' && !isUnset(draft[key])) return;
  }
  draft['emptyDir'] = {};
};

const service: Hook = (draft) => {
  const spec = struct(draft, 'spec');
  setIfEmpty(spec, 'sessionAffinity', 'None');
  if (spec['sessionAffinity'] === 'None') delete spec['sessionAffinityConfig'];
  if (spec['sessionAffinity'] === 'ClientIP') {
    const timeout = structOf(structOf(spec, 'sessionAffinityConfig'), 'clientIP')?.['timeoutSeconds'];
    if (isUnset(timeout)) spec['sessionAffinityConfig'] = { clientIP: { timeoutSeconds: 10800 } };
  }
  setIfEmpty(spec, 'type', 'ClusterIP');
  const type = spec['type'];
  for (const port of listOf(spec, 'ports')) {
    setIfEmpty(port, 'protocol', 'TCP');
    setIfEmpty(port, 'targetPort', port['port'] ?? 0);
  }
  const external =
    type === 'LoadBalancer' || type === 'NodePort' || (type === 'ClusterIP' && listOf(spec, 'externalIPs').length > 0);
  if (external) setIfEmpty(spec, 'externalTrafficPolicy', 'Cluster');
  if (type === 'NodePort' || type === 'LoadBalancer' || type === 'ClusterIP') {
    setIfUnset(spec, 'internalTrafficPolicy', 'Cluster');
  }
  if (type === 'LoadBalancer') {
    setIfUnset(spec, 'allocateLoadBalancerNodePorts', true);
    for (const ingress of listOf(structOf(structOf(draft, 'status'), 'loadBalancer'), 'ingress')) {
      if (!isEmpty(ingress['ip'])) setIfUnset(ingress, 'ipMode', 'VIP');
    }
  }
};

const replicationController: Hook = (draft) => {
  const spec = struct(draft, 'spec');
  const labels = structOf(structOf(structOf(spec, 'template'), 'metadata'), 'labels');
  if (labels === undefined) return;
  setIfEmpty(spec, 'selector', { ...labels });
  setIfEmpty(struct(draft, 'metadata'), 'labels', { ...labels });
};

const namespace: Hook = (draft) => {
  const metadata = struct(draft, 'metadata');
  const name = metadata['name'];
  if (typeof name === 'string' && name !== '') struct(metadata, 'labels')['kubernetes.io/metadata.name'] = name;
};

const nodeStatus: Hook = (draft) => {
  const capacity = structOf(draft, 'capacity');
  if (capacity !== undefined && isUnset(draft['allocatable'])) draft['allocatable'] = { ...capacity };
};

const limitRangeItem: Hook = (draft) => {
  if (draft['type'] !== 'Container') return;
  const limits = struct(draft, 'default');
  const requests = struct(draft, 'defaultRequest');
  for (const [name, q] of Object.entries(structOf(draft, 'max') ?? {})) setIfUnset(limits, name, q);
  for (const [name, q] of Object.entries(limits)) setIfUnset(requests, name, q);
  for (const [name, q] of Object.entries(structOf(draft, 'min') ?? {})) setIfUnset(requests, name, q);
};

const persistentVolume: Hook = (draft) => {
  const spec = struct(draft, 'spec');
  setIfEmpty(struct(draft, 'status'), 'phase', 'Pending');
  setIfEmpty(spec, 'persistentVolumeReclaimPolicy', 'Retain');
  setIfUnset(spec, 'volumeMode', 'Filesystem');
};

const podLogOptions: Hook = (draft) => setIfUnset(draft, 'stream', 'All');

export const coreHooks: readonly (readonly [string, Hook])[] = [
  [`${core}Container`, container],
  [`${core}EphemeralContainer`, container],
  [`${core}ImageVolumeSource`, imageVolume],
  [`${core}Pod`, pod],
  [`${core}Volume`, volume],
  [`${core}Service`, service],
  [`${core}ReplicationController`, replicationController],
  [`${core}Namespace`, namespace],
  [`${core}NodeStatus`, nodeStatus],
  [`${core}LimitRangeItem`, limitRangeItem],
  [`${core}PersistentVolume`, persistentVolume],
  [`${core}PodLogOptions`, podLogOptions],
];
