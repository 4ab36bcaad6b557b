/**
 * The string form of label selectors (`app=web,tier in (a,b),!canary`), read by upstream's grammar and with its error texts
 * (apimachinery labels).
 */
import { formatFieldError, invalid } from './field-error.ts';
import { isQualifiedName } from './names.ts';
import { binaryOperators, newRequirement, Selector, SelectorError } from './selector.ts';
import type { LabelSelector, LabelSelectorRequirement, Requirement, SelectorOperator } from './selector.ts';

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
  return Selector.of(requirements);
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
