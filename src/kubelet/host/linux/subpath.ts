/**
 * subPath mounts: what a path inside a volume leads to is opened component by component without following a link, and that
 * very file is bound to a place of the kubelet's own. A link that a container puts there meanwhile leads nowhere.
 */
import { constants } from 'node:fs';
import * as fs from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import type { Opened } from '../node-host.ts';
import { SubPathDirectoryError } from '../subpath-error.ts';
import { errorCode, goError, isMissing } from './fs-error.ts';
import type { Commands } from './command.ts';
import { isMountPoint, mount, unmount } from './mounts.ts';
import { mkdir } from './files.ts';

/** Names a file without opening it for anything (open(2)); the same number wherever Node runs on Linux. */
const openPath = 0o10000000;
const flags = openPath | constants.O_NOFOLLOW;

const own = (fd: number, name: string): string => `/proc/self/fd/${fd}/${name}`;

function inside(path: string, base: string): boolean {
  return path === base || path.startsWith(base === '/' ? '/' : `${base}/`);
}

/** Opens `names` below an absolute directory that itself has no links. The caller closes it. */
async function openBelow(base: string, names: readonly string[]): Promise<fs.FileHandle> {
  let at = await fs.open(base, flags | constants.O_DIRECTORY).catch((error: unknown) => {
    throw goError('open', base, error);
  });
  let path = base;
  for (const name of names) {
    if (name === '..') {
      await at.close();
      throw new Error(`unexpected .. in ${path}/${name}`);
    }
    path = join(path, name);
    let next: fs.FileHandle;
    try {
      next = await fs.open(own(at.fd, name), flags);
    } catch (error) {
      await at.close();
      throw goError('open', path, error);
    }
    await at.close();
    at = next;
    if ((await at.stat()).isSymbolicLink()) {
      await at.close();
      throw new Error(`unexpected symlink found ${path}`);
    }
  }
  return at;
}

const namesBelow = (path: string, base: string): string[] =>
  path
    .slice(base === '/' ? 1 : base.length + 1)
    .split('/')
    .filter((n) => n !== '' && n !== '.');

/** Makes the directories of a path that is not there yet, with the mode of the volume's root. */
async function makeBelow(base: string, subPath: string): Promise<void> {
  const { mode } = await fs.stat(base);
  let existing = join(base, subPath);
  const missing: string[] = [];
  while (existing !== base) {
    const there = await fs.lstat(existing).then(
      () => true,
      (error: unknown) => {
        if (errorCode(error) === 'ENOENT') return false;
        throw goError('lstat', existing, error);
      },
    );
    if (there) break;
    missing.unshift(existing.slice(existing.lastIndexOf('/') + 1));
    existing = dirname(existing);
  }
  const real = await fs.realpath(existing);
  if (!inside(real, base)) throw new Error(`path ${real} is outside of allowed base ${base}`);
  let at = await openBelow(base, namesBelow(real, base));
  let path = real;
  try {
    for (const name of missing) {
      path = join(path, name);
      try {
        await fs.mkdir(own(at.fd, name), mode & 0o7777);
        const made = await fs.open(own(at.fd, name), flags | constants.O_DIRECTORY);
        await at.close();
        at = made;
        // The umask must not make the directory unusable for the container.
        await fs.chmod(`/proc/self/fd/${at.fd}`, mode & 0o7777);
      } catch (error) {
        throw goError('mkdir', path, error);
      }
    }
  } finally {
    await at.close();
  }
}

/**
 * Binds `base`/`subPath` to `target` and returns `target`; makes directories that are missing. Rejects when the path leads
 * out of `base`.
 */
export async function bindSubPath(commands: Commands, base: string, subPath: string, target: string): Promise<string> {
  const realBase = await fs.realpath(base).catch((error: unknown) => {
    throw new Error(`error resolving symlinks in ${base}: ${goError('lstat', base, error).message}`, { cause: error });
  });
  const wanted = join(realBase, subPath);
  if (!inside(wanted, realBase)) throw new Error(`subpath ${subPath} not within volume path ${base}`);
  let real: string;
  try {
    real = await fs.realpath(wanted);
  } catch (error) {
    if (!isMissing(error)) throw goError('lstat', wanted, error);
    await makeBelow(realBase, subPath).catch((cause: unknown) => {
      throw new SubPathDirectoryError((cause as Error).message, { cause });
    });
    real = await fs.realpath(wanted);
  }
  if (!inside(real, realBase)) throw new Error(`subpath ${subPath} not within volume path ${base}`);
  const file = await openBelow(realBase, namesBelow(real, realBase));
  try {
    const s = await file.stat();
    if (await isMountPoint(target)) {
      const there = await fs.lstat(target);
      if (there.dev === s.dev && there.ino === s.ino) return target;
      await unmount(commands, target);
    }
    await makeTarget(target, s.isDirectory());
    await mount(commands, `/proc/${process.pid}/fd/${file.fd}`, target, { bind: true, canonicalize: false });
    return target;
  } finally {
    await file.close();
  }
}

/** Opens what `base`/`path` leads to; undefined when there is nothing. Rejects when that is not below `base`. */
async function openInside(base: string, path: string): Promise<fs.FileHandle | undefined> {
  const realBase = await fs.realpath(base);
  let real: string;
  try {
    real = await fs.realpath(join(realBase, path));
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw goError('lstat', join(realBase, path), error);
  }
  if (!inside(real, realBase)) throw new Error(`path ${real} is outside of allowed base ${base}`);
  return openBelow(realBase, namesBelow(real, realBase));
}

/** The beginning of a file that `base`/`path` leads to; undefined when there is none. Rejects when that is not below `base`. */
export async function readBelow(base: string, path: string, maxBytes: number): Promise<Buffer | undefined> {
  const found = await openInside(base, path);
  if (found === undefined) return undefined;
  try {
    // A pipe or a device would be waited for.
    if (!(await found.stat()).isFile()) throw new Error(`${path} is no regular file`);
    const file = await fs.open(`/proc/self/fd/${found.fd}`, 'r');
    try {
      const buffer = Buffer.alloc(maxBytes);
      const { bytesRead } = await file.read(buffer, 0, maxBytes, 0);
      return buffer.subarray(0, bytesRead);
    } finally {
      await file.close();
    }
  } finally {
    await found.close();
  }
}

/** A file or directory that `base`/`path` leads to; undefined when there is none. Rejects when that is not below `base`. */
export async function streamBelow(base: string, path: string): Promise<Opened | undefined> {
  const found = await openInside(base, path).catch((error: unknown) => {
    if (isMissing(error)) return undefined;
    throw error;
  });
  if (found === undefined) return undefined;
  try {
    const s = await found.stat();
    const place = `/proc/self/fd/${found.fd}`;
    if (s.isDirectory()) {
      const entries = await fs.readdir(place, { withFileTypes: true });
      return { type: 'directory', entries: entries.map((e) => ({ name: e.name, directory: e.isDirectory() })) };
    }
    if (!s.isFile()) return { type: 'other' };
    const file = await fs.open(place, 'r');
    // What is written meanwhile is not of the size that was told.
    const content = s.size === 0 ? undefined : file.createReadStream({ start: 0, end: s.size - 1 });
    if (content === undefined) await file.close();
    return { type: 'file', size: s.size, modifiedMs: s.mtimeMs, content: content ?? Readable.from([]) };
  } finally {
    await found.close();
  }
}

async function makeTarget(target: string, directory: boolean): Promise<void> {
  await mkdir(dirname(target), 0o750);
  const there = await fs.lstat(target).catch(() => undefined);
  if (there !== undefined && there.isDirectory() !== directory)
    await (there.isDirectory() ? fs.rmdir(target) : fs.unlink(target));
  else if (there !== undefined) return;
  if (directory) await fs.mkdir(target, { mode: 0o750 });
  else await (await fs.open(target, 'a', 0o640)).close();
}
