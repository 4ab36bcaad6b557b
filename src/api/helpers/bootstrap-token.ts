/**
 * Bootstrap tokens, `id.secret`, kept as Secrets of kube-system: what both the API server, which takes them for a login, and the
 * controllers, which sign `cluster-info` with them and clear them away, have to read of them.
 * https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/
 */
import { createHmac } from 'node:crypto';
import type { ConfigMap, Secret } from '../types/index.gen.ts';

export const bootstrapTokenSecretType = 'bootstrap.kubernetes.io/token';
export const bootstrapTokenSecretPrefix = 'bootstrap-token-';
export const bootstrappersGroup = 'system:bootstrappers';
/** The ConfigMap of kube-public whose kubeconfig is signed. */
export const clusterInfoName = 'cluster-info';
export const signaturePrefix = 'jws-kubeconfig-';

const groupPattern = /^system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]$/;

/** Undefined for what is no bootstrap token. */
export function parseBootstrapToken(token: string): { readonly id: string; readonly secret: string } | undefined {
  const found = /^([a-z0-9]{6})\.([a-z0-9]{16})$/.exec(token);
  return found === null ? undefined : { id: found[1]!, secret: found[2]! };
}

/** A member of a Secret's data as text; '' when it is not there. */
export function tokenData(secret: Pick<Secret, 'data'>, key: string): string {
  const value = secret.data?.[key];
  return value === undefined ? '' : Buffer.from(value, 'base64').toString('utf8');
}

/** Milliseconds until the token expires; Infinity when it does not, 0 when it has or its time cannot be read. */
export function tokenTimeLeft(secret: Pick<Secret, 'data'>, now: number): number {
  const text = tokenData(secret, 'expiration');
  if (text === '') return Infinity;
  const at = /^\d{4}-\d\d-\d\dT/.test(text) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(at) ? 0 : Math.max(0, at - now);
}

/** The groups of a token's user; undefined when the Secret names one that may not be. */
export function tokenGroups(secret: Pick<Secret, 'data'>): string[] | undefined {
  const groups = new Set([bootstrappersGroup]);
  const extra = tokenData(secret, 'auth-extra-groups');
  if (extra !== '')
    for (const group of extra.split(',')) {
      if (!groupPattern.test(group)) return undefined;
      groups.add(group);
    }
  return [...groups].sort();
}

/** A detached JWS (RFC 7515, appendix F) over a kubeconfig, by HS256 with the token's secret. */
export function signClusterInfo(kubeconfig: string, id: string, secret: string): string {
  const base64url = (text: string): string => Buffer.from(text, 'utf8').toString('base64url');
  const header = base64url(`{"alg":"HS256","kid":"${id}"}`);
  const signature = createHmac('sha256', secret)
    .update(`${header}.${base64url(kubeconfig)}`)
    .digest('base64url');
  return `${header}..${signature}`;
}

/** The kubeconfig of a `cluster-info`, when it bears this token's signature. */
export function verifiedClusterInfo(map: ConfigMap, id: string, secret: string): string | undefined {
  const kubeconfig = map.data?.['kubeconfig'];
  if (kubeconfig === undefined) return undefined;
  return map.data?.[signaturePrefix + id] === signClusterInfo(kubeconfig, id, secret) ? kubeconfig : undefined;
}
