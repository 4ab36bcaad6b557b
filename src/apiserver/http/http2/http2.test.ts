/** Connections: Node's client against them, and frames written by hand for what no client does. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import * as http2 from 'node:http2';
import * as net from 'node:net';
import { type Duplex, Readable, duplexPair } from 'node:stream';
import { test } from 'node:test';
import { SeededRandom } from '../../../base/random.ts';
import { silentLogger } from '../../../base/logger.ts';
import type { WireResponse, WireWatch } from '../../encode/wire.ts';
import type { IncomingRequest } from '../../request.ts';
import { Http2Connections } from '../h2.ts';
import { localPeer } from '../peer.ts';
import { errorCode, frameType, preface, readUint32, writeFrameHeader } from './frames.ts';

type Handler = (request: IncomingRequest) => Promise<WireResponse> | WireResponse;

interface Opened {
  readonly socket: Duplex;
  readonly connections: Http2Connections;
  readonly finished: string[];
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

async function until(look: () => boolean): Promise<void> {
  for (let i = 0; i < 20_000; i++) {
    if (look()) return;
    await turn();
  }
  throw new Error('waited in vain');
}

function text(body: string, headers: Record<string, string> = {}): WireResponse {
  const bytes = Buffer.from(body);
  return { status: 200, headers: { 'content-length': bytes.length, ...headers }, body: { kind: 'bytes', bytes } };
}

function serve(handle: Handler, maxStreams = 100): Omit<Opened, 'socket'> & { accept(socket: Duplex): void } {
  const finished: string[] = [];
  const connections = new Http2Connections(
    { handle: async (request) => handle(request), finished: (body) => void finished.push(body.kind) },
    silentLogger,
    undefined,
    maxStreams,
  );
  const accept = (socket: Duplex): void => {
    socket.on('error', () => {});
    connections.accept(socket, localPeer({ name: 'somebody', groups: [] }));
  };
  return { connections, finished, accept };
}

function open(handle: Handler, maxStreams?: number): Opened {
  const { connections, finished, accept } = serve(handle, maxStreams);
  const [socket, server] = duplexPair();
  socket.on('error', () => {});
  accept(server);
  return { socket, connections, finished };
}

/** Through the kernel, whose sockets let buffers be used again. */
async function openSocket(handle: Handler): Promise<Opened & AsyncDisposable> {
  const { connections, finished, accept } = serve(handle);
  const server = net.createServer({ noDelay: true }, accept).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const socket = net.connect((server.address() as net.AddressInfo).port, '127.0.0.1').setNoDelay();
  await new Promise((resolve) => socket.once('connect', resolve));
  return {
    socket,
    connections,
    finished,
    async [Symbol.asyncDispose]() {
      socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function client(opened: Opened, options: http2.ClientSessionOptions = {}): http2.ClientHttp2Session {
  const session = http2.connect('http://localhost', {
    createConnection: () => opened.socket,
    maxSessionMemory: 1000,
    ...options,
  });
  session.on('error', () => {});
  return session;
}

interface Answer {
  readonly headers: http2.IncomingHttpHeaders & http2.IncomingHttpStatusHeader;
  readonly body: Buffer;
}

function ask(
  session: http2.ClientHttp2Session,
  headers: http2.OutgoingHttpHeaders,
  body?: Buffer | Readable,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const stream = session.request(headers, { endStream: body === undefined });
    if (body instanceof Readable) body.pipe(stream);
    else if (body !== undefined) stream.end(body);
    const chunks: Buffer[] = [];
    let head: Answer['headers'] = {};
    stream.on('response', (h) => (head = h));
    stream.on('data', (d: Buffer) => chunks.push(d));
    stream.on('end', () => resolve({ headers: head, body: Buffer.concat(chunks) }));
    stream.on('error', reject);
  });
}

const sha = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

test('bodies both ways, many at a time, larger than every window', async () => {
  await using opened = await openSocket(async (request) => {
    if (request.body.kind === 'none') return text(`${request.method} ${request.path}?${request.rawQuery ?? ''}`);
    assert.equal(request.body.kind, 'bytes');
    const body = request.body as IncomingRequest['body'] & { kind: 'bytes' };
    if (request.path === '/stream') {
      return { status: 200, headers: {}, body: { kind: 'stream', stream: body.stream!() } };
    }
    const bytes = await body.read(64 << 20);
    return { status: 201, headers: { 'x-length': bytes.length }, body: { kind: 'bytes', bytes } };
  });
  const session = client(opened);
  const random = new SeededRandom(3);
  const large = Buffer.from(Array.from({ length: 1 << 20 }, () => Math.floor(random.float() * 256)));
  const larger = Buffer.concat([large, large, large, large, large]);
  const answers = await Promise.all([
    ask(session, { ':path': '/a?b=c' }),
    ...Array.from({ length: 20 }, (_, i) =>
      ask(session, { ':path': i % 2 === 0 ? '/echo' : '/stream', ':method': 'POST' }, i < 2 ? larger : large),
    ),
    ask(session, { ':path': '/empty', ':method': 'PUT' }, Buffer.alloc(0)),
  ]);
  assert.equal(answers[0]!.body.toString(), 'GET /a?b=c');
  for (const [i, answer] of answers.slice(1, 21).entries())
    assert.equal(sha(answer.body), sha(i < 2 ? larger : large), `answer ${i}`);
  assert.equal(answers[1]!.headers['x-length'], String(larger.length));
  assert.equal(answers[21]!.body.length, 0);
  assert.match(String(answers[0]!.headers.date), /GMT$/);
  await until(() => opened.finished.length === 10);
  session.destroy();
});

test('HEAD, no body, long answers in pieces, fields that come twice, an answer before the body is there', async () => {
  const seen: (readonly string[])[] = [];
  const opened = open(async (request) => {
    seen.push(request.rawHeaders ?? []);
    switch (request.path) {
      case '/none':
        return { status: 204, headers: {}, body: { kind: 'none' } };
      case '/headers':
        return text(JSON.stringify(request.headers), { warning: 'a' });
      case '/chunks': {
        const chunks = (async function* () {
          for (let i = 0; i < 50; i++) yield Buffer.alloc(50_000, i);
        })();
        return { status: 200, headers: {}, body: { kind: 'chunks', chunks, gzip: request.rawQuery === 'gzip' } };
      }
      case '/refused':
        return { ...text('no'), status: 413 };
      case '/broken':
        throw new Error('handlers never do this');
      default:
        return { ...text('text'), headers: { 'content-length': 4, warning: ['one', 'two'], connection: 'keep-alive' } };
    }
  });
  const session = client(opened);
  const head = await ask(session, { ':path': '/', ':method': 'HEAD' });
  assert.equal(head.headers['content-length'], '4');
  assert.equal(head.body.length, 0);
  assert.deepEqual(String(head.headers['warning']), 'one, two');
  assert.equal(head.headers['connection'], undefined);
  assert.equal((await ask(session, { ':path': '/none' })).headers[':status'], 204);
  const twice = JSON.parse(
    (
      await ask(session, {
        ':path': '/headers',
        'x-two': ['1', '2'],
        cookie: ['a=b', 'c=d'],
        ['__proto__']: 'x',
        constructor: 'y',
      })
    ).body.toString(),
  ) as Record<string, string>;
  assert.equal(twice['x-two'], '1, 2');
  assert.equal(twice['cookie'], 'a=b; c=d');
  assert.equal(twice['constructor'], 'y');
  assert.equal(twice[':authority'], 'localhost:80');
  assert.deepEqual(
    seen.at(-1)!.filter((_, i, all) => all[i - (i % 2)] === 'x-two'),
    ['x-two', '1', 'x-two', '2'],
  );
  assert.equal((await ask(session, { ':path': '/chunks' })).body.length, 2_500_000);
  assert.ok((await ask(session, { ':path': '/chunks?gzip' })).body.length < 100_000);
  // More than the window: the rest is not waited for.
  const refused = await new Promise((resolve, reject) => {
    const stream = session.request({ ':path': '/refused', ':method': 'POST' });
    stream.on('response', (h) => resolve(h[':status']));
    stream.on('error', reject);
    stream.resume();
    stream.write(Buffer.alloc(3 << 20));
  });
  assert.equal(refused, 413);
  await assert.rejects(ask(session, { ':path': '/broken' }), /INTERNAL_ERROR/);
  assert.equal((await ask(session, { ':path': '/none' })).headers[':status'], 204);
  session.destroy();
});

test('headers of a megabyte are refused with 431, and the connection goes on', async () => {
  const opened = open(() => text('taken'));
  const session = client(opened, { maxSendHeaderBlockLength: 2 << 20 });
  const large = { 'x-large': 'x'.repeat(900_000) };
  assert.equal((await ask(session, { ':path': '/', ...large })).headers[':status'], 200);
  const refused = await ask(session, { ':path': '/', ...large, 'x-more': 'y'.repeat(200_000) });
  assert.equal(refused.headers[':status'], 431);
  assert.match(refused.body.toString(), /HTTP Error 431/);
  assert.equal((await ask(session, { ':path': '/' })).headers[':status'], 200);
  session.destroy();
});

test('a client that leaves, or takes its request back, aborts it; the end of the server lets requests finish', async () => {
  const signals: AbortSignal[] = [];
  const waiting: (() => void)[] = [];
  const opened = open(async (request) => {
    signals.push(request.signal);
    if (request.path === '/body' && request.body.kind === 'bytes') {
      await assert.rejects(request.body.read(1000), /the client went away/);
      return text('nobody');
    }
    await new Promise<void>((resolve) => waiting.push(resolve));
    return text('late');
  });
  const session = client(opened);
  const stream = session.request({ ':path': '/' });
  stream.on('error', () => {});
  await until(() => signals.length === 1);
  stream.close(http2.constants.NGHTTP2_CANCEL);
  await until(() => signals[0]!.aborted);
  const half = session.request({ ':path': '/body', ':method': 'POST' });
  half.on('error', () => {});
  half.write('half');
  await until(() => signals.length === 2);
  half.close(http2.constants.NGHTTP2_CANCEL);
  await until(() => signals[1]!.aborted);
  const late = ask(session, { ':path': '/late' });
  await until(() => signals.length === 3);
  const goaways: number[] = [];
  session.on('goaway', (_code, last) => goaways.push(last));
  opened.connections.drain();
  await until(() => goaways.length === 2);
  assert.deepEqual(goaways, [2 ** 31 - 1, 5]);
  for (const resolve of waiting) resolve();
  assert.equal((await late).body.toString(), 'late');
  await until(() => opened.connections.size === 0);
  assert.equal(signals[2]!.aborted, false);
});

/** What a client without a library sees and says. */
class Raw {
  readonly opened: Opened;
  readonly frames: { type: number; flags: number; stream: number; payload: Buffer }[] = [];
  ended = false;
  #rest: Buffer = Buffer.alloc(0);

  constructor(opened: Opened, settings: Buffer = Buffer.alloc(0)) {
    this.opened = opened;
    opened.socket.on('data', (d: Buffer) => this.#take(d));
    opened.socket.on('close', () => (this.ended = true));
    opened.socket.on('end', () => (this.ended = true));
    this.write(preface);
    this.frame(frameType.settings, 0, 0, settings);
  }

  #take(bytes: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, bytes]);
    while (this.#rest.length >= 9) {
      const size = this.#rest.readUIntBE(0, 3);
      if (this.#rest.length < 9 + size) return;
      this.frames.push({
        type: this.#rest[3]!,
        flags: this.#rest[4]!,
        stream: readUint32(this.#rest, 5),
        payload: this.#rest.subarray(9, 9 + size),
      });
      this.#rest = this.#rest.subarray(9 + size);
    }
  }

  write(bytes: Buffer): void {
    if (!this.opened.socket.destroyed) this.opened.socket.write(bytes);
  }

  frame(type: number, flags: number, stream: number, payload: Buffer = Buffer.alloc(0)): void {
    const head = Buffer.alloc(9);
    writeFrameHeader(head, 0, payload.length, type, flags, stream);
    this.write(Buffer.concat([head, payload]));
  }

  /** GET / */
  get(stream: number): void {
    this.frame(frameType.headers, 5, stream, Buffer.from([0x82, 0x84, 0x87]));
  }

  of(type: number): Raw['frames'] {
    return this.frames.filter((f) => f.type === type);
  }

  /** How the connection was ended. */
  async end(): Promise<number> {
    await until(() => this.ended);
    const last = this.of(frameType.goaway).at(-1);
    return last === undefined ? -1 : readUint32(last.payload, 4);
  }
}

const uint32 = (n: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(n);
  return bytes;
};

test('frames that come byte by byte, and all in one piece', async () => {
  const opened = open(() => text('hello'));
  const raw = new Raw(opened);
  const frame = (stream: number): Buffer => {
    const bytes = Buffer.concat([Buffer.alloc(9), Buffer.from([0x82, 0x84, 0x87])]);
    writeFrameHeader(bytes, 0, 3, frameType.headers, 5, stream);
    return bytes;
  };
  for (const byte of Buffer.concat([frame(1), frame(3)])) {
    raw.write(Buffer.from([byte]));
    await turn();
  }
  raw.write(Buffer.concat([frame(5), frame(7), frame(9)]));
  await until(() => raw.of(frameType.data).length === 5);
  assert.deepEqual(
    raw.of(frameType.data).map((f) => `${f.stream} ${f.payload.toString()}`),
    ['1 hello', '3 hello', '5 hello', '7 hello', '9 hello'],
  );
  opened.socket.destroy();
});

test('floods: resets, pings, settings, empty frames and crumbs of headers end the connection', async () => {
  const floods: Record<string, (raw: Raw, i: number) => void> = {
    'rapid reset': (raw, i) => {
      raw.get(2 * i + 1);
      raw.frame(frameType.rstStream, 0, 2 * i + 1, uint32(errorCode.cancel));
    },
    ping: (raw) => raw.frame(frameType.ping, 0, 0, Buffer.alloc(8)),
    settings: (raw) => raw.frame(frameType.settings, 0, 0),
    priority: (raw) => raw.frame(frameType.priority, 0, 1, Buffer.from([0, 0, 0, 3, 1])),
    'empty data': (raw, i) => {
      if (i === 0) raw.frame(frameType.headers, 4, 1, Buffer.from([0x83, 0x84, 0x87]));
      raw.frame(frameType.data, 0, 1);
    },
    continuation: (raw, i) => {
      if (i === 0) raw.frame(frameType.headers, 1, 1, Buffer.from([0x82]));
      raw.frame(frameType.continuation, 0, 1, Buffer.from([0x84]));
    },
    'large continuation': (raw, i) => {
      if (i === 0) raw.frame(frameType.headers, 1, 1, Buffer.from([0x82]));
      raw.frame(frameType.continuation, 0, 1, Buffer.alloc(16_384, 0x84));
    },
    'unknown frames': (raw) => raw.frame(200, 0, 0, Buffer.from('x')),
  };
  for (const [name, flood] of Object.entries(floods)) {
    let handled = 0;
    const opened = open(async () => {
      handled++;
      await new Promise(() => {});
      return text('never');
    });
    const raw = new Raw(opened);
    for (let i = 0; i < 5000 && !raw.ended; i++) {
      flood(raw, i);
      if (i % 50 === 0) await turn();
    }
    assert.equal(await raw.end(), errorCode.enhanceYourCalm, name);
    assert.ok(handled <= 100, `${name}: ${handled} requests at work for a client that may have 100`);
  }
});

test('a client that gives no window or reads nothing is held within bounds, and its watches wait', async () => {
  let waits = 0;
  const watches: { closed: boolean }[] = [];
  const opened = open((request) => {
    if (request.path !== '/') return text('x'.repeat(1 << 20));
    const state = { closed: false };
    watches.push(state);
    const watch: WireWatch = {
      take: () => {
        waits++;
        return Buffer.alloc(1000);
      },
      close: () => void (state.closed = true),
    };
    return { status: 200, headers: {}, body: { kind: 'watch', watch } };
  });
  const noWindow = Buffer.from([0, 4, 0, 0, 0, 0]);
  const raw = new Raw(opened, noWindow);
  raw.get(1);
  await until(() => raw.of(frameType.headers).length === 1);
  for (let i = 0; i < 20; i++) await turn();
  assert.equal(waits, 1, 'a batch is taken when the one before is gone');
  assert.equal(raw.of(frameType.data).length, 0);
  raw.frame(frameType.windowUpdate, 0, 1, uint32(1500));
  await until(() => raw.of(frameType.data).length === 2);
  assert.equal(waits, 2);
  // A megabyte each that nobody takes: no more than 64 of them.
  const path = Buffer.from([0x82, 0x87, 0x44, 0x02, 0x2f, 0x61]);
  for (let i = 1; i <= 90; i++) {
    raw.frame(frameType.headers, 5, 2 * i + 1, path);
    await turn();
  }
  await until(() => raw.of(frameType.headers).length + raw.of(frameType.rstStream).length === 91);
  const refused = raw.of(frameType.rstStream);
  assert.ok(refused.length >= 20, `${refused.length} refused`);
  assert.ok(refused.every((f) => readUint32(f.payload, 0) === errorCode.refusedStream));
  opened.socket.destroy();
  await until(() => watches[0]!.closed);
  await until(() => opened.connections.size === 0);
});

test('whatever bytes come, nothing throws and the connection ends or goes on', async () => {
  const random = new SeededRandom(5);
  const byte = (below = 256): number => Math.floor(random.float() * below);
  for (let round = 0; round < 150; round++) {
    const opened = open(() => text('x'));
    const raw = new Raw(opened);
    for (let i = 0; i < 60 && !raw.ended; i++) {
      const payload = Buffer.from(Array.from({ length: byte(round % 3 === 0 ? 40 : 12) }, () => byte()));
      if (byte(4) === 0) raw.get(2 * i + 1);
      else raw.frame(byte(12), byte(), byte(3) === 0 ? 0 : byte(2 * i + 3), payload);
      if (byte(3) === 0) await turn();
    }
    if (round % 2 === 0) raw.write(Buffer.from(Array.from({ length: 200 }, () => byte())));
    await turn();
    opened.socket.destroy();
    await until(() => opened.connections.size === 0);
  }
});
