/** The TLS port: one listener that speaks HTTP/2 and HTTP/1.1, told apart by ALPN, and asks for client certificates. */
import type { AddressInfo, Socket } from 'node:net';
import * as tls from 'node:tls';
import { ioTimer } from '../../base/io-time.ts';
import { everyFamily } from '../../base/listen-address.ts';
import type { Logger } from '../../base/logger.ts';
import { Http1Connections } from './h1.ts';
import { Http2Connections } from './h2.ts';
import { type ClientAuthorities, parseBundle, type Peer, peerOf } from './peer.ts';
import type { Serve } from './serve.ts';
import { type NamedCertificate, NamedContexts, type TlsSettings } from './tls-settings.ts';

export interface ListenerCertificates {
  /** Serving certificate (chain) and key, PEM. */
  readonly certificate: string;
  readonly key: string;
  /** Signs client certificates. */
  readonly clientCA?: string;
  /** Signs the certificates of authenticating proxies. */
  readonly frontProxyCA?: string;
  /** For clients that ask for a name (`--tls-sni-cert-key`). */
  readonly named?: readonly NamedCertificate[];
}

export interface Listening {
  readonly address: string;
  readonly port: number;
}

/** Streams of an HTTP/2 connection: clients multiplex all their watches over one. */
const defaultMaxStreams = 1000;
/** How long a handshake may take. */
const handshakeTimeout = 10_000;

export class HttpsListener {
  readonly #logger: Logger;
  readonly #server: tls.Server;
  readonly #h1: Http1Connections;
  readonly #h2: Http2Connections;
  /** Raw TCP sockets, from before their handshake on. */
  readonly #raw = new Set<Socket>();
  readonly #settings: TlsSettings;
  readonly #authorities: ClientAuthorities = { client: [], frontProxy: [] };
  /** Connections whose clients may have shown a certificate, with what that was found to be. */
  readonly #peers = new Map<tls.TLSSocket, Peer>();
  #named: NamedContexts | undefined;
  #closed = false;
  onHandshakeError: (() => void) | undefined = undefined;

  constructor(
    serve: Serve,
    certificates: ListenerCertificates,
    logger: Logger,
    settings: TlsSettings = {},
    leaves?: () => boolean,
  ) {
    this.#logger = logger;
    this.#settings = settings;
    this.#h1 = new Http1Connections(serve, logger);
    this.#h2 = new Http2Connections(serve, logger, leaves, settings.maxStreams ?? defaultMaxStreams);
    this.#server = tls.createServer({
      ...this.#take(certificates),
      ...(this.#asks ? { requestCert: true, rejectUnauthorized: false } : {}),
      ALPNProtocols: settings.http2 === false ? ['http/1.1'] : ['h2', 'http/1.1'],
      SNICallback: (name, done) => done(null, this.#named?.find(name)),
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
      if (this.#closed) {
        socket.destroy();
        return;
      }
      const peer = peerOf(socket, this.#authorities);
      if (this.#asks) {
        this.#peers.set(socket, peer);
        socket.on('close', () => this.#peers.delete(socket));
      }
      if (socket.alpnProtocol === 'h2') this.#h2.accept(socket, peer);
      else this.#h1.accept(socket, peer);
    });
    this.#server.on('tlsClientError', (error) => {
      logger.debug('http: TLS handshake error', { error });
      this.onHandshakeError?.();
    });
  }

  /** Clients are asked for certificates. */
  get #asks(): boolean {
    return this.#authorities.client.length > 0 || this.#authorities.frontProxy.length > 0;
  }

  /** What of the certificates concerns a handshake. */
  #take(certificates: ListenerCertificates): tls.SecureContextOptions {
    this.#authorities.client = parseBundle(certificates.clientCA);
    this.#authorities.frontProxy = parseBundle(certificates.frontProxyCA);
    const ca = [certificates.clientCA, certificates.frontProxyCA].filter((c) => c !== undefined);
    const { minVersion = 'TLSv1.2', ciphers, curves } = this.#settings;
    const common: tls.SecureContextOptions = {
      ...(ca.length === 0 ? {} : { ca }),
      minVersion,
      ...(ciphers === undefined ? {} : { ciphers }),
      ...(curves === undefined ? {} : { ecdhCurve: curves }),
    };
    const named = certificates.named ?? [];
    this.#named = named.length === 0 ? undefined : new NamedContexts(named, common);
    return { ...common, cert: certificates.certificate, key: certificates.key };
  }

  /**
   * Takes other certificates: handshakes from now on, and requests on connections that stand, whose clients are looked at again.
   * @throws {Error} for what is none; what was there goes on
   */
  update(certificates: ListenerCertificates): void {
    this.#server.setSecureContext(this.#take(certificates));
    for (const [socket, peer] of this.#peers) Object.assign(peer, peerOf(socket, this.#authorities));
  }

  /** Starts listening. Port 0 takes a free one. `shared`: with SO_REUSEPORT. Rejects when the address cannot be used. */
  listen(host: string, port: number, shared = false): Promise<Listening> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen({ host: everyFamily(host), port, backlog: 1024, reusePort: shared }, () => {
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
