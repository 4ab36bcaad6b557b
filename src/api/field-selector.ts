/** Field selectors: upstream's grammar with its error texts (apimachinery fields), and matching by what is told of a field. */
import { SelectorError } from './selector.ts';

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
    const field = part.slice(0, m.index);
    // Nothing of nothing is no condition.
    if (field !== '' || value !== '') terms.push({ field, operator: m[0] === '!=' ? '!=' : '=', value });
  }
  if (transform === undefined) return terms.length === 0 ? everythingFieldSelector : new FieldSelector(terms);
  const out: FieldTerm[] = [];
  for (const t of terms) {
    const { field, value } = transform(t.field, t.value);
    if (field !== '' || value !== '') out.push({ field, operator: t.operator, value });
  }
  return out.length === 0 ? everythingFieldSelector : new FieldSelector(out);
}
