/** Reading the body of a request from a Node stream, as HTTP/1.1 brings it. */
import type { Readable } from 'node:stream';
import { StatusError, badRequest } from '../../api/status.ts';

/** 413 as upstream words it. */
export function tooLarge(limit: number): StatusError {
  return new StatusError(413, 'RequestEntityTooLarge', `Request entity too large: limit is ${limit}`);
}

/** Reads a whole body, failing with 413 past `limit` and when the client goes away in the middle. */
export function readBody(stream: Readable, declared: number | undefined, limit: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    if (declared !== undefined && declared > limit) {
      stream.resume();
      reject(tooLarge(limit));
      return;
    }
    let first: Buffer | undefined;
    let more: Buffer[] | undefined;
    let size = 0;
    let done = false;
    const finish = (): void => {
      if (done) return;
      done = true;
      if (more !== undefined) resolve(Buffer.concat(more, size));
      else resolve(first ?? empty);
    };
    // Errors are made only when they are told: their stack traces cost more than reading a short body.
    const fail = (make: () => Error): void => {
      if (done) return;
      done = true;
      reject(make());
    };
    stream.on('data', (chunk: Buffer) => {
      if (done) return;
      size += chunk.length;
      if (size > limit) {
        more = undefined;
        first = undefined;
        fail(() => tooLarge(limit));
        return;
      }
      if (first === undefined) first = chunk;
      else if (more === undefined) more = [first, chunk];
      else more.push(chunk);
    });
    stream.on('end', finish);
    stream.on('error', (error) => fail(() => badRequest(`unable to read the request body: ${error.message}`, error)));
    stream.on('close', () => fail(() => badRequest('unable to read the request body: the client went away')));
  });
}

const empty = Buffer.alloc(0);
