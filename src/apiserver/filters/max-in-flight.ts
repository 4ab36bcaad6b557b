/**
 * Bounds the requests that run at once, readers and writers apart, as upstream's max-in-flight limit: what comes on top is
 * answered 429 at once and never queued. Long-running requests are not counted; system:masters, and the small periodic
 * writes that keep nodes and leaders alive, always get through.
 */
import { textResponse } from './panic.ts';
import type { Filter, Scope } from './scope.ts';

export interface InFlight {
  reading: number;
  writing: number;
}

/** True for requests that must not be refused: their loss would be taken for the death of a node or leader. */
function exempt(scope: Scope): boolean {
  const info = scope.info;
  if (scope.user.groups.includes('system:masters')) return true;
  if (!info.isResourceRequest) {
    const p = info.path;
    return p.startsWith('/healthz') || p.startsWith('/livez') || p.startsWith('/readyz');
  }
  return (
    info.group === 'coordination.k8s.io' &&
    info.resource === 'leases' &&
    (info.namespace === 'kube-node-lease' || info.namespace === 'kube-system')
  );
}

export function withMaxInFlight(
  readLimit: number,
  writeLimit: number,
  inFlight: InFlight,
  onDropped: (scope: Scope) => void,
): Filter {
  return (next) => async (scope) => {
    if (scope.longRunning) return next(scope);
    const verb = scope.info.verb;
    const reads = verb === 'get' || verb === 'list' || verb === 'watch';
    if (reads ? inFlight.reading >= readLimit : inFlight.writing >= writeLimit) {
      if (!exempt(scope)) {
        onDropped(scope);
        return textResponse(429, 'Too many requests, please try again later.', { 'retry-after': '1' });
      }
    }
    if (reads) inFlight.reading++;
    else inFlight.writing++;
    try {
      return await next(scope);
    } finally {
      if (reads) inFlight.reading--;
      else inFlight.writing--;
    }
  };
}
