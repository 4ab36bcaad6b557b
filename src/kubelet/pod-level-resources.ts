/** What a pod as a whole was given, as its status tells it (KEP-5419): what its containers ask for together, and the limits of its cgroup. */
import { podLimits, podRequests } from '../api/helpers/pod-resources.ts';
import type { Quantity } from '../api/quantity.ts';
import { formatQuantity } from '../api/quantity.ts';
import type { Pod, PodStatus, ResourceRequirements } from '../api/types/index.gen.ts';
import { podResources } from './cgroup-manager.ts';

type Texts = Record<string, string>;

const options = { useStatus: false } as const;

function texts(list: ReadonlyMap<string, Quantity>): Texts | undefined {
  return list.size === 0 ? undefined : Object.fromEntries([...list].map(([name, q]) => [name, formatQuantity(q)]));
}

/** `pod`: with the resources that it was given. */
export function podLevelResources(pod: Pod, phase: string): Pick<PodStatus, 'resources' | 'allocatedResources'> {
  const requests = texts(podRequests(pod as never, options));
  const all = podLimits(pod as never, options);
  const limits = new Map(all);
  if (phase === 'Running' && all.size > 0) {
    // A running pod's are those that the kernel holds it to.
    const kernel = podResources(pod);
    const own = pod.spec?.resources?.limits as Texts | undefined;
    for (const name of all.keys()) {
      const enforced = name === 'cpu' ? kernel.cpuQuota : name === 'memory' ? kernel.memoryLimitInBytes : undefined;
      if (enforced === undefined && own?.[name] === undefined) limits.delete(name);
    }
  }
  const limited = texts(limits);
  const resources: ResourceRequirements = {
    ...(limited === undefined ? {} : { limits: limited }),
    ...(requests === undefined ? {} : { requests }),
  };
  return { resources, ...(requests === undefined ? {} : { allocatedResources: requests }) };
}
