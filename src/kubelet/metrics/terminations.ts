/** Counts containers that end, by how they end: once each, when the status says so first. */
import type { ContainerStatus, PodStatus } from '../../api/types/index.gen.ts';
import type { KubeletMetrics } from './kubelet-metrics.ts';

type List = readonly ContainerStatus[] | undefined;

/** `before`: the status that was told last. */
export function countTerminations(metrics: KubeletMetrics, before: PodStatus, now: PodStatus): void {
  const count = (type: string, old: List, fresh: List): void => {
    for (const s of fresh ?? []) {
      const end = s.state?.terminated;
      if (end === undefined || old?.find((o) => o.name === s.name)?.state?.terminated !== undefined) continue;
      metrics.count('terminated_containers_total', [type, String(end.exitCode), end.reason ?? '']);
    }
  };
  count('init_container', before.initContainerStatuses, now.initContainerStatuses);
  count('container', before.containerStatuses, now.containerStatuses);
  count('ephemeral_container', before.ephemeralContainerStatuses, now.ephemeralContainerStatuses);
}
