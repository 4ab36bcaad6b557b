/**
 * The embedded store as an etcd server: KV, Watch, Lease, and what tools ask of Maintenance and Cluster, over gRPC with or
 * without TLS. `etcdctl`, backup tools and an upstream kube-apiserver work against it. It is a cluster of one member.
 * gRPC is loaded when a server is started, not before.
 */
import type { Logger } from '../base/logger.ts';
import type { Mvcc } from './mvcc.ts';
import type { EtcdMetrics } from './server-metrics.ts';

export interface EtcdServerOptions {
  readonly mvcc: Mvcc;
  readonly logger: Logger;
  /** Default 127.0.0.1. */
  readonly host?: string;
  /** 0 picks a free one. */
  readonly port: number;
  /** PEM. With `clientCa` clients must present a certificate it has signed. */
  readonly tls?: {
    readonly cert: string | Buffer;
    readonly key: string | Buffer;
    readonly clientCa?: string | Buffer;
  };
  readonly name?: string;
  /** What clients are told to use; default this server's own address. */
  readonly advertiseClientUrls?: readonly string[];
  /** What `/metrics` on the same port shows, in Prometheus' text; without it the page is not there. */
  readonly metrics?: () => string;
  /** Where its calls are counted. */
  readonly measures?: EtcdMetrics;
}

export interface EtcdServer {
  readonly port: number;
  readonly url: string;
  /** Ends calls in flight and closes the sockets; the store stays open. */
  close(): Promise<void>;
}

/** Starts serving. Rejects when the address cannot be bound. */
export async function serveEtcd(options: EtcdServerOptions): Promise<EtcdServer> {
  const { startServer } = await import('./grpc-services.ts');
  return startServer(options);
}
