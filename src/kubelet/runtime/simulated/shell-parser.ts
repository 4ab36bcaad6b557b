/** The grammar of the simulated `sh`: what scripts in container commands, probes and hooks commonly use of POSIX. */

export type WordPart =
  | { readonly kind: 'text'; readonly text: string; readonly quoted: boolean }
  | {
      readonly kind: 'param';
      readonly name: string;
      /** `:-`, `-`, `:=`, `=`, `:?`, `?`, `:+`, `+`, `%`, `%%`, `#`, `##`, or `length`. */
      readonly op?: string;
      readonly word?: Word;
      readonly quoted: boolean;
    }
  | { readonly kind: 'command'; readonly body: List; readonly quoted: boolean }
  | { readonly kind: 'arithmetic'; readonly body: Word; readonly quoted: boolean };

export type Word = readonly WordPart[];

export interface Redirect {
  readonly fd: number;
  readonly op: '<' | '>' | '>>' | '<<' | '>&' | '<&' | '<<<';
  readonly target: Word;
  /** `&>`: both outputs. */
  readonly both?: boolean;
}

export type Command =
  | {
      readonly kind: 'simple';
      readonly assignments: readonly { name: string; value: Word }[];
      readonly words: readonly Word[];
      readonly redirects: readonly Redirect[];
    }
  | { readonly kind: 'pipeline'; readonly commands: readonly Command[]; readonly negate: boolean }
  | { readonly kind: 'and' | 'or'; readonly left: Command; readonly right: Command }
  | {
      readonly kind: 'if';
      readonly branches: readonly { test: List; body: List }[];
      readonly otherwise: List | undefined;
      readonly redirects: readonly Redirect[];
    }
  | {
      readonly kind: 'while';
      readonly until: boolean;
      readonly test: List;
      readonly body: List;
      readonly redirects: readonly Redirect[];
    }
  | {
      readonly kind: 'for';
      readonly name: string;
      readonly words: readonly Word[] | undefined;
      readonly body: List;
      readonly redirects: readonly Redirect[];
    }
  | {
      readonly kind: 'case';
      readonly word: Word;
      readonly items: readonly { patterns: readonly Word[]; body: List }[];
      readonly redirects: readonly Redirect[];
    }
  | { readonly kind: 'group' | 'subshell'; readonly body: List; readonly redirects: readonly Redirect[] }
  | { readonly kind: 'function'; readonly name: string; readonly body: Command };

export type List = readonly { readonly command: Command; readonly background: boolean }[];

export class ShellSyntaxError extends Error {
  constructor(near: string) {
    super(`syntax error: unexpected ${near === '' ? 'end of file' : `"${near}"`}`);
    this.name = 'ShellSyntaxError';
  }
}

const operatorChars = ';&|<>()\n';
const reserved = new Set(['then', 'else', 'elif', 'fi', 'do', 'done', 'esac', '}', 'in']);

export function parseShell(source: string): List {
  const p = new Parser(source);
  const list = p.list([]);
  p.expectEnd();
  return list;
}

class Parser {
  readonly #s: string;
  #i = 0;
  #depth = 0;
  #heredocs: { delimiter: string; raw: boolean; fill: (body: Word) => void }[] = [];

  constructor(source: string) {
    this.#s = source;
  }

  expectEnd(): void {
    this.#blank(true);
    if (this.#i < this.#s.length) throw new ShellSyntaxError(this.#s[this.#i]!);
  }

  #blank(newlines: boolean): void {
    for (;;) {
      const c = this.#s[this.#i];
      if (c === ' ' || c === '\t' || c === '\r') this.#i++;
      else if (c === '\\' && this.#s[this.#i + 1] === '\n') this.#i += 2;
      else if (c === '#') {
        while (this.#i < this.#s.length && this.#s[this.#i] !== '\n') this.#i++;
      } else if (c === '\n' && newlines) this.#newline();
      else return;
    }
  }

  #newline(): void {
    this.#i++;
    const docs = this.#heredocs;
    this.#heredocs = [];
    for (const d of docs) {
      let body = '';
      for (;;) {
        if (this.#i >= this.#s.length) break;
        let end = this.#s.indexOf('\n', this.#i);
        if (end === -1) end = this.#s.length;
        const line = this.#s.slice(this.#i, end);
        this.#i = Math.min(end + 1, this.#s.length);
        if (line.replace(/^\t+/, '') === d.delimiter) break;
        body += `${line}\n`;
      }
      d.fill(d.raw ? [{ kind: 'text', text: body, quoted: true }] : new Parser(body).#quotedText(''));
    }
  }

  #peekWord(): string | undefined {
    this.#blank(false);
    const m = /^[A-Za-z_{}!][A-Za-z0-9_]*|^[{}!]/.exec(this.#s.slice(this.#i, this.#i + 64));
    if (m === null) return undefined;
    const next = this.#s[this.#i + m[0].length];
    if (next !== undefined && !' \t\n\r;&|<>()'.includes(next)) return undefined;
    return m[0];
  }

  #take(word: string): boolean {
    if (this.#peekWord() !== word) return false;
    this.#i += word.length;
    return true;
  }

  #expect(word: string): void {
    this.#blank(true);
    if (!this.#take(word)) throw new ShellSyntaxError(this.#near());
  }

  #near(): string {
    return this.#s.slice(this.#i).split(/[\s;]/, 1)[0] ?? '';
  }

  /** Commands until one of the closing words, which is left standing. */
  list(until: readonly string[]): List {
    if (++this.#depth > 100) throw new ShellSyntaxError('nesting');
    const out: { command: Command; background: boolean }[] = [];
    for (;;) {
      this.#blank(true);
      const c = this.#s[this.#i];
      if (c === undefined || c === ')') break;
      const word = this.#peekWord();
      if (word !== undefined && until.includes(word)) break;
      if (word !== undefined && reserved.has(word)) throw new ShellSyntaxError(word);
      if (this.#s.startsWith(';;', this.#i)) break;
      const command = this.#andOr();
      this.#blank(false);
      let background = false;
      const sep = this.#s[this.#i];
      if (sep === '&') {
        background = true;
        this.#i++;
      } else if (sep === ';' && this.#s[this.#i + 1] !== ';') this.#i++;
      else if (sep !== undefined && sep !== '\n' && sep !== ')' && sep !== ';')
        throw new ShellSyntaxError(this.#near());
      out.push({ command, background });
    }
    this.#depth--;
    return out;
  }

  #andOr(): Command {
    let left = this.#pipeline();
    for (;;) {
      this.#blank(false);
      const and = this.#s.startsWith('&&', this.#i);
      if (!and && !this.#s.startsWith('||', this.#i)) return left;
      this.#i += 2;
      this.#blank(true);
      left = { kind: and ? 'and' : 'or', left, right: this.#pipeline() };
    }
  }

  #pipeline(): Command {
    const negate = this.#take('!');
    const commands = [this.#command()];
    for (;;) {
      this.#blank(false);
      if (this.#s[this.#i] !== '|' || this.#s[this.#i + 1] === '|') break;
      this.#i++;
      this.#blank(true);
      commands.push(this.#command());
    }
    return commands.length === 1 && !negate ? commands[0]! : { kind: 'pipeline', commands, negate };
  }

  #redirects(): Redirect[] {
    const out: Redirect[] = [];
    for (;;) {
      const r = this.#redirect();
      if (r === undefined) return out;
      out.push(r);
    }
  }

  #redirect(): Redirect | undefined {
    this.#blank(false);
    const m = /^(\d*)(<<-|<<<|<<|<&|<|>>|>&|>\||>|)/.exec(this.#s.slice(this.#i, this.#i + 12))!;
    if (m[2] === '') {
      if (!/^&>>?/.test(this.#s.slice(this.#i, this.#i + 3))) return undefined;
      const op = this.#s.startsWith('&>>', this.#i) ? '>>' : '>';
      this.#i += op.length + 1;
      this.#blank(false);
      return { fd: 1, op, target: this.#word(), both: true };
    }
    this.#i += m[0].length;
    this.#blank(false);
    const input = m[2]!.startsWith('<');
    const fd = m[1] === '' ? (input ? 0 : 1) : Number(m[1]);
    if (m[2] === '<<' || m[2] === '<<-') {
      const word = this.#word();
      const delimiter = word.map((p) => (p.kind === 'text' ? p.text : '')).join('');
      const raw = word.some((p) => p.quoted);
      const redirect: { fd: number; op: '<<'; target: Word } = { fd, op: '<<', target: [] };
      this.#heredocs.push({ delimiter, raw, fill: (body) => (redirect.target = body) });
      return redirect;
    }
    const op = m[2] === '>|' ? '>' : (m[2] as Redirect['op']);
    return { fd, op, target: this.#word() };
  }

  #command(): Command {
    this.#blank(false);
    if (this.#s[this.#i] === '(') {
      this.#i++;
      const body = this.list([]);
      this.#close(')');
      return { kind: 'subshell', body, redirects: this.#redirects() };
    }
    switch (this.#peekWord()) {
      case '{': {
        this.#take('{');
        const body = this.list(['}']);
        this.#expect('}');
        return { kind: 'group', body, redirects: this.#redirects() };
      }
      case 'if':
        return this.#if();
      case 'while':
      case 'until': {
        const until = this.#take('until');
        if (!until) this.#take('while');
        const test = this.list(['do']);
        this.#expect('do');
        const body = this.list(['done']);
        this.#expect('done');
        return { kind: 'while', until, test, body, redirects: this.#redirects() };
      }
      case 'for':
        return this.#for();
      case 'case':
        return this.#case();
      default:
        return this.#simple();
    }
  }

  #close(c: string): void {
    this.#blank(true);
    if (this.#s[this.#i] !== c) throw new ShellSyntaxError(this.#near());
    this.#i++;
  }

  #if(): Command {
    this.#take('if');
    const branches: { test: List; body: List }[] = [];
    let otherwise: List | undefined;
    const test = this.list(['then']);
    this.#expect('then');
    branches.push({ test, body: this.list(['elif', 'else', 'fi']) });
    for (;;) {
      this.#blank(true);
      if (this.#take('elif')) {
        const t = this.list(['then']);
        this.#expect('then');
        branches.push({ test: t, body: this.list(['elif', 'else', 'fi']) });
      } else if (this.#take('else')) {
        otherwise = this.list(['fi']);
      } else break;
    }
    this.#expect('fi');
    return { kind: 'if', branches, otherwise, redirects: this.#redirects() };
  }

  #for(): Command {
    this.#take('for');
    this.#blank(false);
    const m = /^[A-Za-z_][A-Za-z0-9_]*/.exec(this.#s.slice(this.#i));
    if (m === null) throw new ShellSyntaxError(this.#near());
    this.#i += m[0].length;
    this.#blank(true);
    let words: Word[] | undefined;
    if (this.#take('in')) {
      words = [];
      for (;;) {
        this.#blank(false);
        const c = this.#s[this.#i];
        if (c === undefined || c === ';' || c === '\n') break;
        words.push(this.#word());
      }
    }
    this.#blank(false);
    if (this.#s[this.#i] === ';') this.#i++;
    this.#expect('do');
    const body = this.list(['done']);
    this.#expect('done');
    return { kind: 'for', name: m[0], words, body, redirects: this.#redirects() };
  }

  #case(): Command {
    this.#take('case');
    this.#blank(false);
    const word = this.#word();
    this.#blank(true);
    this.#expect('in');
    const items: { patterns: Word[]; body: List }[] = [];
    for (;;) {
      this.#blank(true);
      if (this.#take('esac')) break;
      if (this.#s[this.#i] === '(') this.#i++;
      const patterns: Word[] = [];
      for (;;) {
        this.#blank(false);
        patterns.push(this.#word());
        this.#blank(false);
        if (this.#s[this.#i] !== '|') break;
        this.#i++;
      }
      this.#close(')');
      items.push({ patterns, body: this.list(['esac']) });
      this.#blank(true);
      if (this.#s.startsWith(';;', this.#i)) this.#i += 2;
    }
    return { kind: 'case', word, items, redirects: this.#redirects() };
  }

  #simple(): Command {
    const assignments: { name: string; value: Word }[] = [];
    const words: Word[] = [];
    const redirects: Redirect[] = [];
    for (;;) {
      this.#blank(false);
      const c = this.#s[this.#i];
      const redirect = this.#redirect();
      if (redirect !== undefined) {
        redirects.push(redirect);
        continue;
      }
      if (c === undefined || operatorChars.includes(c)) break;
      if (words.length === 0) {
        const assign = /^([A-Za-z_][A-Za-z0-9_]*)=/.exec(this.#s.slice(this.#i));
        if (assign !== null) {
          this.#i += assign[0].length;
          const next = this.#s[this.#i];
          const bare = next === undefined || ' \t\r'.includes(next) || operatorChars.includes(next);
          assignments.push({ name: assign[1]!, value: bare ? [] : this.#word() });
          continue;
        }
        const fn = /^([A-Za-z_][A-Za-z0-9_]*)[ \t]*\([ \t]*\)/.exec(this.#s.slice(this.#i));
        if (fn !== null && assignments.length === 0) {
          this.#i += fn[0].length;
          this.#blank(true);
          return { kind: 'function', name: fn[1]!, body: this.#command() };
        }
      }
      words.push(this.#word());
    }
    if (words.length === 0 && assignments.length === 0 && redirects.length === 0)
      throw new ShellSyntaxError(this.#near());
    return { kind: 'simple', assignments, words, redirects };
  }

  #word(): Word {
    const parts: WordPart[] = [];
    let text = '';
    const flush = () => {
      if (text !== '') parts.push({ kind: 'text', text, quoted: false });
      text = '';
    };
    const start = this.#i;
    for (;;) {
      const c = this.#s[this.#i];
      if (c === undefined || ' \t\r'.includes(c) || operatorChars.includes(c)) break;
      if (c === '\\') {
        const next = this.#s[this.#i + 1];
        this.#i += 2;
        if (next === '\n') continue;
        flush();
        parts.push({ kind: 'text', text: next ?? '\\', quoted: true });
      } else if (c === "'") {
        const end = this.#s.indexOf("'", this.#i + 1);
        if (end === -1) throw new Error('unterminated quoted string');
        flush();
        parts.push({ kind: 'text', text: this.#s.slice(this.#i + 1, end), quoted: true });
        this.#i = end + 1;
      } else if (c === '"') {
        flush();
        this.#i++;
        const inner = this.#quotedText('"');
        parts.push({ kind: 'text', text: '', quoted: true }, ...inner);
      } else if (c === '$' || c === '`') {
        const part = this.#dollar(false);
        if (part === undefined) text += '$';
        else {
          flush();
          parts.push(part);
        }
      } else {
        text += c;
        this.#i++;
      }
    }
    flush();
    if (this.#i === start) throw new ShellSyntaxError(this.#near());
    return parts;
  }

  /** The inside of double quotes (or a here document when `close` is empty). */
  #quotedText(close: string): WordPart[] {
    const parts: WordPart[] = [];
    let text = '';
    const flush = () => {
      if (text !== '') parts.push({ kind: 'text', text, quoted: true });
      text = '';
    };
    for (;;) {
      const c = this.#s[this.#i];
      if (c === undefined) {
        if (close !== '') throw new Error('unterminated quoted string');
        break;
      }
      if (c === close) {
        this.#i++;
        break;
      }
      if (c === '\\') {
        const next = this.#s[this.#i + 1];
        if (next !== undefined && '$`"\\\n'.includes(next)) {
          if (next !== '\n') text += next;
          this.#i += 2;
        } else {
          text += c;
          this.#i++;
        }
      } else if (c === '$' || c === '`') {
        const part = this.#dollar(true);
        if (part === undefined) text += '$';
        else {
          flush();
          parts.push(part);
        }
      } else {
        text += c;
        this.#i++;
      }
    }
    flush();
    return parts;
  }

  /** An expansion at `$` or a back quote; undefined (and the `$` taken) when it is a plain dollar sign. */
  #dollar(quoted: boolean): WordPart | undefined {
    if (this.#s[this.#i] === '`') {
      const end = this.#s.indexOf('`', this.#i + 1);
      if (end === -1) throw new Error('unterminated quoted string');
      const body = parseShell(this.#s.slice(this.#i + 1, end).replace(/\\([`$\\])/g, '$1'));
      this.#i = end + 1;
      return { kind: 'command', body, quoted };
    }
    const rest = this.#s.slice(this.#i + 1, this.#i + 130);
    if (rest.startsWith('((')) {
      const start = this.#i + 3;
      let depth = 0;
      for (let j = start; j < this.#s.length; j++) {
        if (this.#s[j] === '(') depth++;
        else if (this.#s[j] === ')') {
          if (depth === 0 && this.#s[j + 1] === ')') {
            const body = new Parser(this.#s.slice(start, j)).#quotedText('');
            this.#i = j + 2;
            return { kind: 'arithmetic', body, quoted };
          }
          depth--;
        }
      }
      throw new ShellSyntaxError('');
    }
    if (rest.startsWith('(')) {
      this.#i += 2;
      const body = this.list([]);
      this.#close(')');
      return { kind: 'command', body, quoted };
    }
    if (rest.startsWith('{')) {
      const m = /^\{(#?)([A-Za-z_][A-Za-z0-9_]*|[0-9]+|[?#@*$!])(:?[-=?+]|%%|%|##|#|)/.exec(rest);
      if (m === null) throw new Error('bad substitution');
      this.#i += 1 + m[0].length;
      if (m[1] === '#') {
        this.#close('}');
        return { kind: 'param', name: m[2]!, op: 'length', quoted };
      }
      if (m[3] === '') {
        if (this.#s[this.#i] !== '}') throw new Error('bad substitution');
        this.#i++;
        return { kind: 'param', name: m[2]!, quoted };
      }
      const word = this.#quotedText('}');
      return { kind: 'param', name: m[2]!, op: m[3]!, word, quoted };
    }
    const name = /^(?:[A-Za-z_][A-Za-z0-9_]*|[0-9?#@*$!-])/.exec(rest);
    this.#i++;
    if (name === null) return undefined;
    this.#i += name[0].length;
    return { kind: 'param', name: name[0], quoted };
  }
}
