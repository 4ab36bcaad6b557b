/**
 * Writes a response body to a stream of either HTTP version: short ones with a single `end`, long ones in chunks that
 * wait for the client, compressed off the main thread where asked for.
 */
import type { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream';
import { constants, createGzip } from 'node:zlib';
import { ioTimer } from '../../base/io-time.ts';
import type { Logger } from '../../base/logger.ts';
import type { WireBody } from '../encode/wire.ts';
import type { FanOut } from './fan-out.ts';
import { Http2Stream } from './http2/stream.ts';

/** A client that takes nothing for this long is cut off (real milliseconds). */
const stallLimit = 30_000;

/** One chunk is made while the one before it is on its way. */
async function writeChunks(
  sink: Writable,
  chunks: AsyncIterable<Buffer>,
  recycle: ((chunk: Buffer) => void) | undefined,
): Promise<void> {
  const waiting = new Set<(ok: boolean) => void>();
  const onClose = (): void => {
    for (const settle of waiting) settle(false);
  };
  sink.on('close', onClose);
  const write = (chunk: Buffer): Promise<boolean> =>
    new Promise((resolve) => {
      const settle = (ok: boolean): void => {
        waiting.delete(settle);
        cancel();
        resolve(ok);
      };
      waiting.add(settle);
      const cancel = ioTimer(stallLimit, () => settle(false));
      sink.write(chunk, (error) => {
        // No error is undefined from one kind of stream and null from the other.
        const written = error === undefined || error === null;
        if (written) recycle?.(chunk);
        settle(written);
      });
    });
  try {
    let before: Promise<boolean> = Promise.resolve(true);
    for await (const chunk of chunks) {
      if (sink.destroyed) return;
      const written = write(chunk);
      if (!(await before)) {
        sink.destroy();
        return;
      }
      before = written;
    }
    sink.end();
    // The last one may still be waiting for the client.
    if (!(await before)) sink.destroy();
  } finally {
    sink.off('close', onClose);
  }
}

/** Compresses in zlib's threads, at upstream's level: one chunk is made while the one before it is compressed. */
async function writeGzip(
  sink: Writable,
  chunks: AsyncIterable<Buffer>,
  recycle: ((chunk: Buffer) => void) | undefined,
): Promise<void> {
  const gzip = createGzip({ level: constants.Z_BEST_SPEED, chunkSize: 65_536 });
  const sent = finished(gzip, sink);
  // Whoever waits for a chunk hears of a stream that has ended as well.
  sent.catch(() => {});
  const compress = (chunk: Buffer): Promise<void> =>
    new Promise((resolve, reject) => {
      gzip.write(chunk, (error) => {
        if (error !== undefined && error !== null) {
          reject(error);
          return;
        }
        recycle?.(chunk);
        resolve();
      });
    });
  try {
    let before = Promise.resolve();
    for await (const chunk of chunks) {
      await before;
      before = compress(chunk);
      before.catch(() => {}); // awaited before the next is given
    }
    await before;
    gzip.end();
  } catch (error) {
    gzip.destroy(error as Error);
  }
  await sent;
}

function finished(from: Readable, sink: Writable): Promise<void> {
  return new Promise((resolve, reject) => {
    pipeline(from, sink, (error) => {
      if (error) reject(error);
      else resolve();
    });
  });
}

/** A stream of Node's. `encrypts`: what it reports as written it has encrypted into buffers of its own. */
export interface NodeSink {
  readonly writable: Writable;
  readonly encrypts: boolean;
}

/** Resolves when the body has been handed over completely, or the client has gone. */
export async function writeLongBody(
  to: Http2Stream | NodeSink,
  body: WireBody,
  fanOut: FanOut,
  logger: Logger,
): Promise<void> {
  const http2 = to instanceof Http2Stream;
  const sink = http2 ? to : to.writable;
  try {
    if (body.kind === 'watch') return await fanOut.write(sink, body.watch, http2);
    // What an HTTP/2 stream has taken it has copied.
    const writable = http2 ? to.toWritable() : to.writable;
    const recycles = http2 || to.encrypts;
    switch (body.kind) {
      case 'chunks':
        return await (body.gzip
          ? writeGzip(writable, body.chunks, body.recycle)
          : writeChunks(writable, body.chunks, recycles ? body.recycle : undefined));
      case 'stream':
        return await finished(body.stream, writable);
      case 'none':
      case 'bytes':
      case 'hijacked':
        return;
    }
  } catch (error) {
    // The status line is out already: all that is left is to break the stream, so that the client sees it is cut short.
    if (!sink.destroyed) {
      logger.warn('response was cut short', { error });
      sink.destroy();
    } else logger.debug('client went away during a response', { error });
  }
}
