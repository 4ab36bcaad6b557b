/** What the cloud controllers are given, and how one describes itself to the manager. */
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import type { Random } from '../base/random.ts';
import type { EventRecorder } from '../client/event-recorder.ts';
import type { InformerFactory } from '../client/informer-factory.ts';
import type { TypedClient } from '../client/typed-client.ts';
import type { CloudProvider } from './provider.ts';

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

export interface CloudContext {
  /** The manager's own identity, behind the shared informers. */
  readonly client: TypedClient;
  /** A client as `system:serviceaccount:kube-system:<serviceAccount>`, upstream's identity of that controller. */
  clientFor(serviceAccount: string): TypedClient;
  readonly provider: CloudProvider;
  readonly informers: InformerFactory;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly options: CloudControllerOptions;
  /** A recorder that is stopped with the manager. `component`: the source of the events. */
  recorder(component: string, client: TypedClient): EventRecorder;
}

export interface RunningController {
  /** Ends its work; resolves when nothing of it runs any more. */
  stop(): Promise<void>;
}

export interface CloudControllerDescriptor {
  /** Upstream's name for `--controllers`: `service-lb-controller`. */
  readonly name: string;
  readonly aliases: readonly string[];
  /** Undefined: the provider or the options do not ask for it. */
  start(context: CloudContext): RunningController | undefined;
}
