/** Rotates the logs of running containers when they have grown too large (containerLogMaxSize, containerLogMaxFiles). */
import { parseQuantity, quantityValue } from '../api/quantity.ts';
import type { KubeletConfiguration } from './configuration/configuration.ts';
import type { KubeletContext } from './context.ts';

export interface LoggingContainer {
  readonly id: string;
  readonly logPath: string;
}

export class LogRotation {
  readonly #ctx: KubeletContext;
  readonly #maxSize: number;
  readonly #maxFiles: number;
  readonly #containers: () => Iterable<LoggingContainer>;

  /** `containers`: those that run. */
  constructor(ctx: KubeletContext, configuration: KubeletConfiguration, containers: () => Iterable<LoggingContainer>) {
    this.#ctx = ctx;
    this.#maxSize = quantityValue(parseQuantity(configuration.containerLogMaxSize));
    this.#maxFiles = configuration.containerLogMaxFiles;
    this.#containers = containers;
  }

  /** One look at all logs. */
  async run(): Promise<void> {
    if (this.#maxSize < 0) return;
    const { host, logger } = this.#ctx;
    for (const c of this.#containers()) {
      try {
        if ((await host.logSize(c.logPath)) >= this.#maxSize) await this.#rotate(c);
      } catch (error) {
        logger.warn('Failed to rotate log for container', { container: c.id, path: c.logPath, error });
      }
    }
  }

  async #rotate(c: LoggingContainer): Promise<void> {
    const { host, runtime } = this.#ctx;
    const moved = await host.rotateLog(c.logPath, this.#maxFiles);
    try {
      await runtime.reopenContainerLog(c.id);
    } catch (error) {
      // The runtime still writes to the old file: it gets its name back, to be tried again.
      await host.rename(moved, c.logPath);
      throw error;
    }
  }
}
