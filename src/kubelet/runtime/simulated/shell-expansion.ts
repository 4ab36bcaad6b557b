/** Expansions of the simulated shell: parameters, command substitution, arithmetic, field splitting, file name patterns. */
import { ProcessExit } from './process.ts';
import { evaluateArithmetic, globToRegExp } from './shell-expressions.ts';
import type { List, Word } from './shell-parser.ts';
import type { Io, ShellState } from './shell-state.ts';

export class Expander {
  readonly #s: ShellState;
  readonly #substitute: (body: List, io: Io) => Promise<string>;

  /** `substitute` runs a command substitution and returns its output. */
  constructor(state: ShellState, substitute: (body: List, io: Io) => Promise<string>) {
    this.#s = state;
    this.#substitute = substitute;
  }

  #value(name: string): string | undefined {
    switch (name) {
      case '?':
        return String(this.#s.status);
      case '$':
        return String(this.#s.process.pid);
      case '#':
        return String(this.#s.params.length);
      case '!':
        return String(this.#s.lastJob);
      case '-':
        return [...this.#s.flags].join('');
      case '@':
      case '*':
        return this.#s.params.join(' ');
      case '0':
        return this.#s.name;
      case 'PWD':
        return this.#s.process.cwd;
      default:
        return /^\d+$/.test(name) ? this.#s.params[Number(name) - 1] : this.#s.vars.get(name);
    }
  }

  async #param(part: { name: string; op?: string; word?: Word }, io: Io): Promise<string> {
    const value = this.#value(part.name);
    if (part.op === undefined) {
      if (value === undefined && this.#s.flags.has('u')) {
        await io.stderr.write(`${this.#s.name}: ${part.name}: parameter not set\n`);
        throw new ProcessExit(2);
      }
      return value ?? '';
    }
    if (part.op === 'length') return String((value ?? '').length);
    const word = () => this.expandOne(part.word ?? [], io);
    const missing = value === undefined || (part.op.startsWith(':') && value === '');
    switch (part.op.replace(':', '')) {
      case '-':
        return missing ? word() : value!;
      case '=': {
        if (!missing) return value!;
        const w = await word();
        this.#s.vars.set(part.name, w);
        return w;
      }
      case '?':
        if (!missing) return value!;
        await io.stderr.write(`${this.#s.name}: ${part.name}: ${(await word()) || 'parameter not set'}\n`);
        throw new ProcessExit(2);
      case '+':
        return missing ? '' : word();
      default: {
        const v = value ?? '';
        const pattern = globToRegExp(await this.expandPattern(part.word ?? [], io));
        const prefix = part.op.startsWith('#');
        const cuts = Array.from({ length: v.length + 1 }, (_, i) => i);
        if (prefix ? part.op === '##' : part.op === '%') cuts.reverse();
        for (const i of cuts)
          if (pattern.test(prefix ? v.slice(0, i) : v.slice(i))) return prefix ? v.slice(i) : v.slice(0, i);
        return v;
      }
    }
  }

  /** Each part's text with whether it was quoted. */
  async #pieces(word: Word, io: Io): Promise<{ text: string; quoted: boolean; fields?: readonly string[] }[]> {
    const out: { text: string; quoted: boolean; fields?: readonly string[] }[] = [];
    for (const p of word) {
      if (p.kind === 'text') {
        const home = !p.quoted && out.length === 0 && /^~(\/|$)/.test(p.text);
        const text = home ? (this.#s.vars.get('HOME') ?? '/') + p.text.slice(1) : p.text;
        // Literal text is never split into fields; unquoted text may still be a pattern.
        out.push(p.quoted ? { text, quoted: true } : { text, quoted: false, fields: [text] });
      } else if (p.kind === 'param' && p.name === '@' && p.quoted && p.op === undefined)
        out.push({ text: '', quoted: true, fields: this.#s.params });
      else {
        const text =
          p.kind === 'param'
            ? await this.#param(p, io)
            : p.kind === 'command'
              ? await this.#substitute(p.body, io)
              : String(
                  evaluateArithmetic(
                    await this.expandOne(p.body, io),
                    (n) => this.#value(n),
                    (n, v) => this.#s.vars.set(n, v),
                  ),
                );
        out.push({ text, quoted: p.quoted });
      }
    }
    return out;
  }

  async expandOne(word: Word, io: Io): Promise<string> {
    return (await this.#pieces(word, io))
      .map((p) => (p.fields !== undefined && p.text === '' ? p.fields.join(' ') : p.text))
      .join('');
  }

  /** For patterns: quoted characters lose their special meaning. */
  async expandPattern(word: Word, io: Io): Promise<string> {
    return (await this.#pieces(word, io))
      .map((p) => (p.quoted ? p.text.replace(/[\\*?[\]]/g, '\\$&') : p.text))
      .join('');
  }

  /** Expansion with field splitting and file name patterns. */
  async expandAll(words: readonly Word[], io: Io): Promise<string[]> {
    const out: string[] = [];
    for (const word of words) {
      const fields: { text: string; pattern: string; keep: boolean }[] = [];
      let open = false;
      const append = (text: string, quoted: boolean) => {
        if (!open) fields.push({ text: '', pattern: '', keep: false });
        open = true;
        const f = fields.at(-1)!;
        f.text += text;
        f.pattern += quoted ? text.replace(/[\\*?[\]]/g, '\\$&') : text;
        f.keep ||= quoted || text !== '';
      };
      for (const piece of await this.#pieces(word, io)) {
        if (piece.fields !== undefined && piece.quoted) {
          for (const [i, f] of piece.fields.entries()) {
            if (i > 0) open = false;
            append(f, true);
          }
        } else if (piece.quoted || piece.fields !== undefined) append(piece.text, piece.quoted);
        else {
          const split = piece.text.split(/([ \t\n]+)/);
          for (const [i, s] of split.entries()) {
            if (i % 2 === 1) open = false;
            else if (s !== '') append(s, false);
          }
        }
      }
      for (const f of fields) {
        if (!f.keep) continue;
        const found = /(^|[^\\])[*?[]/.test(f.pattern) ? await this.#glob(f.pattern) : [];
        if (found.length > 0) out.push(...found);
        else out.push(f.text);
      }
    }
    return out;
  }

  async #glob(pattern: string): Promise<string[]> {
    const absolute = pattern.startsWith('/');
    let bases = [absolute ? '/' : ''];
    for (const part of pattern.split('/').filter((p) => p !== '')) {
      const next: string[] = [];
      for (const base of bases) {
        const join = (n: string) => (base === '' || base === '/' ? base + n : `${base}/${n}`);
        if (!/[*?[]/.test(part)) {
          if ((await this.#s.process.fs.stat(this.#s.process.path(join(part)), false)) !== undefined)
            next.push(join(part));
          continue;
        }
        const re = globToRegExp(part);
        const names = await this.#s.process.fs.list(this.#s.process.path(base === '' ? '.' : base)).catch(() => []);
        for (const n of names) if (re.test(n) && (!n.startsWith('.') || part.startsWith('.'))) next.push(join(n));
      }
      bases = next;
    }
    return bases;
  }
}
