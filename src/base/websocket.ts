/** WebSocket upgrades on any byte stream: the request recognised, its sub-protocols read, the stream taken over. */
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { WebSocket } from 'ws';

const maxMessage = 32 * 1024 * 1024;

/** True when the request asks for a WebSocket. */
export function isWebSocketRequest(request: IncomingMessage): boolean {
  return (
    request.headers.upgrade?.toLowerCase() === 'websocket' && /\bupgrade\b/i.test(request.headers.connection ?? '')
  );
}

/** The sub-protocols that the client offers, in its order. */
export function offeredProtocols(request: IncomingMessage): string[] {
  return (request.headers['sec-websocket-protocol'] ?? '')
    .split(',')
    .map((p) => p.trim())
    .filter((p) => p !== '');
}

/** Takes the stream over as a WebSocket that speaks `protocol`. It is paused until somebody listens and calls `resume`. */
export async function acceptWebSocket(
  request: IncomingMessage,
  socket: Duplex,
  head: Buffer,
  protocol: string,
): Promise<WebSocket> {
  const { WebSocketServer } = await import('ws');
  const server = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    maxPayload: maxMessage,
  });
  // Some of the names are no tokens in RFC 6455's sense (`SPDY/3.1+…`), so the header is handled here.
  delete request.headers['sec-websocket-protocol'];
  server.on('headers', (headers) => {
    if (protocol !== '') headers.push(`Sec-WebSocket-Protocol: ${protocol}`);
  });
  return new Promise((resolve, reject) => {
    const onClose = (): void => reject(new Error('the connection ended before its upgrade'));
    socket.once('close', onClose);
    server.handleUpgrade(request, socket, head, (ws) => {
      socket.off('close', onClose);
      ws.pause();
      resolve(ws);
    });
  });
}

/** Sends one binary (or text) message; resolves when the transport has taken it. */
export function sendMessage(ws: WebSocket, data: Buffer | string): Promise<void> {
  return new Promise((resolve, reject) => {
    ws.send(data, (error) => (error ? reject(error) : resolve()));
  });
}

/** The bytes of a message. */
export function messageBytes(data: Buffer | ArrayBuffer | Buffer[]): Buffer {
  if (Array.isArray(data)) return Buffer.concat(data);
  return data instanceof ArrayBuffer ? Buffer.from(data) : data;
}
