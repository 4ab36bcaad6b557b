/**
 * Running the machine's own tools (`mount`, `systemctl`) through one small shell of our own: a process as large as a cluster is
 * copied by each fork, which takes it ten milliseconds and more; the shell takes one. Arguments are quoted, never interpreted.
 */
import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { ioTimer } from '../../../base/io-time.ts';

export interface CommandResult {
  readonly code: number;
  /** Both streams, as a terminal would show them, without line feeds at the end; cut after three thousand bytes. */
  readonly output: string;
}

/** The tool is not there, or did not end in time. */
export class CommandError extends Error {
  constructor(message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'CommandError';
  }
}

interface Waiting {
  readonly program: string;
  resolve(result: CommandResult): void;
  reject(error: unknown): void;
}

const timeoutMs = 120_000;
const notFound = 127;

/** For the shell: nothing in it is special. */
function quote(text: string): string {
  if (text.includes('\0')) throw new CommandError('an argument may not contain a null byte');
  return `'${text.replaceAll("'", "'\\''")}'`;
}

export class Commands {
  #shell: ChildProcess | undefined;
  #waiting = new Map<string, Waiting>();
  #serial = 0;
  #rest = '';

  /** Runs a program to its end; resolves also when it fails. Rejects with `CommandError` when it could not be run. */
  run(program: string, ...args: readonly string[]): Promise<CommandResult> {
    return new Promise((resolve, reject) => {
      const id = String(++this.#serial);
      const line = [program, ...args].map(quote).join(' ');
      const cancel = ioTimer(timeoutMs, () => {
        this.#waiting.delete(id);
        reject(new CommandError(`${program} did not end in time`));
      });
      this.#waiting.set(id, {
        program,
        resolve: (result) => {
          cancel();
          resolve(result);
        },
        reject: (error) => {
          cancel();
          reject(error);
        },
      });
      const shell = (this.#shell ??= this.#start());
      // Each in a process of its own, so that one that hangs holds up no other; a record is written in one piece.
      shell.stdin!.write(`{ o=$(${line} 2>&1 </dev/null); printf '%s %s\\n%.3000s\\000' ${id} $? "$o"; } &\n`);
    });
  }

  #start(): ChildProcess {
    const shell = spawn('/bin/sh', [], {
      stdio: ['pipe', 'pipe', 'ignore'],
      env: { ...process.env, LC_ALL: 'C' },
      // What the terminal sends to the cluster is not for it: it ends with its input.
      detached: true,
    });
    shell.unref();
    for (const s of [shell.stdin, shell.stdout]) (s as unknown as { unref(): void }).unref();
    shell.stdin.on('error', () => {});
    shell.stdout.setEncoding('utf8').on('data', (text: string) => this.#read(text));
    const gone = (error?: unknown): void => {
      if (this.#shell !== shell) return;
      this.#shell = undefined;
      this.#rest = '';
      const waiting = this.#waiting;
      this.#waiting = new Map();
      for (const w of waiting.values())
        w.reject(new CommandError(`cannot run ${w.program}: the shell has gone`, { cause: error }));
    };
    shell.once('error', gone);
    shell.once('exit', () => gone());
    return shell;
  }

  #read(text: string): void {
    const records = (this.#rest + text).split('\0');
    this.#rest = records.pop()!;
    for (const record of records) {
      const end = record.indexOf('\n');
      const [id = '', code = ''] = record.slice(0, end).split(' ');
      const waiting = this.#waiting.get(id);
      if (waiting === undefined) continue;
      this.#waiting.delete(id);
      if (Number(code) === notFound)
        waiting.reject(new CommandError(`executable file not found in $PATH: ${waiting.program}`));
      else waiting.resolve({ code: Number(code), output: record.slice(end + 1) });
    }
  }

  /** Ends the shell once nothing runs any more. */
  close(): void {
    this.#shell?.stdin?.end();
    this.#shell = undefined;
  }
}
