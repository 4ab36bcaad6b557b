/**
 * The volumes of one pod: configMap, secret, projected, downwardAPI, emptyDir, hostPath, image. Content is written through
 * `NodeHost`, kept up to date while the pod runs, and removed with it.
 */
import type { Timer } from '../base/clock.ts';
import type {
  ConfigMapProjection,
  DownwardAPIVolumeFile,
  KeyToPath,
  Pod,
  SecretProjection,
  ServiceAccountTokenProjection,
  TokenRequest,
  Volume,
  VolumeProjection,
} from '../api/types/index.gen.ts';
import { parseQuantity, quantityValue } from '../api/quantity.ts';
import type { KubeletContext } from './context.ts';
import { podDir } from './context.ts';
import { fieldValue, resourceValue } from './downward.ts';
import type { PodRuntimeFields } from './downward.ts';
import type { FileStat, LazyItem, PayloadFile } from './host/node-host.ts';
import type { ObjectKind } from './object-cache.ts';
import { errorText, isMissing } from './object-cache.ts';

/** A volume could not be set up; the message is upstream's FailedMount text. */
export class MountError extends Error {
  readonly volume: string;

  constructor(volume: string, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'MountError';
    this.volume = volume;
  }
}

const plugin: Readonly<Record<string, string>> = {
  configMap: 'kubernetes.io~configmap',
  secret: 'kubernetes.io~secret',
  projected: 'kubernetes.io~projected',
  downwardAPI: 'kubernetes.io~downward-api',
  emptyDir: 'kubernetes.io~empty-dir',
};

const defaultMode = 0o644;
/** A token is renewed when 80 % of its life, or a day, has passed. */
const tokenRenewShare = 0.8;
const tokenMaxAgeMs = 24 * 3_600_000;
const lazyMaxAgeMs = 60_000;

interface Token {
  readonly value: string;
  readonly renewAt: number;
}

type Kind = 'configMap' | 'secret' | 'projected' | 'downwardAPI' | 'emptyDir';

/** What one pod's volumes hold while it is on the node. */
export class PodVolumes {
  readonly #ctx: KubeletContext;
  readonly #uid: string;
  readonly #changed: () => void;
  #ready = false;
  #follows: Map<string, () => void> | undefined;
  #tokens: Map<string, Token> | undefined;
  #timer: Timer | undefined;
  #mounted: string[] | undefined;
  /** Where the claims' volumes are, by volume name. */
  #claims: Map<string, string> | undefined;

  /** `changed` is called when a source of a mounted volume has changed. */
  constructor(ctx: KubeletContext, uid: string, changed: () => void) {
    this.#ctx = ctx;
    this.#uid = uid;
    this.#changed = changed;
  }

  /** The node's path of a volume; undefined for one that has none (image volumes). */
  path(volume: Volume): string | undefined {
    if (volume.hostPath !== undefined) return volume.hostPath.path;
    if (claimName(volume, '') !== undefined) return this.#claims?.get(volume.name);
    const kind = kindOf(volume);
    if (kind === undefined) return undefined;
    return `${podDir(this.#ctx, this.#uid)}/volumes/${plugin[kind]}/${volume.name}`;
  }

  /** Sets up what is missing and refreshes what changed. Rejects with the first `MountError`. */
  async ensure(pod: Pod, fields: PodRuntimeFields): Promise<void> {
    const errors: MountError[] = [];
    for (const v of pod.spec?.volumes ?? []) {
      try {
        await this.#one(pod, v, fields);
      } catch (error) {
        const error_ =
          error instanceof MountError
            ? error
            : new MountError(v.name, `MountVolume.SetUp failed for volume "${v.name}" : ${errorText(error)}`, {
                cause: error,
              });
        errors.push(error_);
      }
    }
    if (errors[0] !== undefined) throw errors[0];
    this.#ready = true;
    this.#armTokenTimer();
  }

  get ready(): boolean {
    return this.#ready;
  }

  async #one(pod: Pod, v: Volume, fields: PodRuntimeFields): Promise<void> {
    const { host } = this.#ctx;
    if (v.hostPath !== undefined) return this.#hostPath(v.hostPath.path, v.hostPath.type ?? '');
    if (v.image !== undefined) return;
    const claim = claimName(v, pod.metadata.name!);
    if (claim !== undefined) return this.#claim(pod, v, claim);
    const kind = kindOf(v);
    if (kind === undefined) throw new Error(`no volume plugin matched name ${volumeType(v)}`);
    const path = this.path(v)!;
    if (kind === 'emptyDir') {
      if (this.#ready) return;
      await host.mkdir(path, 0o777);
      if (v.emptyDir?.medium === 'Memory') {
        const limit = v.emptyDir.sizeLimit;
        const options = limit === undefined ? [] : [`size=${quantityValue(parseQuantity(limit as string))}`];
        await host.mount('tmpfs', path, { fsType: 'tmpfs', options });
        (this.#mounted ??= []).push(path);
      }
      await this.#ownership(pod, path);
      return;
    }
    // Made when somebody looks: see `lazyContent`.
    if (host.lazy !== undefined && isApiAccess(v)) return;
    const files = await this.#payload(pod, v, kind, fields, true);
    await host.writeAtomic(path, files);
    if (!this.#ready) await this.#ownership(pod, path);
  }

  /** The content of a volume that is made when it is first looked into; undefined when the path is no such volume's. */
  lazyContent(pod: Pod, path: string, fields: PodRuntimeFields): Promise<LazyItem> | undefined {
    for (const v of pod.spec?.volumes ?? []) {
      if (v.projected === undefined || !isApiAccess(v)) continue;
      const own = this.path(v)!;
      if (path !== own && !path.startsWith(`${own}/`)) continue;
      return this.#payload(pod, v, 'projected', fields, false).then((files) => ({
        path: own,
        files,
        maxAgeMs: lazyMaxAgeMs,
      }));
    }
    return undefined;
  }

  /** A PersistentVolumeClaim whose volume is a path of this node. */
  async #claim(pod: Pod, v: Volume, name: string): Promise<void> {
    if (this.#claims?.has(v.name)) return;
    const { core } = this.#ctx.client;
    const claim = await core.persistentvolumeclaims.get(name, pod.metadata.namespace);
    const bound = claim.spec?.volumeName;
    if (bound === undefined || bound === '' || claim.status?.phase !== 'Bound')
      throw new Error(`PVC ${pod.metadata.namespace}/${name} is not bound`);
    const spec = (await core.persistentvolumes.get(bound)).spec;
    const path = spec?.hostPath?.path ?? spec?.local?.path;
    if (path === undefined) throw new Error(`no volume plugin matched name ${bound}`);
    await this.#hostPath(path, spec?.hostPath?.type ?? '');
    await this.#ownership(pod, path);
    (this.#claims ??= new Map()).set(v.name, path);
  }

  async #ownership(pod: Pod, path: string): Promise<void> {
    const gid = pod.spec?.securityContext?.fsGroup;
    if (gid === undefined) return;
    const policy = pod.spec?.securityContext?.fsGroupChangePolicy === 'OnRootMismatch' ? 'OnRootMismatch' : 'Always';
    await this.#ctx.host.setVolumeOwnership(path, gid, policy);
  }

  async #hostPath(path: string, type: string): Promise<void> {
    if (type === '') {
      // The runtime wants the source of a bind mount to exist, and creates none.
      if ((await this.#ctx.host.stat(path)) === undefined) await this.#ctx.host.mkdir(path);
      return;
    }
    const { host } = this.#ctx;
    const stat = await host.stat(path);
    const wanted: Record<string, FileStat['type']> = {
      Directory: 'directory',
      File: 'file',
      Socket: 'socket',
      CharDevice: 'charDevice',
      BlockDevice: 'blockDevice',
    };
    const words: Record<string, string> = {
      Directory: 'directory',
      File: 'file',
      Socket: 'socket',
      CharDevice: 'character device',
      BlockDevice: 'block device',
    };
    if (type === 'DirectoryOrCreate') {
      if (stat === undefined) await host.mkdir(path, 0o755);
      else if (stat.type !== 'directory') throw new Error(`hostPath type check failed: ${path} is not a directory`);
    } else if (type === 'FileOrCreate') {
      if (stat === undefined) await host.writeFile(path, '', 0o644);
      else if (stat.type !== 'file') throw new Error(`hostPath type check failed: ${path} is not a file`);
    } else if (wanted[type] === undefined) throw new Error(`${type} is an invalid volume type`);
    else if (stat?.type !== wanted[type])
      throw new Error(`hostPath type check failed: ${path} is not a ${words[type]}`);
  }

  #follow(kind: ObjectKind, pod: Pod, name: string): void {
    const key = `${kind}/${name}`;
    this.#follows ??= new Map();
    if (!this.#follows.has(key))
      this.#follows.set(key, this.#ctx.objects.follow(kind, pod.metadata.namespace!, name, this.#changed));
  }

  async #payload(pod: Pod, v: Volume, kind: Kind, fields: PodRuntimeFields, follow: boolean): Promise<PayloadFile[]> {
    const files = new Map<string, PayloadFile>();
    const add = (more: readonly PayloadFile[]) => {
      for (const f of more) files.set(f.path, f);
    };
    if (kind === 'configMap')
      add(await this.#configMap(pod, v.configMap!, v.configMap!.defaultMode ?? defaultMode, follow));
    else if (kind === 'secret') {
      const s = v.secret!;
      add(
        await this.#secret(
          pod,
          { name: s.secretName, items: s.items, optional: s.optional },
          s.defaultMode ?? defaultMode,
          follow,
        ),
      );
    } else if (kind === 'downwardAPI')
      add(this.#downward(pod, v.downwardAPI?.items, v.downwardAPI?.defaultMode ?? defaultMode, fields));
    else
      for (const source of v.projected?.sources ?? [])
        add(await this.#projection(pod, source, v.projected?.defaultMode ?? defaultMode, fields, follow));
    return [...files.values()];
  }

  async #projection(
    pod: Pod,
    s: VolumeProjection,
    mode: number,
    fields: PodRuntimeFields,
    follow: boolean,
  ): Promise<PayloadFile[]> {
    if (s.configMap !== undefined) return this.#configMap(pod, s.configMap, mode, follow);
    if (s.secret !== undefined) return this.#secret(pod, s.secret, mode, follow);
    if (s.downwardAPI !== undefined) return this.#downward(pod, s.downwardAPI.items, mode, fields);
    if (s.serviceAccountToken !== undefined) return [await this.#token(pod, s.serviceAccountToken, mode)];
    if (s.clusterTrustBundle !== undefined) return this.#trustBundle(s.clusterTrustBundle, mode);
    throw new Error('unsupported projection');
  }

  async #configMap(pod: Pod, source: ConfigMapProjection, mode: number, follow: boolean): Promise<PayloadFile[]> {
    const name = source.name!;
    if (follow) this.#follow('configmaps', pod, name);
    let data: Record<string, Uint8Array | string> = {};
    try {
      const cm = await this.#ctx.objects.configMap(pod.metadata.namespace!, name);
      data = { ...cm.data };
      for (const k in cm.binaryData) data[k] = Buffer.from(cm.binaryData[k]!, 'base64');
    } catch (error) {
      if (!isMissing(error) || source.optional !== true) throw error;
    }
    return select(data, source.items, mode, source.optional === true, 'configmap references non-existent config key');
  }

  async #secret(pod: Pod, source: SecretProjection, mode: number, follow: boolean): Promise<PayloadFile[]> {
    const name = source.name!;
    if (follow) this.#follow('secrets', pod, name);
    const data: Record<string, Uint8Array> = {};
    try {
      const secret = await this.#ctx.objects.secret(pod.metadata.namespace!, name);
      for (const k in secret.data) data[k] = Buffer.from(secret.data[k]!, 'base64');
    } catch (error) {
      if (!isMissing(error) || source.optional !== true) throw error;
    }
    return select(data, source.items, mode, source.optional === true, 'references non-existent secret key');
  }

  #downward(
    pod: Pod,
    items: readonly DownwardAPIVolumeFile[] | undefined,
    mode: number,
    fields: PodRuntimeFields,
  ): PayloadFile[] {
    return (items ?? []).map((i) => ({
      path: i.path,
      mode: i.mode ?? mode,
      data:
        i.fieldRef !== undefined
          ? fieldValue(i.fieldRef, pod, fields)
          : resourceValue(i.resourceFieldRef!, pod, fields),
    }));
  }

  async #trustBundle(
    source: NonNullable<VolumeProjection['clusterTrustBundle']>,
    mode: number,
  ): Promise<PayloadFile[]> {
    if (source.optional === true) return [{ path: source.path, data: '', mode }];
    throw new Error('ClusterTrustBundle projections are not enabled on this node');
  }

  async #token(pod: Pod, source: ServiceAccountTokenProjection, mode: number): Promise<PayloadFile> {
    const { clock, client } = this.#ctx;
    const key = `${source.audience ?? ''}/${source.expirationSeconds ?? 3600}`;
    let token = this.#tokens?.get(key);
    if (token === undefined || clock.now() >= token.renewAt) {
      const seconds = source.expirationSeconds ?? 3600;
      const request = {
        apiVersion: 'authentication.k8s.io/v1',
        kind: 'TokenRequest',
        metadata: {},
        spec: {
          audiences: source.audience === undefined || source.audience === '' ? [] : [source.audience],
          expirationSeconds: seconds,
          boundObjectRef: { apiVersion: 'v1', kind: 'Pod', name: pod.metadata.name, uid: pod.metadata.uid },
        },
      };
      try {
        const answer = await client.core.serviceaccounts.createSubresource<TokenRequest>(
          pod.spec?.serviceAccountName ?? 'default',
          pod.metadata.namespace,
          'token',
          request,
        );
        const expires = Date.parse(answer.status?.expirationTimestamp ?? '');
        const life = Number.isNaN(expires) ? seconds * 1000 : expires - clock.now();
        token = {
          value: answer.status?.token ?? '',
          renewAt: clock.now() + Math.min(life * tokenRenewShare, tokenMaxAgeMs),
        };
      } catch (error) {
        // An old token that is still good is better than none.
        if (token === undefined) throw new Error(`failed to fetch token: ${errorText(error)}`, { cause: error });
        token = { value: token.value, renewAt: clock.now() + 60_000 };
      }
      (this.#tokens ??= new Map()).set(key, token);
    }
    const gid = pod.spec?.securityContext?.fsGroup;
    const uid = gid === undefined ? commonUser(pod) : undefined;
    return {
      path: source.path,
      data: token.value,
      mode: uid !== undefined ? 0o600 : gid !== undefined ? 0o600 : mode,
      uid,
    };
  }

  #armTokenTimer(): void {
    if (this.#tokens === undefined || this.#ctx.host.lazy !== undefined) return;
    let at = Infinity;
    for (const t of this.#tokens.values()) at = Math.min(at, t.renewAt);
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

  /** Unmounts and removes everything. */
  async remove(): Promise<void> {
    this.stop();
    for (const m of this.#mounted ?? []) await this.#ctx.host.unmount(m);
    this.#mounted = undefined;
    this.#tokens = undefined;
  }
}

function kindOf(v: Volume): Kind | undefined {
  if (v.configMap !== undefined) return 'configMap';
  if (v.secret !== undefined) return 'secret';
  if (v.projected !== undefined) return 'projected';
  if (v.downwardAPI !== undefined) return 'downwardAPI';
  if (v.emptyDir !== undefined) return 'emptyDir';
  return undefined;
}

/** The claim behind a volume: a named one, or the one made for an ephemeral volume of the pod. */
function claimName(v: Volume, pod: string): string | undefined {
  return v.persistentVolumeClaim?.claimName ?? (v.ephemeral === undefined ? undefined : `${pod}-${v.name}`);
}

function volumeType(v: Volume): string {
  return Object.keys(v).find((k) => k !== 'name') ?? 'unknown';
}

/** The volume that admission adds to every pod for its service account: nothing in it can fail in an interesting way. */
function isApiAccess(v: Volume): boolean {
  if (!v.name.startsWith('kube-api-access-')) return false;
  return (v.projected?.sources ?? []).every(
    (s) =>
      s.serviceAccountToken !== undefined || s.downwardAPI !== undefined || s.configMap?.name === 'kube-root-ca.crt',
  );
}

/** The one user that all containers run as; undefined when there is none. */
function commonUser(pod: Pod): number | undefined {
  const users = new Set(
    [...(pod.spec?.initContainers ?? []), ...pod.spec!.containers].map(
      (c) => c.securityContext?.runAsUser ?? pod.spec?.securityContext?.runAsUser,
    ),
  );
  return users.size === 1 ? [...users][0] : undefined;
}

function select(
  data: Readonly<Record<string, Uint8Array | string>>,
  items: readonly KeyToPath[] | undefined,
  mode: number,
  optional: boolean,
  missing: string,
): PayloadFile[] {
  if (items === undefined || items.length === 0)
    return Object.keys(data).map((k) => ({ path: k, data: data[k]!, mode }));
  const out: PayloadFile[] = [];
  for (const i of items) {
    const value = data[i.key];
    if (value === undefined) {
      if (optional) continue;
      throw new Error(`${missing}: ${i.key}`);
    }
    out.push({ path: i.path, data: value, mode: i.mode ?? mode });
  }
  return out;
}
