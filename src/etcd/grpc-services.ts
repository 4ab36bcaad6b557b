/** The services of the etcd server and the sockets they listen on. Loads gRPC: imported by `serveEtcd` alone. */
import * as grpc from '@grpc/grpc-js';
import { joinHostPort } from '../base/host-port.ts';
import { clientHttp } from './client-http.ts';
import { openClientPort } from './client-port.ts';
import { unary } from './grpc-context.ts';
import type { ServerContext } from './grpc-context.ts';
import { kvHandlers } from './grpc-kv.ts';
import { leaseHandlers } from './grpc-lease.ts';
import type { EtcdServer, EtcdServerOptions } from './grpc-server.ts';
import { etcdVersion } from './etcd-version.ts';
import { EtcdMetrics } from './server-metrics.ts';
import { watchHandlers } from './grpc-watch.ts';
import { fromId, loadEtcdProto } from './wire.ts';
import type { AlarmMessage, HeaderMessage, MemberListMessage, StatusMessage } from './wire.ts';

/** See `serveEtcd`. */
export async function startServer(options: EtcdServerOptions): Promise<EtcdServer> {
  // What goes wrong is told by errors and by our own log.
  grpc.setLogVerbosity(grpc.logVerbosity.NONE);
  const { mvcc, logger } = options;
  const proto = loadEtcdProto();
  const clusterId = fromId(mvcc.clusterId);
  const memberId = fromId(mvcc.memberId);
  const ctx: ServerContext = {
    mvcc,
    log: logger,
    metrics: options.measures ?? new EtcdMetrics(mvcc, etcdVersion),
    header: (revision) => ({
      cluster_id: clusterId,
      member_id: memberId,
      revision: revision ?? mvcc.revision,
      raft_term: 2,
    }),
  };
  const server = new grpc.Server({
    // A request of the greatest size etcd takes, and room for what surrounds it; larger ones never reach a handler.
    'grpc.max_receive_message_length': 2 * 1024 * 1024,
    'grpc.max_send_message_length': -1,
  });
  const watches = watchHandlers(ctx, proto);
  let urls: readonly string[] = [];
  server.addService(proto.kv, kvHandlers(ctx));
  server.addService(proto.watch, { Watch: watches.watch });
  server.addService(proto.lease, leaseHandlers(ctx));
  server.addService(proto.maintenance, {
    Status: unary(ctx, (): StatusMessage => ({
      header: ctx.header(),
      version: etcdVersion,
      dbSize: mvcc.size(),
      dbSizeInUse: mvcc.size(),
      leader: memberId,
      raftIndex: mvcc.revision,
      raftAppliedIndex: mvcc.revision,
      raftTerm: 2,
      storageVersion: '3.6.0',
    })),
    Alarm: unary(ctx, (request: AlarmMessage): HeaderMessage => {
      // There is nothing to raise an alarm about: a store that is full or broken ends. Listing and clearing are fine.
      if (request.action === 1) {
        throw Object.assign(new Error('etcdserver: alarms cannot be raised by hand'), {
          code: grpc.status.UNIMPLEMENTED,
        });
      }
      return { header: ctx.header() };
    }),
  });
  server.addService(proto.cluster, {
    MemberList: unary(ctx, (): MemberListMessage => ({
      header: ctx.header(),
      members: [
        {
          ID: memberId ?? 0,
          name: options.name ?? 'default',
          peerURLs: ['http://localhost:2380'],
          clientURLs: [...urls],
          isLearner: false,
        },
      ],
    })),
  });

  const host = options.host ?? '127.0.0.1';
  // TLS ends at the port, which hands over what is inside.
  const injector = server.createConnectionInjector(grpc.ServerCredentials.createInsecure());
  const clientPort = await openClientPort(
    options,
    (socket) => injector.injectConnection(socket),
    clientHttp({ mvcc, version: etcdVersion, metrics: options.metrics }),
  );
  const { port } = clientPort;
  const url = `${options.tls ? 'https' : 'http'}://${joinHostPort(host, port)}`;
  urls = options.advertiseClientUrls ?? [url];
  return {
    port,
    url,
    async close() {
      watches.close();
      clientPort.close();
      server.forceShutdown();
    },
  };
}
