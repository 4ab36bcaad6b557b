/**
 * Writes pod statuses to the API: one write in flight a pod, the newest status wins, nothing is written that the API has
 * already. Holds state only for pods with a write outstanding.
 */
import type { Clock, Timer } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import { StatusError } from '../api/status.ts';
import type { Pod, PodStatus } from '../api/types/index.gen.ts';
import { isConflict, isNotFound } from '../client/errors.ts';
import type { TypedClient } from '../client/typed-client.ts';
import type { KubeletMetrics } from './metrics/kubelet-metrics.ts';
import type { WriteGate } from './write-gate.ts';
import { podStatusPatch } from './status-patch.ts';

/** Whose status it is: a pod worker. */
export interface StatusOwner {
  readonly uid: string;
  /** The newest state of the pod that this kubelet has seen. */
  readonly apiPod: Pod;
  /** A write of `wanted` was answered with this state. */
  written(pod: Pod, wanted: PodStatus): void;
  /** The pod is gone from the API. */
  gone(): void;
}

interface Pending {
  readonly owner: StatusOwner;
  status: PodStatus | undefined;
  remove: boolean;
  writing: boolean;
  failures: number;
  timer: Timer | undefined;
  /** Since when the API has not the newest status, by the monotonic clock. */
  since: number | undefined;
}

const retryMs = 1000;
const maxRetryMs = 30_000;

export class StatusManager {
  readonly #client: TypedClient;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #gate: WriteGate;
  readonly #metrics: KubeletMetrics | undefined;
  readonly #pending = new Map<string, Pending>();
  readonly #abort = new AbortController();
  /** Status writes made, for measurements. */
  writes = 0;

  constructor(options: {
    client: TypedClient;
    clock: Clock;
    logger: Logger;
    gate: WriteGate;
    metrics?: KubeletMetrics | undefined;
  }) {
    this.#metrics = options.metrics;
    this.#gate = options.gate;
    this.#client = options.client;
    this.#clock = options.clock;
    this.#logger = options.logger;
  }

  #entry(owner: StatusOwner): Pending {
    let p = this.#pending.get(owner.uid);
    if (p === undefined) {
      p = { owner, status: undefined, remove: false, writing: false, failures: 0, timer: undefined, since: undefined };
      this.#pending.set(owner.uid, p);
    }
    return p;
  }

  /** The status as it will be once what is outstanding has been written. */
  pending(uid: string): PodStatus | undefined {
    return this.#pending.get(uid)?.status;
  }

  /** Whether a write is on its way, whose answer will tell what the API has. */
  writing(uid: string): boolean {
    return this.#pending.get(uid)?.writing === true;
  }

  /** Wants the API to have this status. */
  set(owner: StatusOwner, status: PodStatus): void {
    const p = this.#entry(owner);
    p.status = status;
    if (this.#metrics !== undefined) p.since ??= this.#clock.monotonic();
    this.#pump(p);
  }

  /** Wants the pod object removed, after the status outstanding has been written: its containers are gone. */
  remove(owner: StatusOwner): void {
    const p = this.#entry(owner);
    p.remove = true;
    this.#pump(p);
  }

  forget(uid: string): void {
    const p = this.#pending.get(uid);
    p?.timer?.cancel();
    this.#pending.delete(uid);
  }

  #pump(p: Pending): void {
    if (p.writing || this.#abort.signal.aborted) return;
    p.timer?.cancel();
    p.timer = undefined;
    p.writing = true;
    void this.#clock.activity.track(this.#write(p));
  }

  async #write(p: Pending): Promise<void> {
    const { owner } = p;
    const turn = this.#gate.begin();
    let failed = false;
    let status: PodStatus | undefined;
    try {
      if (turn !== undefined) await turn;
      while ((p.status !== undefined || p.remove) && !this.#abort.signal.aborted) {
        const pod = owner.apiPod;
        const { name, namespace } = pod.metadata;
        status = p.status;
        p.status = undefined;
        if (status !== undefined) {
          const patch = podStatusPatch(owner.uid, pod.status ?? {}, status);
          if (patch !== undefined) {
            this.writes++;
            owner.written(
              await this.#client.core.pods.patch(name!, namespace, 'strategic', patch, {
                subresource: 'status',
                fieldManager: 'kubelet',
                signal: this.#abort.signal,
              }),
              status,
            );
            if (p.since !== undefined && p.status === undefined)
              this.#metrics?.observe('pod_status_sync_duration_seconds', (this.#clock.monotonic() - p.since) / 1000);
          }
          if (p.status === undefined) p.since = undefined;
          status = undefined;
          continue;
        }
        p.remove = false;
        try {
          await this.#client.core.pods.delete(name!, namespace, {
            gracePeriodSeconds: 0,
            preconditions: { uid: owner.uid },
            signal: this.#abort.signal,
          });
        } catch (error) {
          if (!isNotFound(error) && !isConflict(error)) {
            p.remove = true;
            throw error;
          }
        }
      }
      p.failures = 0;
    } catch (error) {
      if (this.#abort.signal.aborted) return;
      if (isNotFound(error) || (isConflict(error) && String(error).includes('UID'))) {
        this.#pending.delete(owner.uid);
        owner.gone();
        return;
      }
      failed = true;
      p.failures++;
      if (p.status === undefined) p.status = status;
      if (p.failures === 1 || !(error instanceof StatusError))
        this.#logger.warn('Failed to update status for pod', {
          pod: `${owner.apiPod.metadata.namespace}/${owner.apiPod.metadata.name}`,
          error,
        });
    } finally {
      this.#gate.end();
      p.writing = false;
      if (!failed && p.status === undefined && !p.remove) {
        if (this.#pending.get(owner.uid) === p) this.#pending.delete(owner.uid);
      } else if (failed && this.#pending.get(owner.uid) === p) {
        const delay = Math.min(retryMs * 2 ** (p.failures - 1), maxRetryMs);
        p.timer = this.#clock.setTimer(delay, () => this.#pump(p));
      } else if (this.#pending.get(owner.uid) === p) this.#pump(p);
    }
  }

  stop(): void {
    this.#abort.abort(new Error('kubelet stopped'));
    for (const p of this.#pending.values()) p.timer?.cancel();
    this.#pending.clear();
  }
}
