/** Helpers that every admission plugin uses: refusals worded as upstream's, and copies of the objects they change. */
import type { ObjectMeta } from '../../api/object.ts';
import type { StatusError } from '../../api/status.ts';
import { forbidden } from '../../api/status.ts';
import type { AdmissionAttributes } from '../context.ts';
import type { Committed } from '../request.ts';
import type { Registries } from '../registry.ts';

type Json = Record<string, unknown>;

export function metadataOf(object: Json | undefined): ObjectMeta {
  return (object?.['metadata'] ?? {}) as ObjectMeta;
}

/** 403 about the request's object: `pods "x" is forbidden: why`. A nameless object goes by generateName, then Unknown. */
export function refuse(a: AdmissionAttributes, why: string): StatusError {
  const metadata = metadataOf(a.object);
  const name = a.name || metadata.name || metadata.generateName || 'Unknown';
  return forbidden({ group: a.group, resource: a.resource }, name, why);
}

/** The object with a changed member of `spec`. */
export function withSpec(object: Json, change: Json): Json {
  return { ...object, spec: { ...(object['spec'] as Json | undefined), ...change } };
}

/** The object with a changed member of `metadata`. */
export function withMetadata(object: Json, change: Json): Json {
  return { ...object, metadata: { ...(object['metadata'] as Json | undefined), ...change } };
}

/** A cached object, typed by the caller. */
export function cachedObject<T>(
  registries: Registries,
  group: string,
  resource: string,
  namespace: string,
  name: string,
): T | undefined {
  if (name === '') return undefined;
  return registries.cachedGet(group, resource, namespace, name)?.object() as T | undefined;
}

/** All cached objects of a namespace (or of the cluster), typed by the caller. */
export function* cachedObjects<T>(
  registries: Registries,
  group: string,
  resource: string,
  namespace?: string,
): Generator<T> {
  if (registries.registry(group, resource) === undefined) return;
  for (const committed of registries.cached(group, resource, namespace) as Iterable<Committed>)
    yield committed.object() as T;
}
