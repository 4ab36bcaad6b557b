/** What each pod of the cluster asks for and may use at most, as upstream's scheduler tells it at `/metrics/resources`. */
import { podLimits, podRequests, type ResourceQuantities } from '../../api/helpers/pod-resources.ts';
import { quantityToNumber } from '../../api/quantity.ts';
import type { Pod } from '../../api/types/index.gen.ts';
import { computed, expose, type Labels } from '../../apiserver/metrics/exposition.ts';

function unitOf(resource: string): string {
  if (resource === 'cpu') return 'cores';
  if (resource === 'memory' || resource === 'storage' || resource === 'ephemeral-storage') return 'bytes';
  if (resource.startsWith('hugepages-')) return 'bytes';
  return resource.startsWith('attachable-volumes-') ? 'integer' : '';
}

/** `pods`: those that have not ended. */
export function podResourceMetrics(pods: () => Iterable<Pod>): string {
  const samples = function* (of: (pod: Pod) => ResourceQuantities): Iterable<readonly [Labels, number]> {
    for (const pod of pods()) {
      for (const [resource, quantity] of of(pod)) {
        const value = quantityToNumber(quantity);
        if (value === 0) continue;
        const labels = {
          namespace: pod.metadata.namespace ?? '',
          pod: pod.metadata.name ?? '',
          node: pod.spec?.nodeName ?? '',
          scheduler: pod.spec?.schedulerName ?? '',
          priority: pod.spec?.priority === undefined ? '' : String(pod.spec.priority),
          resource,
          unit: unitOf(resource),
        };
        yield [labels, value];
      }
    }
  };
  return expose([
    computed(
      'gauge',
      'kube_pod_resource_limit',
      '[STABLE] What the pods of the cluster may use at most, by pod and resource, with the unit where there is one.',
      () => samples(podLimits),
    ),
    computed(
      'gauge',
      'kube_pod_resource_request',
      '[STABLE] What the pods of the cluster ask for, by pod and resource, with the unit where there is one.',
      () => samples(podRequests),
    ),
  ]);
}
