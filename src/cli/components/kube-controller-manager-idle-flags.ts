/** Flags of upstream's kube-controller-manager that stand for nothing here. */
import { idleControlPlaneFlags } from './control-plane-idle-flags.ts';
import type { IdleFlags } from './idle-flags.ts';

const cloud = 'the cloud is the business of cloud-controller-manager';
const recycler = 'volumes are kept or deleted, Recycle is not there';
const migration = 'controllers have not moved to another manager';

export const idleControllerManagerFlags: IdleFlags = [
  ...idleControlPlaneFlags,
  ['allow-untagged-cloud', 'bool', cloud],
  ['cloud-config', 'string', cloud],
  ['cloud-provider', 'string', cloud],
  ['concurrent-device-taint-eviction-syncs', 'int', 'taints of devices evict nobody'],
  ['concurrent-resourceclaim-syncs', 'int', 'claims are made by the pods that name them'],
  ['concurrent-service-syncs', 'int', cloud],
  ['configure-cloud-routes', 'bool', cloud],
  ['external-cloud-volume-plugin', 'string', cloud],
  ['route-reconciliation-period', 'duration', cloud],
  ['enable-leader-migration', 'bool', migration],
  ['leader-migration-config', 'string', migration],
  ['enable-hostpath-provisioner', 'bool', 'claims on one machine are for the local-path provisioner'],
  ['flex-volume-plugin-dir', 'string', 'there are no FlexVolumes'],
  ['min-resync-period', 'duration', 'objects are watched, not listed again'],
  ['node-sync-period', 'duration', 'nodes are looked at when something happens'],
  ['namespace-sync-period', 'duration', 'namespaces are looked at when something happens'],
  ['pv-recycler-increment-timeout-nfs', 'int', recycler],
  ['pv-recycler-minimum-timeout-hostpath', 'int', recycler],
  ['pv-recycler-minimum-timeout-nfs', 'int', recycler],
  ['pv-recycler-pod-template-filepath-hostpath', 'string', recycler],
  ['pv-recycler-pod-template-filepath-nfs', 'string', recycler],
  ['pv-recycler-timeout-increment-hostpath', 'int', recycler],
];
