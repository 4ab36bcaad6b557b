/** A runtime whose calls are counted, under the names that upstream's instrumented services give them. */
import type { Clock } from '../../base/clock.ts';
import type { ContainerRuntime } from '../runtime/container-runtime.ts';
import type { KubeletMetrics } from './kubelet-metrics.ts';

const operations: Partial<Record<keyof ContainerRuntime, string>> = {
  version: 'version',
  status: 'status',
  updateRuntimeConfig: 'update_runtime_config',
  cgroupDriver: 'runtime_config',
  runPodSandbox: 'run_podsandbox',
  stopPodSandbox: 'stop_podsandbox',
  removePodSandbox: 'remove_podsandbox',
  podSandboxStatus: 'podsandbox_status',
  listPodSandbox: 'list_podsandbox',
  updatePodSandboxResources: 'update_podsandbox_resources',
  createContainer: 'create_container',
  startContainer: 'start_container',
  stopContainer: 'stop_container',
  removeContainer: 'remove_container',
  containerStatus: 'container_status',
  listContainers: 'list_containers',
  updateContainerResources: 'update_container',
  reopenContainerLog: 'reopen_container_log',
  execSync: 'exec_sync',
  exec: 'exec',
  attach: 'attach',
  portForward: 'port_forward',
  containerStats: 'container_stats',
  listContainerStats: 'list_container_stats',
  podSandboxStats: 'podsandbox_stats',
  listPodSandboxStats: 'list_podsandbox_stats',
  listImages: 'list_images',
  imageStatus: 'image_status',
  pullImage: 'pull_image',
  removeImage: 'remove_image',
  imageFsInfo: 'image_fs_info',
};

type Call = (...args: unknown[]) => Promise<unknown>;

/** The same runtime; each call is counted and timed by the kubelet's clock. */
export function meteredRuntime(runtime: ContainerRuntime, metrics: KubeletMetrics, clock: Clock): ContainerRuntime {
  const counted = (operation: string, call: Call): Call => {
    const labels = [operation];
    return async (...args) => {
      const began = clock.monotonic();
      const handler = operation === 'run_podsandbox' ? [(args[1] as string | undefined) ?? ''] : undefined;
      metrics.count('runtime_operations_total', labels);
      try {
        const answer = await call(...args);
        heard = clock.now();
        return answer;
      } catch (error) {
        metrics.count('runtime_operations_errors_total', labels);
        if (handler !== undefined) metrics.count('run_podsandbox_errors_total', handler);
        throw error;
      } finally {
        const seconds = (clock.monotonic() - began) / 1000;
        metrics.observe('runtime_operations_duration_seconds', seconds, labels);
        if (handler !== undefined) metrics.observe('run_podsandbox_duration_seconds', seconds, handler);
      }
    };
  };
  let heard = clock.now();
  metrics.gauge('pleg_last_seen_seconds', () => [[[], Math.floor(heard / 1000)]]);
  const made = new Map<PropertyKey, Call>();
  return new Proxy(runtime, {
    get(target, key) {
      const known = made.get(key);
      if (known !== undefined) return known;
      const value = Reflect.get(target, key, target) as unknown;
      if (typeof value !== 'function') return value;
      const operation = operations[key as keyof ContainerRuntime];
      const call = (value as Call).bind(target);
      const out = operation === undefined ? call : counted(operation, call);
      made.set(key, out);
      return out;
    },
  });
}
