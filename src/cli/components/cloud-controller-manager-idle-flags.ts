/** Flags of upstream's cloud controller managers that stand for nothing here. */
import { idleControlPlaneFlags } from './control-plane-idle-flags.ts';
import type { IdleFlags } from './idle-flags.ts';

const migration = 'controllers have not moved from another manager';
const ranges = "nodes' ranges are given by kube-controller-manager";
const webhooks = 'the provider has no webhooks';

export const idleCloudFlags: IdleFlags = [
  ...idleControlPlaneFlags,
  ['allow-untagged-cloud', 'bool', 'this machine is the cloud'],
  ['cidr-allocator-type', 'string', ranges],
  ['concurrent-node-status-updates', 'int', 'they are made one after the other'],
  ['controller-start-interval', 'duration', 'they are started together'],
  ['enable-leader-migration', 'bool', migration],
  ['external-cloud-volume-plugin', 'string', 'volumes are the business of CSI drivers'],
  ['feature-gates', 'list', 'there are none to open'],
  ['leader-migration-config', 'string', migration],
  ['min-resync-period', 'duration', 'objects are watched, not listed again'],
  ['node-sync-period', 'duration', 'nodes are looked at when something happens'],
  ['webhook-bind-address', 'string', webhooks],
  ['webhook-cert-dir', 'string', webhooks],
  ['webhook-secure-port', 'int', webhooks],
  ['webhook-tls-cert-file', 'string', webhooks],
  ['webhook-tls-private-key-file', 'string', webhooks],
  ['webhooks', 'list', webhooks],
];
