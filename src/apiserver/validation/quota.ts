/** Validation of ResourceQuota and LimitRange. */
import { duplicate, forbiddenField, invalid, required, type FieldError } from '../../api/field-error.ts';
import { isQualifiedName } from '../../api/names.ts';
import type { KubeObject } from '../../api/object.ts';
import {
  compareQuantity,
  formatQuantity,
  parseQuantity,
  quantityMilli,
  quantityToNumber,
  type Quantity,
} from '../../api/quantity.ts';
import type {
  LimitRangeItem,
  LimitRangeSpec,
  ResourceQuotaSpec,
  ResourceQuotaStatus,
} from '../../api/types/core-v1.gen.ts';
import { invalidEach, specOf, statusOf } from './field.ts';
import { containerResourceName } from './resources.ts';
import { isQuotaResource, validateResourceName, validateResourceQuantity } from './resource-names.ts';

function validateQuotaName(name: string, path: string): FieldError[] {
  const errors = validateResourceName(name, path);
  if (!name.includes('/') && !isQuotaResource(name))
    errors.push(invalid(path, name, 'must be a standard resource for quota'));
  return errors;
}

function validateList(list: unknown, path: string): FieldError[] {
  return Object.entries((list ?? {}) as Record<string, string>).flatMap(([name, q]) => [
    ...validateQuotaName(name, `${path}[${name}]`),
    ...validateResourceQuantity(name, q, `${path}[${name}]`),
  ]);
}

const podScopes = ['Terminating', 'NotTerminating', 'NotBestEffort', 'PriorityClass', 'CrossNamespacePodAffinity'];
const scopes = [...podScopes, 'BestEffort', 'VolumeAttributesClass'];
const existsOnly = ['BestEffort', 'NotBestEffort', 'Terminating', 'NotTerminating', 'CrossNamespacePodAffinity'];
const podCompute = ['cpu', 'memory', 'limits.cpu', 'limits.memory', 'requests.cpu', 'requests.memory'];

function scopeAppliesTo(scope: string, resource: string): boolean {
  if (podScopes.includes(scope)) return resource === 'pods' || podCompute.includes(resource);
  if (scope === 'BestEffort') return resource === 'pods';
  if (scope === 'VolumeAttributesClass')
    return resource === 'persistentvolumeclaims' || resource === 'requests.storage';
  return true;
}

function conflicting(set: ReadonlySet<string>, value: unknown, path: string): FieldError[] {
  const errors: FieldError[] = [];
  for (const [a, b] of [
    ['BestEffort', 'NotBestEffort'],
    ['Terminating', 'NotTerminating'],
  ] as const)
    if (set.has(a) && set.has(b)) errors.push(invalid(path, value, 'conflicting scopes'));
  return errors;
}

function validateScopes(spec: Partial<ResourceQuotaSpec>): FieldError[] {
  const errors: FieldError[] = [];
  const hard = Object.keys(spec.hard ?? {}).toSorted();
  const list = spec.scopes ?? [];
  const path = 'spec.scopes';
  for (const scope of list) {
    if (!scopes.includes(scope)) errors.push(invalid(path, list, 'unsupported scope'));
    for (const name of hard)
      if (isQuotaResource(name) && !scopeAppliesTo(scope, name))
        errors.push(invalid(path, list, 'unsupported scope applied to resource'));
  }
  errors.push(...conflicting(new Set(list), list, path));
  if (spec.scopeSelector === undefined) return errors;
  const at = 'spec.scopeSelector.matchExpressions';
  const requirements = spec.scopeSelector.matchExpressions ?? [];
  for (const r of requirements) {
    if (!scopes.includes(r.scopeName)) errors.push(invalid(`${at}.scopeName`, r.scopeName, 'unsupported scope'));
    for (const name of hard)
      if (isQuotaResource(name) && !scopeAppliesTo(r.scopeName, name))
        errors.push(invalid(at, spec.scopeSelector, 'unsupported scope applied to resource'));
    if (existsOnly.includes(r.scopeName) && r.operator !== 'Exists')
      errors.push(
        invalid(
          `${at}.operator`,
          r.operator,
          "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity",
        ),
      );
    const values = r.values ?? [];
    if (r.operator === 'In' || r.operator === 'NotIn') {
      if (values.length === 0)
        errors.push(
          required(`${at}.values`, "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"),
        );
    } else if (r.operator === 'Exists' || r.operator === 'DoesNotExist') {
      if (values.length > 0)
        errors.push(
          invalid(
            `${at}.values`,
            values,
            "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector",
          ),
        );
    } else errors.push(invalid(`${at}.operator`, r.operator, 'not a valid selector operator'));
  }
  errors.push(...conflicting(new Set(requirements.map((r) => r.scopeName)), spec.scopes ?? null, at));
  return errors;
}

function validateSpec(object: KubeObject): FieldError[] {
  const spec = specOf<ResourceQuotaSpec>(object);
  return [...validateList(spec.hard, 'spec.hard'), ...validateScopes(spec)];
}

export function validateResourceQuotaStatus(object: KubeObject): FieldError[] {
  const status = statusOf<ResourceQuotaStatus>(object);
  return [...validateList(status.hard, 'status.hard'), ...validateList(status.used, 'status.used')];
}

export function validateResourceQuota(object: KubeObject): FieldError[] {
  return [...validateSpec(object), ...validateResourceQuotaStatus(object)];
}

export function validateResourceQuotaUpdate(object: KubeObject, old: KubeObject): FieldError[] {
  const errors = validateSpec(object);
  const next = specOf<ResourceQuotaSpec>(object).scopes ?? [];
  const before = new Set(specOf<ResourceQuotaSpec>(old).scopes ?? []);
  if (new Set(next).size !== before.size || !next.every((s) => before.has(s)))
    errors.push(invalid('spec.scopes', next, 'field is immutable'));
  return errors;
}

export function resourceQuotaWarnings(object: KubeObject): string[] {
  const hard = (specOf<ResourceQuotaSpec>(object).hard ?? {}) as Record<string, string>;
  const out: string[] = [];
  for (const name of ['cpu', 'memory', 'storage', 'ephemeral-storage']) {
    let requestName = `requests.${name}`;
    if (hard[requestName] === undefined && (name === 'cpu' || name === 'memory')) requestName = name;
    const limitName = `limits.${name}`;
    const [request, limit] = [hard[requestName], hard[limitName]];
    if (request === undefined || limit === undefined) continue;
    if (compareQuantity(parseQuantity(request), parseQuantity(limit)) > 0)
      out.push(`ResourceQuota ${requestName} (${request}) should be less than ${limitName} (${limit})`);
  }
  return out;
}

const limitTypes = ['Pod', 'Container', 'PersistentVolumeClaim'];
const lists = ['max', 'min', 'default', 'defaultRequest', 'maxLimitRequestRatio'] as const;
type ListName = (typeof lists)[number];

function overcommitAllowed(name: string): boolean {
  return !name.includes('/') || name.includes('kubernetes.io/') ? !name.startsWith('hugepages-') : false;
}

function validateLimit(limit: LimitRangeItem, path: string): FieldError[] {
  const errors: FieldError[] = [];
  const quantities = new Map<ListName, Map<string, Quantity>>();
  const keys = new Set<string>();
  for (const list of lists) {
    const values = (limit[list] ?? {}) as Record<string, string>;
    const read = new Map<string, Quantity>();
    quantities.set(list, read);
    if (limit.type === 'Pod' && (list === 'default' || list === 'defaultRequest')) {
      if (Object.keys(values).length > 0)
        errors.push(forbiddenField(`${path}.${list}`, "may not be specified when `type` is 'Pod'"));
      continue;
    }
    for (const [name, text] of Object.entries(values)) {
      const at = `${path}.${list}[${name}]`;
      errors.push(
        ...(limit.type === 'Pod' || limit.type === 'Container'
          ? containerResourceName(name, at)
          : validateResourceName(name, at)),
      );
      keys.add(name);
      read.set(name, parseQuantity(text));
    }
    if (list === 'defaultRequest' && limit.type === 'PersistentVolumeClaim')
      if (limit.min?.['storage'] === undefined && limit.max?.['storage'] === undefined)
        errors.push(
          required(`${path}.limits`, 'either minimum or maximum storage value is required, but neither was provided'),
        );
  }
  for (const key of keys) {
    const get = (list: ListName): Quantity | undefined => quantities.get(list)!.get(key);
    const [max, min, def, request, ratio] = lists.map(get);
    const above = (
      low: Quantity | undefined,
      lowName: string,
      high: Quantity | undefined,
      highName: string,
      list: ListName,
      bad: Quantity | undefined,
    ): void => {
      if (low !== undefined && high !== undefined && compareQuantity(low, high) > 0)
        errors.push(
          invalid(
            `${path}.${list}[${key}]`,
            formatQuantity(bad!),
            `${lowName} value ${formatQuantity(low)} is greater than ${highName} value ${formatQuantity(high)}`,
          ),
        );
    };
    above(min, 'min', max, 'max', 'min', min);
    above(min, 'min', request, 'default request', 'defaultRequest', request);
    above(request, 'default request', max, 'max', 'defaultRequest', request);
    above(request, 'default request', def, 'default limit', 'defaultRequest', request);
    above(min, 'min', def, 'default', 'default', min);
    above(def, 'default', max, 'max', 'default', max);
    if (ratio !== undefined) {
      const at = `${path}.maxLimitRequestRatio[${key}]`;
      if (quantityMilli(ratio) < 1000)
        errors.push(invalid(at, formatQuantity(ratio), `ratio ${formatQuantity(ratio)} is less than 1`));
      if (min !== undefined && max !== undefined) {
        const most = quantityToNumber(max) / quantityToNumber(min);
        if (quantityToNumber(ratio) > most)
          errors.push(
            invalid(
              at,
              formatQuantity(ratio),
              `ratio ${formatQuantity(ratio)} is greater than max/min = ${most.toFixed(6)}`,
            ),
          );
      }
    }
    if (!overcommitAllowed(key) && def !== undefined && request !== undefined && compareQuantity(def, request) !== 0)
      errors.push(
        invalid(
          `${path}.defaultRequest[${key}]`,
          formatQuantity(request),
          `default value ${formatQuantity(def)} must equal to defaultRequest value ${formatQuantity(request)} in ${key}`,
        ),
      );
  }
  return errors;
}

export function validateLimitRange(object: KubeObject): FieldError[] {
  const errors: FieldError[] = [];
  const seen = new Set<string>();
  (specOf<LimitRangeSpec>(object).limits ?? []).forEach((limit, i) => {
    const path = `spec.limits[${i}]`;
    const names = invalidEach(`${path}.type`, limit.type, isQualifiedName(limit.type));
    errors.push(...names);
    if (names.length === 0 && !limit.type.includes('/') && !limitTypes.includes(limit.type))
      errors.push(invalid(`${path}.type`, limit.type, 'must be a standard limit type or fully qualified'));
    if (seen.has(limit.type)) errors.push(duplicate(`${path}.type`, limit.type));
    seen.add(limit.type);
    errors.push(...validateLimit(limit, path));
  });
  return errors;
}
