/** `pods/{name}/log`: the kubelet's container log, streamed through. */
import type { FieldError } from '../../api/field-error.ts';
import { forbiddenField, invalid, invalidStatus } from '../../api/field-error.ts';
import { StatusError, badRequest, internalError } from '../../api/status.ts';
import type { Scope } from '../filters/scope.ts';
import type { IncomingMessage } from 'node:http';
import type { OutgoingResponse } from '../request.ts';
import { request } from './backend.ts';
import type { ConnectDeps } from './connect.ts';
import { containerOf } from './container.ts';
import type { LogMetrics } from './log-metrics.ts';
import { boolParam, intParam, timeParam } from './params.ts';

interface LogOptions {
  readonly container: string;
  readonly params: URLSearchParams;
  /** The kubelet's certificate is not looked at. */
  readonly insecure: boolean;
}

/** PodLogOptions of the query; throws 400 for what cannot be converted and 422 for what may not be. */
function logOptions(query: URLSearchParams, name: string, metrics: LogMetrics): LogOptions {
  const errors: FieldError[] = [];
  const insecure = boolParam(query, 'insecureSkipTLSVerifyBackend');
  const tailLines = intParam(query, 'tailLines');
  const limitBytes = intParam(query, 'limitBytes');
  const sinceSeconds = intParam(query, 'sinceSeconds');
  const sinceTime = timeParam(query, 'sinceTime');
  const stream = query.get('stream');
  metrics.asked(insecure);
  if (tailLines !== undefined && tailLines < 0)
    errors.push(invalid('tailLines', tailLines, 'must be greater than or equal to 0'));
  if (limitBytes !== undefined && limitBytes < 1)
    errors.push(invalid('limitBytes', limitBytes, 'must be greater than 0'));
  if (sinceSeconds !== undefined && sinceTime !== undefined)
    errors.push(forbiddenField('[]', 'at most one of `sinceTime` or `sinceSeconds` may be specified'));
  else if (sinceSeconds !== undefined && sinceSeconds < 1)
    errors.push(invalid('sinceSeconds', sinceSeconds, 'must be greater than 0'));
  if (stream !== null && stream !== '') errors.push(forbiddenField('stream', 'may not be specified'));
  if (errors.length > 0) throw invalidStatus('', 'PodLogOptions', name, errors);
  const params = new URLSearchParams();
  for (const flag of ['follow', 'previous', 'timestamps']) if (boolParam(query, flag)) params.set(flag, 'true');
  if (sinceSeconds !== undefined) params.set('sinceSeconds', String(sinceSeconds));
  if (sinceTime !== undefined) params.set('sinceTime', sinceTime);
  if (tailLines !== undefined) params.set('tailLines', String(tailLines));
  if (limitBytes !== undefined) params.set('limitBytes', String(limitBytes));
  params.sort();
  return { container: query.get('container') ?? '', params, insecure };
}

async function bodyText(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response) {
    chunks.push(chunk as Buffer);
    size += (chunk as Buffer).length;
    if (size >= 50_000) break;
  }
  return Buffer.concat(chunks).toString('utf8', 0, 50_000);
}

/** What a kubelet's refusal becomes (upstream's GenericHttpResponseChecker). */
async function refusal(response: IncomingMessage, name: string): Promise<StatusError> {
  const text = await bodyText(response);
  const code = response.statusCode ?? 500;
  const details = { name, kind: 'pods/log' };
  // Upstream names no verb here.
  const about = `( pods/log ${name})`;
  switch (code) {
    case 500:
      return internalError(new Error(text));
    case 400:
      return badRequest(text);
    case 404:
      return new StatusError(404, 'NotFound', `the server could not find the requested resource ${about}`, details);
    case 401:
      return new StatusError(
        401,
        'Unauthorized',
        `the server has asked for the client to provide credentials ${about}`,
        details,
      );
    case 403:
      return new StatusError(403, 'Forbidden', `${text} ${about}`, details);
    default:
      if (code >= 500)
        return new StatusError(
          code,
          'InternalError',
          `an error on the server (${JSON.stringify(text)}) has prevented the request from succeeding ${about}`,
          details,
        );
      return new StatusError(
        code,
        '',
        `the server responded with the status code ${code} but did not return more information ${about}`,
        details,
      );
  }
}

export async function serveLog(scope: Scope, deps: ConnectDeps): Promise<OutgoingResponse> {
  const { namespace, name } = scope.info;
  const options = logOptions(scope.request.query, name, deps.logMetrics);
  const pod = await deps.locations.get(scope, 'pods', namespace, name);
  const container = containerOf(pod, options.container);
  const nodeName = (pod['spec'] as { nodeName?: string } | undefined)?.nodeName ?? '';
  // A pod without a node has no log yet.
  if (nodeName === '') return { status: 204, body: { kind: 'none' } };
  const kubelet = await deps.locations.node(scope, nodeName);
  const location = options.insecure ? { ...kubelet, insecure: true } : kubelet;
  const query = options.params.toString();
  const path = `/containerLogs/${namespace}/${name}/${container}${query === '' ? '' : `?${query}`}`;
  const url = `https://${location.address}:${location.port}${path}`;
  const span = deps.trace?.begin('GET', url);
  const headers: Record<string, string> = span === undefined ? {} : { traceparent: span.traceparent };
  let response: IncomingMessage;
  try {
    response = await request(deps.dialer, location, { method: 'GET', path, headers, signal: scope.signal });
    span?.end(response.statusCode);
  } catch (error) {
    span?.end(undefined);
    const message = error instanceof Error ? error.message : String(error);
    deps.logMetrics.unreachable(message);
    throw new StatusError(500, '', `Get ${JSON.stringify(url)}: ${message}`, undefined, { cause: error });
  }
  const code = response.statusCode ?? 500;
  if (code < 200 || code > 206) throw await refusal(response, name);
  return { status: 200, body: { kind: 'stream', contentType: 'text/plain', stream: response } };
}
