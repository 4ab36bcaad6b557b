/**
 * Container garbage collection: removes what the runtime keeps of pods that are gone, sandboxes that were replaced, and log
 * directories that belong to nobody.
 */
import { podUidLabel } from './container-config.ts';
import type { KubeletContext } from '../context.ts';
import { errorText } from '../object-cache.ts';

export interface ContainerGcPods {
  /** A pod that this kubelet works on. */
  known(uid: string): boolean;
  /** Its containers are dead and stay so. */
  ended(uid: string): boolean;
}

export class ContainerGc {
  readonly #ctx: KubeletContext;
  readonly #pods: ContainerGcPods;

  constructor(ctx: KubeletContext, pods: ContainerGcPods) {
    this.#ctx = ctx;
    this.#pods = pods;
  }

  /** Collects; a failure is told. */
  async run(): Promise<void> {
    try {
      await this.collect(false);
    } catch (error) {
      this.#ctx.logger.warn('Container garbage collection failed', { error });
      this.#ctx.events.node('Warning', 'ContainerGCFailed', errorText(error));
    }
  }

  /** `ended`: with the containers of pods that have ended and still stand in the API. */
  async collect(ended: boolean): Promise<void> {
    const { runtime } = this.#ctx;
    const goes = (uid: string): boolean => !this.#pods.known(uid) || (ended && this.#pods.ended(uid));
    const [sandboxes, containers] = await Promise.all([runtime.listPodSandbox(), runtime.listContainers()]);
    const filled = new Set<string>();
    for (const c of containers) {
      const uid = c.labels[podUidLabel];
      if (c.state === 'CONTAINER_RUNNING' || uid === undefined || !goes(uid)) {
        filled.add(c.podSandboxId);
        continue;
      }
      await runtime.removeContainer(c.id);
    }
    const newest = new Map<string, number>();
    for (const s of sandboxes) {
      const { uid } = s.metadata;
      newest.set(uid, Math.max(newest.get(uid) ?? 0, s.createdAt));
    }
    for (const s of sandboxes) {
      const { uid } = s.metadata;
      if (s.state === 'SANDBOX_READY' || filled.has(s.id)) continue;
      // The latest one of a pod that lives on tells how often it was made.
      if (!goes(uid) && s.createdAt === newest.get(uid)) continue;
      // Stopped once more: what a crash left half-way is torn down.
      await runtime.stopPodSandbox(s.id);
      await runtime.removePodSandbox(s.id);
    }
    await this.#logs(goes, new Set(sandboxes.map((s) => s.metadata.uid)));
  }

  /** Log directories are called `NAMESPACE_NAME_UID`. */
  async #logs(goes: (uid: string) => boolean, inRuntime: ReadonlySet<string>): Promise<void> {
    const { host, podLogsDir } = this.#ctx;
    if (host.lazy !== undefined) return;
    for (const name of await host.list(podLogsDir)) {
      const uid = name.split('_')[2];
      if (uid === undefined || this.#pods.known(uid) || !goes(uid) || inRuntime.has(uid)) continue;
      await host.remove(`${podLogsDir}/${name}`);
    }
  }
}
