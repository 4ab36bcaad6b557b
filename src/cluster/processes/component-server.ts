/**
 * The port of a component for health and metrics (`/healthz`, `/livez`, `/readyz`, `/metrics`, `/version`), over TLS with
 * delegated authentication and authorization as upstream's secure ports, or in plain as kube-proxy's and the kubelet's health ports.
 */
import { joinHostPort } from '../../base/host-port.ts';
import type { IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { StatusError } from '../../api/status.ts';
import type { Family } from '../../apiserver/metrics/exposition.ts';
import { expose } from '../../apiserver/metrics/exposition.ts';
import { buildInfo, processFamilies } from '../../apiserver/metrics/process-metrics.ts';
import { helpOf } from '../../apiserver/metrics/stability.ts';
import { NamedContexts, type NamedCertificate, type TlsSettings } from '../../apiserver/http/tls-settings.ts';
import type { Clock } from '../../base/clock.ts';
import { everyFamily } from '../../base/listen-address.ts';
import type { Logger } from '../../base/logger.ts';
import { chosenMetrics, type MetricChoice } from '../../base/metric-choice.ts';
import { gitVersion, kubernetesVersion } from '../version.ts';
import type { DelegatedAuth } from './delegated-auth.ts';
import { pathAttributes } from './delegated-auth.ts';
import type { KeyPair } from './environment.ts';
import { isWildcard, listenError } from './environment.ts';

/** Throws (or rejects) with the reason when unhealthy. */
export type ComponentCheck = () => void | Promise<void>;

export interface ComponentServerOptions {
  readonly component: string;
  readonly host: string;
  /** 0 picks a free one. */
  readonly port: number;
  /** The flag to change when the address cannot be had. */
  readonly flag: string;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Others may listen on the same port (SO_REUSEPORT). */
  readonly shared?: boolean;
  /** What is told as the version; undefined: what it is. */
  readonly version?: string | undefined;
  readonly metricChoice?: MetricChoice | undefined;
  /** Undefined: plain HTTP. */
  readonly tls:
    | (KeyPair & {
        readonly clientCA: string | undefined;
        /** Signs the certificates of authenticating proxies. */
        readonly proxyCA?: string | undefined;
        readonly named?: readonly NamedCertificate[];
        readonly settings?: TlsSettings;
      })
    | undefined;
  /** Undefined: everybody may see everything. */
  readonly auth: DelegatedAuth | undefined;
  /** Paths that need neither; default the health paths. A trailing `*` matches the rest. */
  readonly alwaysAllow?: readonly string[];
  readonly checks: ReadonlyMap<string, ComponentCheck>;
  /** Those of `/readyz` alone. */
  readonly readyChecks?: ReadonlyMap<string, ComponentCheck>;
  readonly metrics?: readonly Family[];
  /** Further paths: a text as it is, anything else in JSON. */
  readonly routes?: ReadonlyMap<string, () => Promise<{ readonly status: number; readonly body: unknown }>>;
  /** No `/metrics` and `/version`: a health port alone. */
  readonly healthOnly?: boolean;
}

export interface ComponentServer {
  readonly url: string;
  readonly port: number;
  close(): Promise<void>;
}

const healthPaths = ['/healthz', '/livez', '/readyz'];

/** What every process tells of itself. */
export function processMetrics(clock: Clock, version = gitVersion): Family[] {
  return [buildInfo(version), ...processFamilies(clock)];
}

function answer(response: ServerResponse, status: number, type: string, text: string): void {
  response.writeHead(status, {
    'content-type': type,
    'x-content-type-options': 'nosniff',
    'content-length': Buffer.byteLength(text),
  });
  response.end(text);
}

function refuse(response: ServerResponse, error: StatusError): void {
  answer(response, error.code, 'application/json', JSON.stringify(error.toStatus()));
}

const plain = 'text/plain; charset=utf-8';

class Handler {
  readonly #o: ComponentServerOptions;
  readonly #families: readonly Family[];

  constructor(options: ComponentServerOptions) {
    this.#o = options;
    this.#families = [...processMetrics(options.clock, options.version), ...(options.metrics ?? [])];
  }

  async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = (request.url ?? '/').split('?')[0]!;
    if (!(await this.#allowed(request, response, path))) return;
    if (request.method !== 'GET' && request.method !== 'HEAD')
      return answer(response, 405, plain, 'Method Not Allowed\n');
    const route = this.#o.routes?.get(path);
    if (route !== undefined) {
      const { status, body } = await route();
      if (typeof body === 'string') return answer(response, status, plain, body);
      return answer(response, status, 'application/json', JSON.stringify(body));
    }
    const root = healthPaths.find((p) => path === p || path.startsWith(`${p}/`));
    if (root !== undefined) return this.#health(request, response, root, path.slice(root.length + 1));
    if (this.#o.healthOnly !== true) {
      if (path === '/metrics')
        return answer(
          response,
          200,
          'text/plain; version=0.0.4; charset=utf-8',
          expose(chosenMetrics(this.#families, this.#o.metricChoice), helpOf),
        );
      if (path === '/version') {
        const [, major, minor] = /^v(\d+)\.(\d+)/.exec(kubernetesVersion)!;
        return answer(
          response,
          200,
          'application/json',
          JSON.stringify({ major, minor, gitVersion: this.#o.version ?? gitVersion }),
        );
      }
    }
    answer(response, 404, plain, '404 page not found\n');
  }

  async #allowed(request: IncomingMessage, response: ServerResponse, path: string): Promise<boolean> {
    const { auth } = this.#o;
    if (auth === undefined) return true;
    const always = this.#o.alwaysAllow ?? healthPaths;
    if (always.some((a) => (a.endsWith('*') ? path.startsWith(a.slice(0, -1)) : path === a))) return true;
    const user = await auth.authenticate(request);
    if (user === undefined) {
      refuse(response, new StatusError(401, 'Unauthorized', 'Unauthorized'));
      return false;
    }
    const wants = pathAttributes(request);
    const decision = await auth.authorize(user, wants);
    if (decision.allowed) return true;
    const why = decision.reason === '' ? '' : `: ${decision.reason}`;
    const text = `forbidden: User ${JSON.stringify(user.name)} cannot ${wants.verb} path ${JSON.stringify(path)}${why}`;
    refuse(response, new StatusError(403, 'Forbidden', text));
    return false;
  }

  async #health(request: IncomingMessage, response: ServerResponse, root: string, one: string): Promise<void> {
    const query = new URLSearchParams((request.url ?? '').split('?')[1] ?? '');
    const excluded = new Set(query.getAll('exclude'));
    const checks = new Map<string, ComponentCheck>([['ping', () => {}], ...this.#o.checks]);
    if (root === '/readyz') for (const [name, check] of this.#o.readyChecks ?? []) checks.set(name, check);
    if (one !== '') {
      const check = checks.get(one);
      if (check === undefined) return answer(response, 404, plain, '404 page not found\n');
      try {
        await check();
        return answer(response, 200, plain, 'ok');
      } catch (error) {
        const why = error instanceof Error ? error.message : String(error);
        return answer(response, 500, plain, `internal server error: ${why}\n`);
      }
    }
    let output = '';
    let failed = false;
    for (const [name, check] of checks) {
      if (excluded.has(name)) {
        output += `[+]${name} excluded: ok\n`;
        continue;
      }
      try {
        await check();
        output += `[+]${name} ok\n`;
      } catch (error) {
        failed = true;
        output += `[-]${name} failed: reason withheld\n`;
        this.#o.logger.info('health check failed', { check: name, path: root, error });
      }
    }
    const name = root.slice(1);
    if (failed) answer(response, 500, plain, `${output}${name} check failed\n`);
    else answer(response, 200, plain, query.has('verbose') ? `${output}${name} check passed\n` : 'ok');
  }
}

/** Starts serving. Rejects with one line when the address cannot be had. */
export async function serveComponent(options: ComponentServerOptions): Promise<ComponentServer> {
  const { host, port, logger, tls } = options;
  const handler = new Handler(options);
  const listener: RequestListener = (request, response) => {
    request.resume();
    handler.handle(request, response).catch((error: unknown) => {
      logger.warn('request failed', { path: request.url?.split('?')[0], error });
      if (!response.headersSent) answer(response, 500, plain, 'internal server error\n');
      else response.destroy();
    });
  };
  let server: Server;
  if (tls === undefined) server = (await import('node:http')).createServer(listener);
  else {
    const authorities = [tls.clientCA, tls.proxyCA].filter((ca) => ca !== undefined);
    const { minVersion = 'TLSv1.2', ciphers, curves } = tls.settings ?? {};
    const common = {
      minVersion,
      ...(authorities.length === 0 ? {} : { ca: authorities }),
      ...(ciphers === undefined ? {} : { ciphers }),
      ...(curves === undefined ? {} : { ecdhCurve: curves }),
    } as const;
    const named = (tls.named ?? []).length === 0 ? undefined : new NamedContexts(tls.named!, common);
    server = (await import('node:https')).createServer(
      {
        cert: tls.certificate,
        key: tls.key,
        ...common,
        ...(authorities.length === 0 ? {} : { requestCert: true, rejectUnauthorized: false }),
        ...(named === undefined ? {} : { SNICallback: (name, done) => done(null, named.find(name)) }),
      },
      listener,
    );
  }
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  });
  server.on('tlsClientError', (error) => logger.debug('TLS handshake failed', { error }));
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => reject(listenError(error, host, port, options.flag)));
    server.listen({ host: everyFamily(host), port, reusePort: options.shared === true }, () => {
      server.removeAllListeners('error');
      server.on('error', (error) => logger.error('listener failed', { error }));
      resolve();
    });
  });
  const address = server.address() as AddressInfo;
  return {
    port: address.port,
    url: `${tls === undefined ? 'http' : 'https'}://${joinHostPort(isWildcard(host) ? host : address.address, address.port)}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}
