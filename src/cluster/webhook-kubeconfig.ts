/**
 * The kubeconfig of a webhook (authentication, authorization, audit, image policy) as the API server's client takes it. Its
 * server may be an `http://` one.
 */
import { readFile } from 'node:fs/promises';
import type { WebhookClientConfig } from '../apiserver/connect/webhook-client.ts';
import type { Clock } from '../base/clock.ts';
import { loadKubeconfig, type ConnectionConfig } from '../client/kubeconfig.ts';

const withScheme = /^[a-z][a-z0-9+.-]*:\/\/[^/]/i;

/**
 * Where the webhook is and how one shows oneself there. As for client-go, a server without a scheme is spoken to without TLS,
 * and one without TLS is not shown who asks.
 * @throws {Error} when the file cannot be read or names no server
 */
export async function webhookConnection(file: string, clock: Clock): Promise<ConnectionConfig> {
  const connection = await loadKubeconfig(file, { clock });
  const { server, impersonate } = connection;
  if (server.toLowerCase().startsWith('https://')) return connection;
  const named = withScheme.test(server);
  if (!named && /\/./.test(server))
    throw new Error(`host must be a URL or a host:port pair: ${JSON.stringify(server)}`);
  return { server: named ? server : `http://${server}`, ...(impersonate === undefined ? {} : { impersonate }) };
}

/** @throws {Error} when the file cannot be read or names no server */
export async function webhookOfKubeconfig(file: string, clock: Clock): Promise<WebhookClientConfig> {
  const connection = await webhookConnection(file, clock);
  const token =
    connection.tokenFile === undefined ? connection.token : (await readFile(connection.tokenFile, 'utf8')).trim();
  return {
    url: connection.server,
    ...(connection.ca === undefined ? {} : { caBundle: Buffer.from(connection.ca).toString('base64') }),
    ...(connection.certificate === undefined || connection.key === undefined
      ? {}
      : { clientCertificate: { certificate: connection.certificate, key: connection.key } }),
    ...(token === undefined ? {} : { token }),
    ...(connection.tlsServerName === undefined ? {} : { serverName: connection.tlsServerName }),
    ...(connection.insecureSkipTlsVerify === true ? { insecureSkipTLSVerify: true } : {}),
  };
}
