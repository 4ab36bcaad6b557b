/** Ending one container: preStop hook, stop signal, grace period. */
import type { Container, Pod } from '../api/types/index.gen.ts';
import type { KubeletContext } from './context.ts';
import { runHook } from './hooks.ts';
import { containerFieldPath, formatPod } from './pod-util.ts';

/** Seconds that every container gets that is not killed at once. */
const minimumGrace = 2;

/** Resolves when the container has ended, `grace` seconds later at most. `signal`: the grace period has been cut short. */
export async function killContainer(
  ctx: KubeletContext,
  pod: Pod,
  container: Container,
  id: string,
  message: string,
  grace: number,
  podIp: string,
  signal?: AbortSignal,
): Promise<void> {
  const path = containerFieldPath(pod.spec!, container.name);
  ctx.events.pod(pod, 'Normal', 'Killing', message, path);
  let left = grace;
  const hook = container.lifecycle?.preStop;
  if (hook !== undefined && left > 0) {
    const began = ctx.clock.now();
    const abort = new AbortController();
    const cancelled = Promise.withResolvers<void>();
    const timer = ctx.clock.setTimer(left * 1000, () => cancelled.resolve());
    const onAbort = () => cancelled.resolve();
    signal?.addEventListener('abort', onAbort, { once: true });
    const run = runHook(ctx, hook, pod, container, id, podIp, abort.signal).catch((error: unknown) => {
      if (abort.signal.aborted) return;
      ctx.logger.warn('PreStop hook failed', { pod: formatPod(pod), container: container.name, error });
      ctx.events.pod(pod, 'Warning', 'FailedPreStopHook', 'PreStopHook failed', path);
    });
    await Promise.race([run, cancelled.promise]);
    abort.abort(new Error('out of time'));
    timer.cancel();
    signal?.removeEventListener('abort', onAbort);
    left -= Math.floor((ctx.clock.now() - began) / 1000);
  }
  if (signal?.aborted) left = 0;
  await ctx.runtime.stopContainer(id, grace <= 0 ? 0 : Math.max(left, minimumGrace));
}
