/** Runs one probe or hook action against a container: HTTP, TCP, gRPC, exec. Failures are results with upstream's texts. */
import { joinHostPort } from '../../base/host-port.ts';
import { request as httpRequest } from 'node:http';
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { connect as tlsConnect } from 'node:tls';
import type { Container, HTTPGetAction, Probe } from '../../api/types/index.gen.ts';
import type { KubeletContext } from '../context.ts';
import { expand } from '../downward.ts';
import { grpcProbe } from './probe-grpc.ts';
import { errorText } from '../object-cache.ts';
import { resolvePort } from '../pod-util.ts';
import type { ProbeResult } from './probe-support.ts';
import { Late, userAgent, within } from './probe-support.ts';
import { RuntimeError } from '../runtime/container-runtime.ts';

const maxBody = 10 * 1024;
/** A dial error as Go prints it. */
function dialText(error: unknown, host: string, port: number): string {
  const code = (error as { code?: string }).code;
  const why: Record<string, string> = {
    ECONNREFUSED: 'connect: connection refused',
    EHOSTUNREACH: 'connect: no route to host',
    ENETUNREACH: 'connect: network is unreachable',
    ETIMEDOUT: 'i/o timeout',
  };
  return `dial tcp ${joinHostPort(host, port)}: ${why[code ?? ''] ?? errorText(error)}`;
}

/** A server that was to speak TLS has answered in the clear. */
export class PlainAnswer extends Error {}

/** How OpenSSL takes an answer in the clear; the code beside it depends on when it comes. */
const notTls = /SSL routines.*(wrong version number|packet length too long)/;

export interface HttpTarget {
  readonly url: string;
  readonly host: string;
  readonly port: number;
  readonly path: string;
  readonly scheme: string;
  readonly headers: Record<string, string | string[]>;
}

/** The request that an httpGet action describes. Throws when its port has no number. */
export function httpTarget(action: HTTPGetAction, container: Container, podIp: string, agent = userAgent): HttpTarget {
  const port = resolvePort(action.port as number | string, container);
  if (port === undefined || port <= 0 || port > 65535) throw new Error(`invalid port number: ${String(action.port)}`);
  const host = action.host !== undefined && action.host !== '' ? action.host : podIp;
  const scheme = (action.scheme ?? 'HTTP').toLowerCase();
  const path =
    action.path === undefined || action.path === ''
      ? '/'
      : action.path.startsWith('/')
        ? action.path
        : `/${action.path}`;
  const headers: Record<string, string | string[]> = {};
  for (const h of action.httpHeaders ?? []) {
    const key = h.name.toLowerCase();
    const had = headers[key];
    headers[key] = had === undefined ? (h.value ?? '') : [...(Array.isArray(had) ? had : [had]), h.value ?? ''];
  }
  headers['user-agent'] ??= agent;
  headers['accept'] ??= '*/*';
  if (headers['accept'] === '') delete headers['accept'];
  headers['host'] ??= joinHostPort(host, port);
  headers['connection'] = 'close';
  return { url: `${scheme}://${joinHostPort(host, port)}${path}`, host, port, path, scheme, headers };
}

/** Sends the request; the answer's head and at most 10 KiB of its body. Redirects to the same host are followed. */
export async function httpExchange(
  ctx: KubeletContext,
  target: HttpTarget,
  timeoutMs: number,
): Promise<{ status: number; body: string; redirected: boolean }> {
  return within(
    timeoutMs,
    async (signal) => {
      let path = target.path;
      for (let hop = 0; hop < 10; hop++) {
        const answer = await once(ctx, target, path, signal);
        const location = answer.status >= 300 && answer.status < 400 ? answer.location : undefined;
        if (location === undefined) return { status: answer.status, body: answer.body, redirected: false };
        const to = new URL(location, target.url);
        if (to.hostname !== new URL(target.url).hostname)
          return { status: answer.status, body: answer.body, redirected: true };
        path = to.pathname + to.search;
      }
      throw new Error('stopped after 10 redirects');
    },
    () => new Late('context deadline exceeded (Client.Timeout exceeded while awaiting headers)'),
  );
}

async function once(
  ctx: KubeletContext,
  target: HttpTarget,
  path: string,
  signal: AbortSignal,
): Promise<{ status: number; body: string; location: string | undefined }> {
  let stream: Duplex;
  try {
    stream = await ctx.host.dialTcp(target.host, target.port, { signal });
  } catch (error) {
    throw new Error(dialText(error, target.host, target.port), { cause: error });
  }
  // Probes do not verify certificates, as upstream's do not.
  const socket = target.scheme === 'https' ? tlsConnect({ socket: stream, rejectUnauthorized: false }) : stream;
  const abort = () => stream.destroy();
  signal.addEventListener('abort', abort, { once: true });
  try {
    return await new Promise((resolve, reject) => {
      const fail = (error: Error & { code?: string }): void => {
        if (error.code === 'ECONNRESET') reject(new Error('EOF', { cause: error }));
        else if (notTls.test(error.message))
          reject(new PlainAnswer('http: server gave HTTP response to HTTPS client', { cause: error }));
        else reject(error);
      };
      socket.once('error', fail);
      const req = httpRequest(
        { createConnection: () => socket, method: 'GET', path, headers: target.headers },
        (res: IncomingMessage) => {
          const chunks: Buffer[] = [];
          let size = 0;
          const finish = () =>
            resolve({
              status: res.statusCode ?? 0,
              body: Buffer.concat(chunks).toString().slice(0, maxBody),
              location: res.headers.location,
            });
          res.on('data', (c: Buffer) => {
            size += c.length;
            chunks.push(c);
            if (size >= maxBody) finish();
          });
          res.on('end', finish);
          res.on('error', reject);
        },
      );
      req.on('error', fail);
      req.end();
    });
  } finally {
    signal.removeEventListener('abort', abort);
    stream.destroy();
  }
}

async function http(
  ctx: KubeletContext,
  action: HTTPGetAction,
  container: Container,
  podIp: string,
  timeoutMs: number,
): Promise<ProbeResult> {
  const target = httpTarget(action, container, podIp);
  try {
    const answer = await httpExchange(ctx, target, timeoutMs);
    if (answer.status >= 200 && answer.status < 400)
      return answer.redirected
        ? { result: 'warning', output: `Probe terminated redirects, Response body: ${answer.body}` }
        : { result: 'success', output: answer.body };
    return { result: 'failure', output: `HTTP probe failed with statuscode: ${answer.status}` };
  } catch (error) {
    return { result: 'failure', output: `Get "${target.url}": ${errorText(error)}` };
  }
}

async function tcp(ctx: KubeletContext, host: string, port: number, timeoutMs: number): Promise<ProbeResult> {
  try {
    const stream = await within(
      timeoutMs,
      (signal) => ctx.host.dialTcp(host, port, { signal }),
      () => Object.assign(new Late('i/o timeout'), { code: 'ETIMEDOUT' }),
    );
    stream.on('error', () => {});
    stream.destroy();
    return { result: 'success', output: '' };
  } catch (error) {
    return { result: 'failure', output: dialText(error, host, port) };
  }
}

async function exec(
  ctx: KubeletContext,
  containerId: string,
  command: readonly string[],
  timeoutSeconds: number,
): Promise<ProbeResult> {
  try {
    const r = await ctx.runtime.execSync(containerId, command, timeoutSeconds);
    const output = Buffer.concat([r.stdout, r.stderr]).toString().slice(0, maxBody);
    return { result: r.exitCode === 0 ? 'success' : 'failure', output };
  } catch (error) {
    if (error instanceof RuntimeError && error.code === 'DeadlineExceeded')
      return {
        result: 'failure',
        output: `command timed out: ${JSON.stringify(command.join(' '))} timed out after ${timeoutSeconds}s`,
      };
    throw error;
  }
}

/** Rejects when the probe itself cannot be run ("errored"). */
export async function runProbe(
  ctx: KubeletContext,
  probe: Probe,
  container: Container,
  containerId: string,
  podIp: string,
): Promise<ProbeResult> {
  const seconds = probe.timeoutSeconds ?? 1;
  const timeoutMs = seconds * 1000;
  if (probe.exec !== undefined) {
    const values = new Map((container.env ?? []).map((e) => [e.name, e.value ?? '']));
    // Its time is the cluster's: a virtual clock must be able to go on meanwhile.
    return exec(
      ctx,
      containerId,
      (probe.exec.command ?? []).map((c) => expand(c, (n) => values.get(n))),
      seconds,
    );
  }
  const { activity } = ctx.clock;
  if (probe.httpGet !== undefined) return activity.track(http(ctx, probe.httpGet, container, podIp, timeoutMs));
  if (probe.tcpSocket !== undefined) {
    const port = resolvePort(probe.tcpSocket.port as number | string, container);
    if (port === undefined || port <= 0 || port > 65535)
      throw new Error(`invalid port number: ${String(probe.tcpSocket.port)}`);
    return activity.track(tcp(ctx, probe.tcpSocket.host || podIp, port, timeoutMs));
  }
  if (probe.grpc !== undefined)
    return activity.track(grpcProbe(ctx, podIp, probe.grpc.port, probe.grpc.service ?? '', timeoutMs));
  throw new Error('missing probe handler');
}
