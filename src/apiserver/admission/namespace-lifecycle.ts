/**
 * NamespaceLifecycle: nothing is created in a namespace that does not exist or is being terminated, and the system's own
 * namespaces are not deleted.
 */
import type { Namespace } from '../../api/types/core-v1.gen.ts';
import { forbidden, StatusError } from '../../api/status.ts';
import type { AdmissionAttributes, AdmissionPlugin } from '../context.ts';
import type { Registries } from '../registry.ts';
import { refuse } from './attributes.ts';
import { Namespaces } from './namespaces.ts';

const immortal: ReadonlySet<string> = new Set(['default', 'kube-system', 'kube-public']);

export function namespaceLifecycle(deps: { readonly registries: Registries }): AdmissionPlugin {
  const namespaces = new Namespaces(deps.registries);

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
      const found = namespaces.get(a.namespace);
      if (!(found instanceof Promise)) {
        check(a, found);
        return a.object;
      }
      return found.then((namespace) => {
        check(a, namespace);
        return a.object;
      });
    },
  };
}
