/** `--debug-socket-path`: profiles over a Unix socket, to whoever may open that. */
import { unlink } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Readable } from 'node:stream';
import type { Logger } from '../../base/logger.ts';
import type { ApiServer } from '../../apiserver/server.ts';
import { StartError } from './environment.ts';

const identity = { name: 'system:apiserver', groups: ['system:masters'] };

async function answer(server: ApiServer, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const [path = '/', rawQuery = ''] = (request.url ?? '/').split('?');
  if (path !== '/debug/pprof' && !path.startsWith('/debug/pprof/')) {
    response.writeHead(404, { 'content-type': 'text/plain; charset=utf-8' }).end('404 page not found\n');
    return;
  }
  const gone = new AbortController();
  response.on('close', () => gone.abort());
  const { status, headers, body } = await server.handle({
    method: request.method === 'HEAD' ? 'HEAD' : 'GET',
    path,
    query: new URLSearchParams(rawQuery),
    headers: {},
    body: { kind: 'none' },
    remoteAddress: '127.0.0.1',
    identity,
    signal: gone.signal,
    wantsObjects: false,
  });
  const type = body.kind === 'bytes' || body.kind === 'stream' ? { 'content-type': body.contentType } : {};
  response.writeHead(status, { ...headers, ...type });
  if (body.kind === 'bytes') response.end(body.bytes);
  else if (body.kind === 'stream') (body.stream as Readable).pipe(response);
  else response.end();
}

/** Returns what closes it. @throws {StartError} */
export async function openDebugSocket(path: string, server: ApiServer, logger: Logger): Promise<() => Promise<void>> {
  await unlink(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT')
      throw new StartError(`failed to remove (${path}): ${error.message} (--debug-socket-path)`, { cause: error });
  });
  const http = createServer((request, response) => {
    answer(server, request, response).catch((error: unknown) => {
      logger.warn('a request for a profile failed', { error });
      response.destroy();
    });
  });
  await new Promise<void>((resolve, reject) => {
    http.once('error', (error) =>
      reject(new StartError(`--debug-socket-path ${path}: ${error.message}`, { cause: error })),
    );
    http.listen(path, () => {
      http.removeAllListeners('error');
      http.on('error', (error) => logger.error('the debug socket failed', { error }));
      resolve();
    });
  });
  return () =>
    new Promise((resolve) => {
      http.close(() => resolve());
      http.closeAllConnections();
    });
}
