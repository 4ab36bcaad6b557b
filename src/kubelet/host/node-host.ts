/**
 * `NodeHost`: the second of the kubelet's two seams: what the machine offers besides the container runtime. Files and
 * mounts, log files, cgroups, machine facts and usage, sockets. Implementations: `simulated` (in memory) and `linux`.
 * Paths are absolute. Nothing else in this folder touches files, processes or sockets.
 */
import type { Duplex, Readable } from 'node:stream';
import type {
  CpuUsage,
  FilesystemUsage,
  LinuxContainerResources,
  MemoryUsage,
  NetworkUsage,
} from '../runtime/container-runtime.ts';

export interface MachineInfo {
  readonly os: string;
  readonly architecture: string;
  readonly kernelVersion: string;
  readonly osImage: string;
  readonly machineId: string;
  readonly systemUuid: string;
  readonly bootId: string;
  readonly cpuCores: number;
  readonly memoryBytes: number;
  readonly swapBytes: number;
  readonly hugepages: readonly { pageSizeBytes: number; count: number }[];
  readonly maxPids: number;
  /** Capacity of the file system of the kubelet's root directory. */
  readonly rootFsBytes: number;
  /** When the machine started, in milliseconds since the epoch. */
  readonly bootTime: number;
}

export interface HostAddress {
  readonly type: 'InternalIP' | 'ExternalIP' | 'Hostname' | 'InternalDNS' | 'ExternalDNS';
  readonly address: string;
}

export type FileType = 'file' | 'directory' | 'symlink' | 'socket' | 'charDevice' | 'blockDevice' | 'other';

export interface FileStat {
  readonly type: FileType;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  /** Milliseconds since the epoch. */
  readonly mtime: number;
}

/** One file of a configuration volume. Its path is relative to the volume, and has no `..`. */
/** What `openBelow` has found. A file's content that nobody reads is to be destroyed. */
export type Opened =
  | { readonly type: 'file'; readonly size: number; readonly modifiedMs: number; readonly content: Readable }
  | { readonly type: 'directory'; readonly entries: readonly { readonly name: string; readonly directory: boolean }[] }
  | { readonly type: 'other' };

export interface PayloadFile {
  readonly path: string;
  readonly data: Uint8Array | string;
  readonly mode: number;
  /** Owner, where the volume wants another than the kubelet's user (token volumes). */
  readonly uid?: number;
}

export interface AtomicWriteOptions {
  /** The group that owns every file and may read it (fsGroup). */
  readonly gid?: number;
}

export interface OwnershipOptions {
  /** The group may read and not write. */
  readonly readOnly?: boolean;
}

export interface MountOptions {
  readonly fsType?: string;
  readonly bind?: boolean;
  readonly readOnly?: boolean;
  readonly options?: readonly string[];
  /** False: the source is taken as it is written, links and all (a path below `/proc/PID/fd`). */
  readonly canonicalize?: boolean;
}

export interface MountPoint {
  readonly device: string;
  readonly path: string;
  readonly type: string;
  /** What of the device is mounted here; `/` unless it is a bind mount. */
  readonly root?: string;
  readonly readOnly?: boolean;
}

export interface FilesystemStats {
  readonly capacityBytes: number;
  readonly availableBytes: number;
  readonly inodes: number;
  readonly inodesFree: number;
  /** The same for two paths on one file system. */
  readonly device: string;
}

export interface VolumeUsage {
  readonly capacityBytes: number;
  readonly availableBytes: number;
  readonly usedBytes: number;
  readonly inodes: number;
  readonly inodesFree: number;
  readonly inodesUsed: number;
}

/** One entry of a container log in CRI's log format. */
export interface LogEntry {
  /** RFC 3339 with nanoseconds. */
  readonly time: string;
  readonly stream: 'stdout' | 'stderr';
  /** True when the line goes on in the next entry: `data` has no line feed then. */
  readonly partial: boolean;
  /** The line with its line feed. */
  readonly data: Buffer;
}

export interface ReadLogOptions {
  /** Start at most this many lines before the end. */
  readonly tailLines?: number;
  /** Milliseconds since the epoch: skip older entries. */
  readonly since?: number;
  /** Go on after the end until `signal` aborts or `ended` says that no more will come. */
  readonly follow?: boolean;
  /** Asked at the end of the file while following: true when the writer has gone. */
  readonly ended?: () => Promise<boolean>;
  readonly signal?: AbortSignal;
}

export interface CgroupStats {
  readonly cpu: CpuUsage;
  readonly memory: MemoryUsage;
  readonly processCount: number;
}

/** What the kernel counts beyond that, for monitors; what it does not say is left out. Nanoseconds, bytes and counts since the start. */
export interface CgroupDetails {
  readonly cpu: {
    readonly user?: number;
    readonly system?: number;
    readonly periods?: number;
    readonly throttledPeriods?: number;
    readonly throttled?: number;
  };
  readonly memory: {
    readonly cache?: number;
    readonly mapped?: number;
    readonly swap?: number;
    readonly most?: number;
    readonly failures?: number;
  };
  /** By device (`/dev/sda`). */
  readonly io: readonly {
    readonly device: string;
    readonly reads: number;
    readonly writes: number;
    readonly readBytes: number;
    readonly writeBytes: number;
  }[];
  readonly threads?: number;
  readonly oomKills?: number;
  /** Nanoseconds in which some, or all, of its tasks waited. */
  readonly pressure?: Readonly<Record<'cpu' | 'memory' | 'io', { readonly some: number; readonly full: number }>>;
  /** Of its processes' network, where they are given one of their own. */
  readonly interfaces?: readonly PacketCounts[];
}

export interface PacketCounts {
  readonly name: string;
  readonly rxPackets: number;
  readonly rxDropped: number;
  readonly txPackets: number;
  readonly txDropped: number;
}

export interface CgroupResources extends LinuxContainerResources {
  /** 0 for none. */
  readonly pidsLimit?: number;
}

/** Limits as the kernel has them; what has no limit is left out. */
export interface CgroupLimits {
  readonly cpuShares?: number;
  readonly cpuQuota?: number;
  readonly cpuPeriod?: number;
  readonly memoryLimitInBytes?: number;
}

/** The cgroup hierarchy below the kubelet's root; names are paths such as `/kubepods/burstable/pod<uid>`. */
export interface Cgroups {
  readonly version: 1 | 2;
  /** The name as a container runtime wants it (`cgroupParent`). */
  parentName(name: string): string;
  /** Creates it with all that is above it, and sets the limits that are named. */
  ensure(name: string, resources: CgroupResources): Promise<void>;
  /** Kills what is left in it and below it, and removes it from every hierarchy; nothing when there is none. */
  remove(name: string): Promise<void>;
  /** Names of the children (last part only), in any hierarchy. */
  list(parent: string): Promise<readonly string[]>;
  /** Undefined when there is no such cgroup. */
  stats(name: string): Promise<CgroupStats | undefined>;
  limits(name: string): Promise<CgroupLimits | undefined>;
  /** Of a cgroup, or of the child that the runtime made below it for a container. Undefined when there is no such cgroup. */
  details?(name: string, containerId?: string): Promise<CgroupDetails | undefined>;
}

export interface NodeUsage {
  readonly cpu: CpuUsage;
  readonly memory: MemoryUsage;
  readonly network: NetworkUsage;
  readonly rootFs: FilesystemUsage & {
    capacityBytes: number;
    availableBytes: number;
    inodes: number;
    inodesFree: number;
  };
  readonly processCount: number;
  readonly swapUsageBytes: number;
}

export interface DialOptions {
  /** Real milliseconds. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

export interface ListenOptions {
  readonly address: string;
  readonly port: number;
}

export interface HostListener {
  readonly address: string;
  readonly port: number;
  close(): Promise<void>;
}

/** Content made on first sight: one file, or a configuration volume that is made anew after `maxAgeMs`. */
export type LazyItem =
  | { readonly path: string; readonly file: string }
  | { readonly path: string; readonly files: readonly PayloadFile[]; readonly maxAgeMs: number };

/**
 * What only a host that sees every access can offer: content that is made when it is first looked for. A pod's token and
 * `/etc/hosts` cost nothing then until somebody looks.
 */
export interface LazyContent {
  /**
   * Asks `produce` about paths below `directory` that are looked for; it answers undefined, at once, for what is not lazy.
   * A later provider of the same directory takes the place of an earlier one. Returns what ends it.
   */
  provide(directory: string, produce: (path: string) => Promise<LazyItem> | undefined): () => void;
}

export interface NodeHost {
  readonly hostname: string;
  machineInfo(): Promise<MachineInfo>;
  addresses(): Promise<readonly HostAddress[]>;
  /** The resolver configuration that pods with dnsPolicy Default inherit. */
  resolvConf(): Promise<{ servers: readonly string[]; searches: readonly string[]; options: readonly string[] }>;
  usage(): Promise<NodeUsage>;

  /** Follows a link at the end of the path unless told otherwise; undefined when there is nothing. */
  stat(path: string, options?: { follow?: boolean }): Promise<FileStat | undefined>;
  /** Names in a directory; none when there is no such directory. */
  list(path: string): Promise<readonly string[]>;
  /** At most `maxBytes` from the start, or from the end with `fromEnd`; undefined when there is no such file. */
  readFile(path: string, options?: { maxBytes?: number; fromEnd?: boolean }): Promise<Buffer | undefined>;
  /** Writes in place, so that a file mounted into a container stays the same file; makes the directories above it. */
  writeFile(path: string, data: Uint8Array | string, mode?: number): Promise<void>;
  /** Writes aside and renames over what is there: a reader sees the old or the new, also after a crash. */
  replaceFile(path: string, data: Uint8Array | string, mode?: number): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  /** With the directories above it. `mode` is set whatever the umask; an existing directory keeps its own. */
  mkdir(path: string, mode?: number): Promise<void>;
  /** Removes a file or a whole tree; never crosses a mount point: rejects when one is below. */
  remove(path: string): Promise<void>;
  /** Sets the group of a whole tree and makes it group-writable (fsGroup). */
  setVolumeOwnership(
    path: string,
    gid: number,
    policy: 'Always' | 'OnRootMismatch',
    options?: OwnershipOptions,
  ): Promise<void>;
  /**
   * Replaces the content of a configuration volume at once: a time-stamped directory, the `..data` link renamed over the
   * old one, and a link for each top-level name. Returns whether anything changed.
   */
  writeAtomic(directory: string, files: readonly PayloadFile[], options?: AtomicWriteOptions): Promise<boolean>;
  /**
   * Opens `subPath` below `base` without following a link out of it, creating directories as needed, and returns a path
   * that stays bound to what was checked (for `ContainerConfig.mounts`).
   */
  bindSubPath(base: string, subPath: string, target: string, readOnly: boolean): Promise<string>;
  /**
   * The first `maxBytes` of the file at `path` below `base`, without following a link out of it; undefined when there is no such
   * file. Rejects when the path leads elsewhere.
   */
  readBelow(base: string, path: string, maxBytes: number): Promise<Buffer | undefined>;
  /** The same as a stream, and for directories too. */
  openBelow(base: string, path: string): Promise<Opened | undefined>;
  readonly lazy?: LazyContent;

  /**
   * Makes the kubelet's directory, and lets mounts below it be seen in containers that ask for it (shared propagation).
   * Called once before anything else.
   */
  prepare(rootDir: string): Promise<void>;
  mount(source: string, target: string, options: MountOptions): Promise<void>;
  /** Mounts a block device, with a new file system where it has none. */
  formatAndMount(device: string, target: string, fsType: string, options: readonly string[]): Promise<void>;
  /** Nothing when nothing is mounted there. */
  unmount(target: string): Promise<void>;
  /** Unmounts everything at and below `path`, the deepest first. */
  unmountTree(path: string): Promise<void>;
  isMountPoint(path: string): Promise<boolean>;
  mounts(): Promise<readonly MountPoint[]>;
  /** What a directory holds (each file is looked at), and its file system's capacity. */
  volumeUsage(path: string): Promise<VolumeUsage>;
  /** Of the file system that holds `path`. */
  filesystem(path: string): Promise<FilesystemStats>;
  /** Calls `changed` when names in a directory come, go or are written; returns what ends it. */
  watchDirectory(path: string, changed: () => void): () => void;

  /** Entries in batches; ends at the end of the log unless following; a follower goes on in the file after a rotation. */
  readLog(path: string, options: ReadLogOptions): AsyncIterable<readonly LogEntry[]>;
  /**
   * Moves the log aside under its name with a time stamp, compresses older ones, and keeps `maxFiles` with the current one.
   * Returns the new name of what was moved.
   */
  rotateLog(path: string, maxFiles: number): Promise<string>;
  logSize(path: string): Promise<number>;

  /** Undefined where limits are not enforced by the kubelet. */
  readonly cgroups?: Cgroups;

  /** A TCP stream to a pod's or any other address, as seen from the node: for probes and hooks. */
  dialTcp(address: string, port: number, options?: DialOptions): Promise<Duplex>;
  /** The kubelet's own HTTP endpoint. */
  listen(options: ListenOptions, onConnection: (stream: Duplex) => void): Promise<HostListener>;
  /** The address of a socket of the node for a gRPC client; undefined where the host has no sockets (CSI, plugins). */
  readonly socketAddress?: (path: string) => string;
  /**
   * Delays the machine's shutdown: `onShutdown` is called with true when it is about to begin and with false when it was
   * called off. Undefined where nothing announces a shutdown.
   */
  readonly inhibitShutdown?: (
    maxDelayMs: number,
    onShutdown: (active: boolean) => void,
  ) => Promise<{ readonly maxDelayMs: number; release(): Promise<void> }>;
  /** True when nothing on the node holds that port. */
  portFree(protocol: 'TCP' | 'UDP' | 'SCTP', address: string, port: number): Promise<boolean>;
}
