/** What a pod asks for in all: containers and sidecars together, or its largest init container, pod-level values, overhead. */
import type { Container, Pod } from '../../api/types/core-v1.gen.ts';
import { parseQuantity } from '../../api/quantity.ts';
import { addInto, maxInto, readResources, type ResourceList } from '../../api/helpers/resource-list.ts';

export type Side = 'requests' | 'limits';

function infeasible(pod: Pod): boolean {
  const condition = pod.status?.conditions?.find((c) => c.type === 'PodResizePending');
  return condition?.reason === 'Infeasible';
}

export interface PodResourcesOptions {
  /** Count what containers have or were allocated too (in-place resize). */
  readonly useStatus: boolean;
  readonly overhead: boolean;
  /** Which pod-level resources count. */
  readonly podLevel: (name: string) => boolean;
}

export const limitRangeOptions: PodResourcesOptions = {
  useStatus: false,
  overhead: false,
  podLevel: (name) => name === 'cpu' || name === 'memory',
};

export function podResources(pod: Pod, side: Side, options: PodResourcesOptions): ResourceList {
  const effective = (c: Container, init: boolean): ResourceList => {
    const own = readResources(c.resources?.[side] as Record<string, string> | undefined);
    if (!options.useStatus) return own;
    const status = (init ? pod.status?.initContainerStatuses : pod.status?.containerStatuses)?.find(
      (s) => s.name === c.name,
    );
    if (status?.resources === undefined) return own;
    const actuated = readResources(status.resources[side] as Record<string, string> | undefined);
    const stuck = infeasible(pod);
    const out: ResourceList = new Map(actuated);
    if (side === 'requests')
      maxInto(out, readResources(status.allocatedResources as Record<string, string> | undefined));
    if (!stuck) maxInto(out, own);
    return out;
  };
  const total: ResourceList = new Map();
  for (const c of pod.spec?.containers ?? []) addInto(total, effective(c, false));
  const sidecars: ResourceList = new Map();
  const init: ResourceList = new Map();
  for (const c of pod.spec?.initContainers ?? []) {
    const sidecar = c.restartPolicy === 'Always';
    const own = sidecar ? effective(c, true) : readResources(c.resources?.[side] as Record<string, string> | undefined);
    if (sidecar) {
      addInto(total, own);
      addInto(sidecars, own);
      maxInto(init, sidecars);
    } else {
      addInto(own, sidecars);
      maxInto(init, own);
    }
  }
  maxInto(total, init);
  for (const [name, text] of Object.entries(pod.spec?.resources?.[side] ?? {}))
    if (options.podLevel(name)) total.set(name, parseQuantity(text as string));
  if (options.overhead && pod.spec?.overhead !== undefined) {
    const overhead = readResources(pod.spec.overhead as Record<string, string>);
    if (side === 'requests') addInto(total, overhead);
    else for (const [name, q] of overhead) if (total.has(name)) addInto(total, new Map([[name, q]]));
  }
  return total;
}
