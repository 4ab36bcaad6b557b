/**
 * Passing requests on to aggregated servers: under the caller's name by the front proxy's certificate, streams and upgrades
 * as they are.
 */
import type { IncomingMessage } from 'node:http';
import type { Readable } from 'node:stream';
import { withTraceparent, type OutgoingTrace } from '../tracing/outgoing.ts';
import { passUpgradeOn } from '../connect/backend.ts';
import type { Session } from '../connect/connect.ts';
import { forwardedHeaders, returnedHeaders } from '../connect/headers.ts';
import { connectSecurely } from '../connect/secure-agent.ts';
import { textResponse } from '../filters/panic.ts';
import type { Handler, Scope } from '../filters/scope.ts';
import { hasToken } from '../http/headers.ts';
import { ioTimer } from '../../base/io-time.ts';
import type { KubeObjectLike, OutgoingResponse } from '../request.ts';
import type { ApiServices, RemoteService } from './api-services.ts';
import { identityHeaders, RemoteError, sendRemote } from './remote-request.ts';

/** Discovery documents come quickly or not at all. */
const discoveryTimeoutMs = 5000;
/** Answers that are read whole, for callers of this process. */
const maxAnswer = 64 * 1024 * 1024;

/** `/apis/group/version` and below, `/api/version` and below. */
function groupVersionOf(path: string): { group: string; version: string; bare: boolean } | undefined {
  const parts = path.split('/');
  if (parts[1] === 'apis' && parts.length >= 4)
    return { group: parts[2]!, version: parts[3]!, bare: parts.slice(4).every((p) => p === '') };
  if (parts[1] === 'api' && parts.length >= 3)
    return { group: '', version: parts[2]!, bare: parts.slice(3).every((p) => p === '') };
  return undefined;
}

async function readWhole(response: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response) {
    size += (chunk as Buffer).length;
    if (size > maxAnswer) throw new RemoteError('the answer is too large', undefined);
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks, size);
}

/** Headers for the server: the client's, who it is, and the request's id. */
function headersOf(scope: Scope, upgrade: boolean): string[] {
  const headers: string[] = [];
  const forwarded = forwardedHeaders(scope.request, upgrade);
  for (let i = 0; i + 1 < forwarded.length; i += 2) {
    const name = forwarded[i]!.toLowerCase();
    if (name !== 'host' && name !== 'audit-id') headers.push(forwarded[i]!, forwarded[i + 1]!);
  }
  headers.push(...identityHeaders(scope.user), 'Audit-Id', scope.auditId);
  if (scope.request.wantsObjects && scope.request.headers['accept'] === undefined)
    headers.push('Accept', 'application/json');
  return headers;
}

async function bodyOf(scope: Scope): Promise<Readable | Buffer | undefined> {
  const { body } = scope.request;
  if (body.kind === 'object') return Buffer.from(JSON.stringify(body.value));
  if (body.kind === 'bytes') return body.stream?.() ?? body.read(maxAnswer);
  return undefined;
}

export interface AggregationProxyOptions {
  readonly services: ApiServices;
  /** Remembers a session until it is closed. */
  readonly sessionStarted: (session: Session, scope: Scope) => void;
  readonly trace?: OutgoingTrace | undefined;
  /** Redirections are refused instead of passed on. */
  readonly rejectRedirects: boolean;
  /** A request that the server behind cannot be given. */
  readonly onUnavailable: (scope: Scope) => void;
}

export interface AggregationProxy {
  /** Who passes this request on; undefined when this server answers it itself. */
  find(scope: Scope): Handler | undefined;
}

export function createAggregationProxy(options: AggregationProxyOptions): AggregationProxy {
  const { services, sessionStarted, trace, rejectRedirects, onUnavailable } = options;
  const unavailable = (scope: Scope, text: string): OutgoingResponse => {
    onUnavailable(scope);
    return textResponse(503, text);
  };

  const pass = async (scope: Scope, remote: RemoteService, discovery: boolean): Promise<OutgoingResponse> => {
    if (!remote.available) return unavailable(scope, 'service unavailable');
    try {
      remote.resolve();
    } catch {
      return unavailable(scope, 'service unavailable');
    }
    const { request } = scope;
    const query = request.rawQuery ?? request.query.toString();
    const path = query === '' ? request.path : `${request.path}?${query}`;
    const takeOver = request.upgrade;
    if (takeOver !== undefined && hasToken(request.headers['connection'], 'upgrade')) {
      const to = remote.resolve();
      const session = await passUpgradeOn(() => connectSecurely(remote.target), {
        method: request.method,
        path,
        rawHeaders: ['Host', `${to.host}:${to.port}`, ...headersOf(scope, true)],
        takeOver,
      });
      sessionStarted(session, scope);
      return { status: 101, body: { kind: 'hijacked' } };
    }
    const headers = headersOf(scope, false);
    const body = await bodyOf(scope);
    if (Buffer.isBuffer(body)) headers.push('Content-Length', String(body.length));
    const late = discovery ? new AbortController() : undefined;
    const cancel = late === undefined ? undefined : ioTimer(discoveryTimeoutMs, () => late.abort());
    const signal = late === undefined ? scope.signal : AbortSignal.any([scope.signal, late.signal]);
    const span = trace?.begin(request.method, `https://${remote.serverName}${path}`);
    let response: IncomingMessage;
    try {
      response = await sendRemote(remote, {
        method: request.method,
        path,
        headers: withTraceparent(headers, span),
        body,
        signal,
      });
      span?.end(response.statusCode);
    } catch (error) {
      span?.end(undefined);
      if (!(error instanceof RemoteError)) throw error;
      const why = late?.signal.aborted === true ? 'context deadline exceeded' : error.message;
      return unavailable(scope, `error trying to reach service: ${why}`);
    } finally {
      cancel?.();
    }
    const status = response.statusCode ?? 502;
    if (rejectRedirects && status >= 300 && status <= 399 && response.headers.location !== undefined) {
      response.destroy();
      return textResponse(502, 'the backend attempted to redirect this request, which is not permitted');
    }
    const returned = returnedHeaders(response.headers);
    const contentType = returned['content-type'] ?? '';
    if (request.wantsObjects && scope.info.verb !== 'watch' && contentType.startsWith('application/json')) {
      const object = JSON.parse((await readWhole(response)).toString('utf8')) as KubeObjectLike;
      return { status, body: { kind: 'object', object } };
    }
    return { status, headers: returned, body: { kind: 'stream', contentType, stream: response } };
  };

  return {
    find(scope) {
      if (services.empty) return undefined;
      const { info } = scope;
      const at = info.isResourceRequest ? { ...info, bare: false } : groupVersionOf(info.path);
      if (at === undefined) return undefined;
      const remote = services.remote(at.group, at.version);
      if (remote === undefined) return undefined;
      return (s) => pass(s, remote, at.bare);
    },
  };
}
