/** DenyServiceExternalIPs: no Service takes an external IP that it did not have, which would divert others' traffic. */
import type { ServiceSpec } from '../../api/types/core-v1.gen.ts';
import type { AdmissionPlugin } from '../context.ts';
import { refuse } from './attributes.ts';

function addressesOf(object: Record<string, unknown> | undefined): readonly string[] {
  return (object?.['spec'] as ServiceSpec | undefined)?.externalIPs ?? [];
}

export const denyServiceExternalIPs: AdmissionPlugin = {
  name: 'DenyServiceExternalIPs',
  handles: (operation, group, resource, subresource) =>
    (operation === 'CREATE' || operation === 'UPDATE') && group === '' && resource === 'services' && subresource === '',
  validate(a) {
    const had = addressesOf(a.oldObject);
    if (addressesOf(a.object).every((ip) => had.includes(ip))) return;
    throw refuse(a, 'Use of external IPs is denied by admission control');
  },
};
