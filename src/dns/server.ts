/** The name server's sockets: UDP and TCP on one port. Bounded in queries at a time, connections and their idle time. */
import type { Socket as DatagramSocket } from 'node:dgram';
import { createSocket } from 'node:dgram';
import type { AddressInfo, Server, Socket } from 'node:net';
import { createServer, isIPv6 } from 'node:net';
import type { Logger } from '../base/logger.ts';

const maxQueries = 1000;
const maxConnections = 200;
const idleMs = 10_000;
const maxTcpBuffer = 2 + 65_535;
const maxBindTries = 10;

export interface SocketAddress {
  readonly address: string;
  readonly port: number;
}

/** Answers one message; undefined: with silence. */
export type MessageHandler = (message: Buffer, transport: 'udp' | 'tcp') => Promise<Buffer | undefined>;

export class DnsSockets {
  readonly #handler: MessageHandler;
  readonly #logger: Logger;
  readonly #connections = new Set<Socket>();
  #udp: DatagramSocket | undefined;
  #tcp: Server | undefined;
  #running = 0;

  constructor(handler: MessageHandler, logger: Logger) {
    this.#handler = handler;
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
        return { address, port };
      } catch (error) {
        udp.close();
        const taken = (error as NodeJS.ErrnoException).code === 'EADDRINUSE';
        if (at.port !== 0 || !taken || attempt === maxBindTries) throw error;
      }
    }
  }

  #bindUdp(at: SocketAddress): Promise<DatagramSocket> {
    const socket = createSocket(isIPv6(at.address) ? 'udp6' : 'udp4');
    return new Promise((resolve, reject) => {
      socket.once('error', reject);
      socket.bind(at.port, at.address, () => {
        socket.off('error', reject);
        socket.on('error', (error) => this.#logger.warn('DNS socket failed', { error }));
        socket.on('message', (message, from) => {
          void this.#handle(message, 'udp').then((answer) => {
            if (answer !== undefined && this.#udp !== undefined) socket.send(answer, from.port, from.address);
          });
        });
        resolve(socket);
      });
    });
  }

  #bindTcp(at: SocketAddress): Promise<Server> {
    const server = createServer((socket) => this.#serve(socket));
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

  async #handle(message: Buffer, transport: 'udp' | 'tcp'): Promise<Buffer | undefined> {
    if (this.#running >= maxQueries) return undefined;
    this.#running++;
    try {
      return await this.#handler(message, transport);
    } catch (error) {
      this.#logger.warn('DNS query failed', { error });
      return undefined;
    } finally {
      this.#running--;
    }
  }

  /** Messages with their length in front; answered in the order in which they came. */
  #serve(socket: Socket): void {
    this.#connections.add(socket);
    socket.setTimeout(idleMs, () => socket.destroy());
    socket.on('close', () => this.#connections.delete(socket));
    // A client that breaks off is gone; there is nothing to answer.
    socket.on('error', () => socket.destroy());
    const run = async (): Promise<void> => {
      let rest = Buffer.alloc(0);
      for await (const chunk of socket as AsyncIterable<Buffer>) {
        rest = Buffer.concat([rest, chunk]);
        while (rest.length >= 2) {
          const length = rest.readUInt16BE(0);
          if (rest.length < 2 + length) break;
          const answer = await this.#handle(rest.subarray(2, 2 + length), 'tcp');
          rest = rest.subarray(2 + length);
          if (answer === undefined) continue;
          const head = Buffer.alloc(2);
          head.writeUInt16BE(answer.length, 0);
          socket.write(Buffer.concat([head, answer]));
        }
        if (rest.length > maxTcpBuffer) break;
      }
      socket.end();
    };
    run().catch(() => socket.destroy());
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
