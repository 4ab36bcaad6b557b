/** Settings of the controllers, named and defaulted as kube-controller-manager's flags. Durations in milliseconds. */
import type { FeatureGates } from '../api/features/feature-gates.ts';

interface CertificateSigner {
  /** The signers it stands for; all of upstream's when left out. */
  readonly signers?: ReadonlySet<string>;
  /** Signs a PEM PKCS #10 request for a signer name; returns a PEM certificate. */
  sign(request: {
    readonly signerName: string;
    readonly csrPem: string;
    readonly usages: readonly string[];
    readonly expirationSeconds: number | undefined;
  }): Promise<string>;
}

/** The middles of `--concurrent-…-syncs`; `mirroring`: `--mirroring-concurrent-service-endpoint-syncs`. */
export type ConcurrencyName =
  | 'cron-job'
  | 'daemonset'
  | 'deployment'
  | 'endpoint'
  | 'ephemeralvolume'
  | 'gc'
  | 'horizontal-pod-autoscaler'
  | 'job'
  | 'mirroring'
  | 'namespace'
  | 'rc'
  | 'replicaset'
  | 'resource-quota'
  | 'service-endpoint'
  | 'serviceaccount-token'
  | 'statefulset'
  | 'ttl-after-finished'
  | 'validating-admission-policy-status';

export interface ControllerOptions {
  /** `--feature-gates`; the release's defaults when left out. */
  readonly features?: FeatureGates;
  /** PEM of the cluster's CA, published as ConfigMap kube-root-ca.crt and put into token secrets (`--root-ca-file`). */
  readonly rootCA?: string;
  /** Signs certificate requests (`--cluster-signing-cert-file`); without it none is signed. */
  readonly certificateSigner?: CertificateSigner;
  /** Makes the token of a kubernetes.io/service-account-token Secret (`--service-account-private-key-file`). */
  readonly signServiceAccountToken?: (claims: {
    readonly namespace: string;
    readonly serviceAccountName: string;
    readonly serviceAccountUid: string;
    readonly secretName: string;
  }) => Promise<string>;
  /** `--cluster-cidr`, comma-separated for dual stack. */
  readonly clusterCIDR?: string;
  /** `--allocate-node-cidrs`, default false. */
  readonly allocateNodeCIDRs?: boolean;
  /** `--node-cidr-mask-size-ipv4`, default 24. */
  readonly nodeCIDRMaskSizeIPv4?: number;
  /** `--node-cidr-mask-size-ipv6`, default 64. */
  readonly nodeCIDRMaskSizeIPv6?: number;
  /** `--service-cluster-ip-range`: what node ranges leave out where they meet it. */
  readonly serviceClusterIPRanges?: readonly string[];
  /** `--concurrent-*-syncs`: keys worked on at a time, by the middle of the flag. */
  readonly concurrency?: Readonly<Partial<Record<ConcurrencyName, number>>>;
  /** `--endpoint-updates-batch-period`, default 0. */
  readonly endpointUpdatesBatchPeriodMs?: number;
  /** `--endpointslice-updates-batch-period`, default 0. */
  readonly endpointSliceUpdatesBatchPeriodMs?: number;
  /** `--mirroring-endpointslice-updates-batch-period`, default 0. */
  readonly mirroringEndpointSliceUpdatesBatchPeriodMs?: number;
  /** `--horizontal-pod-autoscaler-cpu-initialization-period`, default 5 min. */
  readonly horizontalPodAutoscalerCpuInitializationPeriodMs?: number;
  /** `--horizontal-pod-autoscaler-initial-readiness-delay`, default 30 s. */
  readonly horizontalPodAutoscalerInitialReadinessDelayMs?: number;
  /** `--enable-dynamic-provisioning`, default true. */
  readonly enableDynamicProvisioning?: boolean;
  /** `--node-monitor-period`, default 5 s. */
  readonly nodeMonitorPeriodMs?: number;
  /** `--node-monitor-grace-period`, default 50 s. */
  readonly nodeMonitorGracePeriodMs?: number;
  /** `--node-startup-grace-period`, default 60 s. */
  readonly nodeStartupGracePeriodMs?: number;
  /** `--unhealthy-zone-threshold`, default 0.55. */
  readonly unhealthyZoneThreshold?: number;
  /** `--large-cluster-size-threshold`, default 50. */
  readonly largeClusterSizeThreshold?: number;
  /** `--node-eviction-rate`, default 0.1 a second. */
  readonly nodeEvictionRate?: number;
  /** `--secondary-node-eviction-rate`, default 0.01 a second. */
  readonly secondaryNodeEvictionRate?: number;
  /** `--terminated-pod-gc-threshold`, default 12,500. */
  readonly terminatedPodGCThreshold?: number;
  /** `--resource-quota-sync-period`, default 5 min. */
  readonly resourceQuotaSyncPeriodMs?: number;
  /** `--horizontal-pod-autoscaler-sync-period`, default 15 s. */
  readonly horizontalPodAutoscalerSyncPeriodMs?: number;
  /** `--horizontal-pod-autoscaler-downscale-stabilization`, default 5 min. */
  readonly horizontalPodAutoscalerDownscaleStabilizationMs?: number;
  /** `--horizontal-pod-autoscaler-tolerance`, default 0.1. */
  readonly horizontalPodAutoscalerTolerance?: number;
  /** `--max-endpoints-per-slice`, default 100. */
  readonly maxEndpointsPerSlice?: number;
  /** `--mirroring-max-endpoints-per-subset`, default 1000. */
  readonly mirroringMaxEndpointsPerSubset?: number;
  /** `--pvclaimbinder-sync-period`, default 15 s. */
  readonly pvClaimBinderSyncPeriodMs?: number;
  /** `--attach-detach-reconcile-sync-period`, default 60 s. */
  readonly attachDetachReconcileSyncPeriodMs?: number;
  /** `--disable-attach-detach-reconcile-sync`, default false. */
  readonly disableAttachDetachReconcileSync?: boolean;
  /** `--disable-force-detach-on-timeout`, default false. */
  readonly disableForceDetachOnTimeout?: boolean;
  /** `--legacy-service-account-token-clean-up-period`, default one year. */
  readonly legacyServiceAccountTokenCleanUpPeriodMs?: number;
  /** How long a namespace in deletion is left alone first; default 5 s. 0 is right for a single API server. */
  readonly namespaceDeletionGracePeriodMs?: number;
  /** `--cluster-name`, default kubernetes. */
  readonly clusterName?: string;
}
