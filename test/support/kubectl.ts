/** Runs the real kubectl against a cluster; failures carry what it printed. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { run, type Ended } from './run.ts';

export class Kubectl {
  readonly #file: string;
  readonly #kubeconfig: string;
  readonly #home: string;

  constructor(file: string, kubeconfig: string, home: string) {
    this.#file = file;
    this.#kubeconfig = kubeconfig;
    this.#home = home;
  }

  #env(): Record<string, string> {
    return { KUBECONFIG: this.#kubeconfig, HOME: this.#home };
  }

  /** Runs to the end whatever the exit code. */
  run(args: readonly string[], options: { readonly input?: string; readonly timeoutMs?: number } = {}): Promise<Ended> {
    return run(this.#file, args, { ...options, env: this.#env() });
  }

  /** Runs and gives standard output; an exit code other than 0 throws. */
  async ok(args: string | readonly string[], input?: string): Promise<string> {
    const list = typeof args === 'string' ? args.split(' ') : args;
    const r = await this.run(list, input === undefined ? {} : { input });
    if (r.code !== 0) throw new Error(`kubectl ${list.join(' ')} ended with ${r.code}\n${r.stdout}${r.stderr}`);
    return r.stdout;
  }

  /** Runs and gives standard error; an exit code of 0 throws. */
  async fails(args: string | readonly string[], input?: string): Promise<string> {
    const list = typeof args === 'string' ? args.split(' ') : args;
    const r = await this.run(list, input === undefined ? {} : { input });
    if (r.code === 0) throw new Error(`kubectl ${list.join(' ')} succeeded:\n${r.stdout}`);
    return r.stderr;
  }

  async json<T = Record<string, unknown>>(args: string): Promise<T> {
    return JSON.parse(await this.ok(`${args} -o json`)) as T;
  }

  apply(manifest: unknown, ...more: string[]): Promise<string> {
    const text = typeof manifest === 'string' ? manifest : JSON.stringify(manifest);
    return this.ok(['apply', '-f', '-', ...more], text);
  }

  /** Leaves a process running (port-forward, watch). */
  start(args: readonly string[]): ChildProcess {
    return spawn(this.#file, args, { env: { ...process.env, ...this.#env() }, stdio: ['pipe', 'pipe', 'pipe'] });
  }
}

/** Resolves with the first match of `pattern` in what the process prints. */
export function printed(child: ChildProcess, pattern: RegExp, timeoutMs = 20_000): Promise<RegExpExecArray> {
  return new Promise((resolve, reject) => {
    let text = '';
    const timer = setTimeout(() => reject(new Error(`${pattern} did not appear in:\n${text}`)), timeoutMs);
    const look = (d: Buffer): void => {
      text += d.toString();
      const m = pattern.exec(text);
      if (m === null) return;
      clearTimeout(timer);
      resolve(m);
    };
    child.stdout?.on('data', look);
    child.stderr?.on('data', look);
    child.once('close', () => {
      clearTimeout(timer);
      reject(new Error(`ended before ${pattern} appeared:\n${text}`));
    });
  });
}
