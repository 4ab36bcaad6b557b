/**
 * One name server that questions are passed on to. Over UDP from a few sockets whose ports the system picks at random and which are
 * replaced after a while, each question under an id of its own; over TCP and TLS from connections that are kept for the next question.
 * What does not answer is asked in the background until it does.
 */
import type { Socket as DatagramSocket } from 'node:dgram';
import { createSocket } from 'node:dgram';
import type { Socket } from 'node:net';
import { connect, isIPv6 } from 'node:net';
import { ioNow, ioTimer } from '../base/io-time.ts';
import type { Random } from '../base/random.ts';
import type { Encoder } from './encoder.ts';
import type { Metrics } from './metrics.ts';
import { rcodeName, types } from './message.ts';
import type { UpstreamAnswer } from './wire.ts';
import { parseAnswer } from './wire.ts';

const maxSockets = 32;
/** So many questions wait on a socket before another is opened. */
const crowd = 8;
const maxPending = 4096;
const maxUses = 2000;
const maxIdle = 64;

/** PEM: what is presented, and whom is trusted instead of the system's authorities. */
export interface TlsMaterial {
  readonly cert?: string;
  readonly key?: string;
  readonly ca?: string;
}

export interface UpstreamOptions {
  readonly address: string;
  readonly port: number;
  readonly tls: boolean;
  readonly serverName: string | undefined;
  readonly material: TlsMaterial;
  readonly readTimeoutMs: number;
  /** How long a socket or connection is used without a question. */
  readonly expireMs: number;
  readonly healthMs: number;
  readonly healthDomain: string;
  readonly healthRecursion: boolean;
  readonly healthTcp: boolean;
  readonly random: Random;
  readonly metrics: Metrics;
}

/** What is sent: everything of a message but its id. */
export interface Question {
  readonly bytes: Buffer;
  readonly name: string;
  readonly type: number;
}

interface Waiting {
  readonly question: Question;
  readonly resolve: (answer: UpstreamAnswer) => void;
  readonly reject: (error: Error) => void;
  readonly cancel: () => void;
}

interface UdpSocket {
  readonly socket: DatagramSocket;
  readonly pending: Map<number, Waiting>;
  readonly until: number;
  uses: number;
  connected: boolean;
  closed: boolean;
}

const fits = (answer: UpstreamAnswer, question: Question): boolean =>
  answer.type === question.type && answer.name.toLowerCase() === question.name.toLowerCase();

export class Upstream {
  readonly name: string;
  readonly #o: UpstreamOptions;
  readonly #encoder: Encoder;
  #sockets: UdpSocket[] = [];
  #idle: { readonly socket: Socket; readonly cancel: () => void }[] = [];
  readonly #open = new Set<Socket>();
  #fails = 0;
  #probe: (() => void) | undefined;
  #stopped = false;

  constructor(options: UpstreamOptions, encoder: Encoder) {
    this.#o = options;
    this.#encoder = encoder;
    this.name = `${isIPv6(options.address) ? `[${options.address}]` : options.address}:${options.port}`;
  }

  /** True after more failures in a row than `max`; 0: never. */
  down(max: number): boolean {
    return max > 0 && this.#fails > max;
  }

  async ask(question: Question, tcp: boolean): Promise<UpstreamAnswer> {
    const { metrics } = this.#o;
    const began = ioNow();
    metrics.forwardRequests.of({ to: this.name }).value++;
    const answer = await (tcp || this.#o.tls ? this.#stream(question) : this.#datagram(question));
    const rcode = rcodeName(answer.rcode);
    metrics.forwardResponses.of({ to: this.name, rcode }).value++;
    metrics.proxyDurations.of({ proxy_name: 'forward', to: this.name, rcode }).observe((ioNow() - began) / 1000);
    return answer;
  }

  /** Asks in the background until there is an answer. */
  failed(): void {
    if (this.#probe !== undefined || this.#stopped) return;
    const again = (): void => {
      this.#probe = ioTimer(this.#o.healthMs, () => {
        void this.#healthy().then((ok) => {
          if (this.#stopped) return;
          if (ok) {
            this.#fails = 0;
            this.#probe = undefined;
          } else {
            this.#fails++;
            this.#o.metrics.proxyHealthFailures.of({ proxy_name: 'forward', to: this.name }).value++;
            again();
          }
        });
      });
    };
    this.#fails++;
    again();
  }

  async #healthy(): Promise<boolean> {
    const { healthDomain: name, healthRecursion } = this.#o;
    const { bytes } = this.#encoder.encode(
      {
        id: 0,
        response: false,
        opcode: 0,
        authoritative: false,
        truncated: false,
        rd: healthRecursion,
        recursion: false,
        authentic: false,
        cd: false,
        rcode: 0,
        question: { name, type: types.NS, cls: 1 },
        answers: [],
        authority: [],
        additional: [],
      },
      512,
    );
    const question = { bytes, name, type: types.NS };
    try {
      await (this.#o.healthTcp || this.#o.tls ? this.#stream(question) : this.#datagram(question));
      return true;
    } catch {
      // Any answer is a sign of life; none is what is being counted.
      return false;
    }
  }

  #socket(): UdpSocket {
    const now = ioNow();
    for (const s of this.#sockets)
      if (s.pending.size === 0 && (now > s.until || s.uses >= maxUses)) this.#drop(s, undefined);
    const usable = this.#sockets.filter((s) => now <= s.until && s.uses < maxUses && s.pending.size < 65_000);
    const calm = usable.filter((s) => s.pending.size < crowd);
    if (calm.length > 0 && (calm.length >= 4 || this.#sockets.length >= maxSockets)) return this.#any(calm);
    if (this.#sockets.length < maxSockets) return this.#fresh(now);
    if (usable.length > 0) return this.#any(usable);
    return this.#fresh(now);
  }

  #any<T>(list: readonly T[]): T {
    return list[this.#o.random.int(list.length)]!;
  }

  #fresh(now: number): UdpSocket {
    const socket = createSocket(isIPv6(this.#o.address) ? 'udp6' : 'udp4');
    socket.unref();
    const fresh: UdpSocket = {
      socket,
      pending: new Map(),
      until: now + this.#o.expireMs,
      uses: 0,
      connected: false,
      closed: false,
    };
    this.#sockets.push(fresh);
    this.#o.metrics.proxyCacheMisses.of({ proxy_name: 'forward', to: this.name, proto: 'udp' }).value++;
    socket.on('error', (error) => this.#drop(fresh, error));
    socket.on('message', (message) => {
      const id = message.length < 2 ? -1 : message.readUInt16BE(0);
      const waiting = fresh.pending.get(id);
      if (waiting === undefined) return;
      const answer = parseAnswer(message);
      // Something else, or a forgery: the true answer may still come.
      if (answer === undefined || !fits(answer, waiting.question)) return;
      fresh.pending.delete(id);
      waiting.cancel();
      waiting.resolve(answer);
    });
    socket.connect(this.#o.port, this.#o.address, () => {
      if (fresh.closed) return;
      fresh.connected = true;
      for (const [id, waiting] of fresh.pending) this.#send(fresh, id, waiting.question);
    });
    return fresh;
  }

  #send(s: UdpSocket, id: number, question: Question): void {
    const bytes = Buffer.from(question.bytes);
    bytes.writeUInt16BE(id, 0);
    s.socket.send(bytes, (error) => {
      const waiting = error === null || error === undefined ? undefined : s.pending.get(id);
      if (waiting === undefined) return;
      s.pending.delete(id);
      waiting.cancel();
      waiting.reject(new Error(`${this.name}: ${error!.message}`, { cause: error }));
    });
  }

  #drop(s: UdpSocket, error: Error | undefined): void {
    if (s.closed) return;
    s.closed = true;
    this.#sockets = this.#sockets.filter((x) => x !== s);
    const why = new Error(`${this.name}: ${error?.message ?? 'closed'}`, { cause: error });
    for (const waiting of s.pending.values()) {
      waiting.cancel();
      waiting.reject(why);
    }
    s.pending.clear();
    s.socket.close();
  }

  #datagram(question: Question): Promise<UpstreamAnswer> {
    if (this.#stopped) return Promise.reject(new Error(`${this.name}: stopped`));
    let pending = 0;
    for (const s of this.#sockets) pending += s.pending.size;
    if (pending >= maxPending) return Promise.reject(new Error(`${this.name}: too many questions wait for an answer`));
    const s = this.#socket();
    if (s.uses++ > 0) this.#o.metrics.proxyCacheHits.of({ proxy_name: 'forward', to: this.name, proto: 'udp' }).value++;
    let id = this.#o.random.int(0x10000);
    while (s.pending.has(id)) id = (id + 1) & 0xffff;
    return new Promise((resolve, reject) => {
      const cancel = ioTimer(this.#o.readTimeoutMs, () => {
        s.pending.delete(id);
        reject(new Error(`read udp ${this.name}: i/o timeout`));
      });
      s.pending.set(id, { question, resolve, reject, cancel });
      if (s.connected) this.#send(s, id, question);
    });
  }

  async #connection(): Promise<{ socket: Socket; kept: boolean }> {
    const proto = this.#o.tls ? 'tcp-tls' : 'tcp';
    const { metrics } = this.#o;
    for (let kept = this.#idle.shift(); kept !== undefined; kept = this.#idle.shift()) {
      kept.cancel();
      if (kept.socket.destroyed || !kept.socket.writable) continue;
      metrics.proxyCacheHits.of({ proxy_name: 'forward', to: this.name, proto }).value++;
      return { socket: kept.socket, kept: true };
    }
    metrics.proxyCacheMisses.of({ proxy_name: 'forward', to: this.name, proto }).value++;
    const { address: host, port } = this.#o;
    let socket: Socket;
    let ready = 'connect';
    if (this.#o.tls) {
      const tls = await import('node:tls');
      const { serverName, material } = this.#o;
      socket = tls.connect({
        host,
        port,
        ...material,
        ...(serverName === undefined ? {} : { servername: serverName }),
        ALPNProtocols: ['dot'],
      });
      ready = 'secureConnect';
    } else socket = connect({ host, port, noDelay: true });
    this.#open.add(socket);
    socket.once('close', () => this.#open.delete(socket));
    await new Promise<void>((resolve, reject) => {
      const cancel = ioTimer(this.#o.readTimeoutMs, () => {
        socket.destroy();
        reject(new Error(`dial ${proto} ${this.name}: i/o timeout`));
      });
      socket.once('error', (error) => {
        cancel();
        socket.destroy();
        reject(new Error(`dial ${proto} ${this.name}: ${error.message}`, { cause: error }));
      });
      socket.once(ready, () => {
        cancel();
        socket.removeAllListeners('error');
        resolve();
      });
    });
    return { socket, kept: false };
  }

  async #stream(question: Question): Promise<UpstreamAnswer> {
    for (;;) {
      if (this.#stopped) throw new Error(`${this.name}: stopped`);
      const { socket, kept } = await this.#connection();
      const answer = await this.#exchange(socket, question).catch((error: unknown) => {
        socket.destroy();
        // The other side has closed a connection that was kept: not its failure.
        if (kept) return undefined;
        throw error;
      });
      if (answer === undefined) continue;
      if (this.#idle.length < maxIdle && !this.#stopped) {
        const entry = { socket, cancel: ioTimer(this.#o.expireMs, () => socket.destroy()) };
        socket.on('error', () => socket.destroy());
        socket.once('close', () => {
          entry.cancel();
          this.#idle = this.#idle.filter((i) => i !== entry);
        });
        socket.unref();
        this.#idle.push(entry);
      } else socket.destroy();
      return answer;
    }
  }

  #exchange(socket: Socket, question: Question): Promise<UpstreamAnswer> {
    const id = this.#o.random.int(0x10000);
    const out = Buffer.allocUnsafe(2 + question.bytes.length);
    out.writeUInt16BE(question.bytes.length, 0);
    question.bytes.copy(out, 2);
    out.writeUInt16BE(id, 2);
    socket.removeAllListeners('error');
    socket.removeAllListeners('data');
    return new Promise((resolve, reject) => {
      let got: Buffer = Buffer.alloc(0);
      const end = (error: Error | undefined, answer?: UpstreamAnswer): void => {
        cancel();
        socket.removeListener('data', data);
        socket.removeListener('error', failed);
        socket.removeListener('close', closed);
        if (answer === undefined) reject(error ?? new Error(`${this.name}: closed`));
        else resolve(answer);
      };
      const failed = (error: Error): void => end(new Error(`${this.name}: ${error.message}`, { cause: error }));
      const closed = (): void => end(new Error(`read tcp ${this.name}: EOF`));
      const data = (chunk: Buffer): void => {
        got = got.length === 0 ? chunk : Buffer.concat([got, chunk]);
        if (got.length < 2 || got.length < 2 + got.readUInt16BE(0)) return;
        const answer = parseAnswer(got.subarray(2, 2 + got.readUInt16BE(0)));
        if (answer === undefined || answer.id !== id || !fits(answer, question))
          end(new Error(`${this.name}: the answer does not fit the question`));
        else end(undefined, answer);
      };
      const cancel = ioTimer(this.#o.readTimeoutMs, () => end(new Error(`read tcp ${this.name}: i/o timeout`)));
      socket.on('error', failed);
      socket.on('close', closed);
      socket.on('data', data);
      socket.write(out);
    });
  }

  stop(): void {
    this.#stopped = true;
    this.#probe?.();
    this.#probe = undefined;
    for (const s of this.#sockets) this.#drop(s, undefined);
    for (const i of this.#idle) i.cancel();
    for (const socket of this.#open) socket.destroy();
    this.#idle = [];
  }
}
