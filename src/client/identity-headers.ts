/** The headers by which a request says who makes it, and whom it acts for. */
import type { ConnectionConfig } from './kubeconfig.ts';

/** `token` goes before a password. */
export function identityHeaders(
  config: Pick<ConnectionConfig, 'username' | 'password' | 'impersonate'>,
  token: string | undefined,
): Record<string, string | readonly string[]> {
  const headers: Record<string, string | readonly string[]> = {};
  if (token !== undefined && token !== '') headers['authorization'] = `Bearer ${token}`;
  else if (config.username !== undefined) {
    headers['authorization'] = `Basic ${Buffer.from(`${config.username}:${config.password ?? ''}`).toString('base64')}`;
  }
  const as = config.impersonate;
  if (as !== undefined) {
    headers['impersonate-user'] = as.user;
    if (as.uid !== undefined) headers['impersonate-uid'] = as.uid;
    if (as.groups !== undefined && as.groups.length > 0) headers['impersonate-group'] = as.groups;
    for (const [key, values] of Object.entries(as.extra ?? {})) {
      headers[`impersonate-extra-${encodeURIComponent(key).toLowerCase()}`] = values;
    }
  }
  return headers;
}
