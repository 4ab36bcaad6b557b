/** PodResizeValidator: a pod is resized in place only on a Linux node, and not beyond what the node can give. */
import { compareQuantity, parseQuantity, quantityMilli, quantityValue } from '../../api/quantity.ts';
import type { Node, Pod } from '../../api/types/core-v1.gen.ts';
import { StatusError } from '../../api/status.ts';
import type { AdmissionAttributes, AdmissionPlugin } from '../context.ts';
import type { Registries } from '../registry.ts';
import { cachedObject, refuse } from './attributes.ts';
import { podResources } from './pod-resources.ts';
import { zero } from '../../api/helpers/resource-list.ts';

function refuseBecause(a: AdmissionAttributes, why: string, reason: string): StatusError {
  const e = refuse(a, why);
  return new StatusError(e.code, e.reason, e.message, { ...e.details, causes: [{ reason }] });
}

export function podResizeValidator(deps: { readonly registries: Registries }): AdmissionPlugin {
  return {
    name: 'PodResizeValidator',
    handles: (operation, group, resource, subresource) =>
      operation === 'UPDATE' && group === '' && resource === 'pods' && subresource === 'resize',
    validate(a) {
      const pod = a.object as unknown as Pod;
      const old = a.oldObject as unknown as Pod;
      const nodeName = pod.spec?.nodeName ?? '';
      if (nodeName === '' || old.metadata?.generation === pod.metadata?.generation) return;
      const node = cachedObject<Node>(deps.registries, '', 'nodes', '', nodeName);
      if (node === undefined) throw refuse(a, `node ${JSON.stringify(nodeName)} not found`);
      const os = node.metadata?.labels?.['kubernetes.io/os'];
      if (os !== undefined && os !== 'linux')
        throw refuseBecause(
          a,
          `pod resize is only supported on linux nodes, node ${JSON.stringify(nodeName)} is ${JSON.stringify(os)}`,
          'UnsupportedPlatform',
        );
      const requests = podResources(pod, 'requests', { useStatus: false, overhead: true, podLevel: () => true });
      const too: string[] = [];
      for (const [name, amount] of [
        ['cpu', quantityMilli],
        ['memory', quantityValue],
      ] as const) {
        const wanted = requests.get(name) ?? zero;
        const text = node.status?.allocatable?.[name];
        const has = text === undefined ? zero : parseQuantity(text as string);
        if (compareQuantity(wanted, has) > 0)
          too.push(`${name}, requested: ${amount(wanted)}, allocatable: ${amount(has)}`);
      }
      if (too.length > 0)
        throw refuseBecause(a, `node didn't have enough allocatable resources: ${too.join('; ')}`, 'NodeCapacity');
    },
  };
}
