/**
 * A backend's refusal of an upgrade, handed to the client: that one answer and not a byte more in either direction. Were the two
 * connections joined all the same, the client could send any request of its own on the server's connection to the backend, which
 * takes it for the server's.
 */
import type { Duplex } from 'node:stream';
import { ioTimer } from '../../base/io-time.ts';

/** How long the rest of the answer may take. */
const timeout = 10_000;

/** Where the body of an HTTP/1.1 answer ends. */
interface Body {
  /** How many of the bytes belong to it; fewer than there are, or `ended` after them, when it is over. */
  take(bytes: Buffer): number;
  readonly ended: boolean;
}

class SizedBody implements Body {
  #left: number;

  constructor(length: number) {
    this.#left = length;
  }

  get ended(): boolean {
    return this.#left === 0;
  }

  take(bytes: Buffer): number {
    const taken = Math.min(bytes.length, this.#left);
    this.#left -= taken;
    return taken;
  }
}

/** `transfer-encoding: chunked`. What is malformed ends it. */
class ChunkedBody implements Body {
  #line = '';
  /** Bytes of the chunk that are to come, its line end included. */
  #left = 0;
  #last = false;
  ended = false;

  take(bytes: Buffer): number {
    let at = 0;
    while (at < bytes.length && !this.ended) {
      if (this.#left > 0) {
        const step = Math.min(this.#left, bytes.length - at);
        this.#left -= step;
        at += step;
        continue;
      }
      const byte = String.fromCharCode(bytes[at++]!);
      if (byte !== '\n') {
        this.#line += byte;
        if (this.#line.length > 4096) this.ended = true;
        continue;
      }
      const line = this.#line.replace(/\r$/, '');
      this.#line = '';
      if (this.#last) {
        this.ended = line === '';
        continue;
      }
      const size = /^[0-9a-f]{1,8}(?=;|\s|$)/i.exec(line);
      if (size === null) this.ended = true;
      else if (Number.parseInt(size[0], 16) === 0) this.#last = true;
      else this.#left = Number.parseInt(size[0], 16) + 2;
    }
    return at;
  }
}

function bodyOf(method: string, status: number, head: string): Body {
  if (method === 'HEAD' || status === 204 || status === 304) return new SizedBody(0);
  if (/\r\ntransfer-encoding:[^\r]*\bchunked\b/i.test(head)) return new ChunkedBody();
  const length = /\r\ncontent-length:[ \t]*(\d+)[ \t]*\r\n/i.exec(head);
  return new SizedBody(length === null ? Infinity : Number(length[1]));
}

/** `raw` is what has been read of the answer, its whole head at least. Both connections are closed after the answer. */
export function passRefusal(
  client: Duplex,
  backend: Duplex,
  answer: { readonly method: string; readonly status: number; readonly raw: Buffer },
): { close(): void; closed: Promise<void> } {
  const { raw } = answer;
  const headEnd = raw.indexOf('\r\n\r\n') + 4;
  const body = bodyOf(answer.method, answer.status, raw.toString('latin1', 0, headEnd));
  const close = (): void => {
    client.destroy();
    backend.destroy();
  };
  const closed = new Promise<void>((resolve) => {
    const cancel = ioTimer(timeout, close);
    const finish = (): void => {
      backend.destroy();
      client.end();
    };
    const pass = (bytes: Buffer): void => {
      client.write(bytes.subarray(0, body.take(bytes)));
      if (body.ended) finish();
    };
    client.on('error', () => backend.destroy());
    client.on('close', () => {
      cancel();
      backend.destroy();
      resolve();
    });
    // What the client sends goes nowhere.
    client.resume();
    backend.on('error', () => client.destroy());
    backend.on('close', () => {
      if (!client.writableEnded) client.end();
    });
    client.write(raw.subarray(0, headEnd));
    backend.on('data', pass);
    pass(raw.subarray(headEnd));
    if (!body.ended) backend.resume();
  });
  return { close, closed };
}
