/** A CSI driver that has registered itself on this node: its socket, what it can do, and calls to it. */
import type { PluginChannel } from './channel.ts';
import type { NodeInfo, PublishRequest, StageRequest, VolumeCapability, VolumeStats } from './messages.ts';

/** Real milliseconds that one call may take. */
const timeoutMs = 120_000;

export type NodeCapability =
  | 'STAGE_UNSTAGE_VOLUME'
  | 'GET_VOLUME_STATS'
  | 'EXPAND_VOLUME'
  | 'SINGLE_NODE_MULTI_WRITER'
  | 'VOLUME_MOUNT_GROUP';

interface CapabilitiesAnswer {
  readonly capabilities?: readonly { readonly rpc?: { readonly type?: string } }[];
}

/** By the Kubernetes name: what to ask of a driver, and of one that tells single-node modes apart. */
const accessModes: Readonly<Record<string, readonly [string, string]>> = {
  ReadWriteOnce: ['SINGLE_NODE_WRITER', 'SINGLE_NODE_MULTI_WRITER'],
  ReadOnlyMany: ['MULTI_NODE_READER_ONLY', 'MULTI_NODE_READER_ONLY'],
  ReadWriteMany: ['MULTI_NODE_MULTI_WRITER', 'MULTI_NODE_MULTI_WRITER'],
  ReadWriteOncePod: ['SINGLE_NODE_WRITER', 'SINGLE_NODE_SINGLE_WRITER'],
};

export class CsiDriverClient {
  readonly name: string;
  readonly #channel: PluginChannel;
  #capabilities: Promise<ReadonlySet<string>> | undefined;

  constructor(name: string, channel: PluginChannel) {
    this.name = name;
    this.#channel = channel;
  }

  info(): Promise<NodeInfo> {
    return this.#channel.call('NodeGetInfo', {}, timeoutMs);
  }

  async can(capability: NodeCapability): Promise<boolean> {
    this.#capabilities ??= this.#channel
      .call<CapabilitiesAnswer>('NodeGetCapabilities', {}, timeoutMs)
      .then((a) => new Set((a.capabilities ?? []).map((c) => c.rpc?.type ?? 'UNKNOWN')));
    try {
      return (await this.#capabilities).has(capability);
    } catch (error) {
      this.#capabilities = undefined;
      throw error;
    }
  }

  /** How a volume is to be used. `fsGroup` only when the driver applies it itself. */
  async capability(options: {
    readonly block: boolean;
    readonly accessMode: string;
    readonly fsType?: string;
    readonly mountOptions?: readonly string[];
    readonly fsGroup?: number;
  }): Promise<VolumeCapability> {
    const modes = accessModes[options.accessMode] ?? ['UNKNOWN', 'UNKNOWN'];
    const accessMode = { mode: (await this.can('SINGLE_NODE_MULTI_WRITER')) ? modes[1] : modes[0] };
    if (options.block) return { block: {}, accessMode };
    return {
      mount: {
        fsType: options.fsType ?? '',
        mountFlags: options.mountOptions ?? [],
        ...(options.fsGroup === undefined ? {} : { volumeMountGroup: String(options.fsGroup) }),
      },
      accessMode,
    };
  }

  async stage(request: StageRequest): Promise<void> {
    await this.#channel.call('NodeStageVolume', request, timeoutMs);
  }

  async unstage(volumeId: string, stagingTargetPath: string): Promise<void> {
    await this.#channel.call('NodeUnstageVolume', { volumeId, stagingTargetPath }, timeoutMs);
  }

  async publish(request: PublishRequest): Promise<void> {
    await this.#channel.call('NodePublishVolume', request, timeoutMs);
  }

  async unpublish(volumeId: string, targetPath: string): Promise<void> {
    await this.#channel.call('NodeUnpublishVolume', { volumeId, targetPath }, timeoutMs);
  }

  stats(volumeId: string, volumePath: string, stagingTargetPath: string): Promise<VolumeStats> {
    return this.#channel.call('NodeGetVolumeStats', { volumeId, volumePath, stagingTargetPath }, timeoutMs);
  }

  async expand(request: {
    readonly volumeId: string;
    readonly volumePath: string;
    readonly stagingTargetPath?: string;
    readonly capacityRange: { readonly requiredBytes: number };
    readonly volumeCapability: VolumeCapability;
    readonly secrets: Readonly<Record<string, string>>;
  }): Promise<void> {
    await this.#channel.call('NodeExpandVolume', request, timeoutMs);
  }

  close(): void {
    this.#channel.close();
  }
}
