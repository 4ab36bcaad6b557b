/** The probe workers of one pod: made only for pods that have probes, one timer a probe that is due. */
import type { Timer } from '../../base/clock.ts';
import type { Container, Pod, Probe } from '../../api/types/index.gen.ts';
import type { KubeletContext } from '../context.ts';
import { errorText } from '../object-cache.ts';
import { containerFieldPath } from '../pod-util.ts';
import { runProbe } from './probes.ts';

export type ProbeType = 'startup' | 'readiness' | 'liveness';

const kinds: readonly ProbeType[] = ['startup', 'readiness', 'liveness'];
const title: Readonly<Record<ProbeType, string>> = { startup: 'Startup', readiness: 'Readiness', liveness: 'Liveness' };
const maxRetries = 3;

function probeOf(container: Container, type: ProbeType): Probe | undefined {
  return type === 'startup'
    ? container.startupProbe
    : type === 'readiness'
      ? container.readinessProbe
      : container.livenessProbe;
}

export function hasProbes(pod: Pod): boolean {
  const has = (c: Container) =>
    c.startupProbe !== undefined || c.readinessProbe !== undefined || c.livenessProbe !== undefined;
  return (
    pod.spec!.containers.some(has) ||
    (pod.spec!.initContainers ?? []).some((c) => c.restartPolicy === 'Always' && has(c))
  );
}

interface Worker {
  readonly type: ProbeType;
  container: Container;
  containerId: string;
  startedAt: number;
  result: boolean | undefined;
  last: boolean | undefined;
  run: number;
  onHold: boolean;
  busy: boolean;
  timer: Timer | undefined;
}

export class PodProbes {
  readonly #ctx: KubeletContext;
  readonly #pod: () => Pod;
  readonly #podIp: () => string;
  readonly #changed: () => void;
  readonly #before: (
    name: string,
    containerId: string,
  ) => { readonly started: boolean; readonly ready: boolean } | undefined;
  readonly #workers = new Map<string, Worker>();
  #stopped = false;

  /** `before`: what the API's status says of a container instance that an earlier kubelet has probed. */
  constructor(
    ctx: KubeletContext,
    pod: () => Pod,
    podIp: () => string,
    changed: () => void,
    before: (name: string, containerId: string) => { readonly started: boolean; readonly ready: boolean } | undefined,
  ) {
    this.#ctx = ctx;
    this.#before = before;
    this.#pod = pod;
    this.#podIp = podIp;
    this.#changed = changed;
  }

  /** A probe's settled result for a container instance; undefined when there is none yet or no such probe. */
  result(name: string, containerId: string, type: ProbeType): boolean | undefined {
    const w = this.#workers.get(`${type}/${name}`);
    return w?.containerId === containerId ? w.result : undefined;
  }

  /** Tells which containers run now; begins and ends probing accordingly. */
  update(running: ReadonlyMap<string, { id: string; startedAt: number }>): void {
    if (this.#stopped) return;
    const spec = this.#pod().spec!;
    for (const container of [
      ...(spec.initContainers ?? []).filter((c) => c.restartPolicy === 'Always'),
      ...spec.containers,
    ]) {
      const now = running.get(container.name);
      for (const type of kinds) {
        const probe = probeOf(container, type);
        if (probe === undefined) continue;
        const key = `${type}/${container.name}`;
        let w = this.#workers.get(key);
        if (now === undefined) {
          if (w !== undefined) {
            w.timer?.cancel();
            w.timer = undefined;
            w.result = type === 'startup' ? undefined : false;
          }
          continue;
        }
        if (w?.containerId === now.id) {
          w.container = container;
          continue;
        }
        w?.timer?.cancel();
        const told = this.#before(container.name, now.id);
        w = {
          type,
          container,
          containerId: now.id,
          startedAt: now.startedAt,
          // Liveness is good until it fails, readiness is not until it succeeds, startup is open.
          // A container that an earlier kubelet has found good stays so until a probe says otherwise.
          result:
            type === 'liveness'
              ? true
              : type === 'readiness'
                ? told?.ready === true
                : told?.started === true
                  ? true
                  : undefined,
          last: undefined,
          run: 0,
          onHold: false,
          busy: false,
          timer: undefined,
        };
        this.#workers.set(key, w);
        this.#arm(w, Math.max(now.startedAt + (probe.initialDelaySeconds ?? 0) * 1000 - this.#ctx.clock.now(), 0));
      }
    }
  }

  #arm(w: Worker, ms: number): void {
    w.timer?.cancel();
    w.timer = undefined;
    if (this.#stopped || w.onHold) return;
    if (ms <= 0) void this.#tick(w);
    else
      w.timer = this.#ctx.clock.setTimer(ms, () => {
        w.timer = undefined;
        void this.#tick(w);
      });
  }

  /** The container has started: its other probes need not wait for their period. */
  #started(name: string): void {
    for (const type of ['readiness', 'liveness'] as const) {
      const w = this.#workers.get(`${type}/${name}`);
      if (w === undefined) continue;
      const probe = probeOf(w.container, type)!;
      this.#arm(w, Math.max(w.startedAt + (probe.initialDelaySeconds ?? 0) * 1000 - this.#ctx.clock.now(), 0));
    }
  }

  async #tick(w: Worker): Promise<void> {
    if (this.#stopped || w.busy) return;
    const { clock } = this.#ctx;
    const probe = probeOf(w.container, w.type);
    if (probe === undefined) return;
    const began = clock.now();
    const startup =
      w.container.startupProbe !== undefined ? this.#workers.get(`startup/${w.container.name}`) : undefined;
    const waits =
      w.type !== 'startup' &&
      startup !== undefined &&
      !(startup.containerId === w.containerId && startup.result === true);
    const deleting = this.#pod().metadata.deletionTimestamp !== undefined && w.type !== 'readiness';
    if (deleting) return;
    if (!waits) {
      w.busy = true;
      const id = w.containerId;
      const good = await this.#attempt(w, probe);
      w.busy = false;
      if (this.#stopped || w.containerId !== id || this.#workers.get(`${w.type}/${w.container.name}`) !== w) return;
      if (good !== undefined) this.#settle(w, probe, good);
    }
    const period = (probe.periodSeconds ?? 10) * 1000;
    this.#arm(w, Math.max(began + period - clock.now(), waits ? period : 1));
  }

  #settle(w: Worker, probe: Probe, good: boolean): void {
    if (w.last === good) w.run++;
    else {
      w.last = good;
      w.run = 1;
    }
    if (w.run < (good ? (probe.successThreshold ?? 1) : (probe.failureThreshold ?? 3))) return;
    const changed = w.result !== good;
    w.result = good;
    if ((w.type === 'liveness' && !good) || w.type === 'startup') {
      w.onHold = true;
      w.run = 0;
    }
    if (!changed) return;
    if (w.type === 'startup' && good) this.#started(w.container.name);
    this.#changed();
  }

  /** True, false, or undefined when the probe itself failed to run. */
  async #attempt(w: Worker, probe: Probe): Promise<boolean | undefined> {
    const pod = this.#pod();
    const path = containerFieldPath(pod.spec!, w.container.name);
    let failure: unknown;
    for (let i = 0; i < maxRetries; i++) {
      try {
        const began = this.#ctx.clock.monotonic();
        const r = await runProbe(this.#ctx, probe, w.container, w.containerId, this.#podIp());
        if (this.#stopped) return undefined;
        const good = r.result === 'success' || r.result === 'warning';
        this.#ctx.probeMetrics.count(
          pod,
          w.container.name,
          w.type,
          good ? 'successful' : r.result === 'failure' ? 'failed' : 'unknown',
          (this.#ctx.clock.monotonic() - began) / 1000,
        );
        if (r.result === 'failure')
          this.#ctx.events.pod(pod, 'Warning', 'Unhealthy', `${title[w.type]} probe failed: ${r.output}`, path);
        else if (r.result === 'warning')
          this.#ctx.events.pod(pod, 'Warning', 'ProbeWarning', `${title[w.type]} probe warning: ${r.output}`, path);
        return good;
      } catch (error) {
        failure = error;
      }
    }
    if (!this.#stopped)
      this.#ctx.events.pod(
        pod,
        'Warning',
        'Unhealthy',
        `${title[w.type]} probe errored and resulted in unknown state: ${errorText(failure)}`,
        path,
      );
    return undefined;
  }

  stop(): void {
    this.#stopped = true;
    for (const w of this.#workers.values()) w.timer?.cancel();
    this.#workers.clear();
  }
}
