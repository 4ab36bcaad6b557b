/**
 * The kubelet's HTTP API: logs, exec, attach, port-forward, pods, health, statistics and metrics. `serve` speaks HTTP/1.1 on any byte
 * stream and trusts whoever provides it (the API server in the same process); `listen` is the HTTPS endpoint, which asks the API
 * server who the caller is and what it may.
 */
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { createServer, STATUS_CODES } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import type { Clock } from '../../base/clock.ts';
import { ioNow } from '../../base/io-time.ts';
import type { Logger } from '../../base/logger.ts';
import type { ExecOptions } from '../runtime/container-runtime.ts';
import type { ContainerRuntime } from '../runtime/container-runtime.ts';
import type { NodeHost } from '../host/node-host.ts';
import type { KubeletAuth } from './auth.ts';
import { refusalOf } from './auth.ts';
import { serveContainerLogs } from './logs.ts';
import { KubeletServerMetrics, resourceMetrics } from './metrics.ts';
import type { PodSource } from './pod-source.ts';
import {
  portsOf,
  serveSpdyPortForward,
  serveWebSocketPortForward,
  spdyPortForwardProtocols,
  tunnelProtocol,
  webSocketPortForwardProtocols,
} from './port-forward.ts';
import { spdyCommandProtocols, spdySession } from './remote-command-spdy.ts';
import { webSocketCommandProtocols, webSocketSession } from './remote-command-websocket.ts';
import type { ClientSession } from './session.ts';
import { runSession } from './session.ts';
import { summary } from './stats.ts';
import { findContainer, findPod, HttpError, httpErrorOf } from './target.ts';
import { acceptWebSocket, isWebSocketRequest, negotiate, offeredProtocols } from './websocket.ts';

/** Streams in which nothing happens for so long are ended (`--streaming-connection-idle-timeout`). */
const defaultIdleTimeout = 4 * 60 * 60 * 1000;
const spdy = 'SPDY/3.1';

export interface KubeletServerOptions {
  readonly nodeName: string;
  readonly runtime: ContainerRuntime;
  readonly host: NodeHost;
  readonly pods: PodSource;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Why the kubelet's loop is not healthy; undefined when it is. */
  readonly syncLoopFault?: () => string | undefined;
  /** More metrics in the text format, for `/metrics`. */
  readonly metrics?: () => string | Promise<string>;
  /** Metrics of probes, for `/metrics/probes`. */
  readonly probeMetrics?: () => string | Promise<string>;
  /** The KubeletConfiguration that `/configz` shows. */
  readonly configuration?: () => unknown;
  /** Usage of a pod's volumes for the summary, by volume name. */
  readonly streamingIdleTimeoutMs?: number;
}

export interface KubeletListenOptions {
  readonly address: string;
  /** 10250; 0 picks a free one. */
  readonly port: number;
  /** PEM. */
  readonly cert: string;
  readonly key: string;
  /** PEM of the authority of client certificates (`--client-ca-file`). */
  readonly clientCA?: string;
  readonly auth: KubeletAuth;
}

export interface KubeletServer {
  /** Speaks HTTP/1.1 on a stream that comes from the API server itself. */
  serve(stream: Duplex): void;
  /** Opens the HTTPS endpoint. */
  listen(options: KubeletListenOptions): Promise<{ readonly address: string; readonly port: number }>;
  /** Ends all connections. */
  close(): Promise<void>;
}

interface PathTarget {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly container: string;
}

class Kubelet implements KubeletServer {
  readonly #o: KubeletServerOptions;
  readonly #metrics = new KubeletServerMetrics();
  readonly #connections = new Set<Duplex>();
  readonly #secure: Server[] = [];
  #plain: Server | undefined;
  #closed = false;

  constructor(options: KubeletServerOptions) {
    this.#o = options;
  }

  serve(stream: Duplex): void {
    if (this.#closed) {
      stream.destroy();
      return;
    }
    if (this.#plain === undefined) {
      this.#plain = createServer({ keepAlive: false });
      this.#attach(this.#plain, undefined);
    }
    this.#track(stream);
    this.#plain.emit('connection', stream);
  }

  async listen(options: KubeletListenOptions): Promise<{ readonly address: string; readonly port: number }> {
    const server = createSecureServer({
      cert: options.cert,
      key: options.key,
      requestCert: true,
      // A caller without a certificate may still show a token.
      rejectUnauthorized: false,
      ...(options.clientCA === undefined ? {} : { ca: options.clientCA }),
    });
    this.#attach(server, options.auth);
    server.on('secureConnection', (socket: TLSSocket) => this.#track(socket));
    server.on('tlsClientError', (error) => this.#o.logger.debug('TLS handshake failed', { error }));
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(options.port, options.address, () => {
        server.off('error', reject);
        resolve();
      });
    });
    server.on('error', (error) => this.#o.logger.error('kubelet endpoint failed', { error }));
    this.#secure.push(server);
    const bound = server.address();
    return typeof bound === 'object' && bound !== null
      ? { address: bound.address, port: bound.port }
      : { address: options.address, port: options.port };
  }

  async close(): Promise<void> {
    this.#closed = true;
    const ended = this.#secure.map((s) => new Promise<void>((resolve) => s.close(() => resolve())));
    for (const c of this.#connections) c.destroy();
    await Promise.all(ended);
  }

  #track(stream: Duplex): void {
    this.#connections.add(stream);
    stream.once('close', () => this.#connections.delete(stream));
    stream.on('error', (error) => this.#o.logger.debug('connection to the kubelet broke', { error }));
  }

  #attach(server: Server, auth: KubeletAuth | undefined): void {
    server.keepAliveTimeout = 90_000;
    // A log may be followed for days.
    server.requestTimeout = 0;
    server.on('request', (request: IncomingMessage, response: ServerResponse) => {
      void this.#request(request, response, auth);
    });
    server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
      socket.on('error', () => socket.destroy());
      void this.#upgrade(request, socket, head, auth);
    });
  }

  async #request(request: IncomingMessage, response: ServerResponse, auth: KubeletAuth | undefined): Promise<void> {
    const started = ioNow();
    const url = new URL(request.url ?? '/', 'http://kubelet');
    const done = this.#metrics.begin(request.method ?? 'GET', url.pathname);
    response.once('close', () => done((ioNow() - started) / 1000));
    try {
      await refusalOf(auth, this.#o.nodeName, request);
      await this.#route(url, request, response);
    } catch (error) {
      const failure = httpErrorOf(error);
      if (failure.status >= 500) this.#o.logger.warn('request to the kubelet failed', { path: url.pathname, error });
      if (response.headersSent) {
        // The answer has begun: that it is cut off says the rest.
        response.destroy();
        return;
      }
      sendText(response, failure.status, failure.message);
    }
  }

  async #route(url: URL, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const segments = url.pathname.split('/').slice(1).map(decodeURIComponent);
    const method = request.method ?? 'GET';
    const get = method === 'GET' || method === 'HEAD';
    const o = this.#o;
    switch (segments[0]) {
      case 'containerLogs':
        if (segments.length === 4 && get)
          return serveContainerLogs(
            o,
            { namespace: segments[1]!, name: segments[2]!, container: segments[3]! },
            url.searchParams,
            request,
            response,
          );
        break;
      case 'run':
        if (method === 'POST') return this.#run(pathTarget(segments), url.searchParams, response);
        break;
      case 'exec':
      case 'attach':
      case 'portForward':
        throw new HttpError(400, 'Upgrade request required');
      case 'pods':
        if (get) return sendJson(response, podList(o.pods.list()));
        break;
      case 'runningpods':
        if (get) return sendJson(response, podList(await this.#runningPods()));
        break;
      case 'healthz':
        if (get) return this.#healthz(segments[1] ?? '', url.searchParams.has('verbose'), response);
        break;
      case 'stats':
        if (get && (segments[1] === 'summary' || segments[1] === undefined || segments[1] === ''))
          return sendJson(response, await summary(o, url.searchParams.get('only_cpu_and_memory') === 'true'));
        break;
      case 'metrics':
        if (get) return this.#metricsPage(segments[1] ?? '', response);
        break;
      case 'configz':
        if (get && o.configuration !== undefined) return sendJson(response, { kubeletconfig: o.configuration() });
        break;
      case 'logs':
        throw new HttpError(405, 'logs endpoint is disabled.\n');
      case 'debug':
        throw new HttpError(405, 'Debug endpoints are disabled.\n');
      default:
        break;
    }
    const known = ['containerLogs', 'run', 'pods', 'runningpods', 'healthz', 'stats', 'metrics', 'configz'];
    if (!get && known.includes(segments[0] ?? '')) throw new HttpError(405, '405: Method Not Allowed');
    throw new HttpError(404, '404 page not found\n');
  }

  /** Runs a command and answers with its output, without streams. */
  async #run(target: PathTarget, query: URLSearchParams, response: ServerResponse): Promise<void> {
    const { containerId } = await findContainer(this.#o.pods, this.#o.runtime, target, 'exec');
    const command = (query.get('cmd') ?? '').split(' ');
    const { stdout, stderr, exitCode } = await this.#o.runtime.execSync(containerId, command, 0);
    if (exitCode !== 0)
      throw new HttpError(500, `command '${command.join(' ')}' exited with ${exitCode}: ${stderr.toString('utf8')}`);
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(Buffer.concat([stdout, stderr]));
  }

  /** What the runtime itself has running, as upstream shows it: names and images, no more. */
  async #runningPods(): Promise<object[]> {
    const { runtime } = this.#o;
    const sandboxes = await runtime.listPodSandbox({ state: 'SANDBOX_READY' });
    const containers = await runtime.listContainers({ state: 'CONTAINER_RUNNING' });
    return sandboxes.map((s) => ({
      metadata: { name: s.metadata.name, namespace: s.metadata.namespace, uid: s.metadata.uid },
      spec: {
        containers: containers
          .filter((c) => c.podSandboxId === s.id)
          .map((c) => ({ name: c.metadata.name, image: c.image.image, resources: {} })),
      },
      status: {},
    }));
  }

  #healthz(check: string, verbose: boolean, response: ServerResponse): void {
    const fault = this.#o.syncLoopFault?.();
    const checks = ['ping', 'log', 'syncloop'];
    if (check !== '' && !checks.includes(check)) throw new HttpError(404, '404 page not found\n');
    const failing = fault !== undefined && (check === '' || check === 'syncloop');
    if (check !== '') {
      if (failing) throw new HttpError(500, `internal server error: ${fault}\n`);
      sendText(response, 200, 'ok');
      return;
    }
    const lines = checks.map((c) =>
      c === 'syncloop' && failing ? '[-]syncloop failed: reason withheld\n' : `[+]${c} ok\n`,
    );
    if (failing) throw new HttpError(500, `${lines.join('')}healthz check failed\n`);
    sendText(response, 200, verbose ? `${lines.join('')}healthz check passed\n` : 'ok');
  }

  async #metricsPage(page: string, response: ServerResponse): Promise<void> {
    const o = this.#o;
    let text: string;
    switch (page) {
      case '':
        text = (await this.#metrics.text(o)) + ((await o.metrics?.()) ?? '');
        break;
      case 'resource':
        text = await resourceMetrics(o);
        break;
      case 'probes':
        text = (await o.probeMetrics?.()) ?? '';
        break;
      default:
        throw new HttpError(404, '404 page not found\n');
    }
    response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' });
    response.end(text);
  }

  // Upgrades.

  async #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer, auth: KubeletAuth | undefined): Promise<void> {
    const started = ioNow();
    const url = new URL(request.url ?? '/', 'http://kubelet');
    const done = this.#metrics.begin(request.method ?? 'GET', url.pathname);
    socket.once('close', () => done((ioNow() - started) / 1000));
    const accepted = { yes: false };
    try {
      await refusalOf(auth, this.#o.nodeName, request);
      const segments = url.pathname.split('/').slice(1).map(decodeURIComponent);
      const method = request.method ?? 'GET';
      if (method !== 'GET' && method !== 'POST') throw new HttpError(405, '405: Method Not Allowed');
      switch (segments[0]) {
        case 'exec':
        case 'attach':
          await this.#command(segments[0], pathTarget(segments), url.searchParams, request, socket, head, accepted);
          return;
        case 'portForward':
          await this.#portForward(segments, url.searchParams, request, socket, head, accepted);
          return;
        default:
          throw new HttpError(404, '404 page not found\n');
      }
    } catch (error) {
      if (accepted.yes || socket.destroyed) {
        this.#o.logger.debug('streaming session failed', { path: url.pathname, error });
        socket.destroy();
        return;
      }
      refuseUpgrade(socket, httpErrorOf(error));
    }
  }

  async #command(
    kind: 'exec' | 'attach',
    path: PathTarget,
    query: URLSearchParams,
    request: IncomingMessage,
    socket: Duplex,
    head: Buffer,
    accepted: { yes: boolean },
  ): Promise<void> {
    const { pods, runtime } = this.#o;
    const on = (name: string): boolean => query.get(name) === '1';
    const wantsTty = on('tty');
    const choice = { stdin: on('input'), stdout: on('output'), stderr: on('error') && !wantsTty };
    if (!choice.stdin && !choice.stdout && !choice.stderr)
      throw new HttpError(400, 'you must specify at least 1 of stdin, stdout, stderr');
    const target = await findContainer(pods, runtime, path, kind);
    // Whether a running process has a terminal was decided when it was started.
    const tty = kind === 'attach' ? target.tty : wantsTty;
    const options: ExecOptions = { tty, ...choice, stderr: choice.stderr && !tty };
    const command = query.getAll('command');
    let session: ClientSession;
    if (isWebSocketRequest(request)) {
      const protocol = negotiate(request, webSocketCommandProtocols);
      const ws = await acceptWebSocket(request, socket, head, protocol);
      accepted.yes = true;
      session = webSocketSession(ws, protocol, choice);
    } else {
      const protocol = acceptSpdy(request, socket, spdyCommandProtocols);
      accepted.yes = true;
      if (head.length > 0) socket.unshift(head);
      session = await spdySession(socket, protocol, { ...choice, tty: wantsTty }, this.#idleTimeout);
    }
    if (kind === 'exec')
      await runSession(session, () => runtime.exec(target.containerId, command, options), {
        failure: 'error executing command in container',
        command,
      });
    else
      await runSession(session, () => runtime.attach(target.containerId, options), {
        failure: 'error attaching to container',
      });
  }

  get #idleTimeout(): number {
    return this.#o.streamingIdleTimeoutMs ?? defaultIdleTimeout;
  }

  async #portForward(
    segments: readonly string[],
    query: URLSearchParams,
    request: IncomingMessage,
    socket: Duplex,
    head: Buffer,
    accepted: { yes: boolean },
  ): Promise<void> {
    if (segments.length < 3 || segments.length > 4) throw new HttpError(404, '404 page not found\n');
    const { pods, runtime, logger } = this.#o;
    const webSocket = isWebSocketRequest(request);
    const tunnel = webSocket && offeredProtocols(request).includes(tunnelProtocol);
    const ports = webSocket && !tunnel ? portsOf(query) : [];
    const { pod, sandboxId } = findPod(pods, segments[1]!, segments[2]!, segments[3] ?? '');
    const name = pod.metadata.name ?? '';
    if (sandboxId === undefined)
      throw new HttpError(500, `pod not found (${JSON.stringify(`${name}_${pod.metadata.namespace ?? ''}`)})`);
    const target = {
      podName: name,
      uid: pod.metadata.uid ?? '',
      logger,
      connect: (port: number) => runtime.portForward(sandboxId, port),
    };
    if (tunnel) {
      const ws = await acceptWebSocket(request, socket, head, tunnelProtocol);
      accepted.yes = true;
      const { createWebSocketStream } = await import('ws');
      await serveSpdyPortForward(createWebSocketStream(ws), target, this.#idleTimeout);
    } else if (webSocket) {
      const protocol = negotiate(request, webSocketPortForwardProtocols);
      const ws = await acceptWebSocket(request, socket, head, protocol);
      accepted.yes = true;
      await serveWebSocketPortForward(ws, protocol, ports, target);
    } else {
      acceptSpdy(request, socket, spdyPortForwardProtocols);
      accepted.yes = true;
      if (head.length > 0) socket.unshift(head);
      await serveSpdyPortForward(socket, target, this.#idleTimeout);
    }
  }
}

/** `/exec/{namespace}/{pod}[/{uid}]/{container}`. */
function pathTarget(segments: readonly string[]): PathTarget {
  const [, namespace = '', name = '', third = '', fourth] = segments;
  if (segments.length < 4 || segments.length > 5) throw new HttpError(404, '404 page not found\n');
  return fourth === undefined
    ? { namespace, name, uid: '', container: third }
    : { namespace, name, uid: third, container: fourth };
}

/** Agrees to SPDY/3.1 and to one of the protocols; '' when the client names none. Throws what it is refused with. */
function acceptSpdy(request: IncomingMessage, socket: Duplex, supported: readonly string[]): string {
  if (!/\bupgrade\b/i.test(request.headers.connection ?? '') || request.headers.upgrade?.toUpperCase() !== spdy)
    throw new HttpError(400, 'unable to upgrade: missing upgrade headers in request');
  const header = request.headers['x-stream-protocol-version'];
  const offered = (header === undefined ? [] : [header].flat())
    .flatMap((h) => h.split(','))
    .map((p) => p.trim())
    .filter((p) => p !== '');
  let protocol = '';
  if (offered.length > 0) {
    const chosen = offered.find((p) => supported.includes(p));
    if (chosen === undefined)
      throw new HttpError(
        403,
        `unable to upgrade: unable to negotiate protocol: client supports [${offered.join(' ')}], server accepts [${supported.join(' ')}]`,
      );
    protocol = chosen;
  }
  let answer = `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ${spdy}\r\n`;
  if (protocol !== '') answer += `X-Stream-Protocol-Version: ${protocol}\r\n`;
  socket.write(`${answer}\r\n`);
  return protocol;
}

function refuseUpgrade(socket: Duplex, error: HttpError): void {
  const body = Buffer.from(error.message);
  socket.end(
    Buffer.concat([
      Buffer.from(
        `HTTP/1.1 ${error.status} ${STATUS_CODES[error.status] ?? ''}\r\nContent-Type: text/plain; charset=utf-8\r\n` +
          `Content-Length: ${body.length}\r\nConnection: close\r\n\r\n`,
      ),
      body,
    ]),
  );
}

function podList(items: readonly object[]): object {
  return { kind: 'PodList', apiVersion: 'v1', metadata: {}, items };
}

function sendJson(response: ServerResponse, body: object): void {
  response.writeHead(200, { 'content-type': 'application/json' });
  response.end(JSON.stringify(body));
}

function sendText(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8', 'x-content-type-options': 'nosniff' });
  response.end(text);
}

export function createKubeletServer(options: KubeletServerOptions): KubeletServer {
  return new Kubelet(options);
}
