/** Credentials for an image's registry, from the pod's pull secrets. */
import { createHash } from 'node:crypto';
import { parseImageName } from '../../api/helpers/image-name.ts';
import type { Pod } from '../../api/types/index.gen.ts';
import type { ObjectCache } from '../object-cache.ts';
import type { PullSecret } from './pull-records.ts';
import type { AuthConfig } from '../runtime/container-runtime.ts';

export interface ImageCredential {
  readonly auth: AuthConfig;
  /** Undefined: the node's own, good for all pods. */
  readonly secret: PullSecret | undefined;
}

/** What the pod's pull secrets say about the image's registry; `missing` is told of those that cannot be read. */
export async function imageCredentials(
  objects: ObjectCache,
  pod: Pod,
  image: string,
  missing: (names: readonly string[]) => void,
): Promise<ImageCredential[]> {
  const out: ImageCredential[] = [];
  const absent: string[] = [];
  const name = parseImageName(image);
  const namespace = pod.metadata.namespace!;
  for (const ref of pod.spec?.imagePullSecrets ?? []) {
    if (ref.name === undefined || ref.name === '') continue;
    // The pull is tried without it, as upstream's is; which could not be had is told below.
    const secret = await objects.secret(namespace, ref.name).catch(() => undefined);
    if (secret === undefined) {
      absent.push(ref.name);
      continue;
    }
    const data = secret.data?.['.dockerconfigjson'] ?? secret.data?.['.dockercfg'];
    if (data === undefined) continue;
    for (const auth of matchingAuth(Buffer.from(data, 'base64').toString(), image, name))
      out.push({
        auth,
        secret: {
          uid: secret.metadata.uid ?? '',
          namespace,
          name: ref.name,
          credentialHash: createHash('sha256').update(JSON.stringify(auth)).digest('hex'),
        },
      });
  }
  if (absent.length > 0) missing(absent);
  return out;
}

function matchingAuth(json: string, image: string, name: ReturnType<typeof parseImageName>): AuthConfig[] {
  let auths: Record<string, { username?: string; password?: string; auth?: string; identitytoken?: string }>;
  try {
    const parsed = JSON.parse(json) as { auths?: typeof auths } & typeof auths;
    auths = parsed.auths ?? parsed;
  } catch {
    // The API server takes no such secret of these types; one of another type holds no credentials.
    return [];
  }
  const first = image.split('/')[0]!;
  const host = image.includes('/') && /[.:]|^localhost$/.test(first) ? first : 'docker.io';
  const path =
    name === undefined
      ? image
      : `${host}/${image.startsWith(`${first}/`) && host === first ? image.slice(first.length + 1) : image}`;
  const out: { key: string; auth: AuthConfig }[] = [];
  for (const [key, value] of Object.entries(auths)) {
    const bare = key
      .replace(/^https?:\/\//, '')
      .replace(/\/+$/, '')
      .replace(/^index\.docker\.io(\/v[12])?$/, 'docker.io')
      .replace(/^registry-1\.docker\.io$/, 'docker.io');
    if (bare !== host && !path.startsWith(`${bare}/`) && !path.startsWith(`${bare}:`)) continue;
    let { username, password } = value;
    if (username === undefined && value.auth !== undefined) {
      const decoded = Buffer.from(value.auth, 'base64').toString();
      const colon = decoded.indexOf(':');
      username = decoded.slice(0, colon);
      password = decoded.slice(colon + 1);
    }
    out.push({
      key: bare,
      // The registry's address is not told, as upstream: runtimes take it for a URL, and know whom they ask.
      auth: { username, password, identityToken: value.identitytoken },
    });
  }
  // The most exact registry entry first.
  return out.sort((a, b) => b.key.length - a.key.length).map((o) => o.auth);
}
