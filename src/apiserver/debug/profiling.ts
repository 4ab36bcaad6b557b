/**
 * `/debug/pprof`: profiles of the process in the forms that Node's tools and browsers' developer tools read: `profile` is a
 * .cpuprofile, `heap` a sampled .heapprofile of what is allocated, `heapsnapshot` all of the heap. Behind `--profiling`.
 */
import type { Readable } from 'node:stream';
import { ioTimer } from '../../base/io-time.ts';
import { textResponse } from '../filters/panic.ts';
import type { Handler, Scope } from '../filters/scope.ts';
import type { OutgoingResponse } from '../request.ts';
import type { Routes } from '../routes.ts';

const kinds: readonly (readonly [string, string])[] = [
  ['cmdline', 'the command line of this process'],
  ['heap', 'a sample of where memory is allocated (.heapprofile); seconds=N: of what is allocated meanwhile'],
  ['heapsnapshot', 'all of the heap (.heapsnapshot); large, and the process stands still while it is made'],
  ['profile', 'where CPU time goes (.cpuprofile); seconds=N, 30 when left out'],
];

function seconds(scope: Scope, otherwise: number): number {
  const given = scope.request.query.get('seconds');
  const value = given === null ? otherwise : Number(given);
  return Number.isFinite(value) && value >= 0 ? value : otherwise;
}

/** Until the time is over or the client has gone. */
function wait(scope: Scope, s: number): Promise<void> {
  return new Promise((resolve) => {
    const cancel = ioTimer(s * 1000, resolve);
    scope.signal.addEventListener(
      'abort',
      () => {
        cancel();
        resolve();
      },
      { once: true },
    );
  });
}

function file(name: string, value: unknown): OutgoingResponse {
  return {
    status: 200,
    headers: { 'x-content-type-options': 'nosniff', 'content-disposition': `attachment; filename="${name}"` },
    body: { kind: 'bytes', contentType: 'application/json', bytes: Buffer.from(JSON.stringify(value)) },
  };
}

class Profiler {
  /** V8 has one profiler for all. */
  #busy = false;

  async cpu(scope: Scope): Promise<OutgoingResponse> {
    return this.#alone(async (session) => {
      await session.post('Profiler.enable');
      await session.post('Profiler.start');
      await wait(scope, seconds(scope, 30));
      const { profile } = await session.post('Profiler.stop');
      return file('profile.cpuprofile', profile);
    });
  }

  async heap(scope: Scope): Promise<OutgoingResponse> {
    return this.#alone(async (session) => {
      await session.post('HeapProfiler.enable');
      await session.post('HeapProfiler.startSampling', { samplingInterval: 32_768 });
      await wait(scope, seconds(scope, 1));
      const { profile } = await session.post('HeapProfiler.stopSampling');
      return file('heap.heapprofile', profile);
    });
  }

  async #alone(
    work: (session: import('node:inspector/promises').Session) => Promise<OutgoingResponse>,
  ): Promise<OutgoingResponse> {
    if (this.#busy) return textResponse(500, 'Could not enable CPU profiling: cpu profiling already in use');
    this.#busy = true;
    const { Session } = await import('node:inspector/promises');
    const session = new Session();
    session.connect();
    try {
      return await work(session);
    } finally {
      session.disconnect();
      this.#busy = false;
    }
  }
}

async function snapshot(): Promise<OutgoingResponse> {
  const { getHeapSnapshot } = await import('node:v8');
  const stream: Readable = getHeapSnapshot();
  return { status: 200, body: { kind: 'stream', contentType: 'application/json', stream } };
}

function index(): OutgoingResponse {
  const rows = kinds
    .map(([name, what]) => `<tr><td><a href='${name}'>${name}</a></td><td>${what}</td></tr>`)
    .join('\n');
  const html = `<html>\n<head>\n<title>/debug/pprof/</title>\n</head>\n<body>\n/debug/pprof/\n<table>\n${rows}\n</table>\n</body>\n</html>\n`;
  return {
    status: 200,
    headers: { 'x-content-type-options': 'nosniff' },
    body: { kind: 'bytes', contentType: 'text/html; charset=utf-8', bytes: Buffer.from(html) },
  };
}

export function installProfiling(routes: Routes): void {
  const profiler = new Profiler();
  const pages: Readonly<Record<string, Handler>> = {
    '': index,
    cmdline: () => textResponse(200, process.argv.join('\0')),
    heap: (scope) => profiler.heap(scope),
    heapsnapshot: snapshot,
    profile: (scope) => profiler.cpu(scope),
  };
  routes.add(
    '/debug/pprof',
    () => ({ status: 302, headers: { location: '/debug/pprof/' }, body: { kind: 'none' } }),
    false,
  );
  routes.addPrefix('/debug/pprof/', (scope) => {
    const handler = pages[scope.info.path.slice('/debug/pprof/'.length)];
    return handler === undefined ? textResponse(404, 'Unknown profile') : handler(scope);
  });
}
