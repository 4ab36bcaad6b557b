/** The simulated `sh`: runs what `shell-parser.ts` reads, with built-in commands, traps, jobs and redirections. */
import { Slice } from '../../../base/yield.ts';
import { FsError } from './file-system.ts';
import type { ByteSink, ByteSource } from './pipe.ts';
import { emptySource, nullSink, Pipe, toBuffer } from './pipe.ts';
import type { Process, Program } from './process.ts';
import { ExecutableNotFound, ProcessExit, signalNumbers } from './process.ts';
import type { Command, List, Redirect, Word } from './shell-parser.ts';
import { parseShell, ShellSyntaxError } from './shell-parser.ts';
import { evaluateArithmetic, globToRegExp, testExpression } from './shell-expressions.ts';

class Break extends Error {
  readonly kind: 'break' | 'continue' | 'return';
  /** Loops still to leave, or the status that a function returns. */
  count: number;

  constructor(kind: 'break' | 'continue' | 'return', count: number) {
    super(kind);
    this.kind = kind;
    this.count = count;
  }
}

/** Output and input of the command at hand; redirections and pipes replace single members. */
interface Io {
  stdin: ByteSource;
  stdout: ByteSink;
  stderr: ByteSink;
}

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
    shell.name = args[1] ?? process.argv[0]!;
    shell.params = args.slice(2);
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
    shell.name = args[0];
    shell.params = args.slice(1);
    return shell.script(text);
  }
  return shell.interactive();
};

export class Shell {
  readonly #p: Process;
  readonly #flags: Set<string>;
  readonly #slice = new Slice();
  readonly #exported: Set<string>;
  readonly #vars: Map<string, string>;
  readonly #functions = new Map<string, Command>();
  readonly #traps = new Map<string, string>();
  #pending: string[] = [];
  #wakeWait: (() => void) | undefined;
  #jobs: Promise<number>[] = [];
  #lastJob = 0;
  #status = 0;
  #conditional = 0;
  #depth = 0;
  name = 'sh';
  params: readonly string[] = [];

  constructor(process: Process, flags: Set<string>, from?: Shell) {
    this.#p = process;
    this.#flags = flags;
    this.#vars = new Map(from === undefined ? Object.entries(process.env) : from.#vars);
    this.#exported = new Set(from === undefined ? Object.keys(process.env) : from.#exported);
    if (from !== undefined) {
      this.name = from.name;
      this.params = from.params;
      for (const [k, v] of from.#functions) this.#functions.set(k, v);
      this.#status = from.#status;
    }
  }

  /** Runs a whole script and its EXIT trap. */
  async script(text: string): Promise<number> {
    let list: List;
    try {
      list = parseShell(text);
    } catch (error) {
      await this.#p.err(`${this.name}: ${(error as Error).message}\n`);
      return 2;
    }
    let code: number;
    const io: Io = { stdin: this.#p.stdin, stdout: this.#p.stdout, stderr: this.#p.stderr };
    try {
      code = await this.#list(list, io);
      await this.#runTraps(io);
    } catch (error) {
      code = this.#caught(error);
    }
    return this.#exitTrap(code, io);
  }

  #caught(error: unknown): number {
    if (error instanceof Break) return this.#status;
    if (error instanceof ProcessExit && !this.#p.signal.aborted) return error.code;
    throw error;
  }

  async #exitTrap(code: number, io: Io): Promise<number> {
    const action = this.#traps.get('EXIT');
    if (action === undefined || action === '') return code;
    this.#traps.delete('EXIT');
    this.#status = code;
    try {
      await this.#list(parseShell(action), io);
    } catch (error) {
      return this.#caught(error);
    }
    return code;
  }

  /** Reads commands from stdin, with a prompt on a terminal. */
  async interactive(): Promise<number> {
    const io: Io = { stdin: this.#p.stdin, stdout: this.#p.stdout, stderr: this.#p.stderr };
    let buffer = '';
    let script = '';
    const prompt = this.#p.tty ? `${this.#p.at.uid === 0 ? '#' : '$'} ` : '';
    const editor = this.#p.tty ? (line: string) => this.#p.out(line) : undefined;
    if (prompt !== '') await this.#p.out(prompt);
    // A command that reads stdin gets what follows its own line.
    const rest: ByteSource = {
      read: () => {
        if (buffer === '') return this.#p.read();
        const data = Buffer.from(buffer, 'latin1');
        buffer = '';
        return Promise.resolve(data);
      },
    };
    io.stdin = rest;
    for (;;) {
      let end = buffer.search(/[\n\r\x04]/);
      while (end === -1) {
        const chunk = await this.#p.read();
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
          this.#status = await this.#list(list, io);
          await this.#runTraps(io);
        } catch (error) {
          if (error instanceof ShellSyntaxError && error.message.includes('end of file') && !last) {
            script += '\n';
            continue;
          }
          script = '';
          if (error instanceof ProcessExit || error instanceof Break) return this.#exitTrap(this.#caught(error), io);
          if (this.#p.signal.aborted) throw error;
          await this.#p.err(`${this.name}: ${(error as Error).message}\n`);
          this.#status = 2;
        }
      } else script = '';
      if (last || closed) return this.#exitTrap(this.#status, io);
      if (prompt !== '') await this.#p.out(prompt);
    }
  }

  async #runTraps(io: Io): Promise<void> {
    while (this.#pending.length > 0) {
      const action = this.#traps.get(this.#pending.shift()!);
      if (action !== undefined && action !== '') {
        const status = this.#status;
        await this.#list(parseShell(action), io);
        this.#status = status;
      }
    }
  }

  async #list(list: List, io: Io): Promise<number> {
    for (const { command, background } of list) {
      if (this.#p.signal.aborted) throw this.#p.signal.reason;
      if (background) {
        const sub = this.#subshell(command, { ...io, stdin: emptySource });
        this.#jobs.push(sub);
        this.#status = 0;
        continue;
      }
      this.#status = await this.#command(command, io);
      if (this.#pending.length > 0) await this.#runTraps(io);
      if (this.#status !== 0 && this.#flags.has('e') && this.#conditional === 0 && mayFail(command))
        throw new ProcessExit(this.#status);
    }
    return this.#status;
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
          left = this.#status = await this.#command(c.left, io);
        } finally {
          this.#conditional--;
        }
        return (left === 0) === (c.kind === 'and') ? this.#command(c.right, io) : left;
      }
      case 'function':
        this.#functions.set(c.name, c.body);
        return 0;
      case 'subshell':
        return this.#redirected(c.redirects, io, (inner) =>
          this.#subshell({ kind: 'group', body: c.body, redirects: [] }, inner),
        );
      case 'group':
        return this.#redirected(c.redirects, io, async (inner) => {
          this.#status = 0;
          return this.#list(c.body, inner);
        });
      case 'if':
        return this.#redirected(c.redirects, io, async (inner) => {
          for (const b of c.branches) {
            if (!(await this.#condition(b.test, inner))) continue;
            this.#status = 0;
            return this.#list(b.body, inner);
          }
          this.#status = 0;
          return c.otherwise === undefined ? 0 : this.#list(c.otherwise, inner);
        });
      case 'while':
        return this.#redirected(c.redirects, io, async (inner) => {
          let status = 0;
          while ((await this.#condition(c.test, inner)) !== c.until) {
            this.#status = 0;
            const next = await this.#loopBody(c.body, inner);
            status = this.#status;
            if (!next) break;
          }
          return status;
        });
      case 'for':
        return this.#redirected(c.redirects, io, async (inner) => {
          const words = c.words === undefined ? this.params : await this.#expandAll(c.words, inner);
          let status = 0;
          for (const w of words) {
            this.#vars.set(c.name, w);
            this.#status = 0;
            const next = await this.#loopBody(c.body, inner);
            status = this.#status;
            if (!next) break;
          }
          return status;
        });
      case 'case':
        return this.#redirected(c.redirects, io, async (inner) => {
          const word = await this.#expandOne(c.word, inner);
          for (const item of c.items) {
            for (const p of item.patterns) {
              if (!globToRegExp(await this.#expandPattern(p, inner)).test(word)) continue;
              this.#status = 0;
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
      this.#status = 0;
      return error.kind === 'continue';
    }
  }

  /** Runs a command in a child process with a copy of the variables. */
  #subshell(c: Command, io: Io): Promise<number> {
    const work = this.#p.spawn(
      {
        argv: [this.name],
        env: this.#environment(),
        stdin: io.stdin,
        stdout: io.stdout,
        stderr: io.stderr,
        cwd: this.#p.cwd,
      },
      async (child) => {
        this.#lastJob = child.pid;
        const sub = new Shell(child, new Set(this.#flags), this);
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
        `${this.name}: can't ${verb} ${error.path}: ${error.message.toLowerCase().replace('no such file or directory', verb === 'open' ? 'no such file' : 'nonexistent directory')}\n`,
      );
      return 1;
    }
    return run(inner);
  }

  async #open(redirects: readonly Redirect[], io: Io): Promise<Io> {
    const out = { ...io };
    for (const r of redirects) {
      const target = await this.#expandOne(r.target, io);
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
      const path = this.#p.path(target);
      if (r.op === '<') {
        out.stdin =
          path === '/dev/null'
            ? emptySource
            : path === '/dev/stdin'
              ? io.stdin
              : fromText(await this.#p.fs.readFile(path));
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
    if (path === '/proc/1/fd/1') return this.#p.at.processes.get(1)?.stdout ?? io.stdout;
    if (path === '/proc/1/fd/2') return this.#p.at.processes.get(1)?.stderr ?? io.stderr;
    const write = await this.#p.fs.open(path, { append });
    return {
      write: async (data) => write(toBuffer(data)),
    };
  }

  async #simple(c: Command & { kind: 'simple' }, io: Io): Promise<number> {
    const words = await this.#expandAll(c.words, io);
    const assigned: [string, string][] = [];
    let status = 0;
    for (const a of c.assignments) {
      this.#status = 0;
      assigned.push([a.name, await this.#expandOne(a.value, io)]);
      status = this.#status;
    }
    if (this.#flags.has('x') && words.length > 0) await io.stderr.write(`+ ${words.join(' ')}\n`);
    if (words.length === 0) {
      for (const [k, v] of assigned) this.#vars.set(k, v);
      return c.redirects.length === 0 ? status : this.#redirected(c.redirects, io, () => Promise.resolve(status));
    }
    const fn = this.#functions.get(words[0]!);
    const builtin = this.#builtin(words[0]!);
    if (fn !== undefined || builtin !== undefined) {
      for (const [k, v] of assigned) this.#vars.set(k, v);
      return this.#redirected(c.redirects, io, (inner) => {
        if (fn !== undefined) return this.#call(fn, words, inner);
        return builtin!(words, inner);
      });
    }
    return this.#redirected(c.redirects, io, (inner) => this.#program(words, inner, Object.fromEntries(assigned)));
  }

  async #program(words: readonly string[], io: Io, extra: Record<string, string>): Promise<number> {
    let argv = words;
    let program = this.#p.at.find(argv[0]!);
    if (program === undefined && argv[0]!.includes('/')) {
      const file = await this.#p.fs.stat(this.#p.path(argv[0]!));
      if (file?.type === 'file') {
        if ((file.mode & 0o111) === 0) {
          await io.stderr.write(`${this.name}: ${argv[0]}: Permission denied\n`);
          return 126;
        }
        program = sh;
        argv = ['sh', ...argv];
      }
    }
    if (program === undefined) {
      await io.stderr.write(`${this.name}: ${argv[0]}: not found\n`);
      return 127;
    }
    try {
      return await this.#p.spawn(
        {
          argv,
          env: { ...this.#environment(), ...extra },
          cwd: this.#p.cwd,
          stdin: io.stdin,
          stdout: io.stdout,
          stderr: io.stderr,
        },
        program,
      );
    } catch (error) {
      if (!(error instanceof ExecutableNotFound)) throw error;
      await io.stderr.write(`${this.name}: ${argv[0]}: not found\n`);
      return 127;
    }
  }

  async #call(fn: Command, words: readonly string[], io: Io): Promise<number> {
    if (++this.#depth > 200) throw new Error('maximum function nesting level exceeded');
    const params = this.params;
    this.params = words.slice(1);
    try {
      return await this.#command(fn, io);
    } catch (error) {
      if (error instanceof Break && error.kind === 'return') return error.count;
      throw error;
    } finally {
      this.params = params;
      this.#depth--;
    }
  }

  #environment(): Record<string, string> {
    const env: Record<string, string> = {};
    for (const name of this.#exported) {
      const v = this.#vars.get(name);
      if (v !== undefined) env[name] = v;
    }
    return env;
  }

  #builtin(name: string): ((words: readonly string[], io: Io) => Promise<number>) | undefined {
    switch (name) {
      case ':':
      case 'true':
        return () => Promise.resolve(0);
      case 'false':
        return () => Promise.resolve(1);
      case 'cd':
        return async (w, io) => {
          const to = this.#p.path(w[1] ?? this.#vars.get('HOME') ?? '/');
          if ((await this.#p.fs.stat(to))?.type !== 'directory') {
            await io.stderr.write(`${this.name}: cd: can't cd to ${w[1]}: No such file or directory\n`);
            return 2;
          }
          this.#vars.set('OLDPWD', this.#p.cwd);
          this.#p.cwd = to;
          this.#vars.set('PWD', to);
          return 0;
        };
      case 'exit':
        return (w) => Promise.reject(new ProcessExit(w[1] === undefined ? this.#status : Number(w[1]) & 255));
      case 'return':
        return (w) => Promise.reject(new Break('return', w[1] === undefined ? this.#status : Number(w[1]) & 255));
      case 'break':
      case 'continue':
        return (w) => Promise.reject(new Break(name, w[1] === undefined ? 1 : Number(w[1])));
      case 'export':
      case 'readonly':
      case 'local':
        return (w) => {
          for (const a of w.slice(1)) {
            const eq = a.indexOf('=');
            const key = eq === -1 ? a : a.slice(0, eq);
            if (eq !== -1) this.#vars.set(key, a.slice(eq + 1));
            if (name === 'export' && !key.startsWith('-')) this.#exported.add(key);
          }
          return Promise.resolve(0);
        };
      case 'unset':
        return (w) => {
          for (const a of w.slice(1)) {
            this.#vars.delete(a);
            this.#exported.delete(a);
            this.#functions.delete(a);
          }
          return Promise.resolve(0);
        };
      case 'set':
        return (w) => {
          let i = 1;
          for (; i < w.length && /^[-+]/.test(w[i]!) && w[i] !== '--'; i++) {
            for (const f of w[i]!.slice(1)) {
              if (f === 'o') i++;
              else if (w[i]!.startsWith('-')) this.#flags.add(f);
              else this.#flags.delete(f);
            }
          }
          if (w[i] === '--') i++;
          if (i < w.length) this.params = w.slice(i);
          return Promise.resolve(0);
        };
      case 'shift':
        return (w) => {
          this.params = this.params.slice(w[1] === undefined ? 1 : Number(w[1]));
          return Promise.resolve(0);
        };
      case 'eval':
        return (w, io) => this.#list(parseShell(w.slice(1).join(' ')), io);
      case '.':
      case 'source':
        return async (w, io) =>
          this.#list(parseShell((await this.#p.fs.readFile(this.#p.path(w[1] ?? ''))).toString()), io);
      case 'exec':
        return async (w, io) => {
          if (w.length === 1) {
            this.#p.stdin = io.stdin;
            this.#p.stdout = io.stdout;
            this.#p.stderr = io.stderr;
            return 0;
          }
          throw new ProcessExit(await this.#program(w.slice(1), io, {}));
        };
      case 'trap':
        return (w) => {
          const [, action, ...signals] = w;
          if (action === undefined) return Promise.resolve(0);
          const remove = action === '-' || signals.length === 0;
          for (const s of signals.length === 0 ? [action] : signals) {
            const key = s === '0' ? 'EXIT' : signalName(s);
            if (remove) this.#traps.delete(key);
            else this.#traps.set(key, action);
            if (key === 'EXIT') continue;
            this.#p.onSignal(
              key,
              remove
                ? undefined
                : () => {
                    this.#pending.push(key);
                    this.#wakeWait?.();
                  },
            );
          }
          return Promise.resolve(0);
        };
      case 'wait':
        return async () => {
          const jobs = this.#jobs;
          const woken = new Promise<'signal'>((resolve) => {
            this.#wakeWait = () => resolve('signal');
            if (this.#pending.length > 0) resolve('signal');
          });
          const result = await this.#p.wait(Promise.race([Promise.all(jobs), woken]));
          this.#wakeWait = undefined;
          if (result === 'signal') return 128 + (signalNumbers[this.#pending[0] ?? ''] ?? 15);
          this.#jobs = [];
          return result.at(-1) ?? 0;
        };
      case 'read':
        return async (w, io) => {
          const names = w.slice(1).filter((a) => !a.startsWith('-'));
          const line = await this.#readLine(io);
          const fields = (line ?? '').trim().split(/[ \t]+/);
          for (const [i, n] of names.entries())
            this.#vars.set(n, i === names.length - 1 ? fields.slice(i).join(' ') : (fields[i] ?? ''));
          return line === undefined ? 1 : 0;
        };
      case 'test':
      case '[':
        return async (w, io) => {
          let args = w.slice(1);
          if (name === '[') {
            if (args.at(-1) !== ']') {
              await io.stderr.write(`${this.name}: [: missing ]\n`);
              return 2;
            }
            args = args.slice(0, -1);
          }
          try {
            return (await testExpression(args, this.#p)) ? 0 : 1;
          } catch (error) {
            await io.stderr.write(`${this.name}: ${name}: ${(error as Error).message}\n`);
            return 2;
          }
        };
      case 'type':
      case 'command':
        return async (w, io) => {
          const rest = w.slice(1).filter((a) => !a.startsWith('-'));
          if (name === 'command' && rest.length === w.length - 1) {
            const b = this.#builtin(rest[0] ?? ':');
            return b === undefined ? this.#program(rest, io, {}) : b(rest, io);
          }
          let code = 0;
          for (const n of rest) {
            if (this.#builtin(n) !== undefined || this.#functions.has(n)) await io.stdout.write(`${n}\n`);
            else if (this.#p.at.find(n) !== undefined) await io.stdout.write(`/bin/${n}\n`);
            else code = 127;
          }
          return code;
        };
      default:
        return undefined;
    }
  }

  async #readLine(io: Io): Promise<string | undefined> {
    let text = '';
    for (;;) {
      const chunk = await this.#p.wait(io.stdin.read());
      if (chunk === undefined) return text === '' ? undefined : text;
      const nl = chunk.indexOf(10);
      if (nl === -1) {
        text += chunk.toString();
        continue;
      }
      const rest = chunk.subarray(nl + 1);
      if (rest.length > 0 && 'unread' in io.stdin) (io.stdin as Pipe).unread(rest);
      return text + chunk.subarray(0, nl).toString();
    }
  }

  #value(name: string): string | undefined {
    switch (name) {
      case '?':
        return String(this.#status);
      case '$':
        return String(this.#p.pid);
      case '#':
        return String(this.params.length);
      case '!':
        return String(this.#lastJob);
      case '-':
        return [...this.#flags].join('');
      case '@':
      case '*':
        return this.params.join(' ');
      case '0':
        return this.name;
      case 'PWD':
        return this.#p.cwd;
      default:
        return /^\d+$/.test(name) ? this.params[Number(name) - 1] : this.#vars.get(name);
    }
  }

  async #param(part: { name: string; op?: string; word?: Word }, io: Io): Promise<string> {
    const value = this.#value(part.name);
    if (part.op === undefined) {
      if (value === undefined && this.#flags.has('u')) {
        await io.stderr.write(`${this.name}: ${part.name}: parameter not set\n`);
        throw new ProcessExit(2);
      }
      return value ?? '';
    }
    if (part.op === 'length') return String((value ?? '').length);
    const word = () => this.#expandOne(part.word ?? [], io);
    const missing = value === undefined || (part.op.startsWith(':') && value === '');
    switch (part.op.replace(':', '')) {
      case '-':
        return missing ? word() : value!;
      case '=': {
        if (!missing) return value!;
        const w = await word();
        this.#vars.set(part.name, w);
        return w;
      }
      case '?':
        if (!missing) return value!;
        await io.stderr.write(`${this.name}: ${part.name}: ${(await word()) || 'parameter not set'}\n`);
        throw new ProcessExit(2);
      case '+':
        return missing ? '' : word();
      default: {
        const v = value ?? '';
        const pattern = globToRegExp(await this.#expandPattern(part.word ?? [], io));
        const prefix = part.op.startsWith('#');
        const cuts = Array.from({ length: v.length + 1 }, (_, i) => i);
        if (prefix ? part.op === '##' : part.op === '%') cuts.reverse();
        for (const i of cuts)
          if (pattern.test(prefix ? v.slice(0, i) : v.slice(i))) return prefix ? v.slice(i) : v.slice(0, i);
        return v;
      }
    }
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
    this.#status = await this.#subshell({ kind: 'group', body, redirects: [] }, { ...io, stdout: sink });
    return Buffer.concat(chunks).toString().replace(/\n+$/, '');
  }

  /** Each part's text with whether it was quoted. */
  async #pieces(word: Word, io: Io): Promise<{ text: string; quoted: boolean; fields?: readonly string[] }[]> {
    const out: { text: string; quoted: boolean; fields?: readonly string[] }[] = [];
    for (const p of word) {
      if (p.kind === 'text') {
        const home = !p.quoted && out.length === 0 && /^~(\/|$)/.test(p.text);
        const text = home ? (this.#vars.get('HOME') ?? '/') + p.text.slice(1) : p.text;
        // Literal text is never split into fields; unquoted text may still be a pattern.
        out.push(p.quoted ? { text, quoted: true } : { text, quoted: false, fields: [text] });
      } else if (p.kind === 'param' && p.name === '@' && p.quoted && p.op === undefined)
        out.push({ text: '', quoted: true, fields: this.params });
      else {
        const text =
          p.kind === 'param'
            ? await this.#param(p, io)
            : p.kind === 'command'
              ? await this.#substitute(p.body, io)
              : String(
                  evaluateArithmetic(
                    await this.#expandOne(p.body, io),
                    (n) => this.#value(n),
                    (n, v) => this.#vars.set(n, v),
                  ),
                );
        out.push({ text, quoted: p.quoted });
      }
    }
    return out;
  }

  async #expandOne(word: Word, io: Io): Promise<string> {
    return (await this.#pieces(word, io))
      .map((p) => (p.fields !== undefined && p.text === '' ? p.fields.join(' ') : p.text))
      .join('');
  }

  /** For patterns: quoted characters lose their special meaning. */
  async #expandPattern(word: Word, io: Io): Promise<string> {
    return (await this.#pieces(word, io))
      .map((p) => (p.quoted ? p.text.replace(/[\\*?[\]]/g, '\\$&') : p.text))
      .join('');
  }

  /** Expansion with field splitting and file name patterns. */
  async #expandAll(words: readonly Word[], io: Io): Promise<string[]> {
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
          if ((await this.#p.fs.stat(this.#p.path(join(part)), false)) !== undefined) next.push(join(part));
          continue;
        }
        const re = globToRegExp(part);
        const names = await this.#p.fs.list(this.#p.path(base === '' ? '.' : base)).catch(() => []);
        for (const n of names) if (re.test(n) && (!n.startsWith('.') || part.startsWith('.'))) next.push(join(n));
      }
      bases = next;
    }
    return bases;
  }
}

/** Under `set -e` a failing `&&`/`||` list or negation does not end the shell by itself. */
function mayFail(c: Command): boolean {
  return !((c.kind === 'and' || c.kind === 'or') && c.right.kind !== 'simple') && !(c.kind === 'pipeline' && c.negate);
}

function signalName(s: string): string {
  const upper = s.toUpperCase();
  if (upper === 'EXIT') return upper;
  for (const [name, n] of Object.entries(signalNumbers)) if (String(n) === s) return name;
  return upper.startsWith('SIG') ? upper : `SIG${upper}`;
}

function fromText(text: Buffer | string): ByteSource {
  let data: Buffer | undefined = typeof text === 'string' ? Buffer.from(text) : text;
  return {
    read: () => {
      const d = data;
      data = undefined;
      return Promise.resolve(d === undefined || d.length === 0 ? undefined : d);
    },
    unread(rest: Buffer) {
      data = data === undefined ? rest : Buffer.concat([rest, data]);
    },
  } as ByteSource;
}
