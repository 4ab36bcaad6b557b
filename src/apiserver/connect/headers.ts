/** Which headers of a client go on to a backend: none that carry credentials, and none that are about this hop only. */
import type { IncomingRequest } from '../request.ts';

const credentials = /^(authorization|impersonate-.*|x-remote-(user|uid|group|extra-.*))$/;

const hopByHop = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/** CORS is between a browser and this server; what a backend says about it is dropped. */
const cors = /^access-control-allow-(credentials|headers|methods|origin)$/;

function withForwardedFor(request: IncomingRequest): string {
  const before = request.headers['x-forwarded-for'];
  return before === undefined || before === '' ? request.remoteAddress : `${before}, ${request.remoteAddress}`;
}

/** Headers for the backend, names and values alternating. `upgrade` keeps the ones that ask for it. */
export function forwardedHeaders(request: IncomingRequest, upgrade: boolean): string[] {
  const out: string[] = [];
  const raw = request.rawHeaders ?? Object.entries(request.headers).flat();
  let host = request.headers['host'] ?? request.headers[':authority'];
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = raw[i]!.toLowerCase();
    if (name.startsWith(':') || name === 'x-forwarded-for' || name === 'host' || credentials.test(name)) continue;
    if (hopByHop.has(name) && !(upgrade && (name === 'connection' || name === 'upgrade'))) continue;
    out.push(raw[i]!, raw[i + 1]!);
  }
  host ??= 'localhost';
  out.unshift('Host', host);
  if (request.remoteAddress !== '') out.push('X-Forwarded-For', withForwardedFor(request));
  return out;
}

/** Headers of a backend's answer that go back to the client, lower-case. */
export function returnedHeaders(
  headers: Readonly<Record<string, string | string[] | undefined>>,
): Record<string, string> {
  const out: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) {
    if (value === undefined || hopByHop.has(name) || cors.test(name)) continue;
    out[name] = Array.isArray(value) ? value.join(', ') : value;
  }
  return out;
}
