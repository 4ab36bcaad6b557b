/** Probes by grpc.health.v1.Health/Check over HTTP/2 without TLS, with upstream's texts for what goes wrong. */
import { joinHostPort } from '../../base/host-port.ts';
import type { Duplex } from 'node:stream';
import { ioNow, ioTimer } from '../../base/io-time.ts';
import { formatDuration } from '../../api/time.ts';
import type { KubeletContext } from '../context.ts';
import { grpcCodes } from '../grpc-codes.ts';
import type { ProbeResult } from './probe-support.ts';
import { Late, userAgent, within } from './probe-support.ts';

const statuses = ['UNKNOWN', 'SERVING', 'NOT_SERVING', 'SERVICE_UNKNOWN'];
/** A server that does not answer is dialled again until the time is up, as gRPC's clients do. */
const redialMs = 1000;

interface Answer {
  /** gRPC's code by number. */
  readonly code: number;
  readonly message: string;
  readonly status: number;
}

export async function grpcProbe(
  ctx: KubeletContext,
  host: string,
  port: number,
  service: string,
  timeoutMs: number,
): Promise<ProbeResult> {
  const address = joinHostPort(host, port);
  const took = formatDuration(timeoutMs);
  let connected = false;
  const failure = (output: string): ProbeResult => ({ result: 'failure', output });
  try {
    const answer = await within(
      timeoutMs,
      (signal) => ask(ctx, host, port, service, signal, () => (connected = true)),
      () => new Late(),
    );
    if (answer.code === 12)
      return failure(
        `error: this server does not implement the grpc health protocol (grpc.health.v1.Health): ${answer.message}`,
      );
    if (answer.code === 4) return failure(`timeout: health rpc did not complete within ${took}`);
    if (answer.code !== 0)
      return failure(
        `error: health rpc probe failed: rpc error: code = ${grpcCodes[answer.code] ?? 'Unknown'} desc = ${answer.message}`,
      );
    if (answer.status === 1) return { result: 'success', output: 'service healthy' };
    return failure(`service unhealthy (responded with "${statuses[answer.status] ?? answer.status}")`);
  } catch (error) {
    if (!(error instanceof Late)) throw error;
    return failure(
      connected
        ? `timeout: health rpc did not complete within ${took}`
        : `timeout: failed to connect service "${address}" within ${took}: context deadline exceeded`,
    );
  }
}

/** Asks until somebody answers. */
async function ask(
  ctx: KubeletContext,
  host: string,
  port: number,
  service: string,
  signal: AbortSignal,
  connected: () => void,
): Promise<Answer> {
  for (;;) {
    const began = ioNow();
    let stream: Duplex | undefined;
    const end = (): void => void stream?.destroy();
    signal.addEventListener('abort', end, { once: true });
    try {
      stream = await ctx.host.dialTcp(host, port, { signal });
      return await check(stream, joinHostPort(host, port), service, connected);
    } catch (error) {
      if (signal.aborted) throw error;
      // In a simulated network nothing changes while real time passes.
      if (ctx.host.lazy !== undefined) throw new Late();
      await pause(redialMs - (ioNow() - began), signal);
    } finally {
      signal.removeEventListener('abort', end);
      end();
    }
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const cancel = ioTimer(Math.max(ms, 0), () => {
      signal.removeEventListener('abort', stop);
      resolve();
    });
    const stop = (): void => {
      cancel();
      reject(new Late());
    };
    signal.addEventListener('abort', stop, { once: true });
  });
}

/** Rejects when there is no HTTP/2 server behind the stream. */
async function check(stream: Duplex, authority: string, service: string, connected: () => void): Promise<Answer> {
  const http2 = await import('node:http2');
  const session = http2.connect(`http://${authority}`, { createConnection: () => stream });
  try {
    return await new Promise((resolve, reject) => {
      session.on('error', reject);
      session.on('remoteSettings', connected);
      session.on('close', () => reject(new Error('the connection was closed')));
      stream.on('error', reject);
      const req = session.request({
        ':method': 'POST',
        ':path': '/grpc.health.v1.Health/Check',
        'content-type': 'application/grpc',
        te: 'trailers',
        'user-agent': userAgent,
      });
      const name = Buffer.from(service);
      const body = service === '' ? Buffer.alloc(0) : Buffer.concat([Buffer.from([10, name.length]), name]);
      const frame = Buffer.alloc(5);
      frame.writeUInt32BE(body.length, 1);
      const chunks: Buffer[] = [];
      let code: number | undefined;
      let message = '';
      const headers = (h: NodeJS.Dict<string | string[] | number>): void => {
        if (h['grpc-status'] !== undefined) code = Number(h['grpc-status']);
        if (h['grpc-message'] !== undefined) message = decodeURIComponent(String(h['grpc-message']));
        // What is no gRPC server does not know the service either.
        if (h[':status'] !== undefined && Number(h[':status']) !== 200) {
          code = 12;
          message = `unexpected HTTP status code received from server: ${String(h[':status'])}`;
        }
      };
      req.on('response', headers);
      req.on('trailers', headers);
      req.on('data', (c: Buffer) => chunks.push(c));
      req.on('error', reject);
      req.on('end', () => {
        const all = Buffer.concat(chunks);
        resolve({ code: code ?? 2, message, status: all.length >= 7 && all[5] === 8 ? all[6]! : 0 });
      });
      req.end(Buffer.concat([frame, body]));
    });
  } finally {
    session.destroy();
  }
}
