/**
 * What a controller has written of slices and not yet seen in its cache. Before it has seen them, it does not compute the next
 * state from an old one.
 */
import type { EndpointSlice } from '../../api/types/index.gen.ts';
import type { Lister } from '../../client/lister.ts';
import { compareResourceVersions } from '../../client/resource-version.ts';

interface Expected {
  /** Of the last write; undefined: deleted. */
  version: string | undefined;
  uid: string | undefined;
}

export class SliceTracker {
  readonly #services = new Map<string, Map<string, Expected>>();

  #service(key: string): Map<string, Expected> {
    let slices = this.#services.get(key);
    if (slices === undefined) {
      slices = new Map();
      this.#services.set(key, slices);
    }
    return slices;
  }

  wrote(service: string, slice: EndpointSlice): void {
    this.#service(service).set(slice.metadata.name!, {
      version: slice.metadata.resourceVersion,
      uid: slice.metadata.uid,
    });
  }

  deleted(service: string, slice: EndpointSlice): void {
    this.#service(service).set(slice.metadata.name!, { version: undefined, uid: slice.metadata.uid });
  }

  /** True when the cache is behind what was written. What the cache has caught up with is forgotten. */
  stale(service: string, namespace: string, cache: Lister<EndpointSlice>): boolean {
    const slices = this.#services.get(service);
    if (slices === undefined) return false;
    for (const [name, expected] of slices) {
      const cached = cache.get(name, namespace);
      const seen =
        expected.version === undefined
          ? cached?.metadata.uid !== expected.uid
          : cached !== undefined && compareResourceVersions(cached.metadata.resourceVersion, expected.version) >= 0;
      if (!seen) return true;
      slices.delete(name);
    }
    this.#services.delete(service);
    return false;
  }

  /** True when an event shows a slice as we left it, or as it was before: nothing to do for it. */
  expected(service: string, slice: EndpointSlice): boolean {
    const e = this.#services.get(service)?.get(slice.metadata.name!);
    if (e === undefined) return false;
    return e.version === undefined
      ? e.uid === slice.metadata.uid
      : compareResourceVersions(slice.metadata.resourceVersion, e.version) <= 0;
  }

  /** A slice that was to exist has gone: its absence is no longer a sign of an old cache. */
  gone(service: string, slice: EndpointSlice): void {
    const slices = this.#services.get(service);
    if (slices?.get(slice.metadata.name!)?.uid === slice.metadata.uid) slices?.delete(slice.metadata.name!);
  }

  forget(service: string): void {
    this.#services.delete(service);
  }
}
