/** Requests to a cluster's HTTPS port as an administrator: status, parsed body, warnings and headers as they came. */
import * as https from 'node:https';
import type { IncomingHttpHeaders } from 'node:http';
import type { Cluster } from '../../src/index.ts';

// Bodies are looked at as they are.
// eslint-disable-next-line @typescript-eslint/no-explicit-any
export type Json = any;

export interface Answer {
  readonly status: number;
  readonly body: Json;
  readonly text: string;
  readonly bytes: Buffer;
  /** Texts of the `Warning` headers. */
  readonly warnings: readonly string[];
  readonly headers: IncomingHttpHeaders;
}

export interface Api {
  request(method: string, path: string, body?: unknown, headers?: Readonly<Record<string, string>>): Promise<Answer>;
  get(path: string): Promise<Answer>;
  create(path: string, body: unknown): Promise<Answer>;
  /** A merge patch. */
  merge(path: string, body: unknown): Promise<Answer>;
  apply(path: string, body: unknown): Promise<Answer>;
  delete(path: string): Promise<Answer>;
  close(): void;
}

/** Who asks, instead of the administrator: by a token, by a certificate, by nothing (`{}`). */
export interface Caller {
  readonly token?: string;
  /** PEM. */
  readonly certificate?: string;
  readonly key?: string;
  /** Whatever certificate the server has. */
  readonly insecure?: boolean;
}

export function connectApi(cluster: Pick<Cluster, 'adminCredentials'>, caller?: Caller): Api {
  const credentials = cluster.adminCredentials!;
  const url = new URL(credentials.server);
  const agent = new https.Agent({
    ...(caller?.insecure === true ? {} : { ca: credentials.certificateAuthority }),
    ...(caller === undefined
      ? { cert: credentials.clientCertificate, key: credentials.clientKey }
      : caller.certificate === undefined
        ? {}
        : { cert: caller.certificate, key: caller.key }),
    keepAlive: true,
    ...(caller?.insecure === true ? { rejectUnauthorized: false } : {}),
  });
  const own = caller?.token === undefined ? {} : { authorization: `Bearer ${caller.token}` };
  const request: Api['request'] = (method, path, body, headers = {}) =>
    new Promise((resolve, reject) => {
      const payload =
        body === undefined || typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body);
      const outgoing = https.request(
        {
          agent,
          host: url.hostname,
          port: url.port,
          method,
          path,
          headers: {
            ...own,
            // Node sends bodies of DELETE without a length unless it is told.
            ...(payload === undefined
              ? {}
              : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(payload) }),
            ...headers,
          },
        },
        (response) => {
          const chunks: Buffer[] = [];
          response.on('data', (c: Buffer) => chunks.push(c));
          response.on('error', reject);
          response.on('end', () => {
            const bytes = Buffer.concat(chunks);
            const text = bytes.toString('utf8');
            let parsed: unknown;
            try {
              parsed = JSON.parse(text);
            } catch {
              parsed = undefined;
            }
            const warnings = (response.headersDistinct['warning'] ?? [])
              .flatMap((w) => [...w.matchAll(/299 - "((?:[^"\\]|\\.)*)"/g)].map((m) => m[1]!))
              .map((w) => Buffer.from(w.replace(/\\(.)/g, '$1'), 'latin1').toString('utf8'));
            resolve({ status: response.statusCode!, body: parsed, text, bytes, warnings, headers: response.headers });
          });
        },
      );
      outgoing.on('error', reject);
      outgoing.end(payload);
    });
  return {
    request,
    get: (path) => request('GET', path),
    create: (path, body) => request('POST', path, body),
    merge: (path, body) => request('PATCH', path, body, { 'content-type': 'application/merge-patch+json' }),
    apply: (path, body) =>
      request('PATCH', `${path}${path.includes('?') ? '&' : '?'}fieldManager=test`, body, {
        'content-type': 'application/apply-patch+yaml',
      }),
    delete: (path) => request('DELETE', path),
    close: () => agent.destroy(),
  };
}
