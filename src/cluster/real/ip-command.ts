/** iproute2's programs, as far as the pod network needs them: one command, a command that answers in JSON, questions in bulk. */
import { execFile, spawn } from 'node:child_process';

/** Answers of `ip` are a few lines for each node. */
const maxOutput = 16 * 1024 * 1024;

function run(program: string, args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(program, args, { maxBuffer: maxOutput }, (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else
        reject(
          new Error(`${program} ${args.join(' ')}: ${stderr.trim() === '' ? error.message : stderr.trim()}`, {
            cause: error,
          }),
        );
    });
  });
}

/** Runs `ip` with words divided by blanks. @throws Error with what it says */
export function ip(line: string): Promise<string> {
  return run('ip', line.split(' '));
}

/** As `ip`: entries of a bridge's or a VXLAN device's table. */
export function bridge(line: string): Promise<string> {
  return run('bridge', line.split(' '));
}

function parsed<T>(text: string): T[] {
  return text.trim() === '' ? [] : (JSON.parse(text) as T[]);
}

/** What `ip -j` lists. */
export async function ipList<T>(line: string): Promise<T[]> {
  return parsed<T>(await ip(`-j ${line}`));
}

export async function bridgeList<T>(line: string): Promise<T[]> {
  return parsed<T>(await bridge(`-j ${line}`));
}

/** One line for each question that has an answer, in no promised order. */
export function ipBatch(lines: readonly string[]): Promise<string[]> {
  return new Promise((resolve, reject) => {
    // With -force, questions without an answer (no route) do not end it; its exit code then says no more than that there were some.
    const child = spawn('ip', ['-force', '-o', '-batch', '-'], { stdio: ['pipe', 'pipe', 'ignore'] });
    let text = '';
    child.stdout.setEncoding('utf8').on('data', (d: string) => {
      if (text.length < maxOutput) text += d;
    });
    child.once('error', (cause) => reject(new Error('ip cannot be run: install the package iproute2', { cause })));
    child.once('close', () => resolve(text.split('\n').filter((l) => l !== '')));
    child.stdin.on('error', () => {});
    child.stdin.end(lines.map((l) => `${l}\n`).join(''));
  });
}
