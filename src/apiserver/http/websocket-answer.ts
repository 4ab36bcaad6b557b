/**
 * A long answer over a WebSocket: a client that asked to upgrade gets a watch as one message an event, and a log as messages of
 * its bytes. Browsers' clients use it, which cannot read a response while it grows. What the client sends is ignored.
 */
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { Writable } from 'node:stream';
import type { WebSocket } from 'ws';
import { acceptWebSocket, isWebSocketRequest, offeredProtocols, sendMessage } from '../../base/websocket.ts';
import type { WireResponse } from '../encode/wire.ts';

/** Names of upstream's reader protocols; `base64.` ones send text. */
const readerProtocols = ['', 'binary.k8s.io', 'base64.binary.k8s.io'];
const maxLogMessage = 2048;

/** True when this answer to this request is to be told in messages. */
export function speaksWebSocket(request: IncomingMessage, wire: WireResponse): boolean {
  return (
    wire.status === 200 && (wire.body.kind === 'watch' || wire.body.kind === 'stream') && isWebSocketRequest(request)
  );
}

/** The sub-protocol of a log's messages; undefined when the client speaks none of them. A watch has none. */
export function readerProtocol(request: IncomingMessage, wire: WireResponse): string | undefined {
  if (wire.body.kind === 'watch') return '';
  const offered = offeredProtocols(request);
  return offered.length === 0 ? '' : offered.find((p) => readerProtocols.includes(p));
}

/** How the bytes of an answer become messages: `split` gives the length of the first whole message, or 0. */
type Split = (bytes: Buffer) => { readonly from: number; readonly to: number; readonly next: number } | undefined;

const newline = 0x0a;

const byLine: Split = (bytes) => {
  const end = bytes.indexOf(newline);
  // The line's end belongs to the message, as upstream's JSON encoder writes it.
  return end < 0 ? undefined : { from: 0, to: end + 1, next: end + 1 };
};

/** Frames of four bytes of length (big endian) and the event. */
const byLength: Split = (bytes) => {
  if (bytes.length < 4) return undefined;
  const end = 4 + bytes.readUInt32BE(0);
  return bytes.length < end ? undefined : { from: 4, to: end, next: end };
};

const byPiece: Split = (bytes) => {
  const end = Math.min(bytes.length, maxLogMessage);
  return end === 0 ? undefined : { from: 0, to: end, next: end };
};

/** A sink that sends what is written to it as messages; it takes more when the client has taken what it has. */
class MessageSink extends Writable {
  readonly #ws: WebSocket;
  readonly #split: Split;
  readonly #form: (message: Buffer) => Buffer | string;
  #rest: Buffer = Buffer.alloc(0);

  constructor(ws: WebSocket, split: Split, form: (message: Buffer) => Buffer | string) {
    super();
    this.#ws = ws;
    this.#split = split;
    this.#form = form;
    ws.on('error', (error) => this.destroy(error));
    ws.on('close', () => this.destroy());
    // What the client says is read, so that its end is noticed, and forgotten.
    ws.on('message', () => {});
    ws.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    let sent: Promise<void> | undefined;
    for (let m = this.#split(this.#rest); m !== undefined; m = this.#split(this.#rest)) {
      sent = sendMessage(this.#ws, this.#form(this.#rest.subarray(m.from, m.to)));
      // Only the last one is waited for; an earlier one's failure closes the connection, which ends the sink.
      sent.catch((error: Error) => this.destroy(error));
      this.#rest = this.#rest.subarray(m.next);
    }
    if (sent === undefined) done();
    else sent.then(() => done(), done);
  }

  override _final(done: () => void): void {
    this.#ws.close(1000);
    done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#ws.terminate();
    done(error);
  }
}

/** Takes the connection over and gives the sink that the answer's body is to be written to. */
export async function openMessageSink(
  request: IncomingMessage,
  socket: Duplex,
  head: Buffer,
  wire: WireResponse,
  protocol: string,
): Promise<Writable> {
  const ws = await acceptWebSocket(request, socket, head, protocol);
  const text = protocol.startsWith('base64.');
  if (wire.body.kind !== 'watch')
    return new MessageSink(ws, byPiece, text ? (m) => m.toString('base64') : (m) => Buffer.from(m));
  const json = String(wire.headers['content-type']).startsWith('application/json');
  return json
    ? new MessageSink(ws, byLine, (m) => m.toString('utf8'))
    : new MessageSink(ws, byLength, (m) => Buffer.from(m));
}
