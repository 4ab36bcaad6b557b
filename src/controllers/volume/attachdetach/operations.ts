/**
 * `Operations`: attaching and detaching under way, at most one for each volume (or, where a volume may be attached to several nodes,
 * one for each of them), and how long to wait after a failure before the same is tried again.
 */
import type { Clock } from '../../../base/clock.ts';
import type { VolumeError } from '../../../api/types/index.gen.ts';

export type OperationKind = 'attach' | 'detach';

export interface Operation {
  readonly kind: OperationKind;
  readonly node: string;
  readonly startedAt: number;
  readonly deadline: number;
  /** The attacher's error from before: it says nothing about this attempt. */
  readonly oldError: string;
  /** The VolumeAttachment has been deleted meanwhile. */
  gone: boolean;
}

interface Entry {
  pending: Operation | undefined;
  /** What failed last, how often in a row, and until when it is not tried again. */
  failed: { readonly kind: OperationKind; readonly times: number; readonly until: number } | undefined;
}

const firstBackoffMs = 500;
const maxBackoffMs = 122_000;
/** How long an external attacher may take. */
export const attachTimeoutMs = 120_000;

/** Tells one error of an attacher from another. */
export const errorKey = (error: VolumeError | undefined): string =>
  error === undefined ? '' : `${error.time ?? ''} ${error.message ?? ''}`;

export class Operations {
  readonly #clock: Clock;
  readonly #entries = new Map<string, Entry>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  pending(key: string): Operation | undefined {
    return this.#entries.get(key)?.pending;
  }

  #entry(key: string): Entry {
    let e = this.#entries.get(key);
    if (e === undefined) this.#entries.set(key, (e = { pending: undefined, failed: undefined }));
    return e;
  }

  /** Milliseconds until this kind of operation may be tried again; 0: now. */
  wait(key: string, kind: OperationKind): number {
    const failed = this.#entries.get(key)?.failed;
    return failed === undefined || failed.kind !== kind ? 0 : Math.max(failed.until - this.#clock.now(), 0);
  }

  begin(key: string, kind: OperationKind, node: string, oldError: VolumeError | undefined): Operation {
    const startedAt = this.#clock.now();
    const operation: Operation = {
      kind,
      node,
      startedAt,
      deadline: startedAt + attachTimeoutMs,
      oldError: errorKey(oldError),
      gone: false,
    };
    this.#entry(key).pending = operation;
    return operation;
  }

  done(key: string): void {
    this.#entries.delete(key);
  }

  /** Milliseconds until it may be tried again. */
  fail(key: string, kind: OperationKind): number {
    const e = this.#entry(key);
    const times = e.failed?.kind === kind ? e.failed.times + 1 : 1;
    const wait = Math.min(firstBackoffMs * 2 ** Math.min(times - 1, 20), maxBackoffMs);
    e.pending = undefined;
    e.failed = { kind, times, until: this.#clock.now() + wait };
    return wait;
  }

  /** What stood in the way is gone: no need to wait longer. */
  retryNow(key: string): void {
    const e = this.#entries.get(key);
    if (e?.failed !== undefined) e.failed = { ...e.failed, until: this.#clock.now() };
  }
}
