/**
 * `Impersonate-User`, `-Group`, `-Uid` and `-Extra-*`: the real caller is held against what they ask for, then the request goes
 * on as the other user.
 */
import { badRequest } from '../../api/status.ts';
import { ioNow } from '../../base/io-time.ts';
import type { AuthorizationAttributes, Authorizer } from '../context.ts';
import { headerValues } from '../http/headers.ts';
import { HistogramVector, Vector } from '../metrics/exposition.ts';
import type { Family } from '../metrics/exposition.ts';
import type { IncomingRequest } from '../request.ts';
import { attributesOf } from './authorization.ts';
import type { AuthorizationObserver } from './authorization.ts';
import { ImpersonationModes } from './impersonation-modes.ts';
import type { WantedUser } from './impersonation-modes.ts';
import type { Filter } from './scope.ts';

const extraPrefix = 'impersonate-extra-';
/** 1 ms, doubled fourteen times. */
const buckets = Array.from({ length: 15 }, (_, i) => 0.001 * 2 ** i);

/** What is counted of impersonation, with upstream's names. */
export class ImpersonationMetrics {
  readonly #attempts = new Vector(
    'counter',
    'apiserver_impersonation_attempts_total',
    'Total number of impersonation attempts split by mode and decision.',
  );
  readonly #durations = new HistogramVector(
    'apiserver_impersonation_attempts_duration_seconds',
    'Latency of impersonation attempts in seconds split by mode and decision.',
    buckets,
  );
  readonly #authorizations = new Vector(
    'counter',
    'apiserver_impersonation_authorization_attempts_total',
    'Total number of authorization checks made by the impersonation handler split by mode and decision.',
  );
  readonly #authorizationDurations = new HistogramVector(
    'apiserver_impersonation_authorization_attempts_duration_seconds',
    'Latency of authorization checks made by the impersonation handler in seconds split by mode and decision.',
    buckets,
  );
  readonly families: readonly Family[] = [
    this.#attempts,
    this.#durations,
    this.#authorizations,
    this.#authorizationDurations,
  ];

  attempt(mode: string, decision: 'allowed' | 'denied', seconds: number): void {
    const key = `${mode} ${decision}`;
    this.#attempts.series(key, () => ({ decision, mode })).inc();
    this.#durations.series(key, () => ({ decision, mode })).observe(seconds);
  }

  authorization(verb: string, decision: 'allowed' | 'denied', seconds: number): void {
    const mode = modeOfVerb(verb);
    const key = `${mode} ${decision}`;
    this.#authorizations.series(key, () => ({ decision, mode })).inc();
    this.#authorizationDurations.series(key, () => ({ decision, mode })).observe(seconds);
  }
}

function modeOfVerb(verb: string): string {
  if (verb === 'impersonate') return 'legacy';
  return (
    /^impersonate(?:-on)?:(associated-node|arbitrary-node|serviceaccount|user-info)(?::|$)/.exec(verb)?.[1] ?? 'unknown'
  );
}

function asks(headers: Readonly<Record<string, string>>): boolean {
  for (const name in headers) if (name.charCodeAt(0) === 105 && name.startsWith('impersonate-')) return true;
  return false;
}

function extraKey(encoded: string): string {
  try {
    return decodeURIComponent(encoded);
  } catch {
    // Recorded as it stands, as upstream does with malformed escapes.
    return encoded;
  }
}

/** A user as Go prints the struct. */
function goSyntax({ name, uid, groups, extra }: WantedUser): string {
  const q = JSON.stringify;
  const strings = (values: readonly string[]): string => `[]string{${values.map((v) => q(v)).join(', ')}}`;
  const entries = Object.entries(extra).toSorted(([a], [b]) => (a < b ? -1 : 1));
  const map =
    entries.length === 0
      ? 'map[string][]string(nil)'
      : `map[string][]string{${entries.map(([key, values]) => `${q(key)}:${strings(values)}`).join(', ')}}`;
  const list = groups.length === 0 ? '[]string(nil)' : strings(groups);
  return `&user.DefaultInfo{Name:${q(name)}, UID:${q(uid)}, Groups:${list}, Extra:${map}}`;
}

/** undefined when no user is asked for. @throws {StatusError} 400 when more than a name is, but no name */
function wantedUser(request: IncomingRequest): WantedUser | undefined {
  const name = request.headers['impersonate-user'] ?? '';
  const uid = request.headers['impersonate-uid'] ?? '';
  const groups = headerValues(request, 'impersonate-group');
  const extra: Record<string, string[]> = {};
  for (const header in request.headers) {
    if (!header.startsWith(extraPrefix)) continue;
    (extra[extraKey(header.slice(extraPrefix.length))] ??= []).push(...headerValues(request, header));
  }
  const wanted: WantedUser = { name, uid, groups, extra };
  if (name !== '') return wanted;
  if (uid !== '' || groups.length > 0 || Object.keys(extra).length > 0)
    throw badRequest(`requested ${goSyntax(wanted)} without impersonating a user name`);
  return undefined;
}

export interface ImpersonationOptions {
  readonly metrics?: ImpersonationMetrics;
  /** The limited ways are open beside the old one; default true. */
  readonly constrained?: boolean;
}

export function withImpersonation(
  authorizer: Authorizer,
  observe: AuthorizationObserver | undefined,
  options: ImpersonationOptions = {},
): Filter {
  const { metrics = new ImpersonationMetrics(), constrained = true } = options;
  const modes = new ImpersonationModes(async (attributes: AuthorizationAttributes) => {
    const began = ioNow();
    const outcome = await authorizer.authorize(attributes);
    observe?.(attributes, outcome.decision, outcome.reason);
    const decision = outcome.decision === 'allow' ? 'allowed' : 'denied';
    metrics.authorization(attributes.verb, decision, (ioNow() - began) / 1000);
    return outcome;
  }, constrained);
  return (next) => (scope) => {
    if (!asks(scope.request.headers)) return next(scope);
    const wanted = wantedUser(scope.request);
    if (wanted === undefined) return next(scope);
    const began = ioNow();
    const seconds = (): number => (ioNow() - began) / 1000;
    return modes.become(wanted, attributesOf(scope)).then(
      ({ user, constraint }) => {
        metrics.attempt(constraint === '' ? 'legacy' : modeOfVerb(constraint), 'allowed', seconds());
        scope.originalUser = scope.user;
        scope.user = user;
        scope.impersonationConstraint = constraint;
        return next(scope);
      },
      (error: unknown) => {
        metrics.attempt('', 'denied', seconds());
        throw error;
      },
    );
  };
}
