/** Flags of kube-controller-manager that are settings of single controllers: how much at a time, how often, and whether at all. */
import type { ConcurrencyName, ControllerSettings } from '../../cluster/processes/kube-controller-manager.ts';
import type { Flag } from '../flags.ts';
import type { Values } from './component.ts';

/** What is worked on, with the number at a time where none is given. */
const concurrency: readonly (readonly [name: ConcurrencyName, what: string, preset: number])[] = [
  ['cron-job', 'CronJobs', 5],
  ['daemonset', 'DaemonSets', 5],
  ['deployment', 'Deployments', 5],
  ['endpoint', 'Endpoints', 5],
  ['ephemeralvolume', 'pods with ephemeral volumes', 5],
  ['gc', 'objects for the garbage collector', 20],
  ['horizontal-pod-autoscaler', 'HorizontalPodAutoscalers', 5],
  ['job', 'Jobs', 5],
  ['namespace', 'namespaces in deletion', 10],
  ['rc', 'ReplicationControllers', 5],
  ['replicaset', 'ReplicaSets', 5],
  ['resource-quota', 'ResourceQuotas', 5],
  ['service-endpoint', 'Services with EndpointSlices', 5],
  ['serviceaccount-token', 'tokens in Secrets', 5],
  ['statefulset', 'StatefulSets', 5],
  ['ttl-after-finished', 'ended Jobs with a time to live', 5],
  ['validating-admission-policy-status', 'policies that are type-checked', 5],
  ['mirroring', 'Endpoints that are mirrored', 5],
];

const flagOf = (name: ConcurrencyName): string =>
  name === 'mirroring' ? 'mirroring-concurrent-service-endpoint-syncs' : `concurrent-${name}-syncs`;

const duration = (name: string, preset: number, help: string): Flag => ({
  name,
  kind: 'duration',
  default: preset,
  help,
});

export const controllerFlags: readonly Flag[] = [
  ...concurrency.map(([name, what, preset]): Flag => ({
    name: flagOf(name),
    kind: 'int',
    help: `${what} worked on at a time (default ${preset})`,
  })),
  duration('endpoint-updates-batch-period', 0, 'how long changes of pods are gathered for Endpoints'),
  duration('endpointslice-updates-batch-period', 0, 'the same for EndpointSlices'),
  duration('mirroring-endpointslice-updates-batch-period', 0, 'the same for mirrored ones'),
  duration(
    'horizontal-pod-autoscaler-cpu-initialization-period',
    300_000,
    'how long after its start the CPU of a pod may count for nothing',
  ),
  duration(
    'horizontal-pod-autoscaler-initial-readiness-delay',
    30_000,
    'how long after its start a pod that is not ready has never been',
  ),
  {
    name: 'enable-dynamic-provisioning',
    kind: 'bool',
    default: true,
    help: 'claims are handed to the provisioner of their class',
  },
];

export function controllerValues(v: Values): Partial<ControllerSettings> {
  const given: [ConcurrencyName, number][] = [];
  for (const [name] of concurrency) {
    const n = v.maybe<number>(flagOf(name));
    if (n !== undefined) given.push([name, Math.max(1, n)]);
  }
  return {
    ...(given.length === 0 ? {} : { concurrency: Object.fromEntries(given) }),
    endpointUpdatesBatchPeriodMs: v.ms('endpoint-updates-batch-period'),
    endpointSliceUpdatesBatchPeriodMs: v.ms('endpointslice-updates-batch-period'),
    mirroringEndpointSliceUpdatesBatchPeriodMs: v.ms('mirroring-endpointslice-updates-batch-period'),
    horizontalPodAutoscalerCpuInitializationPeriodMs: v.ms('horizontal-pod-autoscaler-cpu-initialization-period'),
    horizontalPodAutoscalerInitialReadinessDelayMs: v.ms('horizontal-pod-autoscaler-initial-readiness-delay'),
    enableDynamicProvisioning: v.bool('enable-dynamic-provisioning'),
  };
}
