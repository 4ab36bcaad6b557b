/** Waiting for a state of the cluster by a watch, never by sleeping. */
import type { KubeObject } from '../../src/api/object.ts';
import type { ResourceClient } from '../../src/client/client.ts';

export interface Where {
  readonly namespace?: string;
  readonly name?: string;
  readonly labelSelector?: string;
  readonly timeoutMs?: number;
}

const key = (o: KubeObject): string => `${o.metadata.namespace ?? ''}/${o.metadata.name ?? ''}`;

/**
 * Resolves with what `until` gives for the objects there are, as soon as that is neither false nor undefined.
 * @throws when it does not happen in 20 s (of real time), with the objects as they last were
 */
export async function waitFor<T extends KubeObject, R>(
  client: ResourceClient<T>,
  where: Where,
  until: (objects: readonly T[]) => R | false | undefined,
): Promise<R> {
  const deadline = new AbortController();
  const objects = new Map<string, T>();
  const timer = setTimeout(() => deadline.abort(), where.timeoutMs ?? 20_000);
  const selector = {
    ...(where.namespace === undefined ? {} : { namespace: where.namespace }),
    ...(where.labelSelector === undefined ? {} : { labelSelector: where.labelSelector }),
    ...(where.name === undefined ? {} : { fieldSelector: `metadata.name=${where.name}` }),
  };
  try {
    const list = await client.list(selector);
    for (const o of list.items) objects.set(key(o), o);
    const first = until([...objects.values()]);
    if (first !== false && first !== undefined) return first;
    const watch = await client.watch({
      ...selector,
      resourceVersion: list.metadata.resourceVersion!,
      signal: deadline.signal,
    });
    try {
      for await (const batch of watch)
        for (const event of batch) {
          if (event.type === 'ADDED' || event.type === 'MODIFIED') objects.set(key(event.object), event.object);
          else if (event.type === 'DELETED') objects.delete(key(event.object));
          const found = until([...objects.values()]);
          if (found !== false && found !== undefined) return found;
        }
    } catch (e) {
      if (!deadline.signal.aborted) throw e;
    } finally {
      watch.close();
    }
    throw new Error(
      `waited in vain for ${client.ref.resource} ${JSON.stringify(selector)}: ${JSON.stringify([...objects.values()], undefined, 1)}`,
    );
  } finally {
    clearTimeout(timer);
  }
}

/** Resolves with the one object of that name when `until` holds for it. */
export function waitForOne<T extends KubeObject>(
  client: ResourceClient<T>,
  name: string,
  namespace: string | undefined,
  until: (object: T) => boolean,
): Promise<T> {
  return waitFor(client, { name, ...(namespace === undefined ? {} : { namespace }) }, (objects) =>
    objects.find((o) => o.metadata.name === name && until(o)),
  );
}

/** Resolves when no object of that name is left. */
export async function waitForNone<T extends KubeObject>(
  client: ResourceClient<T>,
  name: string,
  namespace: string | undefined,
): Promise<void> {
  await waitFor(client, { name, ...(namespace === undefined ? {} : { namespace }) }, (objects) => objects.length === 0);
}
