/** metrics.k8s.io/v1beta1: NodeMetrics and PodMetrics, made of what the sources say when they are asked for. */
import type { ColumnInfo, ResourceInfo } from '../../api/catalog/resource.ts';
import { canonicalQuantity, formatQuantity, newQuantity } from '../../api/quantity.ts';
import type { JSONSchemaProps } from '../../api/schema/json-schema.ts';
import { formatDuration, formatTime } from '../../api/time.ts';
import type { Pod } from '../../api/types/index.gen.ts';
import type { ComputedApi, ComputedResource } from '../../apiserver/computed.ts';
import type { KubeObjectLike } from '../../apiserver/request.ts';
import type { PodUsage, Usage, UsageSource } from './usage.ts';

export const metricsGroup = 'metrics.k8s.io';
export const metricsVersion = 'v1beta1';

const columns: readonly ColumnInfo[] = [
  { name: 'Name', type: 'string', format: 'name', priority: 0, description: 'Name of the resource' },
  { name: 'cpu', type: 'string', format: 'quantity', priority: 0, description: 'CPU usage' },
  { name: 'memory', type: 'string', format: 'quantity', priority: 0, description: 'Memory usage' },
  { name: 'Window', type: 'string', format: 'duration', priority: 0, description: 'Time over which CPU was measured' },
];

function info(resource: string, kind: string, namespaced: boolean): ResourceInfo {
  return {
    group: metricsGroup,
    version: metricsVersion,
    resource,
    singular: '',
    kind,
    listKind: `${kind}List`,
    namespaced,
    verbs: ['get', 'list'],
    shortNames: [],
    categories: [],
    subresources: [],
    columns,
    fieldLabels: ['metadata.name', ...(namespaced ? ['metadata.namespace'] : [])],
    storageVersion: metricsVersion,
    keyPrefix: '',
    definition: '',
    custom: true,
    computed: true,
  };
}

const text = (description: string): JSONSchemaProps => ({ type: 'string', description });
const usageSchema: JSONSchemaProps = {
  type: 'object',
  description: 'CPU as a mean over the window, memory as it was at its end.',
  additionalProperties: { 'x-kubernetes-int-or-string': true },
};

function schema(description: string, own: Record<string, JSONSchemaProps>): JSONSchemaProps {
  return {
    type: 'object',
    description,
    properties: {
      timestamp: { ...text('The end of the window that was measured.'), format: 'date-time' },
      window: text('How long was measured.'),
      ...own,
    },
  };
}

const usageOf = (u: Usage): Record<string, string> => ({
  cpu: canonicalQuantity(`${u.cpuNanoCores}n`)!,
  memory: formatQuantity(newQuantity(u.memoryBytes, 'BinarySI')),
});

/** The clock's seconds are what people compare. */
function metadataOf(object: KubeObjectLike, now: number): Record<string, unknown> {
  const { name, namespace, labels } = object.metadata;
  return {
    name,
    ...(namespace === undefined ? {} : { namespace }),
    creationTimestamp: formatTime(now),
    ...(labels === undefined ? {} : { labels }),
  };
}

const measured = (at: { readonly timestamp: number; readonly windowMs: number }): Record<string, unknown> => ({
  timestamp: formatTime(at.timestamp),
  window: formatDuration(at.windowMs),
});

/** `source`: who knows a node's usage. `now`: milliseconds of the cluster's clock. */
export function metricsApi(source: (node: string) => UsageSource, now: () => number): ComputedApi {
  const nodes: ComputedResource = {
    resource: info('nodes', 'NodeMetrics', false),
    schema: schema('What a node uses.', { usage: usageSchema }),
    of: { group: '', resource: 'nodes' },
    missing: 'nodemetrics',
    make: (objects) =>
      Promise.all(
        objects.map(async (object) => {
          const name = object.metadata['name'] as string;
          const usage = await source(name).node(name);
          if (usage === undefined) return undefined;
          return { metadata: metadataOf(object, now()), ...measured(usage), usage: usageOf(usage) };
        }),
      ),
  };
  const pods: ComputedResource = {
    resource: info('pods', 'PodMetrics', true),
    schema: schema('What the containers of a pod use.', {
      containers: {
        type: 'array',
        items: { type: 'object', properties: { name: text('The name of the container.'), usage: usageSchema } },
      },
    }),
    of: { group: '', resource: 'pods' },
    missing: 'podmetrics',
    async make(objects) {
      const byNode = new Map<string, ReadonlyMap<string, PodUsage>>();
      const out: (KubeObjectLike | undefined)[] = [];
      for (const object of objects) {
        const node = (object as unknown as Pod).spec?.nodeName ?? '';
        let known = byNode.get(node);
        if (known === undefined) byNode.set(node, (known = node === '' ? new Map() : await source(node).pods(node)));
        const usage = known.get(`${object.metadata['namespace'] as string}/${object.metadata['name'] as string}`);
        out.push(
          usage === undefined
            ? undefined
            : {
                metadata: metadataOf(object, now()),
                ...measured(usage),
                containers: usage.containers.map((c) => ({ name: c.name, usage: usageOf(c) })),
              },
        );
      }
      return out;
    },
  };
  return { group: metricsGroup, version: metricsVersion, resources: [nodes, pods] };
}
