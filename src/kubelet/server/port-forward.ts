/**
 * `/portForward/{namespace}/{pod}`: connections to a pod's ports. Over SPDY (plain, or tunnelled in a WebSocket as current clients do)
 * a client opens a data and an error stream for each connection; over WebSocket channels (v4) the ports stand in the query.
 */
import type { Duplex } from 'node:stream';
import { Readable, Writable } from 'node:stream';
import { finished, pipeline } from 'node:stream/promises';
import type { WebSocket } from 'ws';
import { ioTimer } from '../../base/io-time.ts';
import type { Logger } from '../../base/logger.ts';
import type { SpdyStream } from '../../base/spdy.ts';
import { SpdyConnection } from '../../base/spdy.ts';
import { HttpError } from './target.ts';
import { messageBytes, sendMessage } from '../../base/websocket.ts';

/** The sub-protocol of SPDY inside a WebSocket. */
export const tunnelProtocol = 'SPDY/3.1+portforward.k8s.io';
export const spdyPortForwardProtocols = ['portforward.k8s.io'] as const;
export const webSocketPortForwardProtocols = ['v4.channel.k8s.io', 'v4.base64.channel.k8s.io', ''] as const;

const streamCreationTimeout = 30_000;

export interface PortForwardTarget {
  readonly podName: string;
  readonly uid: string;
  readonly logger: Logger;
  /** A byte stream to the port inside the pod. */
  connect(port: number): Promise<Duplex>;
}

function failure(target: PortForwardTarget, port: number, error: unknown): string {
  const why = error instanceof Error ? error.message : String(error);
  return `error forwarding port ${port} to pod ${target.podName}, uid ${target.uid}: ${why}`;
}

interface Pair {
  data?: SpdyStream;
  error?: SpdyStream;
  cancel: () => void;
}

/** What is wrong with the headers of a new stream; undefined when nothing is. */
function headerFault(stream: SpdyStream): string | undefined {
  const port = stream.headers['port'] ?? '';
  if (port === '') return '"port" header is required';
  if (!/^\d+$/.test(port)) return `unable to parse ${JSON.stringify(port)} as a port: invalid syntax`;
  if (Number(port) > 65535) return `unable to parse ${JSON.stringify(port)} as a port: value out of range`;
  if (Number(port) < 1) return `port ${JSON.stringify(port)} must be > 0`;
  const type = stream.headers['streamtype'] ?? '';
  if (type === '') return '"streamType" header is required';
  if (type !== 'data' && type !== 'error') return `invalid stream type ${JSON.stringify(type)}`;
  return undefined;
}

/** Old clients send no request ids: their error stream is followed by its data stream. */
function requestId(stream: SpdyStream): string {
  const id = stream.headers['requestid'];
  if (id !== undefined && id !== '') return id;
  return String(stream.headers['streamtype'] === 'error' ? stream.id : stream.id - 2);
}

/** Serves a SPDY connection until it ends. */
export async function serveSpdyPortForward(
  transport: Duplex,
  target: PortForwardTarget,
  idleTimeoutMs: number,
): Promise<void> {
  const pairs = new Map<string, Pair>();
  const onStream = (stream: SpdyStream): void => {
    const fault = headerFault(stream);
    if (fault !== undefined) {
      target.logger.debug('port-forward stream refused', { reason: fault });
      stream.refuse();
      return;
    }
    stream.reply();
    const id = requestId(stream);
    let pair = pairs.get(id);
    if (pair === undefined) {
      const fresh: Pair = {
        cancel: ioTimer(streamCreationTimeout, () => {
          pairs.delete(id);
          fresh.error?.end(`(request=${id}) timed out waiting for streams`);
          fresh.data?.reset();
        }),
      };
      pair = fresh;
      pairs.set(id, pair);
    }
    const type = stream.headers['streamtype'] as 'data' | 'error';
    if (pair[type] !== undefined) {
      pair.error?.write(`error processing stream for request ${id}: ${type} stream already assigned`);
      stream.reset();
      return;
    }
    pair[type] = stream;
    if (pair.data === undefined || pair.error === undefined) return;
    pair.cancel();
    pairs.delete(id);
    void forwardSpdy(target, pair.data, pair.error);
  };
  const connection = new SpdyConnection(transport, { role: 'server', idleTimeoutMs, onStream });
  await connection.closed;
  for (const pair of pairs.values()) pair.cancel();
}

async function forwardSpdy(target: PortForwardTarget, data: SpdyStream, error: SpdyStream): Promise<void> {
  const port = Number(data.headers['port']);
  // Nothing comes on the error stream; reading it lets it close.
  error.resume();
  try {
    await joinStreams(data, await target.connect(port));
    error.end();
  } catch (cause) {
    if (data.destroyed) {
      error.end();
      return;
    }
    const message = failure(target, port, cause);
    target.logger.debug('port-forward failed', { port, error: cause });
    error.end(message);
    await finished(error, { readable: false }).catch(() => {}); // a client that has gone reads no error
    data.reset();
  }
}

/** Copies both ways until the pod has said all; a client that has said all may still listen. Rejects with what broke. */
async function joinStreams(client: Duplex, pod: Duplex): Promise<void> {
  // What goes wrong on the way to the pod breaks the way back as well, and is told there.
  pipeline(client, pod).catch(() => {});
  await pipeline(pod, client);
}

/** The `port` parameters; throws 400 with upstream's texts. */
export function portsOf(query: URLSearchParams): number[] {
  const all = query.getAll('port');
  if (all.length === 0) throw new HttpError(400, 'query parameter "port" is required');
  const ports: number[] = [];
  for (const text of all) {
    if (text === '') throw new HttpError(400, 'query parameter "port" cannot be empty');
    for (const part of text.split(',')) {
      const quoted = JSON.stringify(text);
      const fault = /^\d+$/.test(part) ? (Number(part) > 65535 ? 'value out of range' : undefined) : 'invalid syntax';
      if (fault !== undefined)
        throw new HttpError(
          400,
          `unable to parse ${quoted} as a port: strconv.ParseUint: parsing ${JSON.stringify(part)}: ${fault}`,
        );
      if (Number(part) < 1) throw new HttpError(400, `port ${quoted} must be > 0`);
      ports.push(Number(part));
    }
  }
  return ports;
}

/** Serves WebSocket channels: for the n-th port channel 2n carries data and 2n+1 errors, each beginning with the port's number. */
export async function serveWebSocketPortForward(
  ws: WebSocket,
  protocol: string,
  ports: readonly number[],
  target: PortForwardTarget,
): Promise<void> {
  const base64 = protocol.includes('base64');
  const send = (channel: number, data: Buffer): Promise<void> =>
    sendMessage(ws, base64 ? `${channel}${data.toString('base64')}` : Buffer.concat([Buffer.from([channel]), data]));
  const inputs = ports.map(() => new Readable({ read: () => ws.resume() }));
  let over = false;
  ws.on('error', () => {});
  const closed = new Promise<void>((resolve) => {
    ws.on('close', () => {
      over = true;
      for (const input of inputs) input.push(null);
      resolve();
    });
  });
  ws.on('message', (raw: Buffer | ArrayBuffer | Buffer[]) => {
    const bytes = messageBytes(raw);
    if (bytes.length === 0) return;
    const channel = base64 ? bytes[0]! - 0x30 : bytes[0]!;
    const data = base64 ? Buffer.from(bytes.toString('latin1', 1), 'base64') : bytes.subarray(1);
    if (channel % 2 !== 0 || data.length === 0) return;
    if (inputs[channel / 2]?.push(data) === false) ws.pause();
  });
  ws.resume();
  const one = async (port: number, index: number): Promise<void> => {
    const number = Buffer.alloc(2);
    number.writeUInt16LE(port, 0);
    await send(index * 2, number);
    await send(index * 2 + 1, number);
    try {
      const pod = await target.connect(port);
      const output = new Writable({
        write(chunk: Buffer, _encoding, callback) {
          send(index * 2, chunk).then(() => callback(), callback);
        },
      });
      pipeline(inputs[index]!, pod).catch(() => {}); // breaks the way back as well, and is told there
      await pipeline(pod, output);
    } catch (error) {
      inputs[index]!.resume();
      if (!over) await send(index * 2 + 1, Buffer.from(failure(target, port, error)));
    }
  };
  await Promise.allSettled(ports.map(one));
  ws.close(1000);
  await closed;
}
