/** What the handlers of all services of the etcd server share. */
import * as grpc from '@grpc/grpc-js';
import { ioNow } from '../base/io-time.ts';
import type { Logger } from '../base/logger.ts';
import { CallMetrics } from './call-metrics.ts';
import { grpcError } from './grpc-status.ts';
import type { Mvcc } from './mvcc.ts';
import type { EtcdMetrics } from './server-metrics.ts';
import type { ResponseHeader } from './wire.ts';

export interface ServerContext {
  readonly mvcc: Mvcc;
  readonly log: Logger;
  readonly metrics: EtcdMetrics;

  /** A header at the store's revision, or at `revision`. */
  header(revision?: number): ResponseHeader;
}

/** Turns an async function into a unary handler. */
export function unary<Q, A>(ctx: ServerContext, handle: (request: Q) => Promise<A> | A): grpc.handleUnaryCall<Q, A> {
  return (call, callback) => {
    const began = ioNow();
    const ended = ctx.metrics.begin(call.getPath());
    void (async () => {
      try {
        callback(null, await handle(call.request));
        ended('OK', (ioNow() - began) / 1000);
      } catch (error) {
        const refused = grpcError(error as Error);
        ended(CallMetrics.code(refused), (ioNow() - began) / 1000);
        if (refused.code === grpc.status.INTERNAL)
          ctx.log.error('an etcd call failed', { call: call.getPath(), error });
        callback(refused);
      }
    })();
  };
}
