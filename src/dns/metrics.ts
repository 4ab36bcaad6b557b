/** What the name server counts, under CoreDNS' names, in Prometheus' text form. One set an instance; it outlives reloads. */
import { labelText } from '../base/prometheus-text.ts';
import { rcodeName, typeName, types } from './message.ts';

export interface MetricFamily {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge' | 'histogram' | 'summary';
  /** Lines `name{labels} value`. */
  lines(): Iterable<string>;
}

export type Labels = Readonly<Record<string, string>>;

const maxSeries = 5000;

export class Series {
  value = 0;
}

/** Counters or gauges that differ in their labels; what comes on top of the bound is counted nowhere. */
class Numbers implements MetricFamily {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge';
  #series = new Map<string, Series>();

  constructor(type: 'counter' | 'gauge', name: string, help: string) {
    this.type = type;
    this.name = `coredns_${name}`;
    this.help = help;
  }

  of(labels: Labels): Series {
    const text = labelText(labels);
    let found = this.#series.get(text);
    if (found === undefined) {
      found = new Series();
      if (this.#series.size < maxSeries) this.#series.set(text, found);
    }
    return found;
  }

  reset(): void {
    this.#series = new Map();
  }

  *lines(): Iterable<string> {
    for (const [text, series] of this.#series) yield `${this.name}${text} ${series.value}`;
  }
}

export class Distribution {
  readonly #bounds: readonly number[];
  readonly #counts: number[];
  #sum = 0;
  #count = 0;

  constructor(bounds: readonly number[]) {
    this.#bounds = bounds;
    this.#counts = Array.from(bounds, () => 0);
  }

  observe(value: number): void {
    this.#sum += value;
    this.#count++;
    const bounds = this.#bounds;
    for (let i = 0; i < bounds.length; i++)
      if (value <= bounds[i]!) {
        this.#counts[i]!++;
        return;
      }
  }

  *lines(name: string, labels: Labels): Iterable<string> {
    let total = 0;
    for (let i = 0; i < this.#bounds.length; i++) {
      total += this.#counts[i]!;
      yield `${name}_bucket${labelText({ ...labels, le: String(this.#bounds[i]) })} ${total}`;
    }
    yield `${name}_bucket${labelText({ ...labels, le: '+Inf' })} ${this.#count}`;
    yield `${name}_sum${labelText(labels)} ${this.#sum}`;
    yield `${name}_count${labelText(labels)} ${this.#count}`;
  }
}

class Distributions implements MetricFamily {
  readonly name: string;
  readonly help: string;
  readonly type = 'histogram';
  readonly #bounds: readonly number[];
  readonly #series = new Map<string, { labels: Labels; value: Distribution }>();

  constructor(name: string, help: string, bounds: readonly number[]) {
    this.name = `coredns_${name}`;
    this.help = help;
    this.#bounds = bounds;
  }

  of(labels: Labels): Distribution {
    const text = labelText(labels);
    let found = this.#series.get(text);
    if (found === undefined) {
      found = { labels, value: new Distribution(this.#bounds) };
      if (this.#series.size < maxSeries) this.#series.set(text, found);
    }
    return found.value;
  }

  *lines(): Iterable<string> {
    for (const { labels, value } of this.#series.values()) yield* value.lines(this.name, labels);
  }
}

/** 0.25 ms to 8 s. */
const timeBuckets = Array.from({ length: 16 }, (_, i) => 0.00025 * 2 ** i);
const sizeBuckets = [0, 100, 200, 300, 400, 511, 1023, 2047, 4095, 8291, 16e3, 32e3, 48e3, 64e3];

/** Record types that are told apart; the rest is `other`. */
const told = new Set<number>([
  types.AAAA,
  types.A,
  types.CNAME,
  types.DNSKEY,
  types.DS,
  types.MX,
  types.NSEC3,
  types.NSEC,
  types.NS,
  types.PTR,
  types.RRSIG,
  types.SOA,
  types.SRV,
  types.TXT,
  types.HTTPS,
  types.SVCB,
  types.IXFR,
  types.AXFR,
  types.ANY,
]);

/** Counts the answers of one kind: of one server and zone, to questions of one type, with one code. */
export class Meter {
  readonly #requests: readonly Series[];
  readonly #dnssec: Series;
  readonly #duration: Distribution;
  readonly #asked: readonly [Distribution, Distribution];
  readonly #given: readonly [Distribution, Distribution];
  readonly #responses: Series;

  constructor(
    m: Metrics,
    labels: { readonly server: string; readonly zone: string },
    type: string,
    rcode: string,
    plugin: string,
  ) {
    const base = { ...labels, view: '' };
    const request = (proto: string, family: string): Series => m.requests.of({ ...base, proto, family, type });
    this.#requests = [request('udp', '1'), request('udp', '2'), request('tcp', '1'), request('tcp', '2')];
    this.#dnssec = m.dnssecRequests.of(base);
    this.#duration = m.durations.of(base);
    this.#asked = [m.requestSizes.of({ ...base, proto: 'udp' }), m.requestSizes.of({ ...base, proto: 'tcp' })];
    this.#given = [m.responseSizes.of({ ...base, proto: 'udp' }), m.responseSizes.of({ ...base, proto: 'tcp' })];
    this.#responses = m.responses.of({ ...base, rcode, plugin });
  }

  count(tcp: boolean, family: 4 | 6, asked: number, given: number, seconds: number, dnssec: boolean): void {
    this.#requests[(tcp ? 2 : 0) + (family === 6 ? 1 : 0)]!.value++;
    if (dnssec) this.#dnssec.value++;
    this.#duration.observe(seconds);
    this.#asked[tcp ? 1 : 0].observe(asked);
    this.#given[tcp ? 1 : 0].observe(given);
    this.#responses.value++;
  }
}

export class Metrics {
  readonly requests = new Numbers(
    'counter',
    'dns_requests_total',
    'Counter of DNS requests made per zone, protocol and family.',
  );
  readonly dnssecRequests = new Numbers(
    'counter',
    'dns_do_requests_total',
    'Counter of DNS requests with DO bit set per zone.',
  );
  readonly durations = new Distributions(
    'dns_request_duration_seconds',
    'Histogram of the time (in seconds) each request took per zone.',
    timeBuckets,
  );
  readonly requestSizes = new Distributions('dns_request_size_bytes', 'Size of the requests in bytes.', sizeBuckets);
  readonly responseSizes = new Distributions(
    'dns_response_size_bytes',
    'Size of the returned response in bytes.',
    sizeBuckets,
  );
  readonly responses = new Numbers('counter', 'dns_responses_total', 'Counter of response status codes.');
  readonly panics = new Numbers('counter', 'panics_total', 'Counter of questions whose handling failed unexpectedly.');
  readonly plugins = new Numbers('gauge', 'plugin_enabled', 'Whether a plugin is enabled on a server and zone.');
  readonly cacheEntries = new Numbers('gauge', 'cache_entries', 'The number of elements in the cache.');
  readonly cacheRequests = new Numbers('counter', 'cache_requests_total', 'The count of cache requests.');
  readonly cacheHits = new Numbers('counter', 'cache_hits_total', 'The count of cache hits.');
  readonly cacheMisses = new Numbers('counter', 'cache_misses_total', 'The count of cache misses.');
  readonly cachePrefetches = new Numbers(
    'counter',
    'cache_prefetch_total',
    'How often a cached item has been prefetched.',
  );
  readonly cacheStale = new Numbers(
    'counter',
    'cache_served_stale_total',
    'The number of requests served from stale entries.',
  );
  readonly cacheEvictions = new Numbers('counter', 'cache_evictions_total', 'The count of cache evictions.');
  readonly forwardRequests = new Numbers('counter', 'forward_requests_total', 'Counter of requests made per upstream.');
  readonly forwardResponses = new Numbers(
    'counter',
    'forward_responses_total',
    'Counter of responses received per upstream.',
  );
  readonly forwardBroken = new Numbers(
    'counter',
    'forward_healthcheck_broken_total',
    'Counter of the number of complete failures of the healthchecks.',
  );
  readonly forwardRejected = new Numbers(
    'counter',
    'forward_max_concurrent_rejects_total',
    'Counter of the number of queries rejected because the concurrent queries were at maximum.',
  );
  readonly proxyDurations = new Distributions(
    'proxy_request_duration_seconds',
    'Histogram of the time each request took.',
    timeBuckets,
  );
  readonly proxyHealthFailures = new Numbers(
    'counter',
    'proxy_healthcheck_failures_total',
    'Counter of the number of failed healthchecks.',
  );
  readonly proxyCacheHits = new Numbers(
    'counter',
    'proxy_conn_cache_hits_total',
    'Counter of connection cache hits per upstream and protocol.',
  );
  readonly proxyCacheMisses = new Numbers(
    'counter',
    'proxy_conn_cache_misses_total',
    'Counter of connection cache misses per upstream and protocol.',
  );
  readonly hostsEntries = new Numbers(
    'gauge',
    'hosts_entries',
    'The combined number of entries in hosts and Corefile.',
  );
  readonly hostsReloaded = new Numbers(
    'gauge',
    'hosts_reload_timestamp_seconds',
    'The timestamp of the last reload of hosts file.',
  );
  readonly templateMatches = new Numbers('counter', 'template_matches_total', 'Counter of template regex matches.');
  readonly autopathSuccess = new Numbers('counter', 'autopath_success_total', 'Counter of requests that did autopath.');
  readonly reloadFailures = new Numbers(
    'counter',
    'reload_failed_total',
    'Counter of the number of failed reload attempts.',
  );
  readonly reloadInfo = new Numbers('gauge', 'reload_version_info', 'A constant that tells which Corefile runs.');
  #meters = new Map<string, Meter>();

  meter(
    labels: { readonly server: string; readonly zone: string },
    type: number,
    rcode: number,
    plugin: string,
  ): Meter {
    const typeText = told.has(type) ? typeName(type) : 'other';
    const key = `${labels.server} ${labels.zone} ${typeText} ${rcode} ${plugin}`;
    let found = this.#meters.get(key);
    if (found === undefined) {
      found = new Meter(this, labels, typeText, rcodeName(rcode), plugin);
      if (this.#meters.size < maxSeries) this.#meters.set(key, found);
    }
    return found;
  }

  families(): MetricFamily[] {
    return Object.values(this).filter(
      (v): v is Numbers | Distributions => v instanceof Numbers || v instanceof Distributions,
    );
  }
}

/** The text format, version 0.0.4. */
export function exposition(families: Iterable<MetricFamily>): string {
  const out: string[] = [];
  for (const f of families) {
    const lines = [...f.lines()];
    if (lines.length === 0) continue;
    out.push(`# HELP ${f.name} ${f.help}`, `# TYPE ${f.name} ${f.type}`, ...lines);
  }
  return `${out.join('\n')}\n`;
}
