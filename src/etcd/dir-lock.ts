/**
 * The lock that keeps a second process (or a second store of this one) out of a data directory: a file naming its owner.
 * An owner that no longer lives is told from its pid and, where the system tells it, the time that process started and the
 * boot it belongs to; such a lock is taken over.
 */
import { linkSync, readFileSync, renameSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** The data directory belongs to another store. */
export class DataDirInUseError extends Error {
  readonly dir: string;
  readonly pid: number;
  constructor(dir: string, pid: number, file: string) {
    super(`data directory ${dir} is in use by process ${pid}; stop that process first (its lock is ${file})`);
    this.name = 'DataDirInUseError';
    this.dir = dir;
    this.pid = pid;
  }
}

interface Owner {
  readonly pid: number;
  /** What tells this process from a later one with the same pid; empty where the system has no such thing. */
  readonly identity: string;
}

function identityOf(pid: number): string | undefined {
  if (process.platform !== 'linux') return '';
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The fields after the command name, which may itself hold spaces and brackets; the 20th of them is the start time.
    const started = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    return `${boot}/${started}`;
  } catch {
    // No such process, or no /proc to ask.
    return undefined;
  }
}

function lives(owner: Owner): boolean {
  try {
    process.kill(owner.pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
  }
  const identity = identityOf(owner.pid);
  return identity === undefined || identity === '' || owner.identity === '' || identity === owner.identity;
}

function readOwner(file: string): Owner | undefined {
  try {
    const o = JSON.parse(readFileSync(file, 'utf8')) as Partial<Owner>;
    if (typeof o.pid === 'number' && typeof o.identity === 'string') return { pid: o.pid, identity: o.identity };
  } catch {
    // Gone meanwhile, or cut short by a crash while it was written: nobody holds it.
  }
  return undefined;
}

/** Takes the lock of `dir` or throws `DataDirInUseError`; returns what releases it. */
export function lockDirectory(dir: string): () => void {
  const file = join(dir, 'knarr.lock');
  const draft = `${file}.${process.pid}`;
  const content = JSON.stringify({ pid: process.pid, identity: identityOf(process.pid) ?? '' });
  for (let attempt = 0; ; attempt++) {
    // Written first and linked to its name then: whoever sees the file sees its owner in it.
    writeFileSync(draft, content, { mode: 0o600 });
    try {
      linkSync(draft, file);
      return () => {
        if (readOwner(file)?.pid === process.pid) unlinkSync(file);
      };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    } finally {
      unlinkSync(draft);
    }
    const owner = readOwner(file);
    if (attempt > 10 || (owner && lives(owner))) throw new DataDirInUseError(dir, owner?.pid ?? 0, file);
    // Moved aside rather than removed: of two that take over at once only one finds the dead owner's file.
    const aside = `${draft}.stale`;
    try {
      renameSync(file, aside);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      continue;
    }
    const moved = readOwner(aside);
    if (moved && lives(moved)) {
      linkSync(aside, file);
      unlinkSync(aside);
      throw new DataDirInUseError(dir, moved.pid, file);
    }
    unlinkSync(aside);
  }
}
