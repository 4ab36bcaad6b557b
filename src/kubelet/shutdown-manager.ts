/**
 * Graceful node shutdown: when the machine announces that it is about to go down, the node says so, takes no more pods, and ends
 * those it has by priority, within the time that was set aside for each (KEP-2000, KEP-2712).
 */
import { parseDuration } from '../api/time.ts';
import type { Pod } from '../api/types/index.gen.ts';
import type { KubeletConfiguration } from './configuration/configuration.ts';
import type { KubeletContext } from './context.ts';
import type { EvictablePod } from './eviction/eviction-manager.ts';
import type { NodeHost } from './host/node-host.ts';
import { formatPod } from './pod-util.ts';

const criticalPriority = 2_000_000_000;

interface Group {
  readonly priority: number;
  readonly seconds: number;
}

export interface ShutdownManagerOptions {
  readonly ctx: KubeletContext;
  readonly configuration: KubeletConfiguration;
  activePods(): readonly EvictablePod[];
  /** Makes the node report itself not ready; undefined takes it back. */
  report(reason: string | undefined): void;
}

type Inhibitor = Awaited<ReturnType<NonNullable<NodeHost['inhibitShutdown']>>>;

export class ShutdownManager {
  readonly #o: ShutdownManagerOptions;
  readonly #groups: readonly Group[];
  #inhibitor: Inhibitor | undefined;
  #active = false;
  #stopped = false;

  constructor(options: ShutdownManagerOptions) {
    this.#o = options;
    const c = options.configuration;
    if (c.shutdownGracePeriodByPodPriority !== undefined)
      this.#groups = c.shutdownGracePeriodByPodPriority
        .map((g) => ({ priority: g.priority, seconds: g.shutdownGracePeriodSeconds }))
        .sort((a, b) => a.priority - b.priority);
    else {
      const total = parseDuration(c.shutdownGracePeriod) / 1000;
      const critical = parseDuration(c.shutdownGracePeriodCriticalPods) / 1000;
      this.#groups =
        total === 0
          ? []
          : [
              { priority: 0, seconds: total - critical },
              { priority: criticalPriority, seconds: critical },
            ];
    }
  }

  /** Nothing where no time is set aside, or nothing announces a shutdown. */
  async start(): Promise<void> {
    const { ctx } = this.#o;
    const inhibit = ctx.host.inhibitShutdown;
    if (this.#groups.length === 0 || inhibit === undefined || this.#stopped) return;
    const wanted = this.#groups.reduce((n, g) => n + g.seconds * 1000, 0);
    this.#inhibitor = await inhibit(wanted, (active) => {
      this.#announced(active).catch((error: unknown) => {
        ctx.logger.error('Shutdown manager failed', { error });
      });
    });
    // Stopped while the lock was being taken.
    if (this.#stopped) {
      await this.#release();
      return;
    }
    if (this.#inhibitor.maxDelayMs < wanted)
      ctx.logger.warn(
        'The machine allows less time before a shutdown than is set aside for pods: raise InhibitDelayMaxSec',
        {
          allowedMs: this.#inhibitor.maxDelayMs,
          wantedMs: wanted,
        },
      );
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#release();
  }

  async #release(): Promise<void> {
    const held = this.#inhibitor;
    this.#inhibitor = undefined;
    await held?.release();
  }

  get shuttingDown(): boolean {
    return this.#active;
  }

  /** Why a pod cannot be taken in now. */
  admit(): { reason: string; message: string } | undefined {
    return this.#active
      ? { reason: 'NodeShutdown', message: 'Pod was rejected as the node is shutting down.' }
      : undefined;
  }

  async #announced(active: boolean): Promise<void> {
    const { ctx, report } = this.#o;
    if (active === this.#active || this.#stopped) return;
    this.#active = active;
    ctx.events.node(
      'Normal',
      'Shutdown',
      active ? 'Shutdown manager detected shutdown event' : 'Shutdown manager detected shutdown cancellation',
    );
    report(active ? 'node is shutting down' : undefined);
    if (active) {
      const { clock, metrics } = ctx;
      metrics?.set('graceful_shutdown_start_time_seconds', clock.now() / 1000);
      metrics?.set('graceful_shutdown_end_time_seconds', 0);
      try {
        await this.#endPods();
        metrics?.set('graceful_shutdown_end_time_seconds', clock.now() / 1000);
      } finally {
        await this.#release();
      }
      return;
    }
    await this.#release();
    await this.start();
  }

  /** Group after group, the least important first. */
  async #endPods(): Promise<void> {
    const { ctx, activePods } = this.#o;
    for (const [i, group] of this.#groups.entries()) {
      const next = this.#groups[i + 1]?.priority ?? Infinity;
      const members = activePods().filter((p) => {
        const priority = p.pod.spec?.priority ?? 0;
        return (i === 0 || priority >= group.priority) && priority < next;
      });
      if (members.length === 0) continue;
      const late = Promise.withResolvers<void>();
      const timer = ctx.clock.setTimer(group.seconds * 1000, () => late.resolve());
      await Promise.race([Promise.all(members.map((p) => this.#end(p, group))), late.promise]);
      timer.cancel();
    }
  }

  async #end(p: EvictablePod, group: Group): Promise<void> {
    const own = p.pod.spec?.terminationGracePeriodSeconds ?? group.seconds;
    const message = 'Pod was terminated in response to imminent node shutdown.';
    try {
      await p.evict({
        reason: 'Terminated',
        message,
        graceSeconds: Math.min(own, group.seconds),
        condition: { reason: 'TerminationByKubelet', message },
      });
    } catch (error) {
      this.#o.ctx.logger.warn('Shutdown manager failed killing pod', { pod: formatPod(p.pod as Pod), error });
    }
  }
}
