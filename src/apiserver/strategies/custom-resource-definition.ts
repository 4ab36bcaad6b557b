/** CustomResourceDefinitions: the storage version is remembered, status belongs to the server's own controllers. */
import { semanticEqual } from '../../api/helpers/deep-equal.ts';
import type { KubeObject } from '../../api/object.ts';
import { isKnownFormat } from '../../api/schema/formats.ts';
import type { JSONSchemaProps } from '../../api/schema/json-schema.ts';
import type { ObjectSchema } from '../../api/schema/schema.ts';
import type { CustomResourceDefinition } from '../../api/types/index.gen.ts';
import type { Draft, ResourceStrategies } from '../strategy.ts';
import {
  validateCustomResourceDefinition,
  validateCustomResourceDefinitionStatusUpdate,
  validateCustomResourceDefinitionUpdate,
} from '../validation/custom-resource-definition.ts';

const typed = (object: KubeObject): CustomResourceDefinition => object as unknown as CustomResourceDefinition;

/** The status with the version marked for storage among those that were ever stored. */
function withStorageVersion(object: Draft, status: CustomResourceDefinition['status']): void {
  const storage = typed(object).spec?.versions?.find((v) => v.storage)?.name;
  const stored = status?.storedVersions ?? [];
  object['status'] = {
    conditions: status?.conditions ?? null,
    acceptedNames: status?.acceptedNames ?? { plural: '', kind: '' },
    storedVersions: storage === undefined || stored.includes(storage) ? stored : [...stored, storage],
    ...(status?.observedGeneration === undefined ? {} : { observedGeneration: status.observedGeneration }),
  };
}

const formatWarning = (format: string): string => `unrecognized format ${JSON.stringify(format)}`;

/** Formats in the schemas that nothing is checked against. */
function unrecognizedFormats(crd: CustomResourceDefinition): string[] {
  const found: string[] = [];
  const visit = (s: JSONSchemaProps): void => {
    if (s.format !== undefined && s.format !== '' && !isKnownFormat(s.format, [s.type ?? ''])) found.push(s.format);
    for (const part of [s.not, s.items, s.additionalProperties, s.additionalItems])
      for (const one of Array.isArray(part) ? part : [part]) if (typeof one === 'object') visit(one);
    for (const part of [s.allOf, s.anyOf, s.oneOf]) for (const one of part ?? []) visit(one);
    for (const part of [s.properties, s.patternProperties]) for (const one of Object.values(part ?? {})) visit(one);
  };
  for (const v of crd.spec.versions ?? []) if (v.schema?.openAPIV3Schema !== undefined) visit(v.schema.openAPIV3Schema);
  return found;
}

/** `objectMeta`: the schema of metadata, which embedded resources are judged by. */
export function customResourceDefinitionStrategies(objectMeta: () => ObjectSchema): ResourceStrategies {
  return {
    main: {
      prepareForCreate(_ctx, object) {
        object.metadata.generation = 1;
        withStorageVersion(object, undefined);
      },
      prepareForUpdate(_ctx, object, old) {
        if (!semanticEqual(object['spec'], old['spec']))
          object.metadata.generation = (old.metadata.generation ?? 0) + 1;
        withStorageVersion(object, typed(old).status);
      },
      validate: (_ctx, object) => validateCustomResourceDefinition(typed(object), objectMeta()),
      validateUpdate: (_ctx, object, old) =>
        validateCustomResourceDefinitionUpdate(typed(object), typed(old), objectMeta()),
      warningsOnCreate: (_ctx, object) => unrecognizedFormats(typed(object)).map(formatWarning),
      warningsOnUpdate(_ctx, object, old) {
        const known = new Set(unrecognizedFormats(typed(old)));
        return unrecognizedFormats(typed(object))
          .filter((f) => !known.has(f))
          .map(formatWarning);
      },
      allowUnconditionalUpdate: false,
      resetFields: [['status']],
    },
    subresources: {
      status: {
        prepareForUpdate(_ctx, object, old) {
          // Metadata is this endpoint's as well: the server's own controllers take their finalizer off by it.
          object['spec'] = old['spec'];
        },
        validateUpdate: (_ctx, object) => validateCustomResourceDefinitionStatusUpdate(typed(object)),
        allowUnconditionalUpdate: false,
        resetFields: [['spec']],
      },
    },
  };
}
