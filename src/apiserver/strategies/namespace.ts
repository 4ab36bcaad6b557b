/** Namespace: born Active with the `kubernetes` finalizer and its own name as a label; finalizers go through `finalize`. */
import { nameIsDNSLabel } from '../../api/names.ts';
import type { KubeObject } from '../../api/object.ts';
import type { Draft, ResourceStrategies } from '../strategy.ts';
import {
  validateNamespace,
  validateNamespaceFinalizeUpdate,
  validateNamespaceStatusUpdate,
  validateNamespaceUpdate,
} from '../validation/namespace.ts';
import { keepStatus, kindStrategy, statusStrategy } from './common.ts';

const finalizer = 'kubernetes';
const nameLabel = 'kubernetes.io/metadata.name';

function label(object: Draft): void {
  const name = object.metadata.name;
  if (name === undefined || name === '' || object.metadata.labels?.[nameLabel] === name) return;
  object.metadata.labels = { ...object.metadata.labels, [nameLabel]: name };
}

function finalizersOf(object: KubeObject): readonly string[] | undefined {
  return (object['spec'] as { finalizers?: readonly string[] } | undefined)?.finalizers;
}

export function namespaceStrategies(): ResourceStrategies {
  return {
    main: kindStrategy({
      status: true,
      validateName: nameIsDNSLabel,
      create(object) {
        object['status'] = { phase: 'Active' };
        const finalizers = finalizersOf(object) ?? [];
        if (!finalizers.includes(finalizer))
          object['spec'] = {
            ...(object['spec'] as Record<string, unknown> | undefined),
            finalizers: [...finalizers, finalizer],
          };
        label(object);
      },
      update(object, old) {
        const spec = { ...(object['spec'] as Record<string, unknown> | undefined) };
        const finalizers = finalizersOf(old);
        if (finalizers === undefined) delete spec['finalizers'];
        else spec['finalizers'] = finalizers;
        object['spec'] = spec;
        label(object);
      },
      validate: (object) => validateNamespace(object),
      validateUpdate: (object, old) => validateNamespaceUpdate(object, old),
    }),
    subresources: {
      status: statusStrategy({
        validateUpdate: (object, old) => validateNamespaceStatusUpdate(object, old),
        update: (object) => label(object),
      }),
      finalize: {
        prepareForUpdate(_ctx, object, old) {
          keepStatus(object, old);
          label(object);
        },
        validateUpdate: (_ctx, object, old) => validateNamespaceFinalizeUpdate(object, old),
        resetFields: [['status']],
      },
    },
  };
}
