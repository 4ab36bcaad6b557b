/**
 * Requests over HTTP/2 from a process of its own that does as little as it can for each: what h2load cannot send (a body for each
 * request, other methods), latencies, and answers that are read slowly. Path and body may hold `%n`, which becomes the number of
 * the request, six digits long, `%m`, which becomes its last three, and `%k`, which becomes its remainder by 5,000.
 */
import { fork } from 'node:child_process';
import { connect } from 'node:tls';
import type { TLSSocket } from 'node:tls';
import { Frames, frame, frameOf, header, maxWindow, prefaceOf, statusIsGood, windowOf } from './frames.ts';
import { percentile } from './median.ts';
import type { BenchServer } from './server.ts';

export interface Requests {
  readonly method: string;
  readonly path: string;
  /** Instead of `path`, each its own: as many as there are requests. */
  readonly paths?: readonly string[];
  readonly body?: string;
  readonly type?: string;
  readonly accept?: string;
  readonly gzip?: boolean;
  readonly from?: number;
  readonly count: number;
  readonly connections?: number;
  /** Requests in flight on each connection. */
  readonly streams?: number;
  /** Bytes a second that each connection is read with at most; undefined: as fast as it goes. */
  readonly bytesPerSecond?: number;
  /** Ends each answer once so many bytes of it have come (watches do not end by themselves). */
  readonly enoughBytes?: number;
  /** Ends each answer with the data frame that holds this text. */
  readonly until?: string;
}

export interface RequestsResult {
  readonly seconds: number;
  readonly failed: number;
  readonly bytes: number;
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
  /** What the loading process has used. */
  readonly cpuSeconds: number;
}

type Order = Requests & { readonly url: string; readonly ca: string; readonly token: string };

/** Sends them; resolves with what was measured when the last answer is there. */
export function sendRequests(server: BenchServer, requests: Requests): Promise<RequestsResult> {
  const child = fork(import.meta.filename, { serialization: 'advanced', stdio: 'inherit' });
  return new Promise((resolve, reject) => {
    child.once('message', (message) => {
      child.kill();
      const answer = message as RequestsResult | { readonly error: string };
      if ('error' in answer) reject(new Error(answer.error));
      else resolve(answer);
    });
    child.once('exit', (code) => reject(new Error(`the loading process has ended (${code})`)));
    child.send({ ...requests, url: server.url, ca: server.ca, token: server.token } satisfies Order);
  });
}

function numbered(text: string, number: string): string {
  const some = text.replaceAll('%n', number).replaceAll('%m', number.slice(-3));
  return some.includes('%k') ? some.replaceAll('%k', String(Number(number) % 5000).padStart(4, '0')) : some;
}

const nothing = Buffer.alloc(0);

class Load {
  readonly #o: Order;
  readonly #latencies: number[] = [];
  readonly #done = Promise.withResolvers<void>();
  #next = 0;
  #finished = 0;
  #failed = 0;
  #bytes = 0;

  constructor(order: Order) {
    this.#o = order;
  }

  async run(): Promise<RequestsResult> {
    const start = performance.now();
    const sockets = Array.from({ length: this.#o.connections ?? 10 }, () => this.#connection());
    await this.#done.promise;
    const seconds = (performance.now() - start) / 1000;
    for (const socket of sockets) socket.destroy();
    const { user, system } = process.cpuUsage();
    return {
      seconds,
      failed: this.#failed,
      bytes: this.#bytes,
      p50: percentile(this.#latencies, 50),
      p99: percentile(this.#latencies, 99),
      max: percentile(this.#latencies, 100),
      cpuSeconds: (user + system) / 1e6,
    };
  }

  #connection(): TLSSocket {
    const o = this.#o;
    const url = new URL(o.url);
    const socket = connect({ host: url.hostname, port: Number(url.port), ca: o.ca, ALPNProtocols: ['h2'] });
    const perConnection = o.streams ?? 10;
    const open = new Map<number, { readonly began: number; bytes: number; good: boolean; tail: Buffer }>();
    const until = o.until === undefined ? undefined : Buffer.from(o.until);
    /** The text may lie across two frames. */
    const found = (request: { tail: Buffer }, payload: Buffer): boolean => {
      if (until === undefined) return false;
      const bytes = Buffer.concat([request.tail, payload]);
      request.tail = Buffer.from(bytes.subarray(Math.max(0, bytes.length - until.length)));
      return bytes.includes(until);
    };
    let stream = 1;
    const rest = [
      header(1, url.host),
      header(23, `Bearer ${o.token}`),
      ...(o.type === undefined ? [] : [header(31, o.type)]),
      ...(o.accept === undefined ? [] : [header(19, o.accept)]),
      ...(o.gzip === true ? [header(16, 'gzip')] : []),
    ];
    const send = (): void => {
      if (this.#next >= o.count) return;
      const path = o.paths?.[this.#next] ?? o.path;
      const number = String((o.from ?? 0) + this.#next++).padStart(6, '0');
      const head = Buffer.concat([
        header(2, o.method),
        Buffer.from([0x87]),
        header(4, numbered(path, number)),
        ...rest,
      ]);
      open.set(stream, { began: performance.now(), bytes: 0, good: false, tail: nothing });
      if (o.body === undefined) socket.write(frameOf(frame.headers, 5, stream, head));
      else {
        const body = Buffer.from(numbered(o.body, number));
        socket.write(Buffer.concat([frameOf(frame.headers, 4, stream, head), frameOf(frame.data, 1, stream, body)]));
      }
      stream += 2;
    };
    const end = (id: number): void => {
      const request = open.get(id);
      if (request === undefined) return;
      open.delete(id);
      this.#latencies.push(performance.now() - request.began);
      if (!request.good) this.#failed++;
      if (++this.#finished === o.count) this.#done.resolve();
      else send();
    };
    const fail = (why: string): void => {
      if (this.#finished < o.count) this.#done.reject(new Error(why));
    };
    socket.once('error', (e) => fail(`connection: ${e.message}`));
    socket.once('close', () => fail('the server has closed a connection'));
    socket.once('secureConnect', () => {
      // A slow reader has windows as clients have them, so that it is the server that has to wait.
      socket.write(prefaceOf(o.bytesPerSecond === undefined ? maxWindow : 1 << 20));
      for (let i = 0; i < perConnection; i++) send();
    });
    let ungranted = 0;
    const frames = new Frames((type, flags, id, payload) => {
      if (type === frame.data) {
        const request = open.get(id);
        this.#bytes += payload.length;
        ungranted += payload.length;
        if (request !== undefined) {
          request.bytes += payload.length;
          if (o.bytesPerSecond !== undefined && payload.length > 0) socket.write(windowOf(id, payload.length));
          if (request.bytes >= (o.enoughBytes ?? Number.POSITIVE_INFINITY) || found(request, payload)) {
            socket.write(frameOf(frame.reset, 0, id, Buffer.from([0, 0, 0, 8])));
            end(id);
          }
        }
      } else if (type === frame.headers) {
        const request = open.get(id);
        if (request !== undefined && !request.good) request.good = statusIsGood(payload);
      } else if (type === frame.reset) end(id);
      else if (type === frame.settings && (flags & 1) === 0)
        socket.write(frameOf(frame.settings, 1, 0, Buffer.alloc(0)));
      else if (type === frame.ping && (flags & 1) === 0) socket.write(frameOf(frame.ping, 1, 0, payload));
      if ((type === frame.data || type === frame.headers) && (flags & 1) === 1) end(id);
    });
    socket.on('data', (chunk: Buffer) => {
      frames.feed(chunk);
      if (ungranted > (o.bytesPerSecond === undefined ? 1 << 29 : 0)) {
        socket.write(windowOf(0, ungranted));
        ungranted = 0;
      }
      if (o.bytesPerSecond === undefined) return;
      socket.pause();
      setTimeout(() => socket.resume(), (chunk.length / o.bytesPerSecond) * 1000);
    });
    return socket;
  }
}

if (import.meta.main)
  process.once('message', (order: Order) => {
    new Load(order).run().then(
      (result) => process.send!(result),
      (e: unknown) => process.send!({ error: (e as Error).message }),
    );
  });
