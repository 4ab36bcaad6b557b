/**
 * The deadline of writes: their handlers get 34 s of a request's time, whatever the request itself was given. Then the client
 * is told so, with a Status that says it differently from the deadline of all requests; what was begun goes on by itself.
 */
import { StatusError } from '../../api/status.ts';
import { ioNow } from '../../base/io-time.ts';
import type { OutgoingResponse } from '../request.ts';
import { Deadlines } from './deadline.ts';
import type { Handler, Scope } from './scope.ts';

/** Upstream's bound, close to 30 s but easy to recognize. */
const writeMs = 34_000;
const writes = new Set(['create', 'update', 'patch', 'delete', 'deletecollection']);

export class WriteDeadlines {
  readonly #deadlines: Deadlines;

  constructor(ms = writeMs) {
    this.#deadlines = new Deadlines(ms);
  }

  /** Runs the handler of a resource's verb, bounded where it is a write and its request has more time than that. */
  run(scope: Scope, handle: Handler): ReturnType<Handler> {
    const now = ioNow();
    const until = now + this.#deadlines.limit;
    if (!writes.has(scope.info.verb) || (scope.deadline !== undefined && scope.deadline <= until)) return handle(scope);
    scope.deadline = until;
    const work = handle(scope);
    if (!(work instanceof Promise)) return work;
    return new Promise<OutgoingResponse>((resolve, reject) => {
      const expire = (): void => {
        scope.expire();
        const message = 'Timeout: request did not complete within requested timeout - context deadline exceeded';
        reject(new StatusError(504, 'Timeout', message, {}));
      };
      const entry = this.#deadlines.add(expire, now);
      work.then(
        (response) => {
          this.#deadlines.remove(entry);
          resolve(response);
        },
        (error: unknown) => {
          this.#deadlines.remove(entry);
          reject(error as Error);
        },
      );
    });
  }

  close(): void {
    this.#deadlines.close();
  }
}
