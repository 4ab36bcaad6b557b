/** All controllers, in the order in which they are started. */
import type { ControllerDescriptor } from './context.ts';
import { deploymentController } from './deployment/deployment.ts';
import { garbageCollectorController } from './garbagecollector/garbagecollector.ts';
import { namespaceController } from './namespace.ts';
import { replicaSetController, replicationControllerController } from './replicaset.ts';

export const allControllers: readonly ControllerDescriptor[] = [
  replicaSetController,
  deploymentController,
  replicationControllerController,
  namespaceController,
  // Last: it shares the informers that the others have made and makes small ones for the rest.
  garbageCollectorController,
];
