/** cgroup v2: one hierarchy; a parent says which controllers its children have. */
import * as fs from 'node:fs/promises';
import { join } from 'node:path';
import type { CgroupDetails, CgroupLimits, CgroupResources, CgroupStats } from '../node-host.ts';
import { detailsV2 } from './cgroup-details.ts';
import type { CgroupFiles } from './cgroup-files.ts';
import { parseStat, readNumber, readText, writeSetting } from './cgroup-files.ts';
import { errorCode, goError } from './fs-error.ts';
import type { CpuRate } from './usage.ts';

/** From the range of v1's shares (2 … 262144) to that of v2's weight (1 … 10000). */
export function cpuWeight(shares: number): number {
  if (shares >= 262_144) return 10_000;
  return 1 + Math.floor(((Math.max(shares, 2) - 2) * 9999) / 262_142);
}

/** The way back, as upstream computes it. */
export function cpuSharesOf(weight: number): number {
  return Math.floor(((weight - 1) * 262_142) / 9999) + 2;
}

const wanted = ['cpu', 'cpuset', 'hugetlb', 'io', 'memory', 'pids'];

export class CgroupsV2 implements CgroupFiles {
  readonly version = 2;
  readonly #root: string;

  constructor(root: string) {
    this.#root = root;
  }

  directories(path: string): readonly string[] {
    return [join(this.#root, path)];
  }

  async create(path: string): Promise<void> {
    let at = this.#root;
    for (const part of path.split('/').filter((p) => p !== '')) {
      await this.#enable(at);
      at = join(at, part);
      try {
        await fs.mkdir(at, { mode: 0o755 });
      } catch (error) {
        if (errorCode(error) !== 'EEXIST') throw goError('mkdir', at, error);
      }
    }
    // The runtime's own directories below it need them too.
    await this.#enable(at);
  }

  async #enable(directory: string): Promise<void> {
    const [offered, enabled] = await Promise.all([
      readText(join(directory, 'cgroup.controllers')),
      readText(join(directory, 'cgroup.subtree_control')),
    ]);
    const has = new Set((enabled ?? '').trim().split(/\s+/));
    for (const c of (offered ?? '').trim().split(/\s+/)) {
      if (!wanted.includes(c) || has.has(c)) continue;
      try {
        await writeSetting(directory, 'cgroup.subtree_control', `+${c}`);
      } catch (error) {
        // Processes in a cgroup keep its controllers from its children; the memory and cpu controllers must not be missing.
        if (c === 'memory' || c === 'cpu' || c === 'pids')
          throw new Error(
            `cannot enable the cgroup controller "${c}" below ${directory}: no process may be in that cgroup itself (move them to a child of it)`,
            { cause: error },
          );
      }
    }
  }

  async set(path: string, r: CgroupResources): Promise<void> {
    const at = join(this.#root, path);
    if (r.cpuShares !== undefined) await writeSetting(at, 'cpu.weight', cpuWeight(r.cpuShares));
    if (r.cpuQuota !== undefined)
      await writeSetting(at, 'cpu.max', `${r.cpuQuota > 0 ? r.cpuQuota : 'max'} ${r.cpuPeriod ?? 100_000}`);
    if (r.memoryLimitInBytes !== undefined)
      await writeSetting(at, 'memory.max', r.memoryLimitInBytes > 0 ? r.memoryLimitInBytes : 'max');
    if (r.memorySwapLimitInBytes !== undefined && r.memoryLimitInBytes !== undefined) {
      // v2 counts swap by itself.
      const swap = r.memorySwapLimitInBytes < 0 ? 'max' : Math.max(r.memorySwapLimitInBytes - r.memoryLimitInBytes, 0);
      if ((await readText(join(at, 'memory.swap.max'))) !== undefined) await writeSetting(at, 'memory.swap.max', swap);
    }
    if (r.pidsLimit !== undefined) await writeSetting(at, 'pids.max', r.pidsLimit > 0 ? r.pidsLimit : 'max');
    for (const h of r.hugepageLimits ?? []) {
      const file = `hugetlb.${h.pageSize}.max`;
      if ((await readText(join(at, file))) !== undefined) await writeSetting(at, file, h.limit);
    }
    if (r.cpusetCpus !== undefined) await writeSetting(at, 'cpuset.cpus', r.cpusetCpus);
    if (r.cpusetMems !== undefined) await writeSetting(at, 'cpuset.mems', r.cpusetMems);
    for (const [file, value] of Object.entries(r.unified ?? {})) await writeSetting(at, file, value);
  }

  async stats(path: string, now: number, rate: CpuRate, monotonic: number): Promise<CgroupStats | undefined> {
    const at = join(this.#root, path);
    const [cpuText, usage, limit, memoryText, count] = await Promise.all([
      readText(join(at, 'cpu.stat')),
      readNumber(join(at, 'memory.current')),
      readNumber(join(at, 'memory.max')),
      readText(join(at, 'memory.stat')),
      readNumber(join(at, 'pids.current')),
    ]);
    if (cpuText === undefined && usage === undefined) return undefined;
    const cpu = (parseStat(cpuText ?? '').get('usage_usec') ?? 0) * 1000;
    const s = parseStat(memoryText ?? '');
    const workingSet = Math.max((usage ?? 0) - (s.get('inactive_file') ?? 0), 0);
    return {
      cpu: { timestamp: now, usageCoreNanoSeconds: cpu, usageNanoCores: rate.nanoCores(cpu, monotonic) },
      memory: {
        timestamp: now,
        usageBytes: usage ?? 0,
        workingSetBytes: workingSet,
        rssBytes: s.get('anon') ?? 0,
        pageFaults: s.get('pgfault') ?? 0,
        majorPageFaults: s.get('pgmajfault') ?? 0,
        ...(limit === undefined ? {} : { availableBytes: Math.max(limit - workingSet, 0) }),
      },
      processCount: count ?? 0,
    };
  }

  details(path: string): Promise<CgroupDetails | undefined> {
    return detailsV2(join(this.#root, path));
  }

  async limits(path: string): Promise<CgroupLimits | undefined> {
    const at = join(this.#root, path);
    const [weight, max, limit] = await Promise.all([
      readNumber(join(at, 'cpu.weight')),
      readText(join(at, 'cpu.max')),
      readNumber(join(at, 'memory.max')),
    ]);
    if (weight === undefined && max === undefined) return undefined;
    const [quota, period] = (max ?? 'max').trim().split(' ');
    return {
      ...(weight === undefined ? {} : { cpuShares: cpuSharesOf(weight) }),
      ...(quota === 'max' ? {} : { cpuQuota: Number(quota), cpuPeriod: Number(period ?? 100_000) }),
      ...(limit === undefined ? {} : { memoryLimitInBytes: limit }),
    };
  }
}
