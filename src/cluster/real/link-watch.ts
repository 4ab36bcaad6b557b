/** Network interfaces that come up, as the kernel tells it: what leads by them has to be looked at again. */
import { spawn } from 'node:child_process';

/** Interfaces of pods come and go all the time and lead nowhere else. */
const ofPods = /^(Deleted|\d+: (veth|lo\b|cni))/;

/**
 * Calls `up` for each machine's interface that is up after a change. Gives what ends it. Where `ip` cannot be run, nothing is told.
 */
export function watchLinks(up: () => void): () => void {
  const child = spawn('ip', ['-o', 'monitor', 'link'], { stdio: ['ignore', 'pipe', 'ignore'] });
  let rest = '';
  child.on('error', () => {});
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop()!;
    if (lines.some((line) => /[<,]LOWER_UP[,>]/.test(line) && !ofPods.test(line))) up();
  });
  // It holds no process, and ends with this one.
  child.unref();
  (child.stdout as unknown as { unref(): void }).unref();
  return () => void child.kill('SIGKILL');
}
