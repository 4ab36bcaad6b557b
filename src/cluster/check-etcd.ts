/** Whether an etcd cluster answers, asked before anything is made that needs it. */
import { ioHold } from '../base/io-time.ts';
import { silentLogger } from '../base/logger.ts';
import type { RemoteStoreOptions } from '../etcd/remote-store.ts';

/** Undefined when it answers; else why it does not, in a few words. */
export async function etcdFault(
  endpoints: readonly string[],
  tls: RemoteStoreOptions['tls'],
): Promise<string | undefined> {
  const { openRemoteStore } = await import('../etcd/remote-store.ts');
  const release = ioHold();
  const store = await openRemoteStore({
    endpoints,
    ...(tls === undefined ? {} : { tls }),
    logger: silentLogger,
    timeoutMs: 5000,
  });
  try {
    await store.currentRevision();
    return undefined;
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    const alert = /alert ([a-z ]+[a-z])/.exec(message)?.[1];
    if (alert !== undefined) return `TLS: ${alert}`;
    return /connect E[A-Z]+ \S+?(?=[.,]? |\.?$)/.exec(message)?.[0] ?? message.replace(/\s+/g, ' ');
  } finally {
    await store.close();
    release();
  }
}
