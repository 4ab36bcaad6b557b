/** Asks the authorizer whether the caller may do this; 403 with upstream's wording when it may not. */
import { goQuote } from '../../api/codec/json.ts';
import { forbidden } from '../../api/status.ts';
import { ioNow } from '../../base/io-time.ts';
import type { StatusError } from '../../api/status.ts';
import type { AuthorizationAttributes, AuthorizationOutcome, Authorizer, Decision } from '../context.ts';
import { textResponse } from './panic.ts';
import type { AccessMetrics } from '../metrics/access-metrics.ts';
import type { Filter, Handler, Scope } from './scope.ts';

/** Told of every decision, for audit and for the tests that look for privileges we should not need. */
export type AuthorizationObserver = (attributes: AuthorizationAttributes, decision: Decision, reason: string) => void;

export function attributesOf(scope: Scope): AuthorizationAttributes {
  const info = scope.info;
  return {
    user: scope.user,
    verb: info.verb,
    isResourceRequest: info.isResourceRequest,
    group: info.group,
    version: info.version,
    resource: info.resource,
    subresource: info.subresource,
    namespace: info.namespace,
    name: info.name,
    path: info.path,
    labelSelector: info.labelSelector,
    fieldSelector: info.fieldSelector,
  };
}

function sanitize(text: string): string {
  return /[&<>]/.test(text) ? text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;') : text;
}

function message(a: AuthorizationAttributes): string {
  const q = JSON.stringify;
  if (!a.isResourceRequest) return `User ${q(a.user.name)} cannot ${a.verb} path ${q(a.path)}`;
  const resource = a.subresource === '' ? a.resource : `${a.resource}/${a.subresource}`;
  const what = `User ${q(a.user.name)} cannot ${a.verb} resource ${q(resource)} in API group ${q(a.group)}`;
  return a.namespace === '' ? `${what} at the cluster scope` : `${what} in the namespace ${q(a.namespace)}`;
}

/** 403 as upstream's responsewriters.Forbidden words it. */
export function forbiddenByAuthorizer(a: AuthorizationAttributes, reason: string): StatusError {
  const why = sanitize(message(a));
  return forbidden({ group: a.group, resource: a.resource }, a.name, reason === '' ? why : `${why}: ${reason}`);
}

function requestUri({ request }: Scope): string {
  const query = request.rawQuery ?? request.query.toString();
  return query === '' ? request.path : `${request.path}?${query}`;
}

export function withAuthorization(
  authorizer: Authorizer,
  observe: AuthorizationObserver | undefined,
  metrics?: AccessMetrics,
): Filter {
  return (next) => {
    const decide = (
      scope: Scope,
      attributes: AuthorizationAttributes,
      answer: AuthorizationOutcome,
    ): ReturnType<Handler> => {
      const { decision, reason, error } = answer;
      if (observe !== undefined) observe(attributes, decision, reason);
      if (decision === 'allow') {
        if (scope.audit !== undefined) {
          scope.annotate('authorization.k8s.io/decision', 'allow');
          scope.annotate('authorization.k8s.io/reason', reason);
        }
        return next(scope);
      }
      if (error !== undefined) {
        scope.annotate('authorization.k8s.io/reason', 'internal error');
        return textResponse(500, sanitize(`Internal Server Error: ${goQuote(requestUri(scope))}: ${error.message}`));
      }
      scope.annotate('authorization.k8s.io/decision', 'forbid');
      scope.annotate('authorization.k8s.io/reason', reason);
      throw forbiddenByAuthorizer(attributes, reason);
    };
    return (scope) => {
      const attributes = attributesOf(scope);
      if (metrics === undefined) {
        const plain = authorizer.authorize(attributes);
        if (plain instanceof Promise) return plain.then((a) => decide(scope, attributes, a));
        return decide(scope, attributes, plain);
      }
      const began = ioNow();
      const answer = authorizer.authorize(attributes);
      if (answer instanceof Promise)
        return answer.then((a) => {
          metrics.authorized(a.decision, a.error, began);
          return decide(scope, attributes, a);
        });
      metrics.authorized(answer.decision, answer.error, began);
      return decide(scope, attributes, answer);
    };
  };
}
