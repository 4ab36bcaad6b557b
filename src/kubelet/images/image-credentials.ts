/** Credentials for an image's registry, from the pod's pull secrets. */
import { createHash } from 'node:crypto';
import { parseImageName } from '../../api/helpers/image-name.ts';
import type { Pod, Secret } from '../../api/types/index.gen.ts';
import type { ObjectCache } from '../object-cache.ts';
import type { AuthConfig } from '../runtime/container-runtime.ts';
import { entriesFor, parseDockerConfig, type DockerEntry } from './docker-config.ts';
import type { PullSecret } from './pull-records.ts';

export interface ImageCredential {
  readonly auth: AuthConfig;
  /** Undefined: the node's own, good for all pods. */
  readonly secret: PullSecret | undefined;
}

/** The text of a pull secret, and its form. Undefined: it is none, or empty. */
function configOf({ type, data = {} }: Secret): [text: string, form: 'config.json' | '.dockercfg'] | undefined {
  const json = type === 'kubernetes.io/dockerconfigjson';
  const encoded = json
    ? data['.dockerconfigjson']
    : type === 'kubernetes.io/dockercfg'
      ? data['.dockercfg']
      : undefined;
  if (encoded === undefined || encoded === '') return undefined;
  return [Buffer.from(encoded, 'base64').toString(), json ? 'config.json' : '.dockercfg'];
}

/**
 * What the pod's pull secrets say about the image's registry; `missing` is told of those that cannot be read.
 * @throws {Error} one of them is wrong, which ends the pull, as upstream
 */
export async function imageCredentials(
  objects: ObjectCache,
  pod: Pod,
  image: string,
  missing: (names: readonly string[]) => void,
): Promise<ImageCredential[]> {
  const entries: (DockerEntry & { readonly secret: Secret })[] = [];
  const absent: string[] = [];
  const namespace = pod.metadata.namespace!;
  for (const ref of pod.spec?.imagePullSecrets ?? []) {
    if (ref.name === undefined || ref.name === '') continue;
    // The pull is tried without it, as upstream's is; which could not be had is told below.
    const secret = await objects.secret(namespace, ref.name).catch(() => undefined);
    if (secret === undefined) {
      absent.push(ref.name);
      continue;
    }
    const config = configOf(secret);
    if (config !== undefined) for (const entry of parseDockerConfig(...config)) entries.push({ ...entry, secret });
  }
  if (absent.length > 0) missing(absent);
  return entriesFor(entries, parseImageName(image)?.repository ?? image).map(({ auth, secret }) => ({
    auth,
    secret: {
      uid: secret.metadata.uid ?? '',
      namespace,
      name: secret.metadata.name!,
      credentialHash: createHash('sha256').update(JSON.stringify(auth)).digest('hex'),
    },
  }));
}
