/**
 * The JSONPath of printer columns and of CRD's selectable fields: client-go's dialect (members, escaped dots, quoted
 * members, indexes, slices, unions, wildcards, recursive descent, filters). A path is parsed once and walked often.
 */

type Step =
  | { readonly kind: 'member'; readonly name: string }
  | { readonly kind: 'any' }
  | { readonly kind: 'descend' }
  | { readonly kind: 'slice'; readonly from?: number; readonly to?: number; readonly step?: number }
  | { readonly kind: 'union'; readonly members: readonly (string | number)[] }
  | { readonly kind: 'filter'; readonly left: Operand; readonly op: string; readonly right: Operand | undefined };

type Operand = { readonly path: readonly Step[] } | { readonly value: string | number | boolean | null };

export class JsonPathError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'JsonPathError';
  }
}

class Parser {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  path(): Step[] {
    const steps: Step[] = [];
    while (this.#at < this.#text.length) {
      const c = this.#text[this.#at]!;
      if (c === '.') {
        this.#at++;
        if (this.#text[this.#at] === '.') {
          this.#at++;
          steps.push({ kind: 'descend' });
          if (this.#text[this.#at] === '[') continue;
          this.#member(steps);
        } else if (this.#at < this.#text.length && this.#text[this.#at] !== '[') this.#member(steps);
      } else if (c === '[') this.#bracket(steps);
      else if (c === '$' || c === '@') this.#at++;
      else if (steps.length === 0) this.#member(steps);
      else throw new JsonPathError(`unrecognized character in action: ${JSON.stringify(c)}`);
    }
    return steps;
  }

  #member(steps: Step[]): void {
    if (this.#text[this.#at] === '*') {
      this.#at++;
      steps.push({ kind: 'any' });
      return;
    }
    let name = '';
    while (this.#at < this.#text.length) {
      const c = this.#text[this.#at]!;
      if (c === '.' || c === '[') break;
      if (c === '\\') this.#at++;
      name += this.#text[this.#at] ?? '';
      this.#at++;
    }
    if (name === '') throw new JsonPathError('empty member name');
    steps.push({ kind: 'member', name });
  }

  /** The text between the brackets at the cursor, quotes respected; the cursor moves behind. */
  #inside(): string {
    let depth = 0;
    let quote = '';
    const start = this.#at + 1;
    for (; this.#at < this.#text.length; this.#at++) {
      const c = this.#text[this.#at]!;
      if (quote !== '') {
        if (c === '\\') this.#at++;
        else if (c === quote) quote = '';
      } else if (c === '"' || c === "'") quote = c;
      else if (c === '[') depth++;
      else if (c === ']' && --depth === 0) return this.#text.slice(start, this.#at++);
    }
    throw new JsonPathError('unterminated array');
  }

  #bracket(steps: Step[]): void {
    const text = this.#inside().trim();
    if (text === '*' || text === '') steps.push({ kind: 'any' });
    else if (text.startsWith('?(') && text.endsWith(')')) steps.push(filter(text.slice(2, -1)));
    else if (/^-?\d*:-?\d*(:-?\d*)?$/.test(text)) {
      const [from, to, step] = text.split(':').map((n) => (n === '' ? undefined : Number(n)));
      steps.push({
        kind: 'slice',
        ...(from === undefined ? {} : { from }),
        ...(to === undefined ? {} : { to }),
        ...(step === undefined ? {} : { step }),
      });
    } else {
      const members = splitOutside(text, ',').map((m) => {
        const part = m.trim();
        if (/^-?\d+$/.test(part)) return Number(part);
        const quoted = /^(['"])([\s\S]*)\1$/.exec(part);
        if (quoted !== null) return quoted[2]!.replace(/\\(.)/g, '$1');
        throw new JsonPathError(`invalid array index ${part}`);
      });
      steps.push({ kind: 'union', members });
    }
  }
}

function splitOutside(text: string, separator: string): string[] {
  const parts: string[] = [];
  let quote = '';
  let start = 0;
  for (let i = 0; i < text.length; i++) {
    const c = text[i]!;
    if (quote !== '') {
      if (c === '\\') i++;
      else if (c === quote) quote = '';
    } else if (c === '"' || c === "'") quote = c;
    else if (c === separator) {
      parts.push(text.slice(start, i));
      start = i + 1;
    }
  }
  parts.push(text.slice(start));
  return parts;
}

function operand(text: string): Operand {
  const part = text.trim();
  const quoted = /^(['"])([\s\S]*)\1$/.exec(part);
  if (quoted !== null) return { value: quoted[2]!.replace(/\\(.)/g, '$1') };
  if (part === 'true' || part === 'false') return { value: part === 'true' };
  if (part === 'null' || part === 'nil') return { value: null };
  if (part !== '' && !Number.isNaN(Number(part))) return { value: Number(part) };
  return { path: new Parser(part).path() };
}

function filter(text: string): Step {
  let quote = '';
  for (let i = 0; i < text.length; i++) {
    const c = text[i]!;
    if (quote !== '') {
      if (c === '\\') i++;
      else if (c === quote) quote = '';
      continue;
    }
    if (c === '"' || c === "'") quote = c;
    else {
      const op = /^(==|!=|<=|>=|<|>)/.exec(text.slice(i, i + 2));
      if (op !== null)
        return {
          kind: 'filter',
          left: operand(text.slice(0, i)),
          op: op[0],
          right: operand(text.slice(i + op[0].length)),
        };
    }
  }
  return { kind: 'filter', left: operand(text), op: 'exists', right: undefined };
}

function* descend(value: unknown): Generator<unknown> {
  yield value;
  if (typeof value !== 'object' || value === null) return;
  for (const member of Object.values(value)) yield* descend(member);
}

function passes(step: Step & { kind: 'filter' }, item: unknown): boolean {
  const values = (o: Operand): unknown[] => ('path' in o ? walk(o.path, item) : [o.value]);
  const left = values(step.left);
  if (step.right === undefined) return left.length > 0;
  const right = values(step.right);
  if (left.length === 0 || right.length === 0) return false;
  const a = left[0];
  const b = right[0];
  switch (step.op) {
    case '==':
      return a === b;
    case '!=':
      return a !== b;
  }
  if (typeof a !== typeof b || (typeof a !== 'number' && typeof a !== 'string')) return false;
  const [x, y] = [a as string, b as string];
  switch (step.op) {
    case '<':
      return x < y;
    case '<=':
      return x <= y;
    case '>':
      return x > y;
    default:
      return x >= y;
  }
}

function pick(value: unknown, member: string | number): unknown[] {
  if (typeof value !== 'object' || value === null) return [];
  if (typeof member === 'number') {
    if (!Array.isArray(value)) return [];
    const at = member < 0 ? value.length + member : member;
    return at in value ? [value[at] as unknown] : [];
  }
  if (Array.isArray(value) || !Object.hasOwn(value, member)) return [];
  return [(value as Record<string, unknown>)[member]];
}

function walk(steps: readonly Step[], root: unknown): unknown[] {
  let current: unknown[] = [root];
  for (const step of steps) {
    const next: unknown[] = [];
    for (const value of current) {
      switch (step.kind) {
        case 'member':
          next.push(...pick(value, step.name));
          break;
        case 'any':
          if (typeof value === 'object' && value !== null) next.push(...(Object.values(value) as unknown[]));
          break;
        case 'descend':
          next.push(...descend(value));
          break;
        case 'union':
          for (const m of step.members) next.push(...pick(value, m));
          break;
        case 'slice': {
          if (!Array.isArray(value)) break;
          const bound = (n: number | undefined, fallback: number): number =>
            n === undefined ? fallback : n < 0 ? Math.max(value.length + n, 0) : Math.min(n, value.length);
          const every = Math.max(step.step ?? 1, 1);
          for (let i = bound(step.from, 0); i < bound(step.to, value.length); i += every) next.push(value[i]);
          break;
        }
        case 'filter':
          if (Array.isArray(value)) next.push(...value.filter((item) => passes(step, item)));
          break;
      }
    }
    current = next;
  }
  return current;
}

/** A parsed path. */
export type JsonPath = (root: unknown) => unknown[];

/** Parses a path such as `.status.conditions[?(@.type=="Ready")].status`. Throws `JsonPathError`. */
export function parseJsonPath(text: string): JsonPath {
  const steps = new Parser(text.trim()).path();
  return (root) => walk(steps, root);
}

/** The members that a path goes through before anything else, such as `status`, `conditions`. Throws `JsonPathError`. */
export function membersOfPath(text: string): readonly string[] {
  const names: string[] = [];
  for (const step of new Parser(text.trim()).path()) {
    if (step.kind !== 'member') break;
    names.push(step.name);
  }
  return names;
}
