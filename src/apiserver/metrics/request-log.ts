/** A line of the log for each request (`-v=3` and more), beside what is counted. */
import { ioNow } from '../../base/io-time.ts';
import type { Logger } from '../../base/logger.ts';
import type { Scope } from '../filters/scope.ts';
import type { RequestObserver } from '../generic-server.ts';

export function requestLog(inner: RequestObserver, logger: Logger): RequestObserver {
  return {
    started: (scope) => inner.started(scope),
    finished(scope: Scope, status, bytes) {
      inner.finished(scope, status, bytes);
      const { request, info } = scope;
      const query = request.rawQuery ?? request.query.toString();
      logger.info('HTTP', {
        verb: info.verb.toUpperCase(),
        URI: query === '' ? request.path : `${request.path}?${query}`,
        latency: `${(ioNow() - scope.receivedAt).toFixed(3)}ms`,
        userAgent: request.headers['user-agent'] ?? '',
        'audit-ID': scope.auditId,
        srcIP: request.remoteAddress,
        resp: status,
      });
    },
    dropped: (scope) => inner.dropped(scope),
    terminated: (scope, code, component) => inner.terminated(scope, code, component),
    watchStarted: (scope) => inner.watchStarted(scope),
    watchEnded: (scope) => inner.watchEnded(scope),
    lasting: (scope, by) => inner.lasting(scope, by),
  };
}
