/**
 * A component's work, begun at once or as the elected leader, and ended with the signal. Losing the lead ends the process with
 * an error, as upstream: whoever restarts it makes it a candidate again.
 */
import { hostname } from 'node:os';
import { EventRecorder } from '../../client/event-recorder.ts';
import { runLeaderElection } from '../../client/leader-election.ts';
import type { TypedClient } from '../../client/typed-client.ts';
import type { ComponentEnvironment } from './environment.ts';
import { aborted } from './environment.ts';

/** `--leader-elect` and what goes with it. Durations in milliseconds. */
export interface LeaderElectionFlags {
  readonly leaderElect: boolean;
  readonly leaseDurationMs: number;
  readonly renewDeadlineMs: number;
  readonly retryPeriodMs: number;
  readonly resourceName: string;
  readonly resourceNamespace: string;
}

export interface Work {
  start(): Promise<void>;
  /** Called after `start` has settled, or while it still waits for its informers. */
  stop(): Promise<void>;
}

/** Whether this process does the work now; read by its metrics. */
export interface Leadership {
  leads: boolean;
}

async function work(make: () => Work, signal: AbortSignal): Promise<void> {
  const part = make();
  const starting = part.start();
  let failure: { error: unknown } | undefined;
  const settled = starting.catch((error: unknown) => {
    failure = { error };
  });
  await Promise.race([aborted(signal), settled.then(() => (failure === undefined ? aborted(signal) : undefined))]);
  await part.stop();
  await settled;
  if (failure !== undefined && !signal.aborted) throw failure.error;
}

/** Resolves when the signal has ended the work; rejects when it fails or the lead is lost. */
export async function lead(options: {
  readonly component: string;
  readonly env: ComponentEnvironment;
  readonly client: TypedClient;
  readonly flags: LeaderElectionFlags;
  readonly leadership: Leadership;
  readonly make: () => Work;
}): Promise<void> {
  const { component, env, client, flags, leadership, make } = options;
  const { clock, random, logger, signal } = env;
  if (!flags.leaderElect) {
    leadership.leads = true;
    return work(make, signal);
  }
  const ended = new AbortController();
  const both = AbortSignal.any([signal, ended.signal]);
  const recorder = new EventRecorder({ client, clock, random, logger, component });
  let failure: { error: unknown } | undefined;
  try {
    await runLeaderElection({
      client,
      clock,
      random,
      logger,
      name: flags.resourceName,
      namespace: flags.resourceNamespace,
      identity: `${hostname()}_${random.uuid()}`,
      leaseDurationMs: flags.leaseDurationMs,
      renewDeadlineMs: flags.renewDeadlineMs,
      retryPeriodMs: flags.retryPeriodMs,
      recorder,
      signal: both,
      onNewLeader: (identity) => logger.info('new leader elected', { lease: flags.resourceName, identity }),
      onStartedLeading: async (lost) => {
        leadership.leads = true;
        try {
          await work(make, lost);
        } catch (error) {
          failure = { error };
          ended.abort(new Error('the work has failed'));
        }
      },
    });
  } finally {
    leadership.leads = false;
    await recorder.stop();
  }
  if (failure !== undefined) throw failure.error;
  if (!signal.aborted) throw new Error(`${component} lost the lead (lease ${flags.resourceName}); start it again`);
}
