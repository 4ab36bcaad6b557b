/** cgroup v1: a hierarchy for each controller (or a few together), each with its own file names. */
import * as fs from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { CgroupDetails, CgroupLimits, CgroupResources, CgroupStats } from '../node-host.ts';
import { detailsV1 } from './cgroup-details.ts';
import type { CgroupFiles } from './cgroup-files.ts';
import { parseStat, readNumber, readText, writeSetting } from './cgroup-files.ts';
import { errorCode, goError } from './fs-error.ts';
import type { MountInfo } from './mounts.ts';
import type { CpuRate } from './usage.ts';

const flags = new Set(['rw', 'ro', 'xattr', 'noprefix', 'clone_children', 'cpuset_v2_mode', 'nosuid', 'nodev']);

/** Where each controller is mounted; the shortest path when it is in several places. */
export function hierarchies(table: readonly MountInfo[]): Map<string, string> {
  const out = new Map<string, string>();
  for (const m of table) {
    if (m.type !== 'cgroup') continue;
    for (const o of m.superOptions) {
      if (flags.has(o) || o.startsWith('release_agent=')) continue;
      const known = out.get(o);
      if (known === undefined || m.path.length < known.length) out.set(o, m.path);
    }
  }
  return out;
}

/** The kernel says so where there is no limit: the largest multiple of a page. */
const unlimitedBytes = 2 ** 62;

export class CgroupsV1 implements CgroupFiles {
  readonly version = 1;
  readonly #controllers: ReadonlyMap<string, string>;
  /** Also those that the kubelet only clears: runtimes put directories there. */
  readonly #roots: readonly string[];

  constructor(controllers: ReadonlyMap<string, string>, table: readonly MountInfo[]) {
    this.#controllers = controllers;
    const unified = table.filter((m) => m.type === 'cgroup2').map((m) => m.path);
    this.#roots = [...new Set([...controllers.values(), ...unified])];
  }

  directories(path: string): readonly string[] {
    return this.#roots.map((r) => join(r, path));
  }

  #at(controller: string, path: string): string | undefined {
    const root = this.#controllers.get(controller);
    return root === undefined ? undefined : join(root, path);
  }

  async create(path: string): Promise<void> {
    for (const root of new Set(this.#controllers.values())) {
      const directory = join(root, path);
      try {
        await fs.mkdir(directory, { recursive: true, mode: 0o755 });
      } catch (error) {
        throw goError('mkdir', directory, error);
      }
    }
    const cpuset = this.#controllers.get('cpuset');
    if (cpuset !== undefined) await inheritCpuset(join(cpuset, path), cpuset);
    const memory = this.#at('memory', path);
    // Old kernels count a child's memory as its parent's only when told to.
    if (memory !== undefined && (await readNumber(join(memory, 'memory.use_hierarchy'))) === 0)
      await writeSetting(memory, 'memory.use_hierarchy', 1);
  }

  async set(path: string, r: CgroupResources): Promise<void> {
    const cpu = this.#at('cpu', path);
    if (cpu !== undefined) {
      if (r.cpuShares !== undefined) await writeSetting(cpu, 'cpu.shares', r.cpuShares);
      if (r.cpuQuota !== undefined) await setQuota(cpu, r.cpuQuota, r.cpuPeriod ?? 100_000);
    }
    const memory = this.#at('memory', path);
    if (memory !== undefined && r.memoryLimitInBytes !== undefined) await setMemory(memory, r);
    const pids = this.#at('pids', path);
    if (pids !== undefined && r.pidsLimit !== undefined)
      await writeSetting(pids, 'pids.max', r.pidsLimit > 0 ? r.pidsLimit : 'max');
    const hugetlb = this.#at('hugetlb', path);
    if (hugetlb !== undefined)
      for (const h of r.hugepageLimits ?? [])
        await writeSetting(hugetlb, `hugetlb.${h.pageSize}.limit_in_bytes`, h.limit);
    const cpuset = this.#at('cpuset', path);
    if (cpuset !== undefined) {
      if (r.cpusetCpus !== undefined) await writeSetting(cpuset, 'cpuset.cpus', r.cpusetCpus);
      if (r.cpusetMems !== undefined) await writeSetting(cpuset, 'cpuset.mems', r.cpusetMems);
    }
  }

  async stats(path: string, now: number, rate: CpuRate, monotonic: number): Promise<CgroupStats | undefined> {
    const [acct, memory, pids] = ['cpuacct', 'memory', 'pids'].map((c) => this.#at(c, path) ?? '/nonexistent');
    const [cpu, usage, limit, stat, count] = await Promise.all([
      readNumber(join(acct!, 'cpuacct.usage')),
      readNumber(join(memory!, 'memory.usage_in_bytes')),
      readNumber(join(memory!, 'memory.limit_in_bytes')),
      readText(join(memory!, 'memory.stat')),
      readNumber(join(pids!, 'pids.current')),
    ]);
    if (cpu === undefined && usage === undefined) return undefined;
    const s = parseStat(stat ?? '');
    const workingSet = Math.max((usage ?? 0) - (s.get('total_inactive_file') ?? 0), 0);
    return {
      cpu: {
        timestamp: now,
        usageCoreNanoSeconds: cpu ?? 0,
        usageNanoCores: rate.nanoCores(cpu ?? 0, monotonic),
      },
      memory: {
        timestamp: now,
        usageBytes: usage ?? 0,
        workingSetBytes: workingSet,
        rssBytes: s.get('total_rss') ?? 0,
        pageFaults: s.get('total_pgfault') ?? 0,
        majorPageFaults: s.get('total_pgmajfault') ?? 0,
        ...(limit === undefined || limit >= unlimitedBytes ? {} : { availableBytes: Math.max(limit - workingSet, 0) }),
      },
      processCount: count ?? 0,
    };
  }

  details(path: string): Promise<CgroupDetails | undefined> {
    return detailsV1((c) => this.#at(c, path));
  }

  async limits(path: string): Promise<CgroupLimits | undefined> {
    const cpu = this.#at('cpu', path);
    const memory = this.#at('memory', path);
    const [shares, quota, period, limit] = await Promise.all([
      cpu === undefined ? undefined : readNumber(join(cpu, 'cpu.shares')),
      cpu === undefined ? undefined : readNumber(join(cpu, 'cpu.cfs_quota_us')),
      cpu === undefined ? undefined : readNumber(join(cpu, 'cpu.cfs_period_us')),
      memory === undefined ? undefined : readNumber(join(memory, 'memory.limit_in_bytes')),
    ]);
    if (shares === undefined && limit === undefined) return undefined;
    return {
      ...(shares === undefined ? {} : { cpuShares: shares }),
      ...(quota === undefined || quota < 0 ? {} : { cpuQuota: quota, cpuPeriod: period ?? 100_000 }),
      ...(limit === undefined || limit >= unlimitedBytes ? {} : { memoryLimitInBytes: limit }),
    };
  }
}

async function setQuota(directory: string, quota: number, period: number): Promise<void> {
  const value = quota > 0 ? quota : -1;
  // The kernel refuses a pair that is wrong for a moment: the quota goes first where the period alone is refused.
  try {
    await writeSetting(directory, 'cpu.cfs_period_us', period);
  } catch (error) {
    if (errorCode(error) !== 'EINVAL') throw error;
    await writeSetting(directory, 'cpu.cfs_quota_us', value);
    await writeSetting(directory, 'cpu.cfs_period_us', period);
    return;
  }
  await writeSetting(directory, 'cpu.cfs_quota_us', value);
}

async function setMemory(directory: string, r: CgroupResources): Promise<void> {
  const limit = r.memoryLimitInBytes! > 0 ? r.memoryLimitInBytes! : -1;
  const swapFile = join(directory, 'memory.memsw.limit_in_bytes');
  const swap = await readNumber(swapFile);
  const wanted = r.memorySwapLimitInBytes;
  if (swap === undefined || wanted === undefined) {
    // A limit of memory and swap together may not lie below that of memory alone.
    if (swap !== undefined && (limit < 0 || swap < limit))
      await writeSetting(directory, 'memory.memsw.limit_in_bytes', limit);
    await writeSetting(directory, 'memory.limit_in_bytes', limit);
    return;
  }
  const growing = wanted < 0 || wanted > swap;
  if (growing) await writeSetting(directory, 'memory.memsw.limit_in_bytes', wanted);
  await writeSetting(directory, 'memory.limit_in_bytes', limit);
  if (!growing) await writeSetting(directory, 'memory.memsw.limit_in_bytes', wanted);
}

/** A new cpuset is empty, and takes no process until it has what its parent has. */
async function inheritCpuset(directory: string, root: string): Promise<void> {
  if (directory.length <= root.length) return;
  const parent = dirname(directory);
  await inheritCpuset(parent, root);
  for (const file of ['cpuset.cpus', 'cpuset.mems']) {
    if (((await readText(join(directory, file))) ?? '0').trim() !== '') continue;
    const value = ((await readText(join(parent, file))) ?? '').trim();
    if (value !== '') await writeSetting(directory, file, value);
  }
}
