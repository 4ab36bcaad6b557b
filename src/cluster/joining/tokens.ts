/** Bootstrap tokens from the side of who hands them out: made, listed and revoked as Secrets of kube-system, as `kubeadm token` does. */
import { createHash, X509Certificate } from 'node:crypto';
import type { Clock } from '../../base/clock.ts';
import type { Random } from '../../base/random.ts';
import {
  bootstrapTokenSecretPrefix,
  bootstrapTokenSecretType,
  parseBootstrapToken,
  tokenData,
  tokenTimeLeft,
} from '../../api/helpers/bootstrap-token.ts';
import { formatTime } from '../../api/time.ts';
import { isNotFound } from '../../client/errors.ts';
import type { TypedClient } from '../../client/typed-client.ts';
import { nodeTokenGroup } from '../addons.ts';

const alphabet = 'abcdefghijklmnopqrstuvwxyz0123456789';

function randomText(random: Random, length: number): string {
  let text = '';
  while (text.length < length)
    // Values that would make some letters likelier are thrown again.
    for (const b of random.bytes(length)) if (b < 252 && text.length < length) text += alphabet[b % 36];
  return text;
}

export interface TokenInfo {
  readonly id: string;
  /** `id.secret` */
  readonly token: string;
  /** Milliseconds left; Infinity when it does not expire. */
  readonly timeLeft: number;
  readonly expires: string;
  readonly usages: readonly string[];
  readonly description: string;
  readonly groups: string;
}

export interface NewToken {
  /** `id.secret`; made when left out. */
  readonly token?: string;
  /** 0: it does not expire. */
  readonly ttlMs: number;
  readonly description?: string;
}

/** Makes a token that machines can join with. @throws Error for a text that is no token */
export async function createToken(
  client: TypedClient,
  clock: Clock,
  random: Random,
  wanted: NewToken,
): Promise<string> {
  const token = wanted.token ?? `${randomText(random, 6)}.${randomText(random, 16)}`;
  const parsed = parseBootstrapToken(token);
  if (parsed === undefined)
    throw new Error(
      `the bootstrap token ${JSON.stringify(token.slice(0, 6))}… is not of the form [a-z0-9]{6}.[a-z0-9]{16}`,
    );
  await client.core.secrets.create({
    metadata: { name: bootstrapTokenSecretPrefix + parsed.id, namespace: 'kube-system' },
    type: bootstrapTokenSecretType,
    stringData: {
      'token-id': parsed.id,
      'token-secret': parsed.secret,
      'usage-bootstrap-authentication': 'true',
      'usage-bootstrap-signing': 'true',
      'auth-extra-groups': nodeTokenGroup,
      ...(wanted.ttlMs === 0 ? {} : { expiration: formatTime(clock.now() + wanted.ttlMs) }),
      ...(wanted.description === undefined ? {} : { description: wanted.description }),
    },
  });
  return token;
}

export async function listTokens(client: TypedClient, clock: Clock): Promise<TokenInfo[]> {
  const { items } = await client.core.secrets.list({
    namespace: 'kube-system',
    fieldSelector: `type=${bootstrapTokenSecretType}`,
  });
  return items.map((secret) => ({
    id: tokenData(secret, 'token-id'),
    token: `${tokenData(secret, 'token-id')}.${tokenData(secret, 'token-secret')}`,
    timeLeft: tokenTimeLeft(secret, clock.now()),
    expires: tokenData(secret, 'expiration'),
    usages: ['authentication', 'signing'].filter((u) => tokenData(secret, `usage-bootstrap-${u}`) === 'true'),
    description: tokenData(secret, 'description'),
    groups: tokenData(secret, 'auth-extra-groups'),
  }));
}

/** Revokes a token, named by itself or its id. False: there was none. */
export async function deleteToken(client: TypedClient, tokenOrId: string): Promise<boolean> {
  try {
    await client.core.secrets.delete(bootstrapTokenSecretPrefix + tokenOrId.split('.')[0]!, 'kube-system');
    return true;
  } catch (error) {
    if (isNotFound(error)) return false;
    throw error;
  }
}

/** `sha256:…` of an authority's public key, as `kubeadm join --discovery-token-ca-cert-hash` takes it. */
export function publicKeyHash(certificatePem: string): string {
  const key = new X509Certificate(certificatePem).publicKey.export({ type: 'spki', format: 'der' });
  return `sha256:${createHash('sha256').update(key).digest('hex')}`;
}
