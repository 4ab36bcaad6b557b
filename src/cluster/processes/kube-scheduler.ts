/** `knarr kube-scheduler`: the scheduler alone. */
import { computed } from '../../apiserver/metrics/exposition.ts';
import type { Scheduler } from '../../scheduler/scheduler.ts';
import { createScheduler } from '../../scheduler/scheduler.ts';
import type { ControlPlaneFlags } from './control-plane-component.ts';
import { runControlPlaneComponent } from './control-plane-component.ts';
import type { ComponentEnvironment } from './environment.ts';

export async function runScheduler(flags: ControlPlaneFlags, env: ComponentEnvironment): Promise<void> {
  const { clock, random, logger } = env;
  let scheduler: Scheduler | undefined;
  await runControlPlaneComponent({
    component: 'kube-scheduler',
    flags,
    env,
    metrics: [
      computed('gauge', 'scheduler_pending_pods', 'Pending pods by the queue they are in.', () => {
        const depth = scheduler?.depth ?? { active: 0, backoff: 0, unschedulable: 0 };
        return Object.entries(depth).map(([queue, n]) => [{ queue }, n] as const);
      }),
    ],
    make: (client) => (scheduler = createScheduler({ client, clock, random, logger })),
  });
}
