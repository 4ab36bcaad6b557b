/**
 * `Scope`: the state of one request on its way through the filters. It is the `RequestContext` that handlers see, with
 * what the filters alone may set. `Handler` and `Filter` are the two shapes the chain is built of.
 */
import type { ResourceInfo } from '../../api/catalog/resource.ts';
import type { AuditRecord } from '../audit/record.ts';
import type { RequestContext, RequestInfo } from '../context.ts';
import type { IncomingRequest, OutgoingResponse, UserInfo } from '../request.ts';
import type { Negotiated } from '../encode/negotiate.ts';
import { WarningRecorder } from './warnings.ts';

export type Handler = (scope: Scope) => Promise<OutgoingResponse> | OutgoingResponse;
export type Filter = (next: Handler) => Handler;

const nobody: UserInfo = { name: '', groups: [] };

const unparsed: RequestInfo = {
  isResourceRequest: false,
  verb: '',
  apiPrefix: '',
  group: '',
  version: '',
  namespace: '',
  resource: '',
  subresource: '',
  name: '',
  parts: [],
  path: '',
  labelSelector: '',
  fieldSelector: '',
};

export class Scope implements RequestContext {
  readonly request: IncomingRequest;
  /** From the request's `Audit-ID` header, or made here. */
  readonly auditId: string;
  /** Real milliseconds (`ioNow`) when the request came in. */
  readonly receivedAt: number;
  info: RequestInfo = unparsed;
  user: UserInfo = nobody;
  /** Who really asked, when `user` is impersonated. */
  originalUser: UserInfo | undefined = undefined;
  /** The verb that let them act so; empty for the unlimited way. */
  impersonationConstraint = '';
  resource: ResourceInfo | undefined = undefined;
  longRunning = false;
  deadline: number | undefined = undefined;
  /** What the client accepts, settled before the verb runs; undefined where the default applies. */
  output: Negotiated | undefined = undefined;
  warnings: WarningRecorder | undefined = undefined;
  annotations: Map<string, string> | undefined = undefined;
  /** Its flow and priority level, told to the client in two headers; undefined where none were asked for. */
  flow: { readonly uid: string; readonly level: { readonly uid: string } } | undefined = undefined;
  /** What is told of it to the audit log; undefined where nothing is. */
  audit: AuditRecord | undefined = undefined;
  /** Its handling threw what is no Status. */
  panicked = false;
  /** When the filter that it is in began with it (`ioNow`); where that is measured. */
  filterBegan = 0;
  /** Real milliseconds that it waited for its turn and for webhooks. */
  waitedMs = 0;
  #deadline: AbortController | undefined = undefined;
  #signal: AbortSignal | undefined = undefined;
  #expired = false;

  constructor(request: IncomingRequest, auditId: string, receivedAt: number) {
    this.request = request;
    this.auditId = auditId;
    this.receivedAt = receivedAt;
  }

  /** Aborts when the client has gone or the deadline passed. Made on first use: most requests never ask. */
  get signal(): AbortSignal {
    if (this.#signal === undefined) {
      this.#deadline = new AbortController();
      this.#signal = AbortSignal.any([this.request.signal, this.#deadline.signal]);
      if (this.#expired) this.expire();
    }
    return this.#signal;
  }

  /** The server's deadline for this request has passed. */
  expire(): void {
    this.#expired = true;
    this.#deadline?.abort(new Error('request did not complete within the allotted timeout'));
  }

  get expired(): boolean {
    return this.#expired;
  }

  warn(text: string): void {
    if (text === '') return;
    this.warnings ??= new WarningRecorder();
    this.warnings.add(text);
  }

  annotate(key: string, value: string): void {
    this.annotations ??= new Map();
    if (!this.annotations.has(key)) this.annotations.set(key, value);
  }
}
