/** Rows of networking, discovery, storage and resource claim kinds. */
import type { KubeObjectLike } from '../request.ts';
import { age, orNone, selectorText, shortList, since } from './cells.ts';
import { loadBalancerText } from './print-core.ts';
import type { Cell, PrintContext, Printer } from './table.ts';
import { bool, has, list, nameOf, num, obj, str, strings } from './value.ts';

function hostsText(o: KubeObjectLike): string {
  const rules = list(o, 'spec', 'rules');
  const hosts: string[] = [];
  let more = false;
  for (const rule of rules) {
    if (hosts.length === 3) more = true;
    const host = str(rule, 'host');
    if (!more && host !== '') hosts.push(host);
  }
  if (hosts.length === 0) return '*';
  return more ? `${hosts.join(',')} + ${rules.length - 3} more...` : hosts.join(',');
}

function isDefault(o: KubeObjectLike, ...annotations: string[]): boolean {
  return annotations.some((a) => obj(o.metadata, 'annotations')[a] === 'true');
}

function printIngressClass(o: KubeObjectLike, context: PrintContext): readonly Cell[] {
  const name = isDefault(o, 'ingressclass.kubernetes.io/is-default-class') ? `${nameOf(o)} (default)` : nameOf(o);
  let parameters = '<none>';
  if (has(o, 'spec', 'parameters')) {
    const p = obj(o, 'spec', 'parameters');
    parameters = `${str(p, 'kind')}${has(p, 'apiGroup') ? `.${str(p, 'apiGroup')}` : ''}/${str(p, 'name')}`;
  }
  return [name, str(o, 'spec', 'controller'), parameters, age(o, context)];
}

function printIPAddress(o: KubeObjectLike, context: PrintContext): readonly Cell[] {
  let parent = '<none>';
  if (has(o, 'spec', 'parentRef')) {
    const ref = obj(o, 'spec', 'parentRef');
    const group = str(ref, 'group');
    const namespace = str(ref, 'namespace');
    const resource = (group === '' ? str(ref, 'resource') : `${str(ref, 'resource')}.${group}`).toLowerCase();
    parent = `${resource}${namespace === '' ? '' : `/${namespace}`}/${str(ref, 'name')}`;
  }
  return [nameOf(o), parent, age(o, context)];
}

function printStorageClass(o: KubeObjectLike, context: PrintContext): readonly Cell[] {
  const byDefault = isDefault(
    o,
    'storageclass.kubernetes.io/is-default-class',
    'storageclass.beta.kubernetes.io/is-default-class',
  );
  return [
    byDefault ? `${nameOf(o)} (default)` : nameOf(o),
    str(o, 'provisioner'),
    str(o, 'reclaimPolicy') || 'Delete',
    str(o, 'volumeBindingMode') || 'Immediate',
    bool(o, false, 'allowVolumeExpansion'),
    age(o, context),
  ];
}

function printCSIDriver(o: KubeObjectLike, context: PrintContext): readonly Cell[] {
  return [
    nameOf(o),
    bool(o, true, 'spec', 'attachRequired'),
    bool(o, false, 'spec', 'podInfoOnMount'),
    bool(o, false, 'spec', 'storageCapacity'),
    has(o, 'spec', 'tokenRequests')
      ? list(o, 'spec', 'tokenRequests')
          .map((t) => str(t, 'audience'))
          .join(',')
      : '<unset>',
    bool(o, false, 'spec', 'requiresRepublish'),
    orNone(strings(o, 'spec', 'volumeLifecycleModes').join(',')),
    age(o, context),
  ];
}

function claimState(o: KubeObjectLike): string {
  const states: string[] = [];
  const deleted = has(o.metadata, 'deletionTimestamp');
  if (deleted) states.push('deleted');
  if (!has(o, 'status', 'allocation')) {
    if (!deleted) states.push('pending');
  } else {
    states.push('allocated');
    if (list(o, 'status', 'reservedFor').length > 0) states.push('reserved');
  }
  return states.join(',');
}

function printResourcePoolStatusRequest(o: KubeObjectLike, context: PrintContext): readonly Cell[] {
  let status = 'Pending';
  let completed = '<none>';
  let sums = ['-', '-', '-', '-', '-'];
  const poolCount = num(o, 'status', 'poolCount');
  if (has(o, 'status')) {
    const pools = list(o, 'status', 'pools');
    for (const c of list(o, 'status', 'conditions')) {
      if (c['status'] !== 'True' || (c['type'] !== 'Complete' && c['type'] !== 'Failed')) continue;
      status = String(c['type']);
      if (status === 'Complete') completed = since(c['lastTransitionTime'], context);
      break;
    }
    if (status !== 'Failed') {
      const sum = (member: string): string => String(pools.reduce((n, p) => n + num(p, member), 0));
      sums = ['totalDevices', 'availableDevices', 'allocatedDevices', 'unavailableDevices'].map(sum);
      sums.push(String(pools.filter((p) => has(p, 'validationError')).length));
    }
    if (status === 'Complete' && poolCount > pools.length) status = `Complete (${pools.length}/${poolCount} pools)`;
  }
  return [nameOf(o), str(o, 'spec', 'driver'), ...sums, poolCount, status, completed];
}

export const networkStoragePrinters: Readonly<Record<string, Printer>> = {
  'discovery.k8s.io/EndpointSlice': (o, c) => [
    nameOf(o),
    str(o, 'addressType'),
    shortList(
      list(o, 'ports').map((p) => (has(p, 'port') ? String(num(p, 'port')) : has(p, 'name') ? str(p, 'name') : '*')),
    ),
    shortList(list(o, 'endpoints').flatMap((e) => strings(e, 'addresses'))),
    age(o, c),
  ],
  'networking.k8s.io/Ingress': (o, c) => [
    nameOf(o),
    has(o, 'spec', 'ingressClassName') ? str(o, 'spec', 'ingressClassName') : '<none>',
    hostsText(o),
    loadBalancerText(obj(o, 'status')),
    list(o, 'spec', 'tls').length > 0 ? '80, 443' : '80',
    age(o, c),
  ],
  'networking.k8s.io/IngressClass': printIngressClass,
  'networking.k8s.io/IPAddress': printIPAddress,
  'networking.k8s.io/NetworkPolicy': (o, c) => [nameOf(o), selectorText(obj(o, 'spec', 'podSelector')), age(o, c)],
  'networking.k8s.io/ServiceCIDR': (o, c) => [nameOf(o), strings(o, 'spec', 'cidrs').join(','), age(o, c)],
  'resource.k8s.io/DeviceClass': (o, c) => [nameOf(o), age(o, c)],
  'resource.k8s.io/DeviceTaintRule': (o, c) => [
    nameOf(o),
    str(o, 'spec', 'taint', 'key'),
    str(o, 'spec', 'taint', 'value'),
    str(o, 'spec', 'taint', 'effect'),
    has(o, 'spec', 'taint', 'timeAdded') ? since(obj(o, 'spec', 'taint')['timeAdded'], c) : '',
    age(o, c),
  ],
  'resource.k8s.io/ResourceClaim': (o, c) => [nameOf(o), claimState(o), age(o, c)],
  'resource.k8s.io/ResourceClaimTemplate': (o, c) => [nameOf(o), age(o, c)],
  'resource.k8s.io/ResourcePoolStatusRequest': printResourcePoolStatusRequest,
  'resource.k8s.io/ResourceSlice': (o, c) => [
    nameOf(o),
    str(o, 'spec', 'nodeName'),
    str(o, 'spec', 'driver'),
    str(o, 'spec', 'pool', 'name'),
    age(o, c),
  ],
  'storage.k8s.io/CSIDriver': printCSIDriver,
  'storage.k8s.io/CSINode': (o, c) => [nameOf(o), list(o, 'spec', 'drivers').length, age(o, c)],
  'storage.k8s.io/StorageClass': printStorageClass,
  'storage.k8s.io/VolumeAttachment': (o, c) => [
    nameOf(o),
    str(o, 'spec', 'attacher'),
    str(o, 'spec', 'source', 'persistentVolumeName'),
    str(o, 'spec', 'nodeName'),
    bool(o, false, 'status', 'attached'),
    age(o, c),
  ],
  'storage.k8s.io/VolumeAttributesClass': (o, c) => [nameOf(o), str(o, 'driverName'), age(o, c)],
};
