/** Flags of upstream's kube-apiserver that stand for nothing here. */
import type { IdleFlags } from './idle-flags.ts';

const elections = 'leases are taken by whoever comes first, CoordinatedLeaderElection is not there';
const kubelets = 'nodes tell the port of their kubelet';
const windows = 'the windows of watches have the size they need';
const peers = 'a request is answered by the server that gets it, whatever the release of the others';

export const idleApiServerFlags: IdleFlags = [
  ['contention-profiling', 'bool', 'there are no locks to wait for'],
  ['coordinated-leadership-lease-duration', 'duration', elections],
  ['coordinated-leadership-renew-deadline', 'duration', elections],
  ['coordinated-leadership-retry-period', 'duration', elections],
  ['default-watch-cache-size', 'int', windows],
  ['kubelet-port', 'int', kubelets],
  ['kubelet-read-only-port', 'int', kubelets],
  ['peer-advertise-ip', 'string', peers],
  ['peer-advertise-port', 'string', peers],
  ['peer-ca-file', 'string', peers],
  ['permit-address-sharing', 'bool', 'sockets are opened with SO_REUSEADDR as it is'],
  ['watch-cache', 'bool', 'every resource that is read is followed in memory'],
  ['watch-cache-sizes', 'list', windows],
];
