/** What every controller is given, and how a controller describes itself to the manager. */
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import type { Random } from '../base/random.ts';
import type { EventRecorder } from '../client/event-recorder.ts';
import type { InformerFactory } from '../client/informer-factory.ts';
import type { TypedClient } from '../client/typed-client.ts';
import type { ControllerOptions } from './options.ts';

export interface ControllerContext {
  /** The manager's own identity (`system:kube-controller-manager`), behind the shared informers. */
  readonly client: TypedClient;
  /** A client as `system:serviceaccount:kube-system:<serviceAccount>`, upstream's identity of that controller. */
  clientFor(serviceAccount: string): TypedClient;
  /** Shared by all controllers; started after all have registered their handlers. */
  readonly informers: InformerFactory;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly options: ControllerOptions;
  /** A recorder that is stopped with the manager. `component`: the source of the events. */
  recorder(component: string, client: TypedClient): EventRecorder;
}

/** A started controller. */
export interface RunningController {
  /** Ends its work; resolves when nothing of it runs any more. */
  stop(): Promise<void>;
}

export interface ControllerDescriptor {
  /** Upstream's name for `--controllers`: `deployment-controller`. */
  readonly name: string;
  /** Older names that `--controllers` accepts too. */
  readonly aliases?: readonly string[];
  /** False: only when named. */
  readonly enabledByDefault?: boolean;
  /** Registers handlers on the shared informers and begins to work when they are in sync. Undefined: not wanted with these options. */
  start(context: ControllerContext): RunningController | undefined | Promise<RunningController | undefined>;
}
