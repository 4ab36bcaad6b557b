/** Image garbage collection: removes images that no container uses, the longest unused first, when their disk fills up. */
import { parseDuration } from '../../api/time.ts';
import type { KubeletConfiguration } from '../configuration/configuration.ts';
import type { KubeletContext } from '../context.ts';
import { errorText } from '../object-cache.ts';
import type { Image } from '../runtime/container-runtime.ts';

interface ImageRecord {
  readonly firstDetected: number;
  lastUsed: number;
  size: number;
  pinned: boolean;
}

interface Candidate extends ImageRecord {
  readonly id: string;
}

export class ImageGc {
  readonly #ctx: KubeletContext;
  readonly #c: KubeletConfiguration;
  readonly #records = new Map<string, ImageRecord>();
  readonly #began: number;
  readonly #mountedImages: () => Iterable<string>;
  #failed = false;
  /** Images have been looked through once. */
  #looked = false;

  /** `mountedImages`: references of the images that pods have as volumes. */
  constructor(ctx: KubeletContext, configuration: KubeletConfiguration, mountedImages: () => Iterable<string>) {
    this.#ctx = ctx;
    this.#mountedImages = mountedImages;
    this.#c = configuration;
    this.#began = ctx.clock.now();
  }

  /** True when there is nothing that would ever be collected. */
  get disabled(): boolean {
    return this.#c.imageGCHighThresholdPercent === 100 && parseDuration(this.#c.imageMaximumGCAge) === 0;
  }

  /** Looks images through for the first time: nobody knows how long those are there already. */
  async start(): Promise<void> {
    try {
      await this.#candidates(this.#ctx.clock.now());
    } catch (error) {
      this.#ctx.logger.warn('Failed to monitor images', { error });
    }
  }

  /** Collects when it is due; a failure is told when it is not the first one. */
  async run(): Promise<void> {
    const { events, logger } = this.#ctx;
    try {
      await this.collect();
      this.#failed = false;
    } catch (error) {
      if (this.#failed) events.node('Warning', 'ImageGCFailed', errorText(error));
      logger.warn('Image garbage collection failed', { error });
      this.#failed = true;
    }
  }

  /** Brings the disk below the low threshold when it is above the high one. Rejects with upstream's texts. */
  async collect(): Promise<void> {
    const { clock, host, runtime, events } = this.#ctx;
    const now = clock.now();
    const images = await this.#freeOld(await this.#candidates(now), now);
    const own = (await runtime.imageFsInfo()).imageFilesystems[0]?.mountpoint;
    const path = own !== undefined && (await host.stat(own)) !== undefined ? own : this.#ctx.rootDir;
    const { capacityBytes: capacity, availableBytes } = await host.filesystem(path);
    const available = Math.min(availableBytes, capacity);
    if (capacity === 0) {
      const text = 'invalid capacity 0 on image filesystem';
      events.node('Warning', 'InvalidDiskCapacity', text);
      throw new Error(text);
    }
    const used = 100 - Math.floor((available * 100) / capacity);
    if (used < this.#c.imageGCHighThresholdPercent) return;
    const wanted = Math.floor((capacity * (100 - this.#c.imageGCLowThresholdPercent)) / 100) - available;
    const freed = await this.#free(images, wanted, now);
    if (freed >= wanted) return;
    const text = `Insufficient free disk space on the node's image filesystem (${used}% of ${sizeText(capacity)} used). Failed to free sufficient space by deleting unused images (freed ${freed} bytes). Investigate disk usage, as it could be used by active images, logs, volumes, or other data.`;
    events.node('Warning', 'FreeDiskSpaceFailed', text);
    throw new Error(text);
  }

  /** Removes every image that no container uses and that is not new. */
  async deleteUnused(): Promise<void> {
    const now = this.#ctx.clock.now();
    await this.#free(await this.#candidates(now), Infinity, now);
  }

  /** Images that may go, the longest unused first. */
  async #candidates(now: number): Promise<readonly Candidate[]> {
    const { runtime } = this.#ctx;
    const [images, containers] = await Promise.all([runtime.listImages(), runtime.listContainers()]);
    const used = new Set<string>();
    for (const c of containers)
      for (const id of [c.imageId, c.imageRef, c.image.image]) if (id !== undefined) used.add(id);
    const names = (i: Image): readonly string[] => [i.id, ...i.repoTags, ...i.repoDigests];
    const mounted = new Set(this.#mountedImages());
    const seen = new Set<string>();
    const out: Candidate[] = [];
    for (const i of images) {
      seen.add(i.id);
      let record = this.#records.get(i.id);
      if (record === undefined) {
        record = { firstDetected: this.#looked ? now : 0, lastUsed: 0, size: i.size, pinned: false };
        this.#records.set(i.id, record);
      }
      record.size = i.size;
      record.pinned = i.pinned === true;
      if (names(i).some((n) => used.has(n) || mounted.has(n))) record.lastUsed = now;
      else if (!record.pinned) out.push({ id: i.id, ...record });
    }
    this.#looked = true;
    for (const id of this.#records.keys()) if (!seen.has(id)) this.#records.delete(id);
    await this.#ctx.images.prune(seen);
    return out.sort((a, b) => a.lastUsed - b.lastUsed || a.firstDetected - b.firstDetected);
  }

  async #freeOld(images: readonly Candidate[], now: number): Promise<readonly Candidate[]> {
    const maxAge = parseDuration(this.#c.imageMaximumGCAge);
    // What was used before the kubelet was started is not known.
    if (maxAge === 0 || now - this.#began <= maxAge) return images;
    const left: Candidate[] = [];
    for (const i of images) {
      if (now - i.lastUsed <= maxAge) left.push(i);
      else await this.#remove(i, 'age');
    }
    return left;
  }

  async #free(images: readonly Candidate[], wanted: number, now: number): Promise<number> {
    const minAge = parseDuration(this.#c.imageMinimumGCAge);
    const errors: string[] = [];
    let freed = 0;
    for (const i of images) {
      if (i.lastUsed >= now || now - i.firstDetected < minAge) continue;
      try {
        await this.#remove(i, 'space');
        freed += i.size;
      } catch (error) {
        errors.push(errorText(error));
      }
      if (freed >= wanted) break;
    }
    if (errors.length > 0)
      throw new Error(
        `wanted to free ${wanted} bytes, but freed ${freed} bytes space with errors in image deletion: ${errors.join(', ')}`,
      );
    return freed;
  }

  async #remove(i: Candidate, reason: 'age' | 'space'): Promise<void> {
    this.#ctx.logger.info('Removing image to free bytes', { image: i.id, size: i.size });
    await this.#ctx.runtime.removeImage({ image: i.id });
    this.#records.delete(i.id);
    this.#ctx.images.removed();
    this.#ctx.metrics?.count('image_garbage_collected_total', [reason]);
  }
}

/** `24.5 GiB` */
function sizeText(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`;
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let n = bytes;
  let i = 0;
  while (n >= 1024 && i < units.length - 1) {
    n /= 1024;
    i++;
  }
  return `${n.toFixed(1)} ${units[i]}`;
}
