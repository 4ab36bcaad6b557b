/** What a case of bad input is, and short forms for what most of them send and expect. */

/** Who asks: a client certificate, nobody, somebody impersonated, or a bearer token. */
export type Asker =
  | 'admin'
  | 'nobody'
  | { readonly user: string; readonly groups?: readonly string[] }
  | { readonly token: string };

export interface Send {
  readonly as?: Asker;
  readonly method: string;
  /** With the query; `{{kept.path}}` is replaced by what an earlier answer held. */
  readonly path: string;
  /** Content-Type; JSON when there is a body. */
  readonly type?: string;
  readonly accept?: string;
  /** Objects are sent as JSON, texts and bytes as they are. */
  readonly body?: unknown;
  /** Keeps the answer's object under this name. */
  readonly keep?: string;
}

export type Cause = readonly [reason: string, message: string, field: string];

export interface Expected {
  readonly code: number;
  /** Of the Status; left out where upstream gives none. */
  readonly reason?: string;
  readonly message?: string;
  readonly details?: Readonly<Record<string, unknown>>;
  /** The whole body, where it is no Status. */
  readonly text?: string;
  /** Texts of the Warning headers. */
  readonly warnings?: readonly string[];
  /** Fields of the answer's object, for what is accepted. */
  readonly object?: Readonly<Record<string, unknown>>;
}

export interface Case {
  readonly name: string;
  /** What must be there first; each must succeed. */
  readonly given?: readonly Send[];
  readonly send: Send;
  readonly expect: Expected;
}

export const post = (path: string, body?: unknown, more: Partial<Send> = {}): Send => ({
  method: 'POST',
  path,
  body,
  ...more,
});
export const put = (path: string, body?: unknown, more: Partial<Send> = {}): Send => ({
  method: 'PUT',
  path,
  body,
  ...more,
});
export const get = (path: string, more: Partial<Send> = {}): Send => ({ method: 'GET', path, ...more });
export const del = (path: string, body?: unknown, more: Partial<Send> = {}): Send => ({
  method: 'DELETE',
  path,
  body,
  ...more,
});

const patchTypes = {
  json: 'application/json-patch+json',
  merge: 'application/merge-patch+json',
  strategic: 'application/strategic-merge-patch+json',
  apply: 'application/apply-patch+yaml',
} as const;

export const patch = (kind: keyof typeof patchTypes, path: string, body: unknown, more: Partial<Send> = {}): Send => ({
  method: 'PATCH',
  path,
  body,
  type: patchTypes[kind],
  ...more,
});

export const badRequest = (message: string): Expected => ({ code: 400, reason: 'BadRequest', message });

/** As upstream joins several errors into one text. */
function aggregate(causes: readonly Cause[]): string {
  const texts = [...new Set(causes.map(([, message, field]) => `${field}: ${message}`))];
  return texts.length === 1 ? texts[0]! : `[${texts.join(', ')}]`;
}

/** 422 of an object; `kind` as `Kind` or `Kind.group`. */
export function invalid(kind: string, name: string, ...causes: readonly Cause[]): Expected {
  const dot = kind.indexOf('.');
  return {
    code: 422,
    reason: 'Invalid',
    message: `${kind} "${name}" is invalid: ${aggregate(causes)}`,
    details: {
      ...(name === '' ? {} : { name }),
      ...(dot < 0 ? {} : { group: kind.slice(dot + 1) }),
      kind: dot < 0 ? kind : kind.slice(0, dot),
      causes: causes.map(([reason, message, field]) => ({ reason, message, field })),
    },
  };
}

export const options = (kind: string, ...causes: readonly Cause[]): Expected =>
  invalid(`${kind}.meta.k8s.io`, '', ...causes);

const about = (resource: string, name: string): Record<string, unknown> => {
  const dot = resource.indexOf('.');
  return {
    ...(name === '' ? {} : { name }),
    ...(dot < 0 ? {} : { group: resource.slice(dot + 1) }),
    kind: dot < 0 ? resource : resource.slice(0, dot),
  };
};

/** 404 of an object; `resource` as `resource` or `resource.group`. */
export const notFound = (resource: string, name: string): Expected => ({
  code: 404,
  reason: 'NotFound',
  message: `${resource} "${name}" not found`,
  details: about(resource, name),
});

export const forbidden = (resource: string, name: string, why: string): Expected => ({
  code: 403,
  reason: 'Forbidden',
  message: name === '' ? `${resource} is forbidden: ${why}` : `${resource} "${name}" is forbidden: ${why}`,
  details: about(resource, name),
});

export const conflict = (resource: string, name: string, why: string): Expected => ({
  code: 409,
  reason: 'Conflict',
  message: `Operation cannot be fulfilled on ${resource} "${name}": ${why}`,
  details: about(resource, name),
});

export const wrongValue = (field: string, value: string, why: string): Cause => [
  'FieldValueInvalid',
  `Invalid value: ${value}: ${why}`,
  field,
];
export const required = (field: string, why = ''): Cause => [
  'FieldValueRequired',
  why === '' ? 'Required value' : `Required value: ${why}`,
  field,
];
export const notAllowed = (field: string, why: string): Cause => ['FieldValueForbidden', `Forbidden: ${why}`, field];
export const unsupported = (field: string, value: string, ...allowed: readonly string[]): Cause => [
  'FieldValueNotSupported',
  `Unsupported value: ${value}: supported values: ${allowed.map((a) => `"${a}"`).join(', ')}`,
  field,
];
export const duplicate = (field: string, value: string): Cause => [
  'FieldValueDuplicate',
  `Duplicate value: ${value}`,
  field,
];

/** The namespace of most cases. */
export const core = '/api/v1/namespaces/bad';
export const apps = '/apis/apps/v1/namespaces/bad';
export const batch = '/apis/batch/v1/namespaces/bad';

type Json = Readonly<Record<string, unknown>>;

export const configMap = (name: string, more: Json = {}): Json => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name },
  ...more,
});

export const pod = (name: string, spec: Json = {}, container: Json = {}): Json => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name },
  spec: { containers: [{ name: 'c', image: 'busybox', ...container }], ...spec },
});

export const template = (labels: Json, spec: Json = {}): Json => ({
  metadata: { labels },
  spec: { containers: [{ name: 'c', image: 'busybox' }], ...spec },
});

export const deployment = (name: string, spec: Json = {}): Json => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name },
  spec: { replicas: 0, selector: { matchLabels: { app: name } }, template: template({ app: name }), ...spec },
});

export const service = (name: string, spec: Json = {}): Json => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name },
  spec: { selector: { app: name }, ports: [{ port: 80 }], ...spec },
});
