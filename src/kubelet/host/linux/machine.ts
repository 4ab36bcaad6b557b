/** What a Linux machine is: processors, memory, identity, addresses, resolver configuration. Read from /proc, /sys and /etc. */
import * as fs from 'node:fs/promises';
import { arch, availableParallelism, cpus, networkInterfaces, release } from 'node:os';
import type { HostAddress, MachineInfo } from '../node-host.ts';
import { filesystem } from './files.ts';

async function text(path: string): Promise<string | undefined> {
  try {
    return (await fs.readFile(path, 'utf8')).trim();
  } catch {
    return undefined;
  }
}

async function firstOf(...paths: readonly string[]): Promise<string> {
  for (const p of paths) {
    const found = await text(p);
    if (found !== undefined && found !== '') return found.split('\n')[0]!;
  }
  return '';
}

const architectures: Readonly<Record<string, string>> = {
  x64: 'amd64',
  ia32: '386',
  arm64: 'arm64',
  arm: 'arm',
  ppc64: 'ppc64le',
  s390x: 's390x',
  riscv64: 'riscv64',
  loong64: 'loong64',
};

/** `/proc/meminfo` in bytes. */
export async function memoryInfo(): Promise<Map<string, number>> {
  const out = new Map<string, number>();
  for (const line of ((await text('/proc/meminfo')) ?? '').split('\n')) {
    const m = /^(\w+(?:\(\w+\))?):\s+(\d+)( kB)?/.exec(line);
    if (m !== null) out.set(m[1]!, Number(m[2]) * (m[3] === undefined ? 1 : 1024));
  }
  return out;
}

async function hugepages(): Promise<MachineInfo['hugepages']> {
  const root = '/sys/kernel/mm/hugepages';
  const out: { pageSizeBytes: number; count: number }[] = [];
  for (const name of await fs.readdir(root).catch(() => [])) {
    const kib = /^hugepages-(\d+)kB$/.exec(name)?.[1];
    if (kib === undefined) continue;
    const count = Number((await text(`${root}/${name}/nr_hugepages`)) ?? '0');
    out.push({ pageSizeBytes: Number(kib) * 1024, count });
  }
  return out.sort((a, b) => a.pageSizeBytes - b.pageSizeBytes);
}

/** `PRETTY_NAME` of os-release(5). */
async function osImage(): Promise<string> {
  const release_ = (await text('/etc/os-release')) ?? (await text('/usr/lib/os-release')) ?? '';
  const m = /^PRETTY_NAME=(.*)$/m.exec(release_);
  return m === null ? 'Linux' : m[1]!.trim().replace(/^(['"])(.*)\1$/, '$2');
}

async function maxPids(): Promise<number> {
  const limits = [await text('/proc/sys/kernel/pid_max'), await text('/proc/sys/kernel/threads-max')]
    .map(Number)
    .filter((n) => Number.isFinite(n) && n > 0);
  return limits.length === 0 ? 32_768 : Math.min(...limits);
}

/** `rootDir`: whose file system is the node's ephemeral storage. */
export async function machineInfo(rootDir: string): Promise<MachineInfo> {
  const [memory, pages, image, pids, disk, machineId, uuid, bootId, stat] = await Promise.all([
    memoryInfo(),
    hugepages(),
    osImage(),
    maxPids(),
    filesystem(rootDir),
    firstOf('/etc/machine-id', '/var/lib/dbus/machine-id'),
    firstOf('/sys/class/dmi/id/product_uuid', '/proc/device-tree/vm,uuid', '/sys/hypervisor/uuid', '/etc/machine-id'),
    firstOf('/proc/sys/kernel/random/boot_id'),
    text('/proc/stat'),
  ]);
  const bootTime = Number(/^btime (\d+)$/m.exec(stat ?? '')?.[1] ?? 0) * 1000;
  return {
    os: 'linux',
    architecture: architectures[arch()] ?? arch(),
    kernelVersion: release(),
    osImage: image,
    machineId,
    systemUuid: uuid.replace(/\0+$/, ''),
    bootId,
    cpuCores: cpus().length || availableParallelism(),
    memoryBytes: memory.get('MemTotal') ?? 0,
    swapBytes: memory.get('SwapTotal') ?? 0,
    hugepages: pages,
    maxPids: pids,
    rootFsBytes: disk.capacityBytes,
    bootTime,
  };
}

/** The interface that leads to everywhere, by the kernel's table for IPv4, else for IPv6. */
async function defaultInterface(): Promise<string | undefined> {
  let best: { name: string; metric: number } | undefined;
  for (const line of ((await text('/proc/net/route')) ?? '').split('\n').slice(1)) {
    const f = line.split(/\s+/);
    if (f[1] !== '00000000' || f[7] !== '00000000') continue;
    const metric = Number(f[6]);
    if (best === undefined || metric < best.metric) best = { name: f[0]!, metric };
  }
  if (best !== undefined) return best.name;
  for (const line of ((await text('/proc/net/ipv6_route')) ?? '').split('\n')) {
    const f = line.trim().split(/\s+/);
    if (f.length >= 10 && f[1] === '00' && /^0+$/.test(f[0]!) && f[9] !== 'lo') return f[9];
  }
  return undefined;
}

/** Interfaces that containers and virtual switches bring, and that no node is reached by. */
const virtual = /^(lo|cni|docker|veth|br-|virbr|flannel|cali|cilium|vxlan|knarr|kube-)/;

/**
 * The node's addresses: those given, else of the interface with the default route, else of the first one that leads out.
 * `all`: with addresses of both families.
 */
export async function nodeAddresses(hostname: string, given: readonly string[]): Promise<readonly HostAddress[]> {
  let ips: readonly string[] = given;
  if (ips.length === 0) {
    const interfaces = networkInterfaces();
    const name = await defaultInterface();
    const candidates = [
      ...(name === undefined ? [] : [name]),
      ...Object.keys(interfaces).filter((n) => n !== name && !virtual.test(n)),
    ];
    for (const n of candidates) {
      const own = (interfaces[n] ?? []).filter((a) => !a.internal && !(a.family === 'IPv6' && a.scopeid !== 0));
      const first = own.find((a) => a.family === 'IPv4') ?? own[0];
      if (first === undefined) continue;
      ips = [first.address];
      break;
    }
    if (ips.length === 0) ips = ['127.0.0.1'];
  }
  return [
    ...ips.map((address) => ({ type: 'InternalIP', address }) as const),
    { type: 'Hostname', address: hostname } as const,
  ];
}

export interface ResolvConf {
  readonly servers: readonly string[];
  readonly searches: readonly string[];
  readonly options: readonly string[];
}

/** resolv.conf(5) as upstream reads it: the last `search` line counts, and the last of each option. */
export function parseResolvConf(content: string): ResolvConf {
  const servers: string[] = [];
  let searches: string[] = [];
  const options = new Map<string, string>();
  for (const raw of content.split('\n')) {
    const line = raw.trim();
    if (line === '' || line.startsWith('#') || line.startsWith(';')) continue;
    const f = line.split(/\s+/);
    if (f[0] === 'nameserver' && f[1] !== undefined) servers.push(f[1]);
    else if (f[0] === 'search')
      searches = f
        .slice(1)
        .filter((s) => s !== '.')
        .map((s) => s.replace(/\.$/, ''));
    else if (f[0] === 'options') for (const o of f.slice(1)) options.set(o.split(':')[0]!, o);
  }
  return { servers, searches, options: [...options.values()] };
}

const loopback = /^(127\.|::1$)/;

/** What pods inherit: the given file, or the machine's own; behind a local stub resolver, what that one forwards to. */
export async function resolvConf(path: string | undefined): Promise<ResolvConf> {
  if (path !== undefined) return path === '' ? parseResolvConf('') : parseResolvConf(await fs.readFile(path, 'utf8'));
  const own = parseResolvConf((await text('/etc/resolv.conf')) ?? '');
  if (own.servers.length > 0 && own.servers.every((s) => loopback.test(s))) {
    // A pod cannot reach the node's loopback.
    const behind = await text('/run/systemd/resolve/resolv.conf');
    if (behind !== undefined) return parseResolvConf(behind);
  }
  return own;
}
