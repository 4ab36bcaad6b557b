/**
 * Handing a client through to the runtime's own streaming server, byte for byte, where both speak the same protocol. Where they do
 * not (a WebSocket of version 5), the kubelet stands between them: `streaming.ts`.
 */
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { StreamServer, StreamTarget, UpgradedStream } from '../runtime/container-runtime.ts';
import { offeredProtocols, isWebSocketRequest } from '../../base/websocket.ts';

/** Headers of one hop, and those that say who asks: not the runtime's to see. */
const ownHeaders: ReadonlySet<string> = new Set(['host', 'authorization', 'content-length', 'transfer-encoding']);

/** The protocols that a SPDY client offers, in its order. */
export function offeredStreamProtocols(request: IncomingMessage): string[] {
  return [request.headers['x-stream-protocol-version'] ?? []]
    .flat()
    .flatMap((h) => h.split(','))
    .map((p) => p.trim())
    .filter((p) => p !== '');
}

/** Whether the runtime can answer this upgrade as the kubelet itself would. */
export function canHandOff(server: StreamServer, request: IncomingMessage): boolean {
  if (isWebSocketRequest(request)) {
    const [first] = offeredProtocols(request);
    return first !== undefined && server.webSocketProtocols.includes(first);
  }
  return (
    request.headers.upgrade?.toUpperCase() === 'SPDY/3.1' &&
    offeredStreamProtocols(request).some((p) => server.spdyProtocols.includes(p))
  );
}

/** Joins two streams until both have ended; one that breaks takes the other with it. */
export function joinRaw(a: Duplex, b: Duplex): Promise<void> {
  const one = (from: Duplex, to: Duplex): Promise<void> =>
    new Promise((resolve) => {
      from.on('error', () => to.destroy());
      from.once('close', () => {
        if (from.readableEnded) to.end();
        else to.destroy();
        resolve();
      });
      from.pipe(to);
    });
  return Promise.all([one(a, b), one(b, a)]).then(() => undefined);
}

/** Hands the client's request on and joins the two. Rejects, with nothing sent, when the runtime does not agree. */
export async function handOff(
  server: StreamServer,
  target: StreamTarget,
  request: IncomingMessage,
  socket: Duplex,
  head: Buffer,
  accepted: () => void,
): Promise<void> {
  const headers: Record<string, string | readonly string[]> = {};
  for (const [name, value] of Object.entries(request.headers))
    if (value !== undefined && !ownHeaders.has(name)) headers[name] = value;
  const far: UpgradedStream = await server.upgrade(target, request.method ?? 'POST', headers);
  accepted();
  let answer = 'HTTP/1.1 101 Switching Protocols\r\n';
  for (let i = 0; i + 1 < far.rawHeaders.length; i += 2) answer += `${far.rawHeaders[i]}: ${far.rawHeaders[i + 1]}\r\n`;
  socket.write(`${answer}\r\n`);
  if (far.head.length > 0) socket.write(far.head);
  if (head.length > 0) far.socket.write(head);
  await joinRaw(socket, far.socket);
}
