/**
 * What happens to containers, from three sources: CRI's event stream; containerd's own events, where that is not served (1.6);
 * and relisting, which finds what a stream has missed and is all there is with other runtimes (upstream's PLEG).
 */
import { ioNow, ioTimer } from '../../../base/io-time.ts';
import type { Logger } from '../../../base/logger.ts';
import type { Container, ContainerEvent, ContainerEventType, PodSandbox } from '../container-runtime.ts';
import type { RuntimeError } from '../container-runtime.ts';
import type { SandboxStatusMessage } from './messages.ts';
import { runtimeError } from './wire.ts';
import type { CriChannel } from './wire.ts';

/** How often everything is listed: alone, and beside a stream of events. */
const pollMs = 1000;
const relistMs = 10_000;
/** After a stream was opened, so that what happened between two streams is seen. */
const afterOpenMs = 250;
const firstRetryMs = 100;
const maxRetryMs = 3000;
/** containerd tells of a process's end before CRI reports it: how long that may take. */
const settleMs: readonly number[] = [5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560];

export interface EventSource {
  readonly channel: CriChannel;
  readonly logger: Logger;
  readonly runtimeName: string;
  now(): number;
  listContainers(): Promise<readonly Container[]>;
  listPodSandbox(): Promise<readonly PodSandbox[]>;
  /** Undefined when there is no such container. */
  containerState(id: string): Promise<Container['state'] | undefined>;
}

interface Known {
  readonly sandbox: boolean;
  readonly podSandboxId: string;
  readonly podUid: string;
  running: boolean;
  ended: boolean;
}

interface CriEventMessage {
  containerId?: string;
  containerEventType?: ContainerEventType;
  createdAt?: number;
  podSandboxStatus?: SandboxStatusMessage;
}

interface Envelope {
  namespace?: string;
  topic?: string;
  event?: { value?: Buffer };
}

const podUidLabel = 'io.kubernetes.pod.uid';

export class CriEvents {
  readonly #o: EventSource;
  readonly #known = new Map<string, Known>();
  #listeners: readonly ((event: ContainerEvent) => void)[] = [];
  #running = false;
  #endStream: (() => void) | undefined;
  #cancelRelist: (() => void) | undefined;
  #relistAt = Infinity;
  #cancelAfterOpen: (() => void) | undefined;
  #cancelRetry: (() => void) | undefined;
  #relisting: Promise<void> | undefined;
  #source: 'cri' | 'containerd' | 'none' = 'cri';
  #failures = 0;
  #warned = false;

  constructor(options: EventSource) {
    this.#o = options;
  }

  listen(listener: (event: ContainerEvent) => void): () => void {
    this.#listeners = [...this.#listeners, listener];
    if (!this.#running) this.#start();
    return () => {
      this.#listeners = this.#listeners.filter((l) => l !== listener);
      if (this.#listeners.length === 0) this.stop();
    };
  }

  #start(): void {
    this.#running = true;
    this.#open();
    this.#relistIn(0);
  }

  stop(): void {
    this.#running = false;
    this.#endStream?.();
    this.#cancelRelist?.();
    this.#cancelRetry?.();
    this.#cancelAfterOpen?.();
    this.#relistAt = Infinity;
    this.#endStream = this.#cancelRelist = this.#cancelRetry = this.#cancelAfterOpen = undefined;
    this.#known.clear();
  }

  #emit(id: string, known: Known, type: ContainerEventType): void {
    const event: ContainerEvent = {
      containerId: id,
      containerEventType: type,
      createdAt: this.#o.now(),
      podSandboxId: known.podSandboxId,
      podUid: known.podUid,
    };
    for (const l of this.#listeners) l(event);
  }

  // Streams.

  #open(): void {
    if (!this.#running || this.#source === 'none') return;
    const onEnd = (error: RuntimeError | undefined): void => this.#streamEnded(error);
    if (this.#source === 'cri')
      this.#endStream = this.#o.channel.stream<CriEventMessage>(
        'GetContainerEvents',
        {},
        { onMessage: (m) => this.#onCriEvent(m), onEnd },
      );
    else
      this.#endStream = this.#o.channel.stream<Envelope>(
        'Subscribe',
        { filters: ['topic~="^/tasks/(start|exit)"', 'topic=="/containers/delete"'] },
        { onMessage: (m) => this.#onTaskEvent(m), onEnd },
      );
    this.#cancelAfterOpen?.();
    this.#cancelAfterOpen = ioTimer(afterOpenMs, () => void this.#relist());
  }

  #streamEnded(error: RuntimeError | undefined): void {
    this.#endStream = undefined;
    if (!this.#running) return;
    if (error !== undefined && error.code !== 'Unavailable' && error.code !== 'Canceled') {
      // containerd 1.6 knows no such call; others may have it switched off.
      this.#source = this.#source === 'cri' && this.#o.runtimeName === 'containerd' ? 'containerd' : 'none';
      this.#o.logger.debug('no event stream of this kind', { next: this.#source, error });
      this.#open();
      if (this.#source === 'none') this.#relistIn(pollMs);
      return;
    }
    this.#o.logger.debug('the event stream ended, opening it again', { error });
    const wait = Math.min(firstRetryMs * 2 ** this.#failures++, maxRetryMs);
    this.#cancelRetry = ioTimer(wait, () => this.#open());
  }

  #onCriEvent(m: CriEventMessage): void {
    this.#failures = 0;
    const id = m.containerId ?? '';
    const sandbox = m.podSandboxStatus;
    const type = m.containerEventType ?? 'CONTAINER_CREATED_EVENT';
    const podSandboxId = sandbox?.id ?? this.#known.get(id)?.podSandboxId ?? '';
    const podUid = sandbox?.metadata?.uid ?? this.#known.get(id)?.podUid;
    if (podUid === undefined) {
      this.#relistIn(0);
      return;
    }
    this.#observe(id, podSandboxId === id, podSandboxId, podUid, type);
  }

  #observe(id: string, sandbox: boolean, podSandboxId: string, podUid: string, type: ContainerEventType): void {
    let known = this.#known.get(id);
    if (known === undefined) {
      if (type === 'CONTAINER_DELETED_EVENT') return;
      known = { sandbox, podSandboxId, podUid, running: false, ended: false };
      this.#known.set(id, known);
    }
    switch (type) {
      case 'CONTAINER_STARTED_EVENT':
        if (known.running || known.ended) return;
        known.running = true;
        break;
      case 'CONTAINER_STOPPED_EVENT':
        if (known.ended) return;
        known.running = false;
        known.ended = true;
        break;
      case 'CONTAINER_DELETED_EVENT':
        this.#known.delete(id);
        break;
      default:
        break;
    }
    this.#emit(id, known, type);
  }

  #onTaskEvent(m: Envelope): void {
    this.#failures = 0;
    if (m.namespace !== 'k8s.io' || m.event?.value === undefined) return;
    const { containerId = '', id } = this.#o.channel.taskEvent(m.event.value);
    if (m.topic === '/tasks/exit') {
      // Processes that were exec'd into a container have ids of their own.
      if (id === containerId) void this.#exited(containerId);
    } else this.#relistIn(afterOpenMs);
  }

  /** Tells of a container's end once CRI reports it. */
  async #exited(id: string): Promise<void> {
    for (const wait of settleMs) {
      const known = this.#known.get(id);
      if (known?.ended === true || !this.#running) return;
      if (known === undefined || known.sandbox) {
        await this.#relist();
        const now = this.#known.get(id);
        if (now === undefined || now.ended) return;
      } else {
        let state;
        try {
          state = await this.#o.containerState(id);
        } catch (error) {
          this.#o.logger.debug('state of an ended container is unknown', { container: id, error });
          break;
        }
        if (state !== 'CONTAINER_RUNNING' && state !== 'CONTAINER_CREATED') {
          this.#observe(id, false, known.podSandboxId, known.podUid, 'CONTAINER_STOPPED_EVENT');
          return;
        }
      }
      await new Promise<void>((resolve) => void ioTimer(wait, resolve));
    }
    this.#relistIn(0);
  }

  // Relisting.

  /** Relists after `ms` at the latest, and from then on at its pace. */
  #relistIn(ms: number): void {
    const at = ioNow() + ms;
    if (!this.#running || at >= this.#relistAt) return;
    this.#relistAt = at;
    this.#cancelRelist?.();
    this.#cancelRelist = ioTimer(ms, () => {
      this.#relistAt = Infinity;
      void this.#relist().finally(() => this.#relistIn(this.#source === 'none' ? pollMs : relistMs));
    });
  }

  #relist(): Promise<void> {
    this.#relisting ??= this.#compare().finally(() => (this.#relisting = undefined));
    return this.#relisting;
  }

  async #compare(): Promise<void> {
    let containers: readonly Container[];
    let sandboxes: readonly PodSandbox[];
    try {
      // Sandboxes last: a container's sandbox is among them then.
      containers = await this.#o.listContainers();
      sandboxes = await this.#o.listPodSandbox();
      this.#warned = false;
    } catch (error) {
      if (!this.#warned) this.#o.logger.warn('Unable to list containers', { error: runtimeError(error) });
      this.#warned = true;
      return;
    }
    if (!this.#running) return;
    const seen = new Set<string>();
    // The first list tells of all that runs and of all that has ended: nobody knows what happened before it.
    const look = (
      id: string,
      sandbox: boolean,
      podSandboxId: string,
      podUid: string,
      running: boolean,
      ended: boolean,
    ) => {
      seen.add(id);
      const known = this.#known.get(id);
      if (known === undefined) {
        const fresh: Known = { sandbox, podSandboxId, podUid, running, ended };
        this.#known.set(id, fresh);
        if (running) this.#emit(id, fresh, 'CONTAINER_STARTED_EVENT');
        else if (ended) this.#emit(id, fresh, 'CONTAINER_STOPPED_EVENT');
        return;
      }
      if (running) this.#observe(id, sandbox, podSandboxId, podUid, 'CONTAINER_STARTED_EVENT');
      else if (ended) this.#observe(id, sandbox, podSandboxId, podUid, 'CONTAINER_STOPPED_EVENT');
    };
    for (const c of containers)
      look(
        c.id,
        false,
        c.podSandboxId,
        c.labels[podUidLabel] ?? '',
        c.state === 'CONTAINER_RUNNING',
        c.state === 'CONTAINER_EXITED' || c.state === 'CONTAINER_UNKNOWN',
      );
    for (const s of sandboxes)
      look(s.id, true, s.id, s.metadata.uid, s.state === 'SANDBOX_READY', s.state === 'SANDBOX_NOTREADY');
    for (const [id, known] of this.#known) {
      if (seen.has(id)) continue;
      // Removed behind our back without our having seen its end.
      if (!known.ended) this.#observe(id, known.sandbox, known.podSandboxId, known.podUid, 'CONTAINER_STOPPED_EVENT');
      this.#observe(id, known.sandbox, known.podSandboxId, known.podUid, 'CONTAINER_DELETED_EVENT');
    }
  }
}
