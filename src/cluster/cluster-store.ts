/** The store of a cluster in one process: its own, in memory or in its data directory, or an etcd cluster. */
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import type { Random } from '../base/random.ts';
import { openEmbeddedStore } from '../etcd/embedded-store.ts';
import type { KeyValueStore } from '../etcd/store.ts';
import type { ClusterOptions } from './cluster.ts';
import { dataDirLayout } from './paths.ts';

export async function openStore(
  options: ClusterOptions,
  clock: Clock,
  random: Random,
  logger: Logger,
): Promise<{ store: KeyValueStore; embedded: boolean }> {
  if (options.etcdServers !== undefined && options.etcdServers.length > 0) {
    const { openRemoteStore } = await import('../etcd/remote-store.ts');
    return {
      store: await openRemoteStore({
        endpoints: options.etcdServers,
        ...(options.etcdTls === undefined ? {} : { tls: options.etcdTls }),
        logger,
        random,
      }),
      embedded: false,
    };
  }
  if (options.dataDir === undefined)
    return { store: await openEmbeddedStore({ engine: 'memory', clock, logger, random }), embedded: true };
  const dir = dataDirLayout(options.dataDir).store;
  return { store: await openEmbeddedStore({ engine: 'lmdb', dir, clock, logger, random }), embedded: true };
}
