/** `AuditRecord`: what is to be told of one request, gathered on its way through the server, and told stage by stage. */
import { formatMicroTime } from '../../api/time.ts';
import type { Clock } from '../../base/clock.ts';
import type { Scope } from '../filters/scope.ts';
import type { UserInfo } from '../request.ts';
import type { AuditBackend } from './backend.ts';
import type { AuditEvent, AuditStage, AuditStatus, AuditUser } from './event.ts';
import type { AuditMetrics } from './metrics.ts';
import type { AuditDecision } from './policy.ts';

type Json = Readonly<Record<string, unknown>>;

const maxUserAgent = 1024;

function userOf(user: UserInfo): AuditUser {
  return {
    ...(user.name === '' ? {} : { username: user.name }),
    ...(user.uid === undefined || user.uid === '' ? {} : { uid: user.uid }),
    ...(user.groups.length === 0 ? {} : { groups: user.groups }),
    ...(user.extra === undefined || Object.keys(user.extra).length === 0 ? {} : { extra: user.extra }),
  };
}

/** An address without the brackets and port that proxies write. */
function sourceIPs(scope: Scope): readonly string[] {
  const { headers, remoteAddress } = scope.request;
  const ips: string[] = [];
  const isIp = (text: string): boolean => /^(?:\d{1,3}\.){3}\d{1,3}$|^[0-9a-fA-F:.]*:[0-9a-fA-F:.]*$/.test(text);
  for (const part of (headers['x-forwarded-for'] ?? '').split(',')) if (isIp(part.trim())) ips.push(part.trim());
  const real = (headers['x-real-ip'] ?? '').trim();
  if (real !== '' && isIp(real) && !ips.includes(real)) ips.push(real);
  if (remoteAddress !== '' && ips[ips.length - 1] !== remoteAddress) ips.push(remoteAddress);
  return ips;
}

function withoutManagedFields(object: unknown): unknown {
  if (typeof object !== 'object' || object === null) return object;
  const { metadata, items, rows } = object as { metadata?: unknown; items?: unknown; rows?: unknown };
  let out = object as Json;
  if (typeof metadata === 'object' && metadata !== null && 'managedFields' in metadata) {
    const { managedFields: _managed, ...rest } = metadata as Json;
    out = { ...out, metadata: rest };
  }
  if (Array.isArray(items)) out = { ...out, items: items.map(withoutManagedFields) };
  if (Array.isArray(rows))
    out = {
      ...out,
      rows: rows.map((row: Json) => ('object' in row ? { ...row, object: withoutManagedFields(row['object']) } : row)),
    };
  return out;
}

export interface RecordParts {
  readonly backend: AuditBackend;
  readonly metrics: AuditMetrics;
  readonly clock: Clock;
}

export class AuditRecord {
  readonly #scope: Scope;
  readonly #decision: AuditDecision;
  readonly #parts: RecordParts;
  readonly #received: string;
  readonly #user: AuditUser;
  #ref: Record<string, string> | undefined;
  #request: unknown;
  #response: unknown;
  #status: AuditStatus | undefined;
  #completed = false;

  constructor(scope: Scope, decision: AuditDecision, parts: RecordParts) {
    this.#scope = scope;
    this.#decision = decision;
    this.#parts = parts;
    this.#received = formatMicroTime(parts.clock.now());
    // Who it is at this point; impersonation comes later.
    this.#user = userOf(scope.user);
    const { info } = scope;
    if (!info.isResourceRequest) return;
    this.#ref = {
      resource: info.resource,
      namespace: info.namespace,
      name: info.name,
      uid: '',
      apiGroup: info.group,
      apiVersion: info.version,
      resourceVersion: '',
      subresource: info.subresource,
    };
  }

  get wantsRequest(): boolean {
    return this.#decision.level !== 'Metadata';
  }

  /** The response is to be told as well. */
  get wantsResponse(): boolean {
    return this.#decision.level === 'RequestResponse';
  }

  /** The object of the body, as its request has it; fills what the path does not tell. */
  request(object: Json): void {
    const meta = object['metadata'];
    if (this.#ref !== undefined && typeof meta === 'object' && meta !== null) {
      for (const member of ['namespace', 'name', 'uid', 'resourceVersion'] as const) {
        const value = (meta as Json)[member];
        if (this.#ref[member] === '' && typeof value === 'string') this.#ref[member] = value;
      }
    }
    if (!this.wantsRequest) return;
    this.#request = this.#decision.omitManagedFields ? withoutManagedFields(object) : object;
  }

  /** The body of a PATCH. */
  patch(value: unknown): void {
    if (this.#decision.level !== 'Metadata') this.#request = value;
  }

  response(object: unknown): void {
    if (this.#decision.level === 'RequestResponse')
      this.#response = this.#decision.omitManagedFields ? withoutManagedFields(object) : object;
  }

  /** The code alone, or with what a Status tells. */
  answered(code: number, status?: Json): void {
    const told = this.#status;
    const part = (name: string): Json =>
      status?.[name] === undefined || status[name] === '' ? {} : { [name]: status[name] };
    this.#status =
      status === undefined
        ? { ...(told ?? { metadata: {} }), code }
        : {
            metadata: {},
            ...part('status'),
            ...part('message'),
            ...part('reason'),
            ...(Object.keys((status['details'] as Json | undefined) ?? {}).length === 0 ? {} : part('details')),
            code,
          };
  }

  /** False: the event was not stored. */
  stage(stage: AuditStage): boolean | Promise<boolean> {
    if (this.#decision.omit.has(stage)) return true;
    this.#parts.metrics.event();
    return this.#parts.backend.process([this.#event(stage)]);
  }

  /** The last stage; what comes after it is not told. */
  complete(): boolean | Promise<boolean> {
    if (this.#completed) return true;
    this.#completed = true;
    return this.stage(this.#scope.panicked ? 'Panic' : 'ResponseComplete');
  }

  #event(stage: AuditStage): AuditEvent {
    const scope = this.#scope;
    const { request } = scope;
    const query = request.rawQuery ?? request.query.toString();
    const agent = request.headers['user-agent'] ?? '';
    const userAgent = agent.length > maxUserAgent ? `${agent.slice(0, maxUserAgent)}...TRUNCATED` : agent;
    const ref = this.#ref;
    const ips = sourceIPs(scope);
    return {
      kind: 'Event',
      apiVersion: 'audit.k8s.io/v1',
      level: this.#decision.level,
      auditID: scope.auditId,
      stage,
      requestURI: query === '' ? request.path : `${request.path}?${query}`,
      verb: scope.info.verb,
      user: this.#user,
      ...(scope.originalUser === undefined ? {} : { impersonatedUser: userOf(scope.user) }),
      ...(scope.impersonationConstraint === ''
        ? {}
        : { authenticationMetadata: { impersonationConstraint: scope.impersonationConstraint } }),
      ...(ips.length === 0 ? {} : { sourceIPs: ips }),
      ...(userAgent === '' ? {} : { userAgent }),
      ...(ref === undefined ? {} : { objectRef: Object.fromEntries(Object.entries(ref).filter(([, v]) => v !== '')) }),
      ...(this.#status === undefined ? {} : { responseStatus: this.#status }),
      ...(this.#request === undefined ? {} : { requestObject: this.#request }),
      ...(this.#response === undefined ? {} : { responseObject: this.#response }),
      requestReceivedTimestamp: this.#received,
      stageTimestamp: stage === 'RequestReceived' ? this.#received : formatMicroTime(this.#parts.clock.now()),
      ...(scope.annotations === undefined
        ? {}
        : {
            // Sorted, as Go writes maps.
            annotations: Object.fromEntries([...scope.annotations].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))),
          }),
    };
  }
}
