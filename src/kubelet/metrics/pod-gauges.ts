/** How many pods a kubelet has, and where they are in their lives: gauges that are counted when somebody asks. */
import type { Pod } from '../../api/types/index.gen.ts';
import { isStaticPod } from '../pod-util.ts';
import type { GaugeSamples, KubeletMetrics } from './kubelet-metrics.ts';

/** What is asked of a pod worker. */
export interface CountedPod {
  readonly apiPod: Pod;
  readonly terminated: boolean;
  /** Gone from where it came from. */
  readonly leaving: boolean;
  readonly mirror: { readonly owner: unknown } | undefined;
  readonly resize:
    | { readonly pending: { readonly reason: string } | undefined; readonly inProgress: unknown }
    | undefined;
  ending(): boolean;
}

type Key = (pod: CountedPod) => readonly string[] | undefined;

const isStatic = (p: CountedPod): string => (isStaticPod(p.apiPod) ? 'true' : '');

/** Lets `metrics` tell of the pods that `all` yields. */
export function gaugePods(metrics: KubeletMetrics, all: () => Iterable<CountedPod>): void {
  const counted = (key: Key, always: readonly (readonly string[])[] = []): (() => GaugeSamples) => {
    return () => {
      const out = new Map<string, [readonly string[], number]>();
      for (const values of always) out.set(values.join('\0'), [values, 0]);
      for (const pod of all()) {
        const values = key(pod);
        if (values === undefined) continue;
        const own = out.get(values.join('\0'));
        if (own === undefined) out.set(values.join('\0'), [values, 1]);
        else own[1]++;
      }
      return out.values();
    };
  };
  const both = [[''], ['true']];
  metrics.gauge(
    'desired_pods',
    counted((p) => (p.leaving ? undefined : [isStatic(p)]), both),
  );
  metrics.gauge(
    'active_pods',
    counted((p) => (p.terminated ? undefined : [isStatic(p)]), both),
  );
  metrics.gauge(
    'mirror_pods',
    counted((p) => (p.mirror?.owner === undefined ? undefined : []), [[]]),
  );
  metrics.gauge(
    'working_pods',
    counted((p) => [
      p.terminated ? 'terminated' : p.ending() ? 'terminating' : 'sync',
      p.leaving ? 'orphan' : 'desired',
      isStatic(p),
    ]),
  );
  metrics.gauge(
    'pod_pending_resizes',
    counted((p) => {
      const reason = p.resize?.pending?.reason;
      return reason === undefined ? undefined : [reason.toLowerCase()];
    }),
  );
  metrics.gauge(
    'pod_in_progress_resizes',
    counted((p) => (p.resize?.inProgress === undefined ? undefined : []), [[]]),
  );
  metrics.gauge('managed_ephemeral_containers', () => {
    let n = 0;
    for (const p of all()) n += p.apiPod.spec?.ephemeralContainers?.length ?? 0;
    return [[[], n]];
  });
}

const reasons: ReadonlySet<string> = new Set([
  'AppArmor',
  'PodOSSelectorNodeLabelDoesNotMatch',
  'PodOSNotSupported',
  'InvalidNodeInfo',
  'InitContainerRestartPolicyForbidden',
  'SupplementalGroupsPolicyNotSupported',
  'UnexpectedAdmissionError',
  'UnknownReason',
  'UnexpectedPredicateFailureType',
  'OutOfcpu',
  'OutOfmemory',
  'OutOfephemeral-storage',
  'OutOfpods',
  'PodLevelResourcesNotSupported',
  'PodFeatureUnsupported',
  'Evicted',
  'SysctlForbidden',
  'TopologyAffinityError',
  'NodeShutdown',
  'VolumeAttachmentLimitExceeded',
]);

/** The reason of a refusal as it is counted: a bounded number of them. */
export function countedReason(reason: string): string {
  if (reasons.has(reason)) return reason;
  return reason.startsWith('OutOf') ? 'OutOfExtendedResources' : 'Other';
}
