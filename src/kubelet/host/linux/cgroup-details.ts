/** What the kernel counts of a cgroup for monitors, from the files of either version. */
import * as fs from 'node:fs/promises';
import { join } from 'node:path';
import type { CgroupDetails, PacketCounts } from '../node-host.ts';
import { parseStat, readNumber, readText } from './cgroup-files.ts';

/** `rbytes=1 wbytes=2` */
function pairs(text: string): Map<string, number> {
  return new Map(
    text
      .split(/\s+/)
      .map((p) => p.split('='))
      .filter((p) => p.length === 2)
      .map(([k, v]) => [k!, Number(v)]),
  );
}

/** Devices by `major:minor`. */
async function devices(): Promise<ReadonlyMap<string, string>> {
  const text = await fs.readFile('/proc/diskstats', 'utf8').catch(() => '');
  const out = new Map<string, string>();
  for (const line of text.split('\n')) {
    const [major, minor, name] = line.trim().split(/\s+/);
    if (name !== undefined) out.set(`${major}:${minor}`, `/dev/${name}`);
  }
  return out;
}

/** A member only where there is a value. */
function known<K extends string>(name: K, value: number | undefined): { readonly [P in K]?: number } {
  return (value === undefined || !Number.isFinite(value) ? {} : { [name]: value }) as { readonly [P in K]?: number };
}

const ticksToNanos = 1e7;

/** Version 1: `at` is the directory of a controller; undefined where it is not mounted. */
export async function detailsV1(at: (controller: string) => string | undefined): Promise<CgroupDetails | undefined> {
  const file = (controller: string, name: string): Promise<string | undefined> => {
    const directory = at(controller);
    return directory === undefined ? Promise.resolve(undefined) : readText(join(directory, name));
  };
  const numberOf = async (controller: string, name: string): Promise<number | undefined> => {
    const directory = at(controller);
    return directory === undefined ? undefined : readNumber(join(directory, name));
  };
  const [times, throttling, memory, most, failures, oom, bytes, operations, threads, names] = await Promise.all([
    file('cpuacct', 'cpuacct.stat'),
    file('cpu', 'cpu.stat'),
    file('memory', 'memory.stat'),
    numberOf('memory', 'memory.max_usage_in_bytes'),
    numberOf('memory', 'memory.failcnt'),
    file('memory', 'memory.oom_control'),
    file('blkio', 'blkio.throttle.io_service_bytes_recursive'),
    file('blkio', 'blkio.throttle.io_serviced_recursive'),
    numberOf('pids', 'pids.current'),
    devices(),
  ]);
  if (times === undefined && memory === undefined) return undefined;
  const t = parseStat(times ?? '');
  const c = parseStat(throttling ?? '');
  const m = parseStat(memory ?? '');
  const nanos = (name: string): number | undefined =>
    t.get(name) === undefined ? undefined : t.get(name)! * ticksToNanos;
  const io = new Map<string, { reads: number; writes: number; readBytes: number; writeBytes: number }>();
  for (const [text, read, write] of [
    [bytes, 'readBytes', 'writeBytes'],
    [operations, 'reads', 'writes'],
  ] as const)
    for (const line of (text ?? '').split('\n')) {
      const [id, what, n] = line.split(' ');
      if (n === undefined || (what !== 'Read' && what !== 'Write')) continue;
      let own = io.get(id!);
      if (own === undefined) io.set(id!, (own = { reads: 0, writes: 0, readBytes: 0, writeBytes: 0 }));
      own[what === 'Read' ? read : write] = Number(n);
    }
  return {
    cpu: {
      ...known('user', nanos('user')),
      ...known('system', nanos('system')),
      ...known('periods', c.get('nr_periods')),
      ...known('throttledPeriods', c.get('nr_throttled')),
      ...known('throttled', c.get('throttled_time')),
    },
    memory: {
      ...known('cache', m.get('total_cache')),
      ...known('mapped', m.get('total_mapped_file')),
      ...known('swap', m.get('total_swap')),
      ...known('most', most),
      ...known('failures', failures),
    },
    io: [...io].map(([id, n]) => ({ device: names.get(id) ?? id, ...n })),
    ...known('threads', threads),
    ...known('oomKills', parseStat(oom ?? '').get('oom_kill')),
  };
}

/** Version 2: one directory. */
export async function detailsV2(at: string): Promise<CgroupDetails | undefined> {
  const text = (name: string): Promise<string | undefined> => readText(join(at, name));
  const [cpu, memory, swap, most, events, io, threads, names, ...stalls] = await Promise.all([
    text('cpu.stat'),
    text('memory.stat'),
    readNumber(join(at, 'memory.swap.current')),
    readNumber(join(at, 'memory.peak')),
    text('memory.events'),
    text('io.stat'),
    readNumber(join(at, 'pids.current')),
    devices(),
    // A kernel may have them and refuse to count.
    ...['cpu', 'memory', 'io'].map((r) => text(`${r}.pressure`).catch(() => undefined)),
  ]);
  if (cpu === undefined && memory === undefined) return undefined;
  const c = parseStat(cpu ?? '');
  const m = parseStat(memory ?? '');
  const e = parseStat(events ?? '');
  const nanos = (name: string): number | undefined => (c.get(name) === undefined ? undefined : c.get(name)! * 1000);
  const stalled = (lines: string | undefined): { some: number; full: number } => {
    const total = (kind: string): number =>
      1000 * Number(new RegExp(`^${kind} .*total=(\\d+)$`, 'm').exec(lines ?? '')?.[1] ?? 0);
    return { some: total('some'), full: total('full') };
  };
  return {
    cpu: {
      ...known('user', nanos('user_usec')),
      ...known('system', nanos('system_usec')),
      ...known('periods', c.get('nr_periods')),
      ...known('throttledPeriods', c.get('nr_throttled')),
      ...known('throttled', nanos('throttled_usec')),
    },
    memory: {
      ...known('cache', m.get('file')),
      ...known('mapped', m.get('file_mapped')),
      ...known('swap', swap),
      ...known('most', most),
      ...known('failures', e.get('max')),
    },
    io: (io ?? '')
      .split('\n')
      .filter((l) => l.includes('='))
      .map((line) => {
        const p = pairs(line);
        const id = line.slice(0, line.indexOf(' '));
        return {
          device: names.get(id) ?? id,
          reads: p.get('rios') ?? 0,
          writes: p.get('wios') ?? 0,
          readBytes: p.get('rbytes') ?? 0,
          writeBytes: p.get('wbytes') ?? 0,
        };
      }),
    ...known('threads', threads),
    ...known('oomKills', e.get('oom_kill')),
    ...(stalls.some((s) => s === undefined)
      ? {}
      : { pressure: { cpu: stalled(stalls[0]), memory: stalled(stalls[1]), io: stalled(stalls[2]) } }),
  };
}

/** Packets of the network that a process is in; none once it has gone. */
export async function packetsOf(pid: number): Promise<readonly PacketCounts[]> {
  const text = await fs.readFile(`/proc/${pid}/net/dev`, 'utf8').catch(() => '');
  const out: PacketCounts[] = [];
  for (const line of text.split('\n').slice(2)) {
    const m = /^\s*([^:]+):\s*(.*)$/.exec(line);
    if (m === null || m[1] === 'lo') continue;
    const f = m[2]!.split(/\s+/).map(Number);
    out.push({ name: m[1]!, rxPackets: f[1]!, rxDropped: f[3]!, txPackets: f[9]!, txDropped: f[11]! });
  }
  return out;
}
