/** The Lease service. */
import type { ServerDuplexStream, UntypedServiceImplementation } from '@grpc/grpc-js';
import { unary } from './grpc-context.ts';
import type { ServerContext } from './grpc-context.ts';
import { grpcError } from './grpc-status.ts';
import { LeaseNotFoundError } from './lessor.ts';
import { fromId, fromKey, toId, toNumber } from './wire.ts';
import type { HeaderMessage, LeaseMessage, LeasesMessage } from './wire.ts';

/** The handlers of etcdserverpb.Lease. */
export function leaseHandlers(ctx: ServerContext): UntypedServiceImplementation {
  const { mvcc } = ctx;
  return {
    LeaseGrant: unary(ctx, async (request: LeaseMessage): Promise<LeaseMessage> => {
      const lease = await mvcc.grantLease(toNumber(request.TTL), toId(request.ID));
      return { header: ctx.header(), ID: fromId(lease.id), TTL: lease.ttl };
    }),
    LeaseRevoke: unary(ctx, async (request: LeaseMessage): Promise<HeaderMessage> => {
      await mvcc.revokeLease(toId(request.ID));
      return { header: ctx.header() };
    }),
    LeaseTimeToLive: unary(ctx, (request: LeaseMessage): LeaseMessage => {
      const id = toId(request.ID);
      const found = mvcc.lease(id);
      if (found === undefined) return { header: ctx.header(), ID: fromId(id), TTL: -1 };
      return {
        header: ctx.header(),
        ID: fromId(id),
        TTL: found.remaining,
        grantedTTL: found.lease.ttl,
        keys: request.keys === true ? Array.from(found.lease.keys, fromKey) : [],
      };
    }),
    LeaseLeases: unary(ctx, (): LeasesMessage => ({
      header: ctx.header(),
      leases: mvcc.leases().map((id) => ({ ID: fromId(id)! })),
    })),
    LeaseKeepAlive: (call: ServerDuplexStream<LeaseMessage, LeaseMessage>) => {
      call.on('data', (request: LeaseMessage) => {
        let ttl: number;
        try {
          ttl = mvcc.keepAliveLease(toId(request.ID));
        } catch (error) {
          if (!(error instanceof LeaseNotFoundError)) {
            call.emit('error', grpcError(error as Error));
            return;
          }
          // A lease that is gone is answered with a TTL of 0, not with an error.
          ttl = 0;
        }
        call.write({ header: ctx.header(), ID: request.ID, TTL: ttl });
      });
      call.on('end', () => call.end());
      call.on('error', (error: Error) => ctx.log.debug('a lease keep-alive stream ended', { error }));
    },
  };
}
