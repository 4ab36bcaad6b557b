/** What etcd's client port answers over HTTP/1.1: its health, its version and its metrics. */
import type { RequestListener, ServerResponse } from 'node:http';
import type { Mvcc } from './mvcc.ts';

export interface ClientHttpOptions {
  readonly mvcc: Mvcc;
  /** What `/version` says. */
  readonly version: string;
  /** Prometheus' text; without it `/metrics` is not there. */
  readonly metrics?: (() => string) | undefined;
}

const plain = 'text/plain; charset=utf-8';

function send(res: ServerResponse, status: number, type: string, body: string): void {
  res.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(body) });
  res.end(body);
}

/** The listener of requests; shapes and status codes are etcd's (server/etcdserver/api/etcdhttp). */
export function clientHttp({ mvcc, version, metrics }: ClientHttpOptions): RequestListener {
  const [major, minor] = version.split('.');
  const cluster = `${major}.${minor}.0`;
  const healthy = async (): Promise<string> => {
    try {
      // A read through everything, of a key that nobody has.
      await mvcc.range({ key: 'health' });
      return '';
    } catch (error) {
      return (error as Error).message;
    }
  };
  return (req, res) => {
    const path = new URL(req.url ?? '/', 'http://etcd').pathname;
    const known = path === '/metrics' ? metrics !== undefined : /^\/(health|livez|readyz|version)$/.test(path);
    if (!known) return send(res, 404, plain, '404 page not found\n');
    if (req.method !== 'GET' && req.method !== 'HEAD') {
      res.setHeader('allow', 'GET');
      return send(res, 405, plain, 'Method Not Allowed\n');
    }
    if (path === '/metrics') return send(res, 200, 'text/plain; version=0.0.4; charset=utf-8', metrics!());
    if (path === '/version')
      return send(
        res,
        200,
        'application/json',
        JSON.stringify({ etcdserver: version, etcdcluster: cluster, storage: cluster }),
      );
    void healthy().then((reason) => {
      if (path === '/health')
        send(res, reason === '' ? 200 : 503, plain, JSON.stringify({ health: String(reason === ''), reason }));
      else send(res, reason === '' ? 200 : 503, plain, reason === '' ? 'ok\n' : `${reason}\n`);
    });
  };
}
