/** What stands in configuration volumes: the files of configMap, secret, downwardAPI and projected sources. */
import type {
  ConfigMapProjection,
  DownwardAPIVolumeFile,
  KeyToPath,
  Pod,
  PodCertificateProjection,
  SecretProjection,
  Volume,
} from '../../api/types/index.gen.ts';
import type { KubeletContext } from '../context.ts';
import { fieldValue, resourceValue } from '../downward.ts';
import type { PodRuntimeFields } from '../downward.ts';
import type { PayloadFile } from '../host/node-host.ts';
import type { ObjectKind } from '../object-cache.ts';
import { errorText, isMissing } from '../object-cache.ts';
import type { OwnKind } from './layout.ts';
import type { PodTokens } from './tokens.ts';
import { trustAnchors } from './trust-anchors.ts';

const defaultMode = 0o644;

export interface PayloadInput {
  readonly ctx: KubeletContext;
  readonly pod: Pod;
  readonly fields: PodRuntimeFields;
  tokens(): PodTokens;
  /** Told of each object that the content depends on. */
  follow(kind: ObjectKind, name: string): void;
  /** To be called when the content is another one. */
  changed(): void;
}

/** The files of a volume. Rejects with upstream's text when a source is missing. */
export async function volumePayload(input: PayloadInput, v: Volume, kind: OwnKind): Promise<readonly PayloadFile[]> {
  switch (kind) {
    case 'configMap':
      return configMap(input, v.configMap!, v.configMap!.defaultMode ?? defaultMode);
    case 'secret': {
      const s = v.secret!;
      const source = { name: s.secretName, items: s.items, optional: s.optional };
      return secret(input, source, s.defaultMode ?? defaultMode);
    }
    case 'downwardAPI':
      return downward(input, v.downwardAPI?.items, v.downwardAPI?.defaultMode ?? defaultMode);
    case 'projected':
      return projected(input, v);
    default:
      return [];
  }
}

async function projected(input: PayloadInput, v: Volume): Promise<readonly PayloadFile[]> {
  const files = new Map<string, PayloadFile>();
  const errors: string[] = [];
  const mode = v.projected?.defaultMode ?? defaultMode;
  for (const index of (v.projected?.sources ?? []).keys()) {
    try {
      for (const f of await projection(input, v, index, mode)) files.set(f.path, f);
    } catch (error) {
      errors.push(errorText(error));
    }
  }
  // Every source is tried, so that one message names all that is missing.
  if (errors.length === 1) throw new Error(errors[0]);
  if (errors.length > 1) throw new Error(`[${[...new Set(errors)].join(', ')}]`);
  return [...files.values()];
}

async function projection(
  input: PayloadInput,
  v: Volume,
  index: number,
  mode: number,
): Promise<readonly PayloadFile[]> {
  const s = v.projected!.sources![index]!;
  if (s.configMap !== undefined) return configMap(input, s.configMap, mode);
  if (s.secret !== undefined) return secret(input, s.secret, mode);
  if (s.downwardAPI !== undefined) return downward(input, s.downwardAPI.items, mode);
  if (s.serviceAccountToken !== undefined) {
    const { value } = await input.tokens().get(input.pod, s.serviceAccountToken);
    return [{ path: s.serviceAccountToken.path, data: value, ...credential(input.pod, mode) }];
  }
  if (s.clusterTrustBundle !== undefined) {
    const data = await trustAnchors(input.ctx.client, s.clusterTrustBundle);
    return [{ path: s.clusterTrustBundle.path, data, ...credential(input.pod, mode) }];
  }
  if (s.podCertificate !== undefined) return podCertificate(input, v, s.podCertificate, index, mode);
  return [];
}

/** Key and certificates in one file, or in one each. */
async function podCertificate(
  input: PayloadInput,
  v: Volume,
  source: PodCertificateProjection,
  index: number,
  mode: number,
): Promise<readonly PayloadFile[]> {
  const { key, chain } = await input.ctx.volumes.certificates.bundle(input.pod, v.name, index, source, input.changed);
  const file = (path: string | undefined, data: string): PayloadFile[] =>
    path === undefined || path === '' ? [] : [{ path, data, ...credential(input.pod, mode) }];
  return [
    ...file(source.credentialBundlePath, key + chain),
    ...file(source.keyPath, key),
    ...file(source.certificateChainPath, chain),
  ];
}

/** Mode and owner of a file that only the pod's own user may read. */
function credential(pod: Pod, mode: number): { mode: number; uid?: number } {
  const uid = commonUser(pod);
  if (uid !== undefined) return { mode: 0o600, uid };
  return { mode: pod.spec?.securityContext?.fsGroup === undefined ? mode : 0o600 };
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

async function configMap(
  input: PayloadInput,
  source: ConfigMapProjection,
  mode: number,
): Promise<readonly PayloadFile[]> {
  const name = source.name!;
  input.follow('configmaps', name);
  let data: Record<string, Uint8Array | string> = {};
  try {
    const cm = await input.ctx.objects.configMap(input.pod.metadata.namespace!, name);
    data = { ...cm.data };
    for (const k in cm.binaryData) data[k] = Buffer.from(cm.binaryData[k]!, 'base64');
  } catch (error) {
    if (!isMissing(error) || source.optional !== true) throw error;
  }
  return select(
    data,
    source.items,
    mode,
    source.optional === true,
    (key) => `configmap references non-existent config key: ${key}`,
  );
}

async function secret(input: PayloadInput, source: SecretProjection, mode: number): Promise<readonly PayloadFile[]> {
  const name = source.name!;
  input.follow('secrets', name);
  const data: Record<string, Uint8Array> = {};
  try {
    const object = await input.ctx.objects.secret(input.pod.metadata.namespace!, name);
    for (const k in object.data) data[k] = Buffer.from(object.data[k]!, 'base64');
  } catch (error) {
    if (!isMissing(error) || source.optional !== true) throw error;
  }
  return select(
    data,
    source.items,
    mode,
    source.optional === true,
    (key) => `references non-existent secret key: ${key}`,
  );
}

function downward(
  input: PayloadInput,
  items: readonly DownwardAPIVolumeFile[] | undefined,
  mode: number,
): readonly PayloadFile[] {
  return (items ?? []).map((i) => ({
    path: i.path,
    mode: i.mode ?? mode,
    data:
      i.fieldRef !== undefined
        ? fieldValue(i.fieldRef, input.pod, input.fields)
        : resourceValue(i.resourceFieldRef!, input.pod, input.fields),
  }));
}

function select(
  data: Readonly<Record<string, Uint8Array | string>>,
  items: readonly KeyToPath[] | undefined,
  mode: number,
  optional: boolean,
  missing: (key: string) => string,
): readonly PayloadFile[] {
  if (items === undefined || items.length === 0)
    return Object.keys(data).map((k) => ({ path: k, data: data[k]!, mode }));
  const out: PayloadFile[] = [];
  for (const i of items) {
    const value = data[i.key];
    if (value === undefined) {
      if (optional) continue;
      throw new Error(missing(i.key));
    }
    out.push({ path: i.path, data: value, mode: i.mode ?? mode });
  }
  return out;
}
