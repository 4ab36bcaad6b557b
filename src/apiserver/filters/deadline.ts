/**
 * The deadline of requests that are not long-running: the `timeout` parameter up to the server's own limit (60 s), then
 * 504. Deadlines are I/O time. One timer serves all requests: they expire in the order they came in.
 */
import { ioNow, ioTimer } from '../../base/io-time.ts';
import { parseDuration } from '../../api/time.ts';
import { StatusError, badRequest } from '../../api/status.ts';
import type { OutgoingResponse } from '../request.ts';
import type { Filter, Scope } from './scope.ts';

interface Waiting {
  readonly until: number;
  expire(): void;
}

/** Upstream's answer is a Status without its kind, sent as plain text: clients tell of the code in words of their own. */
function timedOut(): OutgoingResponse {
  const {
    kind: _kind,
    apiVersion: _apiVersion,
    ...status
  } = new StatusError(504, 'Timeout', 'Timeout: request did not complete within the allotted timeout', {}).toStatus();
  const bytes = Buffer.from(`${JSON.stringify(status)}\n`);
  return { status: 504, body: { kind: 'bytes', contentType: 'text/plain; charset=utf-8', bytes } };
}

/** Requests that share one length of deadline, oldest first. */
export class Deadlines {
  readonly #ms: number;
  readonly #waiting = new Set<Waiting>();
  #cancel: (() => void) | undefined;

  constructor(ms: number) {
    this.#ms = ms;
  }

  get limit(): number {
    return this.#ms;
  }

  /** `from`: when the request came in (`ioNow`), never before that of the one added last. */
  add(expire: () => void, from: number): Waiting {
    const entry = { until: from + this.#ms, expire };
    this.#waiting.add(entry);
    if (this.#cancel === undefined) this.#arm(this.#ms);
    return entry;
  }

  remove(entry: Waiting): void {
    this.#waiting.delete(entry);
  }

  #arm(ms: number): void {
    this.#cancel = ioTimer(ms, () => {
      this.#cancel = undefined;
      const now = ioNow();
      for (const entry of this.#waiting) {
        if (entry.until > now + 1) {
          this.#arm(entry.until - now);
          return;
        }
        this.#waiting.delete(entry);
        entry.expire();
      }
    });
  }

  close(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    this.#waiting.clear();
  }
}

/** Milliseconds asked for by `timeout=`; undefined when it is absent. */
export function requestedTimeout(scope: Scope): number | undefined {
  if (scope.request.rawQuery === '') return undefined;
  const value = scope.request.query.get('timeout');
  if (value === null || value === '') return undefined;
  try {
    return parseDuration(value);
  } catch (error) {
    throw badRequest(`invalid timeout specified in the request URL - ${(error as Error).message}`, error);
  }
}

export function withDeadline(deadlines: Deadlines, onExpired: (scope: Scope) => void = () => {}): Filter {
  return (next) => (scope) => {
    if (scope.longRunning) return next(scope);
    const asked = requestedTimeout(scope);
    const sooner = asked !== undefined && asked > 0 && asked < deadlines.limit;
    scope.deadline = scope.receivedAt + (sooner ? asked : deadlines.limit);
    const work = next(scope);
    if (!(work instanceof Promise)) return work;
    return new Promise<OutgoingResponse>((resolve, reject) => {
      const expire = (): void => {
        scope.expire();
        onExpired(scope);
        resolve(timedOut());
      };
      if (sooner) {
        const cancel = ioTimer(asked, expire);
        work.then(resolve, reject).finally(cancel);
        return;
      }
      const entry = deadlines.add(expire, scope.receivedAt);
      work.then(
        (response) => {
          deadlines.remove(entry);
          resolve(response);
        },
        (error: unknown) => {
          deadlines.remove(entry);
          reject(error as Error);
        },
      );
    });
  };
}
