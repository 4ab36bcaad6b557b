/**
 * Bounds the requests that run at once, readers and writers apart, by upstream's max-in-flight limits. What comes on top waits
 * its turn among the other callers, and is answered 429 when too many wait. Long-running requests are not counted;
 * system:masters, and the small periodic writes that keep nodes and leaders alive, never wait.
 */
import type { OutgoingResponse } from '../request.ts';
import { textResponse } from './panic.ts';
import type { Filter, Scope } from './scope.ts';
import { WaitingRoom } from './waiting-room.ts';

export interface InFlight {
  reading: number;
  writing: number;
}

/** Requests that may wait for a place, readers and writers each: upstream's 128 queues of 50. */
const maxWaiting = 6400;

/** True for requests that must not be held up: their loss would be taken for the death of a node or leader. */
function exempt(scope: Scope): boolean {
  const info = scope.info;
  if (scope.user.groups.includes('system:masters')) return true;
  if (!info.isResourceRequest) {
    const p = info.path;
    return p.startsWith('/healthz') || p.startsWith('/livez') || p.startsWith('/readyz');
  }
  return info.group === 'coordination.k8s.io' && info.resource === 'leases';
}

export function withMaxInFlight(
  readLimit: number,
  writeLimit: number,
  inFlight: InFlight,
  onDropped: (scope: Scope) => void,
  mayWait = maxWaiting,
): Filter {
  const readers = new WaitingRoom(mayWait);
  const writers = new WaitingRoom(mayWait);
  return (next) => {
    /** Runs a request that has its place, and gives that to the next in turn afterwards. */
    const run = async (scope: Scope, reads: boolean): Promise<OutgoingResponse> => {
      try {
        return await next(scope);
      } finally {
        const above = reads ? inFlight.reading > readLimit : inFlight.writing > writeLimit;
        if (above || !(reads ? readers : writers).admit()) {
          if (reads) inFlight.reading--;
          else inFlight.writing--;
        }
      }
    };
    const wait = async (scope: Scope, reads: boolean): Promise<OutgoingResponse> => {
      // Who is let in from the waiting room takes over the place of who has just left.
      if (await (reads ? readers : writers).wait(scope.user.name, scope.signal)) return run(scope, reads);
      onDropped(scope);
      return textResponse(429, 'Too many requests, please try again later.', { 'retry-after': '1' });
    };
    return (scope) => {
      if (scope.longRunning) return next(scope);
      const verb = scope.info.verb;
      const reads = verb === 'get' || verb === 'list' || verb === 'watch';
      const full = reads ? inFlight.reading >= readLimit : inFlight.writing >= writeLimit;
      if (full && !exempt(scope)) return wait(scope, reads);
      if (reads) inFlight.reading++;
      else inFlight.writing++;
      return run(scope, reads);
    };
  };
}
