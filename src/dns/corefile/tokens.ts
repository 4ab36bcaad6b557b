/** A Corefile's words: separated by white space, in quotes where they hold some, `#` begins a comment. */

export interface Token {
  readonly text: string;
  readonly file: string;
  readonly line: number;
  /** Where a text in quotes that spans lines ends. */
  readonly endLine: number;
}

/** What is wrong with a Corefile, and where. */
export class CorefileError extends Error {
  override readonly name = 'CorefileError';
}

export function errorAt(
  at: { readonly file: string; readonly line: number },
  what: string,
  cause?: unknown,
): CorefileError {
  return new CorefileError(
    `${at.file}:${at.line} - Error during parsing: ${what}`,
    cause === undefined ? {} : { cause },
  );
}

export function tokensOf(text: string, file: string): Token[] {
  const tokens: Token[] = [];
  let line = 1;
  let at = text.charCodeAt(0) === 0xfeff ? 1 : 0;
  while (at < text.length) {
    const c = text[at]!;
    if (c === '\n') line++;
    if (/\s/.test(c)) {
      at++;
      continue;
    }
    if (c === '#') {
      while (at < text.length && text[at] !== '\n') at++;
      continue;
    }
    const begin = line;
    let value = '';
    if (c === '"') {
      at++;
      for (;;) {
        const q = text[at];
        if (q === undefined || q === '"') break;
        if (q === '\n') line++;
        // Quotes alone can be escaped.
        if (q === '\\' && text[at + 1] === '"') at++;
        value += text[at]!;
        at++;
      }
      at++;
    } else {
      // A comment ends a word that it touches.
      while (at < text.length && !/[\s#]/.test(text[at]!)) value += text[at++]!;
    }
    tokens.push({ text: value, file, line: begin, endLine: line });
  }
  return tokens;
}
