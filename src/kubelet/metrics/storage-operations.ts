/** Mounts of volumes, timed by plugin and by how they end. */
import type { KubeletContext } from '../context.ts';
import { MountError } from '../volumes/mount-error.ts';

/** `plugin` is asked afterwards; one that nobody came to know is not counted, nor is a mount that only waits. */
export async function countedMount<T>(
  ctx: Pick<KubeletContext, 'metrics' | 'clock'>,
  plugin: () => string,
  work: () => Promise<T>,
): Promise<T> {
  const { clock, metrics } = ctx;
  const began = clock.monotonic();
  const count = (status: string): void => {
    const name = plugin();
    if (name === '') return;
    const seconds = (clock.monotonic() - began) / 1000;
    metrics?.observe('storage_operation_duration_seconds', seconds, [name, 'volume_mount', status, 'false']);
  };
  try {
    const out = await work();
    count('success');
    return out;
  } catch (error) {
    if (!(error instanceof MountError) || !error.waiting) count('fail-unknown');
    throw error;
  }
}
