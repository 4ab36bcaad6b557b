/** Validation of IPAddress and ServiceCIDR. */
import { invalid, required, type FieldError } from '../../api/field-error.ts';
import { isDNS1123Subdomain, isPathSegmentName } from '../../api/names.ts';
import type { KubeObject } from '../../api/object.ts';
import type { IPAddressSpec, ServiceCIDRSpec } from '../../api/types/networking-v1.gen.ts';
import { parseRange } from '../allocators/address.ts';
import { invalidEach, specOf, validateImmutable } from './field.ts';
import { internalForm } from './internal-form.ts';
import { validateCanonicalCidr, validateCanonicalIp } from './ip.ts';

/** An IPAddress is named by the canonical form of its address. */
export function validateIpAddressName(name: string): string[] {
  return validateCanonicalIp(name, '').map((e) => e.detail);
}

export function validateIpAddress(object: KubeObject): FieldError[] {
  const { parentRef } = specOf<IPAddressSpec>(object);
  const path = 'spec.parentRef';
  if (parentRef === undefined || parentRef === null) return [required(path)];
  const { group = '', resource = '', name = '', namespace = '' } = parentRef;
  const segment = (value: string, at: string): FieldError[] => invalidEach(at, value, isPathSegmentName(value));
  return [
    ...(group === '' ? [] : invalidEach(`${path}.group`, group, isDNS1123Subdomain(group))),
    ...(resource === '' ? [required(`${path}.resource`)] : segment(resource, `${path}.resource`)),
    ...(name === '' ? [required(`${path}.name`)] : segment(name, `${path}.name`)),
    ...(namespace === '' ? [] : segment(namespace, `${path}.namespace`)),
  ];
}

export function validateIpAddressUpdate(object: KubeObject, old: KubeObject): FieldError[] {
  const { parentRef } = specOf<IPAddressSpec>(object);
  return [
    ...validateIpAddress(object),
    ...validateImmutable(
      parentRef,
      specOf<IPAddressSpec>(old).parentRef,
      'spec.parentRef',
      '*networking.ParentReference',
    ),
  ];
}

const path = 'spec.cidrs';

export function validateServiceCidr(object: KubeObject): FieldError[] {
  const spec = specOf<ServiceCIDRSpec>(object);
  const cidrs = spec.cidrs ?? [];
  if (cidrs.length === 0) return [required(path, 'at least one CIDR required')];
  if (cidrs.length > 2) return [invalid(path, spec, 'may only hold up to 2 values')];
  const errors = cidrs.flatMap((text, i) => validateCanonicalCidr(text, `${path}[${i}]`));
  const families = cidrs.map((text) => parseRange(text)?.family);
  if (cidrs.length === 2 && families[0] !== undefined && families[0] === families[1])
    errors.push(
      invalid(path, cidrs, 'may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64'),
    );
  return errors;
}

/** Ranges never change, but a second family may be added. */
export function validateServiceCidrUpdate(object: KubeObject, old: KubeObject): FieldError[] {
  const next = specOf<ServiceCIDRSpec>(object).cidrs ?? [];
  const before = specOf<ServiceCIDRSpec>(old).cidrs ?? [];
  const adds = before.length === 1 && next.length === 2;
  if (!adds && before.length !== next.length)
    return [invalid(path, internalForm('[]s', specOf<ServiceCIDRSpec>(object).cidrs), 'field is immutable')];
  const errors = before.flatMap((text, i) =>
    text === next[i] ? [] : [invalid(`${path}[${i}]`, next[i], 'field is immutable')],
  );
  return adds ? [...errors, ...validateServiceCidr(object)] : errors;
}
