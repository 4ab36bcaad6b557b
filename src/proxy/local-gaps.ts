/** Counts ports of Services whose traffic policy is Local and which have endpoints, but none on this node: for the metrics. */
import type { ProxyMetrics } from './metrics.ts';
import type { ServicePort } from './service-port.ts';
import { hasAnyEndpoint, localEndpoints } from './service-port.ts';

const kinds = [
  ['internal', 4],
  ['internal', 6],
  ['external', 4],
  ['external', 6],
] as const;

export class LocalGaps {
  readonly #services = new Map<string, readonly number[]>();
  readonly #totals = [0, 0, 0, 0];

  set(service: string, ports: readonly ServicePort[], node: string | undefined): void {
    const before = this.#services.get(service);
    const now = [0, 0, 0, 0];
    for (const p of ports) {
      if (!(p.internalPolicyLocal || p.externalPolicyLocal) || !hasAnyEndpoint(p)) continue;
      if (localEndpoints(p, node).length > 0) continue;
      if (p.internalPolicyLocal) now[p.family === 4 ? 0 : 1]!++;
      if (p.externalPolicyLocal) now[p.family === 4 ? 2 : 3]!++;
    }
    for (let i = 0; i < 4; i++) this.#totals[i]! += now[i]! - (before?.[i] ?? 0);
    if (now.every((n) => n === 0)) this.#services.delete(service);
    else this.#services.set(service, now);
  }

  report(metrics: ProxyMetrics): void {
    for (const [i, [traffic, family]] of kinds.entries()) metrics.noLocalEndpoints(traffic, family, this.#totals[i]!);
  }
}
