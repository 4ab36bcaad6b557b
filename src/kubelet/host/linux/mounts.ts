/** Mounts of a Linux machine: the kernel's table of them, and changing it with util-linux' `mount` and `umount`. */
import { readFile, realpath } from 'node:fs/promises';
import { goQuote } from '../../../api/codec/json.ts';
import type { MountOptions, MountPoint } from '../node-host.ts';
import { Commands } from './command.ts';
import { isMissing } from './fs-error.ts';

/** One line of `/proc/self/mountinfo`. */
export interface MountInfo extends MountPoint {
  readonly root: string;
  readonly readOnly: boolean;
  /** `major:minor` */
  readonly deviceNumber: string;
  /** Mount events reach copies of this mount. */
  readonly shared: boolean;
  readonly superOptions: readonly string[];
}

/** Undoes the kernel's octal escapes of blanks and backslashes. */
function unescape(text: string): string {
  return text.includes('\\')
    ? text.replace(/\\([0-7]{3})/g, (_, o: string) => String.fromCharCode(Number.parseInt(o, 8)))
    : text;
}

/** Reads the text of a mountinfo file (proc(5)). */
export function parseMountInfo(text: string): MountInfo[] {
  const out: MountInfo[] = [];
  for (const line of text.split('\n')) {
    if (line === '') continue;
    const f = line.split(' ');
    const dash = f.indexOf('-', 6);
    if (dash < 0 || f.length < dash + 4) continue;
    out.push({
      deviceNumber: f[2]!,
      root: unescape(f[3]!),
      path: unescape(f[4]!),
      readOnly: f[5]!.split(',').includes('ro'),
      shared: f.slice(6, dash).some((o) => o.startsWith('shared:')),
      type: f[dash + 1]!,
      device: unescape(f[dash + 2]!),
      superOptions: f[dash + 3]!.split(','),
    });
  }
  return out;
}

export async function mountTable(): Promise<MountInfo[]> {
  return parseMountInfo(await readFile('/proc/self/mountinfo', 'utf8'));
}

function isBelow(path: string, directory: string): boolean {
  return path === directory || path.startsWith(directory === '/' ? '/' : `${directory}/`);
}

/** Mount points at and below a directory, the last mounted first. */
export async function mountsBelow(directory: string): Promise<MountInfo[]> {
  const real = await realDirectory(directory);
  return (await mountTable()).filter((m) => isBelow(m.path, real)).reverse();
}

/** The mount that a path is on. */
export function mountOf(table: readonly MountInfo[], path: string): MountInfo | undefined {
  let best: MountInfo | undefined;
  // A later mount on the same point hides the earlier one.
  for (const m of table)
    if (isBelow(path, m.path) && (best === undefined || m.path.length >= best.path.length)) best = m;
  return best;
}

/** The path as the kernel's table has it: without links, as far as it exists. */
async function realDirectory(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    if (!isMissing(error)) throw error;
    const parent = path.slice(0, path.lastIndexOf('/')) || '/';
    if (parent === path || path === '/') return path;
    return `${(await realDirectory(parent)).replace(/\/$/, '')}/${path.slice(path.lastIndexOf('/') + 1)}`;
  }
}

export async function isMountPoint(path: string): Promise<boolean> {
  const real = await realDirectory(path);
  return (await mountTable()).some((m) => m.path === real);
}

async function mountCommand(commands: Commands, args: readonly string[]): Promise<void> {
  const r = await commands.run('mount', ...args);
  if (r.code !== 0)
    throw new Error(
      `mount failed: exit status ${r.code}\nMounting command: mount\nMounting arguments: ${args.join(' ')}\nOutput: ${r.output}`,
    );
}

/** Mounts; the message of a failure has upstream's form. */
export async function mount(commands: Commands, source: string, target: string, options: MountOptions): Promise<void> {
  const list = [...(options.options ?? [])];
  if (options.bind === true && !list.includes('bind') && !list.includes('rbind')) list.unshift('bind');
  if (options.readOnly === true && !list.includes('ro')) list.push('ro');
  const args: string[] = [];
  if (options.canonicalize === false) args.push('--no-canonicalize');
  if (options.fsType !== undefined && options.fsType !== '') args.push('-t', options.fsType);
  if (list.length > 0) args.push('-o', list.join(','));
  args.push('--', source, target);
  await mountCommand(commands, args);
}

/** blkid's way of saying that it has found nothing on the device. */
const nothingFound = 2;

/** Mounts a device; one without anything on it is given a file system first. Never overwrites what it does not know. */
export async function formatAndMount(
  commands: Commands,
  device: string,
  target: string,
  fsType: string,
  options: readonly string[],
): Promise<void> {
  const found = await commands.run('blkid', '-p', '-s', 'TYPE', '-s', 'PTTYPE', '-o', 'export', device);
  if (found.code !== 0 && found.code !== nothingFound)
    throw new Error(`failed to get disk format of ${device}: exit status ${found.code}: ${found.output}`);
  const type = /^TYPE=(.+)$/m.exec(found.output)?.[1];
  if (type === undefined && /^PTTYPE=/m.test(found.output))
    throw new Error(`failed to mount the volume as "${fsType}", it already contains unknown data, probably partitions`);
  if (type === undefined && !options.includes('ro')) {
    const quiet = fsType === 'ext3' || fsType === 'ext4' ? ['-F', '-m0'] : fsType === 'xfs' ? ['-f'] : [];
    const made = await commands.run(`mkfs.${fsType}`, ...quiet, device);
    if (made.code !== 0)
      throw new Error(`format of disk "${device}" failed: type:("${fsType}") target:("${target}"): ${made.output}`);
  }
  if (type !== undefined && type !== fsType && fsType !== '')
    throw new Error(`failed to mount the volume as "${fsType}", it already contains ${type}`);
  await mount(commands, device, target, { fsType, options: [...options, 'defaults'] });
}

const notMounted = /not mounted|no mount point specified|not found|No such file/i;

/** Takes away the topmost mount at a path. Nothing when there is none. */
export async function unmount(commands: Commands, target: string): Promise<void> {
  const r = await commands.run('umount', '--', target);
  if (r.code === 0) return;
  if (notMounted.test(r.output) && !(await isMountPoint(target))) return;
  throw new Error(`unmount failed: exit status ${r.code}\nUnmounting arguments: ${target}\nOutput: ${r.output}`);
}

/** Unmounts everything at and below a directory. */
export async function unmountTree(directory: string, commands?: Commands): Promise<void> {
  const own = commands ?? new Commands();
  try {
    for (const m of await mountsBelow(directory)) await unmount(own, m.path);
  } finally {
    if (commands === undefined) own.close();
  }
}

/** Makes mounts below a directory reach the containers that ask for them. */
export async function makeShared(commands: Commands, directory: string): Promise<void> {
  const real = await realpath(directory);
  const at = mountOf(await mountTable(), real);
  if (at?.shared === true) return;
  if (at?.path !== real) await mountCommand(commands, ['--bind', '--', real, real]);
  await mountCommand(commands, ['--make-rshared', '--', real]);
  const now = mountOf(await mountTable(), real);
  if (now?.shared !== true) throw new Error(`${goQuote(real)} cannot be made a shared mount`);
}
