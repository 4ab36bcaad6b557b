/** What `import … from 'knarr'` gives: a cluster inside a program, most often inside somebody's test. */
export { createCluster } from './cluster/create-cluster.ts';
export type { AdminCredentials, Cluster, ClusterOptions } from './cluster/cluster.ts';
export { SystemClock, VirtualClock } from './base/clock.ts';
export type { Clock } from './base/clock.ts';
export { SeededRandom, SystemRandom } from './base/random.ts';
export type { Random } from './base/random.ts';
export { createLogger, formatJson, formatText, silentLogger } from './base/logger.ts';
export type { Logger, LogLevel } from './base/logger.ts';
export type { TypedClient } from './client/typed-client.ts';
export { resources } from './client/resources.ts';
export { StatusError } from './api/status.ts';
export type { KubeObject } from './api/object.ts';
export type * from './api/types/index.gen.ts';
