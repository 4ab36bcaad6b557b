/**
 * `ContainerRuntime`: the first of the kubelet's two seams, in the shape of CRI's RuntimeService and ImageService
 * (`runtime.v1`; field names in lower camel case). Implementations: `simulated` (in memory) and, over gRPC, `cri`.
 * Times are milliseconds since the epoch (CRI has nanoseconds). Optional members are left out where CRI has a zero value.
 */
import type { Duplex } from 'node:stream';

/** A failed call, with gRPC's code by name; the message has the form in which gRPC's errors are shown. */
export class RuntimeError extends Error {
  readonly code: RuntimeErrorCode;
  /** What the runtime said, without the code. */
  readonly description: string;

  constructor(code: RuntimeErrorCode, description: string, options?: { cause?: unknown }) {
    super(`rpc error: code = ${code} desc = ${description}`, options);
    this.name = 'RuntimeError';
    this.code = code;
    this.description = description;
  }
}

export type RuntimeErrorCode =
  | 'NotFound'
  | 'AlreadyExists'
  | 'InvalidArgument'
  | 'FailedPrecondition'
  | 'DeadlineExceeded'
  | 'ResourceExhausted'
  | 'Unavailable'
  | 'Unimplemented'
  | 'Unknown'
  | 'Canceled'
  | 'PermissionDenied'
  | 'Aborted'
  | 'OutOfRange'
  | 'Internal'
  | 'DataLoss'
  | 'Unauthenticated';

export type StringMap = Readonly<Record<string, string>>;

export interface VersionInfo {
  /** `containerd`, `simulated`: the scheme of container ids. */
  readonly runtimeName: string;
  readonly runtimeVersion: string;
  readonly runtimeApiVersion: string;
}

export interface RuntimeCondition {
  /** `RuntimeReady`, `NetworkReady`. */
  readonly type: string;
  readonly status: boolean;
  readonly reason?: string;
  readonly message?: string;
}

export interface RuntimeHandler {
  readonly name: string;
  readonly features?: { readonly recursiveReadOnlyMounts?: boolean; readonly userNamespaces?: boolean };
}

export interface RuntimeStatus {
  readonly conditions: readonly RuntimeCondition[];
  readonly runtimeHandlers: readonly RuntimeHandler[];
  readonly features?: { readonly supplementalGroupsPolicy?: boolean; readonly userNamespacesHostNetwork?: boolean };
}

export type NamespaceMode = 'POD' | 'CONTAINER' | 'NODE' | 'TARGET';

export interface IdMapping {
  readonly hostId: number;
  readonly containerId: number;
  readonly length: number;
}

export interface NamespaceOption {
  readonly network?: NamespaceMode;
  readonly pid?: NamespaceMode;
  readonly ipc?: NamespaceMode;
  readonly targetId?: string;
  readonly usernsOptions?: { mode: NamespaceMode; uids: readonly IdMapping[]; gids: readonly IdMapping[] };
}

export interface SecurityProfile {
  readonly profileType: 'RuntimeDefault' | 'Unconfined' | 'Localhost';
  readonly localhostRef?: string;
}

export interface SELinuxOption {
  readonly user?: string;
  readonly role?: string;
  readonly type?: string;
  readonly level?: string;
}

export interface LinuxContainerResources {
  readonly cpuPeriod?: number;
  readonly cpuQuota?: number;
  readonly cpuShares?: number;
  readonly memoryLimitInBytes?: number;
  readonly oomScoreAdj?: number;
  readonly cpusetCpus?: string;
  readonly cpusetMems?: string;
  readonly hugepageLimits?: readonly { pageSize: string; limit: number }[];
  readonly unified?: StringMap;
  readonly memorySwapLimitInBytes?: number;
}

export interface LinuxSandboxSecurityContext {
  readonly namespaceOptions?: NamespaceOption;
  readonly selinuxOptions?: SELinuxOption;
  readonly runAsUser?: number;
  readonly runAsGroup?: number;
  readonly readonlyRootfs?: boolean;
  readonly supplementalGroups?: readonly number[];
  readonly supplementalGroupsPolicy?: 'Merge' | 'Strict';
  readonly privileged?: boolean;
  readonly seccomp?: SecurityProfile;
  readonly apparmor?: SecurityProfile;
}

export interface LinuxContainerSecurityContext extends LinuxSandboxSecurityContext {
  readonly capabilities?: { addCapabilities: readonly string[]; dropCapabilities: readonly string[] };
  readonly runAsUsername?: string;
  readonly noNewPrivs?: boolean;
  readonly maskedPaths?: readonly string[];
  readonly readonlyPaths?: readonly string[];
}

export type ProtocolName = 'TCP' | 'UDP' | 'SCTP';

export interface PortMapping {
  readonly protocol: ProtocolName;
  readonly containerPort: number;
  readonly hostPort?: number;
  readonly hostIp?: string;
}

export interface DnsConfig {
  readonly servers: readonly string[];
  readonly searches: readonly string[];
  readonly options: readonly string[];
}

export interface PodSandboxMetadata {
  readonly name: string;
  readonly uid: string;
  readonly namespace: string;
  readonly attempt: number;
}

export interface PodSandboxConfig {
  readonly metadata: PodSandboxMetadata;
  readonly hostname?: string;
  /** Where the container logs of this pod go; `ContainerConfig.logPath` is relative to it. */
  readonly logDirectory: string;
  readonly dnsConfig?: DnsConfig;
  readonly portMappings?: readonly PortMapping[];
  readonly labels: StringMap;
  readonly annotations: StringMap;
  readonly linux?: {
    readonly cgroupParent?: string;
    readonly securityContext?: LinuxSandboxSecurityContext;
    readonly sysctls?: StringMap;
    readonly overhead?: LinuxContainerResources;
    readonly resources?: LinuxContainerResources;
  };
}

export type PodSandboxState = 'SANDBOX_READY' | 'SANDBOX_NOTREADY';

export interface PodSandbox {
  readonly id: string;
  readonly metadata: PodSandboxMetadata;
  readonly state: PodSandboxState;
  readonly createdAt: number;
  readonly labels: StringMap;
  readonly annotations: StringMap;
  readonly runtimeHandler?: string;
}

export interface PodSandboxStatus extends PodSandbox {
  readonly network?: { readonly ip: string; readonly additionalIps: readonly string[] };
  readonly linux?: { readonly namespaces?: { readonly options?: NamespaceOption } };
}

export interface PodSandboxFilter {
  readonly id?: string;
  readonly state?: PodSandboxState;
  readonly labelSelector?: StringMap;
}

export interface ImageSpec {
  /** The reference or id that the runtime is to use. */
  readonly image: string;
  readonly annotations?: StringMap;
  /** What the pod's spec says, unresolved. */
  readonly userSpecifiedImage?: string;
  readonly runtimeHandler?: string;
  readonly imageRef?: string;
}

export interface Image {
  readonly id: string;
  readonly repoTags: readonly string[];
  readonly repoDigests: readonly string[];
  readonly size: number;
  /** The numeric user of the image's configuration, when it is numeric. */
  readonly uid?: number;
  readonly username?: string;
  readonly pinned?: boolean;
}

export interface AuthConfig {
  readonly username?: string;
  readonly password?: string;
  readonly auth?: string;
  readonly serverAddress?: string;
  readonly identityToken?: string;
  readonly registryToken?: string;
}

export type MountPropagation = 'PROPAGATION_PRIVATE' | 'PROPAGATION_HOST_TO_CONTAINER' | 'PROPAGATION_BIDIRECTIONAL';

export interface Mount {
  readonly containerPath: string;
  readonly hostPath: string;
  readonly readonly?: boolean;
  readonly selinuxRelabel?: boolean;
  readonly propagation?: MountPropagation;
  readonly uidMappings?: readonly IdMapping[];
  readonly gidMappings?: readonly IdMapping[];
  readonly recursiveReadOnly?: boolean;
  /** An image volume: `hostPath` is empty then. */
  readonly image?: ImageSpec;
  readonly imageSubPath?: string;
}

export interface Device {
  readonly containerPath: string;
  readonly hostPath: string;
  readonly permissions: string;
}

export interface EnvVar {
  readonly key: string;
  readonly value: string;
}

export interface ContainerMetadata {
  readonly name: string;
  readonly attempt: number;
}

export interface ContainerConfig {
  readonly metadata: ContainerMetadata;
  readonly image: ImageSpec;
  readonly command?: readonly string[];
  readonly args?: readonly string[];
  readonly workingDir?: string;
  readonly envs: readonly EnvVar[];
  readonly mounts: readonly Mount[];
  readonly devices?: readonly Device[];
  readonly labels: StringMap;
  readonly annotations: StringMap;
  readonly logPath: string;
  readonly stdin?: boolean;
  readonly stdinOnce?: boolean;
  readonly tty?: boolean;
  readonly linux?: {
    readonly resources?: LinuxContainerResources;
    readonly securityContext?: LinuxContainerSecurityContext;
  };
  /** `SIGTERM`, …; the image's own when left out. */
  readonly stopSignal?: string;
  readonly cdiDevices?: readonly string[];
  /** Others wait for its end, as for an init container's. No part of CRI: who simulates has to know what is meant to end. */
  readonly awaited?: boolean;
}

export type ContainerState = 'CONTAINER_CREATED' | 'CONTAINER_RUNNING' | 'CONTAINER_EXITED' | 'CONTAINER_UNKNOWN';

export interface Container {
  readonly id: string;
  readonly podSandboxId: string;
  readonly metadata: ContainerMetadata;
  readonly image: ImageSpec;
  /** The image as the runtime resolved it: what `imageID` reports. */
  readonly imageRef: string;
  readonly imageId?: string;
  readonly state: ContainerState;
  readonly createdAt: number;
  readonly labels: StringMap;
  readonly annotations: StringMap;
}

export interface ContainerStatus extends Container {
  readonly startedAt: number;
  readonly finishedAt: number;
  readonly exitCode: number;
  /** `Completed`, `Error`, `OOMKilled`, … */
  readonly reason: string;
  readonly message: string;
  readonly mounts: readonly Mount[];
  readonly logPath: string;
  readonly resources?: LinuxContainerResources;
  readonly user?: { readonly uid: number; readonly gid: number; readonly supplementalGroups: readonly number[] };
  readonly stopSignal?: string;
}

export interface ContainerFilter {
  readonly id?: string;
  readonly state?: ContainerState;
  readonly podSandboxId?: string;
  readonly labelSelector?: StringMap;
}

export interface ExecSyncResult {
  readonly stdout: Buffer;
  readonly stderr: Buffer;
  readonly exitCode: number;
}

export interface TerminalSize {
  readonly width: number;
  readonly height: number;
}

/**
 * A running exec or attach session. Streams that were not asked for are undefined. Ending `stdin` is the half-close that
 * the process sees as end of file. With a TTY, `stderr` is never there.
 */
export interface ExecStreams {
  readonly stdin?: NodeJS.WritableStream;
  readonly stdout?: NodeJS.ReadableStream;
  readonly stderr?: NodeJS.ReadableStream;
  resize(size: TerminalSize): void;
  /** The process's exit code (exec), or 0 when an attached container ended; rejects when it could not be run. */
  readonly done: Promise<number>;
  /** Leaves the session: an exec'd process is ended, an attached one is not. */
  close(): void;
}

export interface ExecOptions {
  readonly tty: boolean;
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
}

export interface CpuUsage {
  readonly timestamp: number;
  readonly usageCoreNanoSeconds: number;
  readonly usageNanoCores: number;
}

export interface MemoryUsage {
  readonly timestamp: number;
  readonly workingSetBytes: number;
  readonly availableBytes?: number;
  readonly usageBytes: number;
  readonly rssBytes: number;
  readonly pageFaults?: number;
  readonly majorPageFaults?: number;
}

export interface FilesystemUsage {
  readonly timestamp: number;
  readonly mountpoint: string;
  readonly usedBytes: number;
  readonly inodesUsed: number;
}

export interface NetworkUsage {
  readonly timestamp: number;
  readonly interfaces: readonly {
    name: string;
    rxBytes: number;
    rxErrors: number;
    txBytes: number;
    txErrors: number;
  }[];
}

export interface ContainerStats {
  readonly id: string;
  readonly metadata: ContainerMetadata;
  readonly labels: StringMap;
  readonly cpu: CpuUsage;
  readonly memory: MemoryUsage;
  readonly writableLayer: FilesystemUsage;
}

export interface PodSandboxStats {
  readonly id: string;
  readonly metadata: PodSandboxMetadata;
  readonly labels: StringMap;
  readonly cpu: CpuUsage;
  readonly memory: MemoryUsage;
  readonly network?: NetworkUsage;
  readonly processCount: number;
  readonly containers: readonly ContainerStats[];
}

export type ContainerEventType =
  | 'CONTAINER_CREATED_EVENT'
  | 'CONTAINER_STARTED_EVENT'
  | 'CONTAINER_STOPPED_EVENT'
  | 'CONTAINER_DELETED_EVENT';

/** Something happened to a container or, when `containerId` is the sandbox's id, to a sandbox. */
export interface ContainerEvent {
  readonly containerId: string;
  readonly containerEventType: ContainerEventType;
  readonly createdAt: number;
  readonly podSandboxId: string;
  readonly podUid: string;
}

/** What a session is for: it names the session on a runtime's own streaming server. */
export type StreamTarget =
  | {
      readonly kind: 'exec';
      readonly containerId: string;
      readonly command: readonly string[];
      readonly options: ExecOptions;
    }
  | { readonly kind: 'attach'; readonly containerId: string; readonly options: ExecOptions }
  | { readonly kind: 'portForward'; readonly podSandboxId: string };

/** An upgrade that a runtime's streaming server has agreed to. */
export interface UpgradedStream {
  readonly socket: Duplex;
  /** Names and values in turn, as they came. */
  readonly rawHeaders: readonly string[];
  /** What came right after the answer. */
  readonly head: Buffer;
}

/** A runtime that serves streams itself, in Kubernetes' own protocols: a client that speaks one of them is handed through. */
export interface StreamServer {
  readonly spdyProtocols: readonly string[];
  readonly webSocketProtocols: readonly string[];
  /** Hands an upgrade request on. Rejects with `RuntimeError` when the server does not agree. */
  upgrade(
    target: StreamTarget,
    method: string,
    headers: Readonly<Record<string, string | readonly string[]>>,
  ): Promise<UpgradedStream>;
}

export interface ContainerRuntime {
  /** Undefined where `exec`, `attach` and `portForward` are all there is. */
  readonly streamServer?: StreamServer;
  version(): Promise<VersionInfo>;
  status(): Promise<RuntimeStatus>;
  /** Tells the pod CIDR(s) once the node has them, comma-separated. */
  updateRuntimeConfig(config: { podCidr: string }): Promise<void>;
  cgroupDriver(): Promise<'SYSTEMD' | 'CGROUPFS'>;

  /** Creates and starts a sandbox; resolves with its id when its network is up. */
  runPodSandbox(config: PodSandboxConfig, runtimeHandler?: string): Promise<string>;
  /** Stops its containers and tears its network down; idempotent. */
  stopPodSandbox(podSandboxId: string): Promise<void>;
  removePodSandbox(podSandboxId: string): Promise<void>;
  podSandboxStatus(podSandboxId: string): Promise<PodSandboxStatus>;
  listPodSandbox(filter?: PodSandboxFilter): Promise<readonly PodSandbox[]>;
  updatePodSandboxResources(podSandboxId: string, resources: LinuxContainerResources): Promise<void>;

  createContainer(podSandboxId: string, config: ContainerConfig, sandbox: PodSandboxConfig): Promise<string>;
  startContainer(containerId: string): Promise<void>;
  /** Sends the stop signal, and SIGKILL after `timeoutSeconds`; resolves when it has exited. */
  stopContainer(containerId: string, timeoutSeconds: number): Promise<void>;
  removeContainer(containerId: string): Promise<void>;
  containerStatus(containerId: string): Promise<ContainerStatus>;
  listContainers(filter?: ContainerFilter): Promise<readonly Container[]>;
  updateContainerResources(containerId: string, resources: LinuxContainerResources): Promise<void>;
  /** The log was rotated away: write to a new file. */
  reopenContainerLog(containerId: string): Promise<void>;

  /** Rejects with `DeadlineExceeded` after `timeoutSeconds` (0: none). */
  execSync(containerId: string, command: readonly string[], timeoutSeconds: number): Promise<ExecSyncResult>;
  exec(containerId: string, command: readonly string[], options: ExecOptions): Promise<ExecStreams>;
  attach(containerId: string, options: ExecOptions): Promise<ExecStreams>;
  /** A byte stream to a port inside the sandbox's network. */
  portForward(podSandboxId: string, port: number): Promise<Duplex>;

  containerStats(containerId: string): Promise<ContainerStats>;
  listContainerStats(filter?: ContainerFilter): Promise<readonly ContainerStats[]>;
  podSandboxStats(podSandboxId: string): Promise<PodSandboxStats>;
  listPodSandboxStats(filter?: PodSandboxFilter): Promise<readonly PodSandboxStats[]>;

  listImages(image?: string): Promise<readonly Image[]>;
  imageStatus(image: ImageSpec): Promise<Image | undefined>;
  /** Resolves with the image's reference or id, to be used in `ContainerConfig.image`. */
  pullImage(image: ImageSpec, auth?: AuthConfig, sandbox?: PodSandboxConfig): Promise<string>;
  removeImage(image: ImageSpec): Promise<void>;
  imageFsInfo(): Promise<{
    imageFilesystems: readonly FilesystemUsage[];
    containerFilesystems: readonly FilesystemUsage[];
  }>;

  /** Calls `listener` for each event until the returned function is called. A listener may also rely on relisting. */
  events(listener: (event: ContainerEvent) => void): () => void;
}
