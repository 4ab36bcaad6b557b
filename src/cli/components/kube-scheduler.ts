/** `knarr kube-scheduler` */
import { componentCommand } from './component.ts';
import { idleControlPlaneFlags } from './control-plane-idle-flags.ts';
import { controlPlaneFlags, controlPlaneOptions } from './control-plane.ts';

export const schedulerCommand = componentCommand({
  name: 'kube-scheduler',
  summary: 'the scheduler',
  description: 'Finds a node for each pod that has none. Several may run; the one that holds the lease works.',
  idle: idleControlPlaneFlags,
  flags: controlPlaneFlags(10259, 'kube-scheduler', true),
  examples: [
    ['knarr kube-scheduler --kubeconfig scheduler.conf', 'with a kubeconfig of "knarr certificates"'],
    ['knarr kube-scheduler --kubeconfig scheduler.conf --leader-elect=false --secure-port 0', 'alone, and no port'],
  ],
  async run(v, env) {
    const { runScheduler } = await import('../../cluster/processes/kube-scheduler.ts');
    await runScheduler(controlPlaneOptions(v), env);
  },
});
