/** All controllers, in the order in which they are started. */
import type { ControllerDescriptor } from './context.ts';
import { deploymentController } from './deployment/deployment.ts';
import { endpointsController } from './endpoints.ts';
import { endpointSliceController } from './endpointslice/endpointslice.ts';
import { garbageCollectorController } from './garbagecollector/garbagecollector.ts';
import { namespaceController } from './namespace.ts';
import { nodeLifecycleController } from './nodelifecycle/nodelifecycle.ts';
import { taintEvictionController } from './nodelifecycle/taint-eviction.ts';
import { replicaSetController, replicationControllerController } from './replicaset.ts';
import { rootCACertificatePublisher } from './root-ca.ts';
import { serviceAccountTokenController } from './serviceaccount-tokens.ts';
import { serviceAccountController } from './serviceaccount.ts';

export const allControllers: readonly ControllerDescriptor[] = [
  // First: pods cannot be created without a service account.
  serviceAccountTokenController,
  serviceAccountController,
  rootCACertificatePublisher,
  endpointsController,
  endpointSliceController,
  replicaSetController,
  deploymentController,
  replicationControllerController,
  namespaceController,
  nodeLifecycleController,
  taintEvictionController,
  // Last: it shares the informers that the others have made and makes small ones for the rest.
  garbageCollectorController,
];
