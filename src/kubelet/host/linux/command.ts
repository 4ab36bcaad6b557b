/** Running the machine's own tools (`mount`, `systemctl`): output is bounded, and nothing goes through a shell. */
import { execFile } from 'node:child_process';

const outputLimit = 256 * 1024;

export interface CommandResult {
  /** -1 when a signal ended it. */
  readonly code: number;
  readonly stdout: string;
  /** Both streams, as a terminal would show them. */
  readonly output: string;
}

/** The tool is not there, or did not end in time. */
export class CommandError extends Error {
  constructor(message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'CommandError';
  }
}

/** Runs a program to its end; resolves also when it fails. Rejects with `CommandError` when it could not be run. */
export function runCommand(
  program: string,
  args: readonly string[],
  options: { readonly timeoutMs?: number } = {},
): Promise<CommandResult> {
  return new Promise((resolve, reject) => {
    execFile(
      program,
      args as string[],
      {
        timeout: options.timeoutMs ?? 120_000,
        killSignal: 'SIGKILL',
        maxBuffer: outputLimit,
        env: { ...process.env, LC_ALL: 'C' },
      },
      (error, stdout, stderr) => {
        if (error === null) {
          resolve({ code: 0, stdout, output: stdout + stderr });
          return;
        }
        if (typeof error.code === 'number') resolve({ code: error.code, stdout, output: stdout + stderr });
        else if (error.killed === true)
          reject(new CommandError(`${program} did not end in time: ${stdout}${stderr}`, { cause: error }));
        else if (typeof error.code === 'string')
          reject(
            new CommandError(
              error.code === 'ENOENT'
                ? `executable file not found in $PATH: ${program}`
                : `cannot run ${program}: ${error.message}`,
              { cause: error },
            ),
          );
        else resolve({ code: -1, stdout, output: stdout + stderr });
      },
    );
  });
}
