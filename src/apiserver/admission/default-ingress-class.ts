/** DefaultIngressClass: an Ingress without a class gets the default one. */
import { newestClass } from '../../api/helpers/default-class.ts';
import type { IngressClass, IngressSpec } from '../../api/types/networking-v1.gen.ts';
import type { AdmissionPlugin } from '../context.ts';
import type { Registries } from '../registry.ts';
import { cachedObjects, metadataOf, withSpec } from './attributes.ts';

const group = 'networking.k8s.io';

export function defaultIngressClass(deps: { readonly registries: Registries }): AdmissionPlugin {
  return {
    name: 'DefaultIngressClass',
    handles: (operation, g, resource, subresource) =>
      operation === 'CREATE' && g === group && resource === 'ingresses' && subresource === '',
    mutate(a) {
      if (a.object === undefined) return undefined;
      const spec = a.object['spec'] as IngressSpec | undefined;
      if (spec?.ingressClassName !== undefined) return a.object;
      if (metadataOf(a.object).annotations?.['kubernetes.io/ingress.class'] !== undefined) return a.object;
      const classes = [...cachedObjects<IngressClass>(deps.registries, group, 'ingressclasses')];
      const found = newestClass(
        classes.filter((c) => c.metadata?.annotations?.['ingressclass.kubernetes.io/is-default-class'] === 'true'),
      );
      return found === undefined ? a.object : withSpec(a.object, { ingressClassName: found.metadata?.name });
    },
  };
}
