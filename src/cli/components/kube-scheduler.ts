/** `knarr kube-scheduler` */
import { FeatureGateError, FeatureGates } from '../../api/features/feature-gates.ts';
import { UsageError } from '../errors.ts';
import { componentCommand } from './component.ts';
import { controlPlaneFlags, controlPlaneOptions } from './control-plane.ts';
import { idleControlPlaneFlags } from './control-plane-idle-flags.ts';

const usualElection = {
  leaderElect: true,
  leaseDurationMs: 15_000,
  renewDeadlineMs: 10_000,
  retryPeriodMs: 2_000,
  resourceName: 'kube-scheduler',
  resourceNamespace: 'kube-system',
};

function checkFeatures(given: Readonly<Record<string, string>>): void {
  try {
    void new FeatureGates(given);
  } catch (error) {
    if (!(error instanceof FeatureGateError)) throw error;
    throw new UsageError(error.message);
  }
}

export const schedulerCommand = componentCommand({
  name: 'kube-scheduler',
  summary: 'the scheduler',
  description: 'Finds a node for each pod that has none. Several may run; the one that holds the lease works.',
  idle: idleControlPlaneFlags,
  flags: [
    {
      name: 'config',
      kind: 'string',
      value: 'FILE',
      help: 'a KubeSchedulerConfiguration: profiles, back-off, leader election; flags of the election go before it',
    },
    {
      name: 'write-config-to',
      kind: 'string',
      value: 'FILE',
      help: 'write the configuration in force there, and end',
    },
    {
      name: 'pod-max-in-unschedulable-pods-duration',
      kind: 'duration',
      help: 'how long a pod waits for something that helps it before it is tried anyway (default 5m)',
    },
    {
      name: 'feature-gates',
      kind: 'map',
      value: 'Name=bool,…',
      help: "upstream's gates; an unknown one is an error",
    },
    ...controlPlaneFlags(10259, 'kube-scheduler', true),
  ],
  examples: [
    ['knarr kube-scheduler --kubeconfig scheduler.conf', 'with a kubeconfig of "knarr certificates"'],
    ['knarr kube-scheduler --kubeconfig scheduler.conf --leader-elect=false --secure-port 0', 'alone, and no port'],
  ],
  async run(v, env) {
    checkFeatures(v.map('feature-gates'));
    const { runScheduler } = await import('../../cluster/processes/kube-scheduler.ts');
    await runScheduler(
      {
        ...controlPlaneOptions(v),
        config: v.string('config'),
        writeConfigTo: v.string('write-config-to'),
        usualElection,
        unschedulableMs: v.maybe('pod-max-in-unschedulable-pods-duration'),
      },
      env,
    );
  },
});
