/**
 * Hearing of the machine's shutdown before it happens, through systemd-logind: an inhibitor lock delays it, and a signal on the
 * system bus announces it. Both are held by programs that come with systemd.
 */
import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import type { Commands } from './command.ts';

const logind = ['org.freedesktop.login1', '/org/freedesktop/login1', 'org.freedesktop.login1.Manager'];

/** True where logind answers on the system bus. */
export function hasInhibitor(): boolean {
  return existsSync('/run/systemd/seats') && existsSync('/run/dbus/system_bus_socket');
}

/** How long logind lets inhibitors delay a shutdown, in milliseconds. */
async function maxDelay(commands: Commands): Promise<number> {
  const r = await commands.run('busctl', 'get-property', ...logind, 'InhibitDelayMaxUSec');
  const n = Number(/^t (\d+)/.exec(r.output)?.[1]);
  if (r.code !== 0 || !Number.isFinite(n)) throw new Error(`cannot ask logind for InhibitDelayMaxUSec: ${r.output}`);
  return n / 1000;
}

/** Rejects where nothing can be inhibited. */
export async function inhibitShutdown(
  commands: Commands,
  onShutdown: (active: boolean) => void,
): Promise<{ maxDelayMs: number; release(): Promise<void> }> {
  const maxDelayMs = await maxDelay(commands);
  const lock = spawn(
    'systemd-inhibit',
    ['--what=shutdown', '--mode=delay', '--who=kubelet', '--why=Kubelet needs time to handle node shutdown', 'cat'],
    { stdio: ['pipe', 'ignore', 'ignore'] },
  );
  const monitor = spawn(
    'dbus-monitor',
    ['--system', `type='signal',interface='${logind[2]!}',member='PrepareForShutdown'`],
    { stdio: ['ignore', 'pipe', 'ignore'] },
  );
  let text = '';
  monitor.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text = (text + chunk).slice(-4096);
    for (let m = next(text); m !== undefined; m = next(text)) {
      text = text.slice(m.end);
      onShutdown(m.active);
    }
  });
  await Promise.all([started(lock), started(monitor)]);
  return {
    maxDelayMs,
    release: async () => {
      monitor.kill();
      // The lock lasts as long as the program that holds it reads.
      lock.stdin?.end();
      if (lock.exitCode === null) await new Promise<void>((resolve) => lock.once('exit', () => resolve()));
    },
  };
}

function next(text: string): { active: boolean; end: number } | undefined {
  const m = /member=PrepareForShutdown\s*\n\s*boolean (true|false)\n/.exec(text);
  return m === null ? undefined : { active: m[1] === 'true', end: m.index + m[0].length };
}

function started(child: ChildProcess): Promise<void> {
  return new Promise((resolve, reject) => {
    child.once('spawn', () => resolve());
    child.once('error', reject);
  });
}
