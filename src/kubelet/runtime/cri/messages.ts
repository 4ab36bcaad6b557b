/** CRI's messages as the kubelet's own types and back: wrapped numbers, nanoseconds, zero values that are not on the wire. */
import type {
  Container,
  ContainerConfig,
  ContainerFilter,
  ContainerMetadata,
  ContainerState,
  ContainerStats,
  ContainerStatus,
  CpuUsage,
  FilesystemUsage,
  Image,
  ImageSpec,
  LinuxContainerResources,
  LinuxContainerSecurityContext,
  LinuxSandboxSecurityContext,
  MemoryUsage,
  Mount,
  NamespaceOption,
  NetworkUsage,
  PodSandbox,
  PodSandboxConfig,
  PodSandboxMetadata,
  PodSandboxState,
  PodSandboxStats,
  PodSandboxStatus,
  StringMap,
} from '../container-runtime.ts';

/** A number that may be absent. */
interface Wrapped {
  value?: number;
}

const none: StringMap = Object.freeze({});

function wrap(n: number | undefined): Wrapped | undefined {
  return n === undefined ? undefined : { value: n };
}

function unwrap(w: Wrapped | undefined): number | undefined {
  return w === undefined ? undefined : (w.value ?? 0);
}

/** Milliseconds of nanoseconds. */
function ms(ns: number | undefined): number {
  return Math.floor((ns ?? 0) / 1e6);
}

function sandboxContext(c: LinuxSandboxSecurityContext | undefined): object | undefined {
  return c === undefined ? undefined : { ...c, runAsUser: wrap(c.runAsUser), runAsGroup: wrap(c.runAsGroup) };
}

/** The form in which older runtimes expect an AppArmor profile. */
function deprecatedAppArmor(c: LinuxContainerSecurityContext): string | undefined {
  if (c.apparmor === undefined) return undefined;
  switch (c.apparmor.profileType) {
    case 'RuntimeDefault':
      return 'runtime/default';
    case 'Unconfined':
      return 'unconfined';
    case 'Localhost':
      return `localhost/${c.apparmor.localhostRef ?? ''}`;
  }
}

function containerContext(c: LinuxContainerSecurityContext | undefined): object | undefined {
  if (c === undefined) return undefined;
  return {
    ...c,
    runAsUser: wrap(c.runAsUser),
    runAsGroup: wrap(c.runAsGroup),
    apparmorProfile: deprecatedAppArmor(c),
  };
}

/** `SIGRTMIN+1` is `SIGRTMINPLUS1` on the wire. */
function signal(name: string | undefined): string | undefined {
  return name === undefined || name === '' ? undefined : name.replace('+', 'PLUS').replace('-', 'MINUS');
}

export function sandboxConfigMessage(config: PodSandboxConfig): object {
  const { linux } = config;
  return linux === undefined
    ? config
    : { ...config, linux: { ...linux, securityContext: sandboxContext(linux.securityContext) } };
}

export function containerConfigMessage(config: ContainerConfig, selinux: boolean): object {
  const { linux } = config;
  return {
    ...config,
    envs: config.envs.map((e) => ({ key: e.key, value: Buffer.from(e.value) })),
    mounts: config.mounts.map((m) => (m.selinuxRelabel && !selinux ? { ...m, selinuxRelabel: false } : m)),
    linux: linux === undefined ? undefined : { ...linux, securityContext: containerContext(linux.securityContext) },
    CDIDevices: config.cdiDevices?.map((name) => ({ name })),
    stopSignal: signal(config.stopSignal),
  };
}

export interface SandboxMessage {
  id?: string;
  metadata?: Partial<PodSandboxMetadata>;
  state?: PodSandboxState;
  createdAt?: number;
  labels?: StringMap;
  annotations?: StringMap;
  runtimeHandler?: string;
}

export interface SandboxStatusMessage extends SandboxMessage {
  network?: { ip?: string; additionalIps?: { ip?: string }[] };
  linux?: { namespaces?: { options?: NamespaceOption } };
}

function sandboxMetadata(m: Partial<PodSandboxMetadata> | undefined): PodSandboxMetadata {
  return { name: m?.name ?? '', uid: m?.uid ?? '', namespace: m?.namespace ?? '', attempt: m?.attempt ?? 0 };
}

export function toSandbox(m: SandboxMessage): PodSandbox {
  return {
    id: m.id ?? '',
    metadata: sandboxMetadata(m.metadata),
    state: m.state ?? 'SANDBOX_READY',
    createdAt: ms(m.createdAt),
    labels: m.labels ?? none,
    annotations: m.annotations ?? none,
    ...(m.runtimeHandler === undefined ? {} : { runtimeHandler: m.runtimeHandler }),
  };
}

export function toSandboxStatus(m: SandboxStatusMessage): PodSandboxStatus {
  const ip = m.network?.ip ?? '';
  return {
    ...toSandbox(m),
    ...(m.network === undefined
      ? {}
      : { network: { ip, additionalIps: (m.network.additionalIps ?? []).map((a) => a.ip ?? '') } }),
    ...(m.linux?.namespaces === undefined
      ? {}
      : {
          linux: {
            namespaces: {
              options: { network: 'POD', pid: 'POD', ipc: 'POD', ...m.linux.namespaces.options } as NamespaceOption,
            },
          },
        }),
  };
}

export interface ContainerMessage {
  id?: string;
  podSandboxId?: string;
  metadata?: Partial<ContainerMetadata>;
  image?: Partial<ImageSpec>;
  imageRef?: string;
  imageId?: string;
  state?: ContainerState;
  createdAt?: number;
  labels?: StringMap;
  annotations?: StringMap;
}

export interface ContainerStatusMessage extends ContainerMessage {
  startedAt?: number;
  finishedAt?: number;
  exitCode?: number;
  reason?: string;
  message?: string;
  mounts?: Partial<Mount>[];
  logPath?: string;
  resources?: { linux?: LinuxContainerResources };
  user?: { linux?: { uid?: number; gid?: number; supplementalGroups?: number[] } };
  stopSignal?: string;
}

export function toContainer(m: ContainerMessage): Container {
  return {
    id: m.id ?? '',
    podSandboxId: m.podSandboxId ?? '',
    metadata: { name: m.metadata?.name ?? '', attempt: m.metadata?.attempt ?? 0 },
    image: { ...m.image, image: m.image?.image ?? '' },
    imageRef: m.imageRef ?? '',
    ...(m.imageId === undefined || m.imageId === '' ? {} : { imageId: m.imageId }),
    state: m.state ?? 'CONTAINER_CREATED',
    createdAt: ms(m.createdAt),
    labels: m.labels ?? none,
    annotations: m.annotations ?? none,
  };
}

/** `podSandboxId` is not in a status: the caller knows it or leaves it empty. */
export function toContainerStatus(m: ContainerStatusMessage, podSandboxId = ''): ContainerStatus {
  const user = m.user?.linux;
  const stop = m.stopSignal;
  return {
    ...toContainer(m),
    podSandboxId,
    startedAt: ms(m.startedAt),
    finishedAt: ms(m.finishedAt),
    exitCode: m.exitCode ?? 0,
    reason: m.reason ?? '',
    message: m.message ?? '',
    mounts: (m.mounts ?? []).map((x) => ({
      ...x,
      containerPath: x.containerPath ?? '',
      hostPath: x.hostPath ?? '',
    })),
    logPath: m.logPath ?? '',
    ...(m.resources?.linux === undefined ? {} : { resources: m.resources.linux }),
    ...(user === undefined
      ? {}
      : { user: { uid: user.uid ?? 0, gid: user.gid ?? 0, supplementalGroups: user.supplementalGroups ?? [] } }),
    ...(stop === undefined || stop === 'RUNTIME_DEFAULT'
      ? {}
      : { stopSignal: stop.replace('PLUS', '+').replace('MINUS', '-') }),
  };
}

export function containerFilter(f: ContainerFilter | undefined): object | undefined {
  return f === undefined ? undefined : { ...f, state: f.state === undefined ? undefined : { state: f.state } };
}

export interface ImageMessage {
  id?: string;
  repoTags?: string[];
  repoDigests?: string[];
  size?: number;
  uid?: Wrapped;
  username?: string;
  pinned?: boolean;
}

export function toImage(m: ImageMessage): Image {
  const uid = unwrap(m.uid);
  return {
    id: m.id ?? '',
    repoTags: m.repoTags ?? [],
    repoDigests: m.repoDigests ?? [],
    size: m.size ?? 0,
    ...(uid === undefined ? {} : { uid }),
    ...(m.username === undefined || m.username === '' ? {} : { username: m.username }),
    ...(m.pinned === true ? { pinned: true } : {}),
  };
}

export interface FilesystemMessage {
  timestamp?: number;
  fsId?: { mountpoint?: string };
  usedBytes?: Wrapped;
  inodesUsed?: Wrapped;
}

export function toFilesystem(m: FilesystemMessage | undefined): FilesystemUsage {
  return {
    timestamp: ms(m?.timestamp),
    mountpoint: m?.fsId?.mountpoint ?? '',
    usedBytes: unwrap(m?.usedBytes) ?? 0,
    inodesUsed: unwrap(m?.inodesUsed) ?? 0,
  };
}

interface CpuMessage {
  timestamp?: number;
  usageCoreNanoSeconds?: Wrapped;
  usageNanoCores?: Wrapped;
}

interface MemoryMessage {
  timestamp?: number;
  workingSetBytes?: Wrapped;
  availableBytes?: Wrapped;
  usageBytes?: Wrapped;
  rssBytes?: Wrapped;
  pageFaults?: Wrapped;
  majorPageFaults?: Wrapped;
}

interface InterfaceMessage {
  name?: string;
  rxBytes?: Wrapped;
  rxErrors?: Wrapped;
  txBytes?: Wrapped;
  txErrors?: Wrapped;
}

interface NetworkMessage {
  timestamp?: number;
  defaultInterface?: InterfaceMessage;
  interfaces?: InterfaceMessage[];
}

export interface ContainerStatsMessage {
  attributes?: { id?: string; metadata?: Partial<ContainerMetadata>; labels?: StringMap };
  cpu?: CpuMessage;
  memory?: MemoryMessage;
  writableLayer?: FilesystemMessage;
}

export interface SandboxStatsMessage {
  attributes?: { id?: string; metadata?: Partial<PodSandboxMetadata>; labels?: StringMap };
  linux?: {
    cpu?: CpuMessage;
    memory?: MemoryMessage;
    network?: NetworkMessage;
    process?: { processCount?: Wrapped };
    containers?: ContainerStatsMessage[];
  };
}

/** Shorter spans say little about a process that the kernel gives its share in pieces of a tenth of a second. */
const minSpanNs = 0.9e9;

/** Nanocores of two readings of a counter: runtimes report the counter and often not the rate. */
export class CpuRates {
  readonly #last = new Map<string, { timestamp: number; usage: number; rate: number | undefined }>();

  /** `timestamp`: nanoseconds. */
  rate(id: string, timestamp: number, usage: number): number {
    const last = this.#last.get(id);
    const span = last === undefined ? 0 : timestamp - last.timestamp;
    if (last === undefined || usage < last.usage) {
      this.#last.set(id, { timestamp, usage, rate: undefined });
      return 0;
    }
    if (span < minSpanNs && last.rate !== undefined) return last.rate;
    if (span <= 0) return 0;
    const rate = Math.round(((usage - last.usage) / span) * 1e9);
    if (span >= minSpanNs) this.#last.set(id, { timestamp, usage, rate });
    return rate;
  }

  /** Forgets what is not among `ids`. */
  keep(ids: ReadonlySet<string>): void {
    for (const id of this.#last.keys()) if (!ids.has(id)) this.#last.delete(id);
  }
}

function toCpu(id: string, m: CpuMessage | undefined, rates: CpuRates): CpuUsage {
  const timestamp = m?.timestamp ?? 0;
  const usageCoreNanoSeconds = unwrap(m?.usageCoreNanoSeconds) ?? 0;
  const computed = rates.rate(id, timestamp, usageCoreNanoSeconds);
  return { timestamp: ms(timestamp), usageCoreNanoSeconds, usageNanoCores: unwrap(m?.usageNanoCores) || computed };
}

function toMemory(m: MemoryMessage | undefined): MemoryUsage {
  const available = unwrap(m?.availableBytes);
  const working = unwrap(m?.workingSetBytes) ?? 0;
  return {
    timestamp: ms(m?.timestamp),
    workingSetBytes: working,
    // Without a limit the kernel's "unlimited" comes back: that is not an amount.
    ...(available === undefined || available === 0 || available > 2 ** 60 ? {} : { availableBytes: available }),
    usageBytes: unwrap(m?.usageBytes) ?? working,
    rssBytes: unwrap(m?.rssBytes) ?? 0,
    pageFaults: unwrap(m?.pageFaults) ?? 0,
    majorPageFaults: unwrap(m?.majorPageFaults) ?? 0,
  };
}

function toNetwork(m: NetworkMessage): NetworkUsage {
  const one = (i: InterfaceMessage) => ({
    name: i.name ?? '',
    rxBytes: unwrap(i.rxBytes) ?? 0,
    rxErrors: unwrap(i.rxErrors) ?? 0,
    txBytes: unwrap(i.txBytes) ?? 0,
    txErrors: unwrap(i.txErrors) ?? 0,
  });
  const first = m.defaultInterface;
  const others = (m.interfaces ?? []).filter((i) => i.name !== first?.name);
  return { timestamp: ms(m.timestamp), interfaces: [...(first === undefined ? [] : [first]), ...others].map(one) };
}

export function toContainerStats(m: ContainerStatsMessage, rates: CpuRates): ContainerStats {
  const id = m.attributes?.id ?? '';
  const metadata = m.attributes?.metadata;
  return {
    id,
    metadata: { name: metadata?.name ?? '', attempt: metadata?.attempt ?? 0 },
    labels: m.attributes?.labels ?? none,
    cpu: toCpu(id, m.cpu, rates),
    memory: toMemory(m.memory),
    writableLayer: toFilesystem(m.writableLayer),
  };
}

/** What containers use together: of a pod whose own cgroup the runtime does not look at (CRI-O without an infra container). */
function sumOf(containers: readonly ContainerStats[]): { readonly cpu: CpuUsage; readonly memory: MemoryUsage } {
  const sum = (of: (c: ContainerStats) => number): number => containers.reduce((n, c) => n + of(c), 0);
  const timestamp = containers.reduce((newest, c) => Math.max(newest, c.cpu.timestamp), 0);
  return {
    cpu: {
      timestamp,
      usageCoreNanoSeconds: sum((c) => c.cpu.usageCoreNanoSeconds),
      usageNanoCores: sum((c) => c.cpu.usageNanoCores),
    },
    memory: {
      timestamp,
      workingSetBytes: sum((c) => c.memory.workingSetBytes),
      usageBytes: sum((c) => c.memory.usageBytes),
      rssBytes: sum((c) => c.memory.rssBytes),
      pageFaults: sum((c) => c.memory.pageFaults ?? 0),
      majorPageFaults: sum((c) => c.memory.majorPageFaults ?? 0),
    },
  };
}

export function toSandboxStats(m: SandboxStatsMessage, rates: CpuRates): PodSandboxStats {
  const id = m.attributes?.id ?? '';
  const linux = m.linux;
  const containers = (linux?.containers ?? []).map((c) => toContainerStats(c, rates));
  const told = { cpu: toCpu(id, linux?.cpu, rates), memory: toMemory(linux?.memory) };
  const { cpu, memory } = told.cpu.timestamp === 0 && containers.length > 0 ? sumOf(containers) : told;
  const network = linux?.network === undefined ? undefined : toNetwork(linux.network);
  return {
    id,
    metadata: sandboxMetadata(m.attributes?.metadata),
    labels: m.attributes?.labels ?? none,
    cpu,
    memory,
    ...(network === undefined
      ? {}
      : { network: network.timestamp === 0 ? { ...network, timestamp: cpu.timestamp } : network }),
    processCount: unwrap(linux?.process?.processCount) ?? 0,
    containers,
  };
}
