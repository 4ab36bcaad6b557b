/**
 * The kubelet's cgroups: names such as `/kubepods/burstable/pod<uid>` become directories of the kernel's hierarchies, of which
 * cgroup v1 has one for each controller and v2 a single one. What the two share is here; what they do not, in their own files.
 */
import * as fs from 'node:fs/promises';
import { join } from 'node:path';
import { ioSleep } from '../../../base/io-time.ts';
import type { Clock } from '../../../base/clock.ts';
import type { CgroupDetails, Cgroups, CgroupLimits, CgroupResources, CgroupStats } from '../node-host.ts';
import { packetsOf } from './cgroup-details.ts';
import { CgroupsV1, hierarchies } from './cgroups-v1.ts';
import { CgroupsV2 } from './cgroups-v2.ts';
import type { CgroupFiles } from './cgroup-files.ts';
import { readText } from './cgroup-files.ts';
import { errorCode, goError, isMissing } from './fs-error.ts';
import { mountTable } from './mounts.ts';
import { systemdPath, systemdUnit } from './cgroup-names.ts';
import type { Commands } from './command.ts';
import { CpuRate } from './usage.ts';

export interface CgroupOptions {
  readonly clock: Clock;
  readonly commands: Commands;
  /** Below which everything is put: `/` unless the kubelet shares the machine with another (`--cgroup-root`). */
  readonly cgroupRoot: string;
  /** As the runtime's own: who of the two makes the directories. */
  readonly driver: 'cgroupfs' | 'systemd';
}

const killTries = 50;
const killPauseMs = 20;

class LinuxCgroups implements Cgroups {
  readonly version: 1 | 2;
  readonly #files: CgroupFiles;
  readonly #o: CgroupOptions;
  readonly #rates = new Map<string, CpuRate>();

  constructor(files: CgroupFiles, options: CgroupOptions) {
    this.#files = files;
    this.version = files.version;
    this.#o = options;
  }

  /** Relative to a hierarchy's root, with a slash before it. */
  #path(name: string): string {
    const full = join('/', this.#o.cgroupRoot, name);
    if (full === '/' || name.split('/').includes('..')) throw new Error(`invalid cgroup name ${name}`);
    return this.#o.driver === 'systemd' ? systemdPath(full) : full;
  }

  parentName(name: string): string {
    return this.#path(name);
  }

  async ensure(name: string, resources: CgroupResources): Promise<void> {
    const path = this.#path(name);
    if (this.#o.driver === 'systemd') await startSlice(this.#o.commands, systemdUnit(path));
    await this.#files.create(path);
    await this.#files.set(path, resources);
  }

  async remove(name: string): Promise<void> {
    const path = this.#path(name);
    this.#rates.delete(path);
    const directories = this.#files.directories(path);
    for (let attempt = 0; ; attempt++) {
      const left: string[] = [];
      let killed = 0;
      for (const d of directories) {
        const tree = await treeOf(d);
        killed += await killAll(tree);
        left.push(...(await removeDirectories(tree)));
      }
      if (left.length === 0) break;
      if (attempt >= killTries)
        throw new Error(
          killed > 0
            ? `failed to kill all the processes attached to cgroup: ${name}`
            : `failed to delete cgroup paths for ${name}: ${left.join(', ')}`,
        );
      // A killed process leaves its cgroup a moment later.
      await ioSleep(killPauseMs);
    }
    if (this.#o.driver === 'systemd') await this.#o.commands.run('systemctl', 'stop', systemdUnit(path));
  }

  async list(parent: string): Promise<readonly string[]> {
    const names = await this.#children(this.#path(parent));
    return this.#o.driver === 'systemd' ? [...new Set(names.map(fromSlice))] : names;
  }

  stats(name: string): Promise<CgroupStats | undefined> {
    const path = this.#path(name);
    let rate = this.#rates.get(path);
    if (rate === undefined) {
      // What is asked for and never removed (a cgroup of somebody else's) must not pile up.
      if (this.#rates.size >= 10_000) this.#rates.clear();
      this.#rates.set(path, (rate = new CpuRate()));
    }
    const { clock } = this.#o;
    return this.#files.stats(path, clock.now(), rate, clock.monotonic());
  }

  limits(name: string): Promise<CgroupLimits | undefined> {
    return this.#files.limits(this.#path(name));
  }

  async details(name: string, containerId?: string): Promise<CgroupDetails | undefined> {
    const path = this.#path(name);
    if (containerId !== undefined) {
      // Runtimes put something before and after the id, as systemd's names want it.
      const child = (await this.#children(path)).find((c) => c.includes(containerId));
      return child === undefined ? undefined : this.#files.details(`${path}/${child}`);
    }
    const details = await this.#files.details(path);
    if (details === undefined) return undefined;
    for (const child of await this.#children(path))
      for (const d of this.#files.directories(`${path}/${child}`)) {
        const pid = Number((await readText(join(d, 'cgroup.procs')).catch(() => undefined))?.split('\n')[0] ?? '');
        if (pid > 0) return { ...details, interfaces: await packetsOf(pid) };
      }
    return details;
  }

  async #children(path: string): Promise<readonly string[]> {
    const names = new Set<string>();
    for (const d of this.#files.directories(path))
      for (const e of await fs.readdir(d, { withFileTypes: true }).catch(() => []))
        if (e.isDirectory()) names.add(e.name);
    return [...names];
  }
}

/** The last part of a slice's name, as the kubelet calls it. */
function fromSlice(unit: string): string {
  const name = unit.replace(/\.slice$/, '');
  return name.slice(name.lastIndexOf('-') + 1).replaceAll('_', '-');
}

/** A slice without a unit file exists once it is started. */
async function startSlice(commands: Commands, unit: string): Promise<void> {
  const r = await commands.run('systemctl', 'start', unit);
  if (r.code !== 0) throw new Error(`cannot start ${unit}: ${r.output}`);
  await commands.run('systemctl', 'set-property', '--runtime', unit, 'Delegate=yes');
}

/** A directory and those below it, the deepest first; none when it does not exist. */
async function treeOf(directory: string): Promise<string[]> {
  const entries = await fs.readdir(directory, { withFileTypes: true }).catch((error: unknown) => {
    if (isMissing(error)) return undefined;
    throw goError('open', directory, error);
  });
  if (entries === undefined) return [];
  const out: string[] = [];
  for (const e of entries) if (e.isDirectory()) out.push(...(await treeOf(join(directory, e.name))));
  out.push(directory);
  return out;
}

/** Sends SIGKILL to every process of these cgroups; how many there were. */
async function killAll(directories: readonly string[]): Promise<number> {
  const pids = new Set<number>();
  for (const d of directories)
    for (const line of ((await readText(join(d, 'cgroup.procs')).catch(() => undefined)) ?? '').split('\n'))
      if (line !== '') pids.add(Number(line));
  for (const pid of pids) {
    if (pid <= 1 || pid === process.pid) continue;
    try {
      process.kill(pid, 'SIGKILL');
    } catch (error) {
      if (errorCode(error) !== 'ESRCH') throw error;
    }
  }
  return pids.size;
}

/** Those that are busy. */
async function removeDirectories(directories: readonly string[]): Promise<string[]> {
  const left: string[] = [];
  for (const d of directories) {
    try {
      await fs.rmdir(d);
    } catch (error) {
      if (isMissing(error)) continue;
      if (errorCode(error) !== 'EBUSY' && errorCode(error) !== 'ENOTEMPTY') throw goError('rmdir', d, error);
      left.push(d);
    }
  }
  return left;
}

/** The machine's cgroups; rejects where the kernel offers none that can be written. */
export async function openCgroups(options: CgroupOptions): Promise<Cgroups> {
  const table = await mountTable();
  const v1 = hierarchies(table);
  if (v1.has('memory') || v1.has('cpu')) return new LinuxCgroups(new CgroupsV1(v1, table), options);
  const unified = table.find((m) => m.type === 'cgroup2');
  if (unified === undefined) throw new Error('failed to find cgroup mounts');
  return new LinuxCgroups(new CgroupsV2(unified.path), options);
}
