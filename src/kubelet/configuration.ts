/**
 * What of a KubeletConfiguration (kubelet.config.k8s.io/v1beta1) the managers of this kubelet obey, in the file's own names and
 * forms, with upstream's defaults; and the same read into numbers.
 */
import { parseQuantity, quantityMilli, quantityValue } from '../api/quantity.ts';
import { parseDuration } from '../api/time.ts';
import { checkUnsafeSysctls } from './sysctl-allowlist.ts';

type Strings = Readonly<Record<string, string>>;

export interface KubeletConfiguration {
  readonly evictionHard: Strings;
  readonly evictionSoft: Strings;
  readonly evictionSoftGracePeriod: Strings;
  readonly evictionMinimumReclaim: Strings;
  readonly evictionPressureTransitionPeriod: string;
  readonly evictionMaxPodGracePeriod: number;
  readonly imageMinimumGCAge: string;
  readonly imageMaximumGCAge: string;
  readonly imageGCHighThresholdPercent: number;
  readonly imageGCLowThresholdPercent: number;
  readonly containerLogMaxSize: string;
  readonly containerLogMaxFiles: number;
  readonly containerLogMonitorInterval: string;
  /** Empty for none. */
  readonly staticPodPath: string;
  readonly fileCheckFrequency: string;
  readonly shutdownGracePeriod: string;
  readonly shutdownGracePeriodCriticalPods: string;
  readonly shutdownGracePeriodByPodPriority?: readonly {
    readonly priority: number;
    readonly shutdownGracePeriodSeconds: number;
  }[];
  readonly volumeStatsAggPeriod: string;
  readonly systemReserved: Strings;
  readonly kubeReserved: Strings;
  readonly enforceNodeAllocatable: readonly string[];
  /** -1 for no limit. */
  readonly podPidsLimit: number;
  /** Sysctls that pods may set beside the safe ones; `*` at the end stands for all below. */
  readonly allowedUnsafeSysctls: readonly string[];
  readonly localStorageCapacityIsolation: boolean;
}

const defaults: KubeletConfiguration = {
  evictionHard: {
    'imagefs.available': '15%',
    'imagefs.inodesFree': '5%',
    'memory.available': '100Mi',
    'nodefs.available': '10%',
    'nodefs.inodesFree': '5%',
  },
  evictionSoft: {},
  evictionSoftGracePeriod: {},
  evictionMinimumReclaim: {},
  evictionPressureTransitionPeriod: '5m0s',
  evictionMaxPodGracePeriod: 0,
  imageMinimumGCAge: '2m0s',
  imageMaximumGCAge: '0s',
  imageGCHighThresholdPercent: 85,
  imageGCLowThresholdPercent: 80,
  containerLogMaxSize: '10Mi',
  containerLogMaxFiles: 5,
  containerLogMonitorInterval: '10s',
  staticPodPath: '',
  fileCheckFrequency: '20s',
  shutdownGracePeriod: '0s',
  shutdownGracePeriodCriticalPods: '0s',
  volumeStatsAggPeriod: '1m0s',
  systemReserved: {},
  kubeReserved: {},
  enforceNodeAllocatable: ['pods'],
  podPidsLimit: -1,
  allowedUnsafeSysctls: [],
  localStorageCapacityIsolation: true,
};

/** The whole of what was given in part. Throws one line for what cannot be used, in upstream's words. */
export function kubeletConfiguration(given: Partial<KubeletConfiguration>): KubeletConfiguration {
  const c: KubeletConfiguration = { ...defaults, ...given };
  const invalid = (text: string): Error => new Error(`invalid configuration: ${text}`);
  const { imageGCHighThresholdPercent: high, imageGCLowThresholdPercent: low } = c;
  if (high < 0 || high > 100)
    throw invalid(
      `imageGCHighThresholdPercent (--image-gc-high-threshold) ${high} must be between 0 and 100, inclusive`,
    );
  if (low < 0 || low > 100)
    throw invalid(`imageGCLowThresholdPercent (--image-gc-low-threshold) ${low} must be between 0 and 100, inclusive`);
  if (low >= high)
    throw invalid(
      `imageGCLowThresholdPercent (--image-gc-low-threshold) ${low} must be less than imageGCHighThresholdPercent (--image-gc-high-threshold) ${high}`,
    );
  if (c.containerLogMaxFiles < 2)
    throw invalid(`containerLogMaxFiles (--container-log-max-files) ${c.containerLogMaxFiles} must be greater than 1`);
  const total = parseDuration(c.shutdownGracePeriod);
  const critical = parseDuration(c.shutdownGracePeriodCriticalPods);
  if (critical > total)
    throw invalid(
      `shutdownGracePeriodCriticalPods ${c.shutdownGracePeriodCriticalPods} must be <= shutdownGracePeriod ${c.shutdownGracePeriod}`,
    );
  for (const [name, ms] of [
    ['shutdownGracePeriod', total],
    ['shutdownGracePeriodCriticalPods', critical],
  ] as const)
    if (ms < 0 || (ms > 0 && ms < 1000)) throw invalid(`${name} must be either zero or otherwise >= 1 sec`);
  checkUnsafeSysctls(c.allowedUnsafeSysctls);
  return c;
}

/** What the node keeps for itself of a resource: milli-units of cpu, whole units of the rest. */
export function reserved(c: KubeletConfiguration, name: string): number {
  let sum = 0;
  for (const list of [c.systemReserved, c.kubeReserved]) {
    const text = list[name];
    if (text === undefined) continue;
    const q = parseQuantity(text);
    sum += name === 'cpu' ? quantityMilli(q) : quantityValue(q);
  }
  return sum;
}
