/** `LinuxHost`: a real Linux machine as the kubelet's host. Needs root. */
import { watch } from 'node:fs';
import { rename } from 'node:fs/promises';
import type { Duplex } from 'node:stream';
import type { Clock } from '../../../base/clock.ts';
import { makeDirectory } from '../../../base/directories.ts';
import { ioNow } from '../../../base/io-time.ts';
import { deepEqual } from '../../../api/helpers/deep-equal.ts';
import type {
  AtomicWriteOptions,
  Cgroups,
  DialOptions,
  FileStat,
  FilesystemStats,
  HostAddress,
  HostListener,
  ListenOptions,
  LogEntry,
  MachineInfo,
  MountOptions,
  MountPoint,
  NodeHost,
  NodeUsage,
  Opened,
  OwnershipOptions,
  PayloadFile,
  ReadLogOptions,
  VolumeUsage,
} from '../node-host.ts';
import { writeAtomic } from './atomic-writer.ts';
import { Commands } from './command.ts';
import { openCgroups } from './cgroups.ts';
import * as files from './files.ts';
import { goError } from './fs-error.ts';
import * as logs from './logs.ts';
import { machineInfo, nodeAddresses, resolvConf } from './machine.ts';
import { formatAndMount, isMountPoint, makeShared, mount, mountTable, unmount, unmountTree } from './mounts.ts';
import { hasInhibitor, inhibitShutdown } from './shutdown.ts';
import { dialTcp, listen, portFree } from './sockets.ts';
import { bindSubPath, readBelow, streamBelow } from './subpath.ts';
import { CpuRate, nodeUsage } from './usage.ts';

export interface LinuxHostOptions {
  readonly clock: Clock;
  /** The node's host name. */
  readonly hostname: string;
  /** `--node-ip`; found out when left out. */
  readonly addresses?: readonly string[];
  /** `/var/lib/kubelet` unless told otherwise. */
  readonly rootDir?: string;
  /** `--resolv-conf`; empty for none. */
  readonly resolvConf?: string;
  /** Cgroups are left alone with false (`--cgroups-per-qos=false`). */
  readonly cgroups?: false | { readonly cgroupRoot?: string; readonly driver?: 'cgroupfs' | 'systemd' };
}

/** The machine's facts are looked at again after so long. */
const factsMs = 60_000;

/** Opens the machine: finds its cgroups and makes the kubelet's directory. */
export async function createLinuxHost(options: LinuxHostOptions): Promise<LinuxHost> {
  const commands = new Commands();
  const cgroups =
    options.cgroups === false
      ? undefined
      : await openCgroups({
          clock: options.clock,
          commands,
          cgroupRoot: options.cgroups?.cgroupRoot ?? '/',
          driver: options.cgroups?.driver ?? 'cgroupfs',
        });
  const host = new LinuxHost(options, commands, cgroups);
  makeDirectory(options.rootDir ?? '/var/lib/kubelet', 0o750);
  return host;
}

export class LinuxHost implements NodeHost {
  readonly hostname: string;
  readonly cgroups?: Cgroups;
  readonly inhibitShutdown?: NodeHost['inhibitShutdown'];
  readonly #o: LinuxHostOptions;
  readonly #commands: Commands;
  readonly #rootDir: string;
  readonly #rate = new CpuRate();
  #machine: MachineInfo | undefined;
  #machineAt = 0;
  #addresses: readonly HostAddress[] | undefined;
  #addressesAt = 0;

  constructor(options: LinuxHostOptions, commands: Commands, cgroups: Cgroups | undefined) {
    this.#o = options;
    this.#commands = commands;
    this.hostname = options.hostname;
    this.#rootDir = options.rootDir ?? '/var/lib/kubelet';
    if (cgroups !== undefined) this.cgroups = cgroups;
    if (hasInhibitor()) this.inhibitShutdown = (_, onShutdown) => inhibitShutdown(commands, onShutdown);
  }

  /** The same object as long as nothing has changed. */
  async machineInfo(): Promise<MachineInfo> {
    if (this.#machine !== undefined && ioNow() - this.#machineAt < factsMs) return this.#machine;
    const info = await machineInfo(this.#rootDir);
    this.#machineAt = ioNow();
    if (this.#machine === undefined || !deepEqual(info, this.#machine)) this.#machine = info;
    return this.#machine;
  }

  async addresses(): Promise<readonly HostAddress[]> {
    if (this.#addresses !== undefined && ioNow() - this.#addressesAt < factsMs) return this.#addresses;
    const found = await nodeAddresses(this.hostname, this.#o.addresses ?? []);
    this.#addressesAt = ioNow();
    if (this.#addresses === undefined || !deepEqual(found, this.#addresses)) this.#addresses = found;
    return this.#addresses;
  }

  resolvConf(): Promise<{ servers: readonly string[]; searches: readonly string[]; options: readonly string[] }> {
    return resolvConf(this.#o.resolvConf);
  }

  usage(): Promise<NodeUsage> {
    const { clock } = this.#o;
    return nodeUsage(this.#rootDir, this.#rate, clock.now(), clock.monotonic());
  }

  stat(path: string, options: { follow?: boolean } = {}): Promise<FileStat | undefined> {
    return files.stat(path, options.follow ?? true);
  }

  list(path: string): Promise<readonly string[]> {
    return files.list(path);
  }

  readFile(path: string, options: { maxBytes?: number; fromEnd?: boolean } = {}): Promise<Buffer | undefined> {
    return files.readFile(path, options);
  }

  writeFile(path: string, data: Uint8Array | string, mode?: number): Promise<void> {
    return files.writeFile(path, data, mode);
  }

  replaceFile(path: string, data: Uint8Array | string, mode?: number): Promise<void> {
    return files.replaceFile(path, data, mode);
  }

  async rename(from: string, to: string): Promise<void> {
    try {
      await rename(from, to);
    } catch (error) {
      throw goError('rename', from, error);
    }
  }

  mkdir(path: string, mode?: number): Promise<void> {
    return files.mkdir(path, mode);
  }

  remove(path: string): Promise<void> {
    return files.remove(path);
  }

  setVolumeOwnership(
    path: string,
    gid: number,
    policy: 'Always' | 'OnRootMismatch',
    options?: OwnershipOptions,
  ): Promise<void> {
    return files.setVolumeOwnership(path, gid, policy, options);
  }

  writeAtomic(directory: string, payload: readonly PayloadFile[], options: AtomicWriteOptions = {}): Promise<boolean> {
    return writeAtomic(directory, payload, options, this.#o.clock.now());
  }

  readBelow(base: string, path: string, maxBytes: number): Promise<Buffer | undefined> {
    return readBelow(base, path, maxBytes);
  }

  openBelow(base: string, path: string): Promise<Opened | undefined> {
    return streamBelow(base, path);
  }

  bindSubPath(base: string, subPath: string, target: string): Promise<string> {
    return bindSubPath(this.#commands, base, subPath, target);
  }

  async prepare(rootDir: string): Promise<void> {
    await files.mkdir(rootDir, 0o750);
    await makeShared(this.#commands, rootDir);
  }

  mount(source: string, target: string, options: MountOptions): Promise<void> {
    return mount(this.#commands, source, target, options);
  }

  formatAndMount(device: string, target: string, fsType: string, options: readonly string[]): Promise<void> {
    return formatAndMount(this.#commands, device, target, fsType, options);
  }

  unmount(target: string): Promise<void> {
    return unmount(this.#commands, target);
  }

  unmountTree(path: string): Promise<void> {
    return unmountTree(path, this.#commands);
  }

  isMountPoint(path: string): Promise<boolean> {
    return isMountPoint(path);
  }

  mounts(): Promise<readonly MountPoint[]> {
    return mountTable();
  }

  volumeUsage(path: string): Promise<VolumeUsage> {
    return files.volumeUsage(path);
  }

  filesystem(path: string): Promise<FilesystemStats> {
    return files.filesystem(path);
  }

  watchDirectory(path: string, changed: () => void): () => void {
    const watcher = watch(path, { persistent: false }, changed);
    watcher.on('error', () => watcher.close());
    return () => watcher.close();
  }

  readLog(path: string, options: ReadLogOptions): AsyncIterable<readonly LogEntry[]> {
    return logs.readLog(path, options);
  }

  rotateLog(path: string, maxFiles: number): Promise<string> {
    return logs.rotateLog(path, maxFiles, this.#o.clock.now());
  }

  logSize(path: string): Promise<number> {
    return logs.logSize(path);
  }

  dialTcp(address: string, port: number, options?: DialOptions): Promise<Duplex> {
    return dialTcp(address, port, options);
  }

  listen(options: ListenOptions, onConnection: (stream: Duplex) => void): Promise<HostListener> {
    return listen(options, onConnection);
  }

  socketAddress(path: string): string {
    return `unix:${path}`;
  }

  portFree(protocol: 'TCP' | 'UDP' | 'SCTP', address: string, port: number): Promise<boolean> {
    return portFree(protocol, address, port);
  }
}
