/**
 * The Linux host: nft and conntrack as processes, settings below /proc/sys, sockets. With a network namespace given, everything
 * happens in there, so that several nodes can live on one machine.
 */
import type { ChildProcessWithoutNullStreams as Child } from 'node:child_process';
import { spawn } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import type { Server } from 'node:http';
import { createServer } from 'node:http';
import type { Socket } from 'node:net';
import { networkInterfaces, availableParallelism } from 'node:os';
import { ioTimer } from '../../base/io-time.ts';
import { listenInNamespace } from './namespace-socket.ts';
import type { HttpAnswer, Listener, ProxyHost } from './proxy-host.ts';
import { NftError } from './proxy-host.ts';

export interface LinuxHostOptions {
  /** Path of a network namespace (`/run/netns/node-1`, `/proc/123/ns/net`); the process's own when left out. */
  readonly netns?: string;
  /** How long one run of nft or conntrack may take; default 30 s. */
  readonly timeoutMs?: number;
}

/** What a program says about why it failed is kept up to this length. */
const maxComplaint = 4000;
const maxAnswer = 64 * 1024 * 1024;

interface Run {
  readonly input?: string;
  readonly onLine?: (line: string) => void;
}

interface Outcome {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly output: string;
  readonly complaint: string;
}

class LinuxHost implements ProxyHost {
  readonly #netns: string | undefined;
  readonly #timeoutMs: number;
  readonly #env: NodeJS.ProcessEnv;
  readonly #children = new Set<Child>();
  #spare: Child | undefined;
  #closed = false;

  constructor(options: LinuxHostOptions) {
    this.#netns = options.netns;
    this.#timeoutMs = options.timeoutMs ?? 30_000;
    this.#env = { ...process.env, PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin:/usr/bin:/bin`, LC_ALL: 'C' };
  }

  #spawn(program: string, args: readonly string[]): Child {
    const inside = this.#netns === undefined ? [] : [`--net=${this.#netns}`, '--', program];
    const child = spawn(inside.length === 0 ? program : 'nsenter', [...inside, ...args], {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: this.#env,
    });
    this.#children.add(child);
    child.on('close', () => this.#children.delete(child));
    child.on('error', () => this.#children.delete(child));
    return child;
  }

  #run(program: string, args: readonly string[], run: Run = {}, started?: Child): Promise<Outcome> {
    return new Promise((resolve, reject) => {
      const child = started ?? this.#spawn(program, args);
      let complaint = '';
      const parts: string[] = [];
      let length = 0;
      let rest = '';
      let timedOut = false;
      const cancel = ioTimer(this.#timeoutMs, () => {
        timedOut = true;
        child.kill('SIGKILL');
      });
      child.stdout.setEncoding('utf8');
      child.stdout.on('data', (text: string) => {
        if (run.onLine !== undefined) {
          const lines = (rest + text).split('\n');
          rest = lines.pop()!;
          for (const line of lines) run.onLine(line);
          return;
        }
        length += text.length;
        if (length > maxAnswer) child.kill('SIGKILL');
        else parts.push(text);
      });
      child.stderr.setEncoding('utf8');
      child.stderr.on('data', (text: string) => {
        if (complaint.length < maxComplaint) complaint += text.slice(0, maxComplaint - complaint.length);
      });
      child.on('error', (error: NodeJS.ErrnoException) => {
        cancel();
        const missing = this.#netns === undefined ? program : 'nsenter';
        reject(error.code === 'ENOENT' ? new Error(`${missing} is not installed`) : error);
      });
      child.on('close', (code, signal) => {
        cancel();
        if (run.onLine !== undefined && rest !== '') run.onLine(rest);
        if (timedOut) reject(new Error(`${program} did not end within ${this.#timeoutMs} ms`));
        else if (code === 127 && complaint.includes('No such file')) reject(new Error(`${program} is not installed`));
        else resolve({ code, signal, output: parts.join(''), complaint: complaint.trim() });
      });
      // A program that ends before it has read everything says why on its own.
      child.stdin.on('error', () => {});
      child.stdin.end(run.input ?? '');
    });
  }

  /**
   * Starts the process of the next transaction ahead of it: nft reads its whole input before it looks at the kernel, so one that waits
   * for its input is as good as new, and a change need not wait for it to start.
   */
  #prepare(): void {
    if (this.#closed || this.#spare !== undefined) return;
    const spare = this.#spawn('nft', ['-f', '-']);
    this.#spare = spare;
    const gone = (): void => {
      if (this.#spare === spare) this.#spare = undefined;
    };
    spare.on('error', gone);
    spare.on('exit', gone);
    spare.stdin.on('error', gone);
    // It must not keep this process alive.
    for (const handle of [spare, spare.stdin, spare.stdout, spare.stderr]) (handle as Partial<Socket>).unref?.();
  }

  #takeSpare(): Child | undefined {
    const spare = this.#spare;
    this.#spare = undefined;
    if (spare !== undefined)
      for (const handle of [spare, spare.stdin, spare.stdout, spare.stderr]) (handle as Partial<Socket>).ref?.();
    return spare;
  }

  async #nft(args: readonly string[], input?: string, started?: Child): Promise<string> {
    let outcome: Outcome;
    try {
      outcome = await this.#run('nft', args, input === undefined ? {} : { input }, started);
    } catch (error) {
      throw new NftError(error instanceof Error ? error.message : String(error), { cause: error });
    }
    if (outcome.code !== 0)
      throw new NftError(
        outcome.complaint === '' ? `nft ended with ${outcome.code ?? outcome.signal}` : outcome.complaint,
      );
    return outcome.output;
  }

  async missing(): Promise<string | undefined> {
    if (process.platform !== 'linux') return 'rules of nftables need Linux';
    if (process.getuid?.() !== 0) return 'rules of nftables need root';
    try {
      const version = /v(\d+)\.(\d+)\.(\d+)/.exec(await this.#nft(['--version']));
      if (version !== null && Number(version[1]) < 1) return `nft ${version[0]} is too old: 1.0.1 or later is needed`;
      await this.#nft(['-t', 'list', 'tables']);
      return undefined;
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      return why.endsWith('is not installed')
        ? `${why.replace(/^nft /, 'the program nft ')}: install the package nftables`
        : `nft does not work here: ${why.split('\n')[0]}`;
    }
  }

  async nft(text: string): Promise<void> {
    await this.#nft(['-f', '-'], text, this.#takeSpare());
    this.#prepare();
  }

  nftList(args: readonly string[]): Promise<string> {
    return this.#nft(args);
  }

  async conntrack(args: readonly string[], onLine?: (line: string) => void): Promise<void> {
    const outcome = await this.#run('conntrack', args, { onLine: onLine ?? (() => {}) });
    // It ends with 1 when there was nothing to delete.
    if (outcome.code !== 0 && !/ 0 flow entries/.test(outcome.complaint))
      throw new Error(
        `conntrack ${args.join(' ')}: ${outcome.complaint || `ended with ${outcome.code ?? outcome.signal}`}`,
      );
  }

  async sysctl(path: string): Promise<string | undefined> {
    const file = `/proc/sys/${path}`;
    if (this.#netns !== undefined) {
      const outcome = await this.#run('cat', [file]);
      return outcome.code === 0 ? outcome.output.trim() : undefined;
    }
    try {
      return (await readFile(file, 'utf8')).trim();
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
  }

  async setSysctl(path: string, value: string): Promise<void> {
    const file = `/proc/sys/${path}`;
    if (this.#netns === undefined) return writeFile(file, value);
    const outcome = await this.#run('tee', [file], { input: value });
    if (outcome.code !== 0) throw new Error(`cannot write ${file}: ${outcome.complaint}`);
  }

  async loadModule(name: string): Promise<void> {
    const outcome = await this.#run('modprobe', [name]);
    if (outcome.code !== 0) throw new Error(`cannot load ${name}: ${outcome.complaint}`);
  }

  async addresses(): Promise<readonly string[]> {
    const all = (list: ReturnType<typeof networkInterfaces>): string[] =>
      Object.values(list).flatMap((l) => (l ?? []).map((a) => a.address));
    if (this.#netns === undefined) return all(networkInterfaces());
    const script = 'process.stdout.write(JSON.stringify(require("os").networkInterfaces()))';
    const outcome = await this.#run(process.execPath, ['-e', script]);
    if (outcome.code !== 0) throw new Error(`cannot list addresses in ${this.#netns}: ${outcome.complaint}`);
    return all(JSON.parse(outcome.output) as ReturnType<typeof networkInterfaces>);
  }

  processors(): number {
    return availableParallelism();
  }

  async serve(address: string, port: number, answer: () => HttpAnswer): Promise<Listener> {
    const server: Server = createServer((request, response) => {
      request.resume();
      const { status, headers, body } = answer();
      response.writeHead(status, { ...headers, 'content-length': Buffer.byteLength(body) });
      response.end(request.method === 'HEAD' ? '' : body);
    });
    const sockets = new Set<Socket>();
    server.on('connection', (socket: Socket) => {
      sockets.add(socket);
      socket.on('close', () => sockets.delete(socket));
    });
    if (this.#netns === undefined)
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject);
        server.listen({ host: address, port, ipv6Only: address.includes(':') }, () => {
          server.off('error', reject);
          resolve();
        });
      });
    else await listenInNamespace(server, this.#netns, address, port);
    server.on('error', () => {});
    server.unref();
    return {
      close: () =>
        new Promise((resolve) => {
          server.close(() => resolve());
          for (const socket of sockets) socket.destroy();
        }),
    };
  }

  close(): Promise<void> {
    this.#closed = true;
    for (const child of this.#children) child.kill('SIGKILL');
    return Promise.resolve();
  }
}

export function createLinuxHost(options: LinuxHostOptions = {}): ProxyHost {
  return new LinuxHost(options);
}
