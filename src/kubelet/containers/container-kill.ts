/** Ending one container: preStop hook, its turn among the pod's containers, stop signal, grace period. */
import type { Container, Pod } from '../../api/types/index.gen.ts';
import type { KubeletContext } from '../context.ts';
import { runHook } from '../hooks.ts';
import { containerFieldPath, formatPod } from '../pod-util.ts';

/** Seconds that every container gets that is not killed at once. */
const minimumGrace = 2;

export interface KillOptions {
  /** Why, for the event. */
  readonly message: string;
  /** Seconds within which the container has ended. */
  readonly grace: number;
  /** The grace period has been cut short. */
  readonly signal?: AbortSignal;
  /** Those that must end before it have ended; its preStop hook does not wait for that. */
  readonly turn?: Promise<void>;
}

/** Resolves when the container has ended. */
export async function killContainer(
  ctx: KubeletContext,
  pod: Pod,
  container: Container,
  id: string,
  podIp: string,
  options: KillOptions,
): Promise<void> {
  const { message, grace, signal, turn } = options;
  const path = containerFieldPath(pod.spec!, container.name);
  ctx.events.pod(pod, 'Normal', 'Killing', message, path);
  let left = grace;
  /** Waits for `work` as long as there is time. */
  const within = async (work: Promise<void>): Promise<void> => {
    const began = ctx.clock.now();
    const cancelled = Promise.withResolvers<void>();
    const timer = ctx.clock.setTimer(left * 1000, () => cancelled.resolve());
    const onAbort = () => cancelled.resolve();
    signal?.addEventListener('abort', onAbort, { once: true });
    await Promise.race([work, cancelled.promise]);
    timer.cancel();
    signal?.removeEventListener('abort', onAbort);
    left = signal?.aborted === true ? 0 : left - Math.floor((ctx.clock.now() - began) / 1000);
  };
  const hook = container.lifecycle?.preStop;
  if (hook !== undefined && left > 0) {
    const abort = new AbortController();
    const run = runHook(ctx, hook, pod, container, id, podIp, abort.signal).catch((error: unknown) => {
      if (abort.signal.aborted) return;
      ctx.logger.warn('PreStop hook failed', { pod: formatPod(pod), container: container.name, error });
      ctx.events.pod(pod, 'Warning', 'FailedPreStopHook', 'PreStopHook failed', path);
    });
    await within(run);
    abort.abort(new Error('out of time'));
  }
  if (turn !== undefined && left > 0) await within(turn);
  if (signal?.aborted) left = 0;
  await ctx.runtime.stopContainer(id, grace <= 0 ? 0 : Math.max(left, minimumGrace));
}
