/** What one running shell knows: variables, functions, traps, jobs. */
import type { ByteSink, ByteSource } from './pipe.ts';
import type { Process } from './process.ts';
import type { Command } from './shell-parser.ts';

/** Leaves a loop or a function. */
export class Break extends Error {
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
export interface Io {
  stdin: ByteSource;
  stdout: ByteSink;
  stderr: ByteSink;
}

export class ShellState {
  readonly process: Process;
  readonly flags: Set<string>;
  readonly exported: Set<string>;
  readonly vars: Map<string, string>;
  readonly functions: Map<string, Command>;
  readonly traps = new Map<string, string>();
  /** Signals whose traps have not run yet. */
  pending: string[] = [];
  wakeWait: (() => void) | undefined;
  jobs: Promise<number>[] = [];
  lastJob = 0;
  status = 0;
  name = 'sh';
  params: readonly string[] = [];

  constructor(process: Process, flags: Set<string>, from?: ShellState) {
    this.process = process;
    this.flags = flags;
    this.vars = new Map(from?.vars ?? Object.entries(process.env));
    this.exported = new Set(from?.exported ?? Object.keys(process.env));
    this.functions = new Map(from?.functions);
    if (from === undefined) return;
    this.name = from.name;
    this.params = from.params;
    this.status = from.status;
  }

  environment(): Record<string, string> {
    const env: Record<string, string> = {};
    for (const name of this.exported) {
      const v = this.vars.get(name);
      if (v !== undefined) env[name] = v;
    }
    return env;
  }
}

/** A source of given bytes, of which a reader may put some back. */
export function fromText(text: Buffer | string): ByteSource {
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
