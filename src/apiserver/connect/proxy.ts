/** `pods/{name}/proxy`, `services/{name}/proxy` and `nodes/{name}/proxy`: a reverse proxy, upgrades included. */
import { Readable } from 'node:stream';
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import { StatusError, serviceUnavailable } from '../../api/status.ts';
import { noSuchRoute } from '../director.ts';
import type { Scope } from '../filters/scope.ts';
import type { OutgoingResponse } from '../request.ts';
import { hasToken } from '../http/headers.ts';
import { withTraceparent } from '../tracing/outgoing.ts';
import { passUpgrade, request } from './backend.ts';
import type { ConnectDeps } from './connect.ts';
import { forwardedHeaders, returnedHeaders } from './headers.ts';
import { rewriteHtml, rewriteUrl } from './html-links.ts';
import type { Location } from './locations.ts';

/** Pages longer than this go through with their links as they are. */
const maxPage = 16 * 1024 * 1024;

const decompress = promisify(gunzip);

/** The part of the raw path behind `/proxy`, and the one up to it. */
function splitProxyPath(scope: Scope): { prefix: string; rest: string } {
  const path = scope.request.path;
  const start = path.length - path.replace(/^\/+/, '').length;
  // apiPrefix, group, version, then namespaces/x, then resource/name/proxy.
  let segments = scope.info.apiPrefix === 'api' ? 2 : 3;
  if (scope.info.namespace !== '') segments += 2;
  segments += 3;
  let at = start;
  for (let i = 0; i < segments; i++) {
    const slash = path.indexOf('/', at);
    if (slash < 0) return { prefix: path, rest: '' };
    at = slash + 1;
  }
  return { prefix: path.slice(0, at - 1), rest: path.slice(at - 1) };
}

async function locate(scope: Scope, deps: ConnectDeps): Promise<Location> {
  const { resource, namespace, name } = scope.info;
  switch (resource) {
    case 'pods':
      return deps.locations.podProxy(scope, namespace, name);
    case 'services':
      return deps.locations.serviceProxy(scope, namespace, name);
    case 'nodes':
      return deps.locations.nodeProxy(scope, name);
    default:
      throw noSuchRoute();
  }
}

async function readAll(stream: Readable, limit: number): Promise<Buffer | { head: Buffer[] }> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of stream.iterator({ destroyOnReturn: false })) {
    chunks.push(chunk as Buffer);
    size += (chunk as Buffer).length;
    if (size > limit) return { head: chunks };
  }
  return Buffer.concat(chunks, size);
}

export async function serveProxy(scope: Scope, deps: ConnectDeps): Promise<OutgoingResponse> {
  const incoming = scope.request;
  const location = await locate(scope, deps);
  const { prefix, rest } = splitProxyPath(scope);
  const query = incoming.rawQuery ?? incoming.query.toString();
  const search = query === '' ? '' : `?${query}`;
  const upgrade = incoming.upgrade;
  if (upgrade !== undefined && hasToken(incoming.headers['connection'], 'upgrade')) {
    const session = await passUpgrade(deps.dialer, location, {
      method: incoming.method,
      path: `${rest === '' ? '/' : rest}${search}`,
      rawHeaders: withTraceparent(forwardedHeaders(incoming, true), deps.trace?.begin(incoming.method, rest)),
      takeOver: upgrade,
    });
    deps.sessionStarted(session, scope);
    return { status: 101, body: { kind: 'hijacked' } };
  }
  if (rest === '' && (incoming.method === 'GET' || incoming.method === 'HEAD'))
    return { status: 301, headers: { location: `${incoming.path}/${search}` }, body: { kind: 'none' } };
  const path = rest === '' ? '/' : rest;
  const url = `${location.tls ? 'https' : 'http'}://${location.address}:${location.port}${path}${search}`;
  const span = deps.trace?.begin(incoming.method, url);
  const forwarded = withTraceparent(forwardedHeaders(incoming, false), span);
  const headers: Record<string, string | string[]> = { 'X-Forwarded-Uri': `${prefix}${path}` };
  for (let i = 0; i + 1 < forwarded.length; i += 2) {
    const name = forwarded[i]!.toLowerCase();
    const before = headers[name];
    headers[name] = before === undefined ? forwarded[i + 1]! : [before, forwarded[i + 1]!].flat();
  }
  let body: Readable | Buffer | undefined;
  if (incoming.body.kind === 'object') body = Buffer.from(JSON.stringify(incoming.body.value));
  else if (incoming.body.kind === 'bytes') body = incoming.body.stream?.() ?? (await incoming.body.read(maxPage));
  if (Buffer.isBuffer(body)) headers['content-length'] = String(body.length);
  let response;
  try {
    response = await request(deps.dialer, location, {
      method: incoming.method,
      path: `${path}${search}`,
      headers,
      ...(body === undefined ? {} : { body }),
      signal: scope.signal,
    });
    span?.end(response.statusCode);
  } catch (error) {
    span?.end(undefined);
    if (error instanceof StatusError) throw error;
    const message = error instanceof Error ? error.message : String(error);
    throw new StatusError(
      503,
      'ServiceUnavailable',
      serviceUnavailable(`error trying to reach service: ${message}`).message,
      undefined,
      {
        cause: error,
      },
    );
  }
  const returned = returnedHeaders(response.headers);
  const status = response.statusCode ?? 502;
  const hosts = [`${location.address}:${location.port}`, location.address, incoming.headers['host'] ?? ''].filter(
    (h) => h !== '',
  );
  const rewrite = (url: string): string => rewriteUrl(url, prefix, hosts);
  if (returned['location'] !== undefined) returned['location'] = rewrite(returned['location']);
  const contentType = returned['content-type'] ?? '';
  const encoding = returned['content-encoding'] ?? '';
  const isPage = contentType.split(';')[0]!.trim() === 'text/html' && returned['location'] === undefined;
  if (isPage && incoming.method !== 'HEAD' && (encoding === '' || encoding === 'gzip')) {
    const page = await readAll(response, maxPage);
    if (Buffer.isBuffer(page)) {
      const text = (encoding === 'gzip' ? await decompress(page, { maxOutputLength: 4 * maxPage }) : page).toString(
        'utf8',
      );
      delete returned['content-encoding'];
      delete returned['content-length'];
      return {
        status,
        headers: returned,
        body: { kind: 'bytes', contentType, bytes: Buffer.from(rewriteHtml(text, rewrite)) },
      };
    }
    const whole = Readable.from(
      (async function* () {
        yield* page.head;
        yield* response as AsyncIterable<Buffer>;
      })(),
    );
    return { status, headers: returned, body: { kind: 'stream', contentType, stream: whole } };
  }
  return { status, headers: returned, body: { kind: 'stream', contentType, stream: response } };
}
