/** What a simulated container's default program answers on its ports: plain HTTP, and gRPC's health service. */
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Http2Session, ServerHttp2Stream } from 'node:http2';
import type { Duplex } from 'node:stream';

export interface Answering {
  /** `namespace/name` of the pod. */
  readonly pod: string;
  readonly container: string;
  readonly hostname: string;
  readonly port: number;
  /** The status of every HTTP answer; 503 means not serving for gRPC too. */
  status(): number;
}

const preface = 'PRI * HTTP/2.0';

/** One per node; holds no timer and no socket. */
export class BuiltinServer {
  #http: Server | undefined;
  readonly #who = new WeakMap<object, Answering>();

  /** Serves one connection. */
  accept(stream: Duplex, who: Answering): void {
    stream.on('error', () => stream.destroy());
    const first = () => {
      const chunk = stream.read() as Buffer | null;
      if (chunk === null) {
        if (stream.readableEnded) stream.destroy();
        else stream.once('readable', first);
        return;
      }
      stream.unshift(chunk);
      if (preface.startsWith(chunk.subarray(0, preface.length).toString('latin1'))) void this.#grpc(stream, who);
      else {
        this.#who.set(stream, who);
        this.#server().emit('connection', stream);
      }
    };
    stream.once('readable', first);
    stream.once('end', () => stream.end());
  }

  #server(): Server {
    this.#http ??= createServer({ keepAliveTimeout: 0 }, (req, res) => this.#answer(req, res));
    return this.#http;
  }

  #answer(req: IncomingMessage, res: ServerResponse): void {
    const who = this.#who.get(req.socket)!;
    req.resume();
    const status = who.status();
    const body = `${who.hostname}\n`;
    res.writeHead(status, {
      'content-type': 'text/plain; charset=utf-8',
      'content-length': Buffer.byteLength(body),
      'x-pod': who.pod,
      'x-container': who.container,
      'x-port': String(who.port),
    });
    res.end(req.method === 'HEAD' ? undefined : body);
  }

  async #grpc(stream: Duplex, who: Answering): Promise<void> {
    const http2 = await import('node:http2');
    const session: Http2Session = http2.performServerHandshake(stream);
    session.on('error', () => stream.destroy());
    session.on('stream', (s: ServerHttp2Stream, headers: Record<string, string>) => {
      s.on('error', () => {});
      const health = headers[':path'] === '/grpc.health.v1.Health/Check';
      s.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
      s.once('wantTrailers', () => s.sendTrailers({ 'grpc-status': health ? '0' : '12' }));
      s.resume();
      // HealthCheckResponse { status: SERVING = 1, NOT_SERVING = 2 } in a length-prefixed message.
      s.end(health ? Buffer.from([0, 0, 0, 0, 2, 8, who.status() < 400 ? 1 : 2]) : undefined);
    });
  }
}
