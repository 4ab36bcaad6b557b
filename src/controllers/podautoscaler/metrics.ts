/**
 * Reads of the three metrics APIs (metrics.k8s.io, custom.metrics.k8s.io, external.metrics.k8s.io), which other servers provide
 * through aggregation. Values are in thousandths. Errors carry upstream's words.
 */
import { parseQuantity, quantityMilli } from '../../api/quantity.ts';
import type { Selector } from '../../api/selector.ts';
import { parseDuration, timeMs } from '../../api/time.ts';
import type { CrossVersionObjectReference } from '../../api/types/index.gen.ts';
import { isNotFound } from '../../client/errors.ts';
import type { TypedClient } from '../../client/typed-client.ts';
import { groupResource } from '../util/scales.ts';
import type { Scales } from '../util/scales.ts';

export interface PodMetric {
  readonly value: number;
  /** When it was measured, ms, and over how long before. */
  readonly at: number;
  readonly windowMs: number;
}

/** By pod name. */
export type PodMetrics = Map<string, PodMetric>;

interface PodMetricsList {
  items?: {
    metadata: { name: string };
    timestamp?: string;
    window?: string;
    containers?: { name: string; usage?: Record<string, string> }[];
  }[];
}

interface MetricValueList {
  items?: {
    describedObject?: { name?: string };
    timestamp?: string;
    windowSeconds?: number;
    value: string | number;
  }[];
}

/** What metrics-server measures over where it does not say. */
const defaultWindowMs = 60_000;

const milli = (value: string | number): number => quantityMilli(parseQuantity(value));

export class MetricsReader {
  readonly #client: TypedClient;
  readonly #scales: Scales;

  constructor(client: TypedClient, scales: Scales) {
    this.#client = client;
    this.#scales = scales;
  }

  async #get<T>(path: string, query: Record<string, string>, what: string, api: string): Promise<T> {
    try {
      return (await this.#client.raw('GET', path, { query })).body as T;
    } catch (error) {
      // An API that nobody serves answers without a word about the resource.
      const bare = isNotFound(error) && !(error as Error).message.includes('"');
      const message = bare
        ? `the server could not find the requested resource (get ${what})`
        : (error as Error).message;
      throw new Error(`unable to fetch metrics from ${api} metrics API: ${message}`, { cause: error });
    }
  }

  /** Usage of `resource` by the pods, or by one container of each. */
  async resource(resource: string, namespace: string, selector: Selector, container: string): Promise<PodMetrics> {
    const list = await this.#get<PodMetricsList>(
      `/apis/metrics.k8s.io/v1beta1/namespaces/${namespace}/pods`,
      { labelSelector: selector.toString() },
      'pods.metrics.k8s.io',
      'resource',
    );
    if ((list.items?.length ?? 0) === 0) throw new Error('no metrics returned from resource metrics API');
    const out: PodMetrics = new Map();
    for (const item of list.items!) {
      const containers = (item.containers ?? []).filter((c) => container === '' || c.name === container);
      if (containers.length === 0 || containers.some((c) => c.usage?.[resource] === undefined)) continue;
      let value = 0;
      for (const c of containers) value += milli(c.usage![resource]!);
      const windowMs = item.window === undefined ? 0 : parseDuration(item.window);
      out.set(item.metadata.name, { value, at: timeMs(item.timestamp), windowMs });
    }
    return out;
  }

  /** A metric of each pod. */
  async pods(name: string, namespace: string, selector: Selector, metricSelector: Selector): Promise<PodMetrics> {
    const list = await this.#get<MetricValueList>(
      `/apis/custom.metrics.k8s.io/v1beta2/namespaces/${namespace}/pods/*/${name}`,
      query(selector, metricSelector),
      `${name}.custom.metrics.k8s.io`,
      'custom',
    );
    if ((list.items?.length ?? 0) === 0) throw new Error('no metrics returned from custom metrics API');
    return new Map(
      list.items!.map((i) => [
        i.describedObject?.name ?? '',
        {
          value: milli(i.value),
          at: timeMs(i.timestamp),
          windowMs: i.windowSeconds === undefined ? defaultWindowMs : i.windowSeconds * 1000,
        },
      ]),
    );
  }

  /** A metric of one object. */
  async object(
    name: string,
    namespace: string,
    object: CrossVersionObjectReference,
    metricSelector: Selector,
  ): Promise<number> {
    let path: string;
    if (object.kind === 'Namespace') path = `namespaces/${namespace}/metrics/${name}`;
    else {
      const resource = await this.#scales.resource(object.apiVersion ?? 'v1', object.kind);
      path = `namespaces/${namespace}/${groupResource(resource)}/${object.name}/${name}`;
    }
    const list = await this.#get<MetricValueList>(
      `/apis/custom.metrics.k8s.io/v1beta2/${path}`,
      query(undefined, metricSelector),
      `${name}.custom.metrics.k8s.io`,
      'custom',
    );
    const [first] = list.items ?? [];
    if (first === undefined) throw new Error('no metrics returned from custom metrics API');
    return milli(first.value);
  }

  /** The values of a metric that belongs to nothing in the cluster. */
  async external(name: string, namespace: string, metricSelector: Selector): Promise<number[]> {
    const list = await this.#get<MetricValueList>(
      `/apis/external.metrics.k8s.io/v1beta1/namespaces/${namespace}/${name}`,
      metricSelector.empty ? {} : { labelSelector: metricSelector.toString() },
      `${name}.external.metrics.k8s.io`,
      'external',
    );
    if ((list.items?.length ?? 0) === 0) throw new Error('no metrics returned from external metrics API');
    return list.items!.map((i) => milli(i.value));
  }
}

function query(selector: Selector | undefined, metricSelector: Selector): Record<string, string> {
  return {
    ...(selector === undefined || selector.empty ? {} : { labelSelector: selector.toString() }),
    ...(metricSelector.empty ? {} : { metricLabelSelector: metricSelector.toString() }),
  };
}
