/** Finds out who asks; 401 for bad credentials and for none at all. A request of the same process carries its identity. */
import { StatusError, unauthorized } from '../../api/status.ts';
import { ioNow } from '../../base/io-time.ts';
import type { Logger } from '../../base/logger.ts';
import type { Authenticator } from '../context.ts';
import type { AccessMetrics } from '../metrics/access-metrics.ts';
import type { OutgoingResponse } from '../request.ts';
import type { Filter, Scope } from './scope.ts';

/** `refused`: told of requests that end here, before they are answered. */
export function withAuthentication(
  authenticator: Authenticator,
  logger: Logger,
  refused?: (scope: Scope, error: StatusError) => void | Promise<void>,
  metrics?: AccessMetrics,
): Filter {
  return (next) => {
    const refuse = async (scope: Scope): Promise<never> => {
      const error = unauthorized();
      await refused?.(scope, error);
      throw error;
    };
    const ask = async (scope: Scope): Promise<OutgoingResponse> => {
      const began = ioNow();
      let user;
      try {
        user = await authenticator.authenticate(scope.request, scope);
      } catch (error) {
        if (error instanceof StatusError && error.code !== 401) throw error;
        logger.warn('Unable to authenticate the request', { error });
        metrics?.notAuthenticated('error', began);
        return refuse(scope);
      }
      if (user === undefined) {
        metrics?.notAuthenticated('failure', began);
        return refuse(scope);
      }
      metrics?.authenticated(user.name, began);
      scope.user = user;
      return next(scope);
    };
    return (scope) => {
      const request = scope.request;
      // A certificate that our authorities did not sign is a bad credential, not an absent one.
      if (request.peerCertificateError !== undefined && request.headers['authorization'] === undefined) {
        logger.warn('Unable to authenticate the request', { error: request.peerCertificateError });
        metrics?.notAuthenticated('error', undefined);
        return refuse(scope);
      }
      const user = request.identity ?? authenticator.known?.(request);
      if (user === undefined) return ask(scope);
      metrics?.authenticated(user.name, undefined);
      scope.user = user;
      return next(scope);
    };
  };
}
