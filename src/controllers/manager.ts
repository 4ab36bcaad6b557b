/** `createControllerManager`: starts the chosen controllers over shared informers, each under its own service account. */
import { chooseControllers, manageControllers } from '../client/controller-manager.ts';
import type { ControllerManager, ManagerOptions } from '../client/controller-manager.ts';
import type { ControllerDescriptor } from './context.ts';
import type { ControllerMetrics } from './metrics.ts';
import type { ControllerOptions } from './options.ts';
import { allControllers } from './registry.ts';

export interface ControllerManagerOptions extends ManagerOptions {
  readonly options?: ControllerOptions;
  readonly metrics?: ControllerMetrics;
}

/** Throws for a name that no controller has. */
export function selectControllers(wanted: readonly string[]): ControllerDescriptor[] {
  return chooseControllers(allControllers, wanted);
}

export function createControllerManager(options: ControllerManagerOptions): ControllerManager {
  return manageControllers(selectControllers(options.controllers ?? ['*']), options, (shared) => ({
    ...shared,
    options: options.options ?? {},
    metrics: options.metrics,
  }));
}
