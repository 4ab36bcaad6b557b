/**
 * Tells when a file may have changed: by the folder's events, which also see a file that is replaced by renaming or by a swapped
 * symbolic link, and by looking from time to time where such events do not come. What has changed is for the listener to find out.
 */
import { watch } from 'node:fs';
import type { FSWatcher } from 'node:fs';
import { dirname } from 'node:path';
import { ioTimer } from './io-time.ts';

export interface FileWatchOptions {
  /** Real milliseconds between two looks without an event; upstream's minute. */
  readonly intervalMs?: number;
  /** The folder cannot be watched; looking from time to time goes on. */
  readonly onError?: (error: Error) => void;
}

/** Several events of one write are told as one. */
const settleMs = 50;

/** Calls `changed` whenever the file may have another content. Returns what ends it. */
export function watchFile(file: string, changed: () => void, options: FileWatchOptions = {}): () => void {
  const interval = options.intervalMs ?? 60_000;
  let ended = false;
  let cancelLook = (): void => {};
  let cancelSettle: (() => void) | undefined;
  let watcher: FSWatcher | undefined;
  const look = (): void => {
    cancelLook = ioTimer(interval, () => {
      if (ended) return;
      changed();
      look();
    });
  };
  const fail = (error: unknown): void => {
    if (!ended) options.onError?.(error instanceof Error ? error : new Error(String(error)));
  };
  try {
    watcher = watch(dirname(file), { persistent: false }, () => {
      if (ended || cancelSettle !== undefined) return;
      cancelSettle = ioTimer(settleMs, () => {
        cancelSettle = undefined;
        if (!ended) changed();
      });
    });
    watcher.on('error', fail);
  } catch (error) {
    fail(error);
  }
  look();
  return () => {
    ended = true;
    cancelLook();
    cancelSettle?.();
    watcher?.close();
  };
}
