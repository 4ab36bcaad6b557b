/**
 * Label and field selectors: upstream's grammars with their error texts (apimachinery labels, fields), LabelSelector objects,
 * and compiled matchers.
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

const binaryOperators: readonly string[] = ['in', 'notin', '=', '==', '!=', 'gt', 'lt'];
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
    return this.nothing ? this : new Selector(sortByKey([...this.requirements, ...more]));
  }

  toString(): string {
    return this.requirements.map(requirementText).join(',');
  }
}

function sortByKey(requirements: Requirement[]): Requirement[] {
  return requirements.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0));
}

export const everythingSelector: Selector = Object.freeze(new Selector(Object.freeze([])));
export const nothingSelector: Selector = Object.freeze(new Selector(Object.freeze([]), true));

// String form ----------------------------------------------------------------------------------------------------------

type Token = ')' | ',' | '!' | '==' | '=' | '>' | 'in' | '<' | '!=' | 'notin' | '(' | 'identifier' | 'end' | 'error';

interface Scanned {
  readonly token: Token;
  readonly literal: string;
}

const keywords: ReadonlySet<string> = new Set([')', ',', '!', '==', '=', '>', 'in', '<', '!=', 'notin', '(']);

function isSpecial(ch: string | undefined): boolean {
  return ch !== undefined && ch !== '' && '=!(),><'.includes(ch);
}

function isSpace(ch: string | undefined): boolean {
  return ch === ' ' || ch === '\t' || ch === '\r' || ch === '\n';
}

function scan(text: string): Scanned[] {
  const items: Scanned[] = [];
  let pos = 0;
  for (;;) {
    while (isSpace(text[pos])) pos++;
    if (pos >= text.length || text[pos] === '\0') {
      items.push({ token: 'end', literal: '' });
      return items;
    }
    if (isSpecial(text[pos])) {
      // The longest operator wins; what follows a known one and does not extend it is left for the next token.
      let buffer = '';
      let last = '';
      while (isSpecial(text[pos])) {
        buffer += text[pos];
        if (keywords.has(buffer)) last = buffer;
        else if (last !== '') break;
        pos++;
      }
      if (last === '') items.push({ token: 'error', literal: `error expected: keyword found '${buffer}'` });
      else items.push({ token: last as Token, literal: last });
      continue;
    }
    const start = pos;
    while (pos < text.length && text[pos] !== '\0' && !isSpecial(text[pos]) && !isSpace(text[pos])) pos++;
    const literal = text.slice(start, pos);
    items.push({ token: keywords.has(literal) ? (literal as Token) : 'identifier', literal });
  }
}

class SelectorParser {
  readonly items: Scanned[];
  position = 0;

  constructor(text: string) {
    this.items = scan(text);
  }

  /** In value position `in` and `notin` are ordinary words. */
  lookahead(operatorPlace = false): Scanned {
    const item = this.items[Math.min(this.position, this.items.length - 1)]!;
    if (!operatorPlace && (item.token === 'in' || item.token === 'notin')) {
      return { token: 'identifier', literal: item.literal };
    }
    return item;
  }

  consume(operatorPlace = false): Scanned {
    const item = this.lookahead(operatorPlace);
    this.position++;
    return item;
  }

  parse(): Requirement[] {
    const requirements: Requirement[] = [];
    for (;;) {
      const { token, literal } = this.lookahead();
      if (token === 'end') return requirements;
      if (token !== 'identifier' && token !== '!') {
        throw new SelectorError(`found '${literal}', expected: !, identifier, or 'end of string'`);
      }
      try {
        requirements.push(this.requirement());
      } catch (e) {
        if (e instanceof SelectorError) throw new SelectorError(`unable to parse requirement: ${e.message}`);
        throw e;
      }
      const next = this.consume();
      if (next.token === 'end') return requirements;
      if (next.token !== ',') {
        throw new SelectorError(`found '${next.literal}', expected: ',' or 'end of string'`);
      }
      const after = this.lookahead();
      if (after.token !== 'identifier' && after.token !== '!') {
        throw new SelectorError(`found '${after.literal}', expected: identifier after ','`);
      }
    }
  }

  requirement(): Requirement {
    let item = this.consume();
    let operator: SelectorOperator | undefined;
    if (item.token === '!') {
      operator = '!';
      item = this.consume();
    }
    if (item.token !== 'identifier') throw new SelectorError(`found '${item.literal}', expected: identifier`);
    const key = item.literal;
    const keyErrors = isQualifiedName(key);
    // Upstream has no path here, and prints the lack of one.
    if (keyErrors.length > 0) throw new SelectorError(formatFieldError(invalid('<nil>', key, keyErrors.join('; '))));
    const next = this.lookahead().token;
    if ((next === 'end' || next === ',') && operator === undefined) operator = 'exists';
    if (operator !== undefined) return newRequirement(key, operator, []);
    operator = this.operator();
    const values = operator === 'in' || operator === 'notin' ? this.values() : this.exactValue();
    return newRequirement(key, operator, values);
  }

  operator(): SelectorOperator {
    const { token, literal } = this.consume(true);
    switch (token) {
      case 'in':
      case 'notin':
      case '=':
      case '==':
      case '!=':
        return token;
      case '>':
        return 'gt';
      case '<':
        return 'lt';
      default:
        throw new SelectorError(`found '${literal}', expected: ${binaryOperators.join(', ')}`);
    }
  }

  values(): string[] {
    const open = this.consume();
    if (open.token !== '(') throw new SelectorError(`found '${open.literal}' expected: '('`);
    const first = this.lookahead();
    if (first.token === 'identifier' || first.token === ',') {
      const values = this.identifiers();
      if (this.consume().token !== ')') throw new SelectorError(`found '${first.literal}', expected: ')'`);
      return values;
    }
    if (first.token === ')') {
      this.consume();
      return [''];
    }
    throw new SelectorError(`found '${first.literal}', expected: ',', ')' or identifier`);
  }

  identifiers(): string[] {
    const values = new Set<string>();
    for (;;) {
      const { token, literal } = this.consume();
      if (token === 'identifier') {
        values.add(literal);
        const next = this.lookahead();
        if (next.token === ',') continue;
        if (next.token === ')') return [...values].sort();
        throw new SelectorError(`found '${next.literal}', expected: ',' or ')'`);
      }
      if (token !== ',') throw new SelectorError(`found '${literal}', expected: ',', or identifier`);
      if (values.size === 0) values.add('');
      const next = this.lookahead();
      if (next.token === ')') {
        values.add('');
        return [...values].sort();
      }
      if (next.token === ',') values.add('');
    }
  }

  exactValue(): string[] {
    const next = this.lookahead().token;
    if (next === 'end' || next === ',') return [''];
    const { token, literal } = this.consume();
    if (token === 'identifier') return [literal];
    throw new SelectorError(`found '${literal}', expected: identifier`);
  }
}

/**
 * Reads the string form of a label selector (`app=web,tier in (a,b),!canary`).
 * @throws {SelectorError} with upstream's text
 */
export function parseLabelSelector(text: string): Selector {
  const requirements = new SelectorParser(text).parse();
  return requirements.length === 0 ? everythingSelector : new Selector(sortByKey(requirements));
}

/** Selects exactly what has all these labels; not validated. */
export function selectorFromSet(set: Labels | undefined | null): Selector {
  if (set === undefined || set === null) return everythingSelector;
  const requirements = Object.keys(set).map((key): Requirement => ({ key, operator: '=', values: [set[key]!] }));
  return requirements.length === 0 ? everythingSelector : new Selector(sortByKey(requirements));
}

// LabelSelector objects ------------------------------------------------------------------------------------------------

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
  return requirements.length === 0 ? everythingSelector : new Selector(sortByKey(requirements));
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

/**
 * The string form read into a LabelSelector object.
 * @throws {SelectorError}
 */
export function parseToLabelSelector(text: string): LabelSelector {
  let selector: Selector;
  try {
    selector = parseLabelSelector(text);
  } catch (e) {
    if (e instanceof SelectorError) {
      throw new SelectorError(`couldn't parse the selector string "${text}": ${e.message}`);
    }
    throw e;
  }
  const matchLabels: Record<string, string> = {};
  const matchExpressions: LabelSelectorRequirement[] = [];
  for (const r of selector.requirements) {
    switch (r.operator) {
      case '=':
      case '==':
        matchLabels[r.key] = r.values[0]!;
        break;
      case 'in':
        matchExpressions.push({ key: r.key, operator: 'In', values: [...r.values] });
        break;
      case 'notin':
        matchExpressions.push({ key: r.key, operator: 'NotIn', values: [...r.values] });
        break;
      case 'exists':
        matchExpressions.push({ key: r.key, operator: 'Exists' });
        break;
      case '!':
        matchExpressions.push({ key: r.key, operator: 'DoesNotExist' });
        break;
      case '!=':
        throw new SelectorError('"!=" is not a valid label selector operator');
      default:
        throw new SelectorError(`"${r.operator}" isn't supported in label selectors`);
    }
  }
  return {
    ...(Object.keys(matchLabels).length > 0 ? { matchLabels } : {}),
    ...(matchExpressions.length > 0 ? { matchExpressions } : {}),
  };
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

// Field selectors ------------------------------------------------------------------------------------------------------

export interface FieldTerm {
  readonly field: string;
  readonly operator: '=' | '!=';
  readonly value: string;
}

/** What a field label and value become; both empty drops the term. May throw (an unsupported label). */
export type FieldTransform = (field: string, value: string) => { field: string; value: string };

export class FieldSelector {
  readonly terms: readonly FieldTerm[];

  constructor(terms: readonly FieldTerm[]) {
    this.terms = terms;
  }

  get empty(): boolean {
    return this.terms.length === 0;
  }

  /** `get` gives a field's text, empty or undefined when unset. */
  matches(get: (field: string) => string | undefined): boolean {
    for (const t of this.terms) if (((get(t.field) ?? '') === t.value) !== (t.operator === '=')) return false;
    return true;
  }

  /** The one value that the selector demands of this field, if it does. */
  requiresExactMatch(field: string): string | undefined {
    for (const t of this.terms) if (t.operator === '=' && t.field === field) return t.value;
    return undefined;
  }

  toString(): string {
    return this.terms.map((t) => `${t.field}${t.operator}${escapeFieldValue(t.value)}`).join(',');
  }
}

export const everythingFieldSelector: FieldSelector = Object.freeze(new FieldSelector(Object.freeze([])));

/** Escapes `\`, `,` and `=`. */
function escapeFieldValue(value: string): string {
  return value.replace(/[\\,=]/g, '\\$&');
}

function unescapeFieldValue(text: string): string {
  if (!/[\\,=]/.test(text)) return text;
  let out = '';
  let inSlash = false;
  for (const ch of text) {
    if (inSlash) {
      if (ch !== '\\' && ch !== ',' && ch !== '=') {
        throw new SelectorError(`invalid field selector: invalid escape sequence: \\${ch}`);
      }
      out += ch;
      inSlash = false;
    } else if (ch === '\\') inSlash = true;
    else if (ch === ',' || ch === '=') {
      // Upstream prints the character as a number.
      throw new SelectorError(`invalid field selector: unescaped character in value: ${ch.codePointAt(0)}`);
    } else out += ch;
  }
  if (inSlash) throw new SelectorError('invalid field selector: invalid escape sequence: \\');
  return out;
}

function splitTerms(text: string): string[] {
  if (text === '') return [];
  const terms: string[] = [];
  let start = 0;
  let inSlash = false;
  for (let i = 0; i < text.length; i++) {
    const ch = text[i];
    if (inSlash) inSlash = false;
    else if (ch === '\\') inSlash = true;
    else if (ch === ',') {
      terms.push(text.slice(start, i));
      start = i + 1;
    }
  }
  terms.push(text.slice(start));
  return terms;
}

/**
 * Reads a field selector (`metadata.name=x,status.phase!=Running`).
 * @throws {SelectorError} with upstream's text
 */
export function parseFieldSelector(text: string, transform?: FieldTransform): FieldSelector {
  const terms: FieldTerm[] = [];
  for (const part of splitTerms(text).sort()) {
    if (part === '') continue;
    const m = /!=|==|=/.exec(part);
    if (m === null) throw new SelectorError(`invalid selector: '${text}'; can't understand '${part}'`);
    const value = unescapeFieldValue(part.slice(m.index + m[0].length));
    terms.push({ field: part.slice(0, m.index), operator: m[0] === '!=' ? '!=' : '=', value });
  }
  if (transform === undefined) return terms.length === 0 ? everythingFieldSelector : new FieldSelector(terms);
  const out: FieldTerm[] = [];
  for (const t of terms) {
    const { field, value } = transform(t.field, t.value);
    if (field !== '' || value !== '') out.push({ field, operator: t.operator, value });
  }
  return out.length === 0 ? everythingFieldSelector : new FieldSelector(out);
}
