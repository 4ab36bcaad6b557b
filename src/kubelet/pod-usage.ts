/** What pods use of memory, processes and disk, for eviction and for `/stats/summary`: asked for when it is needed, not kept. */
import { parseQuantity, quantityValue } from '../api/quantity.ts';
import type { Pod, Volume } from '../api/types/index.gen.ts';
import type { KubeletContext } from './context.ts';
import { podDir } from './context.ts';
import type { VolumeUsage } from './host/node-host.ts';
import type { PodSandboxStats } from './runtime/container-runtime.ts';
import type { PodDisk, VolumeStatsEntry } from './server/stats.ts';
import { claimName, ownKind, volumeDir } from './volumes/layout.ts';

export interface DiskUse {
  readonly bytes: number;
  readonly inodes: number;
}

export interface ContainerUsage {
  readonly name: string;
  readonly memoryBytes: number;
  readonly rootfs: DiskUse;
  readonly logs: DiskUse;
}

export interface PodUsage {
  readonly memoryBytes: number;
  readonly processes: number;
  readonly containers: readonly ContainerUsage[];
  /** Those that take the node's own disk. */
  readonly volumes: ReadonlyMap<string, DiskUse>;
}

/** What the source is told of a pod. */
export interface UsedPod {
  readonly pod: Pod;
  readonly containers: readonly { readonly name: string; readonly logPath: string; readonly running: boolean }[];
}

/** Volumes whose content takes the node's disk. */
export function localVolumes(pod: Pod): readonly Volume[] {
  return (pod.spec?.volumes ?? []).filter(
    (v) => v.configMap !== undefined || (v.emptyDir !== undefined && v.emptyDir.medium !== 'Memory'),
  );
}

interface Looked {
  readonly usage: VolumeUsage;
  readonly at: number;
  /** Not looked at again before, so that a huge directory does not keep the disk busy. */
  readonly until: number;
}

/** Looking into a volume takes at most this part of the time. */
const shareOfTime = 1 / 20;
const maxLooked = 10_000;
const summaryMs = 60_000;

export class PodUsageSource {
  readonly #ctx: KubeletContext;
  readonly #looked = new Map<string, Looked>();

  constructor(ctx: KubeletContext) {
    this.#ctx = ctx;
  }

  /** Of all pods of the runtime, by uid. */
  async runtimeStats(): Promise<ReadonlyMap<string, PodSandboxStats>> {
    return new Map((await this.#ctx.runtime.listPodSandboxStats()).map((s) => [s.metadata.uid, s]));
  }

  /** One pod's usage; undefined when the runtime says nothing of it. */
  async ofPod(used: UsedPod, stats: PodSandboxStats | undefined, disk: boolean): Promise<PodUsage | undefined> {
    if (stats === undefined) return undefined;
    const own = await this.#ctx.cgroups.stats(used.pod);
    const containers: ContainerUsage[] = [];
    for (const c of stats.containers) {
      const logPath = used.containers.find((x) => x.name === c.metadata.name)?.logPath;
      containers.push({
        name: c.metadata.name,
        memoryBytes: c.memory.workingSetBytes,
        rootfs: { bytes: c.writableLayer.usedBytes, inodes: c.writableLayer.inodesUsed },
        logs: disk && logPath !== undefined ? await this.#logs(logPath) : { bytes: 0, inodes: 0 },
      });
    }
    const volumes = new Map<string, DiskUse>();
    if (disk)
      for (const v of localVolumes(used.pod)) {
        const u = await this.volume(used.pod, v, 10_000);
        volumes.set(v.name, { bytes: u?.usedBytes ?? 0, inodes: u?.inodesUsed ?? 0 });
      }
    return {
      memoryBytes: own?.memory.workingSetBytes ?? stats.memory.workingSetBytes,
      processes: own?.processCount ?? stats.processCount,
      containers,
      volumes,
    };
  }

  async #logs(logPath: string): Promise<DiskUse> {
    const { host } = this.#ctx;
    let bytes = await host.logSize(logPath);
    let inodes = 1;
    const at = logPath.lastIndexOf('/');
    const name = logPath.slice(at + 1);
    for (const n of await host.list(logPath.slice(0, at)))
      if (n.startsWith(`${name}.`)) {
        bytes += await host.logSize(`${logPath.slice(0, at)}/${n}`);
        inodes++;
      }
    return { bytes, inodes };
  }

  /** What one of the kubelet's own volumes holds; at most `maxAgeMs` old. */
  async volume(pod: Pod, v: Volume, maxAgeMs: number): Promise<VolumeUsage | undefined> {
    const kind = ownKind(v);
    if (kind === undefined) return undefined;
    const { clock, host } = this.#ctx;
    const path = volumeDir(podDir(this.#ctx, pod.metadata.uid!), kind, v.name);
    const known = this.#looked.get(path);
    const now = clock.monotonic();
    if (known !== undefined && (now - known.at < maxAgeMs || now < known.until)) return known.usage;
    if ((await host.stat(path)) === undefined) return undefined;
    const usage = await host.volumeUsage(path);
    const end = clock.monotonic();
    if (this.#looked.size >= maxLooked) this.#looked.clear();
    this.#looked.set(path, { usage, at: end, until: end + (end - now) / shareOfTime });
    return usage;
  }

  /** What `/stats/summary` tells of a pod's disk usage; looked at once a minute at most. */
  async summary(used: UsedPod, claims: ReadonlyMap<string, VolumeUsage>): Promise<PodDisk> {
    const { pod } = used;
    const volumes: VolumeStatsEntry[] = [];
    const local = new Set(localVolumes(pod).map((v) => v.name));
    for (const v of pod.spec?.volumes ?? []) {
      const claim = claimName(v, pod.metadata.name ?? '');
      const usage = claim === undefined ? await this.volume(pod, v, summaryMs) : claims.get(v.name);
      if (usage !== undefined)
        volumes.push({ name: v.name, usage, local: local.has(v.name), ...(claim === undefined ? {} : { claim }) });
    }
    const logs = new Map<string, DiskUse>();
    for (const c of used.containers)
      if (c.logPath !== '' && !logs.has(c.name)) logs.set(c.name, await this.#logs(c.logPath));
    return { volumes, logs };
  }

  forget(uid: string): void {
    const prefix = `${podDir(this.#ctx, uid)}/`;
    for (const path of this.#looked.keys()) if (path.startsWith(prefix)) this.#looked.delete(path);
  }
}

/** The limit of an emptyDir; undefined without one. */
export function sizeLimit(v: Volume): number | undefined {
  const text = v.emptyDir?.sizeLimit as string | undefined;
  const n = text === undefined ? 0 : quantityValue(parseQuantity(text));
  return n > 0 ? n : undefined;
}
