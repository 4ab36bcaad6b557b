/** `createCloudControllerManager`: starts the cloud controllers over shared informers, for one provider. */
import { chooseControllers, manageControllers } from '../client/controller-manager.ts';
import type { ControllerManager, ManagerOptions } from '../client/controller-manager.ts';
import type { CloudControllerDescriptor, CloudControllerOptions } from './context.ts';
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

export interface CloudControllerManagerOptions extends ManagerOptions {
  readonly provider: CloudProvider;
  readonly options?: CloudControllerOptions;
}

/** Throws for a name that no controller has. */
export function selectCloudControllers(wanted: readonly string[]): CloudControllerDescriptor[] {
  return chooseControllers(allCloudControllers, wanted);
}

export function createCloudControllerManager(options: CloudControllerManagerOptions): ControllerManager {
  const { provider } = options;
  const chosen = selectCloudControllers(options.controllers ?? ['*']);
  const manager = manageControllers(chosen, options, (shared) => {
    provider.setInformers?.(shared.informers);
    return { ...shared, provider, options: options.options ?? {} };
  });
  return {
    get running() {
      return manager.running;
    },
    start: () => manager.start(),
    synced: () => manager.synced(),
    stop: async () => {
      await manager.stop();
      await provider.close?.();
    },
  };
}
