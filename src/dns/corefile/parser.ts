/**
 * A Corefile as server blocks with their directives, in the order in which they were written: snippets and imported files put in
 * place, `{$NAME}` replaced from the environment. What the directives mean is their plugins' matter.
 */
import type { Token } from './tokens.ts';
import { errorAt, tokensOf } from './tokens.ts';

/** A line of a directive's block: its words, and a block of its own where it has one. */
export interface Line {
  readonly name: string;
  readonly args: readonly string[];
  readonly file: string;
  readonly line: number;
  readonly block: readonly Line[] | undefined;
}

export type Directive = Line;

export interface ServerBlock {
  readonly keys: readonly string[];
  readonly directives: readonly Directive[];
  readonly file: string;
  readonly line: number;
}

export interface ParseOptions {
  readonly file: string;
  /** The texts that an `import` names, with names for messages; undefined: there is no such file. A pattern may match none. */
  readonly load?: (
    pattern: string,
    from: string,
  ) => readonly { readonly file: string; readonly text: string }[] | undefined;
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** Directives that there are. */
  readonly known: (directive: string) => boolean;
}

const maxImports = 1000;
const maxTokens = 100_000;

class Parser {
  readonly #o: ParseOptions;
  readonly #tokens: Token[];
  readonly #snippets = new Map<string, readonly Token[]>();
  #at = 0;
  #imports = 0;

  constructor(text: string, options: ParseOptions) {
    this.#o = options;
    this.#tokens = tokensOf(text, options.file);
  }

  parse(): ServerBlock[] {
    const blocks: ServerBlock[] = [];
    while (this.#at < this.#tokens.length) {
      const block = this.#block();
      if (block !== undefined) blocks.push(block);
    }
    return blocks;
  }

  get #token(): Token | undefined {
    return this.#tokens[this.#at];
  }

  #text(token: Token): string {
    const { environment } = this.#o;
    if (!token.text.includes('{$') && !token.text.includes('{%')) return token.text;
    return token.text
      .replace(/\{\$([^}]+)\}/g, (_, name: string) => environment?.[name] ?? '')
      .replace(/\{%([^%}]+)%\}/g, (_, name: string) => environment?.[name] ?? '');
  }

  /** Whether the token begins a line. */
  #begins(at: number): boolean {
    const token = this.#tokens[at];
    const before = this.#tokens[at - 1];
    return token !== undefined && (before === undefined || before.file !== token.file || before.endLine !== token.line);
  }

  #last(): { file: string; line: number } {
    const last = this.#tokens.at(-1);
    return { file: last?.file ?? this.#o.file, line: last?.endLine ?? 1 };
  }

  #block(): ServerBlock | undefined {
    const keys: string[] = [];
    const first = this.#token!;
    let another = false;
    for (;;) {
      const token = this.#token;
      if (token === undefined) {
        if (another) throw errorAt(this.#last(), 'Unexpected EOF');
        break;
      }
      if (token.text === 'import' && this.#begins(this.#at)) {
        this.#import();
        continue;
      }
      let text = this.#text(token);
      if (text === '}') throw errorAt(token, "Unexpected '}' because no matching opening brace");
      if (text === '{') {
        if (another) throw errorAt(token, "Expected another address but had '{' - check for extra comma");
        break;
      }
      if (keys.length > 0 && !another && this.#begins(this.#at)) break;
      another = text.endsWith(',');
      if (another) text = text.slice(0, -1);
      if (text !== '') keys.push(text);
      this.#at++;
    }
    if (keys.length === 1 && /^\(.+\)$/.test(keys[0]!)) {
      this.#snippet(keys[0]!.slice(1, -1), first);
      return undefined;
    }
    if (keys.length === 0 && this.#token === undefined) return undefined;
    const braces = this.#token?.text === '{';
    if (braces) this.#at++;
    const directives = this.#lines(braces, true, first);
    return { keys, directives, file: first.file, line: first.line };
  }

  #snippet(name: string, at: Token): void {
    if (this.#snippets.has(name)) throw errorAt(at, `redeclaration of previously declared snippet ${name}`);
    if (this.#token?.text !== '{')
      throw errorAt(this.#token ?? this.#last(), "Wrong argument count or unexpected line ending, expecting '{'");
    const body: Token[] = [];
    let depth = 1;
    for (this.#at++; ; this.#at++) {
      const token = this.#token;
      if (token === undefined) throw errorAt(this.#last(), 'Unexpected EOF');
      if (token.text === '{') depth++;
      if (token.text === '}' && --depth === 0) break;
      body.push(token);
    }
    this.#at++;
    this.#snippets.set(name, body);
  }

  /** The lines up to the closing brace, or to the end of the text. */
  #lines(braces: boolean, directives: boolean, opened: Token): Line[] {
    const lines: Line[] = [];
    for (;;) {
      const token = this.#token;
      if (token === undefined) {
        if (braces) throw errorAt(this.#last(), `Unexpected EOF: the block of line ${opened.line} is not closed`);
        return lines;
      }
      if (token.text === '}') {
        if (!braces) throw errorAt(token, "Unexpected '}' because no matching opening brace");
        this.#at++;
        return lines;
      }
      if (token.text === 'import' && this.#begins(this.#at)) {
        this.#import();
        continue;
      }
      lines.push(this.#line(token, directives));
    }
  }

  #line(token: Token, directive: boolean): Line {
    const name = this.#text(token);
    if (directive && !this.#o.known(name)) throw errorAt(token, `Unknown directive '${name}'`);
    const args: string[] = [];
    for (this.#at++; ; this.#at++) {
      const next = this.#token;
      if (next === undefined || this.#begins(this.#at) || next.text === '}') break;
      if (next.text === '{') {
        this.#at++;
        const block = this.#lines(true, false, next);
        return { name, args, file: token.file, line: token.line, block };
      }
      args.push(this.#text(next));
    }
    return { name, args, file: token.file, line: token.line, block: undefined };
  }

  /** Puts the tokens that an `import` names into its place. */
  #import(): void {
    const at = this.#token!;
    const what = this.#tokens[this.#at + 1];
    if (what === undefined || this.#begins(this.#at + 1))
      throw errorAt(at, "Wrong argument count or unexpected line ending after 'import'");
    const pattern = this.#text(what);
    if (pattern === '') throw errorAt(at, 'Import requires a non-empty filepath');
    const behind = this.#tokens[this.#at + 2];
    if (behind !== undefined && !this.#begins(this.#at + 2) && behind.text !== '}')
      throw errorAt(at, 'Import takes only one argument (glob pattern or file)');
    if (++this.#imports > maxImports || this.#tokens.length > maxTokens)
      throw errorAt(at, `maximum snippet import depth (${maxImports}) exceeded`);
    const snippet = this.#snippets.get(pattern);
    let tokens: readonly Token[];
    if (snippet !== undefined) tokens = snippet.map((t) => ({ ...t }));
    else {
      const files = this.#o.load?.(pattern, at.file);
      if (files === undefined || (files.length === 0 && !/[*?[]/.test(pattern)))
        throw errorAt(at, `File to import not found: ${pattern}`);
      tokens = files.flatMap((f) => tokensOf(f.text, f.file));
    }
    this.#tokens.splice(this.#at, 2, ...tokens);
  }
}

/** Throws `CorefileError`, which names file and line. */
export function parseCorefile(text: string, options: ParseOptions): ServerBlock[] {
  return new Parser(text, options).parse();
}
