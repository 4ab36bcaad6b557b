/**
 * Static pods: pods that stand in files of a directory of the node (staticPodPath) or are fetched by HTTP (staticPodURL), and run
 * without the API server. Each has a mirror in the API, so that it can be seen there; deleting the mirror does not end the pod.
 */
import type { Timer } from '../../base/clock.ts';
import { parseDuration } from '../../api/time.ts';
import type { Pod, PodStatus } from '../../api/types/index.gen.ts';
import { isAlreadyExists } from '../../client/errors.ts';
import { compareResourceVersions } from '../../client/resource-version.ts';
import type { KubeletConfiguration } from '../configuration/configuration.ts';
import type { KubeletContext } from '../context.ts';
import { deleteMirrorPod } from '../mirror-pods.ts';
import { formatPod } from '../pod-util.ts';
import type { PodMirror, PodWorker } from '../pod-worker.ts';
import { parseManifest } from './static-pod-manifest.ts';
import { StaticPodUrl } from './static-pod-url.ts';
import type { StatusOwner } from '../status-manager.ts';

export const mirrorAnnotation = 'kubernetes.io/config.mirror';
const maxFile = 10 * 1024 * 1024;
const retryMs = 1000;
const maxRetryMs = 60_000;

export interface StaticPodsHome {
  /** Begins to work on a pod; undefined while one of that name still runs. */
  add(pod: Pod, mirror: PodMirror): PodWorker | undefined;
}

/** One static pod's picture in the API. */
class Mirror implements PodMirror, StatusOwner {
  readonly pod: Pod;
  worker: PodWorker | undefined;
  /** The file is gone: the mirror goes with the pod. */
  retired = false;
  failures = 0;
  timer: Timer | undefined;
  busy = false;
  readonly #gone: (mirror: Mirror) => void;
  #api: Pod | undefined;

  constructor(pod: Pod, gone: (mirror: Mirror) => void) {
    this.pod = pod;
    this.#gone = gone;
  }

  get api(): Pod | undefined {
    return this.#api;
  }

  get owner(): StatusOwner | undefined {
    return this.#api === undefined ? undefined : this;
  }

  get status(): PodStatus | undefined {
    return this.#api?.status;
  }

  get uid(): string {
    return this.#api!.metadata.uid!;
  }

  get apiPod(): Pod {
    return this.#api!;
  }

  set(pod: Pod | undefined): void {
    const before = this.#api;
    if (pod !== undefined && before !== undefined && pod.metadata.uid === before.metadata.uid)
      if (compareResourceVersions(pod.metadata.resourceVersion, before.metadata.resourceVersion) <= 0) return;
    this.#api = pod;
    if (pod !== undefined && pod.metadata.uid !== before?.metadata.uid) this.worker?.notify();
  }

  written(pod: Pod): void {
    this.set(pod);
  }

  gone(): void {
    this.#api = undefined;
    this.#gone(this);
  }
}

export class StaticPods {
  readonly #ctx: KubeletContext;
  readonly #path: string;
  readonly #checkMs: number;
  readonly #fetched: StaticPodUrl;
  readonly #home: StaticPodsHome;
  /** What each file has made, by its path. */
  readonly #files = new Map<string, { text: string; uid: string | undefined }>();
  readonly #mirrors = new Map<string, Mirror>();
  #endWatch: (() => void) | undefined;
  #ticker: Timer | undefined;
  #scanning: Promise<void> | undefined;
  #again = false;
  #stopped = false;

  constructor(ctx: KubeletContext, configuration: KubeletConfiguration, home: StaticPodsHome) {
    this.#ctx = ctx;
    this.#path = configuration.staticPodPath;
    this.#checkMs = parseDuration(configuration.fileCheckFrequency);
    this.#fetched = new StaticPodUrl(ctx, configuration, () => void ctx.clock.activity.track(this.rescan()));
    this.#home = home;
  }

  /** Reads the directory and follows it; resolves when it has been read once. */
  async start(): Promise<void> {
    this.#fetched.start();
    if (this.#path === '') return;
    const { clock, host } = this.#ctx;
    if ((await host.stat(this.#path))?.type === 'directory')
      this.#endWatch = host.watchDirectory(this.#path, () => void this.rescan());
    this.#ticker = clock.setTicker(this.#checkMs, () => void clock.activity.track(this.rescan()));
    await this.rescan();
  }

  stop(): void {
    this.#stopped = true;
    this.#endWatch?.();
    this.#ticker?.cancel();
    this.#fetched.stop();
    for (const m of this.#mirrors.values()) m.timer?.cancel();
  }

  /** Whether this uid is a static pod's that is to run. */
  known(uid: string): boolean {
    return this.#mirrors.has(uid);
  }

  async rescan(): Promise<void> {
    if (this.#stopped) return;
    if (this.#scanning !== undefined) {
      this.#again = true;
      return this.#scanning;
    }
    const scan = async (): Promise<void> => {
      do {
        this.#again = false;
        await this.#scan();
      } while (this.#again && !this.#stopped);
    };
    this.#scanning = scan()
      .catch((error: unknown) => this.#ctx.logger.warn('Could not process manifest directory', { error }))
      .finally(() => (this.#scanning = undefined));
    return this.#scanning;
  }

  async #scan(): Promise<void> {
    const { host, logger, clock, nodeName } = this.#ctx;
    const wanted = new Map<string, Pod>();
    const seen = new Set<string>();
    for (const path of await this.#paths()) {
      if ((await host.stat(path))?.type !== 'file') continue;
      const data = await host.readFile(path, { maxBytes: maxFile });
      if (data === undefined) continue;
      seen.add(path);
      const text = data.toString('latin1');
      const known = this.#files.get(path);
      const running = known?.uid === undefined ? undefined : this.#mirrors.get(known.uid);
      if (known?.text === text && (known.uid === undefined || running?.retired === false)) {
        if (running !== undefined) wanted.set(running.pod.metadata.uid!, running.pod);
        continue;
      }
      try {
        const [pod] = await parseManifest(data, { kind: 'file', at: path }, nodeName, clock.now());
        this.#files.set(path, { text, uid: pod!.metadata.uid! });
        wanted.set(pod!.metadata.uid!, pod!);
      } catch (error) {
        this.#files.set(path, { text, uid: undefined });
        logger.warn("Can't process manifest file", { path, error });
      }
    }
    for (const pod of this.#fetched.pods) wanted.set(pod.metadata.uid!, pod);
    for (const path of this.#files.keys()) if (!seen.has(path)) this.#files.delete(path);
    for (const [uid, m] of this.#mirrors) if (!wanted.has(uid) && !m.retired) this.#retire(m);
    for (const [uid, pod] of wanted) {
      let mirror = this.#mirrors.get(uid);
      if (mirror === undefined) {
        mirror = new Mirror(pod, (m) => void this.#ensure(m));
        this.#mirrors.set(uid, mirror);
      }
      if (mirror.worker === undefined && !mirror.retired) this.#begin(mirror);
    }
  }

  async #paths(): Promise<string[]> {
    if (this.#path === '') return [];
    const { host } = this.#ctx;
    if ((await host.stat(this.#path))?.type === 'file') return [this.#path];
    const names = await host.list(this.#path);
    return names
      .filter((n) => !n.startsWith('.'))
      .map((n) => `${this.#path}/${n}`)
      .toSorted();
  }

  #begin(mirror: Mirror): void {
    const worker = this.#home.add(mirror.pod, mirror);
    // Its predecessor of the same name has not ended: tried again when it has.
    if (worker === undefined) return;
    mirror.worker = worker;
    worker.notify();
    void this.#ensure(mirror);
  }

  #retire(mirror: Mirror): void {
    mirror.retired = true;
    if (mirror.worker === undefined) this.#forget(mirror);
    else mirror.worker.retire();
  }

  #forget(mirror: Mirror): void {
    mirror.timer?.cancel();
    this.#mirrors.delete(mirror.pod.metadata.uid!);
    const { api } = mirror;
    if (api !== undefined) void this.#ctx.clock.activity.track(deleteMirrorPod(this.#ctx, api));
  }

  /** A worker is done; true when its pod was a static one. */
  finished(worker: PodWorker): boolean {
    const mirror = this.#mirrors.get(worker.uid);
    if (mirror === undefined) return false;
    this.#forget(mirror);
    // One of the same name may wait for its place.
    for (const m of this.#mirrors.values()) if (m.worker === undefined && !m.retired) this.#begin(m);
    // Or the same one has come back meanwhile.
    void this.#ctx.clock.activity.track(this.rescan());
    return true;
  }

  // Mirrors

  /** A mirror pod is in the API. */
  observe(pod: Pod): void {
    const mirror = this.#of(pod);
    if (mirror === undefined) {
      // A mirror of nothing, or of a file's earlier content.
      void this.#ctx.clock.activity.track(deleteMirrorPod(this.#ctx, pod));
      return;
    }
    if (pod.metadata.deletionTimestamp !== undefined) {
      // Somebody asks for the static pod's end, which is not in the API's power.
      void this.#ctx.clock.activity.track(deleteMirrorPod(this.#ctx, pod));
      return;
    }
    mirror.set(pod);
  }

  /** A mirror pod has gone from the API. */
  lost(pod: Pod): void {
    const mirror = this.#of(pod);
    if (mirror === undefined || mirror.api?.metadata.uid !== pod.metadata.uid) return;
    mirror.set(undefined);
    void this.#ensure(mirror);
  }

  #of(pod: Pod): Mirror | undefined {
    const mirror = this.#mirrors.get(pod.metadata.annotations?.[mirrorAnnotation] ?? '');
    const same =
      mirror?.pod.metadata.name === pod.metadata.name && mirror?.pod.metadata.namespace === pod.metadata.namespace;
    return same ? mirror : undefined;
  }

  async #ensure(mirror: Mirror): Promise<void> {
    if (mirror.api !== undefined || mirror.retired || mirror.busy || this.#stopped) return;
    mirror.busy = true;
    mirror.timer?.cancel();
    const { client, clock, logger, nodeName } = this.#ctx;
    const { pod } = mirror;
    try {
      const uid = this.#ctx.node()?.metadata.uid ?? (await client.core.nodes.get(nodeName)).metadata.uid!;
      const { uid: hash, ...metadata } = pod.metadata;
      mirror.set(
        await clock.activity.track(
          client.core.pods.create({
            apiVersion: 'v1',
            kind: 'Pod',
            metadata: {
              ...metadata,
              annotations: { ...metadata.annotations, [mirrorAnnotation]: hash! },
              ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name: nodeName, uid, controller: true }],
            },
            spec: pod.spec!,
          }),
        ),
      );
      mirror.failures = 0;
    } catch (error) {
      // Whoever has the name is seen by the watch.
      if (!isAlreadyExists(error)) logger.warn('Failed creating a mirror pod', { pod: formatPod(pod), error });
      const wait = Math.min(retryMs * 2 ** mirror.failures++, maxRetryMs);
      mirror.timer = clock.setTimer(wait, () => void this.#ensure(mirror));
    } finally {
      mirror.busy = false;
    }
  }
}
