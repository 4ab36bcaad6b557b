/**
 * Log files of containers: the runtime writes them (in CRI's format); their directories, the links in `/var/log/containers` by which
 * log collectors find them, and their removal are the kubelet's to see to.
 */
import { lstat, mkdir, readdir, rm, stat, symlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { StringMap } from '../container-runtime.ts';

const maxFileName = 255;

function isCode(error: unknown, code: string): boolean {
  return (error as NodeJS.ErrnoException).code === code;
}

/** `<links>/<pod>_<namespace>_<container>-<id>.log`, cut to what a file system takes. */
export function logLink(links: string, labels: StringMap, containerId: string): string {
  const name = `${labels['io.kubernetes.pod.name']}_${labels['io.kubernetes.pod.namespace']}_${labels['io.kubernetes.container.name']}-${containerId}`;
  return join(links, `${name.slice(0, maxFileName - '.log'.length)}.log`);
}

export async function makeLogDirectory(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o755 });
}

/** Links the log of a container that was started; nothing when it has none. */
export async function linkLog(link: string, log: string): Promise<void> {
  try {
    await lstat(log);
  } catch (error) {
    if (isCode(error, 'ENOENT')) return;
    throw error;
  }
  await mkdir(dirname(link), { recursive: true, mode: 0o755 });
  try {
    await symlink(log, link);
  } catch (error) {
    if (!isCode(error, 'EEXIST')) throw error;
  }
}

/** Removes a container's log, the rotated ones beside it, and its link. */
export async function removeLog(log: string, link: string | undefined): Promise<void> {
  if (log !== '') {
    const directory = dirname(log);
    const name = basename(log);
    const names = await readdir(directory).catch((error: unknown) => {
      if (isCode(error, 'ENOENT')) return [];
      throw error;
    });
    for (const n of names) if (n === name || n.startsWith(`${name}.`)) await rm(join(directory, n), { force: true });
  }
  if (link !== undefined) await rm(link, { force: true });
}

/** Removes a pod's log directory with everything in it. */
export async function removeLogDirectory(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true });
}

/** Removes links to logs that are gone: of containers that somebody else has removed. */
export async function removeDeadLinks(links: string): Promise<void> {
  const names = await readdir(links).catch((error: unknown) => {
    if (isCode(error, 'ENOENT')) return [];
    throw error;
  });
  for (const name of names) {
    const link = join(links, name);
    if (!name.endsWith('.log')) continue;
    try {
      if ((await lstat(link)).isSymbolicLink()) await stat(link);
    } catch (error) {
      if (!isCode(error, 'ENOENT')) throw error;
      await rm(link, { force: true });
    }
  }
}
