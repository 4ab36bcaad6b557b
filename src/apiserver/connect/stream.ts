/** `pods/{name}/exec`, `attach` and `portforward`: upgrades that are passed through to the node's kubelet. */
import { badRequest, forbidden } from '../../api/status.ts';
import type { Scope } from '../filters/scope.ts';
import { attributesOf } from '../filters/authorization.ts';
import type { OutgoingResponse } from '../request.ts';
import { withTraceparent } from '../tracing/outgoing.ts';
import { passUpgrade } from './backend.ts';
import type { ConnectDeps } from './connect.ts';
import { containerOf } from './container.ts';
import { forwardedHeaders } from './headers.ts';
import { boolParam, intsParam } from './params.ts';

/** A GET (WebSocket) asks for as much as a POST (SPDY): the caller needs `create`. */
async function ensureMayCreate(scope: Scope, deps: ConnectDeps): Promise<void> {
  if (scope.info.verb === 'create') return;
  const { decision, reason } = await deps.authorizer.authorize({ ...attributesOf(scope), verb: 'create' });
  if (decision !== 'allow') throw forbidden({ group: '', resource: 'pods' }, scope.info.name, reason);
}

/** The kubelet's parameters of an exec or attach request. */
function streamParams(query: URLSearchParams, command: boolean): URLSearchParams {
  const params = new URLSearchParams();
  if (boolParam(query, 'stdin')) params.set('input', '1');
  if (boolParam(query, 'stdout')) params.set('output', '1');
  if (boolParam(query, 'stderr')) params.set('error', '1');
  if (boolParam(query, 'tty')) params.set('tty', '1');
  if (command) for (const word of query.getAll('command')) params.append('command', word);
  return params;
}

export async function serveStream(
  scope: Scope,
  deps: ConnectDeps,
  kind: 'exec' | 'attach' | 'portforward',
): Promise<OutgoingResponse> {
  await ensureMayCreate(scope, deps);
  const { namespace, name } = scope.info;
  const query = scope.request.query;
  const pod = await deps.locations.get(scope, 'pods', namespace, name);
  let path: string;
  let params: URLSearchParams;
  if (kind === 'portforward') {
    path = `/portForward/${namespace}/${name}`;
    params = new URLSearchParams();
    const ports = intsParam(query, 'ports');
    if (ports.length > 0) params.set('port', ports.join(','));
  } else {
    path = `/${kind}/${namespace}/${name}/${containerOf(pod, query.get('container') ?? '')}`;
    params = streamParams(query, kind === 'exec');
  }
  const nodeName = (pod['spec'] as { nodeName?: string } | undefined)?.nodeName ?? '';
  if (nodeName === '') throw badRequest(`pod ${name} does not have a host assigned`);
  const location = await deps.locations.node(scope, nodeName);
  const takeOver = scope.request.upgrade;
  if (takeOver === undefined) throw badRequest('Upgrade request required');
  const search = params.toString();
  const session = await passUpgrade(deps.dialer, location, {
    method: scope.request.method,
    path: search === '' ? path : `${path}?${search}`,
    rawHeaders: withTraceparent(forwardedHeaders(scope.request, true), deps.trace?.begin(scope.request.method, path)),
    takeOver,
  });
  if (scope.request.headers['upgrade']?.toLowerCase() === 'websocket') deps.logMetrics.streamed(kind);
  deps.sessionStarted(session, scope);
  return { status: 101, body: { kind: 'hijacked' } };
}
