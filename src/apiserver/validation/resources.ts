/** Resource lists: names, quantities, requests against limits (pkg/apis/core/validation, pkg/apis/core/helper). */
import type { FieldError } from '../../api/field-error.ts';
import { duplicate, forbiddenField, invalid, notSupported, required } from '../../api/field-error.ts';
import { isNegativeError } from '../../api/names.ts';
import type { Quantity } from '../../api/quantity.ts';
import {
  addQuantity,
  compareQuantity,
  formatQuantity,
  maxQuantity,
  parseQuantity,
  quantityMilli,
  quantitySign,
  quantityValue,
  zeroQuantity,
} from '../../api/quantity.ts';
import type { Container, PodSpec, ResourceRequirements } from '../../api/types/index.gen.ts';
import { isExtendedResource, isIntegerResource, isNativeResource, validateResourceName } from './resource-names.ts';
import { type Errors, validateDnsLabel } from './field.ts';

const standardContainer = new Set(['cpu', 'memory', 'ephemeral-storage']);
export const isHugePages = (name: string): boolean => name.startsWith('hugepages-');

const isOvercommitAllowed = (name: string): boolean => isNativeResource(name) && !isHugePages(name);

export function containerResourceName(name: string, field: string): Errors {
  const errors = validateResourceName(name, field);
  if (!name.includes('/')) {
    if (!standardContainer.has(name) && !isHugePages(name))
      errors.push(invalid(field, name, 'must be a standard resource for containers'));
  } else if (!isNativeResource(name) && !isExtendedResource(name))
    errors.push(invalid(field, name, "doesn't follow extended resource name standard"));
  return errors;
}

const podLevel = (name: string): boolean => name === 'cpu' || name === 'memory' || isHugePages(name);

function podResourceName(name: string, field: string): Errors {
  const errors = validateResourceName(name, field);
  if (errors.length === 0 && !podLevel(name)) errors.push(notSupported(field, name, ['cpu', 'memory']));
  return errors;
}

export function quantityOf(text: string | number): Quantity {
  return parseQuantity(text);
}

export function resourceQuantity(name: string, quantity: Quantity, field: string): Errors {
  const errors: FieldError[] = [];
  if (quantitySign(quantity) < 0) errors.push(invalid(field, formatQuantity(quantity), isNegativeError));
  if (isIntegerResource(name) && quantityMilli(quantity) % 1000 !== 0)
    errors.push(invalid(field, formatQuantity(quantity), 'must be an integer'));
  return errors;
}

function hugePageSize(name: string): number | undefined {
  try {
    return quantityValue(parseQuantity(name.slice('hugepages-'.length)));
  } catch {
    return undefined;
  }
}

function hugePages(name: string, quantity: Quantity, field: string): Errors {
  const size = hugePageSize(name);
  if (size === undefined || size <= 0 || quantityValue(quantity) % size === 0) return [];
  return [
    invalid(
      field,
      formatQuantity(quantity),
      `${formatQuantity(quantity)} is not positive integer multiple of ${name.slice('hugepages-'.length)}`,
    ),
  ];
}

function claims(list: ResourceRequirements['claims'], podClaims: ReadonlySet<string>, field: string): Errors {
  const errors: Errors = [];
  const seen = new Set<string>();
  (list ?? []).forEach((claim, i) => {
    const at = `${field}[${i}]`;
    if (claim.name === '' || claim.name === undefined) {
      errors.push(required(at));
      return;
    }
    const key = claim.request === undefined || claim.request === '' ? claim.name : `${claim.name}/${claim.request}`;
    if (key !== claim.name) errors.push(...validateDnsLabel(claim.request!, `${at}.request`));
    if (seen.has(claim.name) || seen.has(key) || (key === claim.name && [...seen].some((s) => s.startsWith(`${key}/`))))
      errors.push(duplicate(at, key));
    seen.add(key);
    if (!podClaims.has(claim.name))
      errors.push({
        type: 'FieldValueNotFound',
        field: at,
        badValue: claim.name,
        detail: `must be one of the names in pod.spec.resourceClaims${podClaims.size === 0 ? ' which is empty' : `: ${[...podClaims].sort().join(', ')}`}`,
      });
  });
  return errors;
}

function requirements(
  r: ResourceRequirements | undefined,
  name: (n: string, f: string) => Errors,
  podClaims: ReadonlySet<string>,
  field: string,
): Errors {
  const errors: Errors = [];
  if (r === undefined) return errors;
  const limits = r.limits ?? {};
  const requests = r.requests ?? {};
  let computes = false;
  let huge = false;
  for (const [n, text] of Object.entries(limits)) {
    const at = `${field}.limits[${n}]`;
    const q = quantityOf(text);
    errors.push(...name(n, at), ...resourceQuantity(n, q, at));
    if (isHugePages(n)) {
      huge = true;
      errors.push(...hugePages(n, q, at));
    }
    if (n === 'cpu' || n === 'memory') computes = true;
  }
  for (const [n, text] of Object.entries(requests)) {
    const at = `${field}.requests[${n}]`;
    const q = quantityOf(text);
    errors.push(...name(n, at), ...resourceQuantity(n, q, at));
    const limit = Object.hasOwn(limits, n) ? limits[n] : undefined;
    if (limit !== undefined) {
      const order = compareQuantity(q, quantityOf(limit));
      if (order !== 0 && !isOvercommitAllowed(n))
        errors.push(
          invalid(
            `${field}.requests`,
            formatQuantity(q),
            `must be equal to ${n} limit of ${formatQuantity(quantityOf(limit))}`,
          ),
        );
      else if (order > 0)
        errors.push(
          invalid(
            `${field}.requests`,
            formatQuantity(q),
            `must be less than or equal to ${n} limit of ${formatQuantity(quantityOf(limit))}`,
          ),
        );
    } else if (!isOvercommitAllowed(n))
      errors.push(required(`${field}.limits`, 'Limit must be set for non overcommitable resources'));
    if (isHugePages(n)) {
      huge = true;
      errors.push(...hugePages(n, q, at));
    }
    if (n === 'cpu' || n === 'memory') computes = true;
  }
  if (huge && !computes) errors.push(forbiddenField(field, 'HugePages require cpu or memory'));
  errors.push(...claims(r.claims, podClaims, `${field}.claims`));
  return errors;
}

export function containerResources(
  r: ResourceRequirements | undefined,
  podClaims: ReadonlySet<string>,
  field: string,
): Errors {
  return requirements(r, containerResourceName, podClaims, field);
}

function aggregate(
  spec: PodSpec,
  pick: (c: Container) => Readonly<Record<string, string>> | undefined,
): Map<string, Quantity> {
  const total = new Map<string, Quantity>();
  const add = (to: Map<string, Quantity>, list: Iterable<readonly [string, Quantity]>): void => {
    for (const [n, q] of list) to.set(n, addQuantity(to.get(n) ?? zeroQuantity, q));
  };
  const of = (c: Container): [string, Quantity][] => Object.entries(pick(c) ?? {}).map(([n, t]) => [n, quantityOf(t)]);
  for (const c of spec.containers ?? []) add(total, of(c));
  const sidecars = new Map<string, Quantity>();
  const peak = new Map<string, Quantity>();
  for (const c of spec.initContainers ?? []) {
    const step = new Map(sidecars);
    add(step, of(c));
    if (c.restartPolicy === 'Always') {
      add(total, of(c));
      add(sidecars, of(c));
    }
    for (const [n, q] of step) peak.set(n, maxQuantity(peak.get(n) ?? zeroQuantity, q));
  }
  for (const [n, q] of peak) total.set(n, maxQuantity(total.get(n) ?? zeroQuantity, q));
  return total;
}

/** Pod-level resources (KEP-2837). */
export function podResources(spec: PodSpec, podClaims: ReadonlySet<string>, path: string): Errors {
  const r = spec.resources;
  if (r === undefined) return [];
  const field = `${path}.resources`;
  if (spec.os?.name === 'windows') return [forbiddenField(field, 'may not be set for a windows pod')];
  const errors: Errors = [];
  if (r.claims !== undefined)
    errors.push(forbiddenField(`${field}.claims`, 'claims may not be set for Resources at pod-level'));
  errors.push(...requirements(r, podResourceName, podClaims, field));
  for (const [n, q] of aggregate(spec, (c) => c.resources?.requests)) {
    const whole = r.requests?.[n];
    if (whole !== undefined && compareQuantity(q, quantityOf(whole)) > 0)
      errors.push(
        invalid(
          `${field}.requests[${n}]`,
          formatQuantity(quantityOf(whole)),
          `must be greater than or equal to aggregate container requests of ${formatQuantity(q)}`,
        ),
      );
  }
  for (const [n, q] of aggregate(spec, (c) => c.resources?.limits)) {
    const whole = r.limits?.[n];
    if (isHugePages(n) && whole !== undefined && compareQuantity(q, quantityOf(whole)) > 0)
      errors.push(
        invalid(
          `${field}.limits[${n}]`,
          formatQuantity(quantityOf(whole)),
          `must be greater than or equal to aggregate container limits of ${formatQuantity(q)}`,
        ),
      );
  }
  (spec.containers ?? []).forEach((c, i) => {
    for (const [n, text] of Object.entries(c.resources?.limits ?? {})) {
      const whole = r.limits?.[n];
      if (whole !== undefined && compareQuantity(quantityOf(text), quantityOf(whole)) > 0)
        errors.push(
          invalid(
            `${field}.containers[${i}][${n}].limits`,
            formatQuantity(quantityOf(text)),
            `must be less than or equal to pod limits of ${formatQuantity(quantityOf(whole))}`,
          ),
        );
    }
  });
  return errors;
}
