/** What a Linux machine uses as a whole: processor time, memory, network, file system, processes. */
import * as fs from 'node:fs/promises';
import type { NodeUsage } from '../node-host.ts';
import { filesystem } from './files.ts';
import { memoryInfo } from './machine.ts';

/** Of the kernel's user interface: always 100 on the architectures that Node runs on. */
const ticksPerSecond = 100;
const nanosPerTick = 1e9 / ticksPerSecond;

/** Turns a growing counter into a rate; two looks that are too close together tell nothing new. */
export class CpuRate {
  #at = -1;
  #usage = 0;
  #rate = 0;

  /** `usage` in nanoseconds of processor time, `now` in milliseconds; nanoseconds per second. */
  nanoCores(usage: number, now: number): number {
    if (this.#at < 0 || usage < this.#usage) {
      this.#at = now;
      this.#usage = usage;
      return this.#rate;
    }
    const passed = now - this.#at;
    if (passed < 500) return this.#rate;
    this.#rate = Math.round(((usage - this.#usage) * 1000) / passed);
    this.#at = now;
    this.#usage = usage;
    return this.#rate;
  }
}

/** Nanoseconds that the processors have worked, of the first line of `/proc/stat`. */
export function busyNanos(stat: string): number {
  const line = /^cpu\s+(.*)$/m.exec(stat)?.[1] ?? '';
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0, steal = 0] = line.split(/\s+/).map(Number);
  return (user + nice + system + irq + softirq + steal) * nanosPerTick;
}

async function interfaces(): Promise<NodeUsage['network']['interfaces']> {
  const out: { name: string; rxBytes: number; rxErrors: number; txBytes: number; txErrors: number }[] = [];
  const text = await fs.readFile('/proc/net/dev', 'utf8').catch(() => '');
  for (const line of text.split('\n').slice(2)) {
    const m = /^\s*([^:]+):\s*(.*)$/.exec(line);
    if (m === null || m[1] === 'lo') continue;
    const f = m[2]!.split(/\s+/).map(Number);
    out.push({ name: m[1]!, rxBytes: f[0]!, rxErrors: f[2]!, txBytes: f[8]!, txErrors: f[10]! });
  }
  // The interface that carries most comes first: it is the one that is shown alone.
  return out.sort((a, b) => b.rxBytes + b.txBytes - a.rxBytes - a.txBytes);
}

/** `now` in milliseconds since the epoch, `monotonic` for the rate. */
export async function nodeUsage(rootDir: string, rate: CpuRate, now: number, monotonic: number): Promise<NodeUsage> {
  const [stat, memory, disk, network, load, vmstat] = await Promise.all([
    fs.readFile('/proc/stat', 'utf8'),
    memoryInfo(),
    filesystem(rootDir),
    interfaces(),
    fs.readFile('/proc/loadavg', 'utf8'),
    fs.readFile('/proc/vmstat', 'utf8').catch(() => ''),
  ]);
  const cpu = busyNanos(stat);
  const total = memory.get('MemTotal') ?? 0;
  const usage = total - (memory.get('MemFree') ?? 0);
  const workingSet = Math.max(usage - (memory.get('Inactive(file)') ?? 0), 0);
  const counter = (name: string): number => Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(vmstat)?.[1] ?? 0);
  return {
    cpu: { timestamp: now, usageNanoCores: rate.nanoCores(cpu, monotonic), usageCoreNanoSeconds: cpu },
    memory: {
      timestamp: now,
      usageBytes: usage,
      workingSetBytes: workingSet,
      availableBytes: Math.max(total - workingSet, 0),
      rssBytes: memory.get('AnonPages') ?? 0,
      pageFaults: counter('pgfault'),
      majorPageFaults: counter('pgmajfault'),
    },
    network: { timestamp: now, interfaces: network },
    rootFs: {
      timestamp: now,
      mountpoint: rootDir,
      usedBytes: disk.capacityBytes - disk.availableBytes,
      inodesUsed: disk.inodes - disk.inodesFree,
      capacityBytes: disk.capacityBytes,
      availableBytes: disk.availableBytes,
      inodes: disk.inodes,
      inodesFree: disk.inodesFree,
    },
    // `running/all` of the kernel's scheduling entities.
    processCount: Number(/\d+\/(\d+)/.exec(load)?.[1] ?? 0),
    swapUsageBytes: (memory.get('SwapTotal') ?? 0) - (memory.get('SwapFree') ?? 0),
  };
}
