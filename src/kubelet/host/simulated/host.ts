/**
 * The simulated node: an in-memory file system, log store, settable machine facts, and the cluster's simulated network.
 * Costs nothing per pod until somebody looks at its files.
 */
import type { Duplex } from 'node:stream';
import { Readable } from 'node:stream';
import type { Clock } from '../../../base/clock.ts';
import type {
  AtomicWriteOptions,
  DialOptions,
  FileStat,
  FilesystemStats,
  HostAddress,
  HostListener,
  LazyContent,
  LazyItem,
  ListenOptions,
  LogEntry,
  MachineInfo,
  MountPoint,
  NodeHost,
  NodeUsage,
  Opened,
  OwnershipOptions,
  PayloadFile,
  ReadLogOptions,
  VolumeUsage,
} from '../node-host.ts';
import { FileView, FsError, newDir } from '../../runtime/simulated/file-system.ts';
import type { SimulatedNetwork } from '../../runtime/simulated/network.ts';
import { isLoopback } from '../../runtime/simulated/network.ts';
import { SimulatedLogs } from './logs.ts';

/** Settable facts of a simulated machine. */
export interface SimulatedMachine {
  readonly cpuCores?: number;
  readonly memoryBytes?: number;
  readonly diskBytes?: number;
  readonly architecture?: string;
  readonly osImage?: string;
  readonly kernelVersion?: string;
}

export interface SimulatedHostOptions {
  readonly hostname: string;
  readonly clock: Clock;
  readonly network: SimulatedNetwork;
  readonly addresses: readonly string[];
  readonly machine?: SimulatedMachine;
  /** Bytes that the node's file system holds; 256 MiB when left out. */
  readonly fileBytes?: number;
  /** What the node's pods use now; the runtime tells. */
  readonly usage?: () => { cpuCores: number; memoryBytes: number; processes: number };
}

interface Made {
  at: number;
  maxAgeMs: number;
  running: Promise<void> | undefined;
}

export class SimulatedHost implements NodeHost {
  readonly hostname: string;
  readonly files: FileView;
  /** The same files, without making anything. */
  readonly #raw: FileView;
  readonly logs: SimulatedLogs;
  readonly lazy: LazyContent;
  readonly network: SimulatedNetwork;
  readonly #clock: Clock;
  readonly #options: SimulatedHostOptions;
  readonly #providers = new Map<string, (path: string) => Promise<LazyItem> | undefined>();
  readonly #made = new Map<string, Made>();
  readonly #started: number;
  #machine: MachineInfo | undefined;
  #addresses: readonly HostAddress[] | undefined;
  usageSource: (() => { cpuCores: number; memoryBytes: number; processes: number }) | undefined;

  constructor(options: SimulatedHostOptions) {
    this.#options = options;
    this.#clock = options.clock;
    this.hostname = options.hostname;
    this.network = options.network;
    this.usageSource = options.usage;
    this.#started = options.clock.now();
    this.files = new FileView(newDir(this.#started), () => options.clock.now(), {
      quota: { used: 0, limit: options.fileBytes ?? 256 * 1024 * 1024 },
    });
    this.logs = new SimulatedLogs(() => options.clock.now());
    this.#raw = new FileView(this.files.root, () => options.clock.now(), { quota: this.files.quota });
    this.files.before = (path) => this.#make(path);
    this.lazy = {
      provide: (directory, produce) => {
        this.#providers.set(directory, produce);
        return () => {
          if (this.#providers.get(directory) === produce) this.#providers.delete(directory);
        };
      },
    };
  }

  /** Makes what is lazy at `path` or above it, unless it has been made. */
  #make(path: string): Promise<void> | undefined {
    for (const [directory, produce] of this.#providers) {
      if (!path.startsWith(directory) || path[directory.length] !== '/') continue;
      for (let end = path.length; end > directory.length; end = path.lastIndexOf('/', end - 1)) {
        const made = this.#made.get(path.slice(0, end));
        if (made === undefined) continue;
        if (made.running !== undefined) return made.running;
        if (this.#clock.now() - made.at < made.maxAgeMs) return undefined;
      }
      const item = produce(path);
      if (item !== undefined) return this.#write(item);
    }
    return undefined;
  }

  async #write(promise: Promise<LazyItem>): Promise<void> {
    const item = await promise;
    const running = this.#made.get(item.path)?.running;
    if (running !== undefined) return running;
    const made: Made = {
      at: this.#clock.now(),
      maxAgeMs: 'file' in item ? Infinity : item.maxAgeMs,
      running: undefined,
    };
    const work = async () => {
      if ('file' in item) {
        await this.#raw.mkdir(item.path.slice(0, item.path.lastIndexOf('/')) || '/', { parents: true });
        await this.#raw.writeFile(item.path, item.file, 0o644);
      } else await this.#writeAtomic(this.#raw, item.path, item.files);
    };
    made.running = work().finally(() => (made.running = undefined));
    this.#made.set(item.path, made);
    return made.running;
  }

  /** The same object each time: the machine does not change. */
  async machineInfo(): Promise<MachineInfo> {
    return (this.#machine ??= this.#describe());
  }

  #describe(): MachineInfo {
    const m = this.#options.machine ?? {};
    const id = idOf(this.hostname);
    return {
      os: 'linux',
      architecture: m.architecture ?? 'amd64',
      kernelVersion: m.kernelVersion ?? '6.12.0-simulated',
      osImage: m.osImage ?? 'knarr simulated node',
      machineId: id,
      systemUuid: `${id.slice(0, 8)}-${id.slice(8, 12)}-${id.slice(12, 16)}-${id.slice(16, 20)}-${id.slice(20)}`,
      bootId: `${id.slice(24)}-${id.slice(0, 4)}-4${id.slice(5, 8)}-8${id.slice(9, 12)}-${id.slice(12, 24)}`,
      cpuCores: m.cpuCores ?? 32,
      memoryBytes: m.memoryBytes ?? 256 * 2 ** 30,
      swapBytes: 0,
      hugepages: [],
      maxPids: 4_194_304,
      rootFsBytes: m.diskBytes ?? 1024 * 2 ** 30,
      bootTime: this.#started,
    };
  }

  async addresses(): Promise<readonly HostAddress[]> {
    return (this.#addresses ??= [
      ...this.#options.addresses.map((address) => ({ type: 'InternalIP', address }) as const),
      { type: 'Hostname', address: this.hostname },
    ]);
  }

  resolvConf(): Promise<{ servers: readonly string[]; searches: readonly string[]; options: readonly string[] }> {
    return Promise.resolve({ servers: ['127.0.0.1'], searches: [], options: [] });
  }

  async usage(): Promise<NodeUsage> {
    const now = this.#clock.now();
    const used = this.usageSource?.() ?? { cpuCores: 0, memoryBytes: 0, processes: 0 };
    const machine = await this.machineInfo();
    const cores = used.cpuCores + 0.01;
    const memory = used.memoryBytes + 64 * 2 ** 20;
    const disk = this.files.quota.used;
    return {
      cpu: {
        timestamp: now,
        usageNanoCores: Math.round(cores * 1e9),
        usageCoreNanoSeconds: Math.round(cores * (now - this.#started) * 1e6),
      },
      memory: {
        timestamp: now,
        workingSetBytes: memory,
        availableBytes: machine.memoryBytes - memory,
        usageBytes: memory,
        rssBytes: memory,
      },
      network: { timestamp: now, interfaces: [{ name: 'eth0', rxBytes: 0, rxErrors: 0, txBytes: 0, txErrors: 0 }] },
      rootFs: {
        timestamp: now,
        mountpoint: '/',
        usedBytes: disk,
        inodesUsed: 1000,
        capacityBytes: machine.rootFsBytes,
        availableBytes: machine.rootFsBytes - disk,
        inodes: 10_000_000,
        inodesFree: 9_999_000,
      },
      processCount: used.processes,
      swapUsageBytes: 0,
    };
  }

  async stat(path: string, options: { follow?: boolean } = {}): Promise<FileStat | undefined> {
    return this.files.stat(path, options.follow ?? true);
  }

  async list(path: string): Promise<readonly string[]> {
    try {
      return await this.files.list(path);
    } catch (error) {
      if (error instanceof FsError && (error.code === 'ENOENT' || error.code === 'ENOTDIR')) return [];
      throw error;
    }
  }

  async readFile(path: string, options: { maxBytes?: number; fromEnd?: boolean } = {}): Promise<Buffer | undefined> {
    let data: Buffer;
    try {
      data = await this.files.readFile(path);
    } catch (error) {
      if (error instanceof FsError && (error.code === 'ENOENT' || error.code === 'ENOTDIR')) return undefined;
      throw error;
    }
    const max = options.maxBytes ?? data.length;
    return options.fromEnd ? data.subarray(Math.max(data.length - max, 0)) : data.subarray(0, max);
  }

  async writeFile(path: string, data: Uint8Array | string, mode?: number): Promise<void> {
    await this.files.mkdir(path.slice(0, path.lastIndexOf('/')) || '/', { parents: true });
    await this.files.writeFile(path, data, mode);
  }

  async replaceFile(path: string, data: Uint8Array | string, mode?: number): Promise<void> {
    await this.writeFile(`${path}.tmp`, data, mode);
    await this.files.rename(`${path}.tmp`, path);
  }

  rename(from: string, to: string): Promise<void> {
    return this.files.rename(from, to);
  }

  async mkdir(path: string, mode?: number): Promise<void> {
    await this.files.mkdir(path, { parents: true, mode });
  }

  async remove(path: string): Promise<void> {
    if (this.#made.size > 0) {
      this.#made.delete(path);
      for (const key of this.#made.keys()) if (key.startsWith(`${path}/`)) this.#made.delete(key);
    }
    this.logs.remove(path);
    this.logs.removeUnder(path);
    try {
      await this.#raw.remove(path, { recursive: true });
    } catch (error) {
      if (!(error instanceof FsError) || error.code !== 'ENOENT') throw error;
    }
  }

  async setVolumeOwnership(
    path: string,
    gid: number,
    policy: 'Always' | 'OnRootMismatch',
    options: OwnershipOptions = {},
  ): Promise<void> {
    const mask = (type: FileStat['type']): number => groupMask(type, options.readOnly === true);
    const root = await this.files.stat(path, false);
    if (policy === 'OnRootMismatch' && root?.gid === gid && (root.mode & mask(root.type)) === mask(root.type)) return;
    const walk = async (at: string): Promise<void> => {
      const s = await this.files.stat(at, false);
      if (s === undefined || s.type === 'symlink') return;
      await this.files.chown(at, undefined, gid);
      await this.files.chmod(at, s.mode | mask(s.type));
      if (s.type === 'directory') for (const n of await this.files.list(at)) await walk(`${at}/${n}`);
    };
    await walk(path);
  }

  writeAtomic(directory: string, files: readonly PayloadFile[], options: AtomicWriteOptions = {}): Promise<boolean> {
    const { gid } = options;
    return this.#writeAtomic(
      this.files,
      directory,
      gid === undefined ? files : files.map((f) => ({ ...f, mode: f.mode | groupMask('file', true) })),
      gid,
    );
  }

  async #writeAtomic(fs: FileView, directory: string, files: readonly PayloadFile[], gid?: number): Promise<boolean> {
    await fs.mkdir(directory, { parents: true });
    const wanted = new Map(files.map((f) => [f.path, f]));
    const old = await fs.stat(`${directory}/..data`, false);
    const oldTarget = old === undefined ? undefined : await fs.readlink(`${directory}/..data`);
    if (oldTarget !== undefined && (await same(fs, `${directory}/${oldTarget}`, wanted))) return false;
    const stamp = `..${new Date(this.#clock.now()).toISOString().replace(/[-:]/g, '_').replace(/T/, '_').slice(0, 19)}.${String(this.#stamp++)}`;
    await fs.mkdir(`${directory}/${stamp}`);
    const tops = new Set<string>();
    for (const f of files) {
      const path = `${directory}/${stamp}/${f.path}`;
      await fs.mkdir(path.slice(0, path.lastIndexOf('/')), { parents: true });
      await fs.writeFile(path, f.data, f.mode);
      if (f.uid !== undefined || gid !== undefined) await fs.chown(path, f.uid, gid);
      tops.add(f.path.split('/')[0]!);
    }
    await fs.symlink(stamp, `${directory}/..data_tmp`);
    await fs.rename(`${directory}/..data_tmp`, `${directory}/..data`);
    for (const name of tops)
      if ((await fs.stat(`${directory}/${name}`, false)) === undefined)
        await fs.symlink(`..data/${name}`, `${directory}/${name}`);
    for (const name of await fs.list(directory))
      if (!name.startsWith('..') && !tops.has(name)) await fs.remove(`${directory}/${name}`);
    if (oldTarget !== undefined) await fs.remove(`${directory}/${oldTarget}`, { recursive: true });
    return true;
  }

  #stamp = 0;

  async readBelow(base: string, path: string, maxBytes: number): Promise<Buffer | undefined> {
    if (path.split('/').includes('..')) throw new Error(`path ${path} is outside of allowed base ${base}`);
    return this.readFile(`${base}/${path}`, { maxBytes });
  }

  async openBelow(base: string, path: string): Promise<Opened | undefined> {
    if (path.split('/').includes('..')) throw new Error(`path ${path} is outside of allowed base ${base}`);
    const full = `${base}/${path}`;
    const stat = await this.stat(full);
    if (stat?.type === 'directory') {
      const names = await this.list(full);
      const entries = names.map(async (name) => ({
        name,
        directory: (await this.stat(`${full}/${name}`))?.type === 'directory',
      }));
      return { type: 'directory', entries: await Promise.all(entries) };
    }
    const content = await this.readBelow(base, path, Infinity);
    if (content === undefined) return undefined;
    return { type: 'file', size: content.length, modifiedMs: this.#clock.now(), content: Readable.from([content]) };
  }

  async bindSubPath(base: string, subPath: string): Promise<string> {
    if (subPath.split('/').includes('..')) throw new Error(`subPath ${JSON.stringify(subPath)} must not contain '..'`);
    const root = await this.files.locate(base);
    const path = `${base}/${subPath}`;
    let place = await this.files.locate(path).catch(() => undefined);
    if (place?.node === undefined) {
      await this.files.mkdir(path, { parents: true });
      place = await this.files.locate(path);
    }
    if (place.path !== root.path && !place.path.startsWith(`${root.path}/`))
      throw new Error(`subPath ${JSON.stringify(subPath)} leads outside of the volume`);
    // The path itself, not what it leads to now: through `..data` a later version would not be seen on Linux either.
    return place.path;
  }

  prepare(): Promise<void> {
    return Promise.resolve();
  }

  mount(): Promise<void> {
    return Promise.resolve();
  }

  formatAndMount(): Promise<void> {
    return Promise.reject(new Error('a simulated node has no block devices'));
  }

  unmount(): Promise<void> {
    return Promise.resolve();
  }

  unmountTree(): Promise<void> {
    return Promise.resolve();
  }

  isMountPoint(): Promise<boolean> {
    return Promise.resolve(false);
  }

  mounts(): Promise<readonly MountPoint[]> {
    return Promise.resolve([]);
  }

  async filesystem(): Promise<FilesystemStats> {
    const { rootFs } = await this.usage();
    return {
      capacityBytes: rootFs.capacityBytes,
      availableBytes: rootFs.availableBytes,
      inodes: rootFs.inodes,
      inodesFree: rootFs.inodesFree,
      device: 'simulated',
    };
  }

  watchDirectory(): () => void {
    return () => {};
  }

  async volumeUsage(path: string): Promise<VolumeUsage> {
    const { bytes, inodes } = await this.files.usage(path).catch(() => ({ bytes: 0, inodes: 0 }));
    const capacity = (await this.machineInfo()).rootFsBytes;
    return {
      capacityBytes: capacity,
      availableBytes: capacity - this.files.quota.used,
      usedBytes: bytes,
      inodes: 10_000_000,
      inodesFree: 10_000_000 - inodes,
      inodesUsed: inodes,
    };
  }

  readLog(path: string, options: ReadLogOptions): AsyncIterable<readonly LogEntry[]> {
    return this.logs.read(path, options);
  }

  rotateLog(path: string): Promise<string> {
    this.logs.rotate(path);
    return Promise.resolve(`${path}.rotated`);
  }

  logSize(path: string): Promise<number> {
    return Promise.resolve(this.logs.size(path));
  }

  async dialTcp(address: string, port: number, options: DialOptions = {}): Promise<Duplex> {
    options.signal?.throwIfAborted();
    const own = this.#options.addresses[0] ?? '';
    // The node's own loopback is the simulated node's, not this machine's.
    return this.network.dial(isLoopback(address) ? own : address, port, own);
  }

  listen(_options: ListenOptions, _onConnection: (stream: Duplex) => void): Promise<HostListener> {
    return Promise.reject(new Error('a simulated node is reached through its streams, not through a socket'));
  }

  portFree(): Promise<boolean> {
    return Promise.resolve(true);
  }
}

/** What fsGroup gives a file's group. */
function groupMask(type: FileStat['type'], readOnly: boolean): number {
  const mask = readOnly ? 0o440 : 0o660;
  return type === 'directory' ? mask | 0o2110 : mask;
}

/** 32 hex digits that stay the same for a name. */
function idOf(name: string): string {
  let out = '';
  for (let i = 0; i < 4; i++) {
    let h = 0x811c9dc5 ^ i;
    for (let j = 0; j < name.length; j++) h = Math.imul(h ^ name.charCodeAt(j), 0x01000193);
    h = Math.imul(h ^ (h >>> 13), 0x5bd1e995);
    out += ((h ^ (h >>> 15)) >>> 0).toString(16).padStart(8, '0');
  }
  return out;
}

/** Whether a configuration directory holds exactly these files. */
async function same(fs: FileView, directory: string, wanted: ReadonlyMap<string, PayloadFile>): Promise<boolean> {
  let seen = 0;
  const walk = async (at: string, prefix: string): Promise<boolean> => {
    for (const n of await fs.list(at)) {
      const s = await fs.stat(`${at}/${n}`);
      if (s?.type === 'directory') {
        if (!(await walk(`${at}/${n}`, `${prefix}${n}/`))) return false;
        continue;
      }
      const w = wanted.get(prefix + n);
      if (w === undefined || w.mode !== s?.mode) return false;
      const data = await fs.readFile(`${at}/${n}`);
      if (!data.equals(Buffer.from(w.data as string))) return false;
      seen++;
    }
    return true;
  };
  return (await walk(directory, '')) && seen === wanted.size;
}
