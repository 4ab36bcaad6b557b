/** Audit events (audit.k8s.io/v1 Event): their shape and their two written forms. */
import { stringifyJson } from '../../api/codec/json.ts';

export type AuditLevel = 'None' | 'Metadata' | 'Request' | 'RequestResponse';
export type AuditStage = 'RequestReceived' | 'ResponseStarted' | 'ResponseComplete' | 'Panic';

export const auditLevels: readonly AuditLevel[] = ['None', 'Metadata', 'Request', 'RequestResponse'];
export const auditStages: readonly AuditStage[] = ['RequestReceived', 'ResponseStarted', 'ResponseComplete', 'Panic'];

export interface AuditUser {
  readonly username?: string;
  readonly uid?: string;
  readonly groups?: readonly string[];
  readonly extra?: Readonly<Record<string, readonly string[]>>;
}

/** What of a Status is told. */
export interface AuditStatus {
  readonly metadata: Readonly<Record<string, never>>;
  readonly status?: string;
  readonly message?: string;
  readonly reason?: string;
  readonly details?: unknown;
  readonly code?: number;
}

/** Members stand in upstream's order, which is that of the written form. */
export interface AuditEvent {
  readonly kind: 'Event';
  readonly apiVersion: 'audit.k8s.io/v1';
  readonly level: AuditLevel;
  readonly auditID: string;
  readonly stage: AuditStage;
  readonly requestURI: string;
  readonly verb: string;
  readonly user: AuditUser;
  readonly impersonatedUser?: AuditUser;
  readonly authenticationMetadata?: { readonly impersonationConstraint?: string };
  readonly sourceIPs?: readonly string[];
  readonly userAgent?: string;
  readonly objectRef?: Readonly<Record<string, string>>;
  readonly responseStatus?: AuditStatus;
  readonly requestObject?: unknown;
  readonly responseObject?: unknown;
  readonly requestReceivedTimestamp: string;
  readonly stageTimestamp: string;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** The event as a line of JSON. */
export function auditJson(event: AuditEvent): string {
  return `${stringifyJson(event)}\n`;
}

/** Lists of names in the old form: each quoted, and the whole quoted once more by `line`. */
function quotedList(values: readonly string[]): string {
  return values.map((v) => JSON.stringify(v)).join(',');
}

/** The one-line text of `--audit-log-format=legacy`. */
export function auditLegacyLine(event: AuditEvent): string {
  const { user, impersonatedUser: as } = event;
  const known = (user.username ?? '') !== '';
  const q = JSON.stringify;
  const fields: readonly (readonly [string, string])[] = [
    ['id', event.auditID],
    ['stage', event.stage],
    ['ip', event.sourceIPs?.[0] ?? '<unknown>'],
    ['method', event.verb],
    ['user', known ? user.username! : '<none>'],
    ['groups', known && (user.groups?.length ?? 0) > 0 ? quotedList(user.groups!) : '<none>'],
    ['as', as === undefined ? '<self>' : (as.username ?? '')],
    ['asgroups', as?.groups === undefined ? '<lookup>' : quotedList(as.groups)],
    ['user-agent', event.userAgent ?? ''],
    ['namespace', event.objectRef?.['namespace'] ?? '<none>'],
    ['uri', event.requestURI],
    ['response', event.responseStatus === undefined ? '<deferred>' : String(event.responseStatus.code ?? 0)],
  ];
  // Go writes a time without trailing zeros here.
  const time = event.requestReceivedTimestamp.replace(/\.?0+Z$/, 'Z');
  return `${time} AUDIT: ${fields.map(([k, v]) => `${k}=${q(v)}`).join(' ')}\n`;
}
