/** What every controller is given, and how a controller describes itself to the manager. */
import type { DescriptorFor, SharedContext } from '../client/controller-manager.ts';
import type { ControllerMetrics } from './metrics.ts';
import type { ControllerOptions } from './options.ts';

export type { RunningController } from '../client/controller-manager.ts';

export interface ControllerContext extends SharedContext {
  readonly options: ControllerOptions;
  readonly metrics: ControllerMetrics | undefined;
}

export type ControllerDescriptor = DescriptorFor<ControllerContext>;
