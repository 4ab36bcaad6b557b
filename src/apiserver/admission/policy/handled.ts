/** Which requests policies see. */
import type { Namespace } from '../../../api/types/core-v1.gen.ts';
import type { AdmissionAttributes } from '../../context.ts';
import type { Namespaces } from '../namespaces.ts';

/** Policies are not asked about themselves: nobody could take a wrong one back. */
const policies: ReadonlySet<string> = new Set([
  'validatingadmissionpolicies',
  'validatingadmissionpolicybindings',
  'mutatingadmissionpolicies',
  'mutatingadmissionpolicybindings',
]);

/** Without these nobody could find out who they are and what they may. */
const reviews: ReadonlySet<string> = new Set([
  'selfsubjectreviews',
  'tokenreviews',
  'localsubjectaccessreviews',
  'selfsubjectaccessreviews',
  'selfsubjectrulesreviews',
  'subjectaccessreviews',
]);

export function seenByPolicies(group: string, resource: string): boolean {
  if (group === 'admissionregistration.k8s.io') return !policies.has(resource);
  if (group === 'authentication.k8s.io' || group === 'authorization.k8s.io') return !reviews.has(resource);
  return true;
}

/** The namespace that `namespaceObject` is of: none for a request about a namespace itself. */
export function namespaceOf(
  a: AdmissionAttributes,
  namespaces: Namespaces,
): Namespace | undefined | Promise<Namespace> {
  if (a.namespace === '' || (a.kind === 'Namespace' && a.group === '' && a.version === 'v1')) return undefined;
  return namespaces.get(a.namespace);
}
