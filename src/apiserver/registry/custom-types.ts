/** `TypeSupport` of one version of a custom resource, made of the schema that its CRD gives. */
import type { Catalog } from '../../api/catalog/catalog.ts';
import type { ResourceInfo } from '../../api/catalog/resource.ts';
import type { FieldError, FieldErrorType } from '../../api/field-error.ts';
import { invalid } from '../../api/field-error.ts';
import { apiVersionOf } from '../../api/object.ts';
import type { KubeObject } from '../../api/object.ts';
import { share } from '../../api/schema/canonicalize.ts';
import { CelRules } from '../../api/schema/cel-rules.ts';
import { decodeCustom } from '../../api/schema/prune.ts';
import type { DecodeCustomOptions } from '../../api/schema/prune.ts';
import type { ObjectSchema } from '../../api/schema/schema.ts';
import {
  validateConstraints,
  validateEmbeddedResources,
  validateListSetsAndMaps,
  validateStructural,
} from '../../api/schema/validate-structural.ts';
import type { CustomVersions, FieldManagingFactory } from './builtin-types.ts';
import { validateEmbeddedMeta } from './object-meta.ts';
import { validateScalePaths } from './custom-scale.ts';
import type { DecodedObject, DecodeRequest, FieldManaging, ScalePaths, TypeSupport } from './type-support.ts';

export interface CustomTypeOptions {
  readonly catalog: Catalog;
  /** In this version. */
  readonly resource: ResourceInfo;
  /** With `preserveUnknown` where the CRD says so. Made when it is first needed: most definitions are idle. */
  readonly schema: () => ObjectSchema;
  readonly fieldManaging: FieldManagingFactory;
  readonly resetFields: (subresource: string) => readonly (readonly string[])[];
  readonly scale?: ScalePaths;
  readonly versions: CustomVersions;
}

/** Errors that keep CEL rules from being run: they rely on types, sizes and required members. */
const blocking: ReadonlySet<FieldErrorType> = new Set([
  'FieldValueNotSupported',
  'FieldValueRequired',
  'FieldValueTooLong',
  'FieldValueTooMany',
  'FieldValueTypeInvalid',
]);

const objectMetaName = 'io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta';

export class CustomTypeSupport implements TypeSupport {
  readonly apiVersion: string;
  readonly kind: string;
  readonly scale: ScalePaths | undefined;
  readonly #options: CustomTypeOptions;
  #fields: FieldManaging | undefined;
  #rules: { readonly cel: CelRules | undefined } | undefined;

  constructor(options: CustomTypeOptions) {
    this.#options = options;
    this.apiVersion = apiVersionOf(options.resource);
    this.kind = options.resource.kind;
    this.scale = options.scale;
  }

  get schema(): ObjectSchema {
    return this.#options.schema();
  }

  get fields(): FieldManaging {
    const { resource, resetFields } = this.#options;
    return (this.#fields ??= this.#options.fieldManaging({
      resource,
      schema: this.schema,
      resetFields,
      versions: this.#options.versions,
      complete: (object) => this.decode(object, { strict: false, owned: false }).object,
    }));
  }

  decode(input: unknown, request: DecodeRequest): DecodedObject {
    return this.#decode(input, { strict: request.strict, keepNulls: request.keepNulls });
  }

  stored(object: KubeObject): KubeObject {
    const read = this.#decode(object, { repair: true }).object;
    // Very old ones have none.
    return (read.metadata.generation ?? 0) === 0 ? { ...read, metadata: { ...read.metadata, generation: 1 } } : read;
  }

  converted(object: KubeObject): KubeObject {
    return this.#decode(object, { defaults: false }).object;
  }

  #decode(input: unknown, options: Omit<DecodeCustomOptions, 'objectMeta'>): DecodedObject {
    const objectMeta = this.#options.catalog.schema(objectMetaName);
    const { object, strictErrors } = decodeCustom(this.schema, input, { ...options, objectMeta });
    object['metadata'] ??= {};
    if (object['kind'] !== this.kind || object['apiVersion'] !== this.apiVersion) {
      const { kind: _kind, apiVersion: _apiVersion, ...rest } = object;
      return { object: { apiVersion: this.apiVersion, kind: this.kind, ...rest } as KubeObject, strictErrors };
    }
    return { object: object as KubeObject, strictErrors };
  }

  canonicalize(object: KubeObject, previous?: KubeObject): KubeObject {
    return previous === undefined ? object : share(object, previous);
  }

  /** A status is taken off when the object is created. */
  lacksDefaults(object: KubeObject): boolean {
    return object['status'] === undefined && this.schema.fields.get('status')?.default !== undefined;
  }

  /** The status by itself: what else is wrong does not keep it from being told. */
  #statusErrors(object: KubeObject, old: KubeObject | undefined): readonly FieldError[] {
    const constraints = this.schema.constraints?.properties?.get('status');
    if (constraints === undefined || object['status'] === undefined) return [];
    return validateConstraints(constraints, object['status'], old?.['status']).map((e) => ({
      ...e,
      field: e.field === '' || e.field === '<nil>' ? 'status' : `status.${e.field}`,
    }));
  }

  /** An object whose lists were wrong before may keep them so: the schema has come to be stricter. */
  #listErrors(object: KubeObject, old: KubeObject | undefined): readonly FieldError[] {
    const errors = validateListSetsAndMaps(this.schema, object);
    if (errors.length === 0 || old === undefined) return errors;
    return validateListSetsAndMaps(this.schema, old).length > 0 ? [] : errors;
  }

  validate(
    object: KubeObject,
    old: KubeObject | undefined,
    warn: (text: string) => void,
    subresource: string,
  ): readonly FieldError[] {
    const errors = [
      ...(subresource === 'status' ? this.#statusErrors(object, old) : validateStructural(this.schema, object, old)),
      ...(this.scale === undefined ? [] : validateScalePaths(this.scale, object, subresource)),
      ...(subresource === 'status' ? [] : validateEmbeddedResources(this.schema, object, validateEmbeddedMeta)),
      ...this.#listErrors(object, old),
    ];
    this.#rules ??= { cel: CelRules.of(this.schema) };
    const rules = this.#rules.cel;
    if (rules === undefined) return errors;
    if (errors.some((e) => blocking.has(e.type))) {
      const why =
        'some validation rules were not checked because the object was invalid; correct the existing errors to complete validation';
      errors.push(invalid('<nil>', null, why));
    } else errors.push(...rules.validate(object, old, { warn }));
    return errors;
  }
}
