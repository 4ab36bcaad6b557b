/** PartialObjectMetadata and its list (meta.k8s.io): an object with nothing but its type and metadata. */
import type { KubeObjectLike } from '../request.ts';
import type { StoredObject } from '../storage/codec.ts';

const templateGeneration = 'deprecated.daemonset.template.generation';

/** A DaemonSet has this annotation in `apps/v1` alone. */
function withoutTemplateGeneration(object: KubeObjectLike): KubeObjectLike['metadata'] {
  const { annotations, ...metadata } = object.metadata;
  const { [templateGeneration]: _, ...rest } = annotations as Record<string, string>;
  return Object.keys(rest).length === 0 ? metadata : { ...object.metadata, annotations: rest };
}

/** The metadata-only form of an object. `version` is that of meta.k8s.io. */
export function partialMetadata(object: KubeObjectLike, version: 'v1' | 'v1beta1'): KubeObjectLike {
  const annotations = object.metadata['annotations'] as Record<string, string> | undefined;
  const stays = annotations?.[templateGeneration] === undefined;
  const metadata = stays ? object.metadata : withoutTemplateGeneration(object);
  return { kind: 'PartialObjectMetadata', apiVersion: `meta.k8s.io/${version}`, metadata };
}

const generationMark = Buffer.from(templateGeneration, 'latin1');

/** Whether the metadata of a stored object may not be shown as it is, so that it has to be looked at. */
export function mayHideMetadata(stored: StoredObject): boolean {
  const { kind, custom } = stored.layout;
  return (kind === 'DaemonSet' || custom) && stored.bytes.includes(generationMark);
}
