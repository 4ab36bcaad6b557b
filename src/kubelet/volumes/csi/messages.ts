/**
 * The part of CSI's node service and of the kubelet's plugin registration that the kubelet speaks: names, numbers and types of the
 * messages' fields as data, and the shapes they have here.
 */

/** `name: 'type number'`; a type may be `repeated T` or `map<string, string>`. */
export type MessageFields = Readonly<Record<string, Readonly<Record<string, string>>>>;

export const enums: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  RpcType: {
    UNKNOWN: 0,
    STAGE_UNSTAGE_VOLUME: 1,
    GET_VOLUME_STATS: 2,
    EXPAND_VOLUME: 3,
    VOLUME_CONDITION: 4,
    SINGLE_NODE_MULTI_WRITER: 5,
    VOLUME_MOUNT_GROUP: 6,
  },
  AccessModeType: {
    UNKNOWN: 0,
    SINGLE_NODE_WRITER: 1,
    SINGLE_NODE_READER_ONLY: 2,
    MULTI_NODE_READER_ONLY: 3,
    MULTI_NODE_SINGLE_WRITER: 4,
    MULTI_NODE_MULTI_WRITER: 5,
    SINGLE_NODE_SINGLE_WRITER: 6,
    SINGLE_NODE_MULTI_WRITER: 7,
  },
  UsageUnit: { UNKNOWN: 0, BYTES: 1, INODES: 2 },
};

const strings = 'map<string, string>';

export const csiMessages: MessageFields = {
  Empty: {},
  BlockVolume: {},
  MountVolume: { fsType: 'string 1', mountFlags: 'repeated string 2', volumeMountGroup: 'string 3' },
  AccessMode: { mode: 'AccessModeType 1' },
  VolumeCapability: { block: 'BlockVolume 1', mount: 'MountVolume 2', accessMode: 'AccessMode 3' },
  CapacityRange: { requiredBytes: 'int64 1', limitBytes: 'int64 2' },
  Topology: { segments: `${strings} 1` },
  NodeGetInfoResponse: { nodeId: 'string 1', maxVolumesPerNode: 'int64 2', accessibleTopology: 'Topology 3' },
  RpcCapability: { type: 'RpcType 1' },
  NodeServiceCapability: { rpc: 'RpcCapability 1' },
  NodeGetCapabilitiesResponse: { capabilities: 'repeated NodeServiceCapability 1' },
  NodeStageVolumeRequest: {
    volumeId: 'string 1',
    publishContext: `${strings} 2`,
    stagingTargetPath: 'string 3',
    volumeCapability: 'VolumeCapability 4',
    secrets: `${strings} 5`,
    volumeContext: `${strings} 6`,
  },
  NodeUnstageVolumeRequest: { volumeId: 'string 1', stagingTargetPath: 'string 2' },
  NodePublishVolumeRequest: {
    volumeId: 'string 1',
    publishContext: `${strings} 2`,
    stagingTargetPath: 'string 3',
    targetPath: 'string 4',
    volumeCapability: 'VolumeCapability 5',
    readonly: 'bool 6',
    secrets: `${strings} 7`,
    volumeContext: `${strings} 8`,
  },
  NodeUnpublishVolumeRequest: { volumeId: 'string 1', targetPath: 'string 2' },
  NodeGetVolumeStatsRequest: { volumeId: 'string 1', volumePath: 'string 2', stagingTargetPath: 'string 3' },
  VolumeUsage: { available: 'int64 1', total: 'int64 2', used: 'int64 3', unit: 'UsageUnit 4' },
  VolumeCondition: { abnormal: 'bool 1', message: 'string 2' },
  NodeGetVolumeStatsResponse: { usage: 'repeated VolumeUsage 1', volumeCondition: 'VolumeCondition 2' },
  NodeExpandVolumeRequest: {
    volumeId: 'string 1',
    volumePath: 'string 2',
    capacityRange: 'CapacityRange 3',
    stagingTargetPath: 'string 4',
    volumeCapability: 'VolumeCapability 5',
    secrets: `${strings} 6`,
  },
  NodeExpandVolumeResponse: { capacityBytes: 'int64 1' },
};

export const registrationMessages: MessageFields = {
  Empty: {},
  PluginInfo: { type: 'string 1', name: 'string 2', endpoint: 'string 3', supportedVersions: 'repeated string 4' },
  RegistrationStatus: { pluginRegistered: 'bool 1', error: 'string 2' },
};

/** Method → request and response. */
export const nodeMethods: Readonly<Record<string, readonly [string, string]>> = {
  NodeGetInfo: ['Empty', 'NodeGetInfoResponse'],
  NodeGetCapabilities: ['Empty', 'NodeGetCapabilitiesResponse'],
  NodeStageVolume: ['NodeStageVolumeRequest', 'Empty'],
  NodeUnstageVolume: ['NodeUnstageVolumeRequest', 'Empty'],
  NodePublishVolume: ['NodePublishVolumeRequest', 'Empty'],
  NodeUnpublishVolume: ['NodeUnpublishVolumeRequest', 'Empty'],
  NodeGetVolumeStats: ['NodeGetVolumeStatsRequest', 'NodeGetVolumeStatsResponse'],
  NodeExpandVolume: ['NodeExpandVolumeRequest', 'NodeExpandVolumeResponse'],
};

export const registrationMethods: Readonly<Record<string, readonly [string, string]>> = {
  GetInfo: ['Empty', 'PluginInfo'],
  NotifyRegistrationStatus: ['RegistrationStatus', 'Empty'],
};

type Strings = Readonly<Record<string, string>>;

export interface VolumeCapability {
  readonly block?: object;
  readonly mount?: {
    readonly fsType?: string;
    readonly mountFlags?: readonly string[];
    readonly volumeMountGroup?: string;
  };
  readonly accessMode: { readonly mode: string };
}

export interface StageRequest {
  readonly volumeId: string;
  readonly publishContext: Strings;
  readonly stagingTargetPath: string;
  readonly volumeCapability: VolumeCapability;
  readonly secrets: Strings;
  readonly volumeContext: Strings;
}

export interface PublishRequest extends Omit<StageRequest, 'stagingTargetPath'> {
  readonly stagingTargetPath?: string;
  readonly targetPath: string;
  readonly readonly: boolean;
}

export interface NodeInfo {
  readonly nodeId?: string;
  readonly maxVolumesPerNode?: number;
  readonly accessibleTopology?: { readonly segments?: Strings };
}

export interface VolumeStats {
  readonly usage?: readonly {
    readonly available?: number;
    readonly total?: number;
    readonly used?: number;
    readonly unit?: string;
  }[];
}

export interface PluginInfo {
  readonly type?: string;
  readonly name?: string;
  readonly endpoint?: string;
  readonly supportedVersions?: readonly string[];
}
