/**
 * Bounds the requests that run at once, readers and writers apart, where API Priority and Fairness is switched off: what
 * comes on top is answered 429 at once. Long-running requests are not counted, and system:masters are never refused.
 */
import type { OutgoingResponse } from '../request.ts';
import { textResponse } from './panic.ts';
import type { Filter, Scope } from './scope.ts';

export interface InFlight {
  reading: number;
  writing: number;
}

/** A limit of 0 is none. */
export function withMaxInFlight(
  readLimit: number,
  writeLimit: number,
  inFlight: InFlight,
  onDropped: (scope: Scope) => void,
): Filter {
  return (next) => {
    const run = async (scope: Scope, reads: boolean): Promise<OutgoingResponse> => {
      if (reads) inFlight.reading++;
      else inFlight.writing++;
      try {
        return await next(scope);
      } finally {
        if (reads) inFlight.reading--;
        else inFlight.writing--;
      }
    };
    return (scope) => {
      if (scope.longRunning) return next(scope);
      const verb = scope.info.verb;
      const reads = verb === 'get' || verb === 'list' || verb === 'watch';
      const limit = reads ? readLimit : writeLimit;
      if (limit > 0 && (reads ? inFlight.reading : inFlight.writing) >= limit) {
        if (!scope.user.groups.includes('system:masters')) {
          onDropped(scope);
          return textResponse(429, 'Too many requests, please try again later.', { 'retry-after': '1' });
        }
      }
      return run(scope, reads);
    };
  };
}
