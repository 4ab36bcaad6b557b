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

/** Makes a call, and tells somebody how long it took and how it ended. */
export type CallTimer = <T>(method: string, call: () => Promise<T>) => Promise<T>;

export class CsiDriverClient {
  readonly name: string;
  readonly #channel: PluginChannel;
  readonly #timed: CallTimer | undefined;
  #capabilities: Promise<ReadonlySet<string>> | undefined;

  /** `timed` is told of each call. */
  constructor(name: string, channel: PluginChannel, timed?: CallTimer) {
    this.name = name;
    this.#channel = channel;
    this.#timed = timed;
  }

  #call<T extends object>(method: string, request: object): Promise<T> {
    const call = (): Promise<T> => this.#channel.call<T>(method, request, timeoutMs);
    return this.#timed === undefined ? call() : this.#timed(`/csi.v1.Node/${method}`, call);
  }

  info(): Promise<NodeInfo> {
    return this.#call('NodeGetInfo', {});
  }

  async can(capability: NodeCapability): Promise<boolean> {
    this.#capabilities ??= this.#call<CapabilitiesAnswer>('NodeGetCapabilities', {}).then(
      (a) => new Set((a.capabilities ?? []).map((c) => c.rpc?.type ?? 'UNKNOWN')),
    );
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
    await this.#call('NodeStageVolume', request);
  }

  async unstage(volumeId: string, stagingTargetPath: string): Promise<void> {
    await this.#call('NodeUnstageVolume', { volumeId, stagingTargetPath });
  }

  async publish(request: PublishRequest): Promise<void> {
    await this.#call('NodePublishVolume', request);
  }

  async unpublish(volumeId: string, targetPath: string): Promise<void> {
    await this.#call('NodeUnpublishVolume', { volumeId, targetPath });
  }

  stats(volumeId: string, volumePath: string, stagingTargetPath: string): Promise<VolumeStats> {
    return this.#call('NodeGetVolumeStats', { volumeId, volumePath, stagingTargetPath });
  }

  async expand(request: {
    readonly volumeId: string;
    readonly volumePath: string;
    readonly stagingTargetPath?: string;
    readonly capacityRange: { readonly requiredBytes: number };
    readonly volumeCapability: VolumeCapability;
    readonly secrets: Readonly<Record<string, string>>;
  }): Promise<void> {
    await this.#call('NodeExpandVolume', request);
  }

  close(): void {
    this.#channel.close();
  }
}
