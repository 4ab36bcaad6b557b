/** CustomResourceDefinitions: the storage version is remembered, status belongs to the server's own controllers. */
import { semanticEqual } from '../../api/helpers/deep-equal.ts';
import type { KubeObject } from '../../api/object.ts';
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
      allowUnconditionalUpdate: false,
      resetFields: [['status']],
    },
    subresources: {
      status: {
        prepareForUpdate(_ctx, object, old) {
          object['spec'] = old['spec'];
          const { managedFields, resourceVersion } = object.metadata;
          object.metadata = { ...old.metadata, resourceVersion };
          if (managedFields !== undefined) object.metadata.managedFields = managedFields;
        },
        validateUpdate: (_ctx, object) => validateCustomResourceDefinitionStatusUpdate(typed(object)),
        resetFields: [['metadata'], ['spec']],
      },
    },
  };
}
