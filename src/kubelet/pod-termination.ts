/** Ending a pod: regular containers together, then sidecars in reverse order, all within one grace period; then the sandbox. */
import type { Container } from '../api/types/index.gen.ts';
import type { PodWorker } from './pod-worker.ts';
import { findContainer } from './pod-util.ts';
import type { ContainerStatus as RuntimeContainer } from './runtime/container-runtime.ts';

export interface PodTermination {
  /** Kills everything; resolves when no container runs. May be called again. */
  run(grace: number | undefined): Promise<void>;
  /** The grace period has become shorter while it runs. */
  shorten(grace: number | undefined): void;
}

interface Victim {
  readonly container: Container;
  readonly status: RuntimeContainer;
  readonly sidecarIndex: number;
}

export function podTermination(worker: PodWorker): PodTermination {
  const { ctx } = worker;
  let abort = new AbortController();
  const alive = new Set<string>();
  let deadline = Infinity;

  const kill = async (v: Victim, grace: number): Promise<void> => {
    await worker.killContainer(v.container, v.status.id, `Stopping container ${v.container.name}`, grace, abort.signal);
    alive.delete(v.status.id);
  };

  return {
    async run(override) {
      abort = new AbortController();
      const spec = worker.apiPod.spec!;
      const victims: Victim[] = [];
      for (const status of worker.view.containers) {
        if (status.state !== 'CONTAINER_RUNNING' && status.state !== 'CONTAINER_CREATED') continue;
        const found = findContainer(spec, status.metadata.name);
        const container: Container = found?.container ?? { name: status.metadata.name };
        const sidecarIndex =
          found?.kind === 'init' && container.restartPolicy === 'Always' ? spec.initContainers!.indexOf(container) : -1;
        victims.push({ container, status, sidecarIndex });
        alive.add(status.id);
      }
      const grace = override ?? (victims[0] === undefined ? 0 : worker.graceFor(victims[0].container, undefined));
      const began = ctx.clock.now();
      deadline = Math.min(deadline, began + grace * 1000);
      await Promise.all(victims.filter((v) => v.sidecarIndex < 0).map((v) => kill(v, grace)));
      // A sidecar ends only after what was started after it.
      const sidecars = victims.filter((v) => v.sidecarIndex >= 0).sort((a, b) => b.sidecarIndex - a.sidecarIndex);
      for (const v of sidecars) {
        const left = Math.max(Math.floor((deadline - ctx.clock.now()) / 1000), 0);
        await kill(v, grace === 0 ? 0 : Math.max(left, 2));
      }
      for (const s of worker.view.sandboxes) if (s.state === 'SANDBOX_READY') await ctx.runtime.stopPodSandbox(s.id);
    },
    shorten(grace) {
      if (grace === undefined) {
        abort.abort(new Error('kubelet stopped'));
        return;
      }
      const at = ctx.clock.now() + grace * 1000;
      if (at >= deadline) return;
      deadline = at;
      abort.abort(new Error('grace period shortened'));
      for (const id of alive)
        ctx.runtime.stopContainer(id, grace).catch((error: unknown) => {
          ctx.logger.warn('Failed to stop container', { container: id, error });
        });
    },
  };
}
