/** Makes sure that a container's image is on the node: pull policies, pull secrets, back-off, upstream's events and reasons. */
import type { Clock } from '../../base/clock.ts';
import { parseImageName } from '../../api/helpers/image-name.ts';
import { formatDuration } from '../../api/time.ts';
import type { Container, Pod } from '../../api/types/index.gen.ts';
import { Backoff } from '../backoff.ts';
import type { KubeletEvents } from '../context.ts';
import type { KubeletMetrics } from '../metrics/kubelet-metrics.ts';
import type { ImageCredential } from './image-credentials.ts';
import { imageCredentials } from './image-credentials.ts';
import { errorText } from '../object-cache.ts';
import type { ObjectCache } from '../object-cache.ts';
import type { PullLimits } from './pull-limits.ts';
import type { PullRecords, PullSecret } from './pull-records.ts';
import type { AuthConfig, ContainerRuntime, Image, ImageSpec, PodSandboxConfig } from '../runtime/container-runtime.ts';
import { RuntimeError } from '../runtime/container-runtime.ts';

/** Why a container cannot be started now: the reason and message of its waiting state. */
export class StartError extends Error {
  readonly reason: string;
  /** When it makes sense to try again, in milliseconds since the epoch; undefined: as soon as possible. */
  readonly retryAt: number | undefined;

  constructor(reason: string, message: string, options?: { retryAt?: number; cause?: unknown }) {
    super(message, { cause: options?.cause });
    this.name = 'StartError';
    this.reason = reason;
    this.retryAt = options?.retryAt;
  }
}

/** An image that is on the node. */
export interface PulledImage {
  /** What `ContainerConfig.image` names it by. */
  readonly ref: string;
  /** Whom its configuration lets it run as; 0 when it says nothing. One of the two. */
  readonly uid?: number;
  readonly username?: string;
}

function pulled(ref: string, image: Image | undefined): PulledImage {
  const username = image?.username;
  if (image?.uid === undefined && username !== undefined && username !== '') return { ref, username };
  return { ref, uid: image?.uid ?? 0 };
}

interface Pull {
  readonly ref: string;
  /** Milliseconds, without waiting for its turn. */
  readonly took: number;
}

const initialBackoffMs = 10_000;
const maxBackoffMs = 300_000;
/** How long a failed pull is what the status says before it says that the next is being put off. */
const tellBackoffMs = 5000;

export class ImageManager {
  readonly #runtime: ContainerRuntime;
  readonly #clock: Clock;
  readonly #events: KubeletEvents;
  readonly #objects: ObjectCache;
  readonly #limits: PullLimits;
  readonly #records: PullRecords;
  readonly #metrics: KubeletMetrics | undefined;
  /** Milliseconds that pods have waited for pulls, by uid. */
  readonly #pulled = new Map<string, number>();
  readonly #backoff: Backoff;
  readonly #lastError = new Map<string, string>();
  readonly #pulling = new Map<string, Promise<Pull>>();
  readonly #listeners = new Set<() => void>();
  readonly #own: ((repository: string) => Promise<readonly AuthConfig[]>) | undefined;

  constructor(options: {
    runtime: ContainerRuntime;
    clock: Clock;
    events: KubeletEvents;
    objects: ObjectCache;
    limits: PullLimits;
    records: PullRecords;
    metrics?: KubeletMetrics | undefined;
    /** The node's own credentials for a repository. */
    credentials?: ((repository: string) => Promise<readonly AuthConfig[]>) | undefined;
  }) {
    this.#own = options.credentials;
    this.#metrics = options.metrics;
    this.#limits = options.limits;
    this.#records = options.records;
    this.#runtime = options.runtime;
    this.#clock = options.clock;
    this.#events = options.events;
    this.#objects = options.objects;
    this.#backoff = new Backoff(initialBackoffMs, maxBackoffMs, () => options.clock.now());
  }

  /** Calls `listener` when the set of images on the node has changed. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Forgets who may use images that are gone. `present`: ids of those that are on the node. */
  prune(present: ReadonlySet<string>): Promise<void> {
    return this.#records.prune(present);
  }

  /** An image was removed from the node. */
  removed(): void {
    for (const l of this.#listeners) l();
  }

  /** Rejects with `StartError`. */
  async ensure(
    pod: Pod,
    container: Container,
    sandbox: PodSandboxConfig,
    runtimeHandler: string,
    fieldPath: string | undefined,
  ): Promise<PulledImage> {
    const requested = container.image ?? '';
    const event = (type: 'Normal' | 'Warning', reason: string, message: string) =>
      this.#events.pod(pod, type, reason, message, fieldPath);
    const name = parseImageName(requested);
    if (name === undefined) {
      const message = `Failed to apply default image tag ${JSON.stringify(requested)}: couldn't parse image name ${JSON.stringify(requested)}: invalid reference format`;
      event('Warning', 'InspectFailed', message);
      throw new StartError('InvalidImageName', message);
    }
    const untagged = name.digest === '' && !requested.endsWith(`:${name.tag}`);
    const spec: ImageSpec = {
      image: untagged ? `${requested}:${name.tag}` : requested,
      userSpecifiedImage: requested,
      runtimeHandler,
      annotations: pod.metadata.annotations,
    };
    const policy = container.imagePullPolicy ?? 'IfNotPresent';
    const asked = (present: string, pull: string): void =>
      this.#metrics?.count('image_manager_ensure_image_requests_total', [policy.toLowerCase(), present, pull]);
    let present = 'unknown';
    let known: Promise<ImageCredential[]> | undefined;
    const credentials = (): Promise<ImageCredential[]> =>
      (known ??= this.#credentials(pod, spec.image).catch((error: unknown) => {
        // Upstream has no reason of its own for it.
        throw new StartError(errorText(error), errorText(error), { cause: error });
      }));
    if (policy !== 'Always') {
      let found;
      try {
        found = await this.#runtime.imageStatus(spec);
      } catch (error) {
        // Upstream names the image's id here, which nobody knows yet.
        const message = `Failed to inspect image "": ${errorText(error)}`;
        event('Warning', 'InspectFailed', message);
        asked('unknown', 'unknown');
        throw new StartError('ImageInspectError', message, { cause: error });
      }
      const secrets = async (): Promise<PullSecret[]> =>
        (await credentials()).map((c) => c.secret).filter((s) => s !== undefined);
      present = String(found !== undefined);
      if (found !== undefined && !(await this.#records.mustPull(requested, found.id, secrets))) {
        asked(present, 'false');
        event(
          'Normal',
          'Pulled',
          `Container image "${requested}" already present on machine and can be accessed by the pod`,
        );
        return pulled(found.id, found);
      }
      if (policy === 'Never') {
        const message = `Container image "${requested}" is not present with pull policy of Never`;
        asked(present, 'false');
        event('Warning', 'ErrImageNeverPull', message);
        throw new StartError('ErrImageNeverPull', message);
      }
    }
    asked(present, 'true');
    const usable = await credentials();
    const key = `${pod.metadata.uid}_${requested}`;
    if (this.#backoff.inBackoffSinceUpdate(key)) {
      const message = `Back-off pulling image "${requested}"`;
      event('Normal', 'BackOff', message);
      const last = this.#lastError.get(key);
      throw new StartError('ImagePullBackOff', last === undefined ? message : `${message}: ${last}`, {
        retryAt: this.#backoff.until(key),
      });
    }
    this.#lastError.delete(key);
    event('Normal', 'Pulling', `Pulling image "${requested}"`);
    const began = this.#clock.now();
    try {
      const { ref, took } = await this.#pull(pod, spec, sandbox, requested, usable);
      const image = await this.#runtime.imageStatus(spec);
      const waited = formatDuration(this.#clock.now() - began);
      this.#metrics?.observe('image_pull_duration_seconds', took / 1000, [sizeBucket(image?.size ?? 0)]);
      event(
        'Normal',
        'Pulled',
        `Successfully pulled image "${requested}" in ${formatDuration(took)} (${waited} including waiting). Image size: ${image?.size ?? 0} bytes.`,
      );
      return pulled(ref, image);
    } catch (error) {
      event('Warning', 'Failed', `Failed to pull image "${requested}": ${errorText(error)}`);
      this.#backoff.next(key, this.#clock.now());
      const [reason, message] = pullFailure(requested, error);
      if (this.#lastError.size > 10_000) this.#lastError.clear();
      this.#lastError.set(key, `${reason}: ${message}`);
      // The next look, before the next try, says that there is a back-off.
      const retryAt = Math.min(this.#backoff.until(key), this.#clock.now() + tellBackoffMs);
      throw new StartError(reason, message, { retryAt, cause: error });
    } finally {
      if (this.#metrics !== undefined) {
        const uid = pod.metadata.uid!;
        this.#pulled.set(uid, this.pulling(uid) + this.#clock.now() - began);
      }
    }
  }

  /** One pull at a time for one image and one pod's credentials; others wait for it. */
  async #pull(
    pod: Pod,
    spec: ImageSpec,
    sandbox: PodSandboxConfig,
    requested: string,
    credentials: readonly ImageCredential[],
  ): Promise<Pull> {
    const secrets = pod.spec?.imagePullSecrets ?? [];
    const key = secrets.length === 0 && !hasOwnBehaviour(sandbox) ? spec.image : `${pod.metadata.uid}/${spec.image}`;
    let pull = this.#pulling.get(key);
    if (pull === undefined) {
      pull = this.#attempt(spec, sandbox, requested, credentials).finally(() => this.#pulling.delete(key));
      this.#pulling.set(key, pull);
    }
    return pull;
  }

  async #attempt(
    spec: ImageSpec,
    sandbox: PodSandboxConfig,
    requested: string,
    credentials: readonly ImageCredential[],
  ): Promise<Pull> {
    let done: Parameters<PullRecords['ended']>[1];
    await this.#records.intend(requested);
    try {
      return await this.#limits.run(async () => {
        const began = this.#clock.now();
        let failure: unknown;
        for (const c of credentials.length === 0 ? [undefined] : credentials) {
          try {
            const ref = await this.#runtime.pullImage(spec, c?.auth, sandbox);
            for (const l of this.#listeners) l();
            done = { imageRef: ref, secret: c?.secret };
            return { ref, took: this.#clock.now() - began };
          } catch (error) {
            failure = error;
          }
        }
        throw failure;
      });
    } finally {
      await this.#records.ended(requested, done);
    }
  }

  /** What the pod's pull secrets say about the image's registry, and then what the node knows itself. */
  async #credentials(pod: Pod, image: string): Promise<ImageCredential[]> {
    const repository = this.#own === undefined ? undefined : parseImageName(image)?.repository;
    const [secrets, own] = await Promise.all([
      this.#secretCredentials(pod, image),
      repository === undefined ? [] : this.#own!(repository),
    ]);
    return [...secrets, ...own.map((auth) => ({ auth, secret: undefined }))];
  }

  #secretCredentials(pod: Pod, image: string): Promise<ImageCredential[]> {
    return imageCredentials(this.#objects, pod, image, (names) =>
      this.#events.pod(
        pod,
        'Warning',
        'FailedToRetrieveImagePullSecret',
        `Unable to retrieve some image pull secrets (${names.join(', ')}); attempting to pull the image may not succeed.`,
      ),
    );
  }

  /** How many milliseconds a pod has waited for pulls; 0 where nobody asks. */
  pulling(uid: string): number {
    return this.#pulled.get(uid) ?? 0;
  }

  forget(uid: string): void {
    this.#pulled.delete(uid);
    if (this.#backoff.size > 0) this.#backoff.forget(`${uid}_`);
    for (const key of this.#lastError.keys()) if (key.startsWith(`${uid}_`)) this.#lastError.delete(key);
  }
}

const mb = 1024 * 1024;
const sizes: readonly (readonly [above: number, label: string])[] = [
  [102_400 * mb, 'GT100GB'],
  [61_440 * mb, '60GB-100GB'],
  [40_960 * mb, '40GB-60GB'],
  [30_720 * mb, '30GB-40GB'],
  [20_480 * mb, '20GB-30GB'],
  [10_240 * mb, '10GB-20GB'],
  [5120 * mb, '5GB-10GB'],
  [1024 * mb, '1GB-5GB'],
  [500 * mb, '500MB-1GB'],
  [100 * mb, '100MB-500MB'],
  [10 * mb, '10MB-100MB'],
  [0, '0-10MB'],
];

/** An image's size as it is counted. */
function sizeBucket(bytes: number): string {
  return sizes.find(([above]) => bytes > above)?.[1] ?? 'N/A';
}

/** Runtimes tell some failures by how their message begins. */
function pullFailure(image: string, error: unknown): [reason: string, message: string] {
  const description = error instanceof RuntimeError ? error.description : '';
  const rest = (prefix: string): string => description.slice(prefix.length);
  if (description.startsWith('RegistryUnavailable'))
    return [
      'RegistryUnavailable',
      `image pull failed for ${image} because the registry is unavailable${rest('RegistryUnavailable')}`,
    ];
  if (description.startsWith('SignatureValidationFailed'))
    return [
      'SignatureValidationFailed',
      `image pull failed for ${image} because the signature validation failed${rest('SignatureValidationFailed')}`,
    ];
  return ['ErrImagePull', errorText(error)];
}

/** A simulated pod can ask for a delay or an error of its own pulls: those are not shared. */
function hasOwnBehaviour(sandbox: PodSandboxConfig): boolean {
  for (const k in sandbox.annotations) if (k.startsWith('knarr.dev/simulated.pull-')) return true;
  return false;
}
