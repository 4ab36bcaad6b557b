/** What a static pod's manifest says, in a file or fetched by HTTP: the pod as this node runs it. */
import { createHash } from 'node:crypto';
import { loadCatalog } from '../../api/catalog/catalog.ts';
import { parseYaml } from '../../api/codec/yaml.ts';
import { apiObjectReference } from '../../api/helpers/pod-references.ts';
import { decode } from '../../api/schema/decode.ts';
import { applyDefaults } from '../../api/schema/defaults.ts';
import { formatTime } from '../../api/time.ts';
import type { Pod } from '../../api/types/index.gen.ts';

const hashAnnotation = 'kubernetes.io/config.hash';
const sourceAnnotation = 'kubernetes.io/config.source';
const seenAnnotation = 'kubernetes.io/config.seen';

/** A path or a URL. */
export interface ManifestSource {
  readonly kind: 'file' | 'http';
  readonly at: string;
}

/** The pod, or from HTTP also the list of pods. Throws with upstream's words when there is none in it. */
export async function parseManifest(
  text: Buffer,
  source: ManifestSource,
  nodeName: string,
  now: number,
): Promise<Pod[]> {
  const { value } = await parseYaml(text);
  const { kind, apiVersion, items } = (value ?? {}) as { kind?: unknown; apiVersion?: unknown; items?: unknown };
  if (source.kind === 'http' && kind === 'PodList' && apiVersion === 'v1')
    return (Array.isArray(items) ? (items as unknown[]) : []).map((item) => podOf(item, source, nodeName, now));
  if (kind !== 'Pod' || apiVersion !== 'v1') throw new Error(`invalid pod: ${JSON.stringify({ apiVersion, kind })}`);
  return [podOf(value, source, nodeName, now)];
}

function podOf(value: unknown, source: ManifestSource, nodeName: string, now: number): Pod {
  const catalog = loadCatalog();
  const schema = catalog.schema(catalog.resource('', 'v1', 'pods')!.definition);
  const { object } = decode(schema, value, {});
  applyDefaults(schema, object, { now: () => formatTime(now) });
  const pod = object as unknown as Pod;
  const name = pod.metadata?.name ?? '';
  if (name === '') throw new Error('invalid pod: name is needed for the pod');
  const { spec } = pod;
  if (spec === undefined || (spec.containers ?? []).length === 0)
    throw new Error('invalid pod: spec.containers: Required value');
  const reference = apiObjectReference(pod);
  if (reference !== undefined) throw new Error(`static pods may not reference ${reference}`);
  const file = source.kind === 'file';
  // The same manifest gives the same pod after a restart, and another content another one.
  const uid =
    pod.metadata.uid ??
    createHash('md5')
      .update(JSON.stringify(value))
      .update(file ? `host:${nodeName}file:${source.at}` : `url:${source.at}`)
      .digest('hex');
  return {
    ...pod,
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      ...pod.metadata,
      name: `${name}-${nodeName.toLowerCase()}`,
      namespace: pod.metadata.namespace ?? 'default',
      uid,
      annotations: {
        ...pod.metadata.annotations,
        [hashAnnotation]: uid,
        [seenAnnotation]: new Date(now).toISOString().replace('Z', '000000Z'),
        [sourceAnnotation]: source.kind,
      },
    },
    spec: {
      ...spec,
      nodeName,
      // A node's trouble does not end what stands in its files.
      ...(file && {
        tolerations: [
          ...(spec.tolerations ?? []).filter((t) => !(t.effect === 'NoExecute' && t.key === undefined)),
          { operator: 'Exists', effect: 'NoExecute' },
        ],
      }),
    },
    status: { phase: 'Pending' },
  };
}
