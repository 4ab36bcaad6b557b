/**
 * Calls of webhooks: a JSON body POSTed to a URL or to a Service of the cluster, over connections that are kept, within a
 * deadline of real time. Errors carry the texts of upstream's client.
 */
import * as http from 'node:http';
import * as https from 'node:https';
import { posix } from 'node:path';
import { escapePath, parseURL } from '../../api/cel/library/go-url.ts';
import { StatusError } from '../../api/status.ts';
import { ioNow, ioTimer } from '../../base/io-time.ts';
import { joinHostPort } from '../../base/host-port.ts';
import { goNetworkError } from './go-errors.ts';
import { dialHost, PlainAgent, SecureAgent } from './secure-agent.ts';
import type { ClientCertificate } from './secure-agent.ts';
import type { Dialer } from '../dialer.ts';
import type { Transport } from '../../client/transport.ts';
import type { Dial } from '../egress/selector.ts';
import type { RestClientMetrics } from '../metrics/rest-client-metrics.ts';
import type { OutgoingSpan, OutgoingTrace } from '../tracing/outgoing.ts';
import type { ServiceResolver } from './service-resolver.ts';

/** `clientConfig` of a webhook, as admission registrations and conversion have it. */
export interface WebhookClientConfig {
  readonly url?: string;
  readonly service?: {
    readonly namespace: string;
    readonly name: string;
    readonly path?: string;
    readonly port?: number;
  };
  /** Base64 of PEM. */
  readonly caBundle?: string;
  /** How the API server shows who it is; PEM. Not of the API: configuration files have it. */
  readonly clientCertificate?: { readonly certificate: string; readonly key: string };
  readonly token?: string;
  /** Whom the server's certificate must name, where that is not the host of the URL; of configuration files as well. */
  readonly serverName?: string;
  readonly insecureSkipTLSVerify?: boolean;
}

/** How the API server shows itself to a webhook, where a configuration file says so. */
export interface WebhookIdentity {
  /** @throws {WebhookIdentityError} where what it is to show cannot be had */
  credentials(): Promise<{
    readonly headers: Readonly<Record<string, string | readonly string[]>>;
    readonly clientCertificate?: ClientCertificate;
  }>;
}

/** The identity for `host:port`; undefined: none. */
export type WebhookIdentityOf = (target: string) => WebhookIdentity | undefined;

/** There is no client for the webhook, as there is nothing to show it. */
export class WebhookIdentityError extends Error {
  override readonly name = 'WebhookIdentityError';
}

export interface WebhookCall {
  readonly body: string;
  readonly timeoutMs: number;
  /** Real milliseconds (`ioNow`) when nobody waits for the answer any more; `signal` ends the call then. */
  readonly deadline?: number | undefined;
  /** Ends the call early. */
  readonly signal?: AbortSignal;
  /** The server is not told of the deadline in the query. */
  readonly plain?: boolean;
}

/** What a webhook answered with a status of 200 to 206. */
export interface WebhookAnswer {
  readonly status: number;
  readonly contentType: string;
  readonly body: Buffer;
}

export interface WebhookClients {
  /**
   * @throws {StatusError} what the server's status means, where it answered with another one
   * @throws {Error} `Post "https://…": dial tcp …` and the like
   */
  post(config: WebhookClientConfig, call: WebhookCall): Promise<WebhookAnswer>;
  close(): void;
}

export interface WebhookClientsOptions {
  readonly dialer: Dialer;
  /** How the hosts of URLs are reached, where that is not by the dialer. */
  readonly dialUrl?: Dial | undefined;
  readonly services: ServiceResolver;
  /** The API server itself, to which its own Service leads: it is asked as it asks itself, with all its rights. */
  readonly self?: (() => Pick<Transport, 'request'>) | undefined;
  readonly identityOf?: WebhookIdentityOf | undefined;
  /** `kube-apiserver-admission`, … */
  readonly userAgent: string;
  readonly trace?: OutgoingTrace | undefined;
  readonly metrics?: RestClientMetrics | undefined;
}

/** Where webhooks that are served through the API server itself are. */
const ownService = 'kubernetes.default.svc:443';

/** Clients that are kept, as upstream's. */
const maxClients = 200;
const maxAnswer = 8 * 1024 * 1024;
const maxErrorText = 2048;
/** As Go's client: the tenth is not followed any more. */
const maxRedirects = 10;

interface Client {
  /** A plain one where the URL is an `http://` one, as configuration files may name it. */
  readonly agent: SecureAgent | PlainAgent;
  /** `https://host:port/path` as it stands in errors. */
  readonly url: string;
  readonly host: string;
  readonly port: number;
  readonly path: string;
  readonly token: string | undefined;
  readonly identity: WebhookIdentity | undefined;
  /** It is the API server itself. */
  readonly own: boolean;
}

/** Go's `time.Duration` of whole seconds: `10s`, `1m5s`. */
function durationText(seconds: number): string {
  return seconds < 60 ? `${seconds}s` : `${Math.floor(seconds / 60)}m${seconds % 60}s`;
}

interface SplitUrl {
  readonly scheme: string;
  readonly host: string;
  readonly authority: string;
  readonly port: number;
  readonly path: string;
}

const defaultPorts: Readonly<Record<string, number>> = { http: 80, https: 443 };

/** Splits `https://host[:port]/path`; URLs of the API were validated when the configuration was written. */
function splitUrl(text: string): SplitUrl {
  const m = /^([a-z][a-z0-9+.-]*):\/\/(\[[^\]]*\]|[^/:?#]*)(?::(\d+))?([^?#]*)/i.exec(text);
  if (m === null) throw new Error(`parse ${JSON.stringify(text)}: invalid URI for request`);
  const scheme = m[1]!.toLowerCase();
  const standard = defaultPorts[scheme];
  if (standard === undefined)
    throw new Error(`Post ${JSON.stringify(text)}: unsupported protocol scheme ${JSON.stringify(scheme)}`);
  const host = m[2]!.replace(/^\[|\]$/g, '');
  const authority = m[3] === undefined ? m[2]! : `${m[2]!}:${m[3]}`;
  const port = m[3] === undefined ? standard : Number(m[3]);
  return { scheme, host, authority, port, path: cleanPath(parseURL(text).path) };
}

/** A decoded path as upstream's client asks for it: without doubled slashes, `.` and `..`, and without one at the end. */
function cleanPath(path: string): string {
  const clean = posix.join('/', path);
  return escapePath(clean.length > 1 && clean.endsWith('/') ? clean.slice(0, -1) : clean);
}

/** What an unexpected status means (apimachinery's NewGenericServerResponse). */
export function serverResponseError(status: number, text: string, retryAfter: number): StatusError {
  const known: Readonly<Record<number, readonly [string, string]>> = {
    400: ['BadRequest', 'the server rejected our request for an unknown reason'],
    401: ['Unauthorized', 'the server has asked for the client to provide credentials'],
    403: ['Forbidden', text],
    404: ['NotFound', 'the server could not find the requested resource'],
    405: ['MethodNotAllowed', 'the server does not allow this method on the requested resource'],
    406: [
      'NotAcceptable',
      text === '' || text === 'unknown'
        ? 'the server was unable to respond with a content type that the client supports'
        : text,
    ],
    409: ['AlreadyExists', 'the server reported a conflict'],
    415: ['UnsupportedMediaType', text],
    422: ['Invalid', 'the server rejected our request due to an error in our request'],
    429: ['TooManyRequests', 'the server has received too many requests and has asked us to try again later'],
    503: ['ServiceUnavailable', 'the server is currently unable to handle the request'],
    504: [
      'Timeout',
      'the server was unable to return a response in the time allotted, but may still be processing the request',
    ],
  };
  const unknown =
    status >= 500
      ? ([
          'InternalError',
          `an error on the server (${JSON.stringify(text)}) has prevented the request from succeeding`,
        ] as const)
      : ([
          'Unknown',
          `the server responded with the status code ${status} but did not return more information`,
        ] as const);
  const [reason, message] = known[status] ?? unknown;
  return new StatusError(status, reason, message, {
    causes: [{ reason: 'UnexpectedServerResponse', message: text }],
    ...(retryAfter === 0 ? {} : { retryAfterSeconds: retryAfter }),
  });
}

function isText(contentType: string | undefined): boolean {
  return contentType === undefined || contentType === '' || contentType.trimStart().toLowerCase().startsWith('text/');
}

interface Received {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: Buffer;
}

/** Sent on with the same method and body. */
const isRepeat = ({ status, headers }: Received): boolean =>
  (status === 307 || status === 308) && headers.location !== undefined;

/** A structured refusal (a Status of the server's own) goes before what its code means. */
function refusal({ status, headers, body }: Received): StatusError {
  const contentType = headers['content-type'];
  if (contentType?.includes('json') === true) {
    try {
      const parsed = JSON.parse(body.toString('utf8')) as { kind?: unknown; apiVersion?: unknown; status?: unknown };
      if (parsed.kind === 'Status' && parsed.status !== 'Success')
        return StatusError.fromStatus({ code: status, ...(parsed as object) });
    } catch (error) {
      // Not JSON after all: the code says what there is to say.
      if (!(error instanceof SyntaxError)) throw error;
    }
  }
  const text = isText(contentType) ? body.toString('utf8', 0, maxErrorText).trim() : 'unknown';
  const retryAfter = /^\d+$/.test(headers['retry-after'] ?? '') ? Number(headers['retry-after']) : 0;
  return serverResponseError(status, text, retryAfter);
}

export function createWebhookClients(options: WebhookClientsOptions): WebhookClients {
  const { dialer, services, userAgent } = options;
  const dialUrl = options.dialUrl ?? ((host, port) => dialHost(dialer, host, port));
  const clients = new Map<string, Client>();

  const make = (config: WebhookClientConfig): Client => {
    const ca =
      config.caBundle === undefined || config.caBundle === ''
        ? undefined
        : Buffer.from(config.caBundle, 'base64').toString('latin1');
    const { service, token } = config;
    const certificateOf = (identity: WebhookIdentity | undefined) =>
      identity === undefined ? config.clientCertificate : async () => (await identity.credentials()).clientCertificate;
    if (service !== undefined) {
      const port = service.port ?? 443;
      const serverName = `${service.name}.${service.namespace}.svc`;
      const path = cleanPath(service.path ?? '/');
      const identity = options.identityOf?.(joinHostPort(serverName, port));
      return {
        agent: new SecureAgent({
          serverName,
          ca,
          clientCertificate: certificateOf(identity),
          async dial() {
            const to = services.resolve(service.namespace, service.name, port);
            return dialHost(dialer, to.host, to.port);
          },
        }),
        own: joinHostPort(serverName, port) === ownService,
        url: `https://${joinHostPort(serverName, port)}${path}`,
        host: serverName,
        port,
        path,
        token,
        identity,
      };
    }
    const { url = '' } = config;
    if (url === '') throw new Error('webhook configuration must have either service or URL');
    const { scheme, host, authority, port, path } = splitUrl(url);
    const dial = (): ReturnType<Dial> => dialUrl(host, port);
    const identity = options.identityOf?.(/:\d+$/.test(authority) ? authority : `${authority}:${port}`);
    return {
      own: scheme === 'https' && `${host}:${port}` === ownService,
      agent:
        scheme === 'http'
          ? new PlainAgent(dial)
          : new SecureAgent({
              serverName: config.serverName ?? host,
              ca,
              clientCertificate: certificateOf(identity),
              insecure: config.insecureSkipTLSVerify === true,
              dial,
            }),
      url: `${scheme}://${authority}${path}`,
      host,
      port,
      path,
      token,
      identity,
    };
  };

  const clientOf = (config: WebhookClientConfig): Client => {
    const key = JSON.stringify(config);
    let client = clients.get(key);
    if (client === undefined) client = make(config);
    else clients.delete(key);
    clients.set(key, client);
    if (clients.size > maxClients) {
      const [oldest, last] = clients.entries().next().value!;
      clients.delete(oldest);
      last.agent.destroy();
    }
    return client;
  };

  const askSelf = async (self: Pick<Transport, 'request'>, path: string, call: WebhookCall, signal: AbortSignal) => {
    const answer = await self.request({ method: 'POST', path, body: Buffer.from(call.body), signal });
    const text = typeof answer.body === 'string';
    return {
      status: answer.status,
      headers: { 'content-type': text ? 'text/plain' : 'application/json', ...answer.headers },
      body: Buffer.from(text ? (answer.body as string) : JSON.stringify(answer.body)),
    };
  };

  const send = (
    client: Client,
    path: string,
    call: WebhookCall,
    signal: AbortSignal,
    span: OutgoingSpan | undefined,
    shown: Readonly<Record<string, string | readonly string[]>> | undefined,
  ): Promise<Received> =>
    new Promise((resolve, reject) => {
      const { self } = options;
      if (client.own && self !== undefined) {
        askSelf(self(), path, call, signal).then(resolve, reject);
        return;
      }
      const body = Buffer.from(call.body);
      const secure = client.agent instanceof SecureAgent;
      const request = (secure ? https : http).request({
        agent: client.agent,
        method: 'POST',
        host: client.host,
        port: client.port,
        path,
        headers: {
          host: client.port === (secure ? 443 : 80) ? client.host : joinHostPort(client.host, client.port),
          accept: 'application/json, */*',
          'content-type': 'application/json',
          'content-length': body.length,
          'user-agent': userAgent,
          ...(client.token === undefined ? {} : { authorization: `Bearer ${client.token}` }),
          ...(span === undefined ? {} : { traceparent: span.traceparent }),
          ...shown,
        },
        signal,
      });
      request.on('error', (error) => {
        // The server closed a kept connection just as it was taken up again: nothing has been done yet.
        if (request.reusedSocket && (error as { code?: unknown }).code === 'ECONNRESET' && !signal.aborted)
          send(client, path, call, signal, span, shown).then(resolve, reject);
        else reject(error);
      });
      request.on('response', (response) => {
        const chunks: Buffer[] = [];
        let size = 0;
        response.on('data', (chunk: Buffer) => {
          size += chunk.length;
          if (size > maxAnswer) response.destroy(new Error('the answer of the webhook is too large'));
          else chunks.push(chunk);
        });
        response.on('error', reject);
        response.on('end', () => {
          const { statusCode: status = 500, headers } = response;
          resolve({ status, headers, body: Buffer.concat(chunks, size) });
        });
      });
      request.end(body);
    });

  return {
    async post(config, call) {
      const client = clientOf(config);
      const shown = (await client.identity?.credentials())?.headers;
      const { deadline = Infinity } = call;
      const seconds = Math.ceil(Math.min(call.timeoutMs, deadline - ioNow()) / 1000);
      const query = call.plain === true || seconds <= 0 ? '' : `?timeout=${durationText(seconds)}`;
      const ended = new AbortController();
      let late = false;
      const cancel = ioTimer(call.timeoutMs, () => {
        late = true;
        ended.abort();
      });
      const signal = call.signal === undefined ? ended.signal : AbortSignal.any([ended.signal, call.signal]);
      const span = options.trace?.begin('POST', `${client.url}${query}`);
      const began = ioNow();
      let received: Received | undefined;
      try {
        received = await send(client, `${client.path}${query}`, call, signal, span, shown);
        // Servers in Go send who asks for `/check` on to `/check/` by a 307, the body once more.
        for (let n = 1; isRepeat(received); n++) {
          if (n === maxRedirects) throw new Error(`stopped after ${maxRedirects} redirects`);
          const to = new URL(received.headers.location!, `${client.url}${query}`);
          if (to.origin !== new URL(client.url).origin) break;
          received = await send(client, `${to.pathname}${to.search}`, call, signal, span, shown);
        }
        span?.end(received.status);
      } catch (error) {
        span?.end(undefined);
        const why =
          late || (signal.aborted && ioNow() >= deadline - 1)
            ? 'context deadline exceeded'
            : signal.aborted
              ? 'context canceled'
              : goNetworkError(error, client.host, client.port);
        throw new Error(`Post ${JSON.stringify(`${client.url}${query}`)}: ${why}`, { cause: error });
      } finally {
        cancel();
        options.metrics?.done({
          host: joinHostPort(client.host, client.port),
          method: 'POST',
          code: received?.status,
          seconds: (ioNow() - began) / 1000,
          sent: Buffer.byteLength(call.body),
          received: received?.body.length ?? 0,
        });
      }
      const { status, headers, body } = received;
      if (status < 200 || status > 206) throw refusal(received);
      return { status, contentType: headers['content-type'] ?? '', body };
    },
    close() {
      for (const client of clients.values()) client.agent.destroy();
      clients.clear();
    },
  };
}
