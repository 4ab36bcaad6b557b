/** Resident memory of a process, MiB: anonymous, which is the figure, and beside it the engine's pages that it has mapped. */
import { readFileSync } from 'node:fs';

export interface Memory {
  readonly anonymous: number;
  /** Of the store's file: the page cache's, given back when somebody else needs it. */
  readonly engine: number;
}

export function memoryOf(pid: number | 'self'): Memory {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return { anonymous: Number(/RssAnon:\s+(\d+)/.exec(status)![1]) / 1024, engine: engineOf(pid) };
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

/** User and system CPU seconds of another process so far. */
export function cpuSecondsOf(pid: number): number {
  const parts = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
  return (Number(parts[11]) + Number(parts[12])) / 100;
}
