/**
 * In-place resize of one pod (KEP-1287): what its spec asks for is allocated when the node has room, then carried out, container by
 * container, without restarting those that need not be. What was allocated and what was carried out outlives the kubelet.
 */
import { deepEqual } from '../api/helpers/deep-equal.ts';
import { parseQuantity, quantityMilli, quantityValue } from '../api/quantity.ts';
import type { Container, ContainerStatus, Pod, ResourceRequirements } from '../api/types/index.gen.ts';
import { podResources } from './cgroup-manager.ts';
import { containerResources } from './containers/container-resources.ts';
import type { KubeletContext } from './context.ts';
import { podDir } from './context.ts';
import { errorText } from './object-cache.ts';
import { formatPod } from './pod-util.ts';
import type { ContainerStatus as RuntimeContainer, LinuxContainerResources } from './runtime/container-runtime.ts';

/** Resources by container; the pod's own under the empty name. */
type Allocation = ReadonlyMap<string, ResourceRequirements>;

export interface ResizeCondition {
  readonly reason: string;
  readonly message: string;
  /** Of the spec that asked for it. */
  readonly generation: number | undefined;
}

export interface ResizeHome {
  /** Takes the room that the pod asks for now instead of what it had; says why not. */
  admitResize(pod: Pod): { reason: string; message: string } | undefined;
}

const file = 'resources.json';
const none: ResourceRequirements = Object.freeze({});

function resourcesOf(pod: Pod): Allocation {
  const out = new Map<string, ResourceRequirements>();
  for (const c of [...(pod.spec?.initContainers ?? []), ...pod.spec!.containers]) out.set(c.name, c.resources ?? none);
  if (pod.spec?.resources !== undefined) out.set('', pod.spec.resources);
  return out;
}

/** The pod with other resources. */
function withResources(pod: Pod, resources: Allocation): Pod {
  const merge = (c: Container): Container => {
    const own = resources.get(c.name);
    return own === undefined || own === c.resources ? c : { ...c, resources: own };
  };
  const spec = pod.spec!;
  const own = resources.get('');
  return {
    ...pod,
    spec: {
      ...spec,
      containers: spec.containers.map(merge),
      ...(spec.initContainers === undefined ? {} : { initContainers: spec.initContainers.map(merge) }),
      ...(own === undefined ? {} : { resources: own }),
    },
  };
}

/** The four numbers that a running container can be given others of; the pod's own limits count where it has none (KEP-5419). */
function amounts(r: ResourceRequirements | undefined, pod?: ResourceRequirements): readonly number[] {
  const cpu = (t: unknown): number => (t === undefined ? 0 : quantityMilli(parseQuantity(t as string)));
  const bytes = (t: unknown): number => (t === undefined ? 0 : quantityValue(parseQuantity(t as string)));
  return [
    cpu(r?.requests?.['cpu']),
    cpu(r?.limits?.['cpu']) || cpu(pod?.limits?.['cpu']),
    bytes(r?.requests?.['memory']),
    bytes(r?.limits?.['memory']) || bytes(pod?.limits?.['memory']),
  ];
}

/** Of all containers, as `amounts`. */
function effective(resources: Allocation): Map<string, readonly number[]> {
  const pod = resources.get('');
  return new Map([...resources].filter(([name]) => name !== '').map(([name, r]) => [name, amounts(r, pod)]));
}

const same = (a: ResourceRequirements | undefined, b: ResourceRequirements | undefined): boolean =>
  a === b || deepEqual(amounts(a), amounts(b));

/** Pods without a change cost nothing: the state is made with the first one. */
export class PodResize {
  readonly #ctx: KubeletContext;
  readonly #home: ResizeHome;
  #allocated: Allocation;
  /** What running containers have, by name. */
  readonly #actuated: Map<string, ResourceRequirements>;
  /** The same as numbers, with the pod's limits as they were when each was carried out. */
  readonly #effective: Map<string, readonly number[]>;
  pending: ResizeCondition | undefined;
  inProgress: ResizeCondition | undefined;
  /** The pod's own limits have not followed its containers' yet. */
  #unfinished = false;
  /** What the pod's cgroup was given last; undefined while that is not known. */
  #limits: LinuxContainerResources | undefined;
  #merged: { readonly of: Pod; readonly pod: Pod } | undefined;

  private constructor(ctx: KubeletContext, home: ResizeHome, allocated: Allocation, actuated: Allocation) {
    this.#ctx = ctx;
    this.#home = home;
    this.#allocated = allocated;
    this.#actuated = new Map(actuated);
    this.#effective = effective(actuated);
  }

  /** Of a pod that has what this spec asks for. */
  static from(ctx: KubeletContext, home: ResizeHome, pod: Pod): PodResize {
    const spec = resourcesOf(pod);
    const resize = new PodResize(ctx, home, spec, spec);
    resize.#limits = podResources(pod, ctx.settings);
    return resize;
  }

  /** Of a pod that an earlier kubelet has left; undefined when it has what it asks for. */
  static async adopt(ctx: KubeletContext, home: ResizeHome, pod: Pod): Promise<PodResize | undefined> {
    const kept = await load(ctx, pod);
    const told = kept === undefined ? fromStatus(pod) : undefined;
    const allocated = kept?.allocated ?? told!;
    const actuated = kept?.actuated ?? told!;
    const wanted = resourcesOf(pod);
    const had = effective(actuated);
    const settled =
      [...wanted].every(([name, r]) => same(r, allocated.get(name))) &&
      [...effective(wanted)].every(([name, r]) => deepEqual(r, had.get(name)));
    if (settled) return undefined;
    const resize = new PodResize(ctx, home, allocated, actuated);
    resize.#limits = podResources(withResources(pod, actuated), ctx.settings);
    return resize;
  }

  /** Whether two specs ask for the same. */
  static sameResources(a: Pod['spec'], b: Pod['spec']): boolean {
    const x = resourcesOf({ metadata: {}, spec: a } as Pod);
    return [...resourcesOf({ metadata: {}, spec: b } as Pod)].every(([name, r]) => same(r, x.get(name)));
  }

  /** The pod with the resources that it has been given. */
  allocatedPod(pod: Pod): Pod {
    if (this.#merged?.of === pod) return this.#merged.pod;
    const merged = withResources(pod, this.#allocated);
    this.#merged = { of: pod, pod: merged };
    return merged;
  }

  /** Looks whether the spec asks for something else, and allocates it where it fits. */
  async allocate(pod: Pod): Promise<void> {
    const wanted = resourcesOf(pod);
    const changed = [...wanted].some(([name, r]) => !same(r, this.#allocated.get(name)));
    if (!changed) {
      this.pending = undefined;
      return;
    }
    const { generation } = pod.metadata;
    const refused = this.#home.admitResize(pod);
    if (refused !== undefined) {
      const before = this.pending;
      const reason = refused.reason === 'Infeasible' ? 'Infeasible' : 'Deferred';
      this.pending = { reason, message: refused.message, generation };
      if (before?.generation !== generation || before?.reason !== reason) {
        if (reason === 'Infeasible')
          this.#ctx.metrics?.count('pod_infeasible_resizes_total', [detail(refused.message)]);
        this.#event(pod, 'Warning', `Resize${reason}`, `Pod resize ${reason}`, generation, refused.message);
      }
      return;
    }
    this.#allocated = wanted;
    this.#merged = undefined;
    this.pending = undefined;
    this.inProgress = { reason: '', message: '', generation };
    await this.#save(pod);
    this.#event(pod, 'Normal', 'ResizeStarted', 'Pod resize started', generation);
  }

  /** A container was started with what is allocated. */
  async started(pod: Pod, name: string): Promise<void> {
    const r = this.#allocated.get(name);
    if (r === undefined) return;
    this.#effective.set(name, amounts(r, this.#allocated.get('')));
    if (this.#actuated.get(name) === r) return;
    this.#actuated.set(name, r);
    if (this.inProgress !== undefined) await this.#save(pod);
  }

  /** What a running container has. */
  actual(name: string): ResourceRequirements | undefined {
    return this.#actuated.get(name);
  }

  /** Containers that must be restarted to have what is allocated. */
  restarts(pod: Pod, running: readonly RuntimeContainer[]): readonly { container: Container; id: string }[] {
    const out: { container: Container; id: string }[] = [];
    for (const { container, status } of this.#running(pod, running)) {
      const now = this.#effective.get(container.name) ?? amounts(undefined);
      const then = this.#wanted(container);
      const differs = (resource: string): boolean =>
        resource === 'cpu' ? now[0] !== then[0] || now[1] !== then[1] : now[2] !== then[2] || now[3] !== then[3];
      const restart = (container.resizePolicy ?? []).some(
        (p) => p.restartPolicy === 'RestartContainer' && differs(p.resourceName),
      );
      if (restart) out.push({ container, id: status.id });
    }
    return out;
  }

  #wanted(allocated: Container): readonly number[] {
    return amounts(allocated.resources, this.#allocated.get(''));
  }

  *#running(
    pod: Pod,
    running: readonly RuntimeContainer[],
  ): Generator<{ readonly container: Container; readonly status: RuntimeContainer }> {
    const allocated = this.allocatedPod(pod);
    for (const container of [...(allocated.spec!.initContainers ?? []), ...allocated.spec!.containers]) {
      if (deepEqual(this.#wanted(container), this.#effective.get(container.name))) continue;
      const status = running.find((c) => c.metadata.name === container.name && c.state === 'CONTAINER_RUNNING');
      if (status !== undefined) yield { container, status };
    }
  }

  /**
   * Gives running containers what is allocated, and the pod's cgroup, so that those that are started next have room in it.
   * `restarting`: some are started next because of this. False when it could not be done now; the condition says why.
   */
  async actuate(
    pod: Pod,
    running: readonly RuntimeContainer[],
    sandboxId: string | undefined,
    restarting: boolean,
  ): Promise<boolean> {
    const todo = [...this.#running(pod, running)];
    const whole = !same(this.#allocated.get(''), this.#actuated.get(''));
    const limits = podResources(this.allocatedPod(pod), this.#ctx.settings);
    const moved = this.#limits !== undefined && !deepEqual(limits, this.#limits);
    if (todo.length > 0 || whole || moved || this.#unfinished) {
      this.inProgress ??= { reason: '', message: '', generation: pod.metadata.generation };
      const { clock, metrics } = this.#ctx;
      const began = clock.monotonic();
      try {
        await this.#update(pod, todo, sandboxId);
        metrics?.observe('pod_resize_duration_milliseconds', clock.monotonic() - began, ['true']);
      } catch (error) {
        metrics?.observe('pod_resize_duration_milliseconds', clock.monotonic() - began, ['false']);
        const message = errorText(error);
        const before = this.inProgress;
        this.inProgress = { ...before, reason: 'Error', message };
        if (before.message !== message)
          this.#event(pod, 'Warning', 'ResizeError', 'Pod resize error', before.generation, message);
        this.#ctx.logger.warn('Pod resize failed', { pod: formatPod(pod), error });
        return false;
      }
    }
    const left = restarting || [...this.#running(pod, running)].length > 0;
    if (!left && this.inProgress !== undefined) {
      const { generation } = this.inProgress;
      this.inProgress = undefined;
      await this.#save(pod);
      this.#event(pod, 'Normal', 'ResizeCompleted', 'Pod resize completed', generation);
    }
    return true;
  }

  async #update(
    pod: Pod,
    todo: readonly { readonly container: Container; readonly status: RuntimeContainer }[],
    sandboxId: string | undefined,
  ): Promise<void> {
    const { cgroups, runtime } = this.#ctx;
    const allocated = this.allocatedPod(pod);
    const wanted = podResources(allocated, this.#ctx.settings);
    await this.#checkMemory(allocated, todo);
    this.#unfinished = true;
    // The pod grows before its containers, and shrinks after them.
    await cgroups.resizePod(allocated, wanted, 'grow');
    const growth = (c: Container): number => (this.#wanted(c)[3] ?? 0) - (this.#effective.get(c.name)?.[3] ?? 0);
    for (const { container, status } of todo.toSorted((a, b) => growth(a.container) - growth(b.container))) {
      await runtime.updateContainerResources(status.id, await containerResources(this.#ctx, allocated, container));
      this.#actuated.set(container.name, container.resources ?? none);
      this.#effective.set(container.name, this.#wanted(container));
      await this.#save(pod);
    }
    if (sandboxId !== undefined) await runtime.updatePodSandboxResources(sandboxId, wanted);
    await cgroups.resizePod(allocated, wanted, 'shrink');
    const own = this.#allocated.get('');
    if (own !== undefined) this.#actuated.set('', own);
    this.#limits = wanted;
    this.#unfinished = false;
  }

  /** The kernel would kill a container whose limit falls below what it uses. */
  async #checkMemory(
    allocated: Pod,
    todo: readonly { readonly container: Container; readonly status: RuntimeContainer }[],
  ): Promise<void> {
    const { cgroups, runtime } = this.#ctx;
    const errors: string[] = [];
    const limit = podResources(allocated, this.#ctx.settings).memoryLimitInBytes;
    const current = limit === undefined ? undefined : await cgroups.limits(allocated);
    if (limit !== undefined && current !== undefined && (current.memoryLimitInBytes ?? Infinity) > limit) {
      const usage = (await cgroups.stats(allocated))?.memory.usageBytes;
      if (usage !== undefined && usage >= limit)
        errors.push(`attempting to set pod memory limit (${limit}) below current usage (${usage})`);
    }
    for (const { container, status } of todo) {
      const then = this.#wanted(container)[3] ?? 0;
      const now = this.#effective.get(container.name)?.[3] ?? 0;
      if (then === 0 || (now !== 0 && then >= now)) continue;
      const usage = (await runtime.containerStats(status.id)).memory.usageBytes;
      if (usage >= then)
        errors.push(
          `attempting to set container "${container.name}" memory limit (${then}) below current usage (${usage})`,
        );
    }
    if (errors.length === 1) throw new Error(`cannot decrease memory limits: ${errors[0]}`);
    if (errors.length > 1) throw new Error(`cannot decrease memory limits: [${errors.join(', ')}]`);
  }

  #event(
    pod: Pod,
    type: 'Normal' | 'Warning',
    reason: string,
    what: string,
    generation: number | undefined,
    error?: string,
  ): void {
    const list = (all: readonly Container[]) => all.map((c) => ({ name: c.name, resources: c.resources ?? {} }));
    const init = pod.spec?.initContainers ?? [];
    const summary = {
      ...(init.length === 0 ? {} : { initContainers: list(init) }),
      containers: list(pod.spec!.containers),
      generation: generation ?? 0,
      ...(error === undefined || error === '' ? {} : { error }),
    };
    this.#ctx.events.pod(pod, type, reason, `${what}: ${JSON.stringify(summary)}`);
  }

  async #save(pod: Pod): Promise<void> {
    const { host } = this.#ctx;
    if (host.lazy !== undefined) return;
    const text = JSON.stringify({
      allocated: Object.fromEntries(this.#allocated),
      actuated: Object.fromEntries(this.#actuated),
    });
    await host.replaceFile(`${podDir(this.#ctx, pod.metadata.uid!)}/${file}`, text, 0o600);
  }
}

async function load(
  ctx: KubeletContext,
  pod: Pod,
): Promise<{ readonly allocated: Allocation; readonly actuated: Allocation } | undefined> {
  if (ctx.host.lazy !== undefined) return undefined;
  const text = await ctx.host.readFile(`${podDir(ctx, pod.metadata.uid!)}/${file}`, { maxBytes: 1024 * 1024 });
  if (text === undefined) return undefined;
  try {
    const kept = JSON.parse(text.toString()) as Record<string, Record<string, ResourceRequirements>>;
    const map = (name: string): Allocation => new Map(Object.entries(kept[name] ?? {}));
    return { allocated: map('allocated'), actuated: map('actuated') };
  } catch (error) {
    ctx.logger.warn('Cannot read what was allocated to a pod; its status counts', { pod: formatPod(pod), error });
    return undefined;
  }
}

/** What the API's status says that containers have; what it does not say is as in the spec. */
function fromStatus(pod: Pod): Allocation {
  const out = new Map(resourcesOf(pod));
  const all: readonly ContainerStatus[] = [
    ...(pod.status?.containerStatuses ?? []),
    ...(pod.status?.initContainerStatuses ?? []),
  ];
  for (const s of all) if (s.state?.running !== undefined && s.resources !== undefined) out.set(s.name, s.resources);
  return out;
}

/** Why a resize can never be done, as it is counted. */
function detail(message: string): string {
  if (message.startsWith('In-place resize of static')) return 'static_pod';
  if (message.includes('CPU Manager')) return 'guaranteed_pod_cpu_manager_static_policy';
  if (message.includes('Memory Manager')) return 'guaranteed_pod_memory_manager_static_policy';
  return 'insufficient_node_allocatable';
}
