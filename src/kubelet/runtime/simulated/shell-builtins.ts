/** The simulated shell's built-in commands. */
import type { Pipe } from './pipe.ts';
import { ProcessExit, signalNumbers } from './process.ts';
import { testExpression } from './shell-expressions.ts';
import type { List } from './shell-parser.ts';
import { parseShell } from './shell-parser.ts';
import type { Io, ShellState } from './shell-state.ts';
import { Break } from './shell-state.ts';

export type Builtin = (words: readonly string[], io: Io) => Promise<number>;

/** What a built-in asks of the shell that runs it. */
export interface ShellRunner {
  list(list: List, io: Io): Promise<number>;
  program(words: readonly string[], io: Io, extra: Record<string, string>): Promise<number>;
}

export function builtin(s: ShellState, run: ShellRunner, name: string): Builtin | undefined {
  switch (name) {
    case ':':
    case 'true':
      return () => Promise.resolve(0);
    case 'false':
      return () => Promise.resolve(1);
    case 'cd':
      return async (w, io) => {
        const to = s.process.path(w[1] ?? s.vars.get('HOME') ?? '/');
        if ((await s.process.fs.stat(to))?.type !== 'directory') {
          await io.stderr.write(`${s.name}: cd: can't cd to ${w[1]}: No such file or directory\n`);
          return 2;
        }
        s.vars.set('OLDPWD', s.process.cwd);
        s.process.cwd = to;
        s.vars.set('PWD', to);
        return 0;
      };
    case 'exit':
      return (w) => Promise.reject(new ProcessExit(w[1] === undefined ? s.status : Number(w[1]) & 255));
    case 'return':
      return (w) => Promise.reject(new Break('return', w[1] === undefined ? s.status : Number(w[1]) & 255));
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
          if (eq !== -1) s.vars.set(key, a.slice(eq + 1));
          if (name === 'export' && !key.startsWith('-')) s.exported.add(key);
        }
        return Promise.resolve(0);
      };
    case 'unset':
      return (w) => {
        for (const a of w.slice(1)) {
          s.vars.delete(a);
          s.exported.delete(a);
          s.functions.delete(a);
        }
        return Promise.resolve(0);
      };
    case 'set':
      return (w) => {
        let i = 1;
        for (; i < w.length && /^[-+]/.test(w[i]!) && w[i] !== '--'; i++) {
          for (const f of w[i]!.slice(1)) {
            if (f === 'o') i++;
            else if (w[i]!.startsWith('-')) s.flags.add(f);
            else s.flags.delete(f);
          }
        }
        if (w[i] === '--') i++;
        if (i < w.length) s.params = w.slice(i);
        return Promise.resolve(0);
      };
    case 'shift':
      return (w) => {
        s.params = s.params.slice(w[1] === undefined ? 1 : Number(w[1]));
        return Promise.resolve(0);
      };
    case 'eval':
      return (w, io) => run.list(parseShell(w.slice(1).join(' ')), io);
    case '.':
    case 'source':
      return async (w, io) =>
        run.list(parseShell((await s.process.fs.readFile(s.process.path(w[1] ?? ''))).toString()), io);
    case 'exec':
      return async (w, io) => {
        if (w.length === 1) {
          s.process.stdin = io.stdin;
          s.process.stdout = io.stdout;
          s.process.stderr = io.stderr;
          return 0;
        }
        throw new ProcessExit(await run.program(w.slice(1), io, {}));
      };
    case 'trap':
      return (w) => {
        const [, action, ...signals] = w;
        if (action === undefined) return Promise.resolve(0);
        const remove = action === '-' || signals.length === 0;
        for (const signal of signals.length === 0 ? [action] : signals) {
          const key = signal === '0' ? 'EXIT' : signalName(signal);
          if (remove) s.traps.delete(key);
          else s.traps.set(key, action);
          if (key === 'EXIT') continue;
          s.process.onSignal(
            key,
            remove
              ? undefined
              : () => {
                  s.pending.push(key);
                  s.wakeWait?.();
                },
          );
        }
        return Promise.resolve(0);
      };
    case 'wait':
      return async () => {
        const jobs = s.jobs;
        const woken = new Promise<'signal'>((resolve) => {
          s.wakeWait = () => resolve('signal');
          if (s.pending.length > 0) resolve('signal');
        });
        const result = await s.process.wait(Promise.race([Promise.all(jobs), woken]));
        s.wakeWait = undefined;
        if (result === 'signal') return 128 + (signalNumbers[s.pending[0] ?? ''] ?? 15);
        s.jobs = [];
        return result.at(-1) ?? 0;
      };
    case 'read':
      return async (w, io) => {
        const names = w.slice(1).filter((a) => !a.startsWith('-'));
        const line = await readLine(s, io);
        const fields = (line ?? '').trim().split(/[ \t]+/);
        for (const [i, n] of names.entries())
          s.vars.set(n, i === names.length - 1 ? fields.slice(i).join(' ') : (fields[i] ?? ''));
        return line === undefined ? 1 : 0;
      };
    case 'test':
    case '[':
      return async (w, io) => {
        let args = w.slice(1);
        if (name === '[') {
          if (args.at(-1) !== ']') {
            await io.stderr.write(`${s.name}: [: missing ]\n`);
            return 2;
          }
          args = args.slice(0, -1);
        }
        try {
          return (await testExpression(args, s.process)) ? 0 : 1;
        } catch (error) {
          await io.stderr.write(`${s.name}: ${name}: ${(error as Error).message}\n`);
          return 2;
        }
      };
    case 'type':
    case 'command':
      return async (w, io) => {
        const rest = w.slice(1).filter((a) => !a.startsWith('-'));
        if (name === 'command' && rest.length === w.length - 1) {
          const b = builtin(s, run, rest[0] ?? ':');
          return b === undefined ? run.program(rest, io, {}) : b(rest, io);
        }
        let code = 0;
        for (const n of rest) {
          if (builtin(s, run, n) !== undefined || s.functions.has(n)) await io.stdout.write(`${n}\n`);
          else if (s.process.at.find(n) !== undefined) await io.stdout.write(`/bin/${n}\n`);
          else code = 127;
        }
        return code;
      };
    default:
      return undefined;
  }
}

async function readLine(s: ShellState, io: Io): Promise<string | undefined> {
  let text = '';
  for (;;) {
    const chunk = await s.process.wait(io.stdin.read());
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

function signalName(s: string): string {
  const upper = s.toUpperCase();
  if (upper === 'EXIT') return upper;
  for (const [name, n] of Object.entries(signalNumbers)) if (String(n) === s) return name;
  return upper.startsWith('SIG') ? upper : `SIG${upper}`;
}
