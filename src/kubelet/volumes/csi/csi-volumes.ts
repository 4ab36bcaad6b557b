/**
 * `CsiVolumes`: volumes that CSI drivers make on this node: staged once for the node, published for each pod, expanded, told of
 * again where a driver wants it, and taken away in the other order.
 */
import type { Timer } from '../../../base/clock.ts';
import type {
  CSIDriver,
  CSIPersistentVolumeSource,
  Node,
  PersistentVolume,
  Pod,
  Volume,
} from '../../../api/types/index.gen.ts';
import { attachmentName, uniqueVolumeName } from '../../../api/helpers/csi-volumes.ts';
import type { KubeletContext } from '../../context.ts';
import { podDir } from '../../context.ts';
import { errorText } from '../../object-cache.ts';
import type { BoundClaim } from '../claims.ts';
import { csiPlugin } from '../layout.ts';
import { MountError } from '../mount-error.ts';
import type { MountedVolume } from '../pod-volumes.ts';
import type { PodTokens } from '../tokens.ts';
import { CsiAttachments } from './attachments.ts';
import { PluginError } from './channel.ts';
import { blockDir, inlineHandle, loadVolumeData, saveVolumeData, stagingPath } from './csi-paths.ts';
import type { VolumeData } from './csi-paths.ts';
import type { CsiDriverClient } from './driver.ts';
import { csiPrefix, CsiDrivers } from './drivers.ts';
import { growVolume } from './expand.ts';
import type { VolumeStats } from './messages.ts';
import { secretOf } from './secrets.ts';

type Exclusive = <T>(key: string, work: () => Promise<T>) => Promise<T>;

/** One volume that a pod has. */
interface Published {
  pod: Pod;
  readonly volume: Volume;
  /** Undefined for inline volumes. */
  readonly bound: BoundClaim | undefined;
  readonly tokens: PodTokens;
  readonly data: VolumeData;
  readonly target: string;
  /** Whether the volume had to be attached to the node. */
  readonly attached: boolean;
}

/** How often drivers that want it are told again, and claims are asked whether they have grown. */
const refreshMs = 60_000;
export class CsiVolumes {
  readonly #ctx: KubeletContext;
  readonly #exclusive: Exclusive;
  readonly #drivers: CsiDrivers;
  readonly #attachments: CsiAttachments;
  /** Pods that a volume is published for, by driver and handle. */
  readonly #users = new Map<string, Set<string>>();
  readonly #published = new Map<string, Published>();
  /** Volumes that have been staged, by driver and handle. */
  readonly #staged = new Set<string>();
  #timer: Timer | undefined;
  #stopped = false;

  /** `exclusive` lets one piece of work at a time touch a volume. `inUseChanged`: the node's status is to tell of it. */
  constructor(ctx: KubeletContext, exclusive: Exclusive, inUseChanged: () => void) {
    this.#ctx = ctx;
    this.#exclusive = exclusive;
    this.#drivers = new CsiDrivers(ctx);
    this.#attachments = new CsiAttachments(ctx, this.#drivers, inUseChanged);
  }

  async start(): Promise<void> {
    await this.#reconstruct();
    await this.#drivers.start();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    await this.#drivers.stop();
  }

  /** Which pods an earlier kubelet had published volumes for, by the notes that stand in their directories. */
  async #reconstruct(): Promise<void> {
    const { host, rootDir } = this.#ctx;
    // Which of them were attached only the earlier kubelet knew: it told the node's status.
    const told = new Set(this.#ctx.node()?.status?.volumesInUse ?? []);
    for (const uid of await host.list(`${rootDir}/pods`))
      for (const { data } of await this.#ofPod(uid)) {
        this.#usersOf(data).add(uid);
        const name = uniqueVolumeName(data.driverName, data.volumeHandle);
        if (told.has(name)) this.#attachments.need(name, uid);
      }
  }

  /** Unique names of the attached volumes that pods of this node need. */
  get inUse(): readonly string[] {
    return this.#attachments.inUse;
  }

  /** Pods that wait for the attach/detach controller and need do so no longer, now that the node is like this. */
  readyToMount(node: Node): readonly string[] {
    return this.#attachments.readyToMount(node);
  }

  /** The CSI volumes in a pod's directories. */
  async #ofPod(
    uid: string,
  ): Promise<readonly { readonly directory: string; readonly data: VolumeData; readonly block: boolean }[]> {
    const { host, rootDir } = this.#ctx;
    const out: { directory: string; data: VolumeData; block: boolean }[] = [];
    const dir = `${rootDir}/pods/${uid}`;
    for (const name of await host.list(`${dir}/volumes/${csiPlugin}`)) {
      const directory = `${dir}/volumes/${csiPlugin}/${name}`;
      const data = await loadVolumeData(host, directory);
      if (data !== undefined) out.push({ directory, data, block: false });
    }
    for (const name of await host.list(`${dir}/volumeDevices/${csiPlugin}`)) {
      const data = await loadVolumeData(host, `${blockDir(rootDir)}/${name}/data`);
      if (data !== undefined) out.push({ directory: `${dir}/volumeDevices/${csiPlugin}/${name}`, data, block: true });
    }
    return out;
  }

  #usersOf(data: Pick<VolumeData, 'driverName' | 'volumeHandle'>): Set<string> {
    const key = `${data.driverName}^${data.volumeHandle}`;
    let users = this.#users.get(key);
    if (users === undefined) this.#users.set(key, (users = new Set()));
    return users;
  }

  // Mounting

  /** Mounts a PersistentVolume for a pod. Rejects with `MountError`. */
  mountPersistent(pod: Pod, v: Volume, bound: BoundClaim, tokens: PodTokens): Promise<MountedVolume> {
    const source = bound.volume.spec!.csi!;
    return this.#exclusive(`csi/${source.driver}^${source.volumeHandle}`, () =>
      this.#mountPersistent(pod, v, bound, source, tokens),
    );
  }

  async #mountPersistent(
    pod: Pod,
    v: Volume,
    bound: BoundClaim,
    source: CSIPersistentVolumeSource,
    tokens: PodTokens,
  ): Promise<MountedVolume> {
    const { host, rootDir, nodeName } = this.#ctx;
    const pv = bound.volume;
    const name = pv.metadata.name!;
    const uid = pod.metadata.uid!;
    const object = await this.#drivers.object(source.driver);
    const attached = object?.spec?.attachRequired !== false;
    if (attached) await this.#attachments.waitAttached(uid, v, source, object);
    const data: VolumeData = {
      specVolID: name,
      volumeHandle: source.volumeHandle,
      driverName: source.driver,
      nodeName,
      attachmentID: attachmentName(source.volumeHandle, source.driver, nodeName),
      volumeLifecycleMode: 'Persistent',
    };
    const block = bound.mode === 'Block';
    const step = this.#steps(v, name);
    const publishContext = attached
      ? await step(`${block ? 'MapVolume' : 'MountVolume'}.WaitForAttach`, () =>
          this.#attachments.publishContext(source, data.attachmentID!),
        )
      : {};
    let driver!: CsiDriverClient;
    let staging: string | undefined;
    await step(block ? 'MapVolume.SetUpDevice' : 'MountVolume.MountDevice', async () => {
      driver = this.#drivers.need(
        source.driver,
        block
          ? 'blockMapper.SetUpDevice failed to get CSI client: '
          : 'attacher.MountDevice failed to create newCsiDriverClient: ',
      );
      staging = await this.#stage(driver, pod, bound, source, publishContext);
    });
    const target = block
      ? `${blockDir(rootDir)}/publish/${name}/${uid}`
      : `${podDir(this.#ctx, uid)}/volumes/${csiPlugin}/${name.replaceAll('/', '~')}/mount`;
    const published: Published = { pod, volume: v, bound, tokens, data, target, attached };
    this.#usersOf(data).add(uid);
    await step(block ? 'MapVolume.MapPodDevice' : 'MountVolume.SetUp', async () => {
      if (block) {
        await host.mkdir(`${podDir(this.#ctx, uid)}/volumeDevices/${csiPlugin}/${name}`, 0o750);
        await host.mkdir(`${blockDir(rootDir)}/publish/${name}`, 0o750);
        await saveVolumeData(host, `${blockDir(rootDir)}/${name}/data`, data);
      }
      await this.#publish(driver, published, publishContext, staging, true);
    });
    this.#published.set(`${uid}/${v.name}`, published);
    this.#arm();
    await this.#grow(published).catch((error: unknown) => {
      this.#ctx.events.pod(
        pod,
        'Warning',
        'VolumeResizeFailed',
        `NodeExpandVolume.NodeExpandVolume failed for volume "${name}" : ${errorText(error)}`,
      );
    });
    return block ? { device: target, readOnly: bound.readOnly } : { path: target, readOnly: bound.readOnly };
  }

  /** Mounts a volume that lives as long as its pod. Rejects with `MountError`. */
  async mountInline(pod: Pod, v: Volume, tokens: PodTokens): Promise<MountedVolume> {
    const uid = pod.metadata.uid!;
    const source = v.csi!;
    const data: VolumeData = {
      specVolID: v.name,
      volumeHandle: inlineHandle(uid, v.name),
      driverName: source.driver,
      nodeName: this.#ctx.nodeName,
      attachmentID: attachmentName(inlineHandle(uid, v.name), source.driver, this.#ctx.nodeName),
      volumeLifecycleMode: 'Ephemeral',
    };
    const target = `${podDir(this.#ctx, uid)}/volumes/${csiPlugin}/${v.name}/mount`;
    const published: Published = { pod, volume: v, bound: undefined, tokens, data, target, attached: false };
    await this.#steps(v, v.name)('MountVolume.SetUp', async () => {
      const driver = this.#drivers.need(source.driver, 'mounter.SetUpAt failed to get CSI client: ');
      const modes = (await this.#drivers.object(source.driver))?.spec?.volumeLifecycleModes;
      if (modes === undefined)
        throw new Error(
          `${csiPrefix}mounter.SetupAt failed to check volume lifecycle mode: volume mode "Ephemeral" not supported by driver ${source.driver} (no CSIDriver object)`,
        );
      if (!modes.includes('Ephemeral'))
        throw new Error(
          `${csiPrefix}mounter.SetupAt failed to check volume lifecycle mode: volume mode "Ephemeral" not supported by driver ${source.driver} (only supports [${modes.map((m) => `"${m}"`).join(' ')}])`,
        );
      this.#usersOf(data).add(uid);
      await this.#publish(driver, published, {}, undefined, true);
    });
    this.#published.set(`${uid}/${v.name}`, published);
    this.#arm();
    return { path: target, readOnly: source.readOnly === true };
  }

  /** Names the step that failed in the error's message, as upstream's events do. */
  #steps(v: Volume, name: string): <T>(step: string, work: () => Promise<T>) => Promise<T> {
    return async (step, work) => {
      try {
        return await work();
      } catch (error) {
        throw new MountError(v.name, `${step} failed for volume "${name}" : ${errorText(error)}`, { cause: error });
      }
    };
  }

  /** Stages a volume unless its driver stages none; the path. */
  async #stage(
    driver: CsiDriverClient,
    pod: Pod,
    bound: BoundClaim,
    source: CSIPersistentVolumeSource,
    publishContext: Readonly<Record<string, string>>,
  ): Promise<string | undefined> {
    const { host, rootDir } = this.#ctx;
    if (!(await driver.can('STAGE_UNSTAGE_VOLUME'))) return undefined;
    const pv = bound.volume;
    const block = bound.mode === 'Block';
    const path = block
      ? `${blockDir(rootDir)}/staging/${pv.metadata.name}`
      : stagingPath(rootDir, source.driver, source.volumeHandle);
    const key = `${source.driver}^${source.volumeHandle}`;
    // An earlier kubelet's is found by its mount: to stage it again would mount it over itself.
    if (this.#staged.has(key) || (!block && (await host.isMountPoint(path)))) return path;
    const secrets = await secretOf(this.#ctx, source.nodeStageSecretRef, 'NodeStageSecretRef');
    await host.mkdir(path, 0o750);
    const parent = path.slice(0, path.lastIndexOf('/'));
    if (!block) await saveVolumeData(host, parent, { driverName: source.driver, volumeHandle: source.volumeHandle });
    try {
      await driver.stage({
        volumeId: source.volumeHandle,
        publishContext,
        stagingTargetPath: path,
        volumeCapability: await driver.capability({
          block,
          accessMode: pv.spec?.accessModes?.[0] ?? 'ReadWriteOnce',
          fsType: source.fsType,
          ...(pv.spec?.mountOptions === undefined ? {} : { mountOptions: pv.spec.mountOptions }),
          ...(await this.#delegatedGroup(driver, pod)),
        }),
        secrets,
        volumeContext: source.volumeAttributes ?? {},
      });
    } catch (error) {
      if (error instanceof PluginError && error.final && this.#usersOf(dataOf(source)).size === 0)
        await host.remove(block ? path : parent).catch(() => undefined); // what led here is told
      throw error;
    }
    this.#staged.add(key);
    return path;
  }

  /** The pod's group, for a driver that applies it itself. */
  async #delegatedGroup(driver: CsiDriverClient, pod: Pod): Promise<{ fsGroup?: number }> {
    const fsGroup = pod.spec?.securityContext?.fsGroup;
    return fsGroup !== undefined && (await driver.can('VOLUME_MOUNT_GROUP')) ? { fsGroup } : {};
  }

  /** `first`: not a repetition for a pod that uses the volume already. */
  async #publish(
    driver: CsiDriverClient,
    p: Published,
    publishContext: Readonly<Record<string, string>>,
    staging: string | undefined,
    first: boolean,
  ): Promise<void> {
    const { host } = this.#ctx;
    const { pod, bound, data, target } = p;
    const pv = bound?.volume;
    const source = pv?.spec?.csi;
    const inline = p.volume.csi;
    const object = await this.#drivers.object(data.driverName);
    const readOnly = bound === undefined ? inline?.readOnly === true : bound.readOnly;
    const block = bound?.mode === 'Block';
    const fsType = source?.fsType ?? inline?.fsType ?? '';
    const inlineSecret = inline?.nodePublishSecretRef;
    let secrets = await secretOf(
      this.#ctx,
      source?.nodePublishSecretRef ??
        (inlineSecret === undefined ? undefined : { name: inlineSecret.name, namespace: pod.metadata.namespace }),
      'NodePublishSecretRef',
    );
    let volumeContext: Readonly<Record<string, string>> = source?.volumeAttributes ?? inline?.volumeAttributes ?? {};
    if (object?.spec?.podInfoOnMount === true)
      volumeContext = {
        ...volumeContext,
        'csi.storage.k8s.io/pod.name': pod.metadata.name!,
        'csi.storage.k8s.io/pod.namespace': pod.metadata.namespace!,
        'csi.storage.k8s.io/pod.uid': pod.metadata.uid!,
        'csi.storage.k8s.io/serviceAccount.name': pod.spec?.serviceAccountName ?? '',
        'csi.storage.k8s.io/ephemeral': String(data.volumeLifecycleMode === 'Ephemeral'),
      };
    const tokens = await this.#tokenAttributes(object, p);
    if (object?.spec?.serviceAccountTokenInSecrets === true) secrets = { ...secrets, ...tokens };
    else volumeContext = { ...volumeContext, ...tokens };
    const parent = target.slice(0, target.lastIndexOf('/'));
    await host.mkdir(parent, 0o750);
    if (!block) await saveVolumeData(host, parent, data);
    try {
      await driver.publish({
        volumeId: data.volumeHandle,
        publishContext,
        ...(staging === undefined ? {} : { stagingTargetPath: staging }),
        targetPath: target,
        readonly: readOnly,
        volumeCapability: await driver.capability({
          block,
          accessMode: pv?.spec?.accessModes?.[0] ?? 'ReadWriteOnce',
          fsType,
          ...(pv?.spec?.mountOptions === undefined ? {} : { mountOptions: pv.spec.mountOptions }),
          ...(await this.#delegatedGroup(driver, pod)),
        }),
        secrets,
        volumeContext,
      });
    } catch (error) {
      // What a pod uses already is left as it is.
      if (first && error instanceof PluginError && error.final) await this.#cleanTarget(target, block);
      throw error;
    }
    const gid = pod.spec?.securityContext?.fsGroup;
    if (block || gid === undefined || readOnly || (await driver.can('VOLUME_MOUNT_GROUP'))) return;
    if (!appliesGroup(object?.spec?.fsGroupPolicy, fsType, pv)) return;
    const policy = pod.spec?.securityContext?.fsGroupChangePolicy === 'OnRootMismatch' ? 'OnRootMismatch' : 'Always';
    try {
      await host.setVolumeOwnership(target, gid, policy);
    } catch (error) {
      throw new Error(`applyFSGroup failed for vol ${data.volumeHandle}: ${errorText(error)}`, { cause: error });
    }
  }

  /** Tokens of the pod's service account for a driver that asks for them. */
  async #tokenAttributes(object: CSIDriver | undefined, p: Published): Promise<Readonly<Record<string, string>>> {
    const requests = object?.spec?.tokenRequests ?? [];
    if (requests.length === 0) return {};
    const out: Record<string, { token: string; expirationTimestamp: string }> = {};
    for (const r of requests) {
      const token = await p.tokens.get(p.pod, {
        ...(r.audience === '' ? {} : { audience: r.audience }),
        ...(r.expirationSeconds === undefined ? {} : { expirationSeconds: r.expirationSeconds }),
      });
      out[r.audience] = { token: token.value, expirationTimestamp: token.expires };
    }
    return { 'csi.storage.k8s.io/serviceAccount.tokens': JSON.stringify(out) };
  }

  async #cleanTarget(target: string, block: boolean): Promise<void> {
    const { host } = this.#ctx;
    // A driver must remove the target itself; not every one does.
    await host.unmountTree(target);
    await host.remove(target);
    if (!block) await host.remove(target.slice(0, target.lastIndexOf('/')));
  }

  // While mounted

  #arm(): void {
    if (this.#timer !== undefined || this.#stopped || this.#published.size === 0) return;
    this.#timer = this.#ctx.clock.setTimer(refreshMs, () => {
      this.#timer = undefined;
      void this.#ctx.clock.activity.track(this.#refreshAll()).finally(() => this.#arm());
    });
  }

  async #refreshAll(): Promise<void> {
    for (const p of this.#published.values()) {
      const name = p.data.specVolID;
      try {
        const object = await this.#drivers.object(p.data.driverName);
        if (object?.spec?.requiresRepublish === true) await this.#republish(p);
        if (p.bound !== undefined) await this.#grow(p);
      } catch (error) {
        this.#ctx.logger.warn('Failed to refresh volume', { volume: name, error });
      }
    }
  }

  /** The pod has another state: its tokens or labels may be other ones. */
  async refresh(pod: Pod, v: Volume, _tokens: PodTokens): Promise<void> {
    const p = this.#published.get(`${pod.metadata.uid}/${v.name}`);
    if (p !== undefined) p.pod = pod;
  }

  async #republish(p: Published): Promise<void> {
    await this.#exclusive(`csi/${p.data.driverName}^${p.data.volumeHandle}`, async () => {
      const driver = this.#drivers.get(p.data.driverName);
      const source = p.bound?.volume.spec?.csi;
      const context =
        source !== undefined && p.attached ? await this.#attachments.publishContext(source, p.data.attachmentID!) : {};
      const staging =
        source !== undefined && p.bound!.mode === 'Filesystem' && (await driver.can('STAGE_UNSTAGE_VOLUME'))
          ? stagingPath(this.#ctx.rootDir, source.driver, source.volumeHandle)
          : undefined;
      await this.#publish(driver, p, context, staging, false);
    });
  }

  async #grow(p: Published): Promise<void> {
    await growVolume(this.#ctx, this.#drivers.get(p.data.driverName), p.bound!, p.pod, p.target);
  }

  /** What a pod's volumes hold, as their drivers say; by the volume's name. */
  async stats(uid: string): Promise<ReadonlyMap<string, VolumeStats>> {
    const out = new Map<string, VolumeStats>();
    for (const [key, p] of this.#published) {
      if (!key.startsWith(`${uid}/`)) continue;
      const driver = this.#drivers.find(p.data.driverName);
      if (driver === undefined || !(await driver.can('GET_VOLUME_STATS'))) continue;
      out.set(p.volume.name, await driver.stats(p.data.volumeHandle, p.target, ''));
    }
    return out;
  }

  // Taking away

  /** Unpublishes a pod's volumes, and unstages those that no pod uses any more. */
  async tearDown(uid: string): Promise<void> {
    for (const found of await this.#ofPod(uid))
      await this.#exclusive(`csi/${found.data.driverName}^${found.data.volumeHandle}`, () =>
        this.#unpublish(uid, found),
      );
    for (const key of this.#published.keys()) if (key.startsWith(`${uid}/`)) this.#published.delete(key);
    this.#attachments.release(uid);
  }

  async #unpublish(
    uid: string,
    found: { readonly directory: string; readonly data: VolumeData; readonly block: boolean },
  ): Promise<void> {
    const { host, rootDir } = this.#ctx;
    const { data, directory, block } = found;
    const name = data.specVolID ?? directory.slice(directory.lastIndexOf('/') + 1);
    const driver = this.#drivers.need(
      data.driverName,
      block
        ? 'blockMapper.UnmapPodDevice failed to get CSI client: '
        : 'Unmounter.TearDownAt failed to get CSI client: ',
    );
    const target = block ? `${blockDir(rootDir)}/publish/${name}/${uid}` : `${directory}/mount`;
    try {
      await driver.unpublish(data.volumeHandle, target);
    } catch (error) {
      throw new Error(
        `${csiPrefix}${block ? 'blockMapper.unpublishVolumeForBlock' : 'Unmounter.TearDownAt'} failed: ${errorText(error)}`,
        { cause: error },
      );
    }
    // A driver must remove the target itself; not every one does.
    await host.unmountTree(target);
    await host.remove(target);
    const users = this.#usersOf(data);
    users.delete(uid);
    if (users.size === 0) {
      this.#users.delete(`${data.driverName}^${data.volumeHandle}`);
      if (data.volumeLifecycleMode !== 'Ephemeral') await this.#unstage(driver, data, block, name);
    }
    // Last, because it is by this note that the rest is found again.
    await host.remove(directory);
  }

  async #unstage(driver: CsiDriverClient, data: VolumeData, block: boolean, name: string): Promise<void> {
    const { host, rootDir } = this.#ctx;
    this.#staged.delete(`${data.driverName}^${data.volumeHandle}`);
    const path = block
      ? `${blockDir(rootDir)}/staging/${name}`
      : stagingPath(rootDir, data.driverName, data.volumeHandle);
    if ((await driver.can('STAGE_UNSTAGE_VOLUME')) && (await host.stat(path)) !== undefined) {
      try {
        await driver.unstage(data.volumeHandle, path);
      } catch (error) {
        throw new Error(
          `${csiPrefix}${block ? 'blockMapper.unstageVolumeForBlock' : 'attacher.UnmountDevice'} failed: ${errorText(error)}`,
          { cause: error },
        );
      }
    }
    await host.unmountTree(path);
    if (block) {
      await host.remove(path);
      await host.remove(`${blockDir(rootDir)}/publish/${name}`);
      await host.remove(`${blockDir(rootDir)}/${name}`);
    } else await host.remove(path.slice(0, path.lastIndexOf('/')));
  }
}

const dataOf = (source: CSIPersistentVolumeSource): VolumeData => ({
  driverName: source.driver,
  volumeHandle: source.volumeHandle,
});

/** Whether the kubelet gives the volume to the pod's group (CSIDriver's fsGroupPolicy). */
function appliesGroup(policy: string | undefined, fsType: string, pv: PersistentVolume | undefined): boolean {
  if (policy === 'None') return false;
  if (policy === 'File') return true;
  if (fsType === '') return false;
  if (pv === undefined) return true;
  return (pv.spec?.accessModes ?? []).some((m) => m === 'ReadWriteOnce' || m === 'ReadWriteOncePod');
}
