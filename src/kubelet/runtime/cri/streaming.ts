/**
 * The client of a runtime's streaming server. Exec, attach and port-forward over CRI answer with a URL that is good for one
 * connection; it is spoken to in SPDY/3.1 (which, unlike the WebSocket protocols of older runtimes, can end a stdin).
 */
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { Duplex } from 'node:stream';
import { ioTimer } from '../../../base/io-time.ts';
import type { SpdyStream } from '../../../base/spdy.ts';
import { SpdyConnection } from '../../../base/spdy.ts';
import type { ExecOptions, ExecStreams, TerminalSize, UpgradedStream } from '../container-runtime.ts';
import { RuntimeError } from '../container-runtime.ts';

const connectTimeoutMs = 30_000;
const maxErrorBody = 64 * 1024;

/** What containerd's and CRI-O's servers speak. The newest WebSocket protocol (v5) is not among them. */
export const spdyProtocols: readonly string[] = [
  'v4.channel.k8s.io',
  'v3.channel.k8s.io',
  'v2.channel.k8s.io',
  'channel.k8s.io',
  'portforward.k8s.io',
];
export const webSocketProtocols: readonly string[] = [
  'v4.channel.k8s.io',
  'v4.base64.channel.k8s.io',
  'channel.k8s.io',
  'base64.channel.k8s.io',
];

/** Asks for an upgrade. Rejects with what the server says when it does not agree. */
export function upgrade(
  url: string,
  method: string,
  headers: Readonly<Record<string, string | readonly string[]>>,
): Promise<UpgradedStream> {
  const target = new URL(url);
  const secure = target.protocol === 'https:';
  return new Promise((resolve, reject) => {
    const req = (secure ? httpsRequest : httpRequest)(target, {
      method,
      agent: false,
      headers: { host: target.host, ...headers } as Record<string, string | string[]>,
      // The runtime makes its certificate itself; its address came over the runtime's own socket.
      ...(secure ? { rejectUnauthorized: false } : {}),
    });
    const cancel = ioTimer(connectTimeoutMs, () =>
      req.destroy(new Error('the runtime’s streaming server does not answer')),
    );
    req.once('error', (error) => {
      cancel();
      reject(new RuntimeError('Unavailable', error.message, { cause: error }));
    });
    req.once('upgrade', (answer, socket, head) => {
      cancel();
      socket.setNoDelay(true);
      resolve({ socket, rawHeaders: answer.rawHeaders, head });
    });
    req.once('response', (answer) => {
      let body = '';
      answer.setEncoding('utf8');
      answer.on('data', (text: string) => {
        if (body.length < maxErrorBody) body += text;
      });
      answer.once('close', () => {
        cancel();
        const code = answer.statusCode === 404 ? 'NotFound' : 'Unknown';
        reject(new RuntimeError(code, body.trim() === '' ? `unexpected status ${answer.statusCode}` : body.trim()));
      });
    });
    req.end();
  });
}

async function connectSpdy(url: string, protocol: string): Promise<SpdyConnection> {
  const { socket, head } = await upgrade(url, 'POST', {
    connection: 'Upgrade',
    upgrade: 'SPDY/3.1',
    'x-stream-protocol-version': protocol,
  });
  if (head.length > 0) socket.unshift(head);
  return new SpdyConnection(socket, { role: 'client', withoutWindows: true });
}

interface CommandStatus {
  status?: string;
  message?: string;
  reason?: string;
  details?: { causes?: { reason?: string; message?: string }[] };
}

/** The server says the same before its reasons as the kubelet will. */
const prefixes = [
  'Internal error occurred: ',
  'error executing command in container: ',
  'error attaching to container: ',
];

/** The exit code in the outcome of a command; throws what kept it from being run. */
export function exitCodeOf(text: string): number {
  let status: CommandStatus;
  try {
    status = JSON.parse(text) as CommandStatus;
  } catch (error) {
    throw new RuntimeError('Unknown', text, { cause: error });
  }
  if (status.status === 'Success') return 0;
  const code = status.details?.causes?.find((c) => c.reason === 'ExitCode')?.message;
  if (status.reason === 'NonZeroExitCode' && code !== undefined && /^-?\d+$/.test(code)) return Number(code);
  let message = status.message ?? text;
  for (const prefix of prefixes) if (message.startsWith(prefix)) message = message.slice(prefix.length);
  throw new RuntimeError('Unknown', message);
}

async function readText(stream: SpdyStream): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

/** Opens an exec or attach session at the URL that the runtime gave for it. */
export async function openCommand(url: string, options: ExecOptions): Promise<ExecStreams> {
  const connection = await connectSpdy(url, 'v4.channel.k8s.io');
  const open = (streamtype: string): Promise<SpdyStream> => connection.createStream({ streamtype });
  let error: SpdyStream;
  let stdin: SpdyStream | undefined;
  let stdout: SpdyStream | undefined;
  let stderr: SpdyStream | undefined;
  let resize: SpdyStream | undefined;
  try {
    // Together: the server answers each as it comes, and begins when it has them all.
    [error, stdin, stdout, stderr, resize] = await Promise.all([
      open('error'),
      options.stdin ? open('stdin') : undefined,
      options.stdout ? open('stdout') : undefined,
      options.stderr && !options.tty ? open('stderr') : undefined,
      options.tty ? open('resize') : undefined,
    ]);
  } catch (cause) {
    connection.destroy();
    throw new RuntimeError('Unavailable', 'the runtime’s streaming server refused a stream', { cause });
  }
  // What only the server writes to has nothing to wait for from here.
  for (const s of [error, stdout, stderr]) s?.end();
  stdin?.resume();
  resize?.resume();
  const done = (async () => {
    let text: string;
    try {
      text = await readText(error);
    } catch (cause) {
      throw new RuntimeError('Unavailable', 'the connection to the runtime’s streaming server broke', { cause });
    }
    // A session that ends in order says how.
    if (text === '') throw new RuntimeError('Unavailable', 'the connection to the runtime’s streaming server broke');
    return exitCodeOf(text);
  })();
  const finishedReading = (s: SpdyStream | undefined): Promise<void> =>
    s === undefined || s.readableEnded || s.destroyed
      ? Promise.resolve()
      : new Promise((resolve) => {
          s.once('end', resolve);
          s.once('close', resolve);
        });
  const outputs = Promise.all([finishedReading(stdout), finishedReading(stderr)]);
  // Whoever reads the outputs gets all of them before the connection goes.
  void done
    .catch(() => {}) // who waits for the exit code hears of it
    .then(() => outputs)
    .then(() => connection.close());
  return {
    ...(stdin === undefined ? {} : { stdin }),
    ...(stdout === undefined ? {} : { stdout }),
    ...(stderr === undefined ? {} : { stderr }),
    resize: (size: TerminalSize) => {
      if (resize !== undefined && !resize.writableEnded && !resize.destroyed)
        resize.write(`${JSON.stringify({ Width: size.width, Height: size.height })}\n`);
    },
    done,
    close: () => connection.destroy(),
  };
}

const forwardPrefix = /^error forwarding port \d+ to pod [^ ]*, uid [^ ]*: /;

/** A byte stream to a port, at the URL that the runtime gave. What breaks it is told as its error. */
export async function openPort(url: string, port: number): Promise<Duplex> {
  const connection = await connectSpdy(url, 'portforward.k8s.io');
  let error: SpdyStream;
  let data: SpdyStream;
  try {
    const headers = { port: String(port), requestid: '0' };
    error = await connection.createStream({ ...headers, streamtype: 'error' });
    data = await connection.createStream({ ...headers, streamtype: 'data' });
  } catch (cause) {
    connection.destroy();
    throw new RuntimeError('Unavailable', 'the runtime’s streaming server refused a stream', { cause });
  }
  error.end();
  const failure = readText(error).catch(() => '');
  const stream = new PortStream(data, failure);
  stream.once('close', () => connection.close());
  return stream;
}

/** The data stream, whose end waits for what the error stream says. */
class PortStream extends Duplex {
  readonly #data: SpdyStream;

  constructor(data: SpdyStream, failure: Promise<string>) {
    super({ allowHalfOpen: true });
    this.#data = data;
    data.on('readable', () => this.#pump());
    data.once('end', () => void this.#ended(failure));
    data.once('close', () => void this.#ended(failure));
    void failure.then((text) => {
      if (text !== '') this.destroy(new Error(text.replace(forwardPrefix, '')));
    });
  }

  async #ended(failure: Promise<string>): Promise<void> {
    const text = await failure;
    if (text === '' && !this.destroyed && !this.readableEnded) this.push(null);
  }

  #pump(): void {
    for (let chunk = this.#data.read() as Buffer | null; chunk !== null; chunk = this.#data.read() as Buffer | null)
      if (!this.push(chunk)) return;
  }

  override _read(): void {
    this.#pump();
  }

  override _write(chunk: Buffer, encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    this.#data.write(chunk, encoding, callback);
  }

  override _final(callback: (error?: Error | null) => void): void {
    this.#data.end(callback);
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#data.destroy();
    callback(error);
  }
}
