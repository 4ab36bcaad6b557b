/**
 * Audit: decides by the policy how a request is told, and tells it when it is received, when its answer begins (where that lasts)
 * and when it is complete. Stands behind authentication, before impersonation. A server without auditing has no such filter.
 */
import { StatusError } from '../../api/status.ts';
import type { Clock } from '../../base/clock.ts';
import type { AuditBackend } from '../audit/backend.ts';
import type { AuditMetrics } from '../audit/metrics.ts';
import { AuditRules, type AuditPolicy } from '../audit/policy.ts';
import { AuditRecord } from '../audit/record.ts';
import type { OutgoingResponse } from '../request.ts';
import { attributesOf } from './authorization.ts';
import { statusResponse, textResponse } from './panic.ts';
import type { Filter, Handler, Scope } from './scope.ts';

export interface AuditOptions {
  readonly policy: AuditPolicy;
  readonly backend: AuditBackend;
  readonly metrics: AuditMetrics;
}

/** Makes the parsed form of an answer, for level RequestResponse. */
type Objects = (scope: Scope, response: OutgoingResponse) => Promise<unknown>;

export interface AuditFilters {
  readonly filter: Filter;
  /** For a request whose credentials were refused. */
  readonly refused: (scope: Scope, error: StatusError) => void | Promise<void>;
}

export function auditFilters(options: AuditOptions, clock: Clock, objects: Objects): AuditFilters {
  const { backend, metrics } = options;
  const rules = new AuditRules(options.policy);
  const parts = { backend, metrics, clock };
  const begin = (scope: Scope): AuditRecord | undefined => {
    const decision = rules.decide(attributesOf(scope));
    metrics.level(decision.level);
    return decision.level === 'None' ? undefined : new AuditRecord(scope, decision, parts);
  };

  /** Tells the answer; what lasts is complete when the server says so. */
  const answered = async (scope: Scope, record: AuditRecord, response: OutgoingResponse): Promise<void> => {
    const { body } = response;
    const object = body.kind === 'object' ? body.object : undefined;
    if (object?.kind === 'Status') record.answered(response.status, object);
    else record.answered(body.kind === 'hijacked' ? 101 : response.status);
    if (record.wantsResponse && (object !== undefined || body.kind === 'committed' || body.kind === 'list'))
      record.response(await objects(scope, response));
    if (scope.longRunning) await record.stage('ResponseStarted');
    if (!scope.longRunning || (body.kind !== 'watch' && body.kind !== 'stream' && body.kind !== 'hijacked'))
      await record.complete();
  };

  const run = async (next: Handler, scope: Scope, record: AuditRecord): Promise<OutgoingResponse> => {
    const stored = record.stage('RequestReceived');
    if (!(stored instanceof Promise ? await stored : stored)) {
      metrics.rejected();
      const uri = JSON.stringify(scope.request.path);
      return textResponse(500, `Internal Server Error: ${uri}: failed to store audit event`);
    }
    let response: OutgoingResponse;
    try {
      response = await next(scope);
    } catch (error) {
      if (!(error instanceof StatusError)) {
        scope.panicked = true;
        record.answered(500, {
          status: 'Failure',
          reason: 'InternalError',
          message: `APIServer panic'd: ${error instanceof Error ? error.message : String(error)}`,
        });
        await record.complete();
        throw error;
      }
      response = statusResponse(error);
    }
    await answered(scope, record, response);
    return response;
  };

  return {
    filter: (next) => (scope) => {
      const record = begin(scope);
      if (record === undefined) return next(scope);
      scope.audit = record;
      return run(next, scope, record);
    },
    async refused(scope, error) {
      const record = begin(scope);
      if (record === undefined) return;
      const status = error.toStatus() as unknown as Readonly<Record<string, unknown>>;
      if (record.wantsResponse) record.response(status);
      record.answered(error.code, status);
      await record.stage('ResponseStarted');
    },
  };
}
