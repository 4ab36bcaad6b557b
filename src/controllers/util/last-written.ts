/**
 * `LastWritten`: what a controller has itself written of its objects, while its informer is still behind. Working from that instead
 * of the cache avoids conflicts and decisions made twice.
 */
import type { KubeObject } from '../../api/object.ts';
import { compareResourceVersions } from '../../client/resource-version.ts';

export class LastWritten<T extends KubeObject> {
  /** By uid. */
  readonly #objects = new Map<string, T>();

  /** The newer of what the cache has and what was written. */
  newest(cached: T): T {
    const uid = cached.metadata.uid!;
    const written = this.#objects.get(uid);
    if (written === undefined) return cached;
    if (compareResourceVersions(cached.metadata.resourceVersion, written.metadata.resourceVersion) < 0) return written;
    this.#objects.delete(uid);
    return cached;
  }

  /** `object`: as the server answered. */
  wrote(object: T): void {
    this.#objects.set(object.metadata.uid!, object);
  }

  /** The object is gone. */
  forget(uid: string | undefined): void {
    if (uid !== undefined) this.#objects.delete(uid);
  }
}
