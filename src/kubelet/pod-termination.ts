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

  const kill = async (v: Victim, grace: number, turn?: Promise<void>): Promise<void> => {
    const message = `Stopping container ${v.container.name}`;
    await worker.killContainer(v.container, v.status.id, {
      message,
      grace,
      signal: abort.signal,
      ...(turn === undefined ? {} : { turn }),
    });
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
      const ended: Promise<void>[] = [];
      const main: Promise<void>[] = [];
      for (const v of victims) {
        if (v.sidecarIndex >= 0) continue;
        const end = kill(v, grace);
        ended.push(end);
        if (spec.containers.includes(v.container)) main.push(end);
      }
      // A sidecar ends only after the containers that it serves and the sidecars that were started after it.
      const sidecars = victims.filter((v) => v.sidecarIndex >= 0).sort((a, b) => b.sidecarIndex - a.sidecarIndex);
      let before: readonly Promise<void>[] = main;
      for (const v of sidecars) {
        const turn = Promise.allSettled(before).then(() => {});
        const end = kill(v, grace, turn);
        ended.push(end);
        before = [...main, end];
      }
      const failed = (await Promise.allSettled(ended)).find((e) => e.status === 'rejected');
      if (failed !== undefined) throw failed.reason;
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
