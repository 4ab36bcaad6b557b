/** All controllers, in the order in which they are started. */
import { bootstrapSignerController } from './bootstrap-signer.ts';
import { csrApprovingController, csrCleanerController, csrSigningController } from './certificates/certificates.ts';
import { podCertificateRequestCleaner } from './certificates/pod-certificate-request-cleaner.ts';
import { trustBundlePublisher } from './certificates/trust-bundle-publisher.ts';
import { clusterRoleAggregationController } from './clusterrole-aggregation.ts';
import type { ControllerDescriptor } from './context.ts';
import { cronJobController } from './cronjob/cronjob.ts';
import { daemonSetController } from './daemonset/daemonset.ts';
import { deploymentController } from './deployment/deployment.ts';
import { disruptionController } from './disruption.ts';
import { endpointsController } from './endpoints.ts';
import { endpointSliceController } from './endpointslice/endpointslice.ts';
import { endpointSliceMirroringController } from './endpointslice/mirroring.ts';
import { garbageCollectorController } from './garbagecollector/garbagecollector.ts';
import { jobController } from './job/job.ts';
import { legacyServiceAccountTokenCleaner } from './legacy-serviceaccount-token-cleaner.ts';
import { namespaceController } from './namespace.ts';
import { nodeIpamController } from './node-ipam.ts';
import { ttlController } from './node-ttl.ts';
import { nodeLifecycleController } from './nodelifecycle/nodelifecycle.ts';
import { taintEvictionController } from './nodelifecycle/taint-eviction.ts';
import { podGarbageCollectorController } from './podgc.ts';
import { horizontalPodAutoscalerController } from './podautoscaler/horizontal.ts';
import { replicaSetController, replicationControllerController } from './replicaset.ts';
import { resourceQuotaController } from './resourcequota.ts';
import { rootCACertificatePublisher } from './root-ca.ts';
import { serviceCIDRController } from './service-cidrs.ts';
import { serviceAccountTokenController } from './serviceaccount-tokens.ts';
import { serviceAccountController } from './serviceaccount.ts';
import { statefulSetController } from './statefulset/statefulset.ts';
import { storageVersionMigratorController } from './storage-version-migrator.ts';
import { tokenCleanerController } from './token-cleaner.ts';
import { ttlAfterFinishedController } from './ttl-after-finished.ts';
import { validatingAdmissionPolicyStatusController } from './validatingadmissionpolicy-status.ts';
import { attachDetachController } from './volume/attachdetach/attachdetach.ts';
import { volumeAttributesClassProtectionController } from './volume/attributes-class-protection.ts';
import { persistentVolumeBinderController } from './volume/binder.ts';
import { ephemeralVolumeController } from './volume/ephemeral-volume.ts';
import { volumeExpanderController } from './volume/expand.ts';
import { pvcProtectionController, pvProtectionController } from './volume/protection.ts';

export const allControllers: readonly ControllerDescriptor[] = [
  // First: pods cannot be created without a service account.
  serviceAccountTokenController,
  serviceAccountController,
  rootCACertificatePublisher,
  endpointsController,
  endpointSliceController,
  endpointSliceMirroringController,
  replicaSetController,
  deploymentController,
  replicationControllerController,
  statefulSetController,
  daemonSetController,
  jobController,
  cronJobController,
  ttlAfterFinishedController,
  disruptionController,
  horizontalPodAutoscalerController,
  resourceQuotaController,
  namespaceController,
  nodeIpamController,
  nodeLifecycleController,
  taintEvictionController,
  ttlController,
  podGarbageCollectorController,
  clusterRoleAggregationController,
  csrApprovingController,
  csrSigningController,
  csrCleanerController,
  legacyServiceAccountTokenCleaner,
  podCertificateRequestCleaner,
  trustBundlePublisher,
  persistentVolumeBinderController,
  attachDetachController,
  pvcProtectionController,
  pvProtectionController,
  volumeAttributesClassProtectionController,
  volumeExpanderController,
  ephemeralVolumeController,
  serviceCIDRController,
  bootstrapSignerController,
  tokenCleanerController,
  validatingAdmissionPolicyStatusController,
  storageVersionMigratorController,
  // Last: it shares the informers that the others have made and makes small ones for the rest.
  garbageCollectorController,
];
