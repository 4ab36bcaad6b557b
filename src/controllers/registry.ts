/** All controllers, in the order in which they are started. */
import type { ControllerDescriptor } from './context.ts';
import { deploymentController } from './deployment/deployment.ts';
import { replicaSetController, replicationControllerController } from './replicaset.ts';

export const allControllers: readonly ControllerDescriptor[] = [
  replicaSetController,
  deploymentController,
  replicationControllerController,
];
