/** Questions about names outside of the cluster, passed on to other name servers: over UDP, again over TCP when cut. */
import { createSocket } from 'node:dgram';
import { connect, isIPv6 } from 'node:net';
import { ioTimer } from '../base/io-time.ts';
import type { Random } from '../base/random.ts';
import type { SocketAddress } from './server.ts';

const timeoutMs = 2000;

/** `192.0.2.1`, `192.0.2.1:53`, `[2001:db8::1]:53` or `2001:db8::1`. */
export function parseServer(text: string): SocketAddress {
  const bracketed = /^\[(.+)\](?::(\d+))?$/.exec(text);
  if (bracketed !== null) return { address: bracketed[1]!, port: Number(bracketed[2] ?? 53) };
  if (isIPv6(text)) return { address: text, port: 53 };
  const [address = '', port = '53'] = text.split(':');
  return { address, port: Number(port) };
}

export class Forwarder {
  readonly #servers: readonly SocketAddress[];
  readonly #random: Random;

  constructor(servers: readonly string[], random: Random) {
    this.#servers = servers.map(parseServer);
    this.#random = random;
  }

  /** The raw answer to a raw query; rejects when no server answers. */
  async forward(message: Buffer, transport: 'udp' | 'tcp'): Promise<Buffer> {
    const start = this.#random.int(this.#servers.length);
    let failure: unknown;
    for (let i = 0; i < this.#servers.length; i++) {
      const server = this.#servers[(start + i) % this.#servers.length]!;
      try {
        const answer = transport === 'udp' ? await this.#udp(server, message) : await tcp(server, message);
        answer.writeUInt16BE(message.readUInt16BE(0), 0);
        return answer;
      } catch (error) {
        failure = error;
      }
    }
    throw new Error('no upstream name server answered', { cause: failure });
  }

  #udp(server: SocketAddress, message: Buffer): Promise<Buffer> {
    // An id of our own, so that answers to others cannot be slipped in.
    const id = this.#random.int(0x10000);
    const query = Buffer.from(message);
    query.writeUInt16BE(id, 0);
    const socket = createSocket(isIPv6(server.address) ? 'udp6' : 'udp4');
    return new Promise<Buffer>((resolve, reject) => {
      const cancel = ioTimer(timeoutMs, () => reject(new Error(`${server.address} did not answer in time`)));
      socket.on('error', reject);
      socket.on('message', (answer) => {
        if (answer.length < 12 || answer.readUInt16BE(0) !== id) return;
        cancel();
        resolve(answer);
      });
      socket.connect(server.port, server.address, () => socket.send(query));
    }).finally(() => socket.close());
  }
}

function tcp(server: SocketAddress, message: Buffer): Promise<Buffer> {
  const socket = connect({ host: server.address, port: server.port });
  return new Promise<Buffer>((resolve, reject) => {
    const cancel = ioTimer(timeoutMs, () => reject(new Error(`${server.address} did not answer in time`)));
    let rest = Buffer.alloc(0);
    socket.on('error', reject);
    socket.on('end', () => reject(new Error(`${server.address} closed the connection`)));
    socket.on('data', (chunk: Buffer) => {
      rest = Buffer.concat([rest, chunk]);
      if (rest.length < 2 || rest.length < 2 + rest.readUInt16BE(0)) return;
      cancel();
      resolve(Buffer.from(rest.subarray(2, 2 + rest.readUInt16BE(0))));
    });
    const head = Buffer.alloc(2);
    head.writeUInt16BE(message.length, 0);
    socket.write(Buffer.concat([head, message]));
  }).finally(() => socket.destroy());
}
