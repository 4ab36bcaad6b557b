/**
 * Questions for a name server from a process of its own, over UDP on loopback, so many in flight at a time: most of them names of
 * Services that there are, the rest names that nobody has asked for before. Bounded in time; each answer is looked at.
 */
import { fork } from 'node:child_process';
import { createSocket } from 'node:dgram';
import type { Socket } from 'node:dgram';

export interface DnsLoadOptions {
  readonly address: string;
  readonly port: number;
  readonly seconds: number;
  /** Sockets, and questions in flight on each. */
  readonly sockets: number;
  readonly window: number;
  /** Names and types that are asked for again and again, all of which have answers. */
  readonly known: readonly { readonly name: string; readonly type: number }[];
  /** Of a hundred questions so many are for names never asked for before, half of which do not exist. */
  readonly fresh: number;
  /** Begins the fresh names of this run. */
  readonly seed: number;
}

export interface DnsLoad {
  readonly answers: number;
  readonly seconds: number;
  /** No answer in a second, or not the right one. */
  readonly lost: number;
  readonly wrong: number;
  /** What the first wrong answers were. */
  readonly examples: readonly string[];
  /** Milliseconds. */
  readonly p50: number;
  readonly p99: number;
  readonly cpuSeconds: number;
}

const headerLength = 12;
const lateMs = 1000;
const slotBits = 8;
const bucketsPerMs = 50;

function encode(name: string, type: number): Buffer {
  const labels = name.split('.').map((l) => Buffer.concat([Buffer.from([l.length]), Buffer.from(l)]));
  const head = Buffer.from('000001000001000000000000', 'hex');
  return Buffer.concat([head, ...labels, Buffer.from([0, type >> 8, type & 255, 0, 1])]);
}

/** `10-1-2-3.default.pod.…` exists whatever the numbers are; `0123abcd.default.svc.…` never does. */
class FreshNames {
  #next: number;
  readonly #pod = encode('10-000-000-000.default.pod.cluster.local', 1);
  readonly #none = encode('f00000000.default.svc.cluster.local', 1);

  constructor(seed: number) {
    this.#next = seed;
  }

  /** The bytes are used again for the next one. */
  next(exists: boolean): Buffer {
    const n = this.#next++;
    if (!exists) {
      let rest = n;
      for (let i = 8; i > 0; i--) {
        this.#none[headerLength + 1 + i] = 97 + (rest & 15);
        rest >>>= 4;
      }
      return this.#none;
    }
    // Numbers of three digits.
    const octets = [n >>> 14, n >>> 7, n].map((part) => 100 + (part & 127));
    octets.forEach((octet, i) => {
      const at = headerLength + 4 + i * 4;
      this.#pod[at] = 48 + Math.floor(octet / 100);
      this.#pod[at + 1] = 48 + (Math.floor(octet / 10) % 10);
      this.#pod[at + 2] = 48 + (octet % 10);
    });
    return this.#pod;
  }
}

/** What an answer must be like. */
type Want = 'answers' | 'nxdomain';

async function run(o: DnsLoadOptions): Promise<DnsLoad> {
  const known = o.known.map((k) => encode(k.name, k.type));
  const fresh = new FreshNames(o.seed);
  const buckets = new Uint32Array(lateMs * bucketsPerMs + 1);
  const examples: string[] = [];
  let answers = 0;
  let lost = 0;
  let wrong = 0;
  let turn = 0;
  let ended = false;

  class Line {
    readonly #socket: Socket;
    readonly #sent = new Float64Array(1 << slotBits);
    readonly #wants: Want[] = Array.from({ length: 1 << slotBits }, () => 'answers');
    /** Of each place the number of its present question, which is the other half of its id. */
    readonly #round = new Uint8Array(1 << slotBits);
    readonly #open = new Uint8Array(1 << slotBits);

    constructor(socket: Socket) {
      this.#socket = socket;
      socket.on('message', (message) => this.#take(message));
    }

    ask(slot: number): void {
      turn = (turn + 1) % 100_000;
      let message: Buffer;
      let want: Want = 'answers';
      if ((turn * 37) % 100 < o.fresh) {
        want = turn % 2 === 0 ? 'answers' : 'nxdomain';
        message = Buffer.from(fresh.next(want === 'answers'));
      } else message = Buffer.from(known[(turn * 7) % known.length]!);
      this.#round[slot] = (this.#round[slot]! + 1) & 255;
      message[0] = this.#round[slot]!;
      message[1] = slot;
      this.#wants[slot] = want;
      this.#open[slot] = 1;
      this.#sent[slot] = performance.now();
      this.#socket.send(message);
    }

    #take(message: Buffer): void {
      const slot = message[1]!;
      if (this.#open[slot] !== 1 || message[0] !== this.#round[slot]) return;
      this.#open[slot] = 0;
      answers++;
      const took = performance.now() - this.#sent[slot]!;
      buckets[Math.min(Math.floor(took * bucketsPerMs), buckets.length - 1)]!++;
      const rcode = message[3]! & 15;
      const count = (message[6]! << 8) | message[7]!;
      const right = this.#wants[slot] === 'nxdomain' ? rcode === 3 : rcode === 0 && count > 0;
      if (!right) {
        wrong++;
        if (examples.length < 5) examples.push(message.toString('hex'));
      }
      if (!ended) this.ask(slot);
    }

    /** Questions that have waited too long are lost; others take their places. */
    sweep(window: number): void {
      const now = performance.now();
      for (let slot = 0; slot < window; slot++)
        if (this.#open[slot] === 1 && now - this.#sent[slot]! > lateMs) {
          lost++;
          this.#open[slot] = 0;
          if (!ended) this.ask(slot);
        }
    }

    close(): void {
      this.#socket.close();
    }
  }

  const lines: Line[] = [];
  for (let i = 0; i < o.sockets; i++) {
    const socket = createSocket({ type: 'udp4', recvBufferSize: 4 << 20 });
    await new Promise<void>((resolve) => socket.connect(o.port, o.address, resolve));
    lines.push(new Line(socket));
  }
  const window = Math.min(o.window, 1 << slotBits);
  const cpu = process.cpuUsage();
  const began = performance.now();
  for (const line of lines) for (let slot = 0; slot < window; slot++) line.ask(slot);
  const sweeper = setInterval(() => {
    for (const line of lines) line.sweep(window);
  }, 250);
  await new Promise((resolve) => setTimeout(resolve, o.seconds * 1000));
  ended = true;
  const seconds = (performance.now() - began) / 1000;
  const used = process.cpuUsage(cpu);
  const counted = answers;
  // What is still on its way is waited for: it counts as lost when it does not come.
  await new Promise((resolve) => setTimeout(resolve, lateMs + 250));
  clearInterval(sweeper);
  for (const line of lines) {
    line.sweep(window);
    line.close();
  }
  const at = (share: number): number => {
    let rest = answers * share;
    for (let i = 0; i < buckets.length; i++) {
      rest -= buckets[i]!;
      if (rest <= 0) return (i + 1) / bucketsPerMs;
    }
    return lateMs;
  };
  return {
    answers: counted,
    seconds,
    lost,
    wrong,
    examples,
    p50: at(0.5),
    p99: at(0.99),
    cpuSeconds: (used.user + used.system) / 1e6,
  };
}

/** Puts the load on in a child process; resolves with what it has seen. */
export function dnsLoad(options: DnsLoadOptions): Promise<DnsLoad> {
  const child = fork(import.meta.filename, ['load'], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`the load generator ended with ${code}`)));
    child.once('message', (seen) => {
      resolve(seen as DnsLoad);
      child.disconnect();
    });
    child.send(options);
  });
}

if (process.argv[2] === 'load')
  process.once('message', (options) => {
    void run(options as DnsLoadOptions).then((seen) => process.send!(seen));
  });
