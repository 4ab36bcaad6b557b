/**
 * Exec and attach over WebSocket: every message begins with the number of its channel. `v5.channel.k8s.io` adds the closing of a
 * channel (255) to `v4`; `channel.k8s.io` has plain text for errors; the base64 ones are for clients that cannot send bytes.
 */
import { Readable, Writable } from 'node:stream';
import type { WebSocket } from 'ws';
import type { TerminalSize } from '../runtime/container-runtime.ts';
import type { ClientSession, Outcome } from './session.ts';
import { outcomeStatus } from './session.ts';
import { messageBytes, sendMessage } from '../../base/websocket.ts';

export const webSocketCommandProtocols = [
  'v5.channel.k8s.io',
  'v4.channel.k8s.io',
  'v4.base64.channel.k8s.io',
  'channel.k8s.io',
  'base64.channel.k8s.io',
  '',
] as const;

const STDIN = 0;
const STDOUT = 1;
const STDERR = 2;
const ERROR = 3;
const RESIZE = 4;
const CLOSE = 255;

export interface StreamChoice {
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
}

/** `{"Width":80,"Height":24}` as the size it means. */
export function terminalSize(text: string): TerminalSize | undefined {
  try {
    const size = JSON.parse(text) as { Width?: unknown; Height?: unknown } | null;
    const { Width: width, Height: height } = size ?? {};
    return typeof width === 'number' && typeof height === 'number' ? { width, height } : undefined;
  } catch {
    return undefined;
  }
}

/** The session of an accepted WebSocket. */
export function webSocketSession(ws: WebSocket, protocol: string, streams: StreamChoice): ClientSession {
  const base64 = protocol.includes('base64');
  const version5 = protocol.startsWith('v5.');
  const withStatus = version5 || protocol.startsWith('v4.');
  const listeners: ((size: TerminalSize) => void)[] = [];
  let lastSize: TerminalSize | undefined;

  const send = (channel: number, data: Buffer): Promise<void> => {
    if (base64) return sendMessage(ws, `${channel}${data.toString('base64')}`);
    const message = Buffer.allocUnsafe(1 + data.length);
    message[0] = channel;
    data.copy(message, 1);
    return sendMessage(ws, message);
  };
  const output = (channel: number): Writable =>
    new Writable({
      write(chunk: Buffer, _encoding, callback) {
        send(channel, chunk).then(() => callback(), callback);
      },
    });
  const stdin = streams.stdin ? new Readable({ read: () => ws.resume() }) : undefined;
  const endStdin = (): void => {
    if (stdin !== undefined && !stdin.readableEnded && !ended) stdin.push(null);
    ended = true;
  };
  let ended = false;

  ws.on('message', (raw: Buffer | ArrayBuffer | Buffer[]) => {
    const bytes = messageBytes(raw);
    if (bytes.length === 0) return;
    const channel = base64 ? bytes[0]! - 0x30 : bytes[0]!;
    const data = base64 ? Buffer.from(bytes.toString('latin1', 1), 'base64') : bytes.subarray(1);
    switch (channel) {
      case STDIN:
        if (stdin === undefined || ended || data.length === 0) return;
        if (!stdin.push(data)) ws.pause();
        return;
      case RESIZE: {
        const size = terminalSize(data.toString('utf8'));
        if (size === undefined) return;
        lastSize = size;
        for (const listener of listeners) listener(size);
        return;
      }
      case CLOSE:
        if (version5 && data[0] === STDIN) endStdin();
        return;
      default:
        // Other channels are the server's to write.
        return;
    }
  });
  const closed = new Promise<void>((resolve) => {
    // A broken connection ends in `close` as well.
    ws.on('error', () => {});
    ws.on('close', () => {
      endStdin();
      resolve();
    });
  });

  ws.resume();

  // An empty message tells the client that the connection stands.
  const first = streams.stdout ? STDOUT : streams.stderr ? STDERR : ERROR;
  send(first, Buffer.alloc(0)).catch(() => {}); // that the client has gone is told by `closed`

  return {
    stdin,
    stdout: streams.stdout ? output(STDOUT) : undefined,
    stderr: streams.stderr ? output(STDERR) : undefined,
    onResize: (listener) => {
      listeners.push(listener);
      if (lastSize !== undefined) listener(lastSize);
    },
    closed,
    finish: async (outcome: Outcome) => {
      if (ws.readyState !== ws.OPEN) return;
      const status = outcomeStatus(outcome, version5 ? 5 : 4);
      try {
        if (withStatus) await send(ERROR, Buffer.from(JSON.stringify(status)));
        else if (status.message !== undefined) await send(ERROR, Buffer.from(status.message));
        // A client that holds back its input must still hear the end.
        ws.resume();
        ws.close(1000);
      } catch {
        // It has gone before it heard how it ended.
        ws.terminate();
      }
      await closed;
    },
  };
}
