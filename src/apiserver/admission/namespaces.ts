/** The namespace of a request: from the cache, or from the store where another API server has just made it. */
import type { Namespace } from '../../api/types/core-v1.gen.ts';
import { loopbackContext } from '../loopback.ts';
import type { Registries } from '../registry.ts';
import { cachedObject } from './attributes.ts';

export class Namespaces {
  readonly #registries: Registries;

  constructor(registries: Registries) {
    this.#registries = registries;
  }

  /** @throws {StatusError} 404 (also as a rejection) */
  get(name: string): Namespace | Promise<Namespace> {
    return cachedObject<Namespace>(this.#registries, '', 'namespaces', '', name) ?? this.#live(name);
  }

  async #live(name: string): Promise<Namespace> {
    const registry = this.#registries.registry('', 'namespaces')!;
    const ctx = loopbackContext({ verb: 'get', resource: registry.resource, name });
    return (await registry.get(ctx, '', name, '')).object() as unknown as Namespace;
  }
}
