/**
 * A simulated process: arguments, environment, working directory, three byte streams, signals. Programs are functions of
 * it. It waits only on pipes and on the cluster's clock.
 */
import type { Clock } from '../../../base/clock.ts';
import type { Random } from '../../../base/random.ts';
import type { Duplex } from 'node:stream';
import type { TerminalSize } from '../container-runtime.ts';
import type { FileView } from './file-system.ts';
import { resolvePath } from './file-system.ts';
import type { ByteSink, ByteSource } from './pipe.ts';
import { BrokenPipe } from './pipe.ts';

export type Program = (process: Process) => number | Promise<number>;

export const signalNumbers: Readonly<Record<string, number>> = {
  SIGHUP: 1,
  SIGINT: 2,
  SIGQUIT: 3,
  SIGABRT: 6,
  SIGKILL: 9,
  SIGUSR1: 10,
  SIGUSR2: 12,
  SIGPIPE: 13,
  SIGALRM: 14,
  SIGTERM: 15,
  SIGCHLD: 17,
  SIGCONT: 18,
  SIGSTOP: 19,
};

/** Ends a process from inside or by a signal. */
export class ProcessExit extends Error {
  readonly code: number;

  constructor(code: number) {
    super(`exit ${code}`);
    this.name = 'ProcessExit';
    this.code = code;
  }
}

/** The command names no program: the text is runc's. */
export class ExecutableNotFound extends Error {
  readonly command: string;

  constructor(command: string) {
    super(
      command.includes('/')
        ? `exec: "${command}": stat ${command}: no such file or directory`
        : `exec: "${command}": executable file not found in $PATH`,
    );
    this.name = 'ExecutableNotFound';
    this.command = command;
  }
}

/** What all processes of one container share. */
export interface Surroundings {
  readonly clock: Clock;
  readonly random: Random;
  readonly fs: FileView;
  readonly hostname: string;
  readonly uid: number;
  readonly gid: number;
  /** Addresses of the sandbox. */
  readonly ips: readonly string[];
  /** The program behind a command; undefined when the image has none. */
  find(command: string): Program | undefined;
  /** Opens a TCP connection from inside the sandbox. */
  dial(address: string, port: number): Promise<Duplex>;
  /** Accepts connections on a port of the sandbox until the returned function is called. */
  listen(port: number, onConnection: (stream: Duplex) => void): () => void;
  /** Addresses of a name, by the cluster's DNS. */
  resolve(name: string): Promise<readonly string[]>;
  /** Processes now running in the container, for `ps` and `kill`. */
  readonly processes: Map<number, Process>;
  nextPid(): number;
}

export interface ProcessOptions {
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  readonly stdin: ByteSource;
  readonly stdout: ByteSink;
  readonly stderr: ByteSink;
  readonly tty?: boolean;
  readonly parent?: Process;
}

export class Process {
  readonly at: Surroundings;
  readonly argv: readonly string[];
  env: Record<string, string>;
  cwd: string;
  stdin: ByteSource;
  stdout: ByteSink;
  stderr: ByteSink;
  readonly tty: boolean;
  readonly pid: number;
  readonly parent: Process | undefined;
  size: TerminalSize | undefined;
  readonly #abort = new AbortController();
  readonly #children = new Set<Process>();
  #handlers: Map<string, () => void> | undefined;

  constructor(at: Surroundings, options: ProcessOptions) {
    this.at = at;
    this.argv = options.argv;
    this.env = { ...options.env };
    this.cwd = options.cwd;
    this.stdin = options.stdin;
    this.stdout = options.stdout;
    this.stderr = options.stderr;
    this.tty = options.tty ?? false;
    this.parent = options.parent;
    this.pid = at.nextPid();
  }

  get args(): readonly string[] {
    return this.argv.slice(1);
  }

  get fs(): FileView {
    return this.at.fs;
  }

  /** Aborts when the process is killed. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  path(p: string): string {
    return resolvePath(this.cwd, p);
  }

  /** Waits for something that a kill interrupts. */
  async wait<T>(work: Promise<T>): Promise<T> {
    const signal = this.#abort.signal;
    if (signal.aborted) throw signal.reason;
    let stop: (() => void) | undefined;
    const killed = new Promise<never>((_, reject) => {
      stop = () => reject(signal.reason);
      signal.addEventListener('abort', stop, { once: true });
    });
    try {
      return await Promise.race([work, killed]);
    } finally {
      if (stop !== undefined) signal.removeEventListener('abort', stop);
    }
  }

  read(): Promise<Buffer | undefined> {
    return this.wait(this.stdin.read());
  }

  /** All of stdin. */
  async readAll(limit = 64 * 1024 * 1024): Promise<Buffer> {
    const chunks: Buffer[] = [];
    let size = 0;
    for (;;) {
      const chunk = await this.read();
      if (chunk === undefined) return Buffer.concat(chunks);
      size += chunk.length;
      if (size > limit) throw new Error('input too large');
      chunks.push(chunk);
    }
  }

  out(data: Uint8Array | string): Promise<void> {
    return this.wait(this.stdout.write(data));
  }

  err(data: Uint8Array | string): Promise<void> {
    return this.wait(this.stderr.write(data));
  }

  /** `name: message` on stderr. */
  async complain(message: string): Promise<void> {
    await this.err(`${this.argv[0]}: ${message}\n`);
  }

  async sleep(ms: number): Promise<void> {
    const { clock } = this.at;
    await clock.sleep(ms, this.#abort.signal);
    // What the program does next may go over streams before anybody counts it as work: the clock looks twice.
    clock.activity.begin()();
  }

  /** Handles a signal other than SIGKILL instead of dying of it; without a handler the default comes back. */
  onSignal(name: string, handler: (() => void) | undefined): void {
    this.#handlers ??= new Map();
    if (handler === undefined) this.#handlers.delete(name);
    else this.#handlers.set(name, handler);
  }

  /** Delivers a signal. Unlike on Linux, process 1 dies of a signal that it does not handle, as under an init. */
  kill(name: string): void {
    const handler = name === 'SIGKILL' ? undefined : this.#handlers?.get(name);
    if (handler !== undefined) {
      handler();
      return;
    }
    if (name === 'SIGCHLD' || name === 'SIGCONT' || name === 'SIGWINCH') return;
    this.#abort.abort(new ProcessExit(128 + (signalNumbers[name] ?? 15)));
    for (const c of this.#children) c.kill('SIGKILL');
  }

  /** Runs a program in a child; its exit code. Throws `ExecutableNotFound`. */
  async spawn(options: Partial<ProcessOptions> & { argv: readonly string[] }, program?: Program): Promise<number> {
    const run = program ?? this.at.find(options.argv[0]!);
    if (run === undefined) throw new ExecutableNotFound(options.argv[0]!);
    const child = new Process(this.at, {
      env: this.env,
      cwd: this.cwd,
      stdin: this.stdin,
      stdout: this.stdout,
      stderr: this.stderr,
      tty: this.tty,
      parent: this,
      ...options,
    });
    child.size = this.size;
    this.#children.add(child);
    try {
      return await child.run(run);
    } finally {
      this.#children.delete(child);
    }
  }

  /** Runs `program` as this process. */
  async run(program: Program): Promise<number> {
    this.at.processes.set(this.pid, this);
    try {
      if (this.#abort.signal.aborted) throw this.#abort.signal.reason;
      return await program(this);
    } catch (error) {
      if (error instanceof ProcessExit) return error.code;
      if (error instanceof BrokenPipe) return 141;
      if (this.#abort.signal.aborted && this.#abort.signal.reason instanceof ProcessExit)
        return this.#abort.signal.reason.code;
      const message = error instanceof Error ? error.message : String(error);
      await this.stderr.write(`${this.argv[0]}: ${message}\n`).catch(() => {}); // nobody reads it any more
      return 1;
    } finally {
      this.at.processes.delete(this.pid);
      for (const c of this.#children) c.kill('SIGKILL');
    }
  }
}
