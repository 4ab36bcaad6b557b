/** How fast and how many at a time images are pulled (`registryPullQPS`, `serializeImagePulls`, `maxParallelImagePulls`). */
import { TokenBucket } from '../../base/token-bucket.ts';
import type { KubeletConfiguration } from '../configuration/configuration.ts';

export class PullLimits {
  readonly #bucket: TokenBucket | undefined;
  readonly #parallel: number;
  readonly #line: (() => void)[] = [];
  #running = 0;

  /** Without a configuration there are none. `now`: monotonic milliseconds. */
  constructor(c: KubeletConfiguration | undefined, now: () => number) {
    if (c !== undefined && c.registryPullQPS > 0)
      this.#bucket = new TokenBucket(c.registryPullQPS, c.registryBurst, now);
    this.#parallel = c === undefined ? Infinity : c.serializeImagePulls ? 1 : (c.maxParallelImagePulls ?? Infinity);
  }

  /** Runs a pull when it is its turn. Rejects with upstream's text when there are too many a second. */
  async run<T>(pull: () => Promise<T>): Promise<T> {
    if (this.#running >= this.#parallel) await new Promise<void>((resolve) => this.#line.push(resolve));
    else this.#running++;
    try {
      if (this.#bucket?.tryTake() === false) throw new Error('pull QPS exceeded');
      return await pull();
    } finally {
      const next = this.#line.shift();
      if (next === undefined) this.#running--;
      else next();
    }
  }
}
