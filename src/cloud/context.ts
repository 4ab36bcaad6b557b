/** What the cloud controllers are given, and how one describes itself to the manager. */
import type { DescriptorFor, SharedContext } from '../client/controller-manager.ts';
import type { CloudProvider } from './provider.ts';

export type { RunningController } from '../client/controller-manager.ts';

/** Settings, named and defaulted as cloud-controller-manager's flags. Durations in milliseconds. */
export interface CloudControllerOptions {
  /** `--cluster-name`, default kubernetes. */
  readonly clusterName?: string;
  /** `--cluster-cidr`, comma-separated for dual stack. */
  readonly clusterCIDR?: string;
  /** `--allocate-node-cidrs`, default false. Routes are made only with it. */
  readonly allocateNodeCIDRs?: boolean;
  /** `--configure-cloud-routes`, default true. */
  readonly configureCloudRoutes?: boolean;
  /** `--route-reconciliation-period`, default 10 s. */
  readonly routeReconciliationPeriodMs?: number;
  /** `--node-monitor-period`, default 5 s. */
  readonly nodeMonitorPeriodMs?: number;
  /** `--node-status-update-frequency`, default 5 min. */
  readonly nodeStatusUpdateFrequencyMs?: number;
  /** `--concurrent-node-syncs`, default 1. */
  readonly concurrentNodeSyncs?: number;
  /** `--concurrent-service-syncs`, default 1. */
  readonly concurrentServiceSyncs?: number;
}

export interface CloudContext extends SharedContext {
  readonly provider: CloudProvider;
  readonly options: CloudControllerOptions;
}

export type CloudControllerDescriptor = DescriptorFor<CloudContext>;
