/** EventRateLimit: Events are refused where a server, namespace, user, or source and object sends too many. */
import { formatFieldError, invalid, notSupported, type FieldError } from '../../api/field-error.ts';
import { StatusError } from '../../api/status.ts';
import type { Event } from '../../api/types/core-v1.gen.ts';
import type { Clock } from '../../base/clock.ts';
import type { AdmissionAttributes, AdmissionPlugin } from '../context.ts';

/** The plugin's part of the admission configuration file. */
export interface EventRateLimitConfiguration {
  readonly limits?: readonly {
    readonly type: string;
    readonly qps: number;
    readonly burst: number;
    readonly cacheSize?: number;
  }[];
}

const defaultCacheSize = 4096;

const keys: Readonly<Record<string, (a: AdmissionAttributes) => string>> = {
  Server: () => '',
  Namespace: (a) => a.namespace,
  User: (a) => a.user.name,
  SourceAndObject(a) {
    const { source, involvedObject: on } = (a.object ?? {}) as unknown as Partial<Event>;
    return [source?.component, source?.host, on?.kind, on?.namespace, on?.name, on?.uid, on?.apiVersion].join('');
  },
};

/** A token bucket in cluster time. */
class Bucket {
  #tokens: number;
  #at: number;

  constructor(burst: number, now: number) {
    this.#tokens = burst;
    this.#at = now;
  }

  take(now: number, qps: number, burst: number): boolean {
    this.#tokens = Math.min(burst, this.#tokens + ((now - this.#at) / 1000) * qps);
    this.#at = now;
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }
}

function validate(configuration: EventRateLimitConfiguration): void {
  const { limits = [] } = configuration;
  const errors: FieldError[] = limits.length === 0 ? [invalid('limits', limits, 'must not be empty')] : [];
  limits.forEach(({ type, qps, burst, cacheSize = 0 }, i) => {
    const path = `limits[${i}]`;
    if (keys[type] === undefined) errors.push(notSupported(`${path}.type`, type, Object.keys(keys)));
    if (!(burst > 0)) errors.push(invalid(`${path}.burst`, burst, 'must be positive'));
    if (!(qps > 0)) errors.push(invalid(`${path}.qps`, qps, 'must be positive'));
    if (cacheSize < 0) errors.push(invalid(`${path}.cacheSize`, cacheSize, 'must not be negative'));
  });
  if (errors.length > 0) throw new Error(`EventRateLimit: ${errors.map(formatFieldError).join(', ')}`);
}

/** @throws {Error} for a configuration that limits nothing */
export function eventRateLimit(deps: {
  readonly clock: Clock;
  readonly configuration?: EventRateLimitConfiguration | undefined;
}): AdmissionPlugin {
  const { clock, configuration = {} } = deps;
  validate(configuration);
  const limits = configuration.limits!.map((limit) => ({
    ...limit,
    size: limit.type === 'Server' ? 1 : limit.cacheSize || defaultCacheSize,
    buckets: new Map<string, Bucket>(),
  }));
  return {
    name: 'EventRateLimit',
    handles: (operation, group, resource) =>
      (operation === 'CREATE' || operation === 'UPDATE') && group === '' && resource === 'events',
    validate(a) {
      if (a.dryRun) return;
      const now = clock.monotonic();
      const reached: string[] = [];
      for (const { type, qps, burst, size, buckets } of limits) {
        const key = keys[type]!(a);
        const bucket = buckets.get(key) ?? new Bucket(burst, now);
        buckets.delete(key);
        buckets.set(key, bucket);
        if (buckets.size > size) buckets.delete(buckets.keys().next().value!);
        if (!bucket.take(now, qps, burst)) reached.push(`limit reached on type ${type} for key ${key}`);
      }
      if (reached.length === 0) return;
      const text = reached.length === 1 ? reached[0]! : `[${reached.join(', ')}]`;
      throw new StatusError(429, 'TooManyRequests', `Too many requests: ${text}`);
    },
  };
}
