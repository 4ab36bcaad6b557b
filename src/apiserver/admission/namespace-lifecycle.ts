/**
 * NamespaceLifecycle: nothing is created in a namespace that does not exist or is being terminated, and the system's own
 * namespaces are not deleted.
 */
import type { Namespace } from '../../api/types/core-v1.gen.ts';
import { forbidden, StatusError } from '../../api/status.ts';
import type { AdmissionAttributes, AdmissionPlugin } from '../context.ts';
import { loopbackContext } from '../loopback.ts';
import type { Registries } from '../registry.ts';
import { cachedObject, refuse } from './attributes.ts';

const immortal: ReadonlySet<string> = new Set(['default', 'kube-system', 'kube-public']);

export function namespaceLifecycle(deps: { readonly registries: Registries }): AdmissionPlugin {
  const { registries } = deps;

  /** From the store, for a namespace that another API server has just made. Throws 404. */
  const live = async (name: string): Promise<Namespace> => {
    const registry = registries.registry('', 'namespaces')!;
    const ctx = loopbackContext({ verb: 'get', resource: registry.resource, name });
    return (await registry.get(ctx, '', name, '')).object() as unknown as Namespace;
  };

  const check = (a: AdmissionAttributes, namespace: Namespace): void => {
    if (a.operation !== 'CREATE' || namespace.status?.phase !== 'Terminating') return;
    const refusal = refuse(
      a,
      `unable to create new content in namespace ${a.namespace} because it is being terminated`,
    );
    throw new StatusError(refusal.code, refusal.reason, refusal.message, {
      ...refusal.details,
      causes: [
        {
          reason: 'NamespaceTerminating',
          message: `namespace ${a.namespace} is being terminated`,
          field: 'metadata.namespace',
        },
      ],
    });
  };

  return {
    name: 'NamespaceLifecycle',
    handles: (operation) => operation !== 'CONNECT',
    mutate(a) {
      if (a.group === '' && a.resource === 'namespaces') {
        if (a.operation === 'DELETE' && immortal.has(a.name))
          throw forbidden({ group: '', resource: 'namespaces' }, a.name, 'this namespace may not be deleted');
        return a.object;
      }
      if (a.namespace === '' || a.operation === 'DELETE') return a.object;
      if (a.group === 'authorization.k8s.io' && a.resource === 'localsubjectaccessreviews') return a.object;
      const cached = cachedObject<Namespace>(registries, '', 'namespaces', '', a.namespace);
      if (cached !== undefined) {
        check(a, cached);
        return a.object;
      }
      return live(a.namespace).then((namespace) => {
        check(a, namespace);
        return a.object;
      });
    },
  };
}
