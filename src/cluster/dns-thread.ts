/**
 * The name server of a cluster with real nodes as a thread: pods' look-ups are answered at once whatever the API server and the
 * controllers do, and take nothing from them. It reaches the API server over TLS, as a process of its own would; nothing else is
 * shared between the threads.
 */
import { Worker } from 'node:worker_threads';
import { ioTimer } from '../base/io-time.ts';
import type { LogFields, Logger, LogLevel } from '../base/logger.ts';
import type { SocketAddress } from '../dns/server.ts';

/** What the thread is given. */
export interface DnsThreadData {
  /** Of the API server, with PEM of its authority and of the name server's own identity. */
  readonly server: string;
  readonly ca: string;
  readonly certificate: string;
  readonly key: string;
  readonly bind: SocketAddress;
  readonly logLevel: LogLevel;
}

/** Where it answers, once it does. */
export interface DnsThreadAddress {
  readonly address: SocketAddress;
  readonly metricsPort?: number;
}

export type ToDnsThread = 'stop';

export type FromDnsThread =
  | DnsThreadAddress
  | { readonly failed: string }
  | { readonly log: { readonly level: LogLevel; readonly message: string; readonly fields: LogFields } };

export interface DnsThread {
  /** Resolves when it answers. @throws Error why it does not */
  readonly started: Promise<DnsThreadAddress>;
  stop(): Promise<void>;
}

/** In the bundle the thread's file stands beside all others; from sources it is a module of this folder. */
const file = new URL(import.meta.url.endsWith('.ts') ? './dns-worker.ts' : './dns-worker.js', import.meta.url);

/** A thread that ended by itself is started again after so long, on the port that pods are led to. */
const restartMs = 1000;

export function startDnsThread(options: Omit<DnsThreadData, 'logLevel'> & { readonly logger: Logger }): DnsThread {
  const { logger, ...rest } = options;
  const address = Promise.withResolvers<DnsThreadAddress>();
  address.promise.catch(() => {}); // who waits for the address hears of it
  let bind = options.bind;
  let stopping = false;
  let cancelRestart = (): void => {};
  let worker: Worker | undefined;
  let gone: Promise<void> = Promise.resolve();

  const start = (): void => {
    const exit = Promise.withResolvers<void>();
    gone = exit.promise;
    // What is below the parent's level is dropped there.
    const workerData: DnsThreadData = { ...rest, bind, logLevel: 'info' };
    // Flags of the process are not for threads (a test's, a profiler's).
    const thread = new Worker(file, { workerData, execArgv: [] });
    worker = thread;
    thread.on('message', (m: FromDnsThread) => {
      if ('log' in m) logger[m.log.level](m.log.message, m.log.fields);
      else if ('failed' in m) {
        address.reject(new Error(m.failed));
        logger.warn(stopping ? 'the name server did not stop in order' : 'the name server cannot answer', {
          why: m.failed,
        });
      } else {
        bind = m.address;
        address.resolve(m);
      }
    });
    thread.on('error', (error: unknown) => {
      address.reject(error as Error);
      logger.error('the name server has failed', { error });
    });
    thread.on('exit', () => {
      address.reject(new Error('the name server has ended'));
      if (!stopping) cancelRestart = ioTimer(restartMs, start);
      exit.resolve();
    });
  };
  start();
  return {
    started: address.promise,
    stop: async () => {
      stopping = true;
      cancelRestart();
      worker?.postMessage('stop' satisfies ToDnsThread);
      await gone;
    },
  };
}
