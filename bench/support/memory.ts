/** What a process has of the machine: memory, anonymous and of the store's file, and CPU time. */
import { readFileSync, readdirSync } from 'node:fs';

export interface Memory {
  readonly anonymous: number;
  /** Of the store's file: the page cache's, given back when somebody else needs it. */
  readonly engine: number;
}

/** Anonymous resident memory alone, MiB: what can be looked at often, since the kernel keeps count of it. */
export function anonymousOf(pid: number | 'self'): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/RssAnon:\s+(\d+)/.exec(status)![1]) / 1024;
}

export function memoryOf(pid: number | 'self'): Memory {
  return { anonymous: anonymousOf(pid), engine: engineOf(pid) };
}

function engineOf(pid: number | 'self'): number {
  let kib = 0;
  let store = false;
  for (const line of readFileSync(`/proc/${pid}/smaps`, 'utf8').split('\n')) {
    if (/^[0-9a-f]+-[0-9a-f]+ /.test(line)) store = line.endsWith('/store.mdb');
    else if (store && line.startsWith('Rss:')) kib += Number(/\d+/.exec(line)![0]);
  }
  return kib / 1024;
}

/** User and system CPU seconds of the living threads of a process so far, to the nanosecond: a tick is too coarse for an idle one. */
export function cpuSecondsOf(pid: number): number {
  let nanoseconds = 0;
  for (const task of readdirSync(`/proc/${pid}/task`))
    try {
      nanoseconds += Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0]);
    } catch (e) {
      // A thread that has ended meanwhile.
      if ((e as NodeJS.ErrnoException).code !== 'ENOENT' && (e as NodeJS.ErrnoException).code !== 'ESRCH') throw e;
    }
  return nanoseconds / 1e9;
}
