/**
 * The control socket of a running server: a local socket (a named pipe on Windows) whose name follows from the data
 * directory. Who can connect is talking to the server that holds the directory; a stale pid file can mislead, this cannot.
 * One JSON line is asked, one is answered.
 */
import { createHash } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import type { Server } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { join, resolve } from 'node:path';

export interface ServerStatus {
  readonly pid: number;
  readonly version: string;
  readonly url: string;
  readonly dataDir: string;
  readonly runtime: string;
  readonly startedAt: string;
  readonly ready: boolean;
  readonly kubeconfig: string;
  readonly components: readonly string[];
  readonly nodes: number;
}

export type ControlRequest = 'status' | 'stop';

/** The socket's name for a data directory. */
export function controlPath(dataDir: string): string {
  const id = createHash('sha256').update(resolve(dataDir)).digest('hex').slice(0, 16);
  if (process.platform === 'win32') return `\\\\.\\pipe\\knarr-${id}`;
  return join(tmpdir(), `knarr-${userInfo().uid}-${id}.sock`);
}

/** Asks a running server; undefined when none answers. */
export function askServer(dataDir: string, request: ControlRequest): Promise<ServerStatus | undefined> {
  return new Promise((resolvePromise, reject) => {
    const socket = connect(controlPath(dataDir));
    let text = '';
    socket.setEncoding('utf8');
    socket.on('connect', () => socket.end(`${request}\n`));
    socket.on('data', (d: string) => {
      text += d;
      if (text.length > 65_536) socket.destroy(new Error('the answer on the control socket is too long'));
    });
    socket.on('error', (e: NodeJS.ErrnoException) => {
      if (e.code === 'ENOENT' || e.code === 'ECONNREFUSED') resolvePromise(undefined);
      else reject(new Error(`cannot reach the server's control socket: ${e.message}`, { cause: e }));
    });
    socket.on('close', () => {
      if (text === '') resolvePromise(undefined);
      else
        try {
          resolvePromise(JSON.parse(text) as ServerStatus);
        } catch (e) {
          reject(new Error('the control socket answered something that is no status', { cause: e }));
        }
    });
  });
}

export interface ControlServer {
  close(): Promise<void>;
}

/** Serves the control socket. A socket left by a killed server is replaced. */
export async function serveControl(
  dataDir: string,
  handlers: { status(): ServerStatus; stop(): void },
): Promise<ControlServer> {
  const path = controlPath(dataDir);
  if (process.platform !== 'win32') await rm(path, { force: true });
  const server: Server = createServer({ allowHalfOpen: true }, (socket) => {
    let text = '';
    socket.setEncoding('utf8');
    socket.on('error', () => socket.destroy());
    socket.on('data', (d: string) => {
      text += d;
      if (text.length > 64) socket.destroy();
      if (!text.includes('\n')) return;
      socket.end(JSON.stringify(handlers.status()));
      if (text.trim() === 'stop') handlers.stop();
    });
  });
  await new Promise<void>((done, fail) => {
    server.once('error', fail);
    server.listen(path, done);
  });
  server.unref();
  return {
    close: () =>
      new Promise<void>((done) => {
        server.close(() => done());
      }),
  };
}
