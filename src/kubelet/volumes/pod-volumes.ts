/**
 * The volumes of one pod: set up through `NodeHost` before its containers start, kept up to date while it runs, and taken away
 * with it. What each kind is made of stands in files of its own.
 */
import type { Timer } from '../../base/clock.ts';
import { inTreePluginOf } from '../../api/helpers/csi-translation/csi-translation.ts';
import { podLimits } from '../../api/helpers/pod-resources.ts';
import { parseQuantity, quantityValue } from '../../api/quantity.ts';
import type { Pod, Volume } from '../../api/types/index.gen.ts';
import type { KubeletContext } from '../context.ts';
import { podDir } from '../context.ts';
import type { PodRuntimeFields } from '../downward.ts';
import type { LazyItem, PayloadFile } from '../host/node-host.ts';
import { countedMount } from '../metrics/storage-operations.ts';
import { errorText } from '../object-cache.ts';
import { checkHostPath } from './host-path.ts';
import { claimName, inMemory, ownKind, pluginName, readyFile, volumeDir } from './layout.ts';
import type { OwnKind } from './layout.ts';
import { AttachLimitError, MountError } from './mount-error.ts';
import type { PayloadInput } from './payload.ts';
import { volumePayload } from './payload.ts';
import { PodTokens } from './tokens.ts';

const lazyMaxAgeMs = 60_000;

/** Where a volume is that was made elsewhere than in the pod's own directory. */
export interface MountedVolume {
  /** A directory; undefined for a block device. */
  readonly path?: string;
  /** The device of a volume in Block mode. */
  readonly device?: string;
  /** No container may write to it. */
  readonly readOnly: boolean;
}

/** What one pod's volumes hold while it is on the node. */
export class PodVolumes {
  readonly #ctx: KubeletContext;
  readonly #uid: string;
  readonly #changed: () => void;
  /** Made for pods that have a token of their own. */
  #kept: PodTokens | undefined;
  #ready = false;
  #follows: Map<string, () => void> | undefined;
  #timer: Timer | undefined;
  /** Claims and inline CSI volumes, by the volume's name. */
  #mounted: Map<string, MountedVolume> | undefined;
  /** What was last written, where a comparison with the files would cost more. */
  #written: Map<string, readonly PayloadFile[]> | undefined;

  /** `changed` is called when a source of a mounted volume has changed. */
  constructor(ctx: KubeletContext, uid: string, changed: () => void) {
    this.#ctx = ctx;
    this.#uid = uid;
    this.#changed = changed;
  }

  get #tokens(): PodTokens {
    return (this.#kept ??= new PodTokens(this.#ctx));
  }

  /** The node's path of a volume; undefined for one that has none (image volumes, block devices). */
  path(volume: Volume): string | undefined {
    if (volume.hostPath !== undefined) return volume.hostPath.path;
    const kind = ownKind(volume);
    if (kind === undefined) return this.#mounted?.get(volume.name)?.path;
    return volumeDir(podDir(this.#ctx, this.#uid), kind, volume.name);
  }

  /** The node's device of a volume in Block mode. */
  device(volume: Volume): MountedVolume | undefined {
    const m = this.#mounted?.get(volume.name);
    return m?.device === undefined ? undefined : m;
  }

  /** Whether no container may write to the volume. */
  readOnly(volume: Volume): boolean {
    const kind = ownKind(volume);
    if (kind !== undefined) return kind !== 'emptyDir';
    return this.#mounted?.get(volume.name)?.readOnly === true;
  }

  /** Sets up what is missing and refreshes what changed. Rejects with the first `MountError`. */
  async ensure(pod: Pod, fields: PodRuntimeFields): Promise<void> {
    let failed: MountError | undefined;
    for (const v of pod.spec?.volumes ?? []) {
      try {
        await this.#one(pod, v, fields);
      } catch (error) {
        if (error instanceof AttachLimitError) throw error;
        const why =
          error instanceof MountError
            ? error
            : new MountError(v.name, `MountVolume.SetUp failed for volume "${v.name}" : ${errorText(error)}`, {
                cause: error,
              });
        // What only takes its time is not what is wrong.
        if (failed === undefined || (failed.waiting && !why.waiting)) failed = why;
      }
    }
    if (failed !== undefined) throw failed;
    this.#ready = true;
    this.#armTokenTimer();
  }

  async #one(pod: Pod, v: Volume, fields: PodRuntimeFields): Promise<void> {
    const { host } = this.#ctx;
    if (v.hostPath !== undefined) {
      // What is there once is not looked at again: a container may have changed it.
      if (!this.#ready) await checkHostPath(host, v.hostPath.path, v.hostPath.type ?? '');
      return;
    }
    if (v.image !== undefined) return;
    const claim = claimName(v, pod.metadata.name!);
    if (claim !== undefined || v.csi !== undefined || inTreePluginOf(v) !== undefined) {
      if (this.#mounted?.has(v.name)) {
        await this.#ctx.volumes.refresh(pod, v, this.#tokens);
        return;
      }
      const mounted = await this.#ctx.volumes.mount(pod, v, claim, this.#tokens);
      (this.#mounted ??= new Map()).set(v.name, mounted);
      return;
    }
    const kind = ownKind(v);
    if (kind === undefined)
      throw new Error(`no volume plugin matched name ${Object.keys(v).find((k) => k !== 'name') ?? 'unknown'}`);
    // Made when somebody looks: see `lazyContent`.
    if (host.lazy !== undefined && isApiAccess(v)) return;
    const make = (): Promise<void> =>
      kind === 'emptyDir' ? this.#emptyDir(pod, v, fields) : this.#configuration(pod, v, kind, fields);
    await (this.#ready ? make() : countedMount(this.#ctx, () => pluginName(kind), make));
  }

  async #emptyDir(pod: Pod, v: Volume, fields: PodRuntimeFields): Promise<void> {
    if (this.#ready) return;
    const { host } = this.#ctx;
    const dir = podDir(this.#ctx, this.#uid);
    const path = volumeDir(dir, 'emptyDir', v.name);
    const medium = v.emptyDir?.medium ?? '';
    const real = host.lazy === undefined;
    if (real && (await host.stat(readyFile(dir, v.name))) !== undefined) {
      // An earlier kubelet made it, and the containers have filled it.
      const there = medium === '' ? (await host.stat(path)) !== undefined : await host.isMountPoint(path);
      if (there) return;
    }
    await host.mkdir(path, 0o777);
    if (medium === 'Memory')
      await this.#memory(path, [`size=${memoryLimit(pod, fields, v.emptyDir?.sizeLimit as string | undefined)}`]);
    else if (medium.startsWith('HugePages')) {
      if (!(await host.isMountPoint(path)))
        await host.mount('nodev', path, { fsType: 'hugetlbfs', options: [`pagesize=${pageSize(medium, pod)}`] });
    } else if (medium !== '') throw new Error(`unknown storage medium "${medium}"`);
    const gid = pod.spec?.securityContext?.fsGroup;
    if (gid !== undefined) await host.setVolumeOwnership(path, gid, 'Always');
    if (real) await host.writeFile(readyFile(dir, v.name), '', 0o640);
  }

  /** Mounts memory over a directory and opens it for everybody, with the sticky bit that such a mount has by itself. */
  async #memory(path: string, options: readonly string[]): Promise<void> {
    const { host } = this.#ctx;
    if (await host.isMountPoint(path)) return;
    await host.mount('tmpfs', path, { fsType: 'tmpfs', options: [...options, 'mode=1777'] });
  }

  async #configuration(pod: Pod, v: Volume, kind: OwnKind, fields: PodRuntimeFields): Promise<void> {
    const { host } = this.#ctx;
    const path = volumeDir(podDir(this.#ctx, this.#uid), kind, v.name);
    const files = await volumePayload(this.#input(pod, fields, true), v, kind);
    const real = host.lazy === undefined;
    const before = this.#written?.get(v.name);
    if (real && before !== undefined && sameFiles(before, files)) return;
    if (!this.#ready) {
      await host.mkdir(path, 0o777);
      if (inMemory(kind)) await this.#memory(path, [`size=${memoryLimit(pod, fields, undefined)}`]);
    }
    const gid = pod.spec?.securityContext?.fsGroup;
    await host.writeAtomic(path, files, gid === undefined ? {} : { gid });
    if (!this.#ready && gid !== undefined) await host.setVolumeOwnership(path, gid, 'Always', { readOnly: true });
    if (real) (this.#written ??= new Map()).set(v.name, files);
  }

  #input(pod: Pod, fields: PodRuntimeFields, follow: boolean): PayloadInput {
    return {
      ctx: this.#ctx,
      pod,
      fields,
      tokens: () => this.#tokens,
      changed: this.#changed,
      follow: (kind, name) => {
        if (!follow) return;
        const key = `${kind}/${name}`;
        this.#follows ??= new Map();
        if (!this.#follows.has(key))
          this.#follows.set(key, this.#ctx.objects.follow(kind, pod.metadata.namespace!, name, this.#changed));
      },
    };
  }

  /** The content of a volume that is made when it is first looked into; undefined when the path is no such volume's. */
  lazyContent(pod: Pod, path: string, fields: PodRuntimeFields): Promise<LazyItem> | undefined {
    for (const v of pod.spec?.volumes ?? []) {
      if (v.projected === undefined || !isApiAccess(v)) continue;
      const own = this.path(v)!;
      if (path !== own && !path.startsWith(`${own}/`)) continue;
      return volumePayload(this.#input(pod, fields, false), v, 'projected').then((files) => ({
        path: own,
        files,
        maxAgeMs: lazyMaxAgeMs,
      }));
    }
    return undefined;
  }

  #armTokenTimer(): void {
    const at = this.#kept?.renewAt ?? Infinity;
    if (at === Infinity || this.#ctx.host.lazy !== undefined) return;
    this.#timer?.cancel();
    this.#timer = this.#ctx.clock.setTimer(at - this.#ctx.clock.now(), this.#changed);
  }

  /** Stops following sources; the files stay. */
  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    for (const f of this.#follows?.values() ?? []) f();
    this.#follows = undefined;
  }

  /** Unmounts and removes everything, once no container runs. */
  async remove(): Promise<void> {
    this.stop();
    await this.#ctx.volumes.tearDown(this.#uid);
    this.#mounted = undefined;
    this.#written = undefined;
    this.#ready = false;
  }
}

/** Bytes that a volume in memory may take: its own limit, the pod's, the node's, whichever is least. */
function memoryLimit(pod: Pod, fields: PodRuntimeFields, own: string | undefined): number {
  const value = (text: string | undefined): number => (text === undefined ? 0 : quantityValue(parseQuantity(text)));
  const limit = podLimits(pod as never, { useStatus: false }).get('memory');
  let size = value(fields.allocatable['memory']);
  for (const n of [limit === undefined ? 0 : quantityValue(limit), value(own)])
    if (n > 0 && (size === 0 || n < size)) size = n;
  return size;
}

/** `HugePages-2Mi` → `2M`; `HugePages` alone: the one size that the pod asks for. */
function pageSize(medium: string, pod: Pod): string {
  const short = (size: string): string => size.replace(/i$/, '');
  if (medium.startsWith('HugePages-')) return short(medium.slice('HugePages-'.length));
  const sizes = new Set<string>();
  for (const c of [...(pod.spec?.initContainers ?? []), ...pod.spec!.containers])
    for (const name of Object.keys(c.resources?.requests ?? {}))
      if (name.startsWith('hugepages-')) sizes.add(name.slice('hugepages-'.length));
  if (sizes.size === 0) throw new Error('hugepages storage requested, but there is no hugepages requested in the pod');
  if (sizes.size > 1)
    throw new Error('hugepages storage requested, but the pod requests more than one size of them: name the size');
  return short([...sizes][0]!);
}

function sameFiles(a: readonly PayloadFile[], b: readonly PayloadFile[]): boolean {
  return (
    a.length === b.length &&
    a.every((x, i) => {
      const y = b[i]!;
      if (x.path !== y.path || x.mode !== y.mode || x.uid !== y.uid) return false;
      return x.data === y.data || Buffer.from(x.data as string).equals(Buffer.from(y.data as string));
    })
  );
}

/** The volume that admission adds to every pod for its service account: nothing in it can fail in an interesting way. */
function isApiAccess(v: Volume): boolean {
  if (!v.name.startsWith('kube-api-access-')) return false;
  return (v.projected?.sources ?? []).every(
    (s) =>
      s.serviceAccountToken !== undefined || s.downwardAPI !== undefined || s.configMap?.name === 'kube-root-ca.crt',
  );
}
