/** Requests to an aggregated server: as whom they come (X-Remote-*), one at a time, with a deadline where they are our own. */
import type { IncomingMessage } from 'node:http';
import * as https from 'node:https';
import { pipeline } from 'node:stream';
import type { Readable } from 'node:stream';
import { ioTimer } from '../../base/io-time.ts';
import { joinHostPort } from '../../base/host-port.ts';
import { goNetworkError } from '../connect/go-errors.ts';
import type { UserInfo } from '../request.ts';
import type { RemoteService } from './api-services.ts';

const maxDocument = 64 * 1024 * 1024;

/** As whom the aggregator itself asks. */
export const aggregatorUser: UserInfo = Object.freeze({
  name: 'system:kube-aggregator',
  groups: Object.freeze(['system:masters']),
});

/** A key of an extra as a header's name may hold it: what may not stand there is percent-encoded. */
function escapeKey(key: string): string {
  return [...Buffer.from(key, 'utf8')]
    .map((byte) => {
      const ch = String.fromCharCode(byte);
      return /[!#$&'*+\-.^_`|~0-9A-Za-z]/.test(ch) ? ch : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
    })
    .join('');
}

/** Names and values alternating: who asks, as the front proxy tells it. */
export function identityHeaders(user: UserInfo): string[] {
  const headers = ['X-Remote-User', user.name];
  if (user.uid !== undefined && user.uid !== '') headers.push('X-Remote-Uid', user.uid);
  for (const group of user.groups) headers.push('X-Remote-Group', group);
  for (const [key, values] of Object.entries(user.extra ?? {}))
    for (const value of values) headers.push(`X-Remote-Extra-${escapeKey(key)}`, value);
  return headers;
}

export interface RemoteRequest {
  readonly method: string;
  /** Path with query. */
  readonly path: string;
  /** Names and values alternating. */
  readonly headers: readonly string[];
  readonly body?: Readable | Buffer | undefined;
  readonly signal?: AbortSignal;
}

/** A connection that could not be made or broke before the answer, in Go's words. */
export class RemoteError extends Error {
  constructor(message: string, cause: unknown) {
    super(message, { cause });
    this.name = 'RemoteError';
  }
}

/** Resolves with the head of the answer, whose body is still to be read. @throws {RemoteError} */
export function sendRemote(remote: RemoteService, request: RemoteRequest): Promise<IncomingMessage> {
  const { method, path, body, signal } = request;
  let host = joinHostPort(remote.serverName, remote.port);
  try {
    const to = remote.resolve();
    host = joinHostPort(to.host, to.port);
  } catch {
    // Dialling will say so.
  }
  return new Promise((resolve, reject) => {
    const outgoing = https.request({
      agent: remote.agent,
      method,
      host: remote.serverName,
      port: remote.port,
      path,
      headers: ['Host', host, ...request.headers],
      setHost: false,
      ...(signal === undefined ? {} : { signal }),
    });
    outgoing.on('response', resolve);
    outgoing.on('error', (error) => {
      const replayable = body === undefined || Buffer.isBuffer(body);
      const closed = outgoing.reusedSocket && (error as { code?: unknown }).code === 'ECONNRESET';
      if (replayable && closed && signal?.aborted !== true) sendRemote(remote, request).then(resolve, reject);
      else reject(new RemoteError(goNetworkError(error, remote.serverName, remote.port), error));
    });
    if (body === undefined || Buffer.isBuffer(body)) outgoing.end(body);
    else
      pipeline(body, outgoing, (error) => {
        if (error) outgoing.destroy(error);
      });
  });
}

export interface Document {
  readonly status: number;
  readonly contentType: string;
  readonly etag: string;
  readonly body: Buffer;
}

/** A document of the server, read whole within `timeoutMs`. Without `accept` the server is told nothing of what is taken. */
export async function fetchDocument(
  remote: RemoteService,
  path: string,
  options: { readonly accept?: string; readonly timeoutMs: number; readonly user?: UserInfo },
): Promise<Document> {
  const deadline = new AbortController();
  let late = false;
  const cancel = ioTimer(options.timeoutMs, () => {
    late = true;
    deadline.abort();
  });
  try {
    const response = await sendRemote(remote, {
      method: 'GET',
      path,
      headers: [
        ...(options.accept === undefined ? [] : ['Accept', options.accept]),
        ...identityHeaders(options.user ?? aggregatorUser),
      ],
      signal: deadline.signal,
    });
    const chunks: Buffer[] = [];
    let size = 0;
    for await (const chunk of response) {
      size += (chunk as Buffer).length;
      if (size > maxDocument) throw new RemoteError(`${path} is too large`, undefined);
      chunks.push(chunk as Buffer);
    }
    return {
      status: response.statusCode ?? 500,
      contentType: response.headers['content-type'] ?? '',
      etag: response.headers.etag ?? '',
      body: Buffer.concat(chunks, size),
    };
  } catch (error) {
    if (late)
      throw new RemoteError('context deadline exceeded (Client.Timeout exceeded while awaiting headers)', error);
    throw error;
  } finally {
    cancel();
  }
}
