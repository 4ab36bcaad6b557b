/**
 * Many watchers in a process of its own, which does as little as it can for each event: HTTP/2 frames are read by hand from the
 * TLS stream, and of an event only the number in `"seq":"000000"` is looked up, without parsing. So the server is the bound, not
 * its audience. Some watchers can be stuck: they open their watch and then read no more, or read but grant no window.
 */
import { fork } from 'node:child_process';
import { connect } from 'node:tls';
import type { TLSSocket } from 'node:tls';
import { frame, frameOf, header, maxWindow } from './frames.ts';

export interface WatchersOptions {
  readonly host: string;
  readonly port: number;
  readonly ca: string;
  readonly token: string;
  /** Path and query of the watch; `%k` becomes the watcher's number, four digits long. */
  readonly path: string;
  readonly sessions: number;
  readonly perSession: number;
  /** Changes that will come at most, numbered from 0. */
  readonly changes: number;
  /** `socket`: reads nothing any more from the connection; `window`: reads it, but the stream's window is used up. */
  readonly stuck?: 'socket' | 'window';
}

/** Milliseconds on the clock that all processes of a machine share. */
export function sharedNow(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

/** What the watchers have seen. Lags in milliseconds. */
export interface Seen {
  readonly delivered: number;
  /** Deliveries that never came, came twice, or before an earlier change of the same object. */
  readonly missing: number;
  readonly doubled: number;
  readonly disordered: number;
  /** Watches that the server has ended. */
  readonly ended: number;
  readonly lagP50: number;
  readonly lagP99: number;
  readonly lagMax: number;
  readonly sinceSentP99: number;
  /** On the shared clock: when the last delivery came. */
  readonly lastSeen: number;
  readonly megabytes: number;
  readonly cpuSeconds: number;
}

export interface Watchers {
  /** Resolves when all of `changes` have arrived everywhere, or after `patience` ms without any; `sent` and `acknowledged` by number. */
  finish(changes: { sent: number[]; acknowledged: number[]; objects: number }, patience: number): Promise<Seen>;
  /** Watches that the server has ended so far. */
  ended(): Promise<number>;
  stop(): void;
}

type Order =
  | { readonly kind: 'open'; readonly options: WatchersOptions }
  | { readonly kind: 'ended' }
  | {
      readonly kind: 'finish';
      readonly sent: number[];
      readonly acknowledged: number[];
      readonly objects: number;
      readonly patience: number;
    };

type Answer =
  | { readonly kind: 'open' }
  | { readonly kind: 'ended'; readonly ended: number }
  | { readonly kind: 'seen'; readonly seen: Seen }
  | { readonly kind: 'failed'; readonly message: string };

/** Opens the watches; resolves when the server has answered all of them. */
export async function openWatchers(options: WatchersOptions): Promise<Watchers> {
  const child = fork(import.meta.filename, { serialization: 'advanced', stdio: 'inherit' });
  const ask = (order: Order): Promise<Answer> =>
    new Promise((resolve, reject) => {
      const exit = (): void => reject(new Error('the process of the watchers has ended'));
      child.once('exit', exit);
      child.once('message', (message) => {
        child.off('exit', exit);
        const answer = message as Answer;
        if (answer.kind === 'failed') reject(new Error(answer.message));
        else resolve(answer);
      });
      child.send(order);
    });
  try {
    await ask({ kind: 'open', options });
  } catch (e) {
    child.kill();
    throw e;
  }
  return {
    finish: async (changes, patience) =>
      ((await ask({ kind: 'finish', ...changes, patience })) as Answer & { kind: 'seen' }).seen,
    ended: async () => ((await ask({ kind: 'ended' })) as Answer & { kind: 'ended' }).ended,
    stop: () => void child.kill(),
  };
}

const marker = Buffer.from('"seq":"');
const digits = 6;
/** After so many bytes the connection's window is opened again. */
const windowStep = 2 ** 29;

class Audience {
  readonly #o: WatchersOptions;
  /** When each watcher saw each change; 0: not yet. */
  readonly #at: Float64Array;
  readonly #sockets: TLSSocket[] = [];
  #lastSeen = 0;
  delivered = 0;
  doubled = 0;
  ended = 0;
  bytes = 0;

  constructor(options: WatchersOptions) {
    this.#o = options;
    this.#at = new Float64Array(options.sessions * options.perSession * options.changes);
  }

  async open(): Promise<void> {
    await Promise.all(Array.from({ length: this.#o.sessions }, (_, i) => this.#session(i)));
  }

  #session(number: number): Promise<void> {
    const { host, port, ca, token, path, perSession, stuck } = this.#o;
    return new Promise((resolve, reject) => {
      const socket = connect({ host, port, ca, ALPNProtocols: ['h2'] });
      this.#sockets.push(socket);
      let answered = 0;
      let rest: Buffer | undefined;
      let unacknowledged = 0;
      /** Of streams whose last frame ended inside an event. */
      const partial = new Map<number, Buffer>();
      const open = new Set<number>();
      socket.once('error', reject);
      socket.once('close', () => {
        this.ended += open.size;
        open.clear();
        reject(new Error('the server has closed the connection'));
      });
      socket.once('secureConnect', () => {
        const settings = Buffer.alloc(12);
        settings.writeUInt16BE(2, 0);
        settings.writeUInt16BE(4, 6);
        settings.writeUInt32BE(stuck === 'window' ? 65_535 : maxWindow, 8);
        const window = Buffer.alloc(4);
        window.writeUInt32BE(maxWindow - 65_535);
        socket.write(Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'));
        socket.write(frameOf(frame.settings, 0, 0, settings));
        socket.write(frameOf(frame.window, 0, 0, window));
        // :method GET, :scheme https, :path, :authority, authorization.
        for (let i = 0; i < perSession; i++) {
          const own = path.replace('%k', String(number * perSession + i).padStart(4, '0'));
          const block = Buffer.concat([
            Buffer.from([0x82, 0x87]),
            header(4, own),
            header(1, `${host}:${port}`),
            header(23, `Bearer ${token}`),
          ]);
          open.add(1 + 2 * i);
          socket.write(frameOf(frame.headers, 5, 1 + 2 * i, block));
        }
      });
      const end = (stream: number): void => {
        if (open.delete(stream)) this.ended++;
      };
      const onHeaders = (stream: number, payload: Buffer): void => {
        // Behind updates of the table's size stands :status; 200 is number 8 of the static table.
        let at = 0;
        while ((payload[at]! & 0xe0) === 0x20) at++;
        if (payload[at] !== 0x88) {
          reject(new Error(`watch ${stream} was refused`));
          return;
        }
        if (++answered < perSession) return;
        if (stuck === 'socket') socket.pause();
        resolve();
      };
      const onData = (stream: number, whole: Buffer, now: number): void => {
        let payload = whole;
        const before = partial.get(stream);
        if (before !== undefined) {
          payload = Buffer.concat([before, whole]);
          partial.delete(stream);
        }
        if (payload.length > 0 && payload[payload.length - 1] !== 10) {
          const from = payload.lastIndexOf(10) + 1;
          partial.set(stream, Buffer.from(payload.subarray(from)));
          payload = payload.subarray(0, from);
        }
        const row = (number * perSession + ((stream - 1) >> 1)) * this.#o.changes;
        for (let at = payload.indexOf(marker); at !== -1; at = payload.indexOf(marker, at + digits)) {
          at += marker.length;
          let seq = 0;
          for (let d = 0; d < digits; d++) seq = seq * 10 + payload[at + d]! - 48;
          if (this.#at[row + seq] !== 0) this.doubled++;
          else {
            this.#at[row + seq] = now;
            this.#lastSeen = now;
            this.delivered++;
          }
        }
      };
      socket.on('data', (chunk: Buffer) => {
        this.bytes += chunk.length;
        unacknowledged += chunk.length;
        const now = sharedNow();
        const bytes: Buffer = rest === undefined ? chunk : Buffer.concat([rest, chunk]);
        let at = 0;
        while (bytes.length - at >= 9) {
          const length = (bytes[at]! << 16) | (bytes[at + 1]! << 8) | bytes[at + 2]!;
          if (bytes.length - at < 9 + length) break;
          const type = bytes[at + 3]!;
          const flags = bytes[at + 4]!;
          const stream = bytes.readUInt32BE(at + 5) & maxWindow;
          const payload = bytes.subarray(at + 9, at + 9 + length);
          at += 9 + length;
          if (type === frame.data) onData(stream, payload, now);
          else if (type === frame.headers) onHeaders(stream, payload);
          else if (type === frame.reset) end(stream);
          else if (type === frame.settings && (flags & 1) === 0)
            socket.write(frameOf(frame.settings, 1, 0, Buffer.alloc(0)));
          else if (type === frame.ping && (flags & 1) === 0) socket.write(frameOf(frame.ping, 1, 0, payload));
          if ((type === frame.data || type === frame.headers) && (flags & 1) === 1) end(stream);
        }
        rest = at === bytes.length ? undefined : bytes.subarray(at);
        if (unacknowledged > windowStep) {
          const window = Buffer.alloc(4);
          window.writeUInt32BE(unacknowledged);
          socket.write(frameOf(frame.window, 0, 0, window));
          unacknowledged = 0;
        }
      });
    });
  }

  async settle(expected: number, patience: number): Promise<void> {
    let last = this.delivered;
    let since = sharedNow();
    while (this.delivered < expected && sharedNow() - since < patience) {
      await new Promise((r) => setTimeout(r, 20));
      if (this.delivered === last) continue;
      last = this.delivered;
      since = sharedNow();
    }
  }

  async finish(order: Order & { kind: 'finish' }): Promise<Seen> {
    const { sent, acknowledged, objects, patience } = order;
    const watchers = this.#o.sessions * this.#o.perSession;
    const expected = watchers * sent.length;
    await this.settle(expected, patience);
    const lags = new Float64Array(this.delivered);
    const whole = new Float64Array(this.delivered);
    let n = 0;
    let disordered = 0;
    for (let w = 0; w < watchers; w++)
      for (let seq = 0; seq < sent.length; seq++) {
        const at = this.#at[w * this.#o.changes + seq]!;
        if (at === 0) continue;
        lags[n] = at - acknowledged[seq]!;
        whole[n++] = at - sent[seq]!;
        const before = seq < objects ? 0 : this.#at[w * this.#o.changes + seq - objects]!;
        if (before > at) disordered++;
      }
    lags.sort();
    whole.sort();
    const p = (values: Float64Array, share: number): number =>
      values[Math.min(values.length - 1, Math.floor(values.length * share))] ?? Number.NaN;
    const { user, system } = process.cpuUsage();
    return {
      delivered: this.delivered,
      missing: expected - this.delivered,
      doubled: this.doubled,
      disordered,
      ended: this.ended,
      lagP50: p(lags, 0.5),
      lagP99: p(lags, 0.99),
      lagMax: p(lags, 1),
      sinceSentP99: p(whole, 0.99),
      lastSeen: this.#lastSeen,
      megabytes: this.bytes / 2 ** 20,
      cpuSeconds: (user + system) / 1e6,
    };
  }

  close(): void {
    for (const socket of this.#sockets) socket.destroy();
  }
}

if (import.meta.main) {
  let audience: Audience | undefined;
  const say = (answer: Answer): void => void process.send!(answer);
  const obey = async (order: Order): Promise<Answer> => {
    if (order.kind === 'open') {
      audience = new Audience(order.options);
      await audience.open();
      return { kind: 'open' };
    }
    if (order.kind === 'ended') return { kind: 'ended', ended: audience!.ended };
    return { kind: 'seen', seen: await audience!.finish(order) };
  };
  process.on('message', (order: Order) => {
    obey(order).then(say, (e: unknown) => say({ kind: 'failed', message: (e as Error).message }));
  });
  process.on('disconnect', () => {
    audience?.close();
    process.exit();
  });
}
