/**
 * `OwnedPods`: the pods of one owner at a time, after adopting orphans that its selector matches and letting go of what it no longer
 * matches. Orphans are looked at only when there is a reason to.
 */
import type { KubeObject } from '../../api/object.ts';
import type { Selector } from '../../api/selector.ts';
import type { Pod } from '../../api/types/index.gen.ts';
import type { ResourceClient } from '../../client/client.ts';
import type { Informer } from '../../client/informer.ts';
import { keyOf } from '../../client/lister.ts';
import type { TypedRef } from '../../client/resources.ts';
import { behindClaims, claimObjects } from './claim.ts';
import { addPodControllerIndex, orphanKey, podControllerIndex } from './pods.ts';

export interface OwnedPodsOptions<T extends KubeObject> {
  readonly pods: Informer<Pod>;
  readonly podClient: ResourceClient<Pod>;
  readonly ref: TypedRef<T>;
  readonly ownerClient: ResourceClient<T>;
  /** Further condition for a pod to belong to an owner. */
  readonly filter?: (owner: T, pod: Pod) => boolean;
  /** Finalizers that adopted pods get and released ones lose. */
  readonly finalizers?: readonly string[];
}

export class OwnedPods<T extends KubeObject> {
  readonly #o: OwnedPodsOptions<T>;
  /** Keys of owners for which orphans have to be looked at. */
  readonly #unclaimed = new Set<string>();

  constructor(options: OwnedPodsOptions<T>) {
    this.#o = options;
    addPodControllerIndex(options.pods);
  }

  /** The owner is new or its selector has changed, or an orphan may match. */
  lookForOrphans(key: string): void {
    this.#unclaimed.add(key);
  }

  forget(key: string): void {
    this.#unclaimed.delete(key);
  }

  /** As the cache has it, nothing claimed. */
  cached(owner: T): Iterable<Pod> {
    return this.#o.pods.lister.byIndex(podControllerIndex, owner.metadata.uid!);
  }

  async of(owner: T, selector: Selector): Promise<Pod[]> {
    const { pods, podClient, ref, ownerClient, filter, finalizers } = this.#o;
    const key = keyOf(owner);
    const owned = [...this.cached(owner)];
    const belongs = (p: Pod): boolean => selector.matches(p.metadata.labels) && (filter?.(owner, p) ?? true);
    if (!this.#unclaimed.has(key) && owned.every(belongs)) return owned;
    const orphans = pods.lister.byIndex(podControllerIndex, orphanKey(owner.metadata.namespace));
    this.#unclaimed.delete(key);
    try {
      const claimed = await claimObjects({
        owner,
        ownerRef: ref,
        fresh: () => ownerClient.get(owner.metadata.name!, owner.metadata.namespace),
        selector,
        ...(filter === undefined ? {} : { filter: (p: Pod) => filter(owner, p) }),
        client: podClient,
        objects: [...owned, ...orphans],
        ...(finalizers === undefined ? {} : { finalizers }),
      });
      // Until the cache shows them as the owner's they would be missing the next time.
      if (behindClaims(owner, claimed, pods.lister)) this.#unclaimed.add(key);
      return claimed;
    } catch (error) {
      this.#unclaimed.add(key);
      throw error;
    }
  }
}
