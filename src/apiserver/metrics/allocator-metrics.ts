/** What the allocators of Service addresses and node ports measure, with upstream's names. */
import { HistogramVector, Vector, computed, type Family, type Labels } from './exposition.ts';

const seconds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/** `static`: asked for by the Service; `dynamic`: any that is free. */
export type AllocationScope = 'static' | 'dynamic';

export interface RangeUse {
  readonly cidr: string;
  readonly allocated: number;
  readonly available: number;
}

export class AllocatorMetrics {
  readonly #ips = new Vector(
    'counter',
    'kube_apiserver_clusterip_allocator_allocation_total',
    'Number of Cluster IPs allocations',
  );
  readonly #ipErrors = new Vector(
    'counter',
    'kube_apiserver_clusterip_allocator_allocation_errors_total',
    'Number of errors trying to allocate Cluster IPs',
  );
  readonly #ipSeconds = new HistogramVector(
    'kube_apiserver_clusterip_allocator_allocation_duration_seconds',
    'Duration in seconds to allocate a Cluster IP by ServiceCIDR',
    seconds,
  );
  readonly #ports = new Vector(
    'counter',
    'kube_apiserver_nodeport_allocator_allocation_total',
    'Number of NodePort allocations',
  );
  readonly #portErrors = new Vector(
    'counter',
    'kube_apiserver_nodeport_allocator_allocation_errors_total',
    'Number of errors trying to allocate NodePort',
  );
  readonly #repairErrors = new Vector(
    'counter',
    'apiserver_nodeport_repair_reconcile_errors_total',
    'Number of reconciliation failures on the nodeport repair reconcile loop',
  );
  /** Read when somebody asks. */
  ranges: () => Iterable<RangeUse> = () => [];
  nodePorts: () => { readonly allocated: number; readonly available: number } | undefined = () => undefined;

  constructor() {
    this.#repairErrors.series('', () => ({}));
  }

  get families(): readonly Family[] {
    const ofRange = (name: string, help: string, value: (r: RangeUse) => number): Family =>
      computed('gauge', `kube_apiserver_clusterip_allocator_${name}`, help, () =>
        [...this.ranges()].map((r): readonly [Labels, number] => [{ cidr: r.cidr }, value(r)]),
      );
    const ofPorts = (name: 'allocated' | 'available', help: string): Family =>
      computed('gauge', `kube_apiserver_nodeport_allocator_${name}_ports`, help, () => {
        const use = this.nodePorts();
        return use === undefined ? [] : [[{}, use[name]]];
      });
    return [
      this.#ips,
      this.#ipErrors,
      this.#ipSeconds,
      ofRange('allocated_ips', 'Gauge measuring the number of allocated IPs for Services', (r) => r.allocated),
      ofRange('available_ips', 'Gauge measuring the number of available IPs for Services', (r) => r.available),
      this.#ports,
      this.#portErrors,
      ofPorts('allocated', 'Gauge measuring the number of allocated NodePorts for Services'),
      ofPorts('available', 'Gauge measuring the number of available NodePorts for Services'),
      this.#repairErrors,
    ];
  }

  address(cidr: string, scope: AllocationScope, ok: boolean, took: number): void {
    (ok ? this.#ips : this.#ipErrors).series(`${cidr} ${scope}`, () => ({ cidr, scope })).inc();
    if (ok) this.#ipSeconds.series(cidr, () => ({ cidr })).observe(took);
  }

  port(scope: AllocationScope, ok: boolean): void {
    (ok ? this.#ports : this.#portErrors).series(scope, () => ({ scope })).inc();
  }

  repairFailed(): void {
    this.#repairErrors.series('', () => ({})).inc();
  }
}
