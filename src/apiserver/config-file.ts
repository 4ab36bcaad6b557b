/** A configuration file that is read again whenever it changes: what was in force stays in force where the new content will not do. */
import { readFile } from 'node:fs/promises';
import type { Clock } from '../base/clock.ts';
import { watchFile } from '../base/file-watch.ts';
import type { Logger } from '../base/logger.ts';

/** A file that the server was configured with. */
export interface ConfigFile {
  readonly path: string;
  /** What it held when it was read at the start. */
  readonly text: string;
  /** From text to what is decoded (YAML). */
  parse(text: string): Promise<unknown>;
}

interface Reloads {
  applied(content: string): void;
  reloaded(status: 'success' | 'failure', nowMs: number): void;
}

export interface ReloadOptions {
  readonly file: ConfigFile;
  /** `authorization config`, for the log. */
  readonly what: string;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Reloads;
  /**
   * Puts new content in force. What it throws is logged; `Retry` is tried again at the next look, all else only when the file
   * changes.
   */
  apply(given: unknown): Promise<void>;
}

/** The content may do later. */
export class Retry extends Error {
  override readonly name = 'Retry';
}

/** Follows the file until the returned function is called. */
export function followConfigFile(options: ReloadOptions): () => void {
  const { file, what, clock, logger, metrics } = options;
  let last = file.text;
  let running: Promise<void> | undefined;
  let again = false;
  let ended = false;
  metrics.applied(last);
  const look = async (): Promise<void> => {
    let text: string;
    try {
      text = await readFile(file.path, 'utf8');
    } catch (error) {
      logger.error(`reloading ${what}`, { file: file.path, error });
      metrics.reloaded('failure', clock.now());
      return;
    }
    if (text === last || ended) return;
    try {
      await options.apply(await file.parse(text));
    } catch (error) {
      logger.error(`reloading ${what}`, { file: file.path, error });
      metrics.reloaded('failure', clock.now());
      if (!(error instanceof Retry)) last = text;
      return;
    }
    last = text;
    logger.info(`reloaded ${what}`, { file: file.path });
    metrics.reloaded('success', clock.now());
    metrics.applied(text);
  };
  const changed = (): void => {
    if (running !== undefined) {
      again = true;
      return;
    }
    running = look()
      .catch((error: unknown) => logger.error(`reloading ${what}`, { file: file.path, error }))
      .finally(() => {
        running = undefined;
        if (!again || ended) return;
        again = false;
        changed();
      });
  };
  const stop = watchFile(file.path, changed, {
    onError: (error) => logger.error(`watching ${what}`, { file: file.path, error }),
  });
  return () => {
    ended = true;
    stop();
  };
}
