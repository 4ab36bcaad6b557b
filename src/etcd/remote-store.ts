/**
 * A real etcd cluster behind the `KeyValueStore` interface: the way to several API servers and to high availability. Calls
 * go to one endpoint and move to the next when it is unreachable; watches resume where they stopped. gRPC is loaded when a
 * store is opened.
 */
import type { Logger } from '../base/logger.ts';
import type { Random } from '../base/random.ts';
import { DialledEndpoints } from './dialled-endpoints.ts';
import type { EtcdDial } from './dialled-endpoints.ts';
import type { KeyValueStore } from './store.ts';

export interface RemoteStoreOptions {
  /** `http://host:port`, `https://host:port` or `unix://path`; without a scheme https when `tls` is given. */
  readonly endpoints: readonly string[];
  /** PEM; `cert` and `key` for a client certificate. */
  readonly tls?: { readonly ca?: string | Buffer; readonly cert?: string | Buffer; readonly key?: string | Buffer };
  readonly logger: Logger;
  readonly random?: Random;
  /** How long a call may take and may be tried again, milliseconds; default 10 s. */
  readonly timeoutMs?: number;
  /** Opens the connections, where that is not done directly. */
  readonly dial?: EtcdDial | undefined;
  /** Told to etcd with each call: the trace that it is part of (W3C Trace Context). */
  readonly traceparent?: (() => string | undefined) | undefined;
}

/** A call to the cluster failed. `code` is gRPC's; the message is etcd's; the cause is what gRPC reported. */
export class RemoteStoreError extends Error {
  readonly code: number;
  constructor(message: string, code: number, cause: unknown) {
    super(message, { cause });
    this.name = 'RemoteStoreError';
    this.code = code;
  }
}

/** Opens a store on a real etcd cluster. Does not wait for a connection: the first call does. */
export async function openRemoteStore(options: RemoteStoreOptions): Promise<KeyValueStore> {
  const { RemoteStore, endpointSocket, endpointUrl } = await import('./remote-client.ts');
  if (options.dial === undefined) return new RemoteStore(options);
  const dialled = await DialledEndpoints.open(options.dial, options.logger);
  try {
    const paths = new Map<string, string>();
    for (const endpoint of options.endpoints) {
      // A socket of this machine is not behind a proxy.
      if (endpointSocket(endpoint) !== undefined) continue;
      const { host, port } = endpointUrl(endpoint, options.tls !== undefined);
      paths.set(endpoint, await dialled.path(host, port));
    }
    return new RemoteStore(options, { paths, close: () => dialled.close() });
  } catch (error) {
    await dialled.close();
    throw error;
  }
}
