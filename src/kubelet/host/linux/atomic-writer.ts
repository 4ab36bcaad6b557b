/**
 * Configuration volumes on disk: a directory with a time stamp in its name holds the files, `..data` leads to it, and each
 * top-level name leads through `..data`. Renaming a new `..data` over the old one changes all files at once.
 */
import * as fs from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { AtomicWriteOptions, PayloadFile } from '../node-host.ts';
import { groupMask, mkdir } from './files.ts';
import { goError, isMissing } from './fs-error.ts';

const dataLink = '..data';

/** Throws with upstream's text when a file may not have that path. */
function checkPath(path: string): void {
  if (path === '') throw new Error('invalid path: must not be empty');
  if (path.startsWith('/')) throw new Error(`invalid path: must be relative path: ${path}`);
  if (path.length > 4096) throw new Error(`invalid path: must be less than or equal to 4096 characters`);
  const parts = path.split('/');
  if (parts.includes('..')) throw new Error(`invalid path: must not contain '..': ${path}`);
  if (parts[0]!.startsWith('..') && parts[0]!.length > 2)
    throw new Error(`invalid path: must not start with '..': ${path}`);
}

function wantedMode(file: PayloadFile, gid: number | undefined): number {
  return gid === undefined ? file.mode : file.mode | groupMask(false, true);
}

/** Whether the directory holds exactly these files, with their modes and owners. */
async function holds(directory: string, files: readonly PayloadFile[], gid: number | undefined): Promise<boolean> {
  const wanted = new Map(files.map((f) => [f.path, f]));
  let seen = 0;
  const walk = async (at: string, prefix: string): Promise<boolean> => {
    for (const e of await fs.readdir(at, { withFileTypes: true })) {
      const path = join(at, e.name);
      if (e.isDirectory()) {
        if (!(await walk(path, `${prefix}${e.name}/`))) return false;
        continue;
      }
      const w = wanted.get(prefix + e.name);
      if (w === undefined || !e.isFile()) return false;
      const s = await fs.lstat(path);
      if ((s.mode & 0o7777) !== wantedMode(w, gid)) return false;
      if (w.uid !== undefined && s.uid !== w.uid) return false;
      if (gid !== undefined && s.gid !== gid) return false;
      const data = typeof w.data === 'string' ? Buffer.from(w.data) : w.data;
      if (s.size !== data.length || !(await fs.readFile(path)).equals(data)) return false;
      seen++;
    }
    return true;
  };
  return (await walk(directory, '')) && seen === wanted.size;
}

/** `..2026_01_02_15_04_05.` */
function stampPrefix(now: number): string {
  return `..${new Date(now).toISOString().slice(0, 19).replace(/[-:T]/g, '_')}.`;
}

/** Writes the files of a configuration volume at once; false when they are there already. `now`: for the name alone. */
export async function writeAtomic(
  directory: string,
  files: readonly PayloadFile[],
  options: AtomicWriteOptions,
  now: number,
): Promise<boolean> {
  for (const f of files) checkPath(f.path);
  await mkdir(directory);
  const link = join(directory, dataLink);
  const old = await fs.readlink(link).catch((error: unknown) => {
    if (isMissing(error)) return undefined;
    throw goError('readlink', link, error);
  });
  const { gid } = options;
  if (old !== undefined) {
    const same = await holds(join(directory, old), files, gid).catch((error: unknown) => {
      if (isMissing(error)) return false;
      throw error;
    });
    if (same && (await linked(directory, files))) return false;
  }
  const made = await fs.mkdtemp(join(directory, stampPrefix(now)));
  try {
    await fill(made, files, gid);
    const aside = join(directory, '..data_tmp');
    await fs.rm(aside, { force: true });
    await fs.symlink(made.slice(directory.length + 1), aside);
    await fs.rename(aside, link);
  } catch (error) {
    await fs.rm(made, { recursive: true, force: true });
    throw error;
  }
  await linkNames(directory, files);
  // Also what a kubelet left that was ended between two steps.
  const current = made.slice(directory.length + 1);
  for (const name of await fs.readdir(directory))
    if (/^\.\.\d{4}_/.test(name) && name !== current)
      await fs.rm(join(directory, name), { recursive: true, force: true });
  return true;
}

async function fill(made: string, files: readonly PayloadFile[], gid: number | undefined): Promise<void> {
  const directories = new Set([made]);
  for (const f of files) {
    const path = join(made, f.path);
    for (let at = dirname(path); at.length > made.length; at = dirname(at)) directories.add(at);
    await fs.mkdir(dirname(path), { recursive: true, mode: 0o755 });
    const file = await fs.open(path, 'wx', 0o600);
    try {
      await file.writeFile(f.data);
      if (f.uid !== undefined || gid !== undefined)
        await file.chown(f.uid ?? process.getuid!(), gid ?? process.getgid!());
      await file.chmod(wantedMode(f, gid));
    } finally {
      await file.close();
    }
  }
  for (const d of directories) {
    if (gid !== undefined) await fs.chown(d, process.getuid!(), gid);
    await fs.chmod(d, gid === undefined ? 0o755 : 0o755 | groupMask(true, true));
  }
}

const topsOf = (files: readonly PayloadFile[]): Set<string> => new Set(files.map((f) => f.path.split('/')[0]!));

async function linked(directory: string, files: readonly PayloadFile[]): Promise<boolean> {
  const names = new Set((await fs.readdir(directory)).filter((n) => !n.startsWith('..')));
  const tops = topsOf(files);
  return names.size === tops.size && [...tops].every((n) => names.has(n));
}

async function linkNames(directory: string, files: readonly PayloadFile[]): Promise<void> {
  const tops = topsOf(files);
  for (const name of tops) {
    const path = join(directory, name);
    await fs.symlink(join(dataLink, name), path).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw goError('symlink', path, error);
    });
  }
  for (const name of await fs.readdir(directory))
    if (!name.startsWith('..') && !tops.has(name)) await fs.rm(join(directory, name), { recursive: true, force: true });
}
