/** The TLS port: one listener that speaks HTTP/2 and HTTP/1.1, told apart by ALPN, and asks for client certificates. */
import type { AddressInfo, Socket } from 'node:net';
import * as tls from 'node:tls';
import { ioTimer } from '../../base/io-time.ts';
import { everyFamily } from '../../base/listen-address.ts';
import type { Logger } from '../../base/logger.ts';
import { Http1Connections } from './h1.ts';
import { Http2Connections } from './h2.ts';
import { type ClientAuthorities, parseBundle, peerOf } from './peer.ts';
import type { Serve } from './serve.ts';

export interface ListenerCertificates {
  /** Serving certificate (chain) and key, PEM. */
  readonly certificate: string;
  readonly key: string;
  /** Signs client certificates. */
  readonly clientCA?: string;
  /** Signs the certificates of authenticating proxies. */
  readonly frontProxyCA?: string;
}

export interface Listening {
  readonly address: string;
  readonly port: number;
}

/** How long a handshake may take. */
const handshakeTimeout = 10_000;

export class HttpsListener {
  readonly #logger: Logger;
  readonly #server: tls.Server;
  readonly #h1: Http1Connections;
  readonly #h2: Http2Connections;
  /** Raw TCP sockets, from before their handshake on. */
  readonly #raw = new Set<Socket>();
  #closed = false;

  constructor(serve: Serve, certificates: ListenerCertificates, logger: Logger) {
    this.#logger = logger;
    const authorities: ClientAuthorities = {
      client: parseBundle(certificates.clientCA),
      frontProxy: parseBundle(certificates.frontProxyCA),
    };
    this.#h1 = new Http1Connections(serve, logger);
    this.#h2 = new Http2Connections(serve, authorities, logger);
    const ca = [certificates.clientCA, certificates.frontProxyCA].filter((c) => c !== undefined);
    this.#server = tls.createServer({
      cert: certificates.certificate,
      key: certificates.key,
      ...(ca.length === 0 ? {} : { ca, requestCert: true, rejectUnauthorized: false }),
      ALPNProtocols: ['h2', 'http/1.1'],
      minVersion: 'TLSv1.2',
      handshakeTimeout,
      noDelay: true,
      keepAlive: true,
    });
    this.#server.on('connection', (socket: Socket) => {
      this.#raw.add(socket);
      socket.on('close', () => this.#raw.delete(socket));
    });
    this.#server.on('secureConnection', (socket) => {
      socket.on('error', (error) => logger.debug('connection failed', { error }));
      if (this.#closed) socket.destroy();
      else if (socket.alpnProtocol === 'h2') this.#h2.accept(socket);
      else this.#h1.accept(socket, peerOf(socket, authorities));
    });
    this.#server.on('tlsClientError', (error) => logger.debug('http: TLS handshake error', { error }));
  }

  /** Starts listening. Port 0 takes a free one. Rejects when the address cannot be used. */
  listen(host: string, port: number): Promise<Listening> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen({ host: everyFamily(host), port, backlog: 1024 }, () => {
        this.#server.off('error', reject);
        this.#server.on('error', (error) => this.#logger.error('listener failed', { error }));
        const address = this.#server.address() as AddressInfo;
        resolve({ address: host === '0.0.0.0' ? host : address.address, port: address.port });
      });
    });
  }

  /** Stops accepting and asks every connection to finish; after `grace` real milliseconds cuts off what is left. */
  async close(grace: number): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#h1.drain();
    this.#h2.drain();
    const cancel = ioTimer(grace, () => {
      this.#h2.destroy();
      this.#h1.destroy();
      for (const socket of this.#raw) socket.destroy();
    });
    await closed;
    cancel();
  }
}
