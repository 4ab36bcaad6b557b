/** Writes bootstrap objects through the registries under the loopback identity, as an API server's own requests. */
import type { KubeObject } from '../../api/object.ts';
import { StatusError } from '../../api/status.ts';
import { deleteIfPresent, loopbackContext, loopbackCreateOptions, loopbackUpdateOptions } from '../loopback.ts';
import type { Registries, Registry } from '../registry.ts';

export class BootstrapWriter {
  readonly #registries: Registries;

  constructor(registries: Registries) {
    this.#registries = registries;
  }

  #registry(group: string, resource: string): Registry {
    const registry = this.#registries.registry(group, resource);
    if (registry === undefined) throw new Error(`no registry serves ${resource}.${group}`);
    return registry;
  }

  serves(group: string, resource: string): boolean {
    return this.#registries.registry(group, resource) !== undefined;
  }

  /** The object as the cache has it. */
  current(group: string, resource: string, metadata: KubeObject['metadata']): KubeObject | undefined {
    const found = this.#registries.cachedGet(group, resource, metadata.namespace ?? '', metadata.name ?? '');
    return found?.object() as KubeObject | undefined;
  }

  /** Creates the object; false when it exists already (another API server was faster). */
  async create(group: string, resource: string, object: KubeObject): Promise<boolean> {
    const registry = this.#registry(group, resource);
    const namespace = object.metadata.namespace ?? '';
    const ctx = loopbackContext({
      verb: 'create',
      resource: registry.resource,
      namespace,
      name: object.metadata.name ?? '',
    });
    try {
      await registry.create(ctx, namespace, object, loopbackCreateOptions);
      return true;
    } catch (error) {
      if (error instanceof StatusError && error.reason === 'AlreadyExists') return false;
      throw error;
    }
  }

  /** Replaces the object by what `change` makes of the newest one; undefined leaves it. */
  async update(
    group: string,
    resource: string,
    metadata: KubeObject['metadata'],
    change: (current: KubeObject) => KubeObject,
    subresource = '',
  ): Promise<void> {
    const registry = this.#registry(group, resource);
    const namespace = metadata.namespace ?? '';
    const name = metadata.name ?? '';
    const ctx = loopbackContext({ verb: 'update', resource: registry.resource, namespace, name, subresource });
    await registry.update(
      ctx,
      namespace,
      name,
      (current) => {
        if (current === undefined) throw new Error(`${resource} ${namespace}/${name} is gone`);
        return change(current);
      },
      loopbackUpdateOptions(subresource),
    );
  }

  async delete(group: string, resource: string, metadata: KubeObject['metadata']): Promise<void> {
    const registry = this.#registry(group, resource);
    await deleteIfPresent(registry, metadata.namespace ?? '', metadata.name ?? '');
  }
}
