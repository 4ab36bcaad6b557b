/** `createControllerManager`: starts the chosen controllers over shared informers, each under its own service account. */
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import type { Random } from '../base/random.ts';
import { EventRecorder } from '../client/event-recorder.ts';
import { InformerFactory } from '../client/informer-factory.ts';
import type { TypedClient } from '../client/typed-client.ts';
import type { ControllerContext, ControllerDescriptor, RunningController } from './context.ts';
import type { ControllerOptions } from './options.ts';
import { allControllers } from './registry.ts';

export interface ControllerManagerOptions {
  /** As `system:kube-controller-manager`. */
  readonly client: TypedClient;
  /** A client as a service account of kube-system. */
  clientFor(serviceAccount: string): TypedClient;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** `--controllers`: `*` for those on by default, names, `-name` to leave one out. Default `*`. */
  readonly controllers?: readonly string[];
  readonly options?: ControllerOptions;
  /** `--controller-start-interval`, default 0. */
  readonly startIntervalMs?: number;
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

/** Throws for a name that no controller has. */
export function selectControllers(wanted: readonly string[]): ControllerDescriptor[] {
  const known = new Map<string, ControllerDescriptor>();
  for (const c of allControllers) for (const name of [c.name, ...(c.aliases ?? [])]) known.set(name, c);
  const star = wanted.includes('*');
  const on = new Set<ControllerDescriptor>();
  const off = new Set<ControllerDescriptor>();
  for (const entry of wanted) {
    if (entry === '*') continue;
    const name = entry.startsWith('-') ? entry.slice(1) : entry;
    const found = known.get(name);
    if (found === undefined) throw new Error(`"${name}" is not in the list of known controllers`);
    (entry.startsWith('-') ? off : on).add(found);
  }
  return allControllers.filter((c) => !off.has(c) && (on.has(c) || (star && c.enabledByDefault !== false)));
}

export function createControllerManager(options: ControllerManagerOptions): ControllerManager {
  const { client, clock, random, logger } = options;
  const chosen = selectControllers(options.controllers ?? ['*']);
  const informers = new InformerFactory({ client, clock, random, logger });
  const recorders: EventRecorder[] = [];
  const clients = new Map<string, TypedClient>();
  const running: { name: string; controller: RunningController }[] = [];
  const context: ControllerContext = {
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
    options: options.options ?? {},
    recorder: (component, recorderClient) => {
      const recorder = new EventRecorder({ client: recorderClient, clock, random, logger, component });
      recorders.push(recorder);
      return recorder;
    },
  };
  return {
    get running() {
      return running.map((r) => r.name);
    },
    start: async () => {
      for (const descriptor of chosen) {
        const controller = await descriptor.start(context);
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
