/** Where flow control's configuration comes from: the server's own registries. */
import type { KubeObject } from '../../api/object.ts';
import { notFound } from '../../api/status.ts';
import { formatTime } from '../../api/time.ts';
import type { Clock } from '../../base/clock.ts';
import { loopbackContext } from '../loopback.ts';
import type { GenericRegistry } from '../registry/generic.ts';
import type { RegistriesImpl } from '../registry/registries.ts';
import { flowControlGroup, type FlowControlSource } from './flow-control.ts';

const manager = 'api-priority-and-fairness-config-consumer-v1';

export function registrySource(registries: RegistriesImpl, clock: Clock): FlowControlSource {
  const schemas = (): GenericRegistry => registries.registry(flowControlGroup, 'flowschemas')!;
  return {
    follow: (resource, onEvent) =>
      registries.follow(flowControlGroup, resource, (type, committed) =>
        onEvent(type, committed.name, () => committed.object() as KubeObject),
      ),
    async applyCondition(name, condition) {
      const registry = schemas();
      const types = registry.support.hub;
      const patch = {
        apiVersion: types.apiVersion,
        kind: types.kind,
        metadata: { name },
        status: { conditions: [{ ...condition, lastTransitionTime: formatTime(clock.now()) }] },
      };
      const context = loopbackContext({ verb: 'patch', resource: registry.resource, name, subresource: 'status' });
      await registry.update(
        context,
        '',
        name,
        async (current) => {
          if (current === undefined) throw notFound({ group: flowControlGroup, resource: 'flowschemas' }, name);
          const request = { manager, subresource: 'status', now: clock.now(), force: true };
          const applied = await types.fields.apply(current, patch, request);
          return applied === current ? current : types.decode(applied, { strict: false, owned: false }).object;
        },
        {
          dryRun: false,
          fieldManager: manager,
          subresource: 'status',
          options: {},
          apply: true,
          createIfMissing: false,
        },
      );
    },
  };
}
