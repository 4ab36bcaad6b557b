/** `createCloudControllerManager`: starts the cloud controllers over shared informers, when asked only as the elected leader. */
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import type { Random } from '../base/random.ts';
import { EventRecorder } from '../client/event-recorder.ts';
import { InformerFactory } from '../client/informer-factory.ts';
import { runLeaderElection } from '../client/leader-election.ts';
import type { TypedClient } from '../client/typed-client.ts';
import type { CloudContext, CloudControllerDescriptor, CloudControllerOptions, RunningController } from './context.ts';
import { cloudNodeController } from './node-controller.ts';
import { cloudNodeLifecycleController } from './node-lifecycle-controller.ts';
import type { CloudProvider } from './provider.ts';
import { nodeRouteController } from './route-controller.ts';
import { serviceLBController } from './service-controller.ts';

export const allCloudControllers: readonly CloudControllerDescriptor[] = [
  cloudNodeController,
  cloudNodeLifecycleController,
  serviceLBController,
  nodeRouteController,
];

export interface LeaderElectionSettings {
  /** Unique per candidate: host name, underscore, uuid. */
  readonly identity: string;
  /** Default cloud-controller-manager. */
  readonly leaseName?: string;
  /** Default kube-system. */
  readonly namespace?: string;
  readonly leaseDurationMs?: number;
  readonly renewDeadlineMs?: number;
  readonly retryPeriodMs?: number;
}

export interface CloudControllerManagerOptions {
  /** As the manager itself: reads nodes and services for everybody. */
  readonly client: TypedClient;
  /** A client as a service account of kube-system (`node-controller`, `service-controller`, `route-controller`). */
  clientFor(serviceAccount: string): TypedClient;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly provider: CloudProvider;
  /** `--controllers`: `*`, names, `-name` to leave one out. Default `*`. */
  readonly controllers?: readonly string[];
  readonly options?: CloudControllerOptions;
  /** Left out: no election, it leads at once. */
  readonly leaderElection?: LeaderElectionSettings;
}

export interface CloudControllerManager {
  /** Names of the controllers that run now. */
  readonly running: readonly string[];
  /** Starts; resolves when the controllers have registered or, with an election, when it takes part. */
  start(): Promise<void>;
  /** Resolves when the informers made so far are in sync. */
  synced(): Promise<void>;
  stop(): Promise<void>;
}

/** Throws for a name that no controller has. */
export function selectCloudControllers(wanted: readonly string[]): CloudControllerDescriptor[] {
  const find = (name: string): CloudControllerDescriptor => {
    const found = allCloudControllers.find((c) => c.name === name || c.aliases.includes(name));
    if (found === undefined) throw new Error(`"${name}" is not in the list of known controllers`);
    return found;
  };
  const off = new Set(wanted.filter((w) => w.startsWith('-')).map((w) => find(w.slice(1))));
  const on = new Set(wanted.filter((w) => w !== '*' && !w.startsWith('-')).map(find));
  return allCloudControllers.filter((c) => !off.has(c) && (on.has(c) || wanted.includes('*')));
}

/** One term of leadership: the controllers with what they share. */
class Term {
  readonly informers: InformerFactory;
  readonly running: { name: string; controller: RunningController }[] = [];
  readonly #recorders: EventRecorder[] = [];

  constructor(options: CloudControllerManagerOptions, chosen: readonly CloudControllerDescriptor[]) {
    const { client, clock, random, logger, provider } = options;
    this.informers = new InformerFactory({ client, clock, random, logger });
    const clients = new Map<string, TypedClient>();
    const context: CloudContext = {
      client,
      clientFor: (serviceAccount) => {
        let found = clients.get(serviceAccount);
        if (found === undefined) {
          found = options.clientFor(serviceAccount);
          clients.set(serviceAccount, found);
        }
        return found;
      },
      provider,
      informers: this.informers,
      clock,
      random,
      logger,
      options: options.options ?? {},
      recorder: (component, recorderClient) => {
        const recorder = new EventRecorder({ client: recorderClient, clock, random, logger, component });
        this.#recorders.push(recorder);
        return recorder;
      },
    };
    provider.setInformers?.(this.informers);
    for (const descriptor of chosen) {
      const controller = descriptor.start(context);
      if (controller !== undefined) this.running.push({ name: descriptor.name, controller });
    }
    this.informers.start();
  }

  async stop(): Promise<void> {
    await Promise.all(this.running.map((r) => r.controller.stop()));
    this.running.length = 0;
    await Promise.all(this.#recorders.map((r) => r.stop()));
    await this.informers.stop();
  }
}

export function createCloudControllerManager(options: CloudControllerManagerOptions): CloudControllerManager {
  const { client, clock, random, logger, leaderElection } = options;
  const chosen = selectCloudControllers(options.controllers ?? ['*']);
  const abort = new AbortController();
  let term: Term | undefined;
  let election: Promise<void> | undefined;

  const lead = async (signal: AbortSignal): Promise<void> => {
    const mine = new Term(options, chosen);
    term = mine;
    if (!signal.aborted)
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
    term = undefined;
    await mine.stop();
  };
  const campaign = async (settings: LeaderElectionSettings): Promise<void> => {
    while (!abort.signal.aborted) {
      await runLeaderElection({
        client,
        clock,
        random,
        logger,
        name: settings.leaseName ?? 'cloud-controller-manager',
        identity: settings.identity,
        ...(settings.namespace === undefined ? {} : { namespace: settings.namespace }),
        ...(settings.leaseDurationMs === undefined ? {} : { leaseDurationMs: settings.leaseDurationMs }),
        ...(settings.renewDeadlineMs === undefined ? {} : { renewDeadlineMs: settings.renewDeadlineMs }),
        ...(settings.retryPeriodMs === undefined ? {} : { retryPeriodMs: settings.retryPeriodMs }),
        signal: abort.signal,
        onStartedLeading: lead,
      });
    }
  };
  return {
    get running() {
      return term?.running.map((r) => r.name) ?? [];
    },
    start: () => {
      if (leaderElection === undefined) term = new Term(options, chosen);
      else
        election = campaign(leaderElection).catch((error: unknown) => {
          if (!abort.signal.aborted) logger.error('leader election ended', { error });
        });
      return Promise.resolve();
    },
    synced: () => term?.informers.synced() ?? Promise.resolve(),
    stop: async () => {
      abort.abort(new Error('the cloud controller manager stops'));
      await election;
      const last = term;
      term = undefined;
      await last?.stop();
      await options.provider.close?.();
    },
  };
}
