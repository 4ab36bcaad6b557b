/**
 * A connection by way of a konnectivity server: one stream of `ProxyService.Proxy` over its Unix socket for each connection, as
 * upstream's single-use tunnels. Loading this file loads gRPC and protobufjs: import it lazily.
 */
import { Duplex } from 'node:stream';
import type * as grpc from '@grpc/grpc-js';
import type { Random } from '../../base/random.ts';
import { ioTimer } from '../../base/io-time.ts';
import { messageTypes, socketClient, type MessageTable } from '../connect/unix-grpc.ts';

const messages: MessageTable = {
  Packet: {
    type: 'int32 1',
    dialRequest: 'DialRequest 2',
    dialResponse: 'DialResponse 3',
    data: 'Data 4',
    closeRequest: 'CloseRequest 5',
    closeResponse: 'CloseResponse 6',
    closeDial: 'CloseDial 7',
    drain: 'Drain 8',
  },
  DialRequest: { protocol: 'string 1', address: 'string 2', random: 'int64 3' },
  DialResponse: { error: 'string 1', connectID: 'int64 2', random: 'int64 3' },
  CloseRequest: { connectID: 'int64 1' },
  CloseResponse: { error: 'string 1', connectID: 'int64 2' },
  CloseDial: { random: 'int64 1' },
  Drain: {},
  Data: { connectID: 'int64 1', error: 'string 2', data: 'bytes 3' },
};

const packetType = { dialRequest: 0, dialResponse: 1, closeRequest: 2, closeResponse: 3, data: 4, closeDial: 5 };

interface Packet {
  readonly type?: number;
  readonly dialRequest?: { readonly protocol: string; readonly address: string; readonly random: number };
  readonly dialResponse?: { readonly error?: string; readonly connectID?: number; readonly random?: number };
  readonly data?: { readonly connectID?: number; readonly error?: string; readonly data?: Buffer };
  readonly closeRequest?: { readonly connectID: number };
  readonly closeResponse?: { readonly error?: string; readonly connectID?: number };
  readonly closeDial?: { readonly random: number };
}

const dialMs = 30_000;
const closeMs = 10_000;
/** One packet holds so much at most. */
const maxData = 32 * 1024;

/** What failed: the way to the proxy, or what the proxy was asked for. */
export class TunnelError extends Error {
  readonly stage: 'connect' | 'proxy';
  constructor(stage: 'connect' | 'proxy', message: string, cause?: unknown) {
    super(message, { cause });
    this.name = 'TunnelError';
    this.stage = stage;
  }
}

/** The stream of bytes within a tunnel. */
class Tunnelled extends Duplex {
  readonly #call: grpc.ClientDuplexStream<Packet, Packet>;
  readonly #id: number;
  readonly #end: () => void;
  /** The other side has said that it is closed. */
  #closed = false;
  #cancelClose: (() => void) | undefined;

  constructor(call: grpc.ClientDuplexStream<Packet, Packet>, id: number, end: () => void) {
    super({ allowHalfOpen: false });
    this.#call = call;
    this.#id = id;
    this.#end = end;
  }

  received(packet: Packet): void {
    switch (packet.type ?? 0) {
      case packetType.data: {
        const { data } = packet;
        if (data?.data !== undefined && data.data.length > 0 && !this.push(data.data)) this.#call.pause();
        break;
      }
      case packetType.closeResponse: {
        this.#closed = true;
        const error = packet.closeResponse?.error ?? '';
        if (error !== '' && !this.destroyed) this.destroy(new Error(error));
        else this.push(null);
        if (this.destroyed) this.#finish();
        break;
      }
    }
  }

  /** The tunnel itself has ended. */
  broken(error: Error | undefined): void {
    this.#closed = true;
    if (error === undefined) this.push(null);
    else this.destroy(error);
  }

  override _read(): void {
    this.#call.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error) => void): void {
    if (this.#closed) {
      done(new Error('connection closed'));
      return;
    }
    let room = true;
    for (let at = 0; at < chunk.length; at += maxData)
      room = this.#call.write({
        type: packetType.data,
        data: { connectID: this.#id, data: chunk.subarray(at, at + maxData) },
      });
    if (room) done();
    else this.#call.once('drain', () => done());
  }

  override _final(done: (error?: Error) => void): void {
    this.#close();
    done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#close();
    if (this.#closed) this.#finish();
    this.#call.resume();
    done(error);
  }

  #close(): void {
    if (this.#closed || this.#cancelClose !== undefined) return;
    this.#call.write({ type: packetType.closeRequest, closeRequest: { connectID: this.#id } });
    this.#cancelClose = ioTimer(closeMs, () => this.#finish());
  }

  #finish(): void {
    this.#cancelClose?.();
    this.#end();
  }
}

export interface Tunnels {
  /** @throws {TunnelError} */
  open(socket: string, address: string): Promise<Duplex>;
}

export function createTunnels(random: Random): Tunnels {
  const packet = messageTypes('konnectivity', messages).lookupType('Packet');
  const serialize = (p: Packet): Buffer => Buffer.from(packet.encode(packet.fromObject(p)).finish());
  const deserialize = (bytes: Buffer): Packet =>
    packet.toObject(packet.decode(bytes), { longs: Number, bytes: Buffer }) as Packet;
  return {
    open(socket, address) {
      const client = socketClient(socket);
      const call = client.makeBidiStreamRequest('/ProxyService/Proxy', serialize, deserialize);
      let ended = false;
      const end = (): void => {
        if (ended) return;
        ended = true;
        call.cancel();
        client.close();
      };
      const id = random.int(2 ** 47);
      return new Promise<Duplex>((resolve, reject) => {
        let stream: Tunnelled | undefined;
        const fail = (error: TunnelError): void => {
          cancel();
          end();
          reject(error);
        };
        const cancel = ioTimer(dialMs, () => {
          call.write({ type: packetType.closeDial, closeDial: { random: id } });
          fail(new TunnelError('proxy', `dial timeout, context: context deadline exceeded`));
        });
        call.on('data', (received: Packet) => {
          if (stream !== undefined) {
            stream.received(received);
            return;
          }
          const type = received.type ?? 0;
          if (type === packetType.closeDial) fail(new TunnelError('proxy', 'dial closed'));
          if (type !== packetType.dialResponse) return;
          const { error = '', connectID = 0, random: echoed = 0 } = received.dialResponse ?? {};
          if (echoed !== id) return;
          if (error !== '') {
            fail(new TunnelError('proxy', error));
            return;
          }
          cancel();
          stream = new Tunnelled(call, connectID, end);
          resolve(stream);
        });
        call.on('error', (error: grpc.ServiceError) => {
          // Ended by ourselves.
          if (ended) return;
          if (stream !== undefined) stream.broken(error);
          else fail(new TunnelError('connect', `rpc error: ${error.details}`, error));
        });
        call.on('end', () => {
          if (ended) return;
          if (stream !== undefined) stream.broken(undefined);
          else fail(new TunnelError('proxy', 'tunnel is closed'));
        });
        call.write({ type: packetType.dialRequest, dialRequest: { protocol: 'tcp', address, random: id } });
      });
    },
  };
}
