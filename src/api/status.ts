/** `StatusError`: the one error type at the API boundary, with upstream's `metav1.Status` reason and code. */

export interface StatusCause {
  reason?: string;
  message?: string;
  field?: string;
}

export interface StatusDetails {
  name?: string;
  group?: string;
  kind?: string;
  uid?: string;
  causes?: StatusCause[];
  retryAfterSeconds?: number;
}

/** metav1.Status. */
export interface Status {
  kind: 'Status';
  apiVersion: 'v1';
  metadata: Record<string, unknown>;
  status: 'Success' | 'Failure';
  message?: string;
  reason?: string;
  details?: StatusDetails;
  code?: number;
}

export class StatusError extends Error {
  readonly code: number;
  readonly reason: string;
  readonly details: StatusDetails | undefined;

  constructor(code: number, reason: string, message: string, details?: StatusDetails, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'StatusError';
    this.code = code;
    this.reason = reason;
    this.details = details;
  }

  /** The object that goes over the wire; key order as upstream writes it. */
  toStatus(): Status {
    const status: Status = { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure' };
    if (this.message !== '') status.message = this.message;
    if (this.reason !== '') status.reason = this.reason;
    if (this.details !== undefined) status.details = this.details;
    status.code = this.code;
    return status;
  }

  static fromStatus(status: Partial<Status>): StatusError {
    return new StatusError(status.code ?? 500, status.reason ?? '', status.message ?? '', status.details);
  }
}

/** The resource an error is about: group and plural resource (or kind, for Invalid). */
export interface GroupResource {
  readonly group: string;
  readonly resource: string;
}

function qualified(gr: GroupResource): string {
  return gr.group === '' ? gr.resource : `${gr.resource}.${gr.group}`;
}

function detailsOf(gr: GroupResource, name: string): StatusDetails {
  const d: StatusDetails = {};
  if (name !== '') d.name = name;
  if (gr.group !== '') d.group = gr.group;
  if (gr.resource !== '') d.kind = gr.resource;
  return d;
}

/** 404: `pods "x" not found`. */
export function notFound(gr: GroupResource, name: string): StatusError {
  return new StatusError(404, 'NotFound', `${qualified(gr)} "${name}" not found`, detailsOf(gr, name));
}

/** 409: `pods "x" already exists`. */
export function alreadyExists(gr: GroupResource, name: string): StatusError {
  return new StatusError(409, 'AlreadyExists', `${qualified(gr)} "${name}" already exists`, detailsOf(gr, name));
}

/** 409: `Operation cannot be fulfilled on pods "x": …`. */
export function conflict(gr: GroupResource, name: string, why: string): StatusError {
  return new StatusError(
    409,
    'Conflict',
    `Operation cannot be fulfilled on ${qualified(gr)} "${name}": ${why}`,
    detailsOf(gr, name),
  );
}

/** The text of every optimistic-concurrency conflict. */
export const optimisticLockMessage =
  'the object has been modified; please apply your changes to the latest version and try again';

/** 403: `pods "x" is forbidden: …`; without a resource: `forbidden: …`. */
export function forbidden(gr: GroupResource, name: string, why: string): StatusError {
  let message = `forbidden: ${why}`;
  if (gr.resource !== '')
    message = name === '' ? `${qualified(gr)} is forbidden: ${why}` : `${qualified(gr)} "${name}" is forbidden: ${why}`;
  return new StatusError(403, 'Forbidden', message, detailsOf(gr, name));
}

/** 400 */
export function badRequest(message: string, cause?: unknown): StatusError {
  return new StatusError(400, 'BadRequest', message, undefined, { cause });
}

/** 401 */
export function unauthorized(message = 'Unauthorized'): StatusError {
  return new StatusError(401, 'Unauthorized', message);
}

/** 405 */
export function methodNotSupported(gr: GroupResource, action: string): StatusError {
  return new StatusError(
    405,
    'MethodNotAllowed',
    `${action} is not supported on resources of kind "${qualified(gr)}"`,
    detailsOf(gr, ''),
  );
}

/** 410: the resource version is too old. */
export function resourceExpired(message: string): StatusError {
  return new StatusError(410, 'Expired', message);
}

/** 500: `Internal error occurred: …`. */
export function internalError(error: unknown): StatusError {
  const text = error instanceof Error ? error.message : String(error);
  return new StatusError(
    500,
    'InternalError',
    `Internal error occurred: ${text}`,
    { causes: [{ message: text }] },
    { cause: error },
  );
}

/** 503 */
export function serviceUnavailable(message: string): StatusError {
  return new StatusError(503, 'ServiceUnavailable', message);
}
