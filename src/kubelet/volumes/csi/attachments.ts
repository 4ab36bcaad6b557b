/**
 * `CsiAttachments`: volumes that have to be attached to this node before they can be staged: told to the attach/detach controller as
 * in use, and waited for.
 */
import type { CSIDriver, CSIPersistentVolumeSource, Node, Volume } from '../../../api/types/index.gen.ts';
import { attachmentName, uniqueVolumeName } from '../../../api/helpers/csi-volumes.ts';
import { isNotFound } from '../../../client/errors.ts';
import type { KubeletContext } from '../../context.ts';
import { errorText } from '../../object-cache.ts';
import { AttachLimitError, MountError } from '../mount-error.ts';
import type { CsiDrivers } from './drivers.ts';

/** So long a pod waits for its volumes before it is looked whether waiting helps. */
const attachPatienceMs = 123_000;
/** gRPC's code. */
const resourceExhausted = 8;

export class CsiAttachments {
  readonly #ctx: KubeletContext;
  readonly #drivers: CsiDrivers;
  readonly #inUseChanged: () => void;
  /** Pods that need an attached volume, by its unique name: from before it is attached until it is unstaged. */
  readonly #needed = new Map<string, Set<string>>();
  /** Volumes that are not attached yet, by the uid of the pod that waits for them. */
  readonly #waiting = new Map<string, { readonly since: number; readonly names: Set<string> }>();

  /** `inUseChanged`: the node's status is to tell of it. */
  constructor(ctx: KubeletContext, drivers: CsiDrivers, inUseChanged: () => void) {
    this.#ctx = ctx;
    this.#drivers = drivers;
    this.#inUseChanged = inUseChanged;
  }

  /** Unique names of the volumes that pods of this node need. */
  get inUse(): readonly string[] {
    return [...this.#needed.keys()].sort();
  }

  /** The pod needs the attached volume. */
  need(name: string, uid: string): void {
    let pods = this.#needed.get(name);
    if (pods === undefined) this.#needed.set(name, (pods = new Set()));
    if (pods.has(uid)) return;
    pods.add(uid);
    if (pods.size === 1) this.#inUseChanged();
  }

  /** The pod has let go of its volumes. */
  release(uid: string): void {
    this.#waiting.delete(uid);
    let changed = false;
    for (const [name, pods] of this.#needed)
      if (pods.delete(uid) && pods.size === 0) {
        this.#needed.delete(name);
        changed = true;
      }
    if (changed) this.#inUseChanged();
  }

  /** Pods that wait for the attach/detach controller and need do so no longer, now that the node is like this. */
  readyToMount(node: Node): readonly string[] {
    const out: string[] = [];
    for (const uid of this.#waiting.keys()) {
      const { names } = this.#waiting.get(uid)!;
      if ([...names].some((name) => isAttached(node, name))) out.push(uid);
    }
    return out;
  }

  /**
   * The node's status tells the attach/detach controller what is in use here before anything is mounted, and the controller tells
   * it what may be mounted. Throws a waiting `MountError` until both is the case.
   */
  async waitAttached(
    uid: string,
    v: Volume,
    source: CSIPersistentVolumeSource,
    object: CSIDriver | undefined,
  ): Promise<void> {
    const name = uniqueVolumeName(source.driver, source.volumeHandle);
    this.need(name, uid);
    const node = this.#ctx.node();
    const waiting = this.#waiting.get(uid);
    if (node !== undefined && isAttached(node, name)) {
      waiting?.names.delete(name);
      if (waiting?.names.size === 0) this.#waiting.delete(uid);
      return;
    }
    const now = this.#ctx.clock.now();
    if (waiting === undefined) this.#waiting.set(uid, { since: now, names: new Set([name]) });
    else {
      waiting.names.add(name);
      if (now - waiting.since >= attachPatienceMs && (await this.#isFull(source, object)))
        throw new AttachLimitError(v.name);
    }
    throw new MountError(v.name, `volume ${name} is not yet in node's status`, { waiting: true });
  }

  /** Whether a driver that says how many volumes it can attach says of this one that it cannot (KEP-4876). */
  async #isFull(source: CSIPersistentVolumeSource, object: CSIDriver | undefined): Promise<boolean> {
    if ((object?.spec?.nodeAllocatableUpdatePeriodSeconds ?? 0) <= 0) return false;
    const id = attachmentName(source.volumeHandle, source.driver, this.#ctx.nodeName);
    let code: number | undefined;
    try {
      code = (await this.#ctx.client.storage.volumeattachments.get(id)).status?.attachError?.errorCode;
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
    if (code !== resourceExhausted) return false;
    const driver = this.#drivers.find(source.driver);
    if (driver !== undefined) await this.#drivers.askLimits(driver);
    return true;
  }

  /** What the driver's controller says of the attachment, for those who stage and publish. */
  async publishContext(source: CSIPersistentVolumeSource, id: string): Promise<Readonly<Record<string, string>>> {
    let attachment;
    try {
      attachment = await this.#ctx.client.storage.volumeattachments.get(id);
    } catch (error) {
      throw new Error(`volume ${source.volumeHandle} has GET error for volume attachment ${id}: ${errorText(error)}`, {
        cause: error,
      });
    }
    if (attachment.metadata.deletionTimestamp !== undefined) throw new Error('volume attachment is being deleted');
    if (attachment.status?.attached === true) return attachment.status.attachmentMetadata ?? {};
    const error = attachment.status?.attachError?.message;
    throw new Error(error ?? `volume ${source.volumeHandle} is not attached for volume attachment ${id}`);
  }
}

/** Told as in use by the kubelet, and as attached by the controller. */
function isAttached(node: Node, name: string): boolean {
  const { volumesInUse, volumesAttached } = node.status ?? {};
  return volumesInUse?.includes(name) === true && volumesAttached?.some((a) => a.name === name) === true;
}
