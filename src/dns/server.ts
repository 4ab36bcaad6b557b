/** The name server's sockets: UDP and TCP on one port. Bounded in connections, what they have in flight and how long they idle. */
import type { RemoteInfo, Socket as DatagramSocket } from 'node:dgram';
import { createSocket } from 'node:dgram';
import type { AddressInfo, Server, Socket } from 'node:net';
import { createServer, isIPv6 } from 'node:net';
import { ioTimer } from '../base/io-time.ts';
import type { Logger } from '../base/logger.ts';
import type { NameServer } from './name-server.ts';

const maxConnections = 1000;
/** Of one connection: questions being answered, and bytes that the client has not taken. */
const maxInFlight = 128;
const maxUnsent = 1 << 20;
const idleMs = 10_000;
const maxBindTries = 10;
const receiveBuffer = 4 << 20;

export interface SocketAddress {
  readonly address: string;
  readonly port: number;
}

export class DnsSockets {
  readonly #server: NameServer;
  readonly #logger: Logger;
  /** The Corefile's port that is answered here. */
  readonly #port: number;
  readonly #connections = new Set<Socket>();
  #udp: DatagramSocket | undefined;
  #tcp: Server | undefined;
  #local = '';

  constructor(server: NameServer, port: number, logger: Logger) {
    this.#server = server;
    this.#port = port;
    this.#logger = logger;
  }

  /** Port 0 picks one that is free for both. */
  async bind(at: SocketAddress): Promise<SocketAddress> {
    for (let attempt = 1; ; attempt++) {
      const udp = await this.#bindUdp(at);
      const { address, port } = udp.address();
      try {
        this.#tcp = await this.#bindTcp({ address: at.address, port });
        this.#udp = udp;
        this.#local = address;
        return { address, port };
      } catch (error) {
        udp.close();
        const taken = (error as NodeJS.ErrnoException).code === 'EADDRINUSE';
        if (at.port !== 0 || !taken || attempt === maxBindTries) throw error;
      }
    }
  }

  #bindUdp(at: SocketAddress): Promise<DatagramSocket> {
    const v6 = isIPv6(at.address);
    const socket = createSocket({
      type: v6 ? 'udp6' : 'udp4',
      // Clients are addresses already: nothing is to be looked up.
      lookup: (address, _options, done) => done(null, address, v6 ? 6 : 4),
    });
    const server = this.#server;
    const corefilePort = this.#port;
    // What cannot be sent is the client's loss: it asks again.
    const lost = (error: Error | null): void => {
      if (error !== null && this.#udp !== undefined) this.#logger.debug('DNS answer could not be sent', { error });
    };
    const receive = (message: Buffer, from: RemoteInfo): void => {
      const quick = server.quick(message, corefilePort, false, v6 ? 6 : 4, 0);
      if (quick !== undefined) {
        socket.send(quick, 0, quick.length, from.port, from.address, lost);
        return;
      }
      const client = { address: from.address, port: from.port, transport: 'udp' as const, local: this.#local };
      const answer = server.answer(message, client, corefilePort);
      if (answer instanceof Promise)
        void answer.then((bytes) => {
          if (bytes !== undefined && this.#udp !== undefined)
            socket.send(bytes, 0, bytes.length, from.port, from.address, lost);
        });
      else if (answer !== undefined) socket.send(answer, 0, answer.length, from.port, from.address, lost);
    };
    return new Promise((resolve, reject) => {
      socket.once('error', (error) => {
        socket.close();
        reject(error);
      });
      socket.bind(at.port, at.address, () => {
        socket.removeAllListeners('error');
        socket.on('error', (error) => this.#logger.warn('DNS socket failed', { error }));
        try {
          socket.setRecvBufferSize(receiveBuffer);
        } catch (error) {
          this.#logger.debug('DNS receive buffer stays small', { error });
        }
        socket.on('message', receive);
        resolve(socket);
      });
    });
  }

  #bindTcp(at: SocketAddress): Promise<Server> {
    const server = createServer({ noDelay: true, allowHalfOpen: true }, (socket) => this.#serve(socket));
    server.maxConnections = maxConnections;
    return new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen(at.port, at.address, () => {
        server.off('error', reject);
        server.on('error', (error) => this.#logger.warn('DNS socket failed', { error }));
        resolve(server);
      });
    });
  }

  /** Messages with their length in front, any number at a time; each is answered as soon as its answer is there. */
  #serve(socket: Socket): void {
    const { remoteAddress = '', remotePort = 0, localAddress = '' } = socket;
    const client = { address: remoteAddress, port: remotePort, transport: 'tcp' as const, local: localAddress };
    const family = remoteAddress.includes(':') ? 6 : 4;
    this.#connections.add(socket);
    let rest: Buffer = Buffer.alloc(0);
    let inFlight = 0;
    let ended = false;
    let cancel = ioTimer(idleMs, () => socket.destroy());
    /** A whole message is a sign of life; single bytes are not. */
    const alive = (): void => {
      cancel();
      cancel = ioTimer(idleMs, () => socket.destroy());
    };
    const send = (framed: Buffer): void => {
      if (socket.writable) socket.write(framed);
    };
    const frame = (bytes: Buffer): Buffer => {
      const out = Buffer.allocUnsafe(2 + bytes.length);
      out.writeUInt16BE(bytes.length, 0);
      bytes.copy(out, 2);
      return out;
    };
    const busy = (): boolean => inFlight >= maxInFlight || socket.writableLength > maxUnsent;
    const work = (): void => {
      let at = 0;
      while (!socket.destroyed && !busy() && rest.length - at >= 2) {
        const length = rest.readUInt16BE(at);
        if (rest.length - at < 2 + length) break;
        const message = rest.subarray(at + 2, at + 2 + length);
        at += 2 + length;
        alive();
        this.#one(message, client, family, frame, send, (pending) => {
          inFlight += pending;
          if (pending < 0) goOn();
        });
      }
      if (at > 0) rest = rest.subarray(at);
      if (busy()) socket.pause();
      else if (ended && inFlight === 0) socket.end();
    };
    const goOn = (): void => {
      if (busy() || socket.destroyed) return;
      socket.resume();
      work();
    };
    socket.on('data', (chunk: Buffer) => {
      rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
      work();
    });
    socket.on('drain', goOn);
    socket.on('end', () => {
      ended = true;
      work();
    });
    socket.on('close', () => {
      cancel();
      this.#connections.delete(socket);
    });
    // A client that breaks off is gone; there is nothing to answer.
    socket.on('error', () => socket.destroy());
  }

  #one(
    message: Buffer,
    client: { address: string; port: number; transport: 'tcp'; local: string },
    family: 4 | 6,
    frame: (bytes: Buffer) => Buffer,
    send: (framed: Buffer) => void,
    pending: (change: 1 | -1) => void,
  ): void {
    const quick = this.#server.quick(message, this.#port, true, family, 2);
    if (quick !== undefined) {
      quick.writeUInt16BE(quick.length - 2, 0);
      send(quick);
      return;
    }
    const answer = this.#server.answer(message, client, this.#port);
    if (!(answer instanceof Promise)) {
      if (answer !== undefined) send(frame(answer));
      return;
    }
    pending(1);
    void answer
      .then((bytes) => {
        if (bytes !== undefined) send(frame(bytes));
      })
      .finally(() => pending(-1));
  }

  get address(): SocketAddress | undefined {
    const bound = this.#tcp?.address() as AddressInfo | null | undefined;
    return bound === null || bound === undefined ? undefined : { address: bound.address, port: bound.port };
  }

  async close(): Promise<void> {
    const udp = this.#udp;
    const tcp = this.#tcp;
    this.#udp = undefined;
    this.#tcp = undefined;
    for (const c of this.#connections) c.destroy();
    await Promise.all([
      udp === undefined ? undefined : new Promise<void>((resolve) => udp.close(() => resolve())),
      tcp === undefined ? undefined : new Promise<void>((resolve) => tcp.close(() => resolve())),
    ]);
  }
}
