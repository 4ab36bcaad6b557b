/**
 * One simulated container: its default program (nothing but a state and perhaps a timer), or a real simulated process with
 * files and streams, which is made only when there is a command to run or somebody enters the container.
 */
import type { Timer } from '../../../base/clock.ts';
import type {
  ContainerConfig,
  ContainerState,
  ExecOptions,
  ExecStreams,
  ExecSyncResult,
} from '../container-runtime.ts';
import { RuntimeError } from '../container-runtime.ts';
import type { FsMount } from './file-system.ts';
import { FileView, newDir, realPath, treeOf } from './file-system.ts';
import type { Behaviour, ResolvedImage } from './images.ts';
import type { ByteSink, ByteSource } from './pipe.ts';
import { emptySource, nullSink, Pipe, readableOf, toBuffer, writableOf } from './pipe.ts';
import type { Program, Surroundings } from './process.ts';
import { ExecutableNotFound, Process, ProcessExit } from './process.ts';
import type { SimulatedSandbox } from './sandbox.ts';

const maxLogLine = 16 * 1024;
const maxExecOutput = 16 * 1024 * 1024;

interface Attached {
  readonly stdout: Pipe | undefined;
  readonly stderr: Pipe | undefined;
  end(code: number): void;
}

export class SimulatedContainer {
  readonly id: string;
  readonly sandbox: SimulatedSandbox;
  readonly config: ContainerConfig;
  readonly image: ResolvedImage;
  readonly behaviour: Behaviour;
  readonly createdAt: number;
  state: ContainerState = 'CONTAINER_CREATED';
  startedAt = 0;
  finishedAt = 0;
  exitCode = 0;
  reason = '';
  message = '';
  #timer: Timer | undefined;
  #at: Surroundings | undefined;
  #main: Process | undefined;
  #stdin: Pipe | undefined;
  #attached: Set<Attached> | undefined;
  #exited: (() => void)[] | undefined;

  constructor(
    id: string,
    sandbox: SimulatedSandbox,
    config: ContainerConfig,
    image: ResolvedImage,
    behaviour: Behaviour,
  ) {
    this.id = id;
    this.sandbox = sandbox;
    this.config = config;
    this.image = image;
    this.behaviour = behaviour;
    this.createdAt = sandbox.node.clock.now();
  }

  get logPath(): string {
    return `${this.sandbox.config.logDirectory}/${this.config.logPath}`;
  }

  get running(): boolean {
    return this.state === 'CONTAINER_RUNNING';
  }

  /** The command line; undefined for the default program of an image that names none. */
  #argv(): readonly string[] | undefined {
    const { command, args } = this.config;
    const image = this.image.image;
    const argv =
      command !== undefined && command.length > 0
        ? [...command, ...(args ?? [])]
        : [...(image.entrypoint ?? []), ...(args !== undefined && args.length > 0 ? args : (image.command ?? []))];
    return argv.length === 0 ? undefined : argv;
  }

  #program(argv: readonly string[]): Program | undefined {
    return this.sandbox.node.images.program(this.image.image, argv[0]!);
  }

  /** Starts it. Throws what the runtime reports when the command cannot be run. */
  async start(): Promise<void> {
    const { clock, off } = this.sandbox.node;
    const b = this.behaviour;
    if (b.startDelayMs !== undefined && b.startDelayMs > 0) await clock.sleep(b.startDelayMs, off);
    if (this.state !== 'CONTAINER_CREATED')
      throw new RuntimeError('FailedPrecondition', `container is in ${this.state} state`);
    if (b.startError !== undefined) this.#failStart(b.startError);
    const argv = this.#argv();
    const program = argv === undefined ? undefined : this.#program(argv);
    // What a pod waits for does its work and ends, whatever it would have run.
    const unknown = program === undefined && this.config.awaited === true && !this.image.image.closed;
    const scripted = b.exitCode !== undefined || b.exitAfterMs !== undefined || unknown;
    if (program === undefined || scripted) {
      if (argv !== undefined && program === undefined && this.image.image.closed && !scripted)
        this.#failStart(
          `failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: error during container init: ${new ExecutableNotFound(argv[0]!).message}: unknown`,
        );
      this.#started();
      if (b.log !== undefined) this.#logLine('stdout', Buffer.from(`${b.log}\n`));
      if (scripted) {
        const end = () => this.#exit(b.exitCode ?? 0);
        if (b.exitAfterMs === undefined) queueMicrotask(end);
        else this.#timer = clock.setTimer(b.exitAfterMs, end);
      }
      return;
    }
    const at = this.#surroundings();
    this.#stdin = this.config.stdin ? new Pipe() : undefined;
    const main = new Process(at, {
      argv: argv!,
      env: this.#environment(),
      cwd: await this.#workingDir(at),
      stdin: this.#stdin ?? emptySource,
      stdout: this.#output('stdout'),
      stderr: this.#output(this.config.tty ? 'stdout' : 'stderr'),
      tty: this.config.tty,
    });
    this.#main = main;
    this.#started();
    if (b.log !== undefined) this.#logLine('stdout', Buffer.from(`${b.log}\n`));
    void main.run(program).then(
      (code) => this.#exit(code),
      (error: unknown) => this.#exit(error instanceof ProcessExit ? error.code : 1),
    );
  }

  #failStart(message: string): never {
    this.state = 'CONTAINER_EXITED';
    this.startedAt = this.finishedAt = this.sandbox.node.clock.now();
    this.exitCode = 128;
    this.reason = 'StartError';
    this.message = message;
    throw new RuntimeError('Unknown', message);
  }

  #started(): void {
    this.state = 'CONTAINER_RUNNING';
    this.startedAt = this.sandbox.node.clock.now();
    this.sandbox.node.logs.open(this.logPath);
    this.sandbox.node.emit(this, 'CONTAINER_STARTED_EVENT');
  }

  #exit(code: number): void {
    if (this.state !== 'CONTAINER_RUNNING') return;
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#flush('stdout');
    this.#flush('stderr');
    this.state = 'CONTAINER_EXITED';
    this.finishedAt = this.sandbox.node.clock.now();
    this.exitCode = code;
    this.reason = this.behaviour.exitReason ?? (code === 0 ? 'Completed' : 'Error');
    if (this.#at !== undefined) for (const p of [...this.#at.processes.values()]) p.kill('SIGKILL');
    this.#main = undefined;
    this.#at = undefined;
    this.#stdin?.break();
    for (const a of this.#attached ?? []) a.end(code);
    this.#attached = undefined;
    this.sandbox.node.logs.close(this.logPath);
    const exited = this.#exited;
    this.#exited = undefined;
    for (const f of exited ?? []) f();
    this.sandbox.node.emit(this, 'CONTAINER_STOPPED_EVENT');
  }

  /** Ends it: the stop signal, then SIGKILL after `timeoutMs` of cluster time. */
  async stop(timeoutMs: number): Promise<void> {
    if (this.state === 'CONTAINER_CREATED') {
      this.state = 'CONTAINER_EXITED';
      this.finishedAt = this.sandbox.node.clock.now();
      this.exitCode = 137;
      this.reason = 'Error';
      return;
    }
    if (this.state !== 'CONTAINER_RUNNING') return;
    const { clock } = this.sandbox.node;
    const done = new Promise<void>((resolve) => (this.#exited ??= []).push(resolve));
    const main = this.#main;
    if (main === undefined) {
      const delay = this.behaviour.stopDelayMs ?? 0;
      if (timeoutMs <= 0) this.#exit(137);
      else if (delay <= 0) this.#exit(0);
      else {
        this.#timer?.cancel();
        const late = delay > timeoutMs;
        this.#timer = clock.setTimer(Math.min(delay, timeoutMs), () => this.#exit(late ? 137 : 0));
      }
      return done;
    }
    if (timeoutMs <= 0) main.kill('SIGKILL');
    else {
      main.kill(this.config.stopSignal ?? this.image.image.stopSignal ?? 'SIGTERM');
      const timer = clock.setTimer(timeoutMs, () => main.kill('SIGKILL'));
      (this.#exited ??= []).push(() => timer.cancel());
    }
    return done;
  }

  /** Releases what it holds when it is removed without having run. */
  dispose(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #environment(): Record<string, string> {
    const env: Record<string, string> = {
      PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
      HOSTNAME: this.sandbox.hostname,
      ...this.image.image.env,
    };
    for (const { key, value } of this.config.envs) env[key] = value;
    env['HOME'] ??= this.#uid() === 0 ? '/root' : '/';
    if (this.config.tty) env['TERM'] ??= 'xterm';
    return env;
  }

  #uid(): number {
    return this.config.linux?.securityContext?.runAsUser ?? this.image.image.user ?? 0;
  }

  async #workingDir(at: Surroundings): Promise<string> {
    const dir = this.config.workingDir ?? this.image.image.workingDir ?? '/';
    if (dir !== '/') await at.fs.mkdir(dir, { parents: true });
    return dir;
  }

  /** Files, processes and network as seen from inside; made on first use. */
  #surroundings(): Surroundings {
    if (this.#at !== undefined) return this.#at;
    const { node } = this.sandbox;
    const now = () => node.clock.now();
    const mounts = new Map<string, FsMount>();
    for (const m of this.config.mounts) {
      const source =
        m.image === undefined
          ? { view: node.files, path: m.hostPath }
          : { view: new FileView(node.images.resolve(m.image.image).root, now), path: `/${m.imageSubPath ?? ''}` };
      mounts.set(realPath(this.image.root, m.containerPath), { ...source, readOnly: m.readonly ?? false });
    }
    const root = newDir(
      now(),
      0o755,
      treeOf(
        { '/etc/hostname': `${this.sandbox.hostname}\n`, '/etc/resolv.conf': this.sandbox.resolvConf() },
        now(),
        this.image.root,
      ),
    );
    const fs = new FileView(root, now, {
      mounts,
      quota: { used: 0, limit: 64 * 1024 * 1024 },
      readOnly: this.config.linux?.securityContext?.readonlyRootfs ?? false,
    });
    let pid = 0;
    const at: Surroundings = {
      clock: node.clock,
      random: node.random,
      fs,
      hostname: this.sandbox.hostname,
      uid: this.#uid(),
      gid: this.config.linux?.securityContext?.runAsGroup ?? 0,
      ips: this.sandbox.ips,
      find: (command) => node.images.program(this.image.image, command),
      dial: (address, port) => this.sandbox.dialOut(address, port),
      listen: (port, onConnection) => this.sandbox.listen(port, onConnection),
      resolve: (name) => this.sandbox.resolve(name),
      processes: new Map(),
      nextPid: () => ++pid,
    };
    this.#at = at;
    return at;
  }

  /** Gives a default program a process, so that the container can be looked into and its process 1 be signalled. */
  #enter(): Surroundings {
    const at = this.#surroundings();
    if (this.#main === undefined) {
      const main = new Process(at, {
        argv: this.#argv() ?? ['/entrypoint'],
        env: this.#environment(),
        cwd: '/',
        stdin: emptySource,
        stdout: this.#output('stdout'),
        stderr: this.#output('stderr'),
      });
      this.#main = main;
      const { promise, resolve } = Promise.withResolvers<number>();
      const end = () => {
        const delay = this.behaviour.stopDelayMs ?? 0;
        if (delay <= 0) resolve(0);
        else this.#timer = at.clock.setTimer(delay, () => resolve(0));
      };
      for (const s of ['SIGTERM', 'SIGINT', 'SIGQUIT']) main.onSignal(s, end);
      void main.run((p) => p.wait(promise)).then((code) => this.#exit(code));
    }
    return at;
  }

  #partial: { stdout: Buffer[]; stderr: Buffer[] } | undefined;

  #output(stream: 'stdout' | 'stderr'): ByteSink {
    return {
      write: async (data) => {
        const bytes = Buffer.from(toBuffer(data));
        this.#log(stream, bytes);
        for (const a of this.#attached ?? [])
          (stream === 'stdout' ? a.stdout : a.stderr)?.offer(this.config.tty ? cooked(bytes) : bytes);
      },
    };
  }

  #log(stream: 'stdout' | 'stderr', data: Buffer): void {
    let rest = data;
    for (;;) {
      const nl = rest.indexOf(10);
      if (nl === -1) break;
      this.#logLine(stream, Buffer.concat([...(this.#partial?.[stream] ?? []), rest.subarray(0, nl + 1)]));
      if (this.#partial !== undefined) this.#partial[stream] = [];
      rest = rest.subarray(nl + 1);
    }
    if (rest.length > 0) {
      this.#partial ??= { stdout: [], stderr: [] };
      this.#partial[stream].push(rest);
      if (this.#partial[stream].reduce((n, b) => n + b.length, 0) > 1024 * 1024) this.#flush(stream);
    }
  }

  #flush(stream: 'stdout' | 'stderr'): void {
    const left = this.#partial?.[stream];
    if (left === undefined || left.length === 0) return;
    this.#partial![stream] = [];
    this.#logLine(stream, Buffer.concat([...left, Buffer.from('\n')]));
  }

  #logLine(stream: 'stdout' | 'stderr', line: Buffer): void {
    let rest = line;
    while (rest.length > maxLogLine + 1) {
      this.sandbox.node.logs.append(this.logPath, stream, rest.subarray(0, maxLogLine), true);
      rest = rest.subarray(maxLogLine);
    }
    this.sandbox.node.logs.append(this.logPath, stream, rest, false);
  }

  #requireRunning(): void {
    if (!this.running) throw new RuntimeError('Unknown', `container is in ${this.state} state`);
  }

  #notFound(error: ExecutableNotFound): RuntimeError {
    return new RuntimeError(
      'Unknown',
      `failed to exec in container: failed to start exec "${this.sandbox.node.newId()}": OCI runtime exec failed: exec failed: unable to start container process: ${error.message}: unknown`,
      { cause: error },
    );
  }

  async #prepare(
    command: readonly string[],
    io: { stdin: ByteSource; stdout: ByteSink; stderr: ByteSink; tty?: boolean },
  ): Promise<{ process: Process; program: Program }> {
    this.#requireRunning();
    const program = command[0] === undefined ? undefined : this.#program(command);
    if (program === undefined) throw this.#notFound(new ExecutableNotFound(command[0] ?? ''));
    const at = this.#enter();
    const cwd = await this.#workingDir(at);
    return { process: new Process(at, { argv: command, env: this.#environment(), cwd, ...io }), program };
  }

  async execSync(command: readonly string[], timeoutMs: number): Promise<ExecSyncResult> {
    const { clock } = this.sandbox.node;
    const chunks: { stdout: Buffer[]; stderr: Buffer[] } = { stdout: [], stderr: [] };
    let size = 0;
    const sink = (s: 'stdout' | 'stderr'): ByteSink => ({
      write: async (data) => {
        const b = Buffer.from(toBuffer(data));
        size += b.length;
        if (size <= maxExecOutput) chunks[s].push(b);
      },
    });
    const { process, program } = await this.#prepare(command, {
      stdin: emptySource,
      stdout: sink('stdout'),
      stderr: sink('stderr'),
    });
    let late = false;
    const timer =
      timeoutMs > 0
        ? clock.setTimer(timeoutMs, () => {
            late = true;
            process.kill('SIGKILL');
          })
        : undefined;
    const exitCode = await process.run(program);
    timer?.cancel();
    if (late)
      throw new RuntimeError(
        'DeadlineExceeded',
        `failed to exec in container: timeout ${timeoutMs / 1000}s exceeded: context deadline exceeded`,
      );
    return { stdout: Buffer.concat(chunks.stdout), stderr: Buffer.concat(chunks.stderr), exitCode };
  }

  async exec(command: readonly string[], options: ExecOptions): Promise<ExecStreams> {
    const stdin = options.stdin ? new Pipe() : undefined;
    const stdout = options.stdout ? new Pipe() : undefined;
    const stderr = options.stderr && !options.tty ? new Pipe() : undefined;
    const out: ByteSink =
      stdout === undefined ? nullSink : options.tty ? { write: (d) => stdout.write(cooked(toBuffer(d))) } : stdout;
    const { process, program } = await this.#prepare(command, {
      stdin: stdin ?? emptySource,
      stdout: out,
      stderr: options.tty ? out : (stderr ?? nullSink),
      tty: options.tty,
    });
    const done = process.run(program).finally(() => {
      stdin?.break();
      stdout?.end();
      stderr?.end();
    });
    const input = stdin === undefined ? undefined : writableOf(stdin);
    if (options.tty && input !== undefined) {
      const write = input._write.bind(input);
      input._write = (chunk: Buffer, encoding, callback) => {
        if (chunk.includes(3)) process.kill('SIGINT');
        write(chunk.includes(3) ? Buffer.from(chunk.filter((b) => b !== 3)) : chunk, encoding, callback);
      };
    }
    return {
      stdin: input,
      stdout: stdout === undefined ? undefined : readableOf(stdout),
      stderr: stderr === undefined ? undefined : readableOf(stderr),
      resize: (size) => (process.size = size),
      done,
      close: () => process.kill('SIGKILL'),
    };
  }

  async attach(options: ExecOptions): Promise<ExecStreams> {
    this.#requireRunning();
    const { promise, resolve } = Promise.withResolvers<number>();
    const attached: Attached = {
      stdout: options.stdout ? new Pipe(1024 * 1024) : undefined,
      stderr: options.stderr && !options.tty ? new Pipe(1024 * 1024) : undefined,
      end: () => {
        attached.stdout?.end();
        attached.stderr?.end();
        resolve(0);
      },
    };
    (this.#attached ??= new Set()).add(attached);
    const stdin = options.stdin ? this.#stdin : undefined;
    const input = stdin === undefined ? undefined : writableOf(stdin);
    // Without stdinOnce the process keeps its stdin when this session leaves.
    if (input !== undefined && !this.config.stdinOnce) input._final = (callback) => callback();
    if (input !== undefined && !this.config.stdinOnce) input._destroy = (error, callback) => callback(error);
    return {
      stdin: input,
      stdout: attached.stdout === undefined ? undefined : readableOf(attached.stdout),
      stderr: attached.stderr === undefined ? undefined : readableOf(attached.stderr),
      resize: (size) => {
        if (this.#main !== undefined) this.#main.size = size;
      },
      done: promise,
      close: () => {
        this.#attached?.delete(attached);
        attached.end(0);
      },
    };
  }
}

/** A terminal's output: line feeds become CR LF. */
function cooked(data: Buffer): Buffer {
  if (!data.includes(10)) return data;
  return Buffer.from(data.toString('latin1').replace(/\r?\n/g, '\r\n'), 'latin1');
}
