/** Names of resources that are counted (`cpu`, `requests.storage`, `example.com/gpu`), and how much of one may be asked for. */
import { invalid, type FieldError } from '../../api/field-error.ts';
import { isNegativeError, isQualifiedName } from '../../api/names.ts';
import { parseQuantity, quantityMilli, quantitySign } from '../../api/quantity.ts';
import { invalidEach } from './field.ts';

/** Objects that are counted one by one. */
const countedObjects = [
  'pods',
  'resourcequotas',
  'services',
  'replicationcontrollers',
  'secrets',
  'configmaps',
  'persistentvolumeclaims',
  'services.nodeports',
  'services.loadbalancers',
];

const quotaResources: ReadonlySet<string> = new Set([
  ...countedObjects,
  'cpu',
  'memory',
  'ephemeral-storage',
  'requests.cpu',
  'requests.memory',
  'requests.storage',
  'requests.ephemeral-storage',
  'limits.cpu',
  'limits.memory',
  'limits.ephemeral-storage',
]);

/** What a quota may bound without naming a domain. */
export function isQuotaResource(name: string): boolean {
  return quotaResources.has(name) || name.startsWith('hugepages-') || name.startsWith('requests.hugepages-');
}

function isStandardResource(name: string): boolean {
  return name === 'storage' || isQuotaResource(name);
}

const integerResources: ReadonlySet<string> = new Set(countedObjects);

/** Not namespaced, or in a kubernetes.io domain. */
export function isNativeResource(name: string): boolean {
  return !name.includes('/') || name.includes('kubernetes.io/');
}

export function isExtendedResource(name: string): boolean {
  if (isNativeResource(name) || name.startsWith('requests.')) return false;
  return isQualifiedName(`requests.${name}`).length === 0;
}

export function isIntegerResource(name: string): boolean {
  return integerResources.has(name) || isExtendedResource(name);
}

export function validateResourceName(name: string, path: string): FieldError[] {
  const errors = invalidEach(path, name, isQualifiedName(name));
  if (errors.length > 0) return errors;
  if (!name.includes('/') && !isStandardResource(name))
    return [invalid(path, name, 'must be a standard resource type or fully qualified')];
  return [];
}

export function validateNonnegativeQuantity(text: string | number, path: string): FieldError[] {
  return quantitySign(parseQuantity(text)) < 0 ? [invalid(path, String(text), isNegativeError)] : [];
}

export function validateResourceQuantity(name: string, text: string | number, path: string): FieldError[] {
  const errors = validateNonnegativeQuantity(text, path);
  if (isIntegerResource(name) && quantityMilli(parseQuantity(text)) % 1000 !== 0)
    errors.push(invalid(path, text, 'must be an integer'));
  return errors;
}
