/** `TypeSupport` of built-in kinds, made of the catalogue's schema on first use. */
import type { Clock } from '../../base/clock.ts';
import type { Catalog } from '../../api/catalog/catalog.ts';
import type { ResourceInfo } from '../../api/catalog/resource.ts';
import { apiVersionOf } from '../../api/object.ts';
import type { KubeObject } from '../../api/object.ts';
import { applyStrategicMergePatch } from '../../api/patch/strategic-merge.ts';
import { canonicalize } from '../../api/schema/canonicalize.ts';
import { decode } from '../../api/schema/decode.ts';
import { applyDefaults } from '../../api/schema/defaults.ts';
import type { ObjectSchema } from '../../api/schema/schema.ts';
import { formatTime } from '../../api/time.ts';
import type { DecodedObject, DecodeRequest, FieldManaging, TypeSupport } from './type-support.ts';

/** What server-side apply's bookkeeping for a kind is made of. */
export interface FieldManagingFacts {
  readonly resource: ResourceInfo;
  readonly schema: ObjectSchema | undefined;
  /** Paths that writes through an endpoint reset (upstream GetResetFields); '' is the object itself. */
  resetFields(subresource: string): readonly (readonly string[])[];
  /** Clean object of a raw one: pruned, defaulted, canonical. */
  complete(object: KubeObject): KubeObject;
  /** The versions of a custom resource. */
  readonly versions?: CustomVersions;
}

/** What the versions of a custom resource know of each other. */
export interface CustomVersions {
  /** undefined: there is no such version. */
  schema(apiVersion: string): ObjectSchema | undefined;
  /** API versions that have a subresource of that name. */
  withSubresource(name: string): readonly string[];
  /** By the conversion webhook; undefined where the versions differ in their name alone. */
  readonly convert: ((object: KubeObject, apiVersion: string) => Promise<KubeObject>) | undefined;
}

export type FieldManagingFactory = (facts: FieldManagingFacts) => FieldManaging;

export interface BuiltinTypeOptions {
  readonly catalog: Catalog;
  readonly clock: Clock;
  readonly resource: ResourceInfo;
  readonly fieldManaging: FieldManagingFactory;
  readonly resetFields: (subresource: string) => readonly (readonly string[])[];
}

export class BuiltinTypeSupport implements TypeSupport {
  readonly apiVersion: string;
  readonly kind: string;
  readonly #options: BuiltinTypeOptions;
  readonly #defaults: { now: () => string };
  #schema: ObjectSchema | undefined;
  #fields: FieldManaging | undefined;

  constructor(options: BuiltinTypeOptions) {
    this.#options = options;
    this.apiVersion = apiVersionOf(options.resource);
    this.kind = options.resource.kind;
    this.#defaults = { now: () => formatTime(options.clock.now()) };
  }

  get schema(): ObjectSchema {
    return (this.#schema ??= this.#options.catalog.schema(this.#options.resource.definition));
  }

  get fields(): FieldManaging {
    const { resource, resetFields } = this.#options;
    return (this.#fields ??= this.#options.fieldManaging({
      resource,
      schema: this.schema,
      resetFields,
      complete: (object) => this.decode(object, { strict: false, owned: false }).object,
    }));
  }

  decode(input: unknown, request: DecodeRequest): DecodedObject {
    const { object, strictErrors, emptyLists } = decode(this.schema, input, request);
    object['kind'] = this.kind;
    object['apiVersion'] = this.apiVersion;
    applyDefaults(this.schema, object, this.#defaults);
    const metadata = (object['metadata'] ??= {}) as { managedFields?: unknown[] };
    // An empty list asks for a new start, as one empty entry does, and would not outlast the canonical form.
    if (metadata.managedFields?.length === 0) metadata.managedFields.push({});
    return { object: canonicalize(this.schema, object) as KubeObject, strictErrors, emptyLists };
  }

  canonicalize(object: KubeObject, previous?: KubeObject): KubeObject {
    return canonicalize(this.schema, object, previous);
  }

  strategicMerge(document: KubeObject, patch: unknown): KubeObject {
    return applyStrategicMergePatch(document, patch, this.schema);
  }
}
