/** Server-side apply's bookkeeping for the endpoints of a kind: one `FieldManager` for the object and one a subresource. */
import { FieldManager } from '../../api/apply/managed-fields.ts';
import { stringifyJson } from '../../api/codec/json.ts';
import type { Catalog } from '../../api/catalog/catalog.ts';
import { convert } from '../../api/conversion/convert.ts';
import { apiVersionOf, parseApiVersion } from '../../api/object.ts';
import type { KubeObject } from '../../api/object.ts';
import type { ObjectSchema } from '../../api/schema/schema.ts';
import { formatTime } from '../../api/time.ts';
import type { FieldManagingFactory, FieldManagingFacts } from './builtin-types.ts';
import type { FieldManagerRequest, FieldManaging } from './type-support.ts';

/** Objects that one write may have converted. */
const maxConversions = 64;

class ConversionNeeded extends Error {
  readonly object: KubeObject;
  readonly to: string;
  readonly key: string;

  constructor(object: KubeObject, to: string, key: string) {
    super('an object has to be converted first');
    this.object = object;
    this.to = to;
    this.key = key;
  }
}

class Managing implements FieldManaging {
  readonly #facts: FieldManagingFacts;
  readonly #catalog: Catalog;
  readonly #managers = new Map<string, FieldManager>();
  /** What the conversion webhook made of objects, while the bookkeeping runs. */
  #converted: Map<string, KubeObject> | undefined;
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
        resetFields: this.#resetFields(subresource, apiVersion),
        convert: (object, to) => {
          if (custom) return this.#convertCustom(object, to);
          return this.#schemaFor(to, kind) === undefined ? undefined : convert(object, to);
        },
        schemaFor: (version) => (custom ? this.#facts.versions?.schema(version) : this.#schemaFor(version, kind)),
        hubApiVersion: apiVersionOf({
          group: resource.storageGroup ?? resource.group,
          version: resource.storageVersion,
        }),
        schemaMayChange: custom,
        gone: (version) => {
          const { versions } = this.#facts;
          return custom && versions !== undefined && versions.schema(version) === undefined;
        },
      });
      this.#managers.set(subresource, manager);
    }
    return manager;
  }

  /** What an endpoint resets belongs to none of its writers, whatever version the others write in. */
  #resetFields(subresource: string, apiVersion: string): Record<string, readonly (readonly string[])[]> {
    const { resource, versions } = this.#facts;
    const own = this.#facts.resetFields(subresource);
    // The objects of a CRD reset their status in the request's version alone, as upstream has it.
    if (resource.custom && subresource === '') return { [apiVersion]: own };
    const others = resource.custom
      ? (versions?.withSubresource(subresource) ?? [])
      : this.#catalog.resources
          .filter((r) => r.group === resource.group && r.resource === resource.resource)
          .map(apiVersionOf);
    return Object.fromEntries([...others, apiVersion].map((version) => [version, own]));
  }

  /** An object in another version of a custom resource; undefined where there is none such any more. */
  #convertCustom(object: KubeObject, to: string): KubeObject | undefined {
    const { versions } = this.#facts;
    if (versions === undefined) return { ...object, apiVersion: to };
    if (versions.schema(to) === undefined) return undefined;
    if (versions.convert === undefined || this.#converted === undefined || object.metadata.name === undefined)
      return { ...object, apiVersion: to };
    const key = `${to}\n${stringifyJson(object)}`;
    const known = this.#converted.get(key);
    if (known === undefined) throw new ConversionNeeded(object, to, key);
    return known;
  }

  /**
   * Runs the bookkeeping. It cannot wait, so where it comes upon an object that the conversion webhook has to convert, it is
   * begun anew once that is done.
   */
  #run(work: () => KubeObject): KubeObject | Promise<KubeObject> {
    const convert = this.#facts.versions?.convert;
    if (convert === undefined) return work();
    const converted = new Map<string, KubeObject>();
    const attempt = (): KubeObject | ConversionNeeded => {
      this.#converted = converted;
      try {
        return work();
      } catch (error) {
        if (error instanceof ConversionNeeded) return error;
        throw error;
      } finally {
        this.#converted = undefined;
      }
    };
    const first = attempt();
    if (!(first instanceof ConversionNeeded)) return first;
    return (async () => {
      let result: KubeObject | ConversionNeeded = first;
      for (let i = 0; result instanceof ConversionNeeded; i++) {
        if (i >= maxConversions) throw new Error('managedFields need too many conversions');
        converted.set(result.key, await convert(result.object, result.to));
        result = attempt();
      }
      return result;
    })();
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

  update(
    live: KubeObject | undefined,
    next: KubeObject,
    request: FieldManagerRequest,
  ): KubeObject | Promise<KubeObject> {
    const manager = this.#manager(request.subresource);
    return this.#run(() => manager.updateObject(live, next, request.manager, this.#now(request.now)));
  }

  apply(
    live: KubeObject | undefined,
    patch: Record<string, unknown>,
    request: FieldManagerRequest & { readonly force: boolean },
  ): KubeObject | Promise<KubeObject> {
    const config = patch as unknown as KubeObject;
    const manager = this.#manager(request.subresource);
    return this.#run(() => manager.applyObject(live, config, request.manager, request.force, this.#now(request.now)));
  }
}

export function fieldManagingFactory(catalog: Catalog): FieldManagingFactory {
  return (facts) => new Managing(facts, catalog);
}
