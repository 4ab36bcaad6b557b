/**
 * Audit: one event of stage ResponseComplete (ResponseStarted for long-running requests) a request at level Metadata,
 * handed to a sink. Policies come with their own issue; secrets and bodies are never in it.
 */
import { formatMicroTime } from '../../api/time.ts';
import type { Clock } from '../../base/clock.ts';
import type { UserInfo } from '../request.ts';
import type { Filter } from './scope.ts';

/** audit.k8s.io/v1 Event at level Metadata. */
export interface AuditEvent {
  readonly kind: 'Event';
  readonly apiVersion: 'audit.k8s.io/v1';
  readonly level: 'Metadata';
  readonly auditID: string;
  readonly stage: 'ResponseComplete' | 'ResponseStarted' | 'Panic';
  readonly requestURI: string;
  readonly verb: string;
  readonly user: { username: string; uid?: string; groups?: readonly string[]; extra?: UserInfo['extra'] };
  readonly impersonatedUser?: { username: string; uid?: string; groups?: readonly string[] };
  readonly sourceIPs: readonly string[];
  readonly userAgent?: string;
  readonly objectRef?: Readonly<Record<string, string>>;
  readonly responseStatus: { metadata: Record<string, never>; code: number };
  readonly requestReceivedTimestamp: string;
  readonly stageTimestamp: string;
  readonly annotations?: Readonly<Record<string, string>>;
}

export interface AuditSink {
  write(event: AuditEvent): void;
}

function userOf(user: UserInfo): AuditEvent['user'] {
  return {
    username: user.name,
    ...(user.uid === undefined ? {} : { uid: user.uid }),
    groups: user.groups,
    ...(user.extra === undefined ? {} : { extra: user.extra }),
  };
}

export function withAudit(sink: AuditSink, clock: Clock): Filter {
  return (next) => async (scope) => {
    const received = clock.now();
    let code = 500;
    let stage: AuditEvent['stage'] = scope.longRunning ? 'ResponseStarted' : 'ResponseComplete';
    try {
      const response = await next(scope);
      code = response.status;
      return response;
    } catch (error) {
      const status = (error as { code?: unknown }).code;
      if (typeof status === 'number') code = status;
      else stage = 'Panic';
      throw error;
    } finally {
      const { request, info } = scope;
      const ref: Record<string, string> = {};
      if (info.isResourceRequest) {
        ref['resource'] = info.resource;
        if (info.namespace !== '') ref['namespace'] = info.namespace;
        if (info.name !== '') ref['name'] = info.name;
        if (info.group !== '') ref['apiGroup'] = info.group;
        ref['apiVersion'] = info.version;
        if (info.subresource !== '') ref['subresource'] = info.subresource;
      }
      const query = request.rawQuery ?? request.query.toString();
      const agent = request.headers['user-agent'];
      sink.write({
        kind: 'Event',
        apiVersion: 'audit.k8s.io/v1',
        level: 'Metadata',
        auditID: scope.auditId,
        stage,
        requestURI: query === '' ? request.path : `${request.path}?${query}`,
        verb: info.verb,
        user: userOf(scope.originalUser ?? scope.user),
        ...(scope.originalUser === undefined ? {} : { impersonatedUser: userOf(scope.user) }),
        sourceIPs: request.remoteAddress === '' ? [] : [request.remoteAddress],
        ...(agent === undefined ? {} : { userAgent: agent }),
        ...(info.isResourceRequest ? { objectRef: ref } : {}),
        responseStatus: { metadata: {}, code },
        requestReceivedTimestamp: formatMicroTime(received),
        stageTimestamp: formatMicroTime(clock.now()),
        ...(scope.annotations === undefined ? {} : { annotations: Object.fromEntries(scope.annotations) }),
      });
    }
  };
}
