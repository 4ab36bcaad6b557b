/** Starts the bundled `knarr` command as a user would, in a directory of its own, and stops it. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

export const bundle = resolve(import.meta.dirname, '../..', process.env['KNARR_DIST'] ?? 'dist', 'knarr.js');

export interface RunningKnarr {
  readonly dir: string;
  readonly dataDir: string;
  readonly kubeconfig: string;
  readonly url: string;
  readonly process: ChildProcess;
  /** Everything printed so far, both streams. */
  output(): string;
  /** SIGTERM, then the exit code. */
  stop(): Promise<number>;
  /** Stops it and deletes the directory. */
  dispose(): Promise<void>;
}

export interface StartOptions {
  /** A directory to use (again); a new temporary one when left out. */
  readonly dir?: string;
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** Resolves when the cluster says it is ready; rejects with its output when it ends before. */
export function startKnarr(options: StartOptions = {}): Promise<RunningKnarr> {
  const dir = options.dir ?? mkdtempSync(join(tmpdir(), 'knarr-test-'));
  const dataDir = join(dir, 'data');
  const kubeconfig = join(dir, 'kubeconfig');
  const child = spawn(
    process.execPath,
    [
      bundle,
      'up',
      ...['--data-dir', dataDir, '--port', '0', '--kubeconfig', kubeconfig],
      // Whatever runtime the machine has.
      ...['--runtime', 'simulated'],
      ...(options.args ?? []),
    ],
    { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...options.env } },
  );
  let text = '';
  const exited = new Promise<number>((done) =>
    child.once('close', (code, signal) => done(code ?? (signal === null ? -1 : 128))),
  );
  return new Promise((done, fail) => {
    const onData = (d: Buffer): void => {
      text += d.toString();
      const url = /ready in [\d.]+ s: (\S+)/.exec(text)?.[1];
      if (url === undefined || running !== undefined) return;
      running = {
        dir,
        dataDir,
        kubeconfig,
        url,
        process: child,
        output: () => text,
        stop() {
          child.kill('SIGTERM');
          return exited;
        },
        async dispose() {
          if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM');
          await exited;
          rmSync(dir, { recursive: true, force: true });
        },
      };
      done(running);
    };
    let running: RunningKnarr | undefined;
    child.stdout.on('data', onData);
    child.stderr.on('data', onData);
    child.once('error', fail);
    void exited.then((code) => fail(new Error(`knarr ended with ${code} before it was ready:\n${text}`)));
  });
}
