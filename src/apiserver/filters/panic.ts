/**
 * The outermost guard: a `StatusError` becomes its Status; anything else that was thrown is a defect of the server, is
 * logged with its stack and answered as upstream answers a panic, so that one request never takes the process down.
 */
import { StatusError } from '../../api/status.ts';
import type { Logger } from '../../base/logger.ts';
import type { KubeObjectLike, OutgoingResponse } from '../request.ts';
import type { Filter, Scope } from './scope.ts';

/** The response that carries a Status. */
export function statusResponse(error: StatusError): OutgoingResponse {
  const body = { kind: 'object' as const, object: error.toStatus() as unknown as KubeObjectLike };
  const retry = error.details?.retryAfterSeconds ?? 0;
  if (retry > 0) return { status: error.code, headers: { 'retry-after': String(retry) }, body };
  return { status: error.code, body };
}

/** A plain text answer, as Go's http.Error writes it. */
export function textResponse(
  status: number,
  text: string,
  headers?: Readonly<Record<string, string>>,
): OutgoingResponse {
  return {
    status,
    headers: { 'x-content-type-options': 'nosniff', ...headers },
    body: { kind: 'bytes', contentType: 'text/plain; charset=utf-8', bytes: Buffer.from(`${text}\n`) },
  };
}

export const panicText = 'This request caused apiserver to panic. Look in the logs for details.';

/** The answer to a request whose handling threw. */
export function recovered(scope: Scope, error: unknown, logger: Logger): OutgoingResponse {
  if (error instanceof StatusError) {
    if (error.code >= 500 && error.cause !== undefined)
      logger.warn('request failed', { method: scope.request.method, path: scope.info.path, error });
    return statusResponse(error);
  }
  if (scope.expired || scope.request.signal.aborted) {
    return statusResponse(
      new StatusError(
        504,
        'Timeout',
        'Timeout: request did not complete within the allotted timeout',
        {},
        { cause: error },
      ),
    );
  }
  scope.panicked = true;
  logger.error("apiserver panic'd", {
    method: scope.request.method,
    path: scope.request.path,
    auditID: scope.auditId,
    error,
    stack: error instanceof Error ? error.stack : undefined,
  });
  return textResponse(500, panicText);
}

export function withPanicRecovery(logger: Logger): Filter {
  return (next) => (scope) => {
    const recover = (error: unknown): OutgoingResponse => recovered(scope, error, logger);
    try {
      const answer = next(scope);
      return answer instanceof Promise ? answer.then(undefined, recover) : answer;
    } catch (error) {
      return recover(error);
    }
  };
}
