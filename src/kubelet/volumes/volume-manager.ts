/**
 * `VolumeManager`: what of volumes belongs to the node and not to one pod: PersistentVolumes, CSI drivers, and taking everything
 * away again. Taking away goes by what is on the disk, so that it is the same for a pod that has ended, and for one that ended
 * while no kubelet ran.
 */
import { InTurnByKey } from '../../base/in-turn.ts';
import type { Node, PersistentVolume, Pod, Volume } from '../../api/types/index.gen.ts';
import type { KubeletContext } from '../context.ts';
import { podDir } from '../context.ts';
import type { VolumeUsage } from '../host/node-host.ts';
import type { BoundClaim } from './claims.ts';
import { checkNodeAffinity, resolveClaim, resolveInline } from './claims.ts';
import type { CsiVolumes } from './csi/csi-volumes.ts';
import { checkHostPath } from './host-path.ts';
import { localPlugin } from './layout.ts';
import { countedMount } from '../metrics/storage-operations.ts';
import type { MountedVolume } from './pod-volumes.ts';
import { PodCertificates } from './pod-certificates.ts';
import type { PodTokens } from './tokens.ts';
import { errorText } from '../object-cache.ts';
import { AttachLimitError, MountError } from './mount-error.ts';

export class VolumeManager {
  readonly #ctx: KubeletContext;
  /** One piece of work at a time for one volume. */
  readonly #queues = new InTurnByKey();
  readonly certificates: PodCertificates;
  #csi: CsiVolumes | undefined;
  #started = false;
  /** Called when `inUse` has changed. */
  onInUse: (() => void) | undefined;

  constructor(ctx: KubeletContext) {
    this.#ctx = ctx;
    this.certificates = new PodCertificates(ctx);
  }

  /** Makes the kubelet's directory ready, and begins to look for CSI drivers where the host has sockets. */
  async start(): Promise<void> {
    const { host, rootDir } = this.#ctx;
    await host.prepare(rootDir);
    if (host.socketAddress === undefined) {
      this.#started = true;
      return;
    }
    // CSI brings gRPC and its messages along.
    const { CsiVolumes: Csi } = await import('./csi/csi-volumes.ts');
    this.#csi = new Csi(
      this.#ctx,
      (key, work) => this.#exclusive(key, work),
      () => this.onInUse?.(),
    );
    await this.#csi.start();
    this.#started = true;
    this.onInUse?.();
  }

  async stop(): Promise<void> {
    await this.certificates.stop();
    await this.#csi?.stop();
  }

  /** Names of attached volumes in use, for the node's status; undefined before that is known. */
  get inUse(): readonly string[] | undefined {
    return this.#started ? (this.#csi?.inUse ?? []) : undefined;
  }

  /** Uids of pods whose volumes are attached now. */
  readyToMount(node: Node): readonly string[] {
    return this.#csi?.readyToMount(node) ?? [];
  }

  /** Mounts a claim's, an inline CSI or an in-tree volume for a pod. Rejects with `MountError`. */
  mount(pod: Pod, v: Volume, claim: string | undefined, tokens: PodTokens): Promise<MountedVolume> {
    let plugin = v.csi === undefined ? '' : `kubernetes.io/csi:${v.csi.driver}`;
    return countedMount(
      this.#ctx,
      () => plugin,
      () => this.#mount(pod, v, claim, tokens, (p) => (plugin = p)),
    );
  }

  async #mount(
    pod: Pod,
    v: Volume,
    claim: string | undefined,
    tokens: PodTokens,
    found: (plugin: string) => void,
  ): Promise<MountedVolume> {
    if (claim === undefined && v.csi !== undefined) return this.#needCsi(v.name).mountInline(pod, v, tokens);
    const bound = claim === undefined ? resolveInline(pod, v) : await resolveClaim(this.#ctx, pod, v, claim);
    if (bound === undefined)
      throw new Error(`no volume plugin matched name ${Object.keys(v).find((k) => k !== 'name') ?? 'unknown'}`);
    checkNodeAffinity(this.#ctx, v, bound.volume);
    const name = bound.volume.metadata.name!;
    const spec = bound.volume.spec!;
    if (spec.csi !== undefined) found(`kubernetes.io/csi:${spec.csi.driver}`);
    else found(spec.local === undefined ? 'kubernetes.io/host-path' : 'kubernetes.io/local-volume');
    try {
      if (spec.hostPath !== undefined) {
        await checkHostPath(this.#ctx.host, spec.hostPath.path, spec.hostPath.type ?? '');
        return { path: spec.hostPath.path, readOnly: bound.readOnly };
      }
      if (spec.local !== undefined) return await this.#exclusive(`local/${name}`, () => this.#local(pod, bound));
      if (spec.csi !== undefined) return await this.#needCsi(name).mountPersistent(pod, v, bound, tokens);
      throw new Error('no volume plugin matched');
    } catch (error) {
      if (error instanceof MountError || error instanceof AttachLimitError) throw error;
      throw new MountError(v.name, `MountVolume.SetUp failed for volume "${name}" : ${errorText(error)}`, {
        cause: error,
      });
    }
  }

  /** What a pod's claims hold, where their drivers say it; by the volume's name. */
  async claimUsage(uid: string): Promise<ReadonlyMap<string, VolumeUsage>> {
    const out = new Map<string, VolumeUsage>();
    for (const [name, stats] of (await this.#csi?.stats(uid)) ?? []) {
      const bytes = stats.usage?.find((u) => u.unit === 'BYTES');
      const inodes = stats.usage?.find((u) => u.unit === 'INODES');
      out.set(name, {
        capacityBytes: bytes?.total ?? 0,
        availableBytes: bytes?.available ?? 0,
        usedBytes: bytes?.used ?? 0,
        inodes: inodes?.total ?? 0,
        inodesFree: inodes?.available ?? 0,
        inodesUsed: inodes?.used ?? 0,
      });
    }
    return out;
  }

  /** A pass over a mounted volume: what its driver wants to be told again, and growth. */
  async refresh(pod: Pod, v: Volume, tokens: PodTokens): Promise<void> {
    await this.#csi?.refresh(pod, v, tokens);
  }

  #needCsi(name: string): CsiVolumes {
    if (this.#csi === undefined)
      throw new MountError(
        name,
        `MountVolume.SetUp failed for volume "${name}" : no volume plugin matched: this node has no CSI drivers`,
      );
    return this.#csi;
  }

  async #local(pod: Pod, bound: BoundClaim): Promise<MountedVolume> {
    const { host } = this.#ctx;
    const pv: PersistentVolume = bound.volume;
    const { path } = pv.spec!.local!;
    const stat = await host.stat(path);
    if (stat === undefined) throw new Error(`stat ${path}: no such file or directory`);
    if (bound.mode === 'Block') {
      if (stat.type !== 'blockDevice') throw new Error(`path ${path} is not a block device`);
      return { device: path, readOnly: bound.readOnly };
    }
    const name = pv.metadata.name!;
    let source = path;
    if (stat.type === 'blockDevice') {
      // Mounted once for the node, and from there for each pod.
      source = `${this.#ctx.rootDir}/plugins/kubernetes.io/local-volume/mounts/${name}`;
      await host.mkdir(source, 0o750);
      if (!(await host.isMountPoint(source)))
        await host.formatAndMount(path, source, pv.spec!.local!.fsType ?? 'ext4', [
          ...(bound.readOnly ? ['ro'] : []),
          ...(pv.spec?.mountOptions ?? []),
        ]);
    } else if (stat.type !== 'directory')
      throw new Error('only filesystem volumes that are directories or block devices are supported');
    // A host that cannot mount has one view of its files: the pod sees the path itself.
    const target =
      host.lazy === undefined ? `${podDir(this.#ctx, pod.metadata.uid!)}/volumes/${localPlugin}/${name}` : path;
    const others = (await host.mounts()).filter((m) => m.path.endsWith(`/volumes/${localPlugin}/${name}`));
    if (target !== path && !others.some((m) => m.path === target)) {
      await host.mkdir(target, 0o750);
      await host.mount(source, target, {
        bind: true,
        readOnly: bound.readOnly,
        ...(pv.spec?.mountOptions === undefined ? {} : { options: pv.spec.mountOptions }),
      });
    }
    const gid = pod.spec?.securityContext?.fsGroup;
    if (gid !== undefined && !bound.readOnly) {
      if (others.length === 0) await host.setVolumeOwnership(target, gid, fsGroupPolicy(pod));
      else if (stat.gid !== gid && !others.some((m) => m.path === target))
        this.#ctx.events.pod(
          pod,
          'Warning',
          'AlreadyMountedVolume',
          `The requested fsGroup is ${gid}, but the volume ${name} has GID ${stat.gid}. The volume may not be shareable.`,
        );
    }
    return { path: target, readOnly: bound.readOnly };
  }

  /** Unmounts and removes a pod's volumes; its other files stay. Nothing when there are none. */
  async tearDown(uid: string): Promise<void> {
    this.certificates.forget(uid);
    const { host } = this.#ctx;
    const dir = podDir(this.#ctx, uid);
    if (host.lazy === undefined) {
      await host.unmountTree(`${dir}/volume-subpaths`);
      await this.#csi?.tearDown(uid);
      await host.unmountTree(`${dir}/volumes`);
      for (const part of ['volume-subpaths', 'volumeDevices', 'plugins']) await host.remove(`${dir}/${part}`);
    }
    const local = host.lazy === undefined ? await host.list(`${dir}/volumes/${localPlugin}`) : [];
    await host.remove(`${dir}/volumes`);
    for (const name of local) await this.#exclusive(`local/${name}`, () => this.#releaseDevice(name));
  }

  /** Lets go of a local volume's device once no pod uses it. */
  async #releaseDevice(name: string): Promise<void> {
    const { host, rootDir } = this.#ctx;
    const path = `${rootDir}/plugins/kubernetes.io/local-volume/mounts/${name}`;
    if ((await host.stat(path)) === undefined) return;
    if ((await host.mounts()).some((m) => m.path.endsWith(`/volumes/${localPlugin}/${name}`))) return;
    await host.unmount(path);
    await host.remove(path);
  }

  /** Clears away the directories of pods that are not known; one that cannot be is left for the next time. */
  async removeOrphans(known: (uid: string) => boolean): Promise<void> {
    const { host, rootDir, logger } = this.#ctx;
    for (const uid of await host.list(`${rootDir}/pods`)) {
      if (known(uid)) continue;
      try {
        await this.tearDown(uid);
        await host.remove(`${rootDir}/pods/${uid}`);
        logger.info('Cleaned up orphaned pod volumes dir', { uid });
      } catch (error) {
        logger.warn('Orphaned pod found, but failed to clean up its volumes', { uid, error });
      }
    }
  }

  #exclusive<T>(key: string, work: () => Promise<T>): Promise<T> {
    return this.#queues.run(key, work);
  }
}

/** Whether a tree is given to the group each time, or only when its root is not the group's. */
export function fsGroupPolicy(pod: Pod): 'Always' | 'OnRootMismatch' {
  return pod.spec?.securityContext?.fsGroupChangePolicy === 'OnRootMismatch' ? 'OnRootMismatch' : 'Always';
}
