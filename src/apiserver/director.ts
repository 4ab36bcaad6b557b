/**
 * The director stands at the end of the filter chain and finds who serves a request: a verb of a resource, a connection to
 * a node, pod or service, a path that is no resource, or nobody (404, 405 as upstream answers them).
 */
import type { ResourceInfo } from '../api/catalog/resource.ts';
import { badRequest, StatusError } from '../api/status.ts';
import type { RequestContext, RequestInfo } from './context.ts';
import type { Encoder } from './encode/encoder.ts';
import { textResponse } from './filters/panic.ts';
import type { Handler, Scope } from './filters/scope.ts';
import type { WriteDeadlines } from './filters/write-deadline.ts';
import type { OutgoingResponse } from './request.ts';
import type { Routes } from './routes.ts';
import { applyCborType } from './verbs/apply.ts';
import { patchTypes } from './verbs/patch.ts';
import { checkProduced, objectTypes } from './produced-types.ts';

/** Which resources there are, built-in and custom. */
export interface ResourceResolver {
  resource(group: string, version: string, resource: string): ResourceInfo | undefined;
  /** True for a group version that is built in: an unknown resource in it is answered with a Status. */
  builtIn(group: string, version: string): boolean;
}

export interface Verbs {
  handle(ctx: RequestContext): Promise<OutgoingResponse> | OutgoingResponse;
}

export interface DirectorOptions {
  readonly resources: ResourceResolver;
  readonly verbs: Verbs;
  readonly routes: Routes;
  readonly encoder: Encoder;
  /** Handlers of log, exec, attach, portforward and proxy. */
  readonly connect: Handler;
  /** Who passes a request on to another API server; asked first. */
  readonly remote?: (scope: Scope) => Handler | undefined;
  readonly writeDeadlines: WriteDeadlines;
}

/** 404 for what no route fits: `the server could not find the requested resource`. */
export function noSuchRoute(): StatusError {
  return new StatusError(404, 'NotFound', 'the server could not find the requested resource', {});
}

/** 405 for a route that lacks the method. */
export function noSuchMethod(): StatusError {
  return new StatusError(
    405,
    'MethodNotAllowed',
    'the server does not allow this method on the requested resource',
    {},
  );
}

export function pageNotFound(): OutgoingResponse {
  return textResponse(404, '404 page not found');
}

const connectSubresources = new Set(['log', 'exec', 'attach', 'portforward', 'proxy']);

/** What may be done with custom resources of all namespaces at once. */
const acrossNamespaces: ReadonlySet<string> = new Set(['list', 'watch']);

/** Throws 404 or 405 when the path and method fit no route of the resource. */
function checkRoute(scope: Scope, info: RequestInfo, resource: ResourceInfo): void {
  const parts = info.parts.length;
  const method = scope.request.method;
  if (info.verb === 'proxy' && info.subresource !== 'proxy') throw noSuchRoute();
  // A namespace's own path carries its name as namespace, too.
  const named = parts > 1;
  if (named && resource.verbs.length === 1 && resource.verbs[0] === 'create') throw noSuchRoute();
  if (resource.custom && resource.namespaced && info.namespace === '' && !acrossNamespaces.has(info.verb))
    throw noSuchRoute();
  if (resource.namespaced) {
    if (info.namespace === '' && (named || !resource.verbs.includes('list'))) throw noSuchRoute();
  } else if (info.namespace !== '' && resource.resource !== 'namespaces') throw noSuchRoute();
  if (info.name === '.' || info.name === '..')
    throw badRequest(`Name parameter invalid: "${info.name}": may not be '${info.name}'`);
  if (info.subresource !== '') {
    const sub = resource.subresources.find((s) => s.name === info.subresource);
    if (sub === undefined || (parts > 3 && info.subresource !== 'proxy')) throw noSuchRoute();
    if (connectSubresources.has(info.subresource)) return;
    if (method === 'HEAD' || !sub.verbs.includes(info.verb)) throw noSuchMethod();
    return;
  }
  if (method === 'HEAD') throw noSuchMethod();
  if (info.verb === 'create') {
    if (named || (resource.namespaced && info.namespace === '')) throw noSuchMethod();
  } else if ((info.verb === 'update' || info.verb === 'patch') && !named) throw noSuchMethod();
  else if (info.verb === 'deletecollection' && resource.namespaced && info.namespace === '') throw noSuchMethod();
  if (!resource.verbs.includes(info.verb)) throw noSuchMethod();
}

const streamed = ['application/json;stream=watch', 'application/vnd.kubernetes.protobuf;stream=watch'];

/** What upstream's router knows of media types. Custom resources are not in its table. */
function checkMediaTypes(scope: Scope, info: RequestInfo, cbor: boolean): void {
  const { headers, method } = scope.request;
  if (method === 'PATCH') {
    const type = (headers['content-type'] ?? 'application/octet-stream').split(';')[0]!.trim();
    const patches = cbor ? [...patchTypes, applyCborType] : patchTypes;
    if (!patches.includes(type) && type !== '*/*')
      throw new StatusError(415, 'UnsupportedMediaType', '415: Unsupported Media Type', {});
  }
  const { accept } = headers;
  if (accept === undefined || accept === '' || accept === '*/*' || accept === 'application/json') return;
  const types = cbor ? [...objectTypes, 'application/cbor'] : objectTypes;
  const lists = (info.verb === 'list' || info.verb === 'watch') && method === 'GET';
  const all = lists ? [...types, ...streamed, ...(cbor ? ['application/cbor-seq'] : [])] : types;
  checkProduced(accept, types, all);
}

/** What is wrong with a request itself is told first. */
async function refusedAfter(answer: ReturnType<Handler>, error: StatusError): Promise<never> {
  await answer;
  throw error;
}

export function createDirector(options: DirectorOptions): Handler {
  const { resources, verbs, routes, encoder, connect, remote, writeDeadlines } = options;
  return (scope) => {
    const info = scope.info;
    const elsewhere = remote?.(scope);
    if (elsewhere !== undefined) return elsewhere(scope);
    if (info.isResourceRequest) {
      const resource = resources.resource(info.group, info.version, info.resource);
      if (resource !== undefined) {
        scope.resource = resource;
        checkRoute(scope, info, resource);
        if (resource.warning !== undefined) {
          scope.warn(resource.warning);
          scope.annotate('k8s.io/deprecated', 'true');
        }
        if (info.subresource !== '' && connectSubresources.has(info.subresource)) return connect(scope);
        if (!resource.custom) checkMediaTypes(scope, info, encoder.cbor !== undefined);
        const wrongForm = encoder.negotiate(scope, resource);
        const answer = writeDeadlines.run(scope, (s) => verbs.handle(s));
        return wrongForm === undefined ? answer : refusedAfter(answer, wrongForm);
      }
      if (resources.builtIn(info.group, info.version)) throw noSuchRoute();
    }
    const route = routes.find(info.path);
    if (route !== undefined) return route(scope);
    return pageNotFound();
  };
}
