/** Node: status through its own endpoint; the dynamic kubelet configuration of old is dropped. */
import type { ResourceStrategies } from '../strategy.ts';
import { nodeWarnings, validateNode, validateNodeChange, validateNodeUpdate } from '../validation/node.ts';
import { keepStatus, statusStrategy } from './common.ts';

export function nodeStrategies(): ResourceStrategies {
  return {
    main: {
      prepareForCreate(_ctx, object) {
        const spec = { ...(object['spec'] as Record<string, unknown> | undefined) };
        delete spec['configSource'];
        object['spec'] = spec;
        const { config, ...status } = (object['status'] ?? {}) as Record<string, unknown>;
        if (config !== undefined) object['status'] = status;
      },
      prepareForUpdate(_ctx, object, old) {
        keepStatus(object, old);
        const before = (old['spec'] ?? {}) as Record<string, unknown>;
        if (before['configSource'] === undefined) {
          const spec = { ...(object['spec'] as Record<string, unknown> | undefined) };
          delete spec['configSource'];
          object['spec'] = spec;
        }
      },
      validate: (_ctx, object) => validateNode(object),
      validateUpdate: (_ctx, object, old) => validateNodeUpdate(object, old),
      warningsOnCreate: (_ctx, object) => nodeWarnings(object),
      warningsOnUpdate: (_ctx, object) => nodeWarnings(object),
      resetFields: [['status']],
    },
    subresources: {
      status: statusStrategy({
        update(object, old) {
          const before = (old['status'] ?? {}) as Record<string, unknown>;
          const { config, ...status } = (object['status'] ?? {}) as Record<string, unknown>;
          if (config !== undefined && before['config'] === undefined) object['status'] = status;
        },
        validateUpdate: (object, old) => validateNodeChange(object, old),
      }),
    },
  };
}
