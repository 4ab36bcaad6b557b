/** NamespaceExists: nothing is written in a namespace that does not exist. */
import { internalError, StatusError } from '../../api/status.ts';
import type { AdmissionPlugin } from '../context.ts';
import type { Registries } from '../registry.ts';
import { Namespaces } from './namespaces.ts';

export function namespaceExists(deps: { readonly registries: Registries }): AdmissionPlugin {
  const namespaces = new Namespaces(deps.registries);
  return {
    name: 'NamespaceExists',
    handles: (operation, group, resource) => operation !== 'CONNECT' && !(group === '' && resource === 'namespaces'),
    validate(a) {
      if (a.namespace === '') return undefined;
      const found = namespaces.get(a.namespace);
      if (!(found instanceof Promise)) return undefined;
      return found.then(
        () => {},
        (error: unknown) => {
          throw error instanceof StatusError && error.code === 404 ? error : internalError(error);
        },
      );
    },
  };
}
