/** Rows of the core group's kinds other than pods. */
import { joinHostPort } from '../../base/host-port.ts';
import type { KubeObjectLike } from '../request.ts';
import { age, containerCells, labels, orNone, orUnset, since } from './cells.ts';
import { printPod } from './print-pod.ts';
import type { PrintContext, Printer } from './table.ts';
import type { Json } from './value.ts';
import { bool, has, list, nameOf, num, obj, str, strings } from './value.ts';

function printComponentStatus(o: KubeObjectLike): readonly string[] {
  const healthy = list(o, 'conditions').find((c) => c['type'] === 'Healthy');
  if (healthy === undefined) return [nameOf(o), 'Unknown', '', ''];
  const status = healthy['status'] === 'True' ? 'Healthy' : 'Unhealthy';
  return [nameOf(o), status, str(healthy, 'message'), str(healthy, 'error')];
}

function endpointsText(o: KubeObjectLike): string {
  const subsets = list(o, 'subsets');
  if (subsets.length === 0) return '<none>';
  const max = 3;
  const shown: string[] = [];
  let count = 0;
  for (const subset of subsets) {
    const addresses = list(subset, 'addresses');
    const ports = list(subset, 'ports');
    const texts =
      ports.length === 0
        ? addresses.map((a) => str(a, 'ip'))
        : ports.flatMap((p) => addresses.map((a) => joinHostPort(str(a, 'ip'), num(p, 'port'))));
    count += texts.length;
    for (const text of texts) if (shown.length < max) shown.push(text);
  }
  const text = shown.join(',');
  return count > max ? `${text} + ${count - max} more...` : text;
}

function printEvent(o: KubeObjectLike, context: PrintContext): readonly (string | number)[] {
  const eventTime = o['eventTime'];
  const first = since(has(o, 'firstTimestamp') ? o['firstTimestamp'] : eventTime, context);
  let last = has(o, 'lastTimestamp') ? since(o['lastTimestamp'], context) : first;
  let count = num(o, 'count');
  if (has(o, 'series')) {
    last = since(obj(o, 'series')['lastObservedTime'], context);
    count = num(o, 'series', 'count');
  } else if (count === 0) count = 1;
  const kind = str(o, 'involvedObject', 'kind').toLowerCase();
  const name = str(o, 'involvedObject', 'name');
  const component = str(o, 'source', 'component') || str(o, 'reportingComponent');
  const instance = str(o, 'source', 'host') || str(o, 'reportingInstance');
  return [
    last,
    str(o, 'type'),
    str(o, 'reason'),
    name === '' ? kind : `${kind}/${name}`,
    str(o, 'involvedObject', 'fieldPath'),
    instance === '' ? component : `${component}, ${instance}`,
    str(o, 'message').trim(),
    first,
    count,
    nameOf(o),
  ];
}

function nodeRoles(o: KubeObjectLike): string {
  const prefix = 'node-role.kubernetes.io/';
  const roles = new Set<string>();
  for (const [key, value] of Object.entries(obj(o.metadata, 'labels'))) {
    if (key.startsWith(prefix)) {
      if (key.length > prefix.length) roles.add(key.slice(prefix.length));
    } else if (key === 'kubernetes.io/role' && value !== '') roles.add(String(value));
  }
  return orNone([...roles].sort().join(','));
}

function printNode(o: KubeObjectLike, context: PrintContext): readonly string[] {
  const ready = list(o, 'status', 'conditions')
    .filter((c) => c['type'] === 'Ready')
    .at(-1);
  const status = [ready === undefined ? 'Unknown' : ready['status'] === 'True' ? 'Ready' : 'NotReady'];
  if (bool(o, false, 'spec', 'unschedulable')) status.push('SchedulingDisabled');
  const info = obj(o, 'status', 'nodeInfo');
  const address = (type: string): string =>
    orNone(
      str(
        list(o, 'status', 'addresses').find((a) => a['type'] === type),
        'address',
      ),
    );
  const known = (member: string): string => str(info, member) || '<unknown>';
  const architecture = str(info, 'architecture');
  return [
    nameOf(o),
    status.join(','),
    nodeRoles(o),
    age(o, context),
    str(info, 'kubeletVersion'),
    address('InternalIP'),
    address('ExternalIP'),
    known('osImage'),
    architecture === '' ? known('kernelVersion') : `${known('kernelVersion')} (${architecture})`,
    known('containerRuntimeVersion'),
  ];
}

function accessModes(modes: readonly string[]): string {
  const short = [
    ['ReadWriteOnce', 'RWO'],
    ['ReadOnlyMany', 'ROX'],
    ['ReadWriteMany', 'RWX'],
    ['ReadWriteOncePod', 'RWOP'],
  ] as const;
  return short
    .filter(([mode]) => modes.includes(mode))
    .map(([, text]) => text)
    .join(',');
}

/** Storage class, where the old beta annotation wins. */
function storageClass(o: KubeObjectLike): string {
  const annotation = obj(o.metadata, 'annotations')['volume.beta.kubernetes.io/storage-class'];
  return typeof annotation === 'string' ? annotation : str(o, 'spec', 'storageClassName');
}

function phaseOf(o: KubeObjectLike): string {
  return has(o.metadata, 'deletionTimestamp') ? 'Terminating' : str(o, 'status', 'phase');
}

function printPersistentVolume(o: KubeObjectLike, context: PrintContext): readonly string[] {
  const claim = has(o, 'spec', 'claimRef')
    ? `${str(o, 'spec', 'claimRef', 'namespace')}/${str(o, 'spec', 'claimRef', 'name')}`
    : '';
  return [
    nameOf(o),
    str(o, 'spec', 'capacity', 'storage') || '0',
    accessModes(strings(o, 'spec', 'accessModes')),
    str(o, 'spec', 'persistentVolumeReclaimPolicy'),
    phaseOf(o),
    claim,
    storageClass(o),
    orUnset(str(o, 'spec', 'volumeAttributesClassName')),
    str(o, 'status', 'reason'),
    age(o, context),
    orUnset(str(o, 'spec', 'volumeMode')),
  ];
}

function printPersistentVolumeClaim(o: KubeObjectLike, context: PrintContext): readonly string[] {
  const volume = str(o, 'spec', 'volumeName');
  return [
    nameOf(o),
    phaseOf(o),
    volume,
    volume === '' ? '' : str(o, 'status', 'capacity', 'storage') || '0',
    volume === '' ? '' : accessModes(strings(o, 'status', 'accessModes')),
    storageClass(o),
    orUnset(str(o, 'spec', 'volumeAttributesClassName')),
    age(o, context),
    orUnset(str(o, 'spec', 'volumeMode')),
  ];
}

function printResourceQuota(o: KubeObjectLike, context: PrintContext): readonly string[] {
  const requests: string[] = [];
  const limits: string[] = [];
  const hard = obj(o, 'status', 'hard');
  for (const name of Object.keys(hard).sort()) {
    const text = `${name}: ${str(o, 'status', 'used', name) || '0'}/${str(hard, name)}`;
    if (name.startsWith('limits.')) limits.push(text);
    else requests.push(text);
  }
  return [nameOf(o), requests.join(', '), limits.join(', '), age(o, context)];
}

/** Addresses of a load balancer, each once, sorted. */
export function loadBalancerText(status: Json): string {
  const addresses = list(status, 'loadBalancer', 'ingress')
    .map((i) => str(i, 'ip') || str(i, 'hostname'))
    .filter((a) => a !== '');
  return [...new Set(addresses)].sort().join(',');
}

function externalIP(o: KubeObjectLike): string {
  const external = strings(o, 'spec', 'externalIPs').join(',');
  switch (str(o, 'spec', 'type')) {
    case 'ClusterIP':
    case 'NodePort':
      return orNone(external);
    case 'LoadBalancer': {
      const all = [loadBalancerText(obj(o, 'status')), external].filter((t) => t !== '').join(',');
      return all === '' ? '<pending>' : all;
    }
    case 'ExternalName':
      return str(o, 'spec', 'externalName');
    default:
      return '<unknown>';
  }
}

function printService(o: KubeObjectLike, context: PrintContext): readonly string[] {
  const ports = list(o, 'spec', 'ports').map((p) => {
    const nodePort = num(p, 'nodePort');
    return `${num(p, 'port')}${nodePort > 0 ? `:${nodePort}` : ''}/${str(p, 'protocol')}`;
  });
  return [
    nameOf(o),
    str(o, 'spec', 'type'),
    orNone(strings(o, 'spec', 'clusterIPs')[0] ?? ''),
    externalIP(o),
    orNone(ports.join(',')),
    age(o, context),
    labels(obj(o, 'spec', 'selector')),
  ];
}

const size = (o: unknown, member: string): number => Object.keys(obj(o, member)).length;

export const corePrinters: Readonly<Record<string, Printer>> = {
  '/ComponentStatus': printComponentStatus,
  '/ConfigMap': (o, c) => [nameOf(o), size(o, 'data') + size(o, 'binaryData'), age(o, c)],
  '/Endpoints': (o, c) => [nameOf(o), endpointsText(o), age(o, c)],
  '/Event': printEvent,
  '/Namespace': (o, c) => [nameOf(o), str(o, 'status', 'phase'), age(o, c)],
  '/Node': printNode,
  '/PersistentVolume': printPersistentVolume,
  '/PersistentVolumeClaim': printPersistentVolumeClaim,
  '/Pod': printPod,
  '/PodTemplate': (o) => [
    nameOf(o),
    ...containerCells(list(o, 'template', 'spec', 'containers')),
    labels(obj(o, 'template', 'metadata', 'labels')),
  ],
  '/ReplicationController': (o, c) => [
    nameOf(o),
    num(o, 'spec', 'replicas'),
    num(o, 'status', 'replicas'),
    num(o, 'status', 'readyReplicas'),
    age(o, c),
    ...containerCells(list(o, 'spec', 'template', 'spec', 'containers')),
    labels(obj(o, 'spec', 'selector')),
  ],
  '/ResourceQuota': printResourceQuota,
  '/Secret': (o, c) => [nameOf(o), str(o, 'type'), size(o, 'data'), age(o, c)],
  '/Service': printService,
  '/ServiceAccount': (o, c) => [nameOf(o), age(o, c)],
};
