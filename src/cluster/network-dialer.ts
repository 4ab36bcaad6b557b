/** The way from an API server to nodes and pods over the network: TLS to kubelets, plain TCP to everything else. */
import { connect as connectTcp } from 'node:net';
import type { Duplex } from 'node:stream';
import { connect as connectTls } from 'node:tls';
import { ioTimer } from '../base/io-time.ts';
import { goNetworkError } from '../apiserver/connect/go-errors.ts';
import { verifyIdentity } from '../apiserver/connect/secure-agent.ts';
import type { Dialer } from '../apiserver/dialer.ts';
import type { Dial } from '../apiserver/egress/selector.ts';

export interface NetworkDialerOptions {
  /** PEM; shown to kubelets (`--kubelet-client-certificate`, `--kubelet-client-key`). */
  readonly clientCertificate?: string;
  readonly clientKey?: string;
  /** PEM of the authorities of the kubelets' certificates (`--kubelet-certificate-authority`); without it any is taken, as upstream. */
  readonly kubeletCA?: string;
  /** Opens the connections, where that is not done directly. */
  readonly dial?: Dial | undefined;
  /** How long connecting may take, handshake included; default 30 s. */
  readonly timeoutMs?: number;
  /** `--kubelet-timeout`: the same for kubelets. */
  readonly kubeletTimeoutMs?: number | undefined;
}

/** Resolves when `event` has happened; the socket is destroyed when it fails or takes too long. */
function connected<T extends Duplex>(socket: T, event: string, what: string, timeoutMs: number): Promise<T> {
  return new Promise((resolve, reject) => {
    const cancel = ioTimer(timeoutMs, () => socket.destroy(new Error(`dial tcp ${what}: i/o timeout`)));
    const fail = (error: Error): void => {
      cancel();
      reject(error);
    };
    socket.once('error', fail);
    socket.once(event, () => {
      cancel();
      socket.off('error', fail);
      resolve(socket);
    });
  });
}

/** As Go's: `dial tcp 10.0.0.1:10250: connect: connection refused`. */
function dialError(what: string, error: unknown): Error {
  const e = error as NodeJS.ErrnoException;
  const known: Record<string, string> = {
    ECONNREFUSED: 'connect: connection refused',
    EHOSTUNREACH: 'connect: no route to host',
    ENETUNREACH: 'connect: network is unreachable',
    ECONNRESET: 'read: connection reset by peer',
  };
  const text = e.code === undefined ? undefined : known[e.code];
  if (text !== undefined) return new Error(`dial tcp ${what}: ${text}`, { cause: error });
  return new Error(goNetworkError(error, what, 0), { cause: error });
}

export function networkDialer(options: NetworkDialerOptions = {}): Dialer {
  const timeoutMs = options.timeoutMs ?? 30_000;
  return {
    async dialNode(_name, address, port, insecure) {
      const what = address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
      const socket = connectTls({
        ...(options.dial === undefined
          ? { host: address, port }
          : { host: address, socket: await options.dial(address, port) }),
        ALPNProtocols: ['http/1.1'],
        minVersion: 'TLSv1.2',
        ...(options.clientCertificate === undefined ? {} : { cert: options.clientCertificate }),
        ...(options.clientKey === undefined ? {} : { key: options.clientKey }),
        ...(options.kubeletCA === undefined || insecure === true
          ? { rejectUnauthorized: false }
          : { ca: options.kubeletCA, allowPartialTrustChain: true, checkServerIdentity: verifyIdentity }),
      });
      socket.setNoDelay(true);
      try {
        return await connected(socket, 'secureConnect', what, options.kubeletTimeoutMs ?? timeoutMs);
      } catch (error) {
        throw dialError(what, error);
      }
    },
    async dialTcp(address, port) {
      const what = address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
      if (options.dial !== undefined) return options.dial(address, port);
      const socket = connectTcp({ host: address, port });
      socket.setNoDelay(true);
      try {
        return await connected(socket, 'connect', what, timeoutMs);
      } catch (error) {
        throw dialError(what, error);
      }
    },
  };
}
