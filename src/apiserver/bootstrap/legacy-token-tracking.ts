/**
 * Since when the use of legacy service account tokens is written down: a ConfigMap of kube-system that the cleaner of such tokens
 * reads. It is put back when somebody deletes or breaks it.
 */
import type { Clock, Timer } from '../../base/clock.ts';
import type { Logger } from '../../base/logger.ts';
import { dayOf, isDay, trackingConfigMap } from '../../api/helpers/legacy-token-tracking.ts';
import type { KubeObject } from '../../api/object.ts';
import type { Registries } from '../registry.ts';
import { BootstrapWriter } from './writer.ts';

const metadata = { name: trackingConfigMap, namespace: 'kube-system' } as const;
/** Upstream makes it anew at most this often. */
const lookMs = 1_800_000;

export class LegacyTokenTracking {
  readonly #writer: BootstrapWriter;
  readonly #clock: Clock;
  readonly #logger: Logger;
  #timer: Timer | undefined;

  constructor(options: { readonly registries: Registries; readonly clock: Clock; readonly logger: Logger }) {
    this.#writer = new BootstrapWriter(options.registries);
    this.#clock = options.clock;
    this.#logger = options.logger;
  }

  async start(): Promise<void> {
    await this.#ensure();
    this.#timer = this.#clock.setTicker(lookMs, () => {
      void this.#clock.activity.track(this.#ensure()).catch((error: unknown) => {
        this.#logger.warn('the tracking of legacy tokens could not be looked after', { error });
      });
    });
  }

  close(): void {
    this.#timer?.cancel();
  }

  async #ensure(): Promise<void> {
    const data = { since: dayOf(this.#clock.now()) };
    const current = this.#writer.current('', 'configmaps', metadata);
    if (current === undefined) {
      await this.#writer.create('', 'configmaps', { apiVersion: 'v1', kind: 'ConfigMap', metadata, data });
      return;
    }
    if (isDay((current['data'] as { since?: unknown } | undefined)?.since)) return;
    await this.#writer.update('', 'configmaps', metadata, (c: KubeObject) => ({
      ...c,
      data: { ...(c['data'] as Record<string, string> | undefined), ...data },
    }));
  }
}
