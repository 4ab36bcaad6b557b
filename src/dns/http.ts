/** `/health`, `/ready` and `/metrics` where the Corefile wants them, one listener an address. */
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { Logger } from '../base/logger.ts';
import type { MetricFamily } from './metrics.ts';
import { exposition } from './metrics.ts';
import type { HttpWish } from './plugin.ts';

const requestTimeoutMs = 5000;

export interface HttpOptions {
  readonly logger: Logger;
  /** Where a Corefile names no host. */
  readonly host: string;
  /** Names of what cannot answer yet. */
  readonly notReady: () => readonly string[];
  readonly families: () => readonly MetricFamily[];
}

type Role = HttpWish['role'];

interface Listener {
  roles: Set<Role>;
  readonly server: Server;
  readonly sockets: Set<Socket>;
}

export class HttpListeners {
  readonly #o: HttpOptions;
  readonly #listeners = new Map<string, Listener>();
  #closing = false;

  constructor(options: HttpOptions) {
    this.#o = options;
  }

  /** Where a role is served; undefined: nowhere. */
  address(role: Role): { readonly address: string; readonly port: number } | undefined {
    for (const l of this.#listeners.values()) {
      const at = l.roles.has(role) ? (l.server.address() as AddressInfo | null) : null;
      if (at !== null) return { address: at.address, port: at.port };
    }
    return undefined;
  }

  /** Opens what is wanted and closes what is not any more. An address that cannot be had is told and left out. */
  async serve(wishes: readonly HttpWish[]): Promise<void> {
    const wanted = new Map<string, { host: string; port: number; roles: Set<Role> }>();
    for (const { role, host, port } of wishes) {
      const at = host === '' ? this.#o.host : host;
      const key = `${at} ${port}`;
      const known = wanted.get(key);
      if (known === undefined) wanted.set(key, { host: at, port, roles: new Set([role]) });
      else known.roles.add(role);
    }
    for (const [key, listener] of this.#listeners)
      if (!wanted.has(key)) {
        this.#listeners.delete(key);
        await close(listener);
      }
    for (const [key, { host, port, roles }] of wanted) {
      const open = this.#listeners.get(key);
      if (open !== undefined) {
        open.roles = roles;
        continue;
      }
      try {
        const listener = await this.#open(host, port, roles);
        if (this.#closing) await close(listener);
        else this.#listeners.set(key, listener);
      } catch (error) {
        this.#o.logger.warn(`DNS serves no ${[...roles].join(', ')}: ${host}:${port} cannot be had`, { error });
      }
    }
  }

  async #open(host: string, port: number, roles: Set<Role>): Promise<Listener> {
    const { createServer } = await import('node:http');
    const listener: Listener = {
      roles,
      sockets: new Set(),
      server: createServer(
        { requestTimeout: requestTimeoutMs, headersTimeout: requestTimeoutMs, keepAliveTimeout: requestTimeoutMs },
        (request, response) => {
          request.resume();
          this.#answer(listener, request, response);
        },
      ),
    };
    const { server, sockets } = listener;
    server.on('connection', (socket: Socket) => {
      sockets.add(socket);
      socket.on('close', () => sockets.delete(socket));
    });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen({ host, port }, () => {
        server.removeListener('error', reject);
        server.on('error', (error) => this.#o.logger.warn('DNS listener failed', { error }));
        resolve();
      });
    });
    return listener;
  }

  #answer({ roles }: Listener, request: IncomingMessage, response: ServerResponse): void {
    const end = (status: number, text: string, type = 'text/plain; charset=utf-8'): void => {
      response.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(text) });
      response.end(request.method === 'HEAD' ? undefined : text);
    };
    const path = (request.url ?? '/').split('?')[0]!;
    const readiness = (ok: string): void => {
      const waiting = this.#o.notReady();
      if (waiting.length === 0) end(200, ok);
      else end(503, waiting.join(','));
    };
    if (roles.has('health') && path === '/health') return end(200, 'OK');
    if (roles.has('ready') && path === '/ready') return readiness('OK');
    if (roles.has('metrics')) {
      if (path === '/metrics')
        return end(200, exposition(this.#o.families()), 'text/plain; version=0.0.4; charset=utf-8');
      // As the other components have them.
      if (path === '/healthz' || path === '/livez') return end(200, 'ok');
      if (path === '/readyz') return readiness('ok');
    }
    end(404, '404 page not found\n');
  }

  async close(): Promise<void> {
    this.#closing = true;
    const all = [...this.#listeners.values()];
    this.#listeners.clear();
    await Promise.all(all.map(close));
  }
}

function close({ server, sockets }: Listener): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    for (const socket of sockets) socket.destroy();
  });
}
