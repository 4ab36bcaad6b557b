/** What of the kubelet's configuration decides how containers run: processor quotas, what happens out of memory, swap, seccomp. */
import { parseDurationNanos } from '../../api/time.ts';
import { cpuPeriod } from '../cpu-quota.ts';
import type { KubeletConfiguration } from '../configuration/configuration.ts';

export interface ContainerSettings {
  /** False: limits of CPU are not enforced. */
  readonly cpuQuota: boolean;
  /** The kernel's period of quotas, in microseconds. */
  readonly cpuPeriod: number;
  /** True: out of memory, the kernel ends one process of a container, not all. Undefined: one on cgroup v1, all on v2. */
  readonly singleProcessOomKill: boolean | undefined;
  /** Burstable pods may use a part of the node's swap. */
  readonly limitedSwap: boolean;
  /** Containers that say nothing have the runtime's seccomp profile. */
  readonly seccompDefault: boolean;
}

const usual: ContainerSettings = {
  cpuQuota: true,
  cpuPeriod,
  singleProcessOomKill: undefined,
  limitedSwap: false,
  seccompDefault: false,
};

/** Upstream's defaults where there is no configuration. */
export function containerSettings(c: KubeletConfiguration | undefined): ContainerSettings {
  if (c === undefined) return usual;
  return {
    cpuQuota: c.cpuCFSQuota,
    cpuPeriod: Number(parseDurationNanos(c.cpuCFSQuotaPeriod) / 1000n),
    singleProcessOomKill: c.singleProcessOOMKill,
    limitedSwap: c.memorySwap.swapBehavior === 'LimitedSwap',
    seccompDefault: c.seccompDefault,
  };
}
