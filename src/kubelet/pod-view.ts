/** `PodView`: what the runtime has of one pod, as it was last seen, with what its dead containers left behind. */
import { podUidLabel } from './containers/container-config.ts';
import type { KubeletContext } from './context.ts';
import type { RuntimeView } from './runtime-view.ts';
import { emptyView } from './runtime-view.ts';
import type { ContainerStatus as RuntimeContainer, PodSandboxStatus } from './runtime/container-runtime.ts';
import { RuntimeError } from './runtime/container-runtime.ts';
import { terminationMessage } from './termination-message.ts';

export class PodView {
  readonly #ctx: KubeletContext;
  readonly #uid: string;
  #now: RuntimeView;
  #messages: Map<string, string> | undefined;
  /** The next pass looks at the runtime again. */
  stale: boolean;
  /** The runtime may have sandboxes of the pod that are not in the view. */
  searching = false;

  /** `found`: from before this kubelet's start. */
  constructor(ctx: KubeletContext, uid: string, found: RuntimeView | undefined) {
    this.#ctx = ctx;
    this.#uid = uid;
    this.#now = found ?? emptyView;
    this.stale = found !== undefined;
  }

  get now(): RuntimeView {
    return this.#now;
  }

  /** Termination messages, by container id. */
  get messages(): ReadonlyMap<string, string> | undefined {
    return this.#messages;
  }

  /** Reads everything the runtime has of the pod. */
  async refresh(): Promise<void> {
    this.stale = false;
    const { clock, metrics, runtime } = this.#ctx;
    const began = clock.monotonic();
    const sandboxes: PodSandboxStatus[] = [];
    const containers: RuntimeContainer[] = [];
    const known: readonly { readonly id: string }[] = this.searching
      ? await runtime.listPodSandbox({ labelSelector: { [podUidLabel]: this.#uid } })
      : this.#now.sandboxes;
    this.searching = false;
    for (const s of known) {
      try {
        sandboxes.push(await runtime.podSandboxStatus(s.id));
        for (const c of await runtime.listContainers({ podSandboxId: s.id }))
          containers.push(await runtime.containerStatus(c.id));
      } catch (error) {
        if (!(error instanceof RuntimeError) || error.code !== 'NotFound') throw error;
      }
    }
    containers.sort((a, b) => b.createdAt - a.createdAt || b.metadata.attempt - a.metadata.attempt);
    sandboxes.sort((a, b) => b.createdAt - a.createdAt || b.metadata.attempt - a.metadata.attempt);
    this.#now = { sandboxes, containers };
    await this.#readMessages();
    metrics?.observe('pleg_pod_relist_duration_seconds', (clock.monotonic() - began) / 1000);
  }

  async #readMessages(): Promise<void> {
    for (const c of this.#now.containers) {
      if (c.state !== 'CONTAINER_EXITED' || this.#messages?.has(c.id)) continue;
      const text = await terminationMessage(this.#ctx, c);
      if (text !== '') (this.#messages ??= new Map()).set(c.id, text);
    }
  }

  /** A sandbox was made. */
  addSandbox(status: PodSandboxStatus): void {
    this.#now = { sandboxes: [status, ...this.#now.sandboxes], containers: this.#now.containers };
  }

  /** A container was started: its newest instance is shown, and all but one of its predecessors are let go of. */
  async addContainer(id: string, name: string): Promise<void> {
    const { runtime } = this.#ctx;
    const status = await runtime.containerStatus(id);
    const dead = this.#now.containers
      .filter((c) => c.metadata.name === name && c.state === 'CONTAINER_EXITED')
      .slice(1);
    for (const d of dead) {
      await runtime.removeContainer(d.id);
      this.#messages?.delete(d.id);
    }
    this.#now = {
      sandboxes: this.#now.sandboxes,
      containers: [status, ...this.#now.containers.filter((c) => !dead.includes(c))],
    };
  }
}
