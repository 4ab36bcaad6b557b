/**
 * Which metadata rules an update goes through, and in what order with the kind's own rules. Every update is looked at once by
 * the general rules; most kinds look again, some twice, and each look adds causes of its own to the answer.
 */
import type { ResourceInfo } from '../../api/catalog/resource.ts';
import type { FieldError } from '../../api/field-error.ts';
import type { ObjectMeta } from '../../api/object.ts';
import { metadataAgain } from '../validation/field.ts';
import {
  metadataRulesOf,
  ownerAndLabelErrors,
  validateKubeFinalizers,
  validateManagedFields,
  validateObjectMeta,
  validateObjectMetaUpdate,
  type KindNameRule,
} from './object-meta.ts';

/**
 * M: the rules of a new object's metadata, U: those of a changed one's, `.`: the kind's own errors, with U where `metadataAgain`
 * stands between them.
 */
const main: Readonly<Record<string, string>> = {
  'admissionregistration.k8s.io/mutatingadmissionpolicies': 'M.',
  'admissionregistration.k8s.io/mutatingadmissionpolicybindings': 'M.',
  'admissionregistration.k8s.io/mutatingwebhookconfigurations': 'M.',
  'admissionregistration.k8s.io/validatingadmissionpolicies': 'M.',
  'admissionregistration.k8s.io/validatingadmissionpolicybindings': 'M.',
  'admissionregistration.k8s.io/validatingwebhookconfigurations': 'M.',
  'apiregistration.k8s.io/apiservices': 'UM.',
  'apps/controllerrevisions': 'UM.',
  'batch/jobs': 'M.',
  'certificates.k8s.io/certificatesigningrequests': 'M.U',
  'certificates.k8s.io/clustertrustbundles': 'M.U',
  'discovery.k8s.io/endpointslices': 'M.',
  'flowcontrol.apiserver.k8s.io/flowschemas': 'M.',
  'flowcontrol.apiserver.k8s.io/prioritylevelconfigurations': 'M.',
  'internal.apiserver.k8s.io/storageversions': '.',
  'networking.k8s.io/ingressclasses': 'U.M',
  'networking.k8s.io/ingresses': 'UM.',
  'networking.k8s.io/ipaddresses': 'M.U',
  'node.k8s.io/runtimeclasses': 'MU.',
  'policy/poddisruptionbudgets': '.',
  'rbac.authorization.k8s.io/clusterrolebindings': 'M.U',
  'rbac.authorization.k8s.io/clusterroles': 'M.U',
  'rbac.authorization.k8s.io/rolebindings': 'M.U',
  'rbac.authorization.k8s.io/roles': 'M.U',
  'resource.k8s.io/deviceclasses': 'MU.',
  'resource.k8s.io/resourceclaims': 'MU.',
  'resource.k8s.io/resourceclaimtemplates': 'MU.',
  'storage.k8s.io/csinodes': 'M.',
  'storage.k8s.io/csistoragecapacities': 'MU.',
  'storage.k8s.io/storageclasses': 'MU.',
  'storage.k8s.io/volumeattachments': 'M.',
  'storage.k8s.io/volumeattributesclasses': 'U.M',
  'storagemigration.k8s.io/storageversionmigrations': 'M.U',
  '/configmaps': 'UM.',
  '/endpoints': 'UM.',
  '/events': '.',
  '/limitranges': 'M.',
  '/namespaces': 'MU.',
  '/nodes': 'MU.',
  '/persistentvolumeclaims': 'UM.',
  '/persistentvolumes': 'MM.',
  '/pods': 'UM.',
  '/secrets': 'U.M',
  '/serviceaccounts': 'UM.',
};

/** Subresources where it is not U and then their own. */
const subresources: Readonly<Record<string, string>> = {
  'admissionregistration.k8s.io/validatingadmissionpolicies/status': 'M.',
  'apps/statefulsets/status': '.U',
  'batch/cronjobs/status': '.',
  'certificates.k8s.io/certificatesigningrequests/approval': 'M.U',
  'certificates.k8s.io/certificatesigningrequests/status': 'M.U',
  'flowcontrol.apiserver.k8s.io/flowschemas/status': '.',
  'flowcontrol.apiserver.k8s.io/prioritylevelconfigurations/status': '.',
  'internal.apiserver.k8s.io/storageversions/status': '.',
  'policy/poddisruptionbudgets/status': '.',
  '/pods/ephemeralcontainers': 'UM.',
  '/pods/resize': 'UM.',
};

function looksOf(resource: ResourceInfo, subresource: string): string {
  const key = `${resource.group}/${resource.resource}`;
  return (subresource === '' ? main[key] : subresources[`${key}/${subresource}`]) ?? 'U.';
}

const anyName = (): readonly string[] => [];

/** All errors of an update in upstream's order; `own` are the kind's. */
export function updateErrors(
  meta: ObjectMeta,
  old: ObjectMeta,
  resource: ResourceInfo,
  subresource: string,
  rule: KindNameRule,
  own: readonly FieldError[],
): readonly FieldError[] {
  const { namespaced } = resource;
  const general = validateObjectMeta(meta, namespaced, anyName);
  const changes = validateObjectMetaUpdate(meta, old);
  const looks = looksOf(resource, subresource);
  const kube = metadataRulesOf(resource) === 'generic' ? [] : validateKubeFinalizers(meta);
  const named = looks.includes('M') ? validateObjectMeta(meta, namespaced, rule, 'metadata', general) : general;
  const again = own.indexOf(metadataAgain);
  const [first, last] = again < 0 ? [own, []] : [own.slice(0, again), own.slice(again + 1)];
  if (general.length + changes.length + kube.length + named.length === 0) return [...first, ...last];
  // What is wrong with labels and the like is also wrong with changed ones.
  const changed = [...changes, ...ownerAndLabelErrors(meta), ...validateManagedFields(meta, 'metadata.managedFields')];
  const errors = [...general, ...changed];
  for (const look of looks) {
    if (look === '.') errors.push(...first, ...(again < 0 ? [] : [...changed, ...kube]), ...last);
    else errors.push(...(look === 'M' ? named : changed), ...kube);
  }
  return errors;
}
