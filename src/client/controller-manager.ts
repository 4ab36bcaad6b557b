/**
 * What the managers of controllers have in common, whichever controllers are theirs: what one hands to each of them, which ones
 * `--controllers` asks for, and how they are started and stopped together.
 */
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import type { Random } from '../base/random.ts';
import { EventRecorder } from './event-recorder.ts';
import { InformerFactory } from './informer-factory.ts';
import type { TypedClient } from './typed-client.ts';
import type { WorkQueueMetrics } from './work-queue-metrics.ts';

/** What every controller is given; each manager adds what its own ones need. */
export interface SharedContext {
  /** The manager's own identity, behind the shared informers. */
  readonly client: TypedClient;
  /** A client as `system:serviceaccount:kube-system:<serviceAccount>`, upstream's identity of that controller. */
  clientFor(serviceAccount: string): TypedClient;
  /** Shared by all controllers; started after all have registered their handlers. */
  readonly informers: InformerFactory;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** Where the queues of its controllers are measured; undefined: nowhere. */
  readonly queueMetrics: WorkQueueMetrics | undefined;
  /** A recorder that is stopped with the manager. `component`: the source of the events. */
  recorder(component: string, client: TypedClient): EventRecorder;
}

/** A started controller. */
export interface RunningController {
  /** Ends its work; resolves when nothing of it runs any more. */
  stop(): Promise<void>;
}

/** How a controller describes itself to its manager. */
export interface DescriptorFor<C extends SharedContext> {
  /** Upstream's name for `--controllers`: `deployment-controller`. */
  readonly name: string;
  /** Older names that `--controllers` accepts too. */
  readonly aliases?: readonly string[];
  /** False: only when named. */
  readonly enabledByDefault?: boolean;
  /** Registers handlers on the shared informers and begins to work when they are in sync. Undefined: not wanted with these options. */
  start(context: C): RunningController | undefined | Promise<RunningController | undefined>;
}

/** What a manager is given by whoever assembles the cluster. */
export interface ManagerOptions {
  /** As the manager itself: the shared informers read for everybody. */
  readonly client: TypedClient;
  /** A client as a service account of kube-system. */
  clientFor(serviceAccount: string): TypedClient;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** `--controllers`: `*` for those on by default, names, `-name` to leave one out. Default `*`. */
  readonly controllers?: readonly string[];
  /** `--controller-start-interval`, default 0. */
  readonly startIntervalMs?: number;
  readonly queueMetrics?: WorkQueueMetrics;
  /** Ends the waiting between them. */
  readonly signal?: AbortSignal;
}

export interface ControllerManager {
  /** Names of the controllers that were started. */
  readonly running: readonly string[];
  /** Starts everything; resolves when all have registered. They work as soon as their informers are in sync. */
  start(): Promise<void>;
  /** Resolves when the informers made so far are in sync. */
  synced(): Promise<void>;
  stop(): Promise<void>;
}

/** Those of `all` that `--controllers` asks for; throws for a name that none has. */
export function chooseControllers<C extends SharedContext>(
  all: readonly DescriptorFor<C>[],
  wanted: readonly string[],
): DescriptorFor<C>[] {
  const known = new Map<string, DescriptorFor<C>>();
  for (const c of all) for (const name of [c.name, ...(c.aliases ?? [])]) known.set(name, c);
  const star = wanted.includes('*');
  const on = new Set<DescriptorFor<C>>();
  const off = new Set<DescriptorFor<C>>();
  for (const entry of wanted) {
    if (entry === '*') continue;
    const name = entry.startsWith('-') ? entry.slice(1) : entry;
    const found = known.get(name);
    if (found === undefined) throw new Error(`"${name}" is not in the list of known controllers`);
    (entry.startsWith('-') ? off : on).add(found);
  }
  return all.filter((c) => !off.has(c) && (on.has(c) || (star && c.enabledByDefault !== false)));
}

/** @param contextOf adds to what is shared what this manager's controllers need besides */
export function manageControllers<C extends SharedContext>(
  chosen: readonly DescriptorFor<C>[],
  options: ManagerOptions,
  contextOf: (shared: SharedContext) => C,
): ControllerManager {
  const { client, clock, random, logger } = options;
  const informers = new InformerFactory({ client, clock, random, logger });
  const recorders: EventRecorder[] = [];
  const clients = new Map<string, TypedClient>();
  const running: { name: string; controller: RunningController }[] = [];
  const context = contextOf({
    client,
    clientFor: (serviceAccount) => {
      let found = clients.get(serviceAccount);
      if (found === undefined) {
        found = options.clientFor(serviceAccount);
        clients.set(serviceAccount, found);
      }
      return found;
    },
    informers,
    clock,
    random,
    logger,
    queueMetrics: options.queueMetrics,
    recorder: (component, recorderClient) => {
      const recorder = new EventRecorder({ client: recorderClient, clock, random, logger, component });
      recorders.push(recorder);
      return recorder;
    },
  });
  return {
    get running() {
      return running.map((r) => r.name);
    },
    start: async () => {
      for (const descriptor of chosen) {
        const started = descriptor.start(context);
        const controller = started instanceof Promise ? await started : started;
        if (controller !== undefined) running.push({ name: descriptor.name, controller });
        if ((options.startIntervalMs ?? 0) > 0) await clock.sleep(options.startIntervalMs!, options.signal);
      }
      informers.start();
    },
    synced: () => informers.synced(),
    stop: async () => {
      await Promise.all(running.map((r) => r.controller.stop()));
      running.length = 0;
      await Promise.all(recorders.map((r) => r.stop()));
      await informers.stop();
    },
  };
}
