/**
 * Adopting and releasing: a controller takes orphans that its selector matches and lets go of what it no longer matches, by
 * patches that carry the object's uid (upstream's ControllerRefManager).
 */
import type { Selector } from '../../api/selector.ts';
import { controllerOf, newControllerRef } from '../../api/helpers/owner-references.ts';
import type { KubeObject } from '../../api/object.ts';
import type { ResourceClient } from '../../client/client.ts';
import { isInvalid, isNotFound } from '../../client/errors.ts';
import type { Lister } from '../../client/lister.ts';
import type { TypedRef } from '../../client/resources.ts';

export interface ClaimOptions<T extends KubeObject> {
  /** The would-be owner, from the cache. */
  readonly owner: KubeObject;
  readonly ownerRef: TypedRef;
  /** Reads the owner freshly before the first adoption. */
  readonly fresh: () => Promise<KubeObject>;
  readonly selector: Selector;
  /** Further condition for a claim. */
  readonly filter?: (object: T) => boolean;
  /** Client of the claimed objects. */
  readonly client: ResourceClient<T>;
  readonly objects: Iterable<T>;
  /** Finalizers that adopted objects get and released ones lose. */
  readonly finalizers?: readonly string[];
}

/** Those of `objects` that the owner controls now. Throws the first error after trying all. */
export async function claimObjects<T extends KubeObject>(o: ClaimOptions<T>): Promise<T[]> {
  const claimed: T[] = [];
  const errors: unknown[] = [];
  const uid = o.owner.metadata.uid;
  const deleting = o.owner.metadata.deletionTimestamp !== undefined;
  const matches = (x: T): boolean => o.selector.matches(x.metadata.labels) && (o.filter?.(x) ?? true);
  let mayAdopt: Promise<void> | undefined;
  for (const object of o.objects) {
    const ref = controllerOf(object);
    try {
      if (ref !== undefined) {
        if (ref.uid !== uid) continue;
        if (matches(object)) claimed.push(object);
        else if (!deleting) await release(o, object);
        continue;
      }
      if (deleting || object.metadata.deletionTimestamp !== undefined) continue;
      if (o.owner.metadata.namespace !== object.metadata.namespace || !matches(object)) continue;
      mayAdopt ??= recheck(o);
      await mayAdopt;
      claimed.push(await adopt(o, object));
    } catch (error) {
      if (!isNotFound(error)) errors.push(error);
    }
  }
  if (errors.length > 0) throw errors[0];
  return claimed;
}

/** True when the cache does not show yet that the owner controls all of `claimed`. */
export function behindClaims<T extends KubeObject>(
  owner: KubeObject,
  claimed: readonly T[],
  cache: Lister<T>,
): boolean {
  return claimed.some(({ metadata: { name, namespace, uid } }) => {
    const cached = cache.get(name!, namespace);
    return cached !== undefined && cached.metadata.uid === uid && controllerOf(cached)?.uid !== owner.metadata.uid;
  });
}

async function recheck<T extends KubeObject>(o: ClaimOptions<T>): Promise<void> {
  const { kind } = o.ownerRef;
  const { namespace, name, uid } = o.owner.metadata;
  const fresh = await o.fresh();
  if (fresh.metadata.uid !== uid) {
    throw new Error(`original ${kind} ${namespace}/${name} is gone: got uid ${fresh.metadata.uid}, wanted ${uid}`);
  }
  if (fresh.metadata.deletionTimestamp !== undefined) {
    throw new Error(`${namespace}/${name} has just been deleted at ${fresh.metadata.deletionTimestamp}`);
  }
}

function adopt<T extends KubeObject>(o: ClaimOptions<T>, object: T): Promise<T> {
  const metadata: Record<string, unknown> = {
    uid: object.metadata.uid,
    ownerReferences: [newControllerRef(o.owner, o.ownerRef)],
  };
  if (o.finalizers !== undefined && o.finalizers.length > 0) metadata['finalizers'] = o.finalizers;
  return o.client.patch(object.metadata.name!, object.metadata.namespace, 'strategic', { metadata });
}

async function release<T extends KubeObject>(o: ClaimOptions<T>, object: T): Promise<void> {
  const metadata: Record<string, unknown> = {
    uid: object.metadata.uid,
    ownerReferences: [{ $patch: 'delete', uid: o.owner.metadata.uid }],
  };
  if (o.finalizers !== undefined && o.finalizers.length > 0) {
    metadata['$deleteFromPrimitiveList/finalizers'] = o.finalizers;
  }
  try {
    await o.client.patch(object.metadata.name!, object.metadata.namespace, 'strategic', { metadata });
  } catch (error) {
    // Gone, or replaced by another of the same name: nothing to release.
    if (!isNotFound(error) && !isInvalid(error)) throw error;
  }
}
