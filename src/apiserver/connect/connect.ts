/**
 * Connect requests: those that the server answers by talking to a node, pod or service. CONNECT admission sees each before
 * anything is dialled; sessions end with the server.
 */
import { badRequest } from '../../api/status.ts';
import type { Admission, Authorizer } from '../context.ts';
import type { Dialer } from '../dialer.ts';
import { noSuchMethod, noSuchRoute } from '../director.ts';
import type { Handler, Scope } from '../filters/scope.ts';
import type { OutgoingResponse } from '../request.ts';
import type { OutgoingTrace } from '../tracing/outgoing.ts';
import type { Locations } from './locations.ts';
import type { LogMetrics } from './log-metrics.ts';
import { serveLog } from './log.ts';
import { serveProxy } from './proxy.ts';
import { serveStream } from './stream.ts';

/** A connection that was taken over and lasts. */
export interface Session {
  close(): void;
  readonly closed: Promise<void>;
}

export interface ConnectDeps {
  readonly dialer: Dialer;
  readonly locations: Locations;
  readonly authorizer: Authorizer;
  readonly admission: Admission;
  /** Remembers a session until it is closed. */
  readonly sessionStarted: (session: Session, scope: Scope) => void;
  readonly logMetrics: LogMetrics;
  readonly trace?: OutgoingTrace | undefined;
}

/** Methods that a proxy subresource passes on. */
const proxied = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']);

const optionsKinds: Readonly<Record<string, string>> = {
  'pods/exec': 'PodExecOptions',
  'pods/attach': 'PodAttachOptions',
  'pods/portforward': 'PodPortForwardOptions',
  'pods/proxy': 'PodProxyOptions',
  'services/proxy': 'ServiceProxyOptions',
  'nodes/proxy': 'NodeProxyOptions',
};

/** The options object that CONNECT admission looks at. */
function optionsObject(scope: Scope, kind: string): Record<string, unknown> {
  const object: Record<string, unknown> = { kind, apiVersion: 'v1' };
  for (const name of new Set(scope.request.query.keys())) {
    const values = scope.request.query.getAll(name);
    if (name === 'command') object[name] = values;
    else if (['stdin', 'stdout', 'stderr', 'tty'].includes(name))
      object[name] = values[0] !== 'false' && values[0] !== '0';
    else object[name] = values[0];
  }
  return object;
}

async function admit(scope: Scope, deps: ConnectDeps): Promise<void> {
  const { info } = scope;
  const kind = optionsKinds[`${info.resource}/${info.subresource}`];
  if (kind === undefined) return;
  const attributes = {
    context: scope,
    operation: 'CONNECT' as const,
    group: info.group,
    version: info.version,
    resource: info.resource,
    subresource: info.subresource,
    kind,
    namespace: info.namespace,
    name: info.name,
    object: optionsObject(scope, kind),
    oldObject: undefined,
    options: {},
    dryRun: false,
    user: scope.user,
  };
  await deps.admission.mutate(attributes);
  await deps.admission.validate(attributes);
}

export function createConnectHandler(deps: ConnectDeps): Handler {
  return async (scope): Promise<OutgoingResponse> => {
    const { info, request } = scope;
    if (info.subresource === 'log') {
      if (info.resource !== 'pods') throw noSuchRoute();
      if (request.method !== 'GET') throw noSuchMethod();
      return serveLog(scope, deps);
    }
    if (request.query.has('dryRun')) throw badRequest('dryRun is not supported');
    switch (info.subresource) {
      case 'exec':
      case 'attach':
      case 'portforward':
        if (request.method !== 'GET' && request.method !== 'POST') throw noSuchMethod();
        await admit(scope, deps);
        return serveStream(scope, deps, info.subresource);
      case 'proxy':
        if (!proxied.has(request.method)) throw noSuchMethod();
        await admit(scope, deps);
        return serveProxy(scope, deps);
      default:
        throw noSuchRoute();
    }
  };
}
