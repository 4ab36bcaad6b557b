/** The kubelet's pod workers as the HTTP server's `PodSource`. */
import type { Pod } from '../../api/types/index.gen.ts';
import type { PodWorker } from '../pod-worker.ts';
import type { PodSource } from './pod-source.ts';

/** `find`: the worker of a pod by its name. */
export function podSource(
  find: (namespace: string, name: string) => PodWorker | undefined,
  list: () => readonly Pod[],
): PodSource {
  return {
    get: (namespace, name) => {
      const worker = find(namespace, name);
      if (worker === undefined) return undefined;
      const pod = worker.apiPod;
      const status = worker.ctx.statuses.pending(worker.uid) ?? pod.status;
      return {
        pod: status === undefined ? pod : { ...pod, status },
        sandboxId: worker.view.sandboxes.find((s) => s.state === 'SANDBOX_READY')?.id,
        containerId: (container, previous = false) =>
          worker.view.containers.filter((c) => c.metadata.name === container)[previous ? 1 : 0]?.id,
      };
    },
    list,
  };
}
