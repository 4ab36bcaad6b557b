/**
 * A KubeletConfiguration (kubelet.config.k8s.io/v1beta1) as this kubelet works with it: the file's own names and forms, with
 * upstream's defaults. Durations are Go's notation, resources quantities.
 */
import { parseQuantity, quantityMilli, quantityValue } from '../../api/quantity.ts';
import { parseDuration } from '../../api/time.ts';
import type { Taint } from '../../api/types/index.gen.ts';
import { withDefaults } from './configuration-fields.ts';
import { configurationErrors } from './configuration-validation.ts';
import { parseCpuSet } from '../cpu-set.ts';

type Strings = Readonly<Record<string, string>>;

export interface KubeletConfiguration {
  readonly enableServer: boolean;
  /** Empty for none. */
  readonly staticPodPath: string;
  readonly podLogsDir: string;
  readonly syncFrequency: string;
  readonly fileCheckFrequency: string;
  readonly httpCheckFrequency: string;
  readonly staticPodURL: string;
  readonly staticPodURLHeader: Readonly<Record<string, readonly string[]>>;
  readonly address: string;
  readonly port: number;
  readonly readOnlyPort: number;
  readonly tlsCertFile: string;
  readonly tlsPrivateKeyFile: string;
  readonly tlsCipherSuites: readonly string[];
  readonly tlsCurvePreferences: readonly number[];
  readonly tlsMinVersion: string;
  readonly rotateCertificates: boolean;
  readonly serverTLSBootstrap: boolean;
  readonly authentication: {
    readonly x509: { readonly clientCAFile: string };
    readonly webhook: { readonly enabled: boolean; readonly cacheTTL: string };
    readonly anonymous: { readonly enabled: boolean };
  };
  readonly authorization: {
    readonly mode: string;
    readonly webhook: { readonly cacheAuthorizedTTL: string; readonly cacheUnauthorizedTTL: string };
  };
  readonly registryPullQPS: number;
  readonly registryBurst: number;
  readonly imagePullCredentialsVerificationPolicy: string;
  readonly preloadedImagesVerificationAllowlist: readonly string[];
  readonly eventRecordQPS: number;
  readonly eventBurst: number;
  readonly enableDebuggingHandlers: boolean;
  readonly enableContentionProfiling: boolean;
  /** 0 for none. */
  readonly healthzPort: number;
  readonly healthzBindAddress: string;
  readonly oomScoreAdj: number;
  readonly clusterDomain: string;
  readonly clusterDNS: readonly string[];
  readonly streamingConnectionIdleTimeout: string;
  readonly nodeStatusUpdateFrequency: string;
  readonly nodeStatusReportFrequency: string;
  readonly nodeLeaseDurationSeconds: number;
  readonly imageMinimumGCAge: string;
  readonly imageMaximumGCAge: string;
  readonly imageGCHighThresholdPercent: number;
  readonly imageGCLowThresholdPercent: number;
  readonly volumeStatsAggPeriod: string;
  readonly kubeletCgroups: string;
  readonly systemCgroups: string;
  readonly cgroupRoot: string;
  readonly cgroupsPerQOS: boolean;
  readonly cgroupDriver: string;
  readonly cpuManagerPolicy: string;
  readonly singleProcessOOMKill?: boolean;
  readonly cpuManagerPolicyOptions: Strings;
  readonly cpuManagerReconcilePeriod: string;
  readonly memoryManagerPolicy: string;
  readonly topologyManagerPolicy: string;
  readonly topologyManagerScope: string;
  readonly topologyManagerPolicyOptions: Strings;
  readonly qosReserved: Strings;
  readonly runtimeRequestTimeout: string;
  readonly hairpinMode: string;
  readonly maxPods: number;
  readonly podCIDR: string;
  /** -1 for no limit. */
  readonly podPidsLimit: number;
  /** Empty for none. */
  readonly resolvConf: string;
  readonly runOnce: boolean;
  readonly cpuCFSQuota: boolean;
  readonly cpuCFSQuotaPeriod: string;
  /** -1 for all. */
  readonly nodeStatusMaxImages: number;
  readonly maxOpenFiles: number;
  readonly contentType: string;
  readonly kubeAPIQPS: number;
  readonly kubeAPIBurst: number;
  readonly serializeImagePulls: boolean;
  readonly maxParallelImagePulls?: number;
  readonly evictionHard: Strings;
  readonly evictionSoft: Strings;
  readonly evictionSoftGracePeriod: Strings;
  readonly evictionPressureTransitionPeriod: string;
  readonly evictionMaxPodGracePeriod: number;
  readonly evictionMinimumReclaim: Strings;
  readonly mergeDefaultEvictionSettings: boolean;
  readonly podsPerCore: number;
  readonly enableControllerAttachDetach: boolean;
  readonly protectKernelDefaults: boolean;
  readonly makeIPTablesUtilChains: boolean;
  readonly iptablesMasqueradeBit: number;
  readonly iptablesDropBit: number;
  readonly featureGates: Readonly<Record<string, boolean>>;
  readonly failSwapOn: boolean;
  readonly memorySwap: { readonly swapBehavior: string };
  readonly containerLogMaxSize: string;
  readonly containerLogMaxFiles: number;
  readonly containerLogMaxWorkers: number;
  readonly containerLogMonitorInterval: string;
  readonly configMapAndSecretChangeDetectionStrategy: string;
  readonly systemReserved: Strings;
  readonly kubeReserved: Strings;
  readonly reservedSystemCPUs: string;
  readonly showHiddenMetricsForVersion: string;
  readonly systemReservedCgroup: string;
  readonly kubeReservedCgroup: string;
  readonly enforceNodeAllocatable: readonly string[];
  /** Sysctls that pods may set beside the safe ones; `*` at the end stands for all below. */
  readonly allowedUnsafeSysctls: readonly string[];
  readonly volumePluginDir: string;
  readonly providerID: string;
  readonly kernelMemcgNotification: boolean;
  readonly logging: object;
  readonly enableSystemLogHandler: boolean;
  readonly enableSystemLogQuery: boolean;
  readonly shutdownGracePeriod: string;
  readonly shutdownGracePeriodCriticalPods: string;
  readonly shutdownGracePeriodByPodPriority?: readonly {
    readonly priority: number;
    readonly shutdownGracePeriodSeconds: number;
  }[];
  readonly crashLoopBackOff: { readonly maxContainerRestartPeriod: string };
  readonly reservedMemory: readonly { readonly numaNode: number; readonly limits: Strings }[];
  readonly enableProfilingHandler: boolean;
  readonly enableDebugFlagsHandler: boolean;
  readonly seccompDefault: boolean;
  readonly memoryThrottlingFactor: number;
  readonly memoryReservationPolicy: string;
  readonly registerWithTaints: readonly Taint[];
  readonly registerNode: boolean;
  readonly tracing?: object;
  readonly localStorageCapacityIsolation: boolean;
  readonly containerRuntimeEndpoint: string;
  readonly imageServiceEndpoint: string;
  readonly failCgroupV1: boolean;
  readonly userNamespaces: { readonly idsPerPod?: number };
}

const evictionHard: Strings = {
  'imagefs.available': '15%',
  'imagefs.inodesFree': '5%',
  'memory.available': '100Mi',
  'nodefs.available': '10%',
  'nodefs.inodesFree': '5%',
};

/** The whole of what was given in part. Throws one line for what cannot be used, in upstream's words. */
export function kubeletConfiguration(given: Partial<KubeletConfiguration>): KubeletConfiguration {
  const base = withDefaults(given as Readonly<Record<string, unknown>>) as unknown as KubeletConfiguration;
  // Who says how often the status is computed, and not how often it is told, means both.
  const update = given.nodeStatusUpdateFrequency;
  const report = given.nodeStatusReportFrequency;
  const c: KubeletConfiguration = {
    ...base,
    ...(update !== undefined && parseDuration(update) !== 0 && (report === undefined || parseDuration(report) === 0)
      ? { nodeStatusReportFrequency: update }
      : {}),
    serializeImagePulls: given.serializeImagePulls ?? (given.maxParallelImagePulls ?? 0) < 2,
    podPidsLimit: base.podPidsLimit < 0 ? -1 : base.podPidsLimit,
    evictionHard:
      given.evictionHard === undefined
        ? evictionHard
        : base.mergeDefaultEvictionSettings
          ? { ...evictionHard, ...given.evictionHard }
          : given.evictionHard,
  };
  const errors = configurationErrors(c);
  if (errors.length > 0) throw new Error(errors.length === 1 ? errors[0] : `[${errors.join(', ')}]`);
  return c;
}

/** What the node keeps for itself of a resource: milli-units of cpu, whole units of the rest. */
export function reserved(c: KubeletConfiguration, name: string): number {
  // CPUs that are named count instead of any number of them.
  if (name === 'cpu' && c.reservedSystemCPUs !== '') return 1000 * parseCpuSet(c.reservedSystemCPUs).size;
  let sum = 0;
  for (const list of [c.systemReserved, c.kubeReserved]) {
    const text = list[name];
    if (text === undefined) continue;
    const q = parseQuantity(text);
    sum += name === 'cpu' ? quantityMilli(q) : quantityValue(q);
  }
  return sum;
}
