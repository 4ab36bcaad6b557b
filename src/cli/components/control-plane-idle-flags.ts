/** Flags of upstream's scheduler and controller managers that stand for nothing here. */
import type { IdleFlags } from './idle-flags.ts';

const unlimited = 'requests to the API server are not limited by the client';
const http1 = 'health and metrics are served over HTTP/1.1';
const release = 'it behaves as this release, and gets along with the API servers of the one before';

export const idleControlPlaneFlags: IdleFlags = [
  ['profiling', 'bool', 'there is no /debug/pprof'],
  ['contention-profiling', 'bool', 'there are no locks to wait for'],
  ['kube-api-burst', 'int', unlimited],
  ['kube-api-qps', 'string', unlimited],
  ['kube-api-content-type', 'string', 'requests to the API server are JSON'],
  ['disable-http2-serving', 'bool', http1],
  ['http2-max-streams-per-connection', 'int', http1],
  ['permit-address-sharing', 'bool', 'sockets are opened with SO_REUSEADDR as it is'],
  ['emulated-version', 'list', release],
  ['min-compatibility-version', 'list', release],
];
