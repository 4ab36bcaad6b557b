/** Flags of upstream's etcd that stand for nothing with one member. */
import type { IdleFlags } from './idle-flags.ts';

const alone = 'there is one member, and no peer';
const log = 'there is no Raft log to take snapshots of';

export const idleEtcdFlags: IdleFlags = [
  ['listen-peer-urls', 'list', alone],
  ['initial-advertise-peer-urls', 'list', alone],
  ['initial-cluster', 'list', alone],
  ['initial-cluster-state', 'string', alone],
  ['initial-cluster-token', 'string', alone],
  ['heartbeat-interval', 'int', alone],
  ['election-timeout', 'int', alone],
  ['initial-election-tick-advance', 'bool', alone],
  ['pre-vote', 'bool', alone],
  ['strict-reconfig-check', 'bool', alone],
  ['peer-cert-file', 'string', alone],
  ['peer-key-file', 'string', alone],
  ['peer-trusted-ca-file', 'string', alone],
  ['peer-client-cert-auth', 'bool', alone],
  ['peer-auto-tls', 'bool', alone],
  ['snapshot-count', 'int', log],
  ['max-snapshots', 'int', log],
  ['max-wals', 'int', log],
  ['watch-progress-notify-interval', 'duration', 'watchers ask for progress'],
  ['experimental-watch-progress-notify-interval', 'duration', 'watchers ask for progress'],
  ['feature-gates', 'list', 'there are none to open'],
  ['logger', 'string', 'the log has one form of each: --log-format'],
  ['log-outputs', 'list', 'the log goes to standard error'],
];
