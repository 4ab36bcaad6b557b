/** The object of a request in the version that a webhook or policy asks for, and back again. */
import type { Catalog } from '../../api/catalog/catalog.ts';
import { convert } from '../../api/conversion/convert.ts';
import { apiVersionOf } from '../../api/object.ts';
import type { GroupVersionKind, KubeObject } from '../../api/object.ts';
import { DecodeError, strictDecodingMessage } from '../../api/schema/decode.ts';
import type { Clock } from '../../base/clock.ts';
import type { RegistriesImpl } from '../registry/registries.ts';
import type { TypeSupport } from '../registry/type-support.ts';
import { virtualTypes } from '../verbs/virtual-types.ts';

type Json = Record<string, unknown>;

export interface ObjectVersionsOptions {
  readonly registries: RegistriesImpl;
  readonly catalog: Catalog;
  readonly clock: Clock;
}

export class ObjectVersions {
  readonly #options: ObjectVersionsOptions;
  /** Types of what is not stored, by apiVersion and kind. */
  readonly #virtual = new Map<string, TypeSupport | undefined>();

  constructor(options: ObjectVersionsOptions) {
    this.#options = options;
  }

  /** The same object when it is in that version already; a promise only where a conversion webhook has to be asked. */
  convert(
    object: Json,
    resource: { readonly group: string; readonly resource: string },
    kind: GroupVersionKind,
  ): Json | Promise<Json> {
    const apiVersion = apiVersionOf(kind);
    if (object['apiVersion'] === apiVersion) return object;
    const conversion = this.#options.registries.conversion(resource.group, resource.resource);
    if (conversion === undefined) return convert(object as KubeObject, apiVersion);
    return conversion.convert([object as KubeObject], apiVersion).then(([converted]) => converted!);
  }

  /** The shape of a kind: that of its registry, or of the catalogue for options and bodies that are not stored. */
  types(
    resource: { readonly group: string; readonly resource: string },
    kind: GroupVersionKind,
  ): TypeSupport | undefined {
    const registry = this.#options.registries.registry(resource.group, resource.resource);
    const apiVersion = apiVersionOf(kind);
    const own = registry?.types(apiVersion);
    if (own !== undefined && own.kind === kind.kind) return own;
    const key = `${apiVersion} ${kind.kind}`;
    if (this.#virtual.has(key)) return this.#virtual.get(key);
    const { catalog, clock } = this.#options;
    const types = catalog.schemaForKind(kind) === undefined ? undefined : virtualTypes(catalog, clock, kind);
    this.#virtual.set(key, types);
    return types;
  }

  /** What somebody made of an object, as a clean one: pruned, defaulted, canonical. @throws {DecodeError} */
  complete(
    object: Json,
    resource: { readonly group: string; readonly resource: string },
    kind: GroupVersionKind,
  ): Json {
    const types = this.types(resource, kind);
    return types === undefined ? object : types.decode(object, { strict: false, owned: false }).object;
  }

  /** The same, of a built-in kind only with members that it has. @throws {DecodeError} */
  completeStrictly(
    object: Json,
    resource: { readonly group: string; readonly resource: string },
    kind: GroupVersionKind,
  ): Json {
    const types = this.types(resource, kind);
    if (types === undefined) return object;
    const { object: complete, strictErrors } = types.decode(object, { strict: true, owned: false });
    const custom = this.#options.registries.registry(resource.group, resource.resource)?.resource.custom === true;
    if (strictErrors.length > 0 && !custom) throw new DecodeError(strictDecodingMessage(strictErrors));
    return complete;
  }
}
