/**
 * Label selectors: requirements with upstream's error texts (apimachinery labels), the compiled matcher, and LabelSelector objects
 * made into one or validated. The string form is read in `selector-parser.ts`.
 */
import type { FieldError } from './field-error.ts';
import { forbiddenField, formatFieldError, invalid, notSupported, required } from './field-error.ts';
import { isLabelValue, isQualifiedName } from './names.ts';

export type Labels = Readonly<Record<string, string>>;

export interface LabelSelectorRequirement {
  key: string;
  operator: string;
  values?: string[] | null;
}

/** metav1.LabelSelector. */
export interface LabelSelector {
  matchLabels?: Record<string, string> | null;
  matchExpressions?: LabelSelectorRequirement[] | null;
}

export type SelectorOperator = '=' | '==' | '!=' | 'in' | 'notin' | 'exists' | '!' | 'gt' | 'lt';

export interface Requirement {
  readonly key: string;
  readonly operator: SelectorOperator;
  readonly values: readonly string[];
}

/** A selector that could not be read; the message is upstream's. */
export class SelectorError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'SelectorError';
  }
}

export const binaryOperators: readonly string[] = ['in', 'notin', '=', '==', '!=', 'gt', 'lt'];
const allOperators: readonly string[] = [...binaryOperators, 'exists', '!'];
const int64Pattern = /^[+-]?[0-9]+$/;

function parseInt64(text: string): bigint | undefined {
  if (!int64Pattern.test(text) || text.length > 64) return undefined;
  const n = BigInt(text.startsWith('+') ? text.slice(1) : text);
  return n > 9223372036854775807n || n < -9223372036854775808n ? undefined : n;
}

function aggregate(errors: readonly FieldError[]): string {
  const texts = [...new Set(errors.map(formatFieldError))];
  return texts.length === 1 ? texts[0]! : `[${texts.join(', ')}]`;
}

/**
 * A requirement, checked.
 * @throws {SelectorError}
 */
export function newRequirement(key: string, operator: SelectorOperator, values: readonly string[]): Requirement {
  const errors: FieldError[] = [];
  const keyErrors = isQualifiedName(key);
  if (keyErrors.length > 0) errors.push(invalid('key', key, keyErrors.join('; ')));
  switch (operator) {
    case 'in':
    case 'notin':
      if (values.length === 0) {
        errors.push(invalid('values', values, "for 'in', 'notin' operators, values set can't be empty"));
      }
      break;
    case '=':
    case '==':
    case '!=':
      if (values.length !== 1) {
        errors.push(invalid('values', values, 'exact-match compatibility requires one single value'));
      }
      break;
    case 'exists':
    case '!':
      if (values.length !== 0) {
        errors.push(invalid('values', values, 'values set must be empty for exists and does not exist'));
      }
      break;
    case 'gt':
    case 'lt':
      if (values.length !== 1) {
        errors.push(invalid('values', values, "for 'Gt', 'Lt' operators, exactly one value is required"));
      }
      values.forEach((value, i) => {
        if (parseInt64(value) === undefined) {
          errors.push(invalid(`values[${i}]`, value, "for 'Gt', 'Lt' operators, the value must be an integer"));
        }
      });
      break;
    default:
      errors.push(notSupported('operator', operator, allOperators));
  }
  values.forEach((value, i) => {
    const valueErrors = isLabelValue(value);
    if (valueErrors.length > 0) errors.push(invalid(`values[${i}][${key}]`, value, valueErrors.join('; ')));
  });
  if (errors.length > 0) throw new SelectorError(aggregate(errors));
  return { key, operator, values };
}

export function matchesRequirement(r: Requirement, labels: Labels | undefined | null): boolean {
  const value = labels !== undefined && labels !== null && Object.hasOwn(labels, r.key) ? labels[r.key] : undefined;
  switch (r.operator) {
    case '=':
    case '==':
    case 'in':
      return value !== undefined && r.values.includes(value);
    case '!=':
    case 'notin':
      return value === undefined || !r.values.includes(value);
    case 'exists':
      return value !== undefined;
    case '!':
      return value === undefined;
    case 'gt':
    case 'lt': {
      if (value === undefined || r.values.length !== 1) return false;
      const have = parseInt64(value);
      const want = parseInt64(r.values[0]!);
      if (have === undefined || want === undefined) return false;
      return r.operator === 'gt' ? have > want : have < want;
    }
  }
}

function requirementText(r: Requirement): string {
  switch (r.operator) {
    case 'exists':
      return r.key;
    case '!':
      return `!${r.key}`;
    case 'in':
    case 'notin':
      return `${r.key} ${r.operator} (${sorted(r.values).join(',')})`;
    case 'gt':
    case 'lt':
      return `${r.key}${r.operator === 'gt' ? '>' : '<'}${sorted(r.values).join(',')}`;
    default:
      return `${r.key}${r.operator}${sorted(r.values).join(',')}`;
  }
}

function sorted(values: readonly string[]): readonly string[] {
  return values.length < 2 ? values : values.toSorted();
}

/** A compiled label selector. */
export class Selector {
  readonly requirements: readonly Requirement[];
  /** Selects nothing at all, as a nil LabelSelector does. */
  readonly nothing: boolean;

  constructor(requirements: readonly Requirement[], nothing = false) {
    this.requirements = requirements;
    this.nothing = nothing;
  }

  /** All of them, in the order of their keys. */
  static of(requirements: readonly Requirement[]): Selector {
    if (requirements.length === 0) return everythingSelector;
    return new Selector(requirements.toSorted((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0)));
  }

  matches(labels: Labels | undefined | null): boolean {
    if (this.nothing) return false;
    for (const r of this.requirements) if (!matchesRequirement(r, labels)) return false;
    return true;
  }

  /** Does not restrict anything. */
  get empty(): boolean {
    return !this.nothing && this.requirements.length === 0;
  }

  /** The one value that the selector demands for this label, if it does. */
  requiresExactMatch(label: string): string | undefined {
    for (const r of this.requirements) {
      if (r.key !== label) continue;
      if ((r.operator === '=' || r.operator === '==' || r.operator === 'in') && r.values.length === 1) {
        return r.values[0];
      }
      return undefined;
    }
    return undefined;
  }

  /** A selector that demands these as well. */
  add(...more: Requirement[]): Selector {
    return this.nothing ? this : Selector.of([...this.requirements, ...more]);
  }

  toString(): string {
    return this.requirements.map(requirementText).join(',');
  }
}

export const everythingSelector: Selector = Object.freeze(new Selector(Object.freeze([])));
export const nothingSelector: Selector = Object.freeze(new Selector(Object.freeze([]), true));

/** Selects exactly what has all these labels; not validated. */
export function selectorFromSet(set: Labels | undefined | null): Selector {
  if (set === undefined || set === null) return everythingSelector;
  const requirements = Object.keys(set).map((key): Requirement => ({ key, operator: '=', values: [set[key]!] }));
  return Selector.of(requirements);
}

const objectOperators: ReadonlyMap<string, SelectorOperator> = new Map<string, SelectorOperator>([
  ['In', 'in'],
  ['NotIn', 'notin'],
  ['Exists', 'exists'],
  ['DoesNotExist', '!'],
]);

/**
 * Compiles a LabelSelector: none selects nothing, an empty one everything.
 * @throws {SelectorError}
 */
export function compileLabelSelector(selector: LabelSelector | undefined | null): Selector {
  if (selector === undefined || selector === null) return nothingSelector;
  const requirements: Requirement[] = [];
  const { matchLabels, matchExpressions } = selector;
  if (matchLabels) {
    for (const key of Object.keys(matchLabels)) requirements.push(newRequirement(key, '=', [matchLabels[key]!]));
  }
  for (const e of matchExpressions ?? []) {
    const operator = objectOperators.get(e.operator);
    if (operator === undefined) {
      throw new SelectorError(`${JSON.stringify(e.operator)} is not a valid label selector operator`);
    }
    requirements.push(newRequirement(e.key, operator, e.values ?? []));
  }
  return Selector.of(requirements);
}

/** Whether the labels match; an invalid selector matches nothing. For repeated use compile it once. */
export function matchesSelector(
  selector: LabelSelector | undefined | null,
  labels: Labels | undefined | null,
): boolean {
  if (selector === undefined || selector === null) return false;
  const { matchLabels, matchExpressions } = selector;
  if (matchLabels) {
    for (const key in matchLabels) {
      if (labels === undefined || labels === null || !Object.hasOwn(labels, key) || labels[key] !== matchLabels[key]) {
        return false;
      }
    }
  }
  for (const e of matchExpressions ?? []) {
    const operator = objectOperators.get(e.operator);
    if (operator === undefined) return false;
    if (!matchesRequirement({ key: e.key, operator, values: e.values ?? [] }, labels)) return false;
  }
  return true;
}

/** The string form of a LabelSelector, as tables and `status.selector` have it: `<none>` when empty, `<error>` when invalid. */
export function labelSelectorAsString(selector: LabelSelector | undefined | null): string {
  try {
    const text = compileLabelSelector(selector).toString();
    return text === '' ? '<none>' : text;
  } catch (e) {
    if (e instanceof SelectorError) return '<error>';
    throw e;
  }
}

/** Field errors of a label (or annotation, taint, …) key. */
export function validateLabelName(name: string, path: string): FieldError[] {
  return isQualifiedName(name).map((message) => invalid(path, name, message));
}

/** Field errors of a set of labels. */
export function validateLabels(labels: Labels | undefined | null, path: string): FieldError[] {
  const errors: FieldError[] = [];
  if (labels === undefined || labels === null) return errors;
  for (const key of Object.keys(labels)) {
    errors.push(...validateLabelName(key, path));
    const value = labels[key]!;
    for (const message of isLabelValue(value)) errors.push(invalid(path, value, message));
  }
  return errors;
}

export interface LabelSelectorValidationOptions {
  /** Only for objects that were stored with invalid values. */
  readonly allowInvalidLabelValueInSelector?: boolean;
  /** For SubjectAccessReviews. */
  readonly allowUnknownOperatorInRequirement?: boolean;
}

/** Field errors of a LabelSelector. */
export function validateLabelSelector(
  selector: LabelSelector | undefined | null,
  path: string,
  options: LabelSelectorValidationOptions = {},
): FieldError[] {
  if (selector === undefined || selector === null) return [];
  const errors = validateLabels(selector.matchLabels, `${path}.matchLabels`);
  (selector.matchExpressions ?? []).forEach((e, i) => {
    const at = `${path}.matchExpressions[${i}]`;
    const values = e.values ?? [];
    switch (e.operator) {
      case 'In':
      case 'NotIn':
        if (values.length === 0) {
          errors.push(required(`${at}.values`, "must be specified when `operator` is 'In' or 'NotIn'"));
        }
        break;
      case 'Exists':
      case 'DoesNotExist':
        if (values.length > 0) {
          errors.push(
            forbiddenField(`${at}.values`, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"),
          );
        }
        break;
      default:
        if (options.allowUnknownOperatorInRequirement !== true) {
          errors.push(invalid(`${at}.operator`, e.operator ?? '', 'not a valid selector operator'));
        }
    }
    errors.push(...validateLabelName(e.key ?? '', `${at}.key`));
    if (options.allowInvalidLabelValueInSelector !== true) {
      values.forEach((value, n) => {
        for (const message of isLabelValue(value)) errors.push(invalid(`${at}.values[${n}]`, value, message));
      });
    }
  });
  return errors;
}
