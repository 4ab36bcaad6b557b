/** The simulated `sh`: runs what `shell-parser.ts` reads, with pipelines, redirections, traps and jobs. */
import { Slice } from '../../../base/yield.ts';
import { FsError } from './file-system.ts';
import type { ByteSink, ByteSource } from './pipe.ts';
import { emptySource, nullSink, Pipe, toBuffer } from './pipe.ts';
import type { Process, Program } from './process.ts';
import { ExecutableNotFound, ProcessExit } from './process.ts';
import type { Builtin } from './shell-builtins.ts';
import { builtin } from './shell-builtins.ts';
import { Expander } from './shell-expansion.ts';
import { globToRegExp } from './shell-expressions.ts';
import type { Command, List, Redirect } from './shell-parser.ts';
import { parseShell, ShellSyntaxError } from './shell-parser.ts';
import type { Io } from './shell-state.ts';
import { Break, fromText, ShellState } from './shell-state.ts';

/** `sh`, `bash`, `ash`: `-c script [name args]`, a script file, or commands from stdin. */
export const sh: Program = async (process) => {
  let args = process.args;
  const flags = new Set<string>();
  while (args[0]?.startsWith('-') && args[0] !== '-' && args[0] !== '--') {
    for (const f of args[0].startsWith('--') ? [] : args[0].slice(1)) flags.add(f);
    if (args[0] === '-o') args = args.slice(1);
    args = args.slice(1);
  }
  if (args[0] === '--') args = args.slice(1);
  const shell = new Shell(process, flags);
  if (flags.has('c')) {
    if (args[0] === undefined) {
      await process.complain('-c requires an argument');
      return 2;
    }
    shell.state.name = args[1] ?? process.argv[0]!;
    shell.state.params = args.slice(2);
    return shell.script(args[0]);
  }
  if (args[0] !== undefined) {
    const file = process.path(args[0]);
    let text: string;
    try {
      text = (await process.fs.readFile(file)).toString();
    } catch (error) {
      await process.complain(`can't open '${args[0]}': ${(error as Error).message}`);
      return 2;
    }
    shell.state.name = args[0];
    shell.state.params = args.slice(1);
    return shell.script(text);
  }
  return shell.interactive();
};

export class Shell {
  readonly #s: ShellState;
  readonly #expand: Expander;
  readonly #slice = new Slice();
  #conditional = 0;
  #depth = 0;

  constructor(process: Process, flags: Set<string>, from?: Shell) {
    this.#s = new ShellState(process, flags, from === undefined ? undefined : from.#s);
    this.#expand = new Expander(this.#s, (body, io) => this.#substitute(body, io));
  }

  get state(): ShellState {
    return this.#s;
  }

  /** Runs a whole script and its EXIT trap. */
  async script(text: string): Promise<number> {
    let list: List;
    try {
      list = parseShell(text);
    } catch (error) {
      await this.#s.process.err(`${this.#s.name}: ${(error as Error).message}\n`);
      return 2;
    }
    let code: number;
    const io: Io = { stdin: this.#s.process.stdin, stdout: this.#s.process.stdout, stderr: this.#s.process.stderr };
    try {
      code = await this.#list(list, io);
      await this.#runTraps(io);
    } catch (error) {
      code = this.#caught(error);
    }
    return this.#exitTrap(code, io);
  }

  #caught(error: unknown): number {
    if (error instanceof Break) return this.#s.status;
    if (error instanceof ProcessExit && !this.#s.process.signal.aborted) return error.code;
    throw error;
  }

  async #exitTrap(code: number, io: Io): Promise<number> {
    const action = this.#s.traps.get('EXIT');
    if (action === undefined || action === '') return code;
    this.#s.traps.delete('EXIT');
    this.#s.status = code;
    try {
      await this.#list(parseShell(action), io);
    } catch (error) {
      return this.#caught(error);
    }
    return code;
  }

  /** Reads commands from stdin, with a prompt on a terminal. */
  async interactive(): Promise<number> {
    const io: Io = { stdin: this.#s.process.stdin, stdout: this.#s.process.stdout, stderr: this.#s.process.stderr };
    let buffer = '';
    let script = '';
    const prompt = this.#s.process.tty ? `${this.#s.process.at.uid === 0 ? '#' : '$'} ` : '';
    const editor = this.#s.process.tty ? (line: string) => this.#s.process.out(line) : undefined;
    if (prompt !== '') await this.#s.process.out(prompt);
    // A command that reads stdin gets what follows its own line.
    const rest: ByteSource = {
      read: () => {
        if (buffer === '') return this.#s.process.read();
        const data = Buffer.from(buffer, 'latin1');
        buffer = '';
        return Promise.resolve(data);
      },
    };
    io.stdin = rest;
    for (;;) {
      let end = buffer.search(/[\n\r\x04]/);
      while (end === -1) {
        const chunk = await this.#s.process.read();
        if (chunk === undefined) break;
        if (editor !== undefined)
          await editor(
            chunk
              .toString('latin1')
              .replaceAll('\x04', '')
              .replace(/\r(?!\n)/g, '\r\n'),
          );
        buffer += chunk.toString('latin1');
        end = buffer.search(/[\n\r\x04]/);
      }
      const last = end === -1;
      const closed = !last && buffer[end] === '\x04';
      script += Buffer.from(last ? buffer : buffer.slice(0, end), 'latin1').toString();
      buffer = last ? '' : buffer.slice(end + 1);
      if (script.trim() !== '') {
        try {
          const list = parseShell(script);
          script = '';
          this.#s.status = await this.#list(list, io);
          await this.#runTraps(io);
        } catch (error) {
          if (error instanceof ShellSyntaxError && error.message.includes('end of file') && !last) {
            script += '\n';
            continue;
          }
          script = '';
          if (error instanceof ProcessExit || error instanceof Break) return this.#exitTrap(this.#caught(error), io);
          if (this.#s.process.signal.aborted) throw error;
          await this.#s.process.err(`${this.#s.name}: ${(error as Error).message}\n`);
          this.#s.status = 2;
        }
      } else script = '';
      if (last || closed) return this.#exitTrap(this.#s.status, io);
      if (prompt !== '') await this.#s.process.out(prompt);
    }
  }

  async #runTraps(io: Io): Promise<void> {
    while (this.#s.pending.length > 0) {
      const action = this.#s.traps.get(this.#s.pending.shift()!);
      if (action !== undefined && action !== '') {
        const status = this.#s.status;
        await this.#list(parseShell(action), io);
        this.#s.status = status;
      }
    }
  }

  async #list(list: List, io: Io): Promise<number> {
    for (const { command, background } of list) {
      if (this.#s.process.signal.aborted) throw this.#s.process.signal.reason;
      if (background) {
        const sub = this.#subshell(command, { ...io, stdin: emptySource });
        this.#s.jobs.push(sub);
        this.#s.status = 0;
        continue;
      }
      this.#s.status = await this.#command(command, io);
      if (this.#s.pending.length > 0) await this.#runTraps(io);
      if (this.#s.status !== 0 && this.#s.flags.has('e') && this.#conditional === 0 && mayFail(command))
        throw new ProcessExit(this.#s.status);
    }
    return this.#s.status;
  }

  async #condition(list: List, io: Io): Promise<boolean> {
    this.#conditional++;
    try {
      return (await this.#list(list, io)) === 0;
    } finally {
      this.#conditional--;
    }
  }

  async #command(c: Command, io: Io): Promise<number> {
    switch (c.kind) {
      case 'simple':
        return this.#simple(c, io);
      case 'pipeline':
        return this.#pipeline(c, io);
      case 'and':
      case 'or': {
        this.#conditional++;
        let left: number;
        try {
          left = this.#s.status = await this.#command(c.left, io);
        } finally {
          this.#conditional--;
        }
        return (left === 0) === (c.kind === 'and') ? this.#command(c.right, io) : left;
      }
      case 'function':
        this.#s.functions.set(c.name, c.body);
        return 0;
      case 'subshell':
        return this.#redirected(c.redirects, io, (inner) =>
          this.#subshell({ kind: 'group', body: c.body, redirects: [] }, inner),
        );
      case 'group':
        return this.#redirected(c.redirects, io, async (inner) => {
          this.#s.status = 0;
          return this.#list(c.body, inner);
        });
      case 'if':
        return this.#redirected(c.redirects, io, async (inner) => {
          for (const b of c.branches) {
            if (!(await this.#condition(b.test, inner))) continue;
            this.#s.status = 0;
            return this.#list(b.body, inner);
          }
          this.#s.status = 0;
          return c.otherwise === undefined ? 0 : this.#list(c.otherwise, inner);
        });
      case 'while':
        return this.#redirected(c.redirects, io, async (inner) => {
          let status = 0;
          while ((await this.#condition(c.test, inner)) !== c.until) {
            this.#s.status = 0;
            const next = await this.#loopBody(c.body, inner);
            status = this.#s.status;
            if (!next) break;
          }
          return status;
        });
      case 'for':
        return this.#redirected(c.redirects, io, async (inner) => {
          const words = c.words === undefined ? this.#s.params : await this.#expand.expandAll(c.words, inner);
          let status = 0;
          for (const w of words) {
            this.#s.vars.set(c.name, w);
            this.#s.status = 0;
            const next = await this.#loopBody(c.body, inner);
            status = this.#s.status;
            if (!next) break;
          }
          return status;
        });
      case 'case':
        return this.#redirected(c.redirects, io, async (inner) => {
          const word = await this.#expand.expandOne(c.word, inner);
          for (const item of c.items) {
            for (const p of item.patterns) {
              if (!globToRegExp(await this.#expand.expandPattern(p, inner)).test(word)) continue;
              this.#s.status = 0;
              return this.#list(item.body, inner);
            }
          }
          return 0;
        });
    }
  }

  /** False when the loop is to end. */
  async #loopBody(body: List, io: Io): Promise<boolean> {
    // A loop that waits for nothing must not hold the event loop.
    await this.#slice.turn();
    try {
      await this.#list(body, io);
      return true;
    } catch (error) {
      if (!(error instanceof Break) || error.kind === 'return') throw error;
      if (--error.count > 0) throw error;
      this.#s.status = 0;
      return error.kind === 'continue';
    }
  }

  /** Runs a command in a child process with a copy of the variables. */
  #subshell(c: Command, io: Io): Promise<number> {
    const work = this.#s.process.spawn(
      {
        argv: [this.#s.name],
        env: this.#s.environment(),
        stdin: io.stdin,
        stdout: io.stdout,
        stderr: io.stderr,
        cwd: this.#s.process.cwd,
      },
      async (child) => {
        this.#s.lastJob = child.pid;
        const sub = new Shell(child, new Set(this.#s.flags), this);
        try {
          return await sub.#command(c, io);
        } catch (error) {
          return sub.#caught(error);
        }
      },
    );
    return work;
  }

  async #pipeline(c: Command & { kind: 'pipeline' }, io: Io): Promise<number> {
    if (c.commands.length === 1) return (await this.#not(c.commands[0]!, io)) ? 0 : 1;
    let stdin = io.stdin;
    const parts: Promise<number>[] = [];
    for (const [i, part] of c.commands.entries()) {
      const last = i === c.commands.length - 1;
      const pipe = last ? undefined : new Pipe();
      const input = stdin;
      const work = this.#subshell(part, { stdin: input, stdout: pipe ?? io.stdout, stderr: io.stderr });
      parts.push(
        work.finally(() => {
          pipe?.end();
          if (i > 0 && input instanceof Pipe) input.break();
        }),
      );
      if (pipe !== undefined) stdin = pipe;
    }
    const codes = await Promise.all(parts);
    const code = codes.at(-1)!;
    return c.negate ? (code === 0 ? 1 : 0) : code;
  }

  async #not(c: Command, io: Io): Promise<boolean> {
    this.#conditional++;
    try {
      return (await this.#command(c, io)) !== 0;
    } finally {
      this.#conditional--;
    }
  }

  async #redirected(redirects: readonly Redirect[], io: Io, run: (io: Io) => Promise<number>): Promise<number> {
    if (redirects.length === 0) return run(io);
    let inner: Io;
    try {
      inner = await this.#open(redirects, io);
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
      const verb = error.code === 'ENOENT' && redirects.some((r) => r.op === '<') ? 'open' : 'create';
      await io.stderr.write(
        `${this.#s.name}: can't ${verb} ${error.path}: ${error.message.toLowerCase().replace('no such file or directory', verb === 'open' ? 'no such file' : 'nonexistent directory')}\n`,
      );
      return 1;
    }
    return run(inner);
  }

  async #open(redirects: readonly Redirect[], io: Io): Promise<Io> {
    const out = { ...io };
    for (const r of redirects) {
      const target = await this.#expand.expandOne(r.target, io);
      if (r.op === '<<' || r.op === '<<<') {
        out.stdin = fromText(r.op === '<<<' ? `${target}\n` : target);
        continue;
      }
      if (r.op === '<&') continue;
      if (r.op === '>&') {
        const sink = target === '1' ? out.stdout : target === '2' ? out.stderr : target === '-' ? nullSink : undefined;
        if (sink === undefined) throw new Error(`${target}: bad file descriptor`);
        if (r.fd === 2) out.stderr = sink;
        else out.stdout = sink;
        continue;
      }
      const path = this.#s.process.path(target);
      if (r.op === '<') {
        out.stdin =
          path === '/dev/null'
            ? emptySource
            : path === '/dev/stdin'
              ? io.stdin
              : fromText(await this.#s.process.fs.readFile(path));
        continue;
      }
      const sink = await this.#sink(path, r.op === '>>', out);
      if (r.fd === 2) out.stderr = sink;
      else out.stdout = sink;
      if (r.both) out.stderr = sink;
    }
    return out;
  }

  async #sink(path: string, append: boolean, io: Io): Promise<ByteSink> {
    if (path === '/dev/null') return nullSink;
    if (path === '/dev/stdout' || path === '/proc/self/fd/1') return io.stdout;
    if (path === '/dev/stderr' || path === '/proc/self/fd/2') return io.stderr;
    // The log of the container, whoever writes to it.
    if (path === '/proc/1/fd/1') return this.#s.process.at.processes.get(1)?.stdout ?? io.stdout;
    if (path === '/proc/1/fd/2') return this.#s.process.at.processes.get(1)?.stderr ?? io.stderr;
    const write = await this.#s.process.fs.open(path, { append });
    return {
      write: async (data) => write(toBuffer(data)),
    };
  }

  async #simple(c: Command & { kind: 'simple' }, io: Io): Promise<number> {
    const words = await this.#expand.expandAll(c.words, io);
    const assigned: [string, string][] = [];
    let status = 0;
    for (const a of c.assignments) {
      this.#s.status = 0;
      assigned.push([a.name, await this.#expand.expandOne(a.value, io)]);
      status = this.#s.status;
    }
    if (this.#s.flags.has('x') && words.length > 0) await io.stderr.write(`+ ${words.join(' ')}\n`);
    if (words.length === 0) {
      for (const [k, v] of assigned) this.#s.vars.set(k, v);
      return c.redirects.length === 0 ? status : this.#redirected(c.redirects, io, () => Promise.resolve(status));
    }
    const fn = this.#s.functions.get(words[0]!);
    const builtin = this.#builtin(words[0]!);
    if (fn !== undefined || builtin !== undefined) {
      for (const [k, v] of assigned) this.#s.vars.set(k, v);
      return this.#redirected(c.redirects, io, (inner) => {
        if (fn !== undefined) return this.#call(fn, words, inner);
        return builtin!(words, inner);
      });
    }
    return this.#redirected(c.redirects, io, (inner) => this.#program(words, inner, Object.fromEntries(assigned)));
  }

  async #program(words: readonly string[], io: Io, extra: Record<string, string>): Promise<number> {
    let argv = words;
    let program = this.#s.process.at.find(argv[0]!);
    if (program === undefined && argv[0]!.includes('/')) {
      const file = await this.#s.process.fs.stat(this.#s.process.path(argv[0]!));
      if (file?.type === 'file') {
        if ((file.mode & 0o111) === 0) {
          await io.stderr.write(`${this.#s.name}: ${argv[0]}: Permission denied\n`);
          return 126;
        }
        program = sh;
        argv = ['sh', ...argv];
      }
    }
    if (program === undefined) {
      await io.stderr.write(`${this.#s.name}: ${argv[0]}: not found\n`);
      return 127;
    }
    try {
      return await this.#s.process.spawn(
        {
          argv,
          env: { ...this.#s.environment(), ...extra },
          cwd: this.#s.process.cwd,
          stdin: io.stdin,
          stdout: io.stdout,
          stderr: io.stderr,
        },
        program,
      );
    } catch (error) {
      if (!(error instanceof ExecutableNotFound)) throw error;
      await io.stderr.write(`${this.#s.name}: ${argv[0]}: not found\n`);
      return 127;
    }
  }

  async #call(fn: Command, words: readonly string[], io: Io): Promise<number> {
    if (++this.#depth > 200) throw new Error('maximum function nesting level exceeded');
    const params = this.#s.params;
    this.#s.params = words.slice(1);
    try {
      return await this.#command(fn, io);
    } catch (error) {
      if (error instanceof Break && error.kind === 'return') return error.count;
      throw error;
    } finally {
      this.#s.params = params;
      this.#depth--;
    }
  }

  #builtin(name: string): Builtin | undefined {
    return builtin(
      this.#s,
      { list: (list, io) => this.#list(list, io), program: (words, io, extra) => this.#program(words, io, extra) },
      name,
    );
  }

  async #substitute(body: List, io: Io): Promise<string> {
    const chunks: Buffer[] = [];
    let size = 0;
    const sink: ByteSink = {
      write: (data) => {
        size += data.length;
        if (size > 16 * 1024 * 1024) return Promise.reject(new Error('command substitution: output too large'));
        chunks.push(Buffer.from(toBuffer(data)));
        return Promise.resolve();
      },
    };
    this.#s.status = await this.#subshell({ kind: 'group', body, redirects: [] }, { ...io, stdout: sink });
    return Buffer.concat(chunks).toString().replace(/\n+$/, '');
  }
}

/** Under `set -e` a failing `&&`/`||` list or negation does not end the shell by itself. */
function mayFail(c: Command): boolean {
  return !((c.kind === 'and' || c.kind === 'or') && c.right.kind !== 'simple') && !(c.kind === 'pipeline' && c.negate);
}
