/**
 * What can go wrong: compile errors with the place in the source, printed as Kubernetes prints them, and failures of an
 * evaluation.
 */

export type CelErrorKind =
  /** the expression failed: no such key, division by zero, ... */
  | 'runtime'
  /** the evaluation cost more than it may */
  | 'cost';

/** What `Program.evaluate` throws. */
export class CelError extends Error {
  readonly kind: CelErrorKind;
  /** What the evaluation had cost until then. */
  readonly cost: number;

  constructor(kind: CelErrorKind, message: string, cost = 0, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'CelError';
    this.kind = kind;
    this.cost = cost;
  }
}

/**
 * A failure on its way through an expression, where `&&`, `||` and macros may still absorb it. It is an Error, but takes no
 * stack trace: failing is part of normal evaluation, and must be cheap.
 */
export class Failure {
  readonly message: string;
  declare readonly name: string;

  constructor(message: string) {
    this.message = message;
  }
}
Object.setPrototypeOf(Failure.prototype, Error.prototype);

/** The cost limit was hit; nothing absorbs it. */
export class CostExceeded {
  declare readonly message: string;
}
Object.setPrototypeOf(CostExceeded.prototype, Error.prototype);

/** An answer that an evaluation needs is not there yet: it is run again when it is. Nothing absorbs it. */
export class Suspended {
  declare readonly message: string;
  readonly ready: Promise<void>;

  constructor(ready: Promise<void>) {
    this.ready = ready;
  }
}
Object.setPrototypeOf(Suspended.prototype, Error.prototype);

export function fail(message: string): never {
  throw new Failure(message) as unknown as Error;
}

export const noSuchOverload = (): never => fail('no such overload');

/** Whether `&&`, `||` and macros may absorb what was thrown. Rethrows what is not about the expression. */
export function absorbable(error: unknown): Failure {
  if (error instanceof Failure) return error;
  if (error instanceof CelError && error.kind === 'runtime') return new Failure(error.message);
  throw error;
}

/** One error of a compilation. */
export interface CompileIssue {
  readonly message: string;
  /** 1-based; 0 or less when the error has no place. */
  readonly line: number;
  /** 0-based, in characters. */
  readonly column: number;
}

const maxIssues = 100;
const maxSnippet = 16384;

/** Collects the errors of one compilation. */
export class Issues {
  readonly #source: string;
  readonly #lineStarts: number[];
  readonly list: CompileIssue[] = [];
  #count = 0;

  constructor(source: string) {
    this.#source = source;
    this.#lineStarts = [0];
    for (let i = source.indexOf('\n'); i !== -1; i = source.indexOf('\n', i + 1)) this.#lineStarts.push(i + 1);
  }

  get count(): number {
    return this.#count;
  }

  /** Notes an error at a UTF-16 offset of the source; below zero, at no place. */
  report(offset: number, message: string): void {
    this.#count++;
    if (this.#count > maxIssues) return;
    if (offset < 0) {
      this.list.push({ message, line: -1, column: -1 });
      return;
    }
    let line = 0;
    let high = this.#lineStarts.length - 1;
    while (line < high) {
      const middle = (line + high + 1) >> 1;
      if (this.#lineStarts[middle]! <= offset) line = middle;
      else high = middle - 1;
    }
    const start = this.#lineStarts[line]!;
    // The end of nothing at all stands before the first column.
    const column = this.#source === '' ? -1 : [...this.#source.slice(start, offset)].length;
    this.list.push({ message, line: line + 1, column });
  }

  /** All errors in the order of their places, as upstream prints them: with the source line and a caret. */
  toString(): string {
    const sorted = this.list.toSorted((a, b) => a.line - b.line || a.column - b.column);
    const lines = sorted.map((issue) => this.#display(issue));
    if (this.#count > maxIssues) lines.push(`${this.#count - maxIssues} more errors were truncated`);
    return lines.join('\n');
  }

  #display({ message, line, column }: CompileIssue): string {
    let text = `ERROR: <input>:${line}:${column + 1}: ${message}`;
    if (line < 1 || column < 0) return text;
    const start = this.#lineStarts[line - 1];
    if (start === undefined) return text;
    const next = this.#lineStarts[line];
    const snippet = this.#source.slice(start, next === undefined ? undefined : next - 1).replaceAll('\t', ' ');
    if (snippet.length > maxSnippet) return text;
    text += `\n | ${snippet}\n | `;
    const characters = [...snippet];
    const wide = (c: string | undefined): boolean => c !== undefined && c.codePointAt(0)! >= 0x80;
    for (let i = 0; i < column && i < characters.length; i++) text += wide(characters[i]) ? '\uff0e' : '.';
    return text + (wide(characters[column]) ? '\uff3e' : '^');
  }
}
