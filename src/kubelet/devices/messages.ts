/** Messages of the device plugin API (v1beta1) and of podresources (v1), as the kubelet sees them and as they are on the wire. */

export interface PluginOptions {
  readonly preStartRequired: boolean;
  readonly getPreferredAllocationAvailable: boolean;
}

export interface RegisterRequest {
  readonly version: string;
  /** The name of the plugin's socket in the kubelet's directory. */
  readonly endpoint: string;
  readonly resourceName: string;
  readonly options?: PluginOptions | null;
}

export interface DeviceInfo {
  readonly ID: string;
  /** `Healthy` or `Unhealthy`. */
  readonly health: string;
  readonly topology?: { readonly nodes: readonly { readonly ID: number }[] } | null;
}

/** What a container that has devices gets with them. */
export interface AllocateAnswer {
  readonly envs: Readonly<Record<string, string>>;
  readonly mounts: readonly { readonly containerPath: string; readonly hostPath: string; readonly readOnly: boolean }[];
  readonly devices: readonly {
    readonly containerPath: string;
    readonly hostPath: string;
    readonly permissions: string;
  }[];
  readonly annotations: Readonly<Record<string, string>>;
  readonly cdiDevices: readonly { readonly name: string }[];
}

/** A plugin that can be called. */
export interface PluginStub {
  options(): Promise<PluginOptions>;
  /** Tells of all devices whenever one changes; returns what ends it. `onEnd`: once, when the plugin has ended it. */
  watch(onDevices: (devices: readonly DeviceInfo[]) => void, onEnd: (error: unknown) => void): () => void;
  preferred(available: readonly string[], mustInclude: readonly string[], size: number): Promise<readonly string[]>;
  allocate(ids: readonly string[]): Promise<AllocateAnswer>;
  preStart(ids: readonly string[]): Promise<void>;
  close(): void;
}

interface ContainerDevices {
  readonly resourceName: string;
  readonly deviceIds: readonly string[];
  readonly topology?: { readonly nodes: readonly { readonly ID: number }[] };
}

interface ContainerMemory {
  readonly memoryType: string;
  readonly size: number;
  readonly topology: { readonly nodes: readonly { readonly ID: number }[] };
}

export interface ContainerResourcesMessage {
  readonly name: string;
  readonly devices: readonly ContainerDevices[];
  readonly cpuIds: readonly number[];
  readonly memory: readonly ContainerMemory[];
}

export interface PodResourcesMessage {
  readonly name: string;
  readonly namespace: string;
  readonly containers: readonly ContainerResourcesMessage[];
}

/** What podresources answers from. */
export interface PodResourcesSource {
  list(): readonly PodResourcesMessage[];
  get(namespace: string, name: string): PodResourcesMessage | undefined;
  allocatable(): Omit<ContainerResourcesMessage, 'name'>;
}

export interface ClaimReference {
  readonly namespace: string;
  readonly uid: string;
  readonly name: string;
}

export interface PreparedDevice {
  readonly requestNames: readonly string[];
  readonly poolName: string;
  readonly deviceName: string;
  readonly cdiDeviceIds: readonly string[];
}

export interface PreparedClaim {
  readonly devices: readonly PreparedDevice[];
  readonly error: string;
}

/** A driver of dynamic resources that can be called; answers are by the claims' uids. */
export interface DraStub {
  prepare(claims: readonly ClaimReference[]): Promise<Readonly<Record<string, PreparedClaim>>>;
  unprepare(claims: readonly ClaimReference[]): Promise<Readonly<Record<string, { readonly error: string }>>>;
  close(): void;
}

type Fields = Readonly<Record<string, Readonly<Record<string, string>>>>;

export const devicePluginMessages: Fields = {
  Empty: {},
  DevicePluginOptions: { preStartRequired: 'bool 1', getPreferredAllocationAvailable: 'bool 2' },
  RegisterRequest: {
    version: 'string 1',
    endpoint: 'string 2',
    resourceName: 'string 3',
    options: 'DevicePluginOptions 4',
  },
  NUMANode: { ID: 'int64 1' },
  TopologyInfo: { nodes: 'repeated NUMANode 1' },
  Device: { ID: 'string 1', health: 'string 2', topology: 'TopologyInfo 3' },
  ListAndWatchResponse: { devices: 'repeated Device 1' },
  PreStartContainerRequest: { devicesIds: 'repeated string 1' },
  PreStartContainerResponse: {},
  ContainerPreferredAllocationRequest: {
    availableDeviceIDs: 'repeated string 1',
    mustIncludeDeviceIDs: 'repeated string 2',
    allocationSize: 'int32 3',
  },
  PreferredAllocationRequest: { containerRequests: 'repeated ContainerPreferredAllocationRequest 1' },
  ContainerPreferredAllocationResponse: { deviceIDs: 'repeated string 1' },
  PreferredAllocationResponse: { containerResponses: 'repeated ContainerPreferredAllocationResponse 1' },
  ContainerAllocateRequest: { devicesIds: 'repeated string 1' },
  AllocateRequest: { containerRequests: 'repeated ContainerAllocateRequest 1' },
  CDIDevice: { name: 'string 1' },
  Mount: { containerPath: 'string 1', hostPath: 'string 2', readOnly: 'bool 3' },
  DeviceSpec: { containerPath: 'string 1', hostPath: 'string 2', permissions: 'string 3' },
  ContainerAllocateResponse: {
    envs: 'map 1',
    mounts: 'repeated Mount 2',
    devices: 'repeated DeviceSpec 3',
    annotations: 'map 4',
    cdiDevices: 'repeated CDIDevice 5',
  },
  AllocateResponse: { containerResponses: 'repeated ContainerAllocateResponse 1' },
};

export const podResourcesMessages: Fields = {
  NUMANode: { ID: 'int64 1' },
  TopologyInfo: { nodes: 'repeated NUMANode 1' },
  ContainerDevices: { resourceName: 'string 1', deviceIds: 'repeated string 2', topology: 'TopologyInfo 3' },
  ContainerMemory: { memoryType: 'string 1', size: 'uint64 2', topology: 'TopologyInfo 3' },
  ContainerResources: {
    name: 'string 1',
    devices: 'repeated ContainerDevices 2',
    cpuIds: 'repeated int64 3',
    memory: 'repeated ContainerMemory 4',
  },
  PodResources: { name: 'string 1', namespace: 'string 2', containers: 'repeated ContainerResources 3' },
  ListPodResourcesRequest: {},
  ListPodResourcesResponse: { podResources: 'repeated PodResources 1' },
  AllocatableResourcesRequest: {},
  AllocatableResourcesResponse: {
    devices: 'repeated ContainerDevices 1',
    cpuIds: 'repeated int64 2',
    memory: 'repeated ContainerMemory 3',
  },
  GetPodResourcesRequest: { podName: 'string 1', podNamespace: 'string 2' },
  GetPodResourcesResponse: { podResources: 'PodResources 1' },
};

export const draMessages: Fields = {
  Claim: { namespace: 'string 1', uid: 'string 2', name: 'string 3' },
  NodePrepareResourcesRequest: { claims: 'repeated Claim 1' },
  Device: {
    requestNames: 'repeated string 1',
    poolName: 'string 2',
    deviceName: 'string 3',
    cdiDeviceIds: 'repeated string 4',
    shareId: 'string 5',
  },
  NodePrepareResourceResponse: { devices: 'repeated Device 1', error: 'string 2' },
  NodePrepareResourcesResponse: { claims: 'map NodePrepareResourceResponse 1' },
  NodeUnprepareResourcesRequest: { claims: 'repeated Claim 1' },
  NodeUnprepareResourceResponse: { error: 'string 1' },
  NodeUnprepareResourcesResponse: { claims: 'map NodeUnprepareResourceResponse 1' },
};
