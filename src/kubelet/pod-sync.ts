/**
 * `PodSync`: what is done for a pod that is to run: its cgroup, its volumes, its sandbox, then its containers in their order, each
 * unless it is in back-off. What could not be done is kept as the reason why a container waits.
 */
import type { Container, Pod } from '../api/types/index.gen.ts';
import { sandboxConfig } from './containers/container-config.ts';
import type { KillOptions } from './containers/container-kill.ts';
import { startContainer } from './containers/container-start.ts';
import type { KubeletContext } from './context.ts';
import type { PodRuntimeFields } from './downward.ts';
import { runHook } from './hooks.ts';
import { StartError } from './images/image-manager.ts';
import { errorText } from './object-cache.ts';
import type { PassLoop } from './pass-loop.ts';
import type { KillReason, PodActions } from './pod-actions.ts';
import type { PodResize } from './pod-resize.ts';
import type { WaitingReason } from './pod-status.ts';
import { newestOf } from './runtime-view.ts';
import { containerFieldPath, formatPod } from './pod-util.ts';
import type { PodView } from './pod-view.ts';
import { toReset } from './restart-all.ts';
import { runtimeHandler } from './runtime-class.ts';
import type { PodSandboxConfig, PodSandboxStatus } from './runtime/container-runtime.ts';
import { RuntimeError } from './runtime/container-runtime.ts';
import { AttachLimitError, MountError } from './volumes/mount-error.ts';
import type { PodVolumes } from './volumes/pod-volumes.ts';

/** What the work needs of the worker it is part of. */
export interface SyncedPod {
  readonly ctx: KubeletContext;
  readonly uid: string;
  readonly runtimeView: PodView;
  readonly loop: PassLoop;
  readonly volumes: PodVolumes;
  readonly resize: PodResize | undefined;
  /** The newest state from the API. */
  readonly apiPod: Pod;
  readonly podIps: readonly string[];
  fields(): PodRuntimeFields;
  /** The pod cannot be on this node: it fails. */
  reject(why: { readonly reason: string; readonly message: string }): void;
  /** The pod is to end: nothing more is started. */
  ending(): boolean;
  /** What was last told of a container that the runtime does not know. */
  restartCount(name: string): number;
  graceFor(container: Container, reason: KillReason | undefined): number;
  killContainer(container: Container, id: string, options: KillOptions): Promise<void>;
  /** Containers were started: their probes begin. */
  updateProbes(): void;
}

const retryMs = 10_000;
const attachLookMs = 10_000;
const mountRetryMs = 2000;
const maxMountRetryMs = 120_000;

export class PodSync {
  readonly #p: SyncedPod;
  #waiting: Map<string, WaitingReason> | undefined;
  #mountFailures = 0;
  /** The pod's cgroup has the limits of this spec. */
  #limited: Pod['spec'] | undefined;

  constructor(pod: SyncedPod) {
    this.#p = pod;
  }

  /** Why containers wait, from their last failed start. */
  get waiting(): ReadonlyMap<string, WaitingReason> | undefined {
    return this.#waiting;
  }

  /** Nothing waits any more: the pod has ended. */
  clear(): void {
    this.#waiting = undefined;
  }

  /** `pod`: with the resources that it was given. */
  async perform(pod: Pod, actions: PodActions): Promise<void> {
    const { ctx, loop, runtimeView } = this.#p;
    await this.#ensureCgroup(pod);
    if (!(await this.#mount(pod)))
      // Containers that run go on with the content they have.
      if (actions.createSandbox || actions.toStart.length > 0 || actions.initToStart.length > 0) return;
    const restarting = this.#restarts(actions);
    for (const k of actions.kills) {
      runtimeView.stale = true;
      const grace = this.#p.graceFor(k.container, k.reason);
      await this.#p.killContainer(k.container, k.id, { message: k.message, grace });
    }
    await this.#actuate(actions, restarting);
    if (actions.createSandbox) {
      if (actions.attempt > 0)
        ctx.events.pod(pod, 'Normal', 'SandboxChanged', 'Pod sandbox changed, it will be killed and re-created.');
      if (!(await this.#createSandbox(pod, actions))) return;
    }
    if (this.#p.ending()) return;
    const latest = runtimeView.now.sandboxes[0];
    if (latest === undefined) return;
    const nothing = actions.ephemeralToStart.length + actions.initToStart.length + actions.toStart.length === 0;
    if (nothing) {
      this.#waiting = undefined;
      return;
    }
    const config = await sandboxConfig(ctx, pod, latest.metadata.attempt, latest.runtimeHandler ?? '');
    for (const c of actions.ephemeralToStart) await this.#start(pod, c, latest, config, true);
    for (const c of actions.initToStart) {
      const sidecar = c.restartPolicy === 'Always';
      const good = await this.#start(pod, c, latest, config, false);
      // An init container that could not be started holds up the ones after it.
      if (!good && !sidecar) return;
      if (good && sidecar) loop.again();
    }
    for (const c of actions.toStart) {
      if (this.#p.ending()) return;
      await this.#start(pod, c, latest, config, false);
    }
  }

  /** Kills and removes every container, for the pod to begin again. */
  async reset(pod: Pod): Promise<void> {
    const { ctx, runtimeView } = this.#p;
    runtimeView.stale = true;
    for (const { container, status } of toReset(pod, runtimeView.now)) {
      if (status.state === 'CONTAINER_RUNNING')
        await this.#p.killContainer(container, status.id, {
          message: 'killing',
          grace: this.#p.graceFor(container, undefined),
        });
      await ctx.runtime.removeContainer(status.id);
    }
    this.#waiting = undefined;
  }

  async #ensureCgroup(pod: Pod): Promise<void> {
    const { ctx, resize } = this.#p;
    // A resize sets limits in an order of its own.
    const done = resize === undefined ? this.#limited === pod.spec : this.#limited !== undefined;
    if (!ctx.cgroups.enabled || done) return;
    try {
      await ctx.cgroups.ensurePod(pod);
    } catch (error) {
      const text = `unable to ensure pod container exists: ${errorText(error)}`;
      ctx.events.pod(pod, 'Warning', 'FailedCreatePodContainer', text);
      throw new Error(`failed to ensure that the pod: ${this.#p.uid} cgroups exist and are correctly applied`, {
        cause: error,
      });
    }
    this.#limited = pod.spec;
  }

  /** False when a volume is not there. */
  async #mount(pod: Pod): Promise<boolean> {
    const { ctx, loop, volumes } = this.#p;
    try {
      await volumes.ensure(pod, this.#p.fields());
      this.#mountFailures = 0;
      return true;
    } catch (error) {
      if (error instanceof AttachLimitError) {
        this.#p.reject({ reason: 'VolumeAttachmentLimitExceeded', message: error.message });
        return false;
      }
      if (!(error instanceof MountError)) throw error;
      if (error.waiting) {
        // Woken when it is done; else it looks again.
        loop.wakeAt(ctx.clock.now() + attachLookMs);
        return false;
      }
      ctx.events.pod(pod, 'Warning', 'FailedMount', error.message);
      loop.wakeAt(ctx.clock.now() + Math.min(mountRetryMs * 2 ** this.#mountFailures++, maxMountRetryMs));
      return false;
    }
  }

  /** Adds the containers that must be restarted to have what is allocated; says whether there are any. */
  #restarts(actions: PodActions): boolean {
    const { apiPod, resize, runtimeView } = this.#p;
    if (resize === undefined || actions.createSandbox) return false;
    const restarts = resize.restarts(apiPod, runtimeView.now.containers);
    for (const { container, id } of restarts) {
      if (actions.kills.some((k) => k.id === id)) continue;
      actions.kills.push({
        container,
        id,
        message: `Container ${container.name} resize requires restart`,
        reason: 'changed',
      });
      const sidecar = apiPod.spec!.initContainers?.some((c) => c.name === container.name) === true;
      (sidecar ? actions.initToStart : actions.toStart).push(container);
    }
    return restarts.length > 0;
  }

  /** Gives the pod, and those of its containers that run on, what is allocated. */
  async #actuate(actions: PodActions, restarting: boolean): Promise<void> {
    const { apiPod, ctx, loop, resize, runtimeView } = this.#p;
    if (resize === undefined) return;
    const fresh = actions.createSandbox;
    const staying = fresh ? [] : runtimeView.now.containers.filter((c) => !actions.kills.some((k) => k.id === c.id));
    const done = await resize.actuate(apiPod, staying, fresh ? undefined : actions.sandboxId, restarting);
    if (!done) loop.wakeAt(ctx.clock.now() + retryMs);
  }

  async #createSandbox(pod: Pod, actions: PodActions): Promise<boolean> {
    const { ctx, loop, runtimeView } = this.#p;
    if (actions.sandboxId !== undefined) await ctx.runtime.stopPodSandbox(actions.sandboxId);
    try {
      await ctx.resources?.dynamic?.prepare(pod);
    } catch (error) {
      const text = `Failed to prepare dynamic resources: ${errorText(error)}`;
      ctx.events.pod(pod, 'Warning', 'FailedPrepareDynamicResources', text);
      loop.wakeAt(ctx.clock.now() + retryMs);
      return false;
    }
    const ownUsers = pod.spec?.hostUsers === false;
    ctx.metrics?.count('started_pods_total');
    if (ownUsers) ctx.metrics?.count('started_user_namespaced_pods_total');
    try {
      const handler = await runtimeHandler(ctx, pod);
      const config = await sandboxConfig(ctx, pod, actions.attempt, handler);
      const id = await ctx.runtime.runPodSandbox(config, handler);
      const status = await ctx.runtime.podSandboxStatus(id);
      if (status.network !== undefined)
        await ctx.onPodAddresses?.(pod, [status.network.ip, ...status.network.additionalIps]);
      runtimeView.addSandbox(status);
      runtimeView.stale = actions.attempt > 0;
      if (actions.attempt > 0) this.#forgive(pod);
      return true;
    } catch (error) {
      ctx.metrics?.count('started_pods_errors_total');
      if (ownUsers) ctx.metrics?.count('started_user_namespaced_pods_errors_total');
      const text = errorText(error);
      // It may have been made all the same, and have taken its name.
      if (error instanceof RuntimeError) runtimeView.searching = runtimeView.stale = true;
      ctx.events.pod(pod, 'Warning', 'FailedCreatePodSandBox', `Failed to create pod sandbox: ${text}`);
      loop.wakeAt(ctx.clock.now() + retryMs);
      return false;
    }
  }

  /** Containers that could not be made in a sandbox that was about to go are not to blame: they start in the new one at once. */
  #forgive(pod: Pod): void {
    for (const [name, { reason }] of this.#waiting ?? [])
      if (reason === 'CreateContainerError' || reason === 'RunContainerError')
        this.#p.ctx.crashLoop.forget(`${pod.metadata.uid}_${name}_`);
  }

  /** Starts one container unless it is in back-off; false when it does not run. */
  async #start(
    pod: Pod,
    container: Container,
    sandbox: PodSandboxStatus,
    config: PodSandboxConfig,
    ephemeral: boolean,
  ): Promise<boolean> {
    const { ctx, loop, runtimeView } = this.#p;
    const failed = (error: StartError): false => {
      (this.#waiting ??= new Map()).set(container.name, { reason: error.reason, message: error.message });
      loop.wakeAt(error.retryAt ?? ctx.clock.now() + retryMs);
      return false;
    };
    let id: string | undefined;
    try {
      id = await startContainer(ctx, {
        pod,
        container,
        last: newestOf(runtimeView.now, container.name),
        restartCount: this.#p.restartCount(container.name),
        sandbox,
        config,
        volumes: this.#p.volumes,
        fields: this.#p.fields(),
        target: () => (ephemeral ? this.#target(pod, container.name) : undefined),
        gone: () => this.#p.ending(),
      });
    } catch (error) {
      if (!(error instanceof StartError)) throw error;
      // What was created is there, whatever became of it.
      if (error.reason === 'RunContainerError' || error.reason === 'CreateContainerError') runtimeView.stale = true;
      return failed(error);
    }
    if (id === undefined) return false;
    this.#waiting?.delete(container.name);
    if (this.#waiting?.size === 0) this.#waiting = undefined;
    await runtimeView.addContainer(id, container.name);
    this.#p.updateProbes();
    const { resize } = this.#p;
    if (resize !== undefined) {
      await resize.started(this.#p.apiPod, container.name);
      // One more look tells whether the resize is done.
      if (resize.inProgress !== undefined) loop.again();
    }
    const hook = container.lifecycle?.postStart;
    if (hook === undefined) return true;
    try {
      await runHook(ctx, hook, pod, container, id, this.#p.podIps[0] ?? '');
      return true;
    } catch (error) {
      ctx.logger.warn('PostStartHook failed', { pod: formatPod(pod), container: container.name, error });
      ctx.events.pod(
        pod,
        'Warning',
        'FailedPostStartHook',
        'PostStartHook failed',
        containerFieldPath(pod.spec!, container.name),
      );
      runtimeView.stale = true;
      const grace = this.#p.graceFor(container, undefined);
      await this.#p.killContainer(container, id, { message: 'FailedPostStartHook', grace });
      return failed(new StartError('PostStartHookError', errorText(error)));
    }
  }

  #target(pod: Pod, name: string): string | undefined {
    const target = pod.spec?.ephemeralContainers?.find((c) => c.name === name)?.targetContainerName;
    if (target === undefined || target === '') return undefined;
    const c = newestOf(this.#p.runtimeView.now, target);
    if (c?.state !== 'CONTAINER_RUNNING')
      throw new StartError('CreateContainerConfigError', `unable to find target container "${target}"`);
    return c.id;
  }
}
