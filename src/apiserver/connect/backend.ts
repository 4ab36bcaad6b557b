/**
 * Speaking HTTP/1.1 to a kubelet, pod or service over a stream that the dialer provides: plain requests whose answers
 * stream back, and upgrades whose bytes are passed through untouched in both directions.
 */
import * as http from 'node:http';
import type { Duplex, Readable } from 'node:stream';
import { pipeline } from 'node:stream';
import * as tls from 'node:tls';
import { StatusError } from '../../api/status.ts';
import { ioTimer } from '../../base/io-time.ts';
import type { Dialer } from '../dialer.ts';
import type { Location } from './locations.ts';
import { passRefusal } from './refused-upgrade.ts';

/** How long a backend may take to answer an upgrade. */
const upgradeTimeout = 30_000;
const maxHead = 64 * 1024;

/** A byte stream to the location, with TLS where the location speaks it. Backend certificates prove nothing here. */
export async function dial(dialer: Dialer, location: Location): Promise<Duplex> {
  if (location.node !== undefined)
    return dialer.dialNode(location.node, location.address, location.port, location.insecure);
  const raw = await dialer.dialTcp(location.address, location.port);
  if (!location.tls) return raw;
  return new Promise((resolve, reject) => {
    const secure = tls.connect({ socket: raw, rejectUnauthorized: false });
    secure.once('secureConnect', () => {
      secure.off('error', reject);
      resolve(secure);
    });
    secure.once('error', reject);
  });
}

export interface BackendRequest {
  readonly method: string;
  /** Path with query. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string | string[]>>;
  readonly body?: Readable | Buffer;
  readonly signal: AbortSignal;
}

/** One request on a connection of its own; resolves with the head, whose body is still to be read. */
export async function request(
  dialer: Dialer,
  location: Location,
  options: BackendRequest,
): Promise<http.IncomingMessage> {
  const connection = await dial(dialer, location);
  return new Promise((resolve, reject) => {
    const outgoing = http.request({
      method: options.method,
      path: options.path,
      headers: { ...options.headers, connection: 'close' },
      setHost: options.headers['host'] === undefined,
      host: location.address,
      port: location.port,
      createConnection: () => connection as never,
      signal: options.signal,
    });
    outgoing.on('response', resolve);
    outgoing.on('error', (error) => {
      connection.destroy();
      reject(error);
    });
    const body = options.body;
    if (body === undefined || Buffer.isBuffer(body)) outgoing.end(body);
    else
      pipeline(body, outgoing, (error) => {
        if (error) outgoing.destroy(error);
      });
  });
}

/** The head of a backend's answer to an upgrade, with what was read behind it. */
interface UpgradeAnswer {
  readonly status: number;
  readonly raw: Buffer;
}

function readHead(backend: Duplex): Promise<UpgradeAnswer> {
  return new Promise((resolve, reject) => {
    let read = Buffer.alloc(0);
    const settle = (): void => {
      backend.off('data', onData);
      backend.off('error', onError);
      backend.off('end', onEnd);
      cancel();
    };
    const onError = (error: Error): void => {
      settle();
      reject(error);
    };
    const onEnd = (): void => onError(new Error('unexpected EOF'));
    const onData = (chunk: Buffer): void => {
      read = Buffer.concat([read, chunk]);
      const end = read.indexOf('\r\n\r\n');
      if (end < 0) {
        if (read.length > maxHead) onError(new Error('response headers are too long'));
        return;
      }
      backend.pause();
      settle();
      const status = /^HTTP\/1\.[01] (\d{3})/.exec(read.toString('latin1', 0, Math.min(end, 64)));
      if (status === null)
        reject(new Error(`malformed HTTP response ${JSON.stringify(read.toString('latin1', 0, 64))}`));
      else resolve({ status: Number(status[1]), raw: read });
    };
    const cancel = ioTimer(upgradeTimeout, () => onError(new Error('i/o timeout')));
    backend.on('data', onData);
    backend.on('error', onError);
    backend.on('end', onEnd);
  });
}

export interface UpgradeRequest {
  readonly method: string;
  readonly path: string;
  /** Names and values alternating, written as they stand. */
  readonly rawHeaders: readonly string[];
  /** Takes the client's side over; called only once the backend has answered. */
  readonly takeOver: () => { socket: Duplex; head: Buffer };
}

/** The error of a backend that could not be reached, as upstream words it. */
export function dialError(error: unknown): StatusError {
  if (error instanceof StatusError) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new StatusError(500, '', `error dialing backend: ${message}`, undefined, { cause: error });
}

/**
 * Sends the client's upgrade to the backend and, when it agrees, joins the two streams until one of them ends. An answer
 * of 400 and above goes to the client as it is, and ends the connection. Resolves once the client's side has been taken over; `closed` then tells
 * when both are done with.
 */
export function passUpgrade(
  dialer: Dialer,
  location: Location,
  options: UpgradeRequest,
): Promise<{ close(): void; closed: Promise<void> }> {
  return passUpgradeOn(() => dial(dialer, location), options);
}

/** The same over a stream that `open` gives. */
export async function passUpgradeOn(
  open: () => Promise<Duplex>,
  options: UpgradeRequest,
): Promise<{ close(): void; closed: Promise<void> }> {
  let backend: Duplex;
  try {
    backend = await open();
  } catch (error) {
    throw dialError(error);
  }
  let answer: UpgradeAnswer;
  try {
    let head = `${options.method} ${options.path} HTTP/1.1\r\n`;
    const raw = options.rawHeaders;
    for (let i = 0; i + 1 < raw.length; i += 2) head += `${raw[i]!}: ${raw[i + 1]!}\r\n`;
    backend.write(Buffer.from(`${head}\r\n`, 'latin1'));
    answer = await readHead(backend);
  } catch (error) {
    backend.destroy();
    throw dialError(error);
  }
  if (answer.status !== 101 && answer.status < 400) {
    backend.destroy();
    throw new StatusError(500, '', `invalid upgrade response: status code ${answer.status}`);
  }
  const { socket, head } = options.takeOver();
  if (answer.status !== 101) return passRefusal(socket, backend, { method: options.method, ...answer });
  socket.write(answer.raw);
  if (head.length > 0) backend.write(head);
  return join(socket, backend);
}

/** Copies both ways until one side ends, then lets the other drain and end. */
export function join(client: Duplex, backend: Duplex): { close(): void; closed: Promise<void> } {
  const close = (): void => {
    client.destroy();
    backend.destroy();
  };
  const oneWay = (from: Duplex, to: Duplex): Promise<void> =>
    new Promise((resolve) => {
      // A connection that is cut is the ordinary end of a session; there is nobody left to tell.
      from.on('error', () => to.destroy());
      from.on('close', () => {
        if (!to.writableEnded) to.end();
        resolve();
      });
      from.pipe(to);
    });
  const closed = Promise.all([oneWay(client, backend), oneWay(backend, client)]).then(() => {});
  return { close, closed };
}
