/** Upgrades: `/exec`, `/attach` and `/portForward`, over WebSocket and SPDY, with upstream's refusals. */
import type { IncomingMessage } from 'node:http';
import { STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Logger } from '../../base/logger.ts';
import type { ContainerRuntime, ExecOptions, StreamTarget } from '../runtime/container-runtime.ts';
import type { PodSource } from './pod-source.ts';
import {
  portsOf,
  serveSpdyPortForward,
  serveWebSocketPortForward,
  spdyPortForwardProtocols,
  tunnelProtocol,
  webSocketPortForwardProtocols,
} from './port-forward.ts';
import { spdyCommandProtocols, spdySession } from './remote-command-spdy.ts';
import { webSocketCommandProtocols, webSocketSession } from './remote-command-websocket.ts';
import type { ClientSession } from './session.ts';
import { runSession } from './session.ts';
import { canHandOff, handOff, joinRaw, offeredStreamProtocols } from './stream-handoff.ts';
import { findContainer, findPod, HttpError, httpErrorOf, podFullName } from './target.ts';
import { acceptWebSocket, isWebSocketRequest, offeredProtocols } from '../../base/websocket.ts';
import { negotiate } from './websocket.ts';

/** Streams in which nothing happens for so long are ended (`--streaming-connection-idle-timeout`). */
const defaultIdleTimeout = 4 * 60 * 60 * 1000;
const spdy = 'SPDY/3.1';

export interface StreamingDeps {
  readonly runtime: ContainerRuntime;
  readonly pods: PodSource;
  readonly logger: Logger;
  readonly streamingIdleTimeoutMs?: number;
}

export interface PathTarget {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly container: string;
}

/** `/exec/{namespace}/{pod}[/{uid}]/{container}`. */
export function pathTarget(segments: readonly string[]): PathTarget {
  const [, namespace = '', name = '', third = '', fourth] = segments;
  if (segments.length < 4 || segments.length > 5) throw new HttpError(404, '404 page not found\n');
  return fourth === undefined
    ? { namespace, name, uid: '', container: third }
    : { namespace, name, uid: third, container: fourth };
}

/** A connection whose request asks for an upgrade. */
interface Upgrade {
  readonly request: IncomingMessage;
  readonly socket: Duplex;
  readonly head: Buffer;
  /** True once the upgrade has been agreed to. */
  accepted: boolean;
}

/** Serves an upgrade to its end. `before` may refuse it (authorization). */
export async function serveUpgrade(
  deps: StreamingDeps,
  request: IncomingMessage,
  socket: Duplex,
  head: Buffer,
  before: () => Promise<void>,
): Promise<void> {
  const upgrade: Upgrade = { request, socket, head, accepted: false };
  const url = new URL(request.url ?? '/', 'http://kubelet');
  try {
    await before();
    const segments = url.pathname.split('/').slice(1).map(decodeURIComponent);
    if (request.method !== 'GET' && request.method !== 'POST') throw new HttpError(405, '405: Method Not Allowed');
    switch (segments[0]) {
      case 'exec':
      case 'attach':
        await serveCommand(deps, segments[0], pathTarget(segments), url.searchParams, upgrade);
        return;
      case 'portForward':
        await servePortForward(deps, segments, url.searchParams, upgrade);
        return;
      default:
        throw new HttpError(404, '404 page not found\n');
    }
  } catch (error) {
    if (upgrade.accepted || socket.destroyed) {
      deps.logger.debug('streaming session failed', { path: url.pathname, error });
      socket.destroy();
      return;
    }
    refuse(socket, httpErrorOf(error));
  }
}

async function serveCommand(
  deps: StreamingDeps,
  kind: 'exec' | 'attach',
  path: PathTarget,
  query: URLSearchParams,
  upgrade: Upgrade,
): Promise<void> {
  const { pods, runtime } = deps;
  const { request, socket, head } = upgrade;
  const on = (name: string): boolean => query.get(name) === '1';
  const wantsTty = on('tty');
  const choice = { stdin: on('input'), stdout: on('output'), stderr: on('error') && !wantsTty };
  if (!choice.stdin && !choice.stdout && !choice.stderr)
    throw new HttpError(400, 'you must specify at least 1 of stdin, stdout, stderr');
  const target = await findContainer(pods, runtime, path, kind);
  // Whether a running process has a terminal was decided when it was started.
  const tty = kind === 'attach' ? target.tty : wantsTty;
  const options: ExecOptions = { tty, ...choice, stderr: choice.stderr && !tty };
  const command = query.getAll('command');
  const server = runtime.streamServer;
  if (server !== undefined && canHandOff(server, request)) {
    const { containerId } = target;
    const what: StreamTarget =
      kind === 'exec' ? { kind, containerId, command, options } : { kind, containerId, options };
    await handOff(server, what, request, socket, head, () => (upgrade.accepted = true));
    return;
  }
  let session: ClientSession;
  if (isWebSocketRequest(request)) {
    const protocol = negotiate(request, webSocketCommandProtocols);
    const ws = await acceptWebSocket(request, socket, head, protocol);
    upgrade.accepted = true;
    session = webSocketSession(ws, protocol, choice);
  } else {
    const protocol = acceptSpdy(upgrade, spdyCommandProtocols);
    session = await spdySession(socket, protocol, { ...choice, tty: wantsTty }, idleTimeout(deps));
  }
  if (kind === 'exec')
    await runSession(session, () => runtime.exec(target.containerId, command, options), {
      failure: 'error executing command in container',
      command,
    });
  else
    await runSession(session, () => runtime.attach(target.containerId, options), {
      failure: 'error attaching to container',
    });
}

async function servePortForward(
  deps: StreamingDeps,
  segments: readonly string[],
  query: URLSearchParams,
  upgrade: Upgrade,
): Promise<void> {
  if (segments.length < 3 || segments.length > 4) throw new HttpError(404, '404 page not found\n');
  const { pods, runtime, logger } = deps;
  const { request, socket, head } = upgrade;
  const webSocket = isWebSocketRequest(request);
  const tunnel = webSocket && offeredProtocols(request).includes(tunnelProtocol);
  const ports = webSocket && !tunnel ? portsOf(query) : [];
  const { pod, sandboxId } = findPod(pods, segments[1]!, segments[2]!, segments[3] ?? '');
  if (sandboxId === undefined) throw new HttpError(500, `pod not found (${JSON.stringify(podFullName(pod))})`);
  const server = runtime.streamServer;
  const what: StreamTarget = { kind: 'portForward', podSandboxId: sandboxId };
  if (server !== undefined && !webSocket && canHandOff(server, request)) {
    await handOff(server, what, request, socket, head, () => (upgrade.accepted = true));
    return;
  }
  const target = {
    podName: pod.metadata.name ?? '',
    uid: pod.metadata.uid ?? '',
    logger,
    connect: (port: number) => runtime.portForward(sandboxId, port),
  };
  if (tunnel) {
    const { createWebSocketStream } = await import('ws');
    // What is inside the tunnel is what the runtime speaks.
    const far = await server?.upgrade(what, 'POST', {
      connection: 'Upgrade',
      upgrade: spdy,
      'x-stream-protocol-version': spdyPortForwardProtocols[0],
    });
    const ws = await acceptWebSocket(request, socket, head, tunnelProtocol);
    upgrade.accepted = true;
    const near = createWebSocketStream(ws);
    if (far === undefined) await serveSpdyPortForward(near, target, idleTimeout(deps));
    else {
      if (far.head.length > 0) near.write(far.head);
      await joinRaw(near, far.socket);
    }
  } else if (webSocket) {
    const protocol = negotiate(request, webSocketPortForwardProtocols);
    const ws = await acceptWebSocket(request, socket, head, protocol);
    upgrade.accepted = true;
    await serveWebSocketPortForward(ws, protocol, ports, target);
  } else {
    acceptSpdy(upgrade, spdyPortForwardProtocols);
    await serveSpdyPortForward(socket, target, idleTimeout(deps));
  }
}

function idleTimeout(deps: StreamingDeps): number {
  return deps.streamingIdleTimeoutMs ?? defaultIdleTimeout;
}

/** Agrees to SPDY/3.1 and to one of the protocols; '' when the client names none. Throws what it is refused with. */
function acceptSpdy(upgrade: Upgrade, supported: readonly string[]): string {
  const { request, socket, head } = upgrade;
  if (!/\bupgrade\b/i.test(request.headers.connection ?? '') || request.headers.upgrade?.toUpperCase() !== spdy)
    throw new HttpError(400, 'unable to upgrade: missing upgrade headers in request');
  const offered = offeredStreamProtocols(request);
  let protocol = '';
  if (offered.length > 0) {
    const chosen = offered.find((p) => supported.includes(p));
    if (chosen === undefined)
      throw new HttpError(
        403,
        `unable to upgrade: unable to negotiate protocol: client supports [${offered.join(' ')}], server accepts [${supported.join(' ')}]`,
      );
    protocol = chosen;
  }
  let answer = `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ${spdy}\r\n`;
  if (protocol !== '') answer += `X-Stream-Protocol-Version: ${protocol}\r\n`;
  socket.write(`${answer}\r\n`);
  upgrade.accepted = true;
  if (head.length > 0) socket.unshift(head);
  return protocol;
}

function refuse(socket: Duplex, error: HttpError): void {
  const body = Buffer.from(error.message);
  const head =
    `HTTP/1.1 ${error.status} ${STATUS_CODES[error.status] ?? ''}\r\nContent-Type: text/plain; charset=utf-8\r\n` +
    `Content-Length: ${body.length}\r\nConnection: close\r\n\r\n`;
  socket.end(Buffer.concat([Buffer.from(head), body]));
}
