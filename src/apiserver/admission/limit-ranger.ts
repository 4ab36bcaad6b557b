/** LimitRanger: a namespace's LimitRanges give containers their defaults and bound what pods and claims ask for. */
import { formatQuantity, parseQuantity, quantityMilli, quantityValue, type Quantity } from '../../api/quantity.ts';
import type { Container, LimitRange, PersistentVolumeClaim, Pod, PodSpec } from '../../api/types/core-v1.gen.ts';
import type { AdmissionAttributes, AdmissionPlugin } from '../context.ts';
import type { Registries } from '../registry.ts';
import { cachedObjects, metadataOf, refuse, withMetadata, withSpec } from './attributes.ts';
import { limitRangeOptions, podResources } from './pod-resources.ts';
import { readResources, zero, type ResourceList } from '../../api/helpers/resource-list.ts';

type Written = Record<string, string>;
/** Above this, thousandths do not fit an int64 and whole numbers are compared (resource.MaxMilliValue). */
const maxMilliValue = Math.floor(Number.MAX_SAFE_INTEGER / 1000);

function comparable(quantities: readonly Quantity[]): number[] {
  const values = quantities.map(quantityValue);
  return values.every((v) => v <= maxMilliValue) ? quantities.map(quantityMilli) : values;
}

function minConstraint(type: string, name: string, least: Quantity, requests: ResourceList, limits: ResourceList) {
  const request = requests.get(name);
  const limit = limits.get(name);
  const text = `minimum ${name} usage per ${type} is ${formatQuantity(least)}`;
  if (request === undefined) return `${text}.  No request is specified`;
  const [r, l, e] = comparable([request, limit ?? zero, least]) as [number, number, number];
  if (r < e) return `${text}, but request is ${formatQuantity(request)}`;
  if (limit !== undefined && l < e) return `${text}, but limit is ${formatQuantity(limit)}`;
  return undefined;
}

function maxConstraint(type: string, name: string, most: Quantity, requests: ResourceList, limits: ResourceList) {
  const request = requests.get(name);
  const limit = limits.get(name);
  const text = `maximum ${name} usage per ${type} is ${formatQuantity(most)}`;
  if (limit === undefined) return `${text}.  No limit is specified`;
  const [r, l, e] = comparable([request ?? zero, limit, most]) as [number, number, number];
  if (l > e) return `${text}, but limit is ${formatQuantity(limit)}`;
  if (request !== undefined && r > e) return `${text}, but request is ${formatQuantity(request)}`;
  return undefined;
}

function maxRequestConstraint(type: string, name: string, most: Quantity, requests: ResourceList) {
  const request = requests.get(name);
  const text = `maximum ${name} usage per ${type} is ${formatQuantity(most)}`;
  if (request === undefined) return `${text}.  No request is specified`;
  const [r, e] = comparable([request, most]) as [number, number];
  return r > e ? `${text}, but request is ${formatQuantity(request)}` : undefined;
}

function ratioConstraint(type: string, name: string, most: Quantity, requests: ResourceList, limits: ResourceList) {
  const text = `${name} max limit to request ratio per ${type} is ${formatQuantity(most)}`;
  const request = requests.get(name);
  const limit = limits.get(name);
  const [r, l] = comparable([request ?? zero, limit ?? zero, most]) as [number, number, number];
  if (request === undefined || r === 0) return `${text}, but no request is specified or request is 0`;
  if (limit === undefined || l === 0) return `${text}, but no limit is specified or limit is 0`;
  const ratio = l / r;
  return ratio * 1000 > quantityMilli(most) ? `${text}, but provided ratio is ${ratio.toFixed(6)}` : undefined;
}

function constraints(
  limit: { min?: unknown; max?: unknown; maxLimitRequestRatio?: unknown; type: string },
  requests: ResourceList,
  limits: ResourceList,
): string[] {
  const out: (string | undefined)[] = [];
  for (const [name, q] of readResources(limit.min as Written | undefined))
    out.push(minConstraint(limit.type, name, q, requests, limits));
  for (const [name, q] of readResources(limit.max as Written | undefined))
    out.push(maxConstraint(limit.type, name, q, requests, limits));
  for (const [name, q] of readResources(limit.maxLimitRequestRatio as Written | undefined))
    out.push(ratioConstraint(limit.type, name, q, requests, limits));
  return out.filter((e) => e !== undefined);
}

/** Go's aggregate: one text, or several in brackets, each once. */
function aggregate(errors: readonly string[]): string {
  const unique = [...new Set(errors)];
  return unique.length === 1 ? unique[0]! : `[${unique.join(', ')}]`;
}

/** Fills one container; the names of what was set go into `set`. */
function withDefaults(c: Container, defaults: { requests: Written; limits: Written }, what: string, set: string[]) {
  const fill = (have: Written | undefined, wanted: Written): [Written | undefined, string[]] => {
    const missing = Object.keys(wanted).filter((name) => have?.[name] === undefined);
    if (missing.length === 0) return [have, missing];
    const out = { ...have };
    for (const name of missing) out[name] = wanted[name]!;
    return [out, missing.toSorted()];
  };
  const [limits, setLimits] = fill(c.resources?.limits as Written | undefined, defaults.limits);
  const [requests, setRequests] = fill(c.resources?.requests as Written | undefined, defaults.requests);
  if (setRequests.length > 0) set.push(`${setRequests.join(', ')} request for ${what} ${c.name}`);
  if (setLimits.length > 0) set.push(`${setLimits.join(', ')} limit for ${what} ${c.name}`);
  if (setRequests.length === 0 && setLimits.length === 0) return c;
  return {
    ...c,
    resources: {
      ...c.resources,
      ...(limits === undefined ? {} : { limits }),
      ...(requests === undefined ? {} : { requests }),
    },
  } as Container;
}

function applyDefaults(range: LimitRange, object: Record<string, unknown>): Record<string, unknown> {
  const defaults = { requests: {} as Written, limits: {} as Written };
  for (const limit of range.spec?.limits ?? []) {
    if (limit.type !== 'Container') continue;
    Object.assign(defaults.requests, limit.defaultRequest);
    Object.assign(defaults.limits, limit.default);
  }
  if (Object.keys(defaults.requests).length + Object.keys(defaults.limits).length === 0) return object;
  const spec = object['spec'] as PodSpec;
  const set: string[] = [];
  const containers = spec.containers?.map((c) => withDefaults(c, defaults, 'container', set));
  const initContainers = spec.initContainers?.map((c) => withDefaults(c, defaults, 'init container', set));
  if (set.length === 0) return object;
  const changed = withSpec(object, {
    ...(containers === undefined ? {} : { containers }),
    ...(initContainers === undefined ? {} : { initContainers }),
  });
  return withMetadata(changed, {
    annotations: {
      ...metadataOf(object).annotations,
      'kubernetes.io/limit-ranger': `LimitRanger plugin set: ${set.join('; ')}`,
    },
  });
}

function podErrors(range: LimitRange, pod: Pod): string[] {
  const errors: string[] = [];
  for (const limit of range.spec?.limits ?? []) {
    if (limit.type === 'Container')
      for (const c of [...(pod.spec?.containers ?? []), ...(pod.spec?.initContainers ?? [])])
        errors.push(
          ...constraints(
            limit,
            readResources(c.resources?.requests as Written | undefined),
            readResources(c.resources?.limits as Written | undefined),
          ),
        );
    else if (limit.type === 'Pod')
      errors.push(
        ...constraints(
          limit,
          podResources(pod, 'requests', limitRangeOptions),
          podResources(pod, 'limits', limitRangeOptions),
        ),
      );
  }
  return errors;
}

function claimErrors(range: LimitRange, pvc: PersistentVolumeClaim): string[] {
  const errors: (string | undefined)[] = [];
  const requests = readResources(pvc.spec?.resources?.requests as Written | undefined);
  for (const limit of range.spec?.limits ?? []) {
    if (limit.type !== 'PersistentVolumeClaim') continue;
    for (const [name, text] of Object.entries(limit.min ?? {}))
      errors.push(minConstraint(limit.type, name, parseQuantity(text as string), requests, new Map()));
    for (const [name, text] of Object.entries(limit.max ?? {}))
      errors.push(maxRequestConstraint(limit.type, name, parseQuantity(text as string), requests));
  }
  return errors.filter((e) => e !== undefined);
}

export function limitRanger(deps: { readonly registries: Registries }): AdmissionPlugin {
  const ranges = (a: AdmissionAttributes): LimitRange[] =>
    metadataOf(a.oldObject).deletionTimestamp !== undefined
      ? []
      : [...cachedObjects<LimitRange>(deps.registries, '', 'limitranges', a.namespace)];
  return {
    name: 'LimitRanger',
    handles(operation, group, resource, subresource) {
      if (group !== '' || (operation !== 'CREATE' && operation !== 'UPDATE')) return false;
      if (resource === 'pods') return operation === 'CREATE' ? subresource === '' : subresource === 'resize';
      return resource === 'persistentvolumeclaims' && subresource === '';
    },
    mutate(a) {
      let { object } = a;
      if (object === undefined || a.resource !== 'pods' || object['spec'] === undefined) return object;
      for (const range of ranges(a)) object = applyDefaults(range, object);
      return object;
    },
    validate(a) {
      if (a.object === undefined) return;
      for (const range of ranges(a)) {
        const errors =
          a.resource === 'pods'
            ? podErrors(range, a.object as unknown as Pod)
            : claimErrors(range, a.object as unknown as PersistentVolumeClaim);
        if (errors.length > 0) throw refuse(a, aggregate(errors));
      }
    },
  };
}
