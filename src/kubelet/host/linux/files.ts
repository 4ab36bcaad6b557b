/** Files of a Linux machine for the kubelet: modes that no umask spoils, removal that never crosses a mount, group ownership. */
import type { Stats } from 'node:fs';
import { constants } from 'node:fs';
import * as fs from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Slice } from '../../../base/yield.ts';
import type { FileStat, FileType, FilesystemStats, OwnershipOptions, VolumeUsage } from '../node-host.ts';
import { errorCode, goError, isMissing } from './fs-error.ts';
import { mountsBelow } from './mounts.ts';

/** How many entries of one directory are worked on at a time. */
const width = 16;

function typeOf(s: Stats): FileType {
  if (s.isFile()) return 'file';
  if (s.isDirectory()) return 'directory';
  if (s.isSymbolicLink()) return 'symlink';
  if (s.isSocket()) return 'socket';
  if (s.isCharacterDevice()) return 'charDevice';
  if (s.isBlockDevice()) return 'blockDevice';
  return 'other';
}

export async function stat(path: string, follow = true): Promise<FileStat | undefined> {
  try {
    const s = await (follow ? fs.stat(path) : fs.lstat(path));
    return {
      type: typeOf(s),
      mode: s.mode & 0o7777,
      uid: s.uid,
      gid: s.gid,
      size: s.size,
      mtime: s.mtimeMs,
    };
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw goError('stat', path, error);
  }
}

export async function list(path: string): Promise<readonly string[]> {
  try {
    return await fs.readdir(path);
  } catch (error) {
    if (isMissing(error)) return [];
    throw goError('open', path, error);
  }
}

export async function readFile(
  path: string,
  options: { maxBytes?: number; fromEnd?: boolean },
): Promise<Buffer | undefined> {
  let file: fs.FileHandle;
  try {
    // A pipe that somebody put where a file should be must not hold the kubelet.
    file = await fs.open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw goError('open', path, error);
  }
  try {
    if (options.maxBytes === undefined) return await file.readFile();
    const { size } = await file.stat();
    const start = options.fromEnd === true ? Math.max(size - options.maxBytes, 0) : 0;
    const buffer = Buffer.alloc(options.maxBytes);
    let length = 0;
    while (length < buffer.length) {
      const { bytesRead } = await file.read(buffer, length, buffer.length - length, start + length);
      if (bytesRead === 0) break;
      length += bytesRead;
    }
    return buffer.subarray(0, length);
  } catch (error) {
    throw goError('read', path, error);
  } finally {
    await file.close();
  }
}

async function withParents<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw goError('open', path, error);
  }
  await mkdir(dirname(path));
  try {
    return await work();
  } catch (error) {
    throw goError('open', path, error);
  }
}

export async function writeFile(path: string, data: Uint8Array | string, mode = 0o644): Promise<void> {
  const file = await withParents(path, () => fs.open(path, 'w', mode));
  try {
    await file.writeFile(data);
    await file.chmod(mode);
  } catch (error) {
    throw goError('write', path, error);
  } finally {
    await file.close();
  }
}

export async function replaceFile(path: string, data: Uint8Array | string, mode = 0o644): Promise<void> {
  const aside = `${path}.tmp`;
  const file = await withParents(aside, () => fs.open(aside, 'w', mode));
  try {
    await file.writeFile(data);
    await file.chmod(mode);
    await file.sync();
  } catch (error) {
    throw goError('write', aside, error);
  } finally {
    await file.close();
  }
  await fs.rename(aside, path).catch((error: unknown) => {
    throw goError('rename', path, error);
  });
}

export async function mkdir(path: string, mode?: number): Promise<void> {
  try {
    const first = await fs.mkdir(path, { recursive: true, mode: 0o755 });
    if (first !== undefined && mode !== undefined) await fs.chmod(path, mode);
  } catch (error) {
    throw goError('mkdir', path, error);
  }
}

/** Removes a tree that has no mounts in it. */
export async function remove(path: string): Promise<void> {
  let root: Stats;
  try {
    root = await fs.lstat(path);
  } catch (error) {
    if (isMissing(error)) return;
    throw goError('lstat', path, error);
  }
  if (!root.isDirectory()) {
    await fs.unlink(path).catch((error: unknown) => {
      if (!isMissing(error)) throw goError('unlink', path, error);
    });
    return;
  }
  const mounts = await mountsBelow(path);
  if (mounts[0] !== undefined) throw new Error(`unlinkat ${path}: ${mounts[0].path} is still mounted`);
  await removeTree(path, root.dev, new Slice());
}

async function removeTree(path: string, device: number, slice: Slice): Promise<void> {
  const own = await fs.lstat(path).catch(() => undefined);
  if (own === undefined) return;
  if (own.dev !== device) throw new Error(`unlinkat ${path}: on another file system`);
  const entries = await fs.readdir(path, { withFileTypes: true }).catch((error: unknown) => {
    if (isMissing(error)) return [];
    throw goError('open', path, error);
  });
  await eachOf(entries, async (e) => {
    const at = join(path, e.name);
    if (e.isDirectory()) await removeTree(at, device, slice);
    else
      await fs.unlink(at).catch((error: unknown) => {
        if (!isMissing(error)) throw goError('unlinkat', at, error);
      });
    await slice.turn();
  });
  await fs.rmdir(path).catch((error: unknown) => {
    if (!isMissing(error)) throw goError('unlinkat', path, error);
  });
}

/** A few at a time, so that a directory of a million files holds neither memory nor the thread pool. */
async function eachOf<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < items.length) await work(items[next++]!);
  };
  await Promise.all(Array.from({ length: Math.min(width, items.length) }, lane));
}

const setGid = 0o2000;

/** What the group gains: reading and writing, on directories also entering them and handing the group on. */
export function groupMask(directory: boolean, readOnly: boolean): number {
  const mask = readOnly ? 0o440 : 0o660;
  return directory ? mask | setGid | 0o110 : mask;
}

export async function setVolumeOwnership(
  path: string,
  gid: number,
  policy: 'Always' | 'OnRootMismatch',
  options: OwnershipOptions = {},
): Promise<void> {
  const readOnly = options.readOnly === true;
  const root = await fs.lstat(path).catch((error: unknown) => {
    throw goError('lstat', path, error);
  });
  if (policy === 'OnRootMismatch' && root.gid === gid) {
    const wanted = groupMask(root.isDirectory(), readOnly);
    if ((root.mode & wanted) === wanted) return;
  }
  const slice = new Slice();
  const own = async (at: string, s: Stats): Promise<void> => {
    try {
      if (s.gid !== gid) await fs.lchown(at, s.uid, gid);
      // A change of group clears the set-id bits: the mode is set after it.
      if (!s.isSymbolicLink()) await fs.chmod(at, (s.mode & 0o7777) | groupMask(s.isDirectory(), readOnly));
    } catch (error) {
      if (!isMissing(error)) throw goError('lchown', at, error);
    }
  };
  const walk = async (at: string, s: Stats): Promise<void> => {
    if (s.isDirectory()) {
      const names = await fs.readdir(at).catch((error: unknown) => {
        if (isMissing(error)) return [];
        throw goError('open', at, error);
      });
      await eachOf(names, async (n) => {
        const child = join(at, n);
        const cs = await fs.lstat(child).catch(() => undefined);
        if (cs !== undefined) await walk(child, cs);
        await slice.turn();
      });
    }
    // The root last: that it is right says that all below it is (OnRootMismatch).
    await own(at, s);
  };
  await walk(path, root);
}

interface Disk {
  bytes: number;
  inodes: number;
}

/** What a tree takes on its own file system; files with several names count once. */
export async function diskUsage(path: string): Promise<Disk> {
  const out: Disk = { bytes: 0, inodes: 0 };
  const root = await fs.lstat(path).catch((error: unknown) => {
    if (isMissing(error)) return undefined;
    throw goError('lstat', path, error);
  });
  if (root === undefined) return out;
  const slice = new Slice();
  const seen = new Set<number>();
  const add = (s: Stats): boolean => {
    if (s.dev !== root.dev) return false;
    if (s.nlink > 1 && !s.isDirectory()) {
      if (seen.has(s.ino)) return false;
      seen.add(s.ino);
    }
    out.bytes += s.blocks * 512;
    out.inodes++;
    return true;
  };
  const walk = async (at: string): Promise<void> => {
    const names = await fs.readdir(at).catch(() => []);
    await eachOf(names, async (n) => {
      const child = join(at, n);
      const s = await fs.lstat(child).catch(() => undefined);
      if (s !== undefined && add(s) && s.isDirectory()) await walk(child);
      await slice.turn();
    });
  };
  add(root);
  if (root.isDirectory()) await walk(path);
  return out;
}

export async function filesystem(path: string): Promise<FilesystemStats> {
  try {
    const [s, own] = await Promise.all([fs.statfs(path), fs.stat(path)]);
    return {
      capacityBytes: s.blocks * s.bsize,
      availableBytes: s.bavail * s.bsize,
      inodes: s.files,
      inodesFree: s.ffree,
      device: String(own.dev),
    };
  } catch (error) {
    throw goError('statfs', path, error);
  }
}

export async function volumeUsage(path: string): Promise<VolumeUsage> {
  const [disk, fsStats] = await Promise.all([diskUsage(path), filesystem(path)]);
  return {
    capacityBytes: fsStats.capacityBytes,
    availableBytes: fsStats.availableBytes,
    usedBytes: disk.bytes,
    inodes: fsStats.inodes,
    inodesFree: fsStats.inodesFree,
    inodesUsed: disk.inodes,
  };
}
