/**
 * What is known of a request once it is parsed and authenticated: the value that filters, admission, strategies and verb
 * handlers pass along.
 */
import type { ResourceInfo } from '../api/catalog/resource.ts';
import type { ListPath } from '../api/schema/empty-lists.ts';
import type { Reinvocation } from './admission/reinvocation.ts';
import type { IncomingRequest, UserInfo } from './request.ts';

/** Upstream's RequestInfo: the path and method, taken apart. */
export interface RequestInfo {
  readonly isResourceRequest: boolean;
  /** get, list, watch, create, update, patch, delete, deletecollection; lower-case HTTP method for non-resource paths. */
  readonly verb: string;
  /** `api` or `apis`. */
  readonly apiPrefix: string;
  readonly group: string;
  readonly version: string;
  /** Empty for cluster-scoped requests and for all namespaces. */
  readonly namespace: string;
  readonly resource: string;
  readonly subresource: string;
  readonly name: string;
  /** What follows the resource in the path (proxy paths). */
  readonly parts: readonly string[];
  readonly path: string;
  readonly labelSelector: string;
  readonly fieldSelector: string;
}

export interface RequestContext {
  readonly request: IncomingRequest;
  readonly info: RequestInfo;
  readonly user: UserInfo;
  /** Resolved resource of the request (built-in or custom); undefined for non-resource requests. */
  readonly resource: ResourceInfo | undefined;
  /** Adds a `Warning: 299 - "…"` header; duplicates and empty texts are dropped, the total is bounded. */
  warn(text: string): void;
  /** Adds an audit annotation. */
  annotate(key: string, value: string): void;
  readonly signal: AbortSignal;
  /** Real milliseconds (`ioNow`) by which it is answered, whatever comes; undefined: there is no such time. */
  readonly deadline?: number | undefined;
  /** Real milliseconds in which it waited for others: its turn, webhooks. */
  waitedMs?: number;
  /** Lists that the object to be written was given with empty, for validation to see; set as it is decoded. */
  emptyLists?: readonly ListPath[] | undefined;
  /** Where the body is told to the audit log; undefined where nothing is told. */
  readonly audit?: RequestAudit | undefined;
}

export interface RequestAudit {
  /** What the request carries is told, not only that there was one. */
  readonly wantsRequest: boolean;
  /** The object of the body, in the version of the request. */
  request(object: Readonly<Record<string, unknown>>): void;
  /** The body of a PATCH. */
  patch(value: unknown): void;
}

export type Operation = 'CREATE' | 'UPDATE' | 'DELETE' | 'CONNECT';

/** What admission sees. Objects are in the version of the request and immutable; mutation returns a new one. */
export interface AdmissionAttributes {
  readonly context: RequestContext;
  readonly operation: Operation;
  readonly group: string;
  readonly version: string;
  readonly resource: string;
  readonly subresource: string;
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  readonly object: Record<string, unknown> | undefined;
  readonly oldObject: Record<string, unknown> | undefined;
  /** CreateOptions, UpdateOptions, DeleteOptions of the request. */
  readonly options: Record<string, unknown>;
  readonly dryRun: boolean;
  readonly user: UserInfo;
  /** Set by the chain while it mutates, for plugins that say so. */
  readonly reinvocation?: Reinvocation;
}

export interface AdmissionPlugin {
  readonly name: string;
  /** Its changes may make the mutating chain run a second time: it is given `reinvocation`. */
  readonly reinvokes?: boolean;
  handles(operation: Operation, group: string, resource: string, subresource: string): boolean;
  /** Returns the object to go on with (the same one when nothing changed). Throws a StatusError to refuse. */
  mutate?(
    attributes: AdmissionAttributes,
  ): Promise<Record<string, unknown> | undefined> | Record<string, unknown> | undefined;
  /** Throws a StatusError to refuse. */
  validate?(attributes: AdmissionAttributes): Promise<void> | void;
}

/** The chain of plugins, in upstream's order. */
export interface Admission {
  mutate(
    attributes: AdmissionAttributes,
  ): Promise<Record<string, unknown> | undefined> | Record<string, unknown> | undefined;
  validate(attributes: AdmissionAttributes): Promise<void> | void;
}

/** What is to be told of a request beside its answer. */
export interface Remarks {
  /** Adds a `Warning` header. */
  warn(text: string): void;
  /** Adds an audit annotation. */
  annotate(key: string, value: string): void;
}

export interface Authenticator {
  /** undefined: this request carries no credentials it knows. Throws 401 for bad ones. */
  authenticate(request: IncomingRequest, remarks?: Remarks): Promise<UserInfo | undefined>;
  /**
   * The same answer without waiting, where these credentials were good before and nothing that they depend on has changed
   * since; undefined: ask `authenticate`. The same object each time, so that what follows from it can be kept beside it.
   */
  known?(request: IncomingRequest): UserInfo | undefined;
}

export interface AuthorizationAttributes {
  readonly user: UserInfo;
  readonly verb: string;
  readonly isResourceRequest: boolean;
  readonly group: string;
  readonly version: string;
  readonly resource: string;
  readonly subresource: string;
  readonly namespace: string;
  readonly name: string;
  readonly path: string;
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
}

export type Decision = 'allow' | 'deny' | 'noOpinion';

export interface AuthorizationOutcome {
  readonly decision: Decision;
  readonly reason: string;
  /** What went wrong while deciding (a webhook that does not answer); an allowed request is allowed all the same. */
  readonly error?: Error | undefined;
}

export interface Authorizer {
  /** Synchronous where it can be: RBAC works on in-memory indexes. */
  authorize(attributes: AuthorizationAttributes): AuthorizationOutcome | Promise<AuthorizationOutcome>;
}
