/** Server-side apply's bookkeeping for the endpoints of a kind: one `FieldManager` for the object and one a subresource. */
import { FieldManager } from '../../api/apply/managed-fields.ts';
import type { Catalog } from '../../api/catalog/catalog.ts';
import { convert } from '../../api/conversion/convert.ts';
import { apiVersionOf, parseApiVersion } from '../../api/object.ts';
import type { KubeObject } from '../../api/object.ts';
import type { ObjectSchema } from '../../api/schema/schema.ts';
import { formatTime } from '../../api/time.ts';
import type { FieldManagingFactory, FieldManagingFacts } from './builtin-types.ts';
import type { FieldManagerRequest, FieldManaging } from './type-support.ts';

class Managing implements FieldManaging {
  readonly #facts: FieldManagingFacts;
  readonly #catalog: Catalog;
  readonly #managers = new Map<string, FieldManager>();
  #second = 0;
  #time = '';

  constructor(facts: FieldManagingFacts, catalog: Catalog) {
    this.#facts = facts;
    this.#catalog = catalog;
  }

  #manager(subresource: string): FieldManager {
    let manager = this.#managers.get(subresource);
    if (manager === undefined) {
      const { resource, schema } = this.#facts;
      const apiVersion = apiVersionOf(resource);
      const { kind, custom } = resource;
      manager = new FieldManager({
        schema: schema!,
        apiVersion,
        kind,
        subresource,
        resetFields: { [apiVersion]: this.#facts.resetFields(subresource) },
        convert: (object, to) => {
          if (custom) return { ...object, apiVersion: to };
          return this.#schemaFor(to, kind) === undefined ? undefined : convert(object, to);
        },
        schemaFor: (version) => (custom ? undefined : this.#schemaFor(version, kind)),
        hubApiVersion: apiVersionOf({
          group: resource.storageGroup ?? resource.group,
          version: resource.storageVersion,
        }),
        schemaMayChange: custom,
      });
      this.#managers.set(subresource, manager);
    }
    return manager;
  }

  #schemaFor(apiVersion: string, kind: string): ObjectSchema | undefined {
    const gv = parseApiVersion(apiVersion);
    return gv === undefined ? undefined : this.#catalog.schemaForKind({ ...gv, kind });
  }

  #now(ms: number): string {
    const second = Math.floor(ms / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#time = formatTime(ms);
    }
    return this.#time;
  }

  update(live: KubeObject | undefined, next: KubeObject, request: FieldManagerRequest): KubeObject {
    return this.#manager(request.subresource).updateObject(live, next, request.manager, this.#now(request.now));
  }

  apply(
    live: KubeObject | undefined,
    patch: Record<string, unknown>,
    request: FieldManagerRequest & { readonly force: boolean },
  ): KubeObject {
    const config = patch as unknown as KubeObject;
    const manager = this.#manager(request.subresource);
    return manager.applyObject(live, config, request.manager, request.force, this.#now(request.now));
  }
}

export function fieldManagingFactory(catalog: Catalog): FieldManagingFactory {
  return (facts) => new Managing(facts, catalog);
}
