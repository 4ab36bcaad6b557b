/** `knarr kube-scheduler`: the scheduler alone. */
import { SchedulerMetrics } from '../../scheduler/metrics.ts';
import { defaultSchedulerName } from '../../scheduler/profile.ts';
import type { Scheduler } from '../../scheduler/scheduler.ts';
import { createScheduler } from '../../scheduler/scheduler.ts';
import type { ControlPlaneFlags } from './control-plane-component.ts';
import { runControlPlaneComponent } from './control-plane-component.ts';
import type { ComponentEnvironment } from './environment.ts';
import { measured } from './environment.ts';
import type { LeaderElectionFlags } from './leading.ts';
import { podResourceMetrics } from './pod-resource-metrics.ts';
import { readSchedulerConfig, writeSchedulerConfig, type SchedulerConfig } from './scheduler-config.ts';

export interface SchedulerFlags extends ControlPlaneFlags {
  /** A KubeSchedulerConfiguration. */
  readonly config: string | undefined;
  readonly writeConfigTo: string | undefined;
  /** What leader election is when no flag says anything: flags that say something else go before `config`. */
  readonly usualElection: LeaderElectionFlags;
  /** `--pod-max-in-unschedulable-pods-duration`; undefined: five minutes. */
  readonly unschedulableMs: number | undefined;
}

const nothing: SchedulerConfig = {
  kubeconfig: undefined,
  election: {},
  profiles: [{ schedulerName: defaultSchedulerName }],
  initialBackoffMs: undefined,
  maxBackoffMs: undefined,
};

function electionOf(flags: SchedulerFlags, config: SchedulerConfig): LeaderElectionFlags {
  const { usualElection: usual, election } = flags;
  const said = Object.entries(election).filter(([name, value]) => value !== usual[name as keyof LeaderElectionFlags]);
  return { ...usual, ...config.election, ...Object.fromEntries(said) };
}

export async function runScheduler(given: SchedulerFlags, environment: ComponentEnvironment): Promise<void> {
  const env = measured(environment);
  const metrics = new SchedulerMetrics();
  const { clock, random, logger } = env;
  const file = given.config ?? '';
  const config = file === '' ? nothing : await readSchedulerConfig(file, logger);
  const election = electionOf(given, config);
  const flags: ControlPlaneFlags = { ...given, kubeconfig: config.kubeconfig ?? given.kubeconfig, election };
  if ((given.writeConfigTo ?? '') !== '') {
    await writeSchedulerConfig(given.writeConfigTo!, flags.kubeconfig, election, config);
    env.say(`kube-scheduler: wrote its configuration to ${given.writeConfigTo}`);
    return;
  }
  const { profiles, initialBackoffMs, maxBackoffMs } = config;
  let scheduler: Scheduler | undefined;
  await runControlPlaneComponent({
    component: 'kube-scheduler',
    flags,
    env,
    metrics: metrics.families,
    routes: new Map([
      [
        '/metrics/resources',
        () => Promise.resolve({ status: 200, body: podResourceMetrics(() => scheduler?.pods() ?? []) }),
      ],
    ]),
    make: (client) =>
      (scheduler = createScheduler({
        ...{ client, clock, random, logger, profiles, initialBackoffMs, maxBackoffMs },
        unschedulableMs: given.unschedulableMs,
        metrics,
      })),
  });
}
