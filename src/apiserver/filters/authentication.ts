/** Finds out who asks; 401 for bad credentials and for none at all. A request of the same process carries its identity. */
import { StatusError, unauthorized } from '../../api/status.ts';
import type { Logger } from '../../base/logger.ts';
import type { Authenticator } from '../context.ts';
import type { Filter } from './scope.ts';

export function withAuthentication(authenticator: Authenticator, logger: Logger): Filter {
  return (next) => async (scope) => {
    const request = scope.request;
    if (request.identity !== undefined) {
      scope.user = request.identity;
      return next(scope);
    }
    // A certificate that our authorities did not sign is a bad credential, not an absent one.
    if (request.peerCertificateError !== undefined && request.headers['authorization'] === undefined) {
      logger.warn('Unable to authenticate the request', { error: request.peerCertificateError });
      throw unauthorized();
    }
    let user;
    try {
      user = await authenticator.authenticate(request);
    } catch (error) {
      if (error instanceof StatusError && error.code !== 401) throw error;
      logger.warn('Unable to authenticate the request', { error });
      throw unauthorized();
    }
    if (user === undefined) throw unauthorized();
    scope.user = user;
    return next(scope);
  };
}
