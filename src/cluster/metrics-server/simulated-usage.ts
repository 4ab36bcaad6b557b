/** Usage of simulated nodes: their runtimes know what each container uses now, so that nothing need be gathered beforehand. */
import type { Kubelet } from '../../kubelet/kubelet.ts';
import type { NodeUsage, PodUsage, UsageSource } from './usage.ts';

/** What is the same at all times may be said of any window: that of metrics-server. */
const windowMs = 15_000;

const nothing: ReadonlyMap<string, PodUsage> = new Map();

/** `kubelet`: that of a node, undefined while it is stopped. */
export function simulatedUsage(kubelet: (node: string) => Kubelet | undefined): UsageSource {
  return {
    async node(name): Promise<NodeUsage | undefined> {
      const usage = await kubelet(name)?.host.usage();
      if (usage === undefined) return undefined;
      return {
        timestamp: usage.cpu.timestamp,
        windowMs,
        cpuNanoCores: usage.cpu.usageNanoCores,
        memoryBytes: usage.memory.workingSetBytes,
      };
    },
    async pods(name) {
      const runtime = kubelet(name)?.runtime;
      if (runtime === undefined) return nothing;
      const out = new Map<string, PodUsage>();
      for (const s of await runtime.listPodSandboxStats())
        if (s.containers.length > 0)
          out.set(`${s.metadata.namespace}/${s.metadata.name}`, {
            timestamp: s.cpu.timestamp,
            windowMs,
            containers: s.containers.map((c) => ({
              name: c.metadata.name,
              cpuNanoCores: c.cpu.usageNanoCores,
              memoryBytes: c.memory.workingSetBytes,
            })),
          });
      return out;
    },
  };
}
