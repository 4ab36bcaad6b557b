/**
 * Leader election on a Lease, as client-go's: 15 s lease, 10 s to renew, 2 s between tries; the lease is given up when the
 * leader stops of its own will.
 */
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import type { Random } from '../base/random.ts';
import { formatMicroTime } from '../api/time.ts';
import type { Lease } from '../api/types/index.gen.ts';
import { isNotFound } from './errors.ts';
import type { EventRecorder } from './event-recorder.ts';
import { resources } from './resources.ts';
import type { TypedClient } from './typed-client.ts';

export interface LeaderElectionOptions {
  readonly client: TypedClient;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** Name of the Lease: `kube-controller-manager`. */
  readonly name: string;
  /** Default kube-system. */
  readonly namespace?: string;
  /** Unique per candidate: host name, underscore, uuid. */
  readonly identity: string;
  readonly leaseDurationMs?: number;
  readonly renewDeadlineMs?: number;
  readonly retryPeriodMs?: number;
  /** Default true. */
  readonly releaseOnCancel?: boolean;
  readonly recorder?: EventRecorder;
  readonly signal: AbortSignal;
  /** Called once as leader; the signal aborts when the lead is lost. */
  onStartedLeading(signal: AbortSignal): void | Promise<void>;
  /** Called in the end, whether it ever led or not. */
  onStoppedLeading?(): void | Promise<void>;
  onNewLeader?(identity: string): void;
}

/** Candidates wait up to 2.2 times the retry period, so that they do not all ask at once. */
const jitterFactor = 1.2;

class Elector {
  readonly #o: LeaderElectionOptions;
  readonly #leaseMs: number;
  readonly #namespace: string;
  #lease: Lease | undefined;
  #observedVersion = '';
  #observedAt = -Infinity;
  #reported: string | undefined;

  constructor(options: LeaderElectionOptions) {
    this.#o = options;
    this.#leaseMs = options.leaseDurationMs ?? 15_000;
    this.#namespace = options.namespace ?? 'kube-system';
  }

  get #holder(): string {
    return this.#lease?.spec?.holderIdentity ?? '';
  }

  get isLeader(): boolean {
    return this.#lease !== undefined && this.#holder === this.#o.identity;
  }

  #observe(lease: Lease): void {
    const version = lease.metadata.resourceVersion ?? '';
    this.#lease = lease;
    if (version === this.#observedVersion) return;
    this.#observedVersion = version;
    this.#observedAt = this.#o.clock.monotonic();
  }

  report(): void {
    const holder = this.#holder;
    if (holder === '' || holder === this.#reported) return;
    this.#reported = holder;
    this.#o.onNewLeader?.(holder);
  }

  event(what: string): void {
    if (this.#lease === undefined) return;
    this.#o.recorder?.event(
      resources.coordination.leases,
      this.#lease,
      'Normal',
      'LeaderElection',
      `${this.#o.identity} ${what}`,
    );
  }

  /** Takes or renews the lease. False when somebody else holds it or it could not be written. */
  async try(signal: AbortSignal): Promise<boolean> {
    const { client, clock, identity, logger, name } = this.#o;
    const leases = client.coordination.leases;
    const now = formatMicroTime(clock.now());
    try {
      // A leader writes on top of what it wrote last, without reading first.
      if (!this.isLeader || this.#lease === undefined) {
        try {
          this.#observe(await leases.get(name, this.#namespace, { signal }));
        } catch (error) {
          if (!isNotFound(error)) throw error;
          this.#observe(
            await leases.create(
              {
                metadata: { name, namespace: this.#namespace },
                spec: {
                  holderIdentity: identity,
                  leaseDurationSeconds: Math.floor(this.#leaseMs / 1000),
                  acquireTime: now,
                  renewTime: now,
                  leaseTransitions: 0,
                },
              },
              { signal },
            ),
          );
          return true;
        }
      }
      const lease = this.#lease!;
      const spec = lease.spec ?? {};
      const mine = this.#holder === identity;
      const validMs = (spec.leaseDurationSeconds ?? 0) * 1000;
      if (!mine && this.#holder !== '' && clock.monotonic() - this.#observedAt < validMs) return false;
      const updated: Lease = {
        ...lease,
        spec: {
          ...spec,
          holderIdentity: identity,
          leaseDurationSeconds: Math.floor(this.#leaseMs / 1000),
          acquireTime: mine ? (spec.acquireTime ?? now) : now,
          renewTime: now,
          leaseTransitions: (spec.leaseTransitions ?? 0) + (mine ? 0 : 1),
        },
      };
      this.#observe(await leases.update(updated, { signal }));
      return true;
    } catch (error) {
      if (signal.aborted) return false;
      logger.debug('leader election: could not write the lease', { lease: `${this.#namespace}/${name}`, error });
      // The next try reads what is there.
      if (this.isLeader) {
        try {
          this.#observe(await leases.get(name, this.#namespace, { signal }));
        } catch (readError) {
          logger.debug('leader election: could not read the lease', {
            lease: `${this.#namespace}/${name}`,
            error: readError,
          });
        }
      }
      return false;
    }
  }

  async release(): Promise<void> {
    const { client, clock, logger, name } = this.#o;
    if (!this.isLeader || this.#lease === undefined) return;
    const now = formatMicroTime(clock.now());
    try {
      await client.coordination.leases.update({
        ...this.#lease,
        spec: {
          holderIdentity: '',
          leaseDurationSeconds: 1,
          acquireTime: now,
          renewTime: now,
          leaseTransitions: this.#lease.spec?.leaseTransitions ?? 0,
        },
      });
    } catch (error) {
      logger.warn('leader election: could not release the lease', { lease: `${this.#namespace}/${name}`, error });
    }
  }
}

/** Waits for the lease, leads until it is lost or the signal aborts, then returns. */
export async function runLeaderElection(options: LeaderElectionOptions): Promise<void> {
  const { clock, random, logger, signal } = options;
  const retryMs = options.retryPeriodMs ?? 2000;
  const renewMs = options.renewDeadlineMs ?? 10_000;
  const elector = new Elector(options);
  const pause = async (ms: number): Promise<void> => {
    try {
      await clock.sleep(ms, signal);
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  };
  try {
    for (;;) {
      if (signal.aborted) return;
      const leads = await elector.try(signal);
      elector.report();
      if (leads) break;
      await pause(retryMs * (1 + jitterFactor * random.float()));
    }
    elector.event('became leader');
    logger.info('became leader', { lease: options.name, identity: options.identity });
    const lead = new AbortController();
    const leading = Promise.resolve(options.onStartedLeading(lead.signal)).catch((error: unknown) => {
      logger.error('leader election: what the leader started failed', { lease: options.name, error });
    });
    let renewed = clock.monotonic();
    while (!signal.aborted) {
      await pause(retryMs);
      if (signal.aborted) break;
      if (await elector.try(signal)) renewed = clock.monotonic();
      else if (clock.monotonic() - renewed >= renewMs || !elector.isLeader) {
        logger.warn('lost the lead', { lease: options.name, identity: options.identity });
        break;
      }
      elector.report();
    }
    lead.abort(new Error('no longer the leader'));
    await leading;
    elector.event('stopped leading');
    if (options.releaseOnCancel ?? true) await elector.release();
  } finally {
    await options.onStoppedLeading?.();
  }
}
