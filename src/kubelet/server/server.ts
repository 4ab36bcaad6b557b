/**
 * The kubelet's HTTP API: logs, exec, attach, port-forward, pods, health, statistics and metrics. `serve` speaks HTTP/1.1 on any byte
 * stream and trusts whoever provides it (the API server in the same process); `listen` is the HTTPS endpoint, which asks the API
 * server who the caller is and what it may.
 */
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { createServer } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import type { Duplex } from 'node:stream';
import type { SecureContextOptions, SecureVersion, TLSSocket } from 'node:tls';
import type { Clock } from '../../base/clock.ts';
import { ioNow } from '../../base/io-time.ts';
import { everyFamily } from '../../base/listen-address.ts';
import type { Pod } from '../../api/types/index.gen.ts';
import type { Logger } from '../../base/logger.ts';
import type { NodeHost } from '../host/node-host.ts';
import type { ContainerRuntime } from '../runtime/container-runtime.ts';
import type { KubeletAuth } from './auth.ts';
import { cadvisorMetrics } from './cadvisor.ts';
import { refusalOf } from './auth.ts';
import { serveContainerLogs } from './logs.ts';
import { KubeletServerMetrics, resourceMetrics } from './metrics.ts';
import { serveNodeLogs } from './node-logs.ts';
import type { PodSource } from './pod-source.ts';
import type { PodDisk } from './stats.ts';
import { summary } from './stats.ts';
import type { PathTarget } from './streaming.ts';
import { pathTarget, serveUpgrade } from './streaming.ts';
import { findContainer, HttpError, httpErrorOf } from './target.ts';

/** As Go's servers take: a long command travels in the address of `exec`. Bytes. */
const maxHeaderSize = 1024 * 1024;

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
  /** The cgroup of a pod, where the kubelet keeps cgroups. */
  readonly cgroupOf?: (pod: Pod | undefined) => string | undefined;
  /** What pods' volumes and logs take of the disk. */
  readonly diskOf?: (pod: Pod) => Promise<PodDisk>;
  /** False: no logs, commands or streams of containers (`enableDebuggingHandlers`). */
  readonly debugging?: boolean;
  /** False: nothing of /var/log (`enableSystemLogHandler`). */
  readonly nodeLogs?: boolean;
  /** Metrics of probes, for `/metrics/probes`. */
  readonly probeMetrics?: () => string | Promise<string>;
  /** The KubeletConfiguration that `/configz` shows. */
  readonly configuration?: () => unknown;
  /** Default 4 h (`--streaming-connection-idle-timeout`), in real time. */
  readonly streamingIdleTimeoutMs?: number;
}

export interface KubeletListenOptions {
  readonly address: string;
  /** 10250; 0 picks a free one. */
  readonly port: number;
  /** PEM. Without them no connection can be made until `follow` brings them. */
  readonly cert?: string;
  readonly key?: string;
  /** PEM of the authority of client certificates (`--client-ca-file`). */
  readonly clientCA?: string;
  readonly auth: KubeletAuth;
  /** Versions, suites and curves, as `node:tls` names them. */
  readonly tls?: { readonly minVersion?: SecureVersion; readonly ciphers?: string; readonly ecdhCurve?: string };
  /** Begins to tell of newer certificates; connections that stand keep theirs. Returns what ends it. */
  follow?(use: (files: Partial<Pick<KubeletListenOptions, 'cert' | 'key' | 'clientCA'>>) => void): () => void;
}

/** Where something listens; port 0 picks a free one. */
export interface Place {
  readonly address: string;
  readonly port: number;
}

export interface KubeletServer {
  /** Speaks HTTP/1.1 on a stream that comes from the API server itself. */
  serve(stream: Duplex): void;
  /** Opens the HTTPS endpoint. */
  listen(options: KubeletListenOptions): Promise<Place>;
  /** Opens an HTTP endpoint that asks nobody who he is (`--read-only-port`): pods, health, statistics and metrics. */
  listenReadOnly(options: Place): Promise<Place>;
  /** Ends all connections. */
  close(): Promise<void>;
}

class HttpApi implements KubeletServer {
  readonly #o: KubeletServerOptions;
  readonly #metrics = new KubeletServerMetrics();
  readonly #connections = new Set<Duplex>();
  readonly #listening: Server[] = [];
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
      this.#plain = createServer({ maxHeaderSize });
      this.#attach(this.#plain, undefined);
    }
    this.#track(stream);
    this.#plain.emit('connection', stream);
  }

  listen(options: KubeletListenOptions): Promise<Place> {
    let files: Partial<Pick<KubeletListenOptions, 'cert' | 'key' | 'clientCA'>> = options;
    const context = (): SecureContextOptions => ({
      ...options.tls,
      ...(files.cert === undefined ? {} : { cert: files.cert, key: files.key }),
      ...(files.clientCA === undefined ? {} : { ca: files.clientCA }),
    });
    const server = createSecureServer({
      ...context(),
      maxHeaderSize,
      requestCert: true,
      // A caller without a certificate may still show a token.
      rejectUnauthorized: false,
    });
    const end = options.follow?.((newer) => {
      files = { cert: files.cert, key: files.key, clientCA: files.clientCA, ...newer } as typeof files;
      server.setSecureContext(context());
    });
    if (end !== undefined) server.once('close', end);
    this.#attach(server, options.auth);
    // Also one whose handshake has not ended would hold up the end.
    server.on('connection', (socket) => this.#track(socket));
    server.on('secureConnection', (socket: TLSSocket) => this.#track(socket));
    server.on('tlsClientError', (error) => this.#o.logger.debug('TLS handshake failed', { error }));
    return this.#open(server, options);
  }

  listenReadOnly(options: Place): Promise<Place> {
    const server = createServer({ maxHeaderSize });
    this.#attach(server, undefined, true);
    server.on('connection', (socket) => this.#track(socket));
    return this.#open(server, options);
  }

  async #open(server: Server, { address, port }: Place): Promise<Place> {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(port, everyFamily(address), () => {
        server.off('error', reject);
        resolve();
      });
    });
    server.on('error', (error) => this.#o.logger.error('kubelet endpoint failed', { error }));
    if (this.#closed) {
      await new Promise<void>((resolve) => server.close(() => resolve()));
      throw new Error('the kubelet has stopped');
    }
    this.#listening.push(server);
    const bound = server.address();
    return { address, port: typeof bound === 'object' && bound !== null ? bound.port : port };
  }

  async close(): Promise<void> {
    this.#closed = true;
    const ended = this.#listening.map((s) => new Promise<void>((resolve) => s.close(() => resolve())));
    for (const c of this.#connections) c.destroy();
    await Promise.all(ended);
  }

  #track(stream: Duplex): void {
    this.#connections.add(stream);
    stream.once('close', () => this.#connections.delete(stream));
    stream.on('error', (error) => this.#o.logger.debug('connection to the kubelet broke', { error }));
  }

  #attach(server: Server, auth: KubeletAuth | undefined, readOnly = this.#o.debugging === false): void {
    server.keepAliveTimeout = 90_000;
    // A log may be followed for days.
    server.requestTimeout = 0;
    server.on('request', (request: IncomingMessage, response: ServerResponse) => {
      void this.#request(request, response, auth, readOnly);
    });
    server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
      const started = ioNow();
      const done = this.#metrics.begin(request.method ?? 'GET', request.url ?? '/');
      socket.once('close', () => done((ioNow() - started) / 1000));
      socket.on('error', () => socket.destroy());
      void serveUpgrade(this.#o, request, socket, head, async () => {
        if (readOnly) throw disabled();
        await refusalOf(auth, this.#o.nodeName, request);
      });
    });
  }

  async #request(
    request: IncomingMessage,
    response: ServerResponse,
    auth: KubeletAuth | undefined,
    readOnly: boolean,
  ): Promise<void> {
    const started = ioNow();
    const url = new URL(request.url ?? '/', 'http://kubelet');
    const done = this.#metrics.begin(request.method ?? 'GET', url.pathname);
    response.once('close', () => done((ioNow() - started) / 1000));
    try {
      await refusalOf(auth, this.#o.nodeName, request);
      await this.#route(url, request, response, readOnly);
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

  async #route(url: URL, request: IncomingMessage, response: ServerResponse, readOnly: boolean): Promise<void> {
    const segments = url.pathname.split('/').slice(1).map(decodeURIComponent);
    const method = request.method ?? 'GET';
    const get = method === 'GET' || method === 'HEAD';
    const o = this.#o;
    if (readOnly && debugPaths.has(segments[0]!)) throw disabled();
    switch (segments[0]) {
      case 'containerLogs':
        if (segments.length !== 4) break;
        if (!get) throw notAllowed();
        return serveContainerLogs(
          o,
          { namespace: segments[1]!, name: segments[2]!, container: segments[3]! },
          url.searchParams,
          request,
          response,
        );
      case 'run':
        if (method !== 'POST') throw notAllowed();
        return this.#run(pathTarget(segments), url.searchParams, response);
      case 'exec':
      case 'attach':
      case 'portForward':
        throw new HttpError(400, 'Upgrade request required');
      case 'pods':
        if (!get) throw notAllowed();
        return sendJson(response, podList(o.pods.list()));
      case 'runningpods':
        if (!get) throw notAllowed();
        return sendJson(response, podList(await this.#runningPods()));
      case 'healthz':
        return this.#healthz(segments[1] ?? '', url.searchParams.has('verbose'), response);
      case 'stats':
        if (!get) throw notAllowed();
        if (segments[1] !== 'summary' && (segments[1] ?? '') !== '') break;
        return sendJson(response, await summary(o, url.searchParams.get('only_cpu_and_memory') === 'true'));
      case 'metrics':
        return this.#metricsPage(segments[1] ?? '', response);
      case 'configz':
        if (o.configuration === undefined) break;
        return sendJson(response, { kubeletconfig: o.configuration() });
      case 'logs':
        if (o.nodeLogs === false) throw new HttpError(405, 'logs endpoint is disabled.\n');
        if (!get) throw notAllowed();
        return serveNodeLogs(o.host, ['', ...segments.slice(1)].join('/'), response);
      case 'debug':
        throw disabled();
      default:
        break;
    }
    throw notFound();
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
    if (check !== '' && !checks.includes(check)) throw notFound();
    if (check !== '') {
      if (fault !== undefined && check === 'syncloop') throw new HttpError(500, `internal server error: ${fault}\n`);
      sendText(response, 200, 'ok');
      return;
    }
    const lines = checks.map((c) =>
      c === 'syncloop' && fault !== undefined ? '[-]syncloop failed: reason withheld\n' : `[+]${c} ok\n`,
    );
    if (fault !== undefined) throw new HttpError(500, `${lines.join('')}healthz check failed\n`);
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
      case 'cadvisor':
        text = await cadvisorMetrics(o);
        break;
      case 'probes':
        text = (await o.probeMetrics?.()) ?? '';
        break;
      default:
        throw notFound();
    }
    response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' });
    response.end(text);
  }
}

const debugPaths: ReadonlySet<string> = new Set([
  'run',
  'exec',
  'attach',
  'portForward',
  'containerLogs',
  'runningpods',
  'configz',
  'logs',
]);
const disabled = (): HttpError => new HttpError(405, 'Debug endpoints are disabled.\n');
const notFound = (): HttpError => new HttpError(404, '404 page not found\n');
const notAllowed = (): HttpError => new HttpError(405, '405: Method Not Allowed');

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

/** The HTTP API of one kubelet. Costs nothing until somebody connects. */
export function createKubeletServer(options: KubeletServerOptions): KubeletServer {
  return new HttpApi(options);
}
