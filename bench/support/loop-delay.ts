/**
 * The delay of an event loop: by how much a timer that is due every millisecond comes late. In this process, or in a `knarr` that
 * was started with `loopProbe`, which asks the other process over a socket.
 */
import { createConnection } from 'node:net';
import { monitorEventLoopDelay } from 'node:perf_hooks';

/** Milliseconds. */
export interface LoopDelay {
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

export interface LoopMeter {
  /** Measures from now on. */
  reset(): Promise<void>;
  /** What was measured since `reset`; ends measuring. */
  read(): Promise<LoopDelay>;
}

/** Of another process. */
export interface ProcessMeter extends LoopMeter {
  /** Has it collect its garbage: what is left is what it holds. */
  collect(): Promise<void>;
}

const resolution = 1;

/** This process's own. */
export function ownLoop(): LoopMeter {
  const histogram = monitorEventLoopDelay({ resolution });
  const late = (nanoseconds: number): number => Math.max(0, nanoseconds / 1e6 - resolution);
  return {
    async reset() {
      histogram.reset();
      histogram.enable();
    },
    async read() {
      histogram.disable();
      return {
        p50: late(histogram.percentile(50)),
        p99: late(histogram.percentile(99)),
        max: late(histogram.max),
      };
    },
  };
}

/** Runs in the other process: its text is handed over, so it may use nothing from around it. */
function answer(path: string, resolution: number): void {
  const { createServer } = process.getBuiltinModule('node:net');
  const { monitorEventLoopDelay } = process.getBuiltinModule('node:perf_hooks');
  const histogram = monitorEventLoopDelay({ resolution });
  const late = (nanoseconds: number): number => Math.max(0, nanoseconds / 1e6 - resolution);
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.on('data', (data) => {
      if (data.toString() === 'collect') {
        const { setFlagsFromString } = process.getBuiltinModule('node:v8');
        setFlagsFromString('--expose-gc');
        const collect = process.getBuiltinModule('node:vm').runInNewContext('gc') as () => void;
        // Memory of buffers is let go of in a later turn.
        collect();
        setTimeout(() => {
          collect();
          socket.end('{}');
        }, 100);
        return;
      }
      if (data.toString() === 'reset') {
        histogram.reset();
        histogram.enable();
        socket.end('{}');
        return;
      }
      histogram.disable();
      socket.end(
        JSON.stringify({
          p50: late(histogram.percentile(50)),
          p99: late(histogram.percentile(99)),
          max: late(histogram.max),
        }),
      );
    });
  });
  server.listen(path);
  server.unref();
}

/** The environment that puts the probe into a Node process, and the meter that asks it; `path` is a socket to be made. */
export function loopProbe(path: string): {
  readonly env: Readonly<Record<string, string>>;
  readonly meter: ProcessMeter;
} {
  const text = `(${answer.toString()})(${JSON.stringify(path)}, ${resolution})`;
  const ask = (command: string): Promise<string> =>
    new Promise((resolve, reject) => {
      const socket = createConnection(path, () => socket.write(command));
      let told = '';
      socket.on('data', (d) => (told += d.toString()));
      socket.once('error', reject);
      socket.once('end', () => resolve(told));
    });
  return {
    env: {
      NODE_OPTIONS: `${process.env['NODE_OPTIONS'] ?? ''} --import data:text/javascript,${encodeURIComponent(text)}`,
    },
    meter: {
      async reset() {
        await ask('reset');
      },
      async read() {
        return JSON.parse(await ask('read')) as LoopDelay;
      },
      async collect() {
        await ask('collect');
      },
    },
  };
}
