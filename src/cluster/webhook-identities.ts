/**
 * `kubeConfigFile` of the webhook admission plugins: users of a kubeconfig who are named for the webhooks that they are shown to:
 * `host:port`, `*.domain:port`, the same without the port where that is 443, `*` for all others.
 */
import { readFile } from 'node:fs/promises';
import {
  WebhookIdentityError,
  type WebhookIdentity,
  type WebhookIdentityOf,
} from '../apiserver/connect/webhook-client.ts';
import { ioNow } from '../base/io-time.ts';
import type { Clock } from '../base/clock.ts';
import { identityHeaders } from '../client/identity-headers.ts';
import { loadKubeconfigUsers, type UserConnection } from '../client/kubeconfig.ts';

/** A file of a token is read again after this. */
const tokenFileTtlMs = 60_000;

/** The names by which a target's user may go, the closest first. */
export function identityNames(target: string): readonly string[] {
  const withStars = (name: string): string[] => {
    const steps = name.split('.');
    return [name, ...steps.slice(1).map((_, i) => `*.${steps.slice(i + 1).join('.')}`)];
  };
  const names = withStars(target);
  if (target.endsWith(':443')) names.push(...withStars(target.slice(0, -':443'.length).replace(/^\[(.*)\]$/, '$1')));
  return [...names, '*'];
}

function goReadError(error: unknown): string {
  const { code, path, message } = error as NodeJS.ErrnoException;
  if (code === 'ENOENT') return `open ${path}: no such file or directory`;
  return code === 'EACCES' ? `open ${path}: permission denied` : message;
}

function identityOfUser(load: () => Promise<UserConnection>): WebhookIdentity {
  let user: UserConnection | undefined;
  let read: { readonly token: string; readonly at: number } | undefined;
  return {
    async credentials() {
      try {
        user ??= await load();
        let { token } = user;
        if (user.tokenFile !== undefined) {
          if (read === undefined || ioNow() - read.at > tokenFileTtlMs)
            read = { token: (await readFile(user.tokenFile, 'utf8')).trim(), at: ioNow() };
          token = read.token;
        }
        let { certificate, key } = user;
        if (user.credentials !== undefined) {
          const given = await user.credentials(false);
          token = given.token ?? token;
          certificate = given.certificate ?? certificate;
          key = given.key ?? key;
        }
        return {
          headers: identityHeaders(user, token),
          ...(certificate === undefined || key === undefined ? {} : { clientCertificate: { certificate, key } }),
        };
      } catch (error) {
        throw new WebhookIdentityError(goReadError(error), { cause: error });
      }
    },
  };
}

/** @throws {Error} when the file cannot be read */
export async function readWebhookIdentities(file: string, clock: Clock): Promise<WebhookIdentityOf> {
  const { users, current } = await loadKubeconfigUsers(file, { clock }).catch((error: unknown) => {
    throw new Error(
      (error as NodeJS.ErrnoException).code === 'ENOENT'
        ? `stat ${file}: no such file or directory`
        : `error loading config file ${JSON.stringify(file)}: ${(error as Error).message}`,
      { cause: error },
    );
  });
  const identities = new Map([...users].map(([name, load]) => [name, identityOfUser(load)]));
  return (target) => {
    for (const name of identityNames(target)) {
      const identity = identities.get(name);
      if (identity !== undefined) return identity;
    }
    return current === undefined ? undefined : identities.get(current);
  };
}
