/**
 * Takes the method and path of a request apart, with upstream's RequestInfoFactory rules: which paths are resource
 * requests, the verb, namespaces and their own subresources, legacy `watch` and `proxy` path prefixes.
 */
import { badRequest } from '../../api/status.ts';
import type { RequestInfo } from '../context.ts';
import type { IncomingRequest } from '../request.ts';
import { textResponse } from './panic.ts';
import type { Filter } from './scope.ts';

const nothing: readonly string[] = [];

function verbOf(method: string): string {
  switch (method) {
    case 'GET':
    case 'HEAD':
      return 'get';
    case 'POST':
      return 'create';
    case 'PUT':
      return 'update';
    case 'PATCH':
      return 'patch';
    case 'DELETE':
      return 'delete';
    default:
      return '';
  }
}

function splitPath(path: string): string[] {
  let start = 0;
  let end = path.length;
  while (start < end && path.charCodeAt(start) === 47) start++;
  while (end > start && path.charCodeAt(end - 1) === 47) end--;
  if (start === end) return [];
  return path.slice(start, end).split('/');
}

function decodePath(path: string): string {
  if (!path.includes('%')) return path;
  try {
    return decodeURIComponent(path);
  } catch (error) {
    throw badRequest(`invalid URL escape in path ${JSON.stringify(path)}`, error);
  }
}

/** `watch` in a query: anything but absent, "false" and "0" asks for a watch. */
export function asksWatch(query: URLSearchParams): boolean {
  const value = query.get('watch');
  if (value === null) return false;
  const v = value.toLowerCase();
  return v !== 'false' && v !== '0';
}

/** The name that a field selector pins with `metadata.name=x` (or `==`), when it is fit for a path segment. */
function nameInFieldSelector(selector: string): string {
  for (const term of selector.split(',')) {
    const match = /^metadata\.name={1,2}(.*)$/.exec(term);
    if (match === null) continue;
    const name = match[1]!;
    if (name !== '' && name !== '.' && name !== '..' && !/[/%\\]/.test(name)) return name;
  }
  return '';
}

function nonResource(path: string, method: string): RequestInfo {
  return {
    isResourceRequest: false,
    verb: method.toLowerCase(),
    apiPrefix: '',
    group: '',
    version: '',
    namespace: '',
    resource: '',
    subresource: '',
    name: '',
    parts: nothing,
    path,
    labelSelector: '',
    fieldSelector: '',
  };
}

/** A path that says neither what it is about nor that it is about nothing. */
class RequestInfoError extends Error {}

/** Throws 400 for a path that cannot be decoded, and for a legacy prefix with nothing behind it. */
export function parseRequestInfo(request: IncomingRequest): RequestInfo {
  const path = decodePath(request.path);
  let parts = splitPath(path);
  const apiPrefix = parts[0];
  if (parts.length < 3 || (apiPrefix !== 'api' && apiPrefix !== 'apis')) return nonResource(path, request.method);
  let at = 1;
  let group = '';
  if (apiPrefix === 'apis') {
    if (parts.length < 4) return nonResource(path, request.method);
    group = parts[at++]!;
  }
  const version = parts[at++]!;
  let verb: string;
  let legacy = false;
  const head = parts[at]!;
  if (head === 'watch' || head === 'proxy') {
    if (parts.length - at < 2)
      throw new RequestInfoError(`unable to determine kind and namespace from url, ${request.path}`);
    verb = head;
    legacy = true;
    at++;
  } else verb = verbOf(request.method);

  let namespace = '';
  if (parts[at] === 'namespaces' && parts.length > at + 1) {
    namespace = parts[at + 1]!;
    if (parts.length > at + 2 && parts[at + 2] !== 'status' && parts[at + 2] !== 'finalize') at += 2;
  }
  parts = parts.slice(at);
  const resource = parts[0] ?? '';
  let name = parts[1] ?? '';
  const subresource = parts.length >= 3 && verb !== 'proxy' ? parts[2]! : '';
  let labelSelector = '';
  let fieldSelector = '';
  if (name === '') {
    if (verb === 'get') {
      const query = request.query;
      verb = asksWatch(query) ? 'watch' : 'list';
      const selector = query.get('fieldSelector');
      if (selector !== null && selector !== '') name = nameInFieldSelector(selector);
    } else if (verb === 'delete') verb = 'deletecollection';
  }
  if (!legacy && (verb === 'list' || verb === 'watch' || verb === 'deletecollection')) {
    fieldSelector = request.query.get('fieldSelector') ?? '';
    labelSelector = request.query.get('labelSelector') ?? '';
  }
  return {
    isResourceRequest: true,
    verb,
    apiPrefix,
    group,
    version,
    namespace,
    resource,
    subresource,
    name,
    parts,
    path,
    labelSelector,
    fieldSelector,
  };
}

function isLongRunning(info: RequestInfo): boolean {
  if (info.verb === 'watch' || info.verb === 'proxy') return true;
  // Profiles take as long as they were asked to.
  if (!info.isResourceRequest) return info.path.startsWith('/debug/pprof/');
  switch (info.subresource) {
    case 'attach':
    case 'exec':
    case 'proxy':
    case 'log':
    case 'portforward':
      return true;
    default:
      return false;
  }
}

export function withRequestInfo(): Filter {
  return (next) => (scope) => {
    try {
      scope.info = parseRequestInfo(scope.request);
    } catch (error) {
      if (!(error instanceof RequestInfoError)) throw error;
      const { path, method } = scope.request;
      scope.info = nonResource(path, method);
      const why = `failed to create RequestInfo: ${error.message}`;
      return textResponse(500, `Internal Server Error: ${JSON.stringify(path)}: ${why}`);
    }
    scope.longRunning = isLongRunning(scope.info);
    return next(scope);
  };
}
