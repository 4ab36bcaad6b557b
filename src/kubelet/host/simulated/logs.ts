/** Container logs of a simulated node: bounded in memory, with followers. The runtime writes, the host reads. */
import type { LogEntry, ReadLogOptions } from '../node-host.ts';

interface LogFile {
  entries: LogEntry[];
  bytes: number;
  /** How many entries were dropped from the front. */
  dropped: number;
  closed: boolean;
  wake: (() => void)[] | undefined;
}

const fraction = '000000';

/** RFC 3339 with nanoseconds from milliseconds. */
export function logTime(ms: number): string {
  return new Date(ms).toISOString().replace('Z', `${fraction}Z`);
}

export class SimulatedLogs {
  readonly #files = new Map<string, LogFile>();
  readonly #limit: number;
  readonly #now: () => number;

  /** `limit`: bytes kept per log; the oldest entries go first. */
  constructor(now: () => number, limit = 1024 * 1024) {
    this.#now = now;
    this.#limit = limit;
  }

  /** Opens a log for one container's life. */
  open(path: string): void {
    const file = this.#files.get(path);
    if (file !== undefined) file.closed = false;
  }

  #file(path: string): LogFile {
    let file = this.#files.get(path);
    if (file === undefined) {
      file = { entries: [], bytes: 0, dropped: 0, closed: false, wake: undefined };
      this.#files.set(path, file);
    }
    return file;
  }

  append(path: string, stream: 'stdout' | 'stderr', data: Buffer, partial: boolean): void {
    const file = this.#file(path);
    file.entries.push({ time: logTime(this.#now()), stream, partial, data });
    file.bytes += data.length + 64;
    let drop = 0;
    while (file.bytes > this.#limit && drop < file.entries.length - 1)
      file.bytes -= file.entries[drop++]!.data.length + 64;
    if (drop > 0) {
      file.entries.splice(0, drop);
      file.dropped += drop;
    }
    this.#wake(file);
  }

  #wake(file: LogFile): void {
    const wake = file.wake;
    file.wake = undefined;
    if (wake !== undefined) for (const w of wake) w();
  }

  /** The writer has gone: followers look again whether it is over. */
  close(path: string): void {
    const file = this.#files.get(path);
    if (file === undefined) return;
    file.closed = true;
    this.#wake(file);
  }

  /** Wakes followers of a log that was never written. */
  end(path: string): void {
    this.close(path);
  }

  removeUnder(directory: string): void {
    for (const [path, file] of this.#files) {
      if (!path.startsWith(`${directory}/`)) continue;
      this.#files.delete(path);
      file.closed = true;
      this.#wake(file);
    }
  }

  remove(path: string): void {
    const file = this.#files.get(path);
    if (file === undefined) return;
    this.#files.delete(path);
    file.closed = true;
    this.#wake(file);
  }

  /** Lets go of what was written so far, save for those who follow it. */
  rotate(path: string): void {
    const file = this.#files.get(path);
    if (file === undefined) return;
    file.dropped += file.entries.length;
    file.entries = [];
    file.bytes = 0;
  }

  size(path: string): number {
    return this.#files.get(path)?.bytes ?? 0;
  }

  async *read(path: string, options: ReadLogOptions): AsyncGenerator<readonly LogEntry[]> {
    const file = options.follow ? this.#file(path) : this.#files.get(path);
    if (file === undefined) return;
    let at = file.dropped;
    if (options.tailLines !== undefined) {
      let i = file.entries.length;
      let lines = 0;
      while (i > 0) {
        if (!file.entries[i - 1]!.partial && ++lines > options.tailLines) break;
        i--;
      }
      at = file.dropped + (options.tailLines === 0 ? file.entries.length : i);
    }
    const since = options.since === undefined ? '' : logTime(options.since);
    for (;;) {
      if (options.signal?.aborted) return;
      const start = Math.max(at - file.dropped, 0);
      const batch = file.entries.slice(start).filter((e) => e.time >= since);
      at = file.dropped + file.entries.length;
      if (batch.length > 0) yield batch;
      if (!options.follow) return;
      if (at < file.dropped + file.entries.length) continue;
      // What was written while the question was open must not be lost: ask first, then look once more.
      const over = (await options.ended?.()) ?? false;
      if (at < file.dropped + file.entries.length) continue;
      if (over) return;
      await new Promise<void>((resolve) => {
        const onAbort = () => resolve();
        options.signal?.addEventListener('abort', onAbort, { once: true });
        (file.wake ??= []).push(() => {
          options.signal?.removeEventListener('abort', onAbort);
          resolve();
        });
      });
    }
  }
}
