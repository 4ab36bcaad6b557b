/** Which pods count as a pod's own kind, for spreading where its spec names none: those of its Services and of its owner. */
import { controllerOf } from '../api/helpers/owner-references.ts';
import type { Selector } from '../api/selector.ts';
import { compileLabelSelector, selectorFromSet } from '../api/selector.ts';
import type { ReplicaSet, ReplicationController, Service, StatefulSet } from '../api/types/index.gen.ts';
import type { Lister } from '../client/lister.ts';
import type { PodInfo } from './pod-info.ts';

export interface OwnerListers {
  readonly replicaSets: Lister<ReplicaSet>;
  readonly statefulSets: Lister<StatefulSet>;
  readonly replicationControllers: Lister<ReplicationController>;
}

/** The merged selector of the pod's Services and of its ReplicaSet, StatefulSet or ReplicationController. */
export function defaultSelector(info: PodInfo, services: Lister<Service>, owners: OwnerListers): Selector | undefined {
  const labels: Record<string, string> = {};
  for (const s of services.list(info.namespace)) {
    const wanted = s.spec?.selector;
    if (wanted === undefined || Object.entries(wanted).some(([k, v]) => info.labels[k] !== v)) continue;
    Object.assign(labels, wanted);
  }
  const owner = controllerOf(info.pod);
  if (owner?.kind === 'ReplicationController')
    Object.assign(labels, owners.replicationControllers.get(owner.name, info.namespace)?.spec?.selector);
  let selector = selectorFromSet(labels);
  const set =
    owner?.kind === 'ReplicaSet'
      ? owners.replicaSets.get(owner.name, info.namespace)
      : owner?.kind === 'StatefulSet'
        ? owners.statefulSets.get(owner.name, info.namespace)
        : undefined;
  if (set !== undefined) selector = selector.add(...compileLabelSelector(set.spec?.selector).requirements);
  return selector.empty ? undefined : selector;
}
