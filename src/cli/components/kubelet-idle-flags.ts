/** Flags of upstream's kubelet that stand for nothing here. */
import type { IdleFlags } from './idle-flags.ts';

const cadvisor = 'usage is read from the cgroups, there is no cAdvisor';
const eviction = 'a container keeps its last dead one, and with its pod all go; --eviction-hard makes room';
const lock = 'whoever starts a second kubelet finds its port taken';

export const idleKubeletFlags: IdleFlags = [
  ['application-metrics-count-limit', 'int', cadvisor],
  ['boot-id-file', 'string', cadvisor],
  ['container-hints', 'string', cadvisor],
  ['containerd', 'string', 'that is --container-runtime-endpoint'],
  ['containerd-namespace', 'string', cadvisor],
  ['enable-load-reader', 'bool', cadvisor],
  ['event-storage-age-limit', 'string', cadvisor],
  ['event-storage-event-limit', 'string', cadvisor],
  ['global-housekeeping-interval', 'duration', cadvisor],
  ['housekeeping-interval', 'duration', cadvisor],
  ['log-cadvisor-usage', 'bool', cadvisor],
  ['machine-id-file', 'string', cadvisor],
  ['storage-driver-buffer-duration', 'duration', cadvisor],
  ['storage-driver-db', 'string', cadvisor],
  ['storage-driver-host', 'string', cadvisor],
  ['storage-driver-password', 'string', cadvisor],
  ['storage-driver-secure', 'bool', cadvisor],
  ['storage-driver-table', 'string', cadvisor],
  ['storage-driver-user', 'string', cadvisor],
  ['exit-on-lock-contention', 'bool', lock],
  ['lock-file', 'string', lock],
  ['experimental-allocatable-ignore-eviction', 'bool', 'what is evicted at is never allocatable'],
  ['experimental-mounter-path', 'string', 'mounts are made by the system'],
  ['maximum-dead-containers', 'int', eviction],
  ['maximum-dead-containers-per-container', 'int', eviction],
  ['minimum-container-ttl-duration', 'duration', eviction],
  ['runtime-cgroups', 'string', 'the runtime stays in the cgroup that its service gives it'],
];
