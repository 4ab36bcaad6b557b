/** NamespaceAutoProvision: a namespace that is missing is made when the first object comes for it. */
import type { Namespace } from '../../api/types/core-v1.gen.ts';
import type { KubeObject } from '../../api/object.ts';
import { StatusError } from '../../api/status.ts';
import type { AdmissionPlugin } from '../context.ts';
import { loopbackContext } from '../loopback.ts';
import type { Registries } from '../registry.ts';
import { cachedObject, refuse } from './attributes.ts';

export function namespaceAutoProvision(deps: { readonly registries: Registries }): AdmissionPlugin {
  const { registries } = deps;
  const provision = async (name: string): Promise<void> => {
    const registry = registries.registry('', 'namespaces')!;
    const ctx = loopbackContext({ verb: 'create', resource: registry.resource });
    // As decoded and defaulted: a namespace has its finalizer from the start.
    const namespace: KubeObject = { apiVersion: 'v1', kind: 'Namespace', metadata: { name }, spec: {}, status: {} };
    await registry.create(ctx, '', namespace, {
      dryRun: false,
      fieldManager: 'kube-apiserver',
      subresource: '',
      options: { kind: 'CreateOptions', apiVersion: 'meta.k8s.io/v1' },
    });
  };
  return {
    name: 'NamespaceAutoProvision',
    handles: (operation, group, resource) => operation === 'CREATE' && !(group === '' && resource === 'namespaces'),
    mutate(a) {
      if (a.dryRun || a.namespace === '') return a.object;
      if (cachedObject<Namespace>(registries, '', 'namespaces', '', a.namespace) !== undefined) return a.object;
      return provision(a.namespace).then(
        () => a.object,
        (error: unknown) => {
          if (error instanceof StatusError && error.reason === 'AlreadyExists') return a.object;
          throw refuse(a, error instanceof Error ? error.message : String(error));
        },
      );
    },
  };
}
