/**
 * Making a directory that somebody named, with its parents, each in its turn. Node's own recursive `mkdir` goes round for ever
 * where a directory exists in which none can be made (`/proc`).
 */
import { mkdirSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';

/** A directory that cannot be; the message is one line and names what stands in the way. */
export class DirectoryError extends Error {
  /** `ENOENT`, `EACCES`, `ENOTDIR`, `EROFS`, … */
  readonly code: string;

  constructor(dir: string, at: string, cause: unknown) {
    const { code = '', message } = cause as NodeJS.ErrnoException;
    super(`cannot make the directory ${dir}: ${reasons[code]?.(at) ?? message}`, { cause });
    this.name = 'DirectoryError';
    this.code = code;
  }
}

/** What is the matter with `at`, the first directory that is missing, or the one that is none. */
const reasons: Readonly<Record<string, (at: string) => string>> = {
  ENOENT: (at) => `${dirname(at)} can hold no directories`,
  ENOTDIR: (at) => `${at} is not a directory`,
  EACCES: (at) => `permission denied in ${dirname(at)}`,
  EPERM: (at) => `permission denied in ${dirname(at)}`,
  EROFS: (at) => `${dirname(at)} is on a read-only file system`,
  ENOSPC: (at) => `no space left in ${dirname(at)}`,
};

function notDirectory(at: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`ENOTDIR: not a directory, mkdir '${at}'`), { code: 'ENOTDIR' });
}

/** Undefined where nothing is. */
function isDirectory(at: string): boolean | undefined {
  return statSync(at, { throwIfNoEntry: false })?.isDirectory();
}

/**
 * Makes `dir` and the parents it lacks, all with `mode` (less the process's umask). What exists is left as it is.
 * @throws {DirectoryError}
 */
export function makeDirectory(dir: string, mode = 0o777): void {
  const missing: string[] = [];
  let at = resolve(dir);
  try {
    for (let there = isDirectory(at); there !== true; there = isDirectory(at)) {
      if (there === false) throw notDirectory(at);
      missing.push(at);
      if (dirname(at) === at) break;
      at = dirname(at);
    }
    for (const path of missing.reverse()) {
      at = path;
      try {
        mkdirSync(path, { mode });
      } catch (error) {
        // Somebody else may have made it meanwhile.
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
        if (isDirectory(path) !== true) throw notDirectory(path);
      }
    }
  } catch (error) {
    throw new DirectoryError(dir, at, error);
  }
}
