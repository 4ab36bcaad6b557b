/** What a pod asks of the scheduler: affinity, tolerations, spreading, gates (pkg/apis/core/validation). */
import { duplicate, forbiddenField, invalid, notSupported, required } from '../../api/field-error.ts';
import { isDNS1123Label, isDNS1123Subdomain, isLabelValue } from '../../api/names.ts';
import type { LabelSelector } from '../../api/selector.ts';
import { validateLabelName, validateLabelSelector } from '../../api/selector.ts';
import type {
  Affinity,
  NodeSelector,
  NodeSelectorRequirement,
  NodeSelectorTerm,
  PodAffinityTerm,
  PodSchedulingGate,
  Toleration,
  TopologySpreadConstraint,
} from '../../api/types/index.gen.ts';
import { type Errors, invalidEach, validatePositive, validateQualifiedName } from './field.ts';

const effects = ['NoSchedule', 'PreferNoSchedule', 'NoExecute'];

function nodeRequirement(r: NodeSelectorRequirement, field: string, valuesToo: boolean): Errors {
  const errors: Errors = [];
  const n = (r.values ?? []).length;
  switch (r.operator) {
    case 'In':
    case 'NotIn':
      if (n === 0) errors.push(required(`${field}.values`, "must be specified when `operator` is 'In' or 'NotIn'"));
      break;
    case 'Exists':
    case 'DoesNotExist':
      if (n > 0)
        errors.push(
          forbiddenField(`${field}.values`, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"),
        );
      break;
    case 'Gt':
    case 'Lt':
      if (n !== 1)
        errors.push(required(`${field}.values`, "must be specified single value when `operator` is 'Lt' or 'Gt'"));
      break;
    default:
      errors.push(invalid(`${field}.operator`, r.operator, 'not a valid selector operator'));
  }
  errors.push(...validateLabelName(r.key, `${field}.key`));
  if (valuesToo)
    (r.values ?? []).forEach((v, i) => errors.push(...invalidEach(`${field}.values[${i}]`, v, isLabelValue(v))));
  return errors;
}

function nodeFieldRequirement(r: NodeSelectorRequirement, field: string): Errors {
  const errors: Errors = [];
  if (r.operator !== 'In' && r.operator !== 'NotIn')
    errors.push(invalid(`${field}.operator`, r.operator, 'not a valid selector operator'));
  else if ((r.values ?? []).length !== 1)
    errors.push(
      required(`${field}.values`, "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"),
    );
  if (r.key !== 'metadata.name') errors.push(invalid(`${field}.key`, r.key, 'not a valid field selector key'));
  else
    (r.values ?? []).forEach((v, i) => errors.push(...invalidEach(`${field}.values[${i}]`, v, isDNS1123Subdomain(v))));
  return errors;
}

function nodeTerm(t: NodeSelectorTerm, field: string, valuesToo: boolean): Errors {
  return [
    ...(t.matchExpressions ?? []).flatMap((r, i) => nodeRequirement(r, `${field}.matchExpressions[${i}]`, valuesToo)),
    ...(t.matchFields ?? []).flatMap((r, i) => nodeFieldRequirement(r, `${field}.matchFields[${i}]`)),
  ];
}

export function validateNodeSelector(s: NodeSelector, field: string): Errors {
  if ((s.nodeSelectorTerms ?? []).length === 0)
    return [required(`${field}.nodeSelectorTerms`, 'must have at least one node selector term')];
  return s.nodeSelectorTerms.flatMap((t, i) => nodeTerm(t, `${field}.nodeSelectorTerms[${i}]`, true));
}

function labelKeys(keys: readonly string[] | undefined, selector: LabelSelector | undefined, field: string): Errors {
  if (keys === undefined || keys.length === 0) return [];
  if (selector === undefined) return [forbiddenField(field, 'must not be specified when labelSelector is not set')];
  return keys.flatMap((k, i) => validateLabelName(k, `${field}[${i}]`));
}

function matchKeys(
  match: readonly string[] | undefined,
  mismatch: readonly string[] | undefined,
  selector: LabelSelector | undefined,
  field: string,
): Errors {
  const errors = [
    ...labelKeys(match, selector, `${field}.matchLabelKeys`),
    ...labelKeys(mismatch, selector, `${field}.mismatchLabelKeys`),
  ];
  const seen = new Set(Object.keys(selector?.matchLabels ?? {}));
  for (const e of selector?.matchExpressions ?? []) {
    const i = match?.indexOf(e.key) ?? -1;
    if (i >= 0 && seen.has(e.key))
      errors.push(invalid(`${field}[${i}]`, e.key, 'exists in both matchLabelKeys and labelSelector'));
    seen.add(e.key);
  }
  (match ?? []).forEach((k, i) => {
    if (mismatch?.includes(k) === true)
      errors.push(invalid(`${field}.matchLabelKeys[${i}]`, k, 'exists in both matchLabelKeys and mismatchLabelKeys'));
  });
  return errors;
}

function podTerm(t: PodAffinityTerm, field: string): Errors {
  const errors: Errors = [];
  if (t.labelSelector !== undefined) errors.push(...validateLabelSelector(t.labelSelector, `${field}.labelSelector`));
  if (t.namespaceSelector !== undefined)
    errors.push(...validateLabelSelector(t.namespaceSelector, `${field}.namespaceSelector`));
  for (const ns of t.namespaces ?? []) errors.push(...invalidEach(`${field}.namespace`, ns, isDNS1123Label(ns)));
  errors.push(...matchKeys(t.matchLabelKeys, t.mismatchLabelKeys, t.labelSelector, field));
  if (!t.topologyKey) errors.push(required(`${field}.topologyKey`, 'can not be empty'));
  errors.push(...validateLabelName(t.topologyKey ?? '', `${field}.topologyKey`));
  return errors;
}

function weight(w: number, field: string): Errors {
  return w <= 0 || w > 100 ? [invalid(field, w, 'must be in the range 1-100')] : [];
}

export function validateAffinity(a: Affinity | undefined, field: string): Errors {
  const errors: Errors = [];
  const na = a?.nodeAffinity;
  if (na?.requiredDuringSchedulingIgnoredDuringExecution !== undefined)
    errors.push(
      ...validateNodeSelector(
        na.requiredDuringSchedulingIgnoredDuringExecution,
        `${field}.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution`,
      ),
    );
  (na?.preferredDuringSchedulingIgnoredDuringExecution ?? []).forEach((t, i) => {
    const at = `${field}.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[${i}]`;
    errors.push(...weight(t.weight, `${at}.weight`), ...nodeTerm(t.preference, `${at}.preference`, false));
  });
  for (const kind of ['podAffinity', 'podAntiAffinity'] as const) {
    const pa = a?.[kind];
    (pa?.requiredDuringSchedulingIgnoredDuringExecution ?? []).forEach((t, i) =>
      errors.push(...podTerm(t, `${field}.${kind}.requiredDuringSchedulingIgnoredDuringExecution[${i}]`)),
    );
    (pa?.preferredDuringSchedulingIgnoredDuringExecution ?? []).forEach((t, i) => {
      const at = `${field}.${kind}.preferredDuringSchedulingIgnoredDuringExecution[${i}]`;
      errors.push(...weight(t.weight, `${at}.weight`), ...podTerm(t.podAffinityTerm, `${at}.podAffinityTerm`));
    });
  }
  return errors;
}

export function validateTolerations(list: readonly Toleration[] | undefined, field: string): Errors {
  const errors: Errors = [];
  (list ?? []).forEach((t, i) => {
    const at = `${field}[${i}]`;
    const operator = t.operator ?? '';
    if (t.key) errors.push(...validateLabelName(t.key, `${at}.key`));
    else if (operator !== 'Exists')
      errors.push(
        invalid(
          `${at}.operator`,
          operator,
          'operator must be Exists when `key` is empty, which means "match all values and all keys"',
        ),
      );
    if (t.tolerationSeconds !== undefined && t.effect !== 'NoExecute')
      errors.push(
        invalid(`${at}.effect`, t.effect ?? '', "effect must be 'NoExecute' when `tolerationSeconds` is set"),
      );
    switch (operator) {
      case 'Equal':
      case '': {
        const wrong = isLabelValue(t.value ?? '');
        if (wrong.length > 0) errors.push(invalid(`${at}.operator`, t.value ?? '', wrong.join(';')));
        break;
      }
      case 'Exists':
        if (t.value) errors.push(invalid(`${at}.operator`, t.value, "value must be empty when `operator` is 'Exists'"));
        break;
      case 'Lt':
      case 'Gt':
        errors.push(notSupported(`${at}.operator`, operator, ['Equal', 'Exists', 'Lt', 'Gt']));
        break;
      default:
        errors.push(notSupported(`${at}.operator`, operator, ['Equal', 'Exists']));
    }
    if (t.effect && !effects.includes(t.effect)) errors.push(notSupported(`${at}.effect`, t.effect, effects));
  });
  return errors;
}

export function validateTopologySpread(list: readonly TopologySpreadConstraint[] | undefined, field: string): Errors {
  const errors: Errors = [];
  (list ?? []).forEach((c, i) => {
    const at = `${field}[${i}]`;
    if ((c.maxSkew ?? 0) <= 0) errors.push(invalid(`${at}.maxSkew`, c.maxSkew ?? 0, 'must be greater than zero'));
    if (!c.topologyKey) errors.push(required(`${at}.topologyKey`, 'can not be empty'));
    if (!['DoNotSchedule', 'ScheduleAnyway'].includes(c.whenUnsatisfiable))
      errors.push(
        notSupported(`${at}.whenUnsatisfiable`, c.whenUnsatisfiable ?? '', ['DoNotSchedule', 'ScheduleAnyway']),
      );
    if (list!.slice(i + 1).some((o) => o.topologyKey === c.topologyKey && o.whenUnsatisfiable === c.whenUnsatisfiable))
      errors.push(duplicate(`${at}.{topologyKey, whenUnsatisfiable}`, `{${c.topologyKey}, ${c.whenUnsatisfiable}}`));
    if (c.minDomains !== undefined) {
      errors.push(...validatePositive(c.minDomains, `${at}.minDomains`));
      if (c.whenUnsatisfiable !== 'DoNotSchedule')
        errors.push(
          invalid(
            `${at}.minDomains`,
            c.minDomains,
            `can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ${c.whenUnsatisfiable}`,
          ),
        );
    }
    for (const name of ['nodeAffinityPolicy', 'nodeTaintsPolicy'] as const)
      if (c[name] !== undefined && !['Honor', 'Ignore'].includes(c[name]))
        errors.push(notSupported(`${at}.${name}`, c[name], ['Honor', 'Ignore']));
    errors.push(...matchKeys(c.matchLabelKeys, undefined, c.labelSelector, at));
    if (c.labelSelector !== undefined) errors.push(...validateLabelSelector(c.labelSelector, `${at}.labelSelector`));
  });
  return errors;
}

export function validateSchedulingGates(list: readonly PodSchedulingGate[] | undefined, field: string): Errors {
  const errors: Errors = [];
  const seen = new Set<string>();
  (list ?? []).forEach((g, i) => {
    errors.push(...validateQualifiedName(g.name, `${field}[${i}]`));
    if (seen.has(g.name)) errors.push(duplicate(`${field}[${i}]`, g.name));
    seen.add(g.name);
  });
  return errors;
}
