/**
 * Whom the kernel has ended for want of memory, by its log (`/dev/kmsg`): a runtime learns of it from the container's cgroup, which it
 * removes itself as soon as the container has ended, so that under load it may learn of it late or never. The kernel writes its line
 * before it kills, so the line is there when a container is seen to have ended. Read when a container starts and when one was killed.
 */
import { closeSync, constants, openSync, readSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { Slice } from '../../../base/yield.ts';

/** More of a record than the kernel gives at once. */
const recordBytes = 16 * 1024;
/** Containers that are remembered. */
const maxContainers = 4096;

/** `unknown`: the log cannot be read, or lacks lines. */
export type OutOfMemory = 'yes' | 'no' | 'unknown';

const codeOf = (error: unknown): string | undefined => (error as NodeJS.ErrnoException).code;

export class KernelLog {
  #fd: number | undefined;
  /** Ids in the paths of cgroups that processes were killed in. */
  readonly #killed = new Set<string>();
  /** The process of the last `oom-kill:` line, whose end the next line tells. */
  #victim = '';
  #group = false;
  /** Lines are lost: the log went round, or the kernel wrote fewer (it tells of ten kills in five seconds). How often. */
  #gaps = 0;
  #reading: Promise<void> = Promise.resolve();
  #rest = '';

  /** `path`: a kernel log, or a file of its form. One that cannot be opened knows nothing. */
  constructor(path = '/dev/kmsg') {
    try {
      this.#fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    } catch {
      // Without CAP_SYSLOG, or in a container that has none: whoever asks is told `unknown`.
      this.#fd = undefined;
    }
  }

  /** For a container that starts now: what is asked about it later looks at what came after. Undefined where the log cannot be read. */
  async mark(): Promise<number | undefined> {
    await this.#readNew();
    return this.#fd === undefined ? undefined : this.#gaps;
  }

  /** Whether the kernel has killed in a container's cgroup, up to now. `mark`: that of its start, where it is known. */
  async outOfMemory(containerId: string, mark?: number): Promise<OutOfMemory> {
    if (this.#killed.has(containerId)) return 'yes';
    await this.#readNew();
    if (this.#killed.has(containerId)) return 'yes';
    return this.#fd === undefined || this.#gaps > (mark ?? 0) ? 'unknown' : 'no';
  }

  #readNew(): Promise<void> {
    return (this.#reading = this.#reading.then(() => this.#read()));
  }

  forget(containerId: string): void {
    this.#killed.delete(containerId);
  }

  /** Reads what was written since. */
  async #read(): Promise<void> {
    const record = Buffer.alloc(recordBytes);
    const slice = new Slice();
    while (this.#fd !== undefined) {
      let n: number;
      try {
        n = readSync(this.#fd, record);
      } catch (error) {
        if (codeOf(error) === 'EAGAIN') return;
        if (codeOf(error) === 'EPIPE') {
          this.#gaps++;
          continue;
        }
        this.close();
        return;
      }
      if (n === 0) return;
      const lines = (this.#rest + record.toString('utf8', 0, n)).split('\n');
      this.#rest = lines.pop()!;
      for (const line of lines) this.#look(line);
      await slice.turn();
    }
  }

  #look(line: string): void {
    const victim = /;oom-kill:.*,task_memcg=(.*),task=.*,pid=(\d+),uid=\d+$/.exec(line);
    if (victim !== null) {
      this.#victim = victim[2]!;
      this.#group = false;
      this.#remember(victim[1]!);
      return;
    }
    // memory.oom.group: all processes of the cgroup go with the first.
    const group = /;Tasks in (.*) are going to be killed due to memory\.oom\.group set$/.exec(line);
    if (group !== null) {
      this.#group = true;
      this.#remember(group[1]!);
      return;
    }
    const process = /ut of memory(?: \(oom_kill_allocating_task\))?: Killed process (\d+) /.exec(line)?.[1];
    if (process !== undefined && process !== this.#victim && !this.#group) this.#gaps++;
  }

  #remember(cgroup: string): void {
    for (const id of cgroup.match(/[0-9a-f]{64}/g) ?? []) {
      this.#killed.delete(id);
      this.#killed.add(id);
    }
    for (const id of this.#killed) {
      if (this.#killed.size <= maxContainers) break;
      this.#killed.delete(id);
    }
  }

  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }
}

/** How often this kernel has ended a process for want of memory; undefined where it does not tell. */
export async function oomKills(): Promise<number | undefined> {
  try {
    const count = /^oom_kill (\d+)$/m.exec(await readFile('/proc/vmstat', 'utf8'))?.[1];
    return count === undefined ? undefined : Number(count);
  } catch {
    return undefined;
  }
}
