/**
 * The chunks of a body, one after another. Iterating over the stream itself will not do for HTTP/2: Node takes a stream whose last
 * frame has come for closed, though nobody has read it yet, and calls that premature. It happens to whoever comes to an answer a
 * moment late.
 */
import type { Readable } from 'node:stream';

/** Ends with the stream, which is destroyed when the loop is left. @throws what broke it */
export async function* chunksOf(stream: Readable): AsyncGenerator<Buffer> {
  let wake: (() => void) | undefined;
  let failed: Error | undefined;
  const next = (): void => {
    wake?.();
    wake = undefined;
  };
  const onError = (error: Error): void => {
    failed = error;
    next();
  };
  stream.on('readable', next).on('end', next).on('close', next).on('error', onError);
  try {
    for (;;) {
      const chunk = stream.destroyed ? null : (stream.read() as Buffer | null);
      if (chunk !== null) yield chunk;
      else if (stream.readableEnded) return;
      else if (failed !== undefined || stream.errored !== null) throw failed ?? stream.errored!;
      else if (stream.destroyed) throw new Error('the body ended too early');
      else
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
    }
  } finally {
    stream.off('readable', next).off('end', next).off('close', next);
    stream.destroy();
    stream.off('error', onError);
    // What is told of a stream that is left is told to nobody.
    stream.on('error', () => {});
  }
}
