/** Exec and attach over SPDY/3.1: the client opens one stream for each of error, stdin, stdout, stderr and resize. */
import type { Duplex } from 'node:stream';
import { finished } from 'node:stream/promises';
import { ioTimer } from '../../base/io-time.ts';
import type { SpdyStream } from '../../base/spdy.ts';
import { SpdyConnection } from '../../base/spdy.ts';
import type { TerminalSize } from '../runtime/container-runtime.ts';
import { terminalSize } from './remote-command-websocket.ts';
import type { StreamChoice } from './remote-command-websocket.ts';
import type { ClientSession, Outcome } from './session.ts';
import { outcomeStatus } from './session.ts';

export const spdyCommandProtocols = [
  'v4.channel.k8s.io',
  'v3.channel.k8s.io',
  'v2.channel.k8s.io',
  'channel.k8s.io',
] as const;

const streamCreationTimeout = 30_000;

/** Terminal sizes of a stream: JSON objects one after the other, not always one a chunk. */
async function readSizes(stream: SpdyStream, listener: (size: TerminalSize) => void): Promise<void> {
  let text = '';
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    text += chunk.toString('utf8');
    for (let end = text.indexOf('}'); end !== -1; end = text.indexOf('}')) {
      const size = terminalSize(text.slice(0, end + 1));
      text = text.slice(end + 1);
      if (size !== undefined) listener(size);
    }
    if (text.length > 4096) text = '';
  }
}

/** Waits for the client's streams. Rejects when it does not open them in time. */
export function spdySession(
  transport: Duplex,
  protocol: string,
  choice: StreamChoice & { readonly tty: boolean },
  idleTimeoutMs: number,
): Promise<ClientSession> {
  const withResize = choice.tty && (protocol.startsWith('v4.') || protocol.startsWith('v3.'));
  const expected = ['error'];
  if (choice.stdin) expected.push('stdin');
  if (choice.stdout) expected.push('stdout');
  if (choice.stderr) expected.push('stderr');
  if (withResize) expected.push('resize');
  const streams = new Map<string, SpdyStream>();

  return new Promise((resolve, reject) => {
    const connection = new SpdyConnection(transport, {
      role: 'server',
      idleTimeoutMs,
      onStream: (stream) => {
        const type = stream.headers['streamtype'] ?? '';
        if (!['error', 'stdin', 'stdout', 'stderr', 'resize'].includes(type) || streams.has(type)) {
          stream.refuse();
          return;
        }
        stream.reply();
        streams.set(type, stream);
        if (expected.every((e) => streams.has(e))) {
          cancel();
          resolve(makeSession(connection, protocol, choice, streams));
        }
      },
    });
    const cancel = ioTimer(streamCreationTimeout, () => {
      connection.destroy();
      reject(new Error('timed out waiting for client to create streams'));
    });
    void connection.closed.then(() => {
      cancel();
      reject(new Error('the connection ended before its streams were created'));
    });
  });
}

function makeSession(
  connection: SpdyConnection,
  protocol: string,
  choice: StreamChoice,
  streams: ReadonlyMap<string, SpdyStream>,
): ClientSession {
  const error = streams.get('error')!;
  const stdout = choice.stdout ? streams.get('stdout') : undefined;
  const stderr = choice.stderr ? streams.get('stderr') : undefined;
  const resize = streams.get('resize');
  // Nothing comes on these; reading them lets them close.
  for (const stream of [error, stdout, stderr]) stream?.resume();
  return {
    stdin: choice.stdin ? streams.get('stdin') : undefined,
    stdout,
    stderr,
    onResize: (listener) => {
      // A resize that breaks leaves the size as it was; that the client has gone is told by `closed`.
      if (resize !== undefined) readSizes(resize, listener).catch(() => {});
    },
    closed: connection.closed,
    finish: async (outcome: Outcome) => {
      const status = outcomeStatus(outcome, 4);
      const text = protocol.startsWith('v4.') ? JSON.stringify(status) : (status.message ?? '');
      // All output goes before the outcome, and the outcome before the good-bye.
      for (const stream of [stdout, stderr]) if (stream !== undefined && !stream.writableEnded) stream.end();
      error.end(text);
      const written = [stdout, stderr, error].map((s) =>
        s === undefined || s.destroyed ? undefined : finished(s, { readable: false }),
      );
      await Promise.race([Promise.allSettled(written), connection.closed]);
      connection.close();
    },
  };
}
