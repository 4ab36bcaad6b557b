/**
 * What kube-proxy counts, under upstream's names (pkg/proxy/metrics). Families in Prometheus' text form; who serves them is the
 * process around the proxy.
 */

export interface MetricFamily {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  /** Lines `name{labels} value`. */
  lines(): Iterable<string>;
}

const familyName = (family: 4 | 6): string => (family === 4 ? 'IPv4' : 'IPv6');

class Numbers implements MetricFamily {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge';
  readonly #label: string;
  readonly #values = new Map<string, number>();

  constructor(type: 'counter' | 'gauge', name: string, help: string, label = '') {
    this.type = type;
    this.name = `kubeproxy_${name}`;
    this.help = help;
    this.#label = label;
  }

  set(value: number, labels = ''): void {
    this.#values.set(labels, value);
  }

  add(by: number, labels = ''): void {
    this.#values.set(labels, (this.#values.get(labels) ?? 0) + by);
  }

  *lines(): Iterable<string> {
    if (this.#values.size === 0 && this.#label === '') yield `${this.name} 0`;
    for (const [labels, value] of this.#values) {
      const text = this.#label === '' ? '' : `{${this.#label === 'raw' ? labels : `${this.#label}="${labels}"`}}`;
      yield `${this.name}${text} ${value}`;
    }
  }
}

interface Counts {
  readonly counts: number[];
  sum: number;
  total: number;
}

class Histogram implements MetricFamily {
  readonly name: string;
  readonly help: string;
  readonly type = 'histogram';
  readonly #bounds: readonly number[];
  readonly #series = new Map<string, Counts>();

  constructor(name: string, help: string, bounds: readonly number[]) {
    this.name = `kubeproxy_${name}`;
    this.help = help;
    this.#bounds = bounds;
  }

  observe(value: number, ipFamily: string): void {
    let s = this.#series.get(ipFamily);
    if (s === undefined) this.#series.set(ipFamily, (s = { counts: this.#bounds.map(() => 0), sum: 0, total: 0 }));
    s.sum += value;
    s.total++;
    const i = this.#bounds.findIndex((b) => value <= b);
    if (i >= 0) s.counts[i]!++;
  }

  *lines(): Iterable<string> {
    for (const [ipFamily, s] of this.#series) {
      let sum = 0;
      for (const [i, bound] of this.#bounds.entries()) {
        sum += s.counts[i]!;
        yield `${this.name}_bucket{ip_family="${ipFamily}",le="${bound}"} ${sum}`;
      }
      yield `${this.name}_bucket{ip_family="${ipFamily}",le="+Inf"} ${s.total}`;
      yield `${this.name}_sum{ip_family="${ipFamily}"} ${s.sum}`;
      yield `${this.name}_count{ip_family="${ipFamily}"} ${s.total}`;
    }
  }
}

const doubling = Array.from({ length: 15 }, (_, i) => 0.001 * 2 ** i);
const linear = (start: number, width: number, count: number): number[] =>
  Array.from({ length: count }, (_, i) => start + width * i);
const programming = [...linear(0.25, 0.25, 2), ...linear(1, 1, 59), ...linear(60, 5, 12), ...linear(120, 30, 7)];

export class ProxyMetrics {
  readonly #families: readonly (4 | 6)[];
  readonly #sync = new Histogram('sync_proxy_rules_duration_seconds', 'SyncProxyRules latency in seconds', doubling);
  readonly #full = new Histogram(
    'sync_full_proxy_rules_duration_seconds',
    'SyncProxyRules latency in seconds for full resyncs',
    doubling,
  );
  readonly #partial = new Histogram(
    'sync_partial_proxy_rules_duration_seconds',
    'SyncProxyRules latency in seconds for partial resyncs',
    doubling,
  );
  readonly #programming = new Histogram(
    'network_programming_duration_seconds',
    'In Cluster Network Programming Latency in seconds',
    programming,
  );
  readonly #tracking = new Histogram(
    'conntrack_reconciler_sync_duration_seconds',
    'ReconcileConntrackFlowsLatency latency in seconds',
    doubling,
  );
  readonly #lastSync = new Numbers(
    'gauge',
    'sync_proxy_rules_last_timestamp_seconds',
    'The last time proxy rules were successfully synced',
    'ip_family',
  );
  readonly #lastQueued = new Numbers(
    'gauge',
    'sync_proxy_rules_last_queued_timestamp_seconds',
    'The last time a sync of proxy rules was queued',
    'ip_family',
  );
  readonly #failures = new Numbers(
    'counter',
    'sync_proxy_rules_nftables_sync_failures_total',
    'Cumulative proxy nftables sync failures',
    'ip_family',
  );
  readonly #cleanupFailures = new Numbers(
    'counter',
    'sync_proxy_rules_nftables_cleanup_failures_total',
    'Cumulative proxy nftables cleanup failures',
    'ip_family',
  );
  readonly #deleted = new Numbers(
    'counter',
    'conntrack_reconciler_deleted_entries_total',
    'Cumulative conntrack flows deleted by conntrack reconciler',
    'ip_family',
  );
  readonly #noLocal = new Numbers(
    'gauge',
    'sync_proxy_rules_no_local_endpoints_total',
    'Number of services with a Local traffic policy and no endpoints',
    'raw',
  );
  readonly #endpointChanges = new Numbers(
    'counter',
    'sync_proxy_rules_endpoint_changes_total',
    'Cumulative proxy rules Endpoint changes',
  );
  readonly #serviceChanges = new Numbers(
    'counter',
    'sync_proxy_rules_service_changes_total',
    'Cumulative proxy rules Service changes',
  );
  readonly #endpointsPending = new Numbers(
    'gauge',
    'sync_proxy_rules_endpoint_changes_pending',
    'Pending proxy rules Endpoint changes',
  );
  readonly #servicesPending = new Numbers(
    'gauge',
    'sync_proxy_rules_service_changes_pending',
    'Pending proxy rules Service changes',
  );
  readonly #healthz = new Numbers('counter', 'proxy_healthz_total', 'Cumulative proxy healthz HTTP status', 'code');
  readonly #livez = new Numbers('counter', 'proxy_livez_total', 'Cumulative proxy livez HTTP status', 'code');

  constructor(families: readonly (4 | 6)[] = [4, 6]) {
    this.#families = families;
  }

  #each(what: (ipFamily: string) => void): void {
    for (const f of this.#families) what(familyName(f));
  }

  /** A change has arrived that will be written. `now`: seconds since the epoch. */
  queued(kind: 'service' | 'endpoint', now: number): void {
    const [total, pending] =
      kind === 'service'
        ? [this.#serviceChanges, this.#servicesPending]
        : [this.#endpointChanges, this.#endpointsPending];
    total.add(1);
    pending.add(1);
    this.#each((f) => this.#lastQueued.set(now, f));
  }

  /** A pass begins with everything that was queued. */
  taken(): void {
    this.#endpointsPending.set(0);
    this.#servicesPending.set(0);
  }

  synced(full: boolean, seconds: number, now: number): void {
    this.#each((f) => {
      this.#sync.observe(seconds, f);
      (full ? this.#full : this.#partial).observe(seconds, f);
      this.#lastSync.set(now, f);
    });
  }

  syncFailed(full: boolean, seconds: number): void {
    this.#each((f) => {
      this.#sync.observe(seconds, f);
      (full ? this.#full : this.#partial).observe(seconds, f);
      this.#failures.add(1, f);
    });
  }

  cleanupFailed(): void {
    this.#each((f) => this.#cleanupFailures.add(1, f));
  }

  /** From the change of a pod to the rule that follows from it. */
  programmed(seconds: number): void {
    this.#each((f) => this.#programming.observe(seconds, f));
  }

  conntrack(family: 4 | 6, seconds: number, deleted: number): void {
    this.#tracking.observe(seconds, familyName(family));
    this.#deleted.add(deleted, familyName(family));
  }

  noLocalEndpoints(traffic: 'internal' | 'external', family: 4 | 6, count: number): void {
    this.#noLocal.set(count, `ip_family="${familyName(family)}",traffic_policy="${traffic}"`);
  }

  asked(path: 'healthz' | 'livez', status: number): void {
    (path === 'healthz' ? this.#healthz : this.#livez).add(1, String(status));
  }

  get families(): readonly MetricFamily[] {
    return [
      ...[this.#sync, this.#full, this.#partial, this.#programming, this.#tracking, this.#deleted],
      ...[this.#lastSync, this.#lastQueued, this.#failures, this.#cleanupFailures, this.#noLocal],
      ...[this.#endpointChanges, this.#endpointsPending, this.#serviceChanges, this.#servicesPending],
      ...[this.#healthz, this.#livez],
    ];
  }
}
